/*
 * The fake driver's effects: the line protocol of viv-fake (fake_main.c describes it).
 *
 * Theory of operation: the VMM's own answer to "state" is always the truth; an event is only a
 * reason to ask. So adoption needs no memory of what a former monitor has seen: a machine that
 * stands at the reset gate says so, one that ended says why. The gate: "reset" event → state →
 * resetting → drain serial → RESET → "continue".
 */
#include "driver/fake/fake.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/agent_port.h"
#include "driver/disks.h"
#include "driver/hot.h"
#include "driver/lines.h"

#define MAX_CALLS  16
#define LINE_BYTES 4300 /* with a path in it */

enum call {
    CALL_NONE,
    CALL_RUN,
    CALL_ADOPT,
    CALL_QUERY,
    CALL_CHECK, /* our own "state" after an event */
    CALL_PAUSE,
    CALL_RESUME,
    CALL_BUTTON,
    CALL_RESET,
    CALL_CONTINUE,
    CALL_QUIT,
    CALL_ADD,
    CALL_REMOVE,
    CALL_RESIZE,
    CALL_COUNTERS,
    CALL_NMI,
    CALL_COREDUMP
};

static const char *const call_verbs[] = {
    [CALL_NONE] = "",         [CALL_RUN] = "run",           [CALL_ADOPT] = "state",
    [CALL_QUERY] = "state",   [CALL_CHECK] = "state",       [CALL_PAUSE] = "pause",
    [CALL_RESUME] = "resume", [CALL_BUTTON] = "button",     [CALL_RESET] = "reset",
    [CALL_QUIT] = "quit",     [CALL_CONTINUE] = "continue", [CALL_ADD] = "add",
    [CALL_REMOVE] = "remove", [CALL_RESIZE] = "resize",     [CALL_COUNTERS] = "counters",
    [CALL_NMI] = "nmi",       [CALL_COREDUMP] = "coredump",
};

struct pending {
    enum call call;
    uint64_t id, op; /* op 0: our own, nobody waits for it */
};

/* The newest size that was asked for, of each kind that is under way. */
struct target {
    char key[VIVI_HOT_KEY_BYTES]; /* "cpus", "disk data"; "": free */
    uint64_t to;
};

struct fake_machine {
    const struct vivi_driver_host *host;
    const char *run_dir;
    struct vivi_agent_port agent;
    uint64_t run;
    struct vivi_lines lines;
    bool greeted, begun, gone, ending, quitting;
    uint64_t begin_op; /* start or adopt, until it was sent */
    enum call begin;
    uint64_t next_id;
    struct pending pending[MAX_CALLS];
    struct vivi_hot_waits waits; /* removals ("remove disk data") and sizes ("cpus") */
    struct target targets[VIVI_HOT_WAITS];
    bool gated;           /* a drain for the gate, or the continue after it, is under way */
    uint64_t drain_token; /* 0: none */
    uint64_t reset_op;    /* told when its gate has been passed; 0: none */
    bool boot_known;
    uint64_t boot_offset; /* of the last RESET told */
};

/* ---- telling the monitor ---- */

static void emit(struct fake_machine *m, struct vivi_driver_event e)
{
    e.run = m->run;
    m->host->event(m->host->ctx, &e);
}

static void done(struct fake_machine *m, uint64_t op, const viv_error *err)
{
    if (op)
        emit(m, (struct vivi_driver_event){.kind = VIVI_EV_DONE, .op = op, .err = err});
}

static void tell_state(struct fake_machine *m, enum viv_state state)
{
    emit(m, (struct vivi_driver_event){.kind = VIVI_EV_STATE, .state = state});
}

/* "guest-poweroff", "guest-panic <text>" */
static void tell_ending(struct fake_machine *m, const char *what)
{
    const char *space = strchr(what, ' ');
    char word[32];
    enum vivi_reason reason = VIVI_REASON_VMM_EXIT;

    if (m->ending)
        return;
    m->ending = true;
    (void)snprintf(word, sizeof(word), "%.*s", (int)strcspn(what, " "), what);
    (void)vivi_reason_parse(word, &reason);
    emit(m, (struct vivi_driver_event){
                .kind = VIVI_EV_ENDING, .reason = reason, .text = space ? space + 1 : NULL});
}

/* ---- commands ---- */

static int call_with(struct fake_machine *m, enum call c, const char *args, uint64_t op,
                     viv_error *err)
{
    char line[LINE_BYTES];
    int n, r;

    for (size_t i = 0; i < MAX_CALLS; i++) {
        struct pending *p = &m->pending[i];

        if (p->call != CALL_NONE)
            continue;
        n = snprintf(line, sizeof(line), "%" PRIu64 " %s%s%s\n", ++m->next_id, call_verbs[c],
                     *args ? " " : "", args);
        r = vivi_lines_send(&m->lines, line, (size_t)n, err);
        if (r < 0)
            return vivi_wrap(err, r, "%s", call_verbs[c]);
        *p = (struct pending){c, m->next_id, op};
        return 0;
    }
    return vivi_fail(err, VIV_E_BUSY, "viv-fake: too many commands wait for an answer");
}

static int call(struct fake_machine *m, enum call c, uint64_t op, viv_error *err)
{
    return call_with(m, c, "", op, err);
}

/* Our own commands: if they cannot be sent, the connection is going down, which is told once. */
static void call_self(struct fake_machine *m, enum call c)
{
    (void)call(m, c, 0, NULL);
}

static void finish_ending(struct fake_machine *m, const char *what)
{
    tell_ending(m, what);
    if (!m->quitting && m->lines.open) {
        m->quitting = true;
        call_self(m, CALL_QUIT);
    }
}

static void begin_gate(struct fake_machine *m)
{
    if (m->gated)
        return;
    m->gated = true;
    m->drain_token = ++m->next_id;
    /* Refused: the keeper is gone and so will be this monitor; the next one finds the gate shut. */
    (void)m->host->drain(m->host->ctx, "serial.out", m->drain_token, NULL);
}

static void fake_drained(void *priv, uint64_t token, uint64_t log_size)
{
    struct fake_machine *m = priv;

    if (token == 0 || token != m->drain_token)
        return;
    m->drain_token = 0;
    if (!m->boot_known || m->boot_offset != log_size) {
        m->boot_known = true;
        m->boot_offset = log_size;
        emit(m, (struct vivi_driver_event){.kind = VIVI_EV_RESET, .offset = log_size});
    }
    call_self(m, CALL_CONTINUE);
}

/* ---- answers ---- */

/* The state that the VMM's word means; VIV_ST_COUNT_ = none. At the gate or after its end the
 * guest still counts as running: RESET and ENDING tell the rest. */
static enum viv_state state_of(const char *word)
{
    if (strncmp(word, "ended ", 6) == 0 || strcmp(word, "resetting") == 0 ||
        strcmp(word, "running") == 0)
        return VIV_ST_RUNNING;
    if (strcmp(word, "paused") == 0)
        return VIV_ST_PAUSED;
    if (strcmp(word, "new") == 0)
        return VIV_ST_STARTING;
    return VIV_ST_COUNT_;
}

/* Does what the VMM's word asks for. */
static void act_on(struct fake_machine *m, const char *word)
{
    if (strncmp(word, "ended ", 6) == 0)
        finish_ending(m, word + 6);
    else if (strcmp(word, "resetting") == 0)
        begin_gate(m);
}

static void adopted(struct fake_machine *m, const struct pending *p, const char *word)
{
    enum viv_state state = state_of(word);

    if (state == VIV_ST_STARTING) { /* spawned, never told to run: that is done now */
        if (call(m, CALL_RUN, p->op, NULL) < 0)
            done(m, p->op, NULL);
        return;
    }
    if (state != VIV_ST_COUNT_)
        tell_state(m, state);
    done(m, p->op, NULL);
    act_on(m, word);
}

static void continued(struct fake_machine *m, const char *word)
{
    uint64_t op = m->reset_op;

    m->gated = false;
    m->reset_op = 0;
    done(m, op, NULL);
    act_on(m, word);
}

static void on_ok(struct fake_machine *m, const struct pending *p, const char *word)
{
    switch (p->call) {
    case CALL_ADOPT: adopted(m, p, word); return;
    case CALL_RUN:
        tell_state(m, VIV_ST_RUNNING);
        done(m, p->op, NULL);
        act_on(m, word);
        return;
    case CALL_QUERY: {
        enum viv_state state = state_of(word);

        if (state != VIV_ST_COUNT_)
            tell_state(m, state);
        done(m, p->op, NULL);
        return;
    }
    case CALL_CHECK: act_on(m, word); return;
    case CALL_RESET:
        m->reset_op = p->op;
        act_on(m, word);
        return;
    case CALL_CONTINUE: continued(m, word); return;
    case CALL_PAUSE:
    case CALL_RESUME:
    case CALL_BUTTON:
    case CALL_QUIT:
    case CALL_NMI:
    case CALL_COREDUMP:
    case CALL_ADD: done(m, p->op, NULL); return;
    case CALL_REMOVE: /* accepted: an event tells the rest */
    case CALL_RESIZE:
    case CALL_COUNTERS:
    case CALL_NONE: return;
    }
}

static void on_error(struct fake_machine *m, const struct pending *p, const char *text)
{
    viv_error why = VIV_ERROR_INIT;

    int code = strncmp(text, "exists: ", 8) == 0       ? VIV_E_EXISTS
               : strncmp(text, "not-found: ", 11) == 0 ? VIV_E_NOT_FOUND
                                                       : VIV_E_VMM;

    (void)vivi_fail(&why, code, "viv-fake: %s: %s", call_verbs[p->call], text);
    if ((p->call == CALL_REMOVE || p->call == CALL_RESIZE) && !vivi_hot_drop(&m->waits, p->op))
        return; /* an event was faster */
    if (p->call == CALL_CONTINUE) {
        uint64_t op = m->reset_op;

        m->gated = false;
        m->reset_op = 0;
        done(m, op, &why);
        return;
    }
    done(m, p->op, &why);
}

static void on_counters(struct fake_machine *m, const struct pending *p, const char *text)
{
    json_t *value = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    viv_error why = VIV_ERROR_INIT;

    if (!json_is_object(value))
        (void)vivi_fail(&why, VIV_E_PROTOCOL, "viv-fake: counters: an answer without sense");
    emit(m, (struct vivi_driver_event){
                .kind = VIVI_EV_DONE, .op = p->op, .err = &why, .value = why.code ? NULL : value});
    json_decref(value);
}

static void greeting(struct fake_machine *m, const char *line)
{
    viv_error why = VIV_ERROR_INIT;

    if (strcmp(line, "fake 1") != 0) {
        uint64_t op = m->begin_op;

        m->begin_op = 0;
        vivi_lines_close(&m->lines);
        (void)vivi_fail(&why, VIV_E_PROTOCOL, "viv-fake greets with \"%.40s\"", line);
        done(m, op, &why);
        return;
    }
    m->greeted = true;
    emit(m, (struct vivi_driver_event){.kind = VIVI_EV_API});
    if (m->begin == CALL_RUN)
        emit(m, (struct vivi_driver_event){.kind = VIVI_EV_CREATED});
    if (call(m, m->begin, m->begin_op, &why) < 0)
        done(m, m->begin_op, &why);
    m->begin_op = 0;
}

static void on_line(void *arg, char *line, size_t len)
{
    struct fake_machine *m = arg;
    char *end;
    unsigned long long id;

    (void)len;
    if (!m->greeted) {
        greeting(m, line);
        return;
    }
    id = strtoull(line, &end, 10);
    for (size_t i = 0; i < MAX_CALLS; i++) {
        struct pending p = m->pending[i];

        if (p.call == CALL_NONE || p.id != id)
            continue;
        m->pending[i].call = CALL_NONE;
        if (strncmp(end, " ok ", 4) == 0)
            on_ok(m, &p, end + 4);
        else if (p.call == CALL_COUNTERS && strncmp(end, " counters ", 10) == 0)
            on_counters(m, &p, end + 10);
        else
            on_error(m, &p, strncmp(end, " error ", 7) == 0 ? end + 7 : "an answer without sense");
        return;
    }
}

/* ---- what the guest has done ---- */

/* Ends every operation that waits for key; NULL: all. */
static void finish(struct fake_machine *m, const char *key, const viv_error *err)
{
    uint64_t op;

    while ((op = vivi_hot_take(&m->waits, key)) != 0)
        done(m, op, err);
}

static void on_removed(struct fake_machine *m, const char *what)
{
    char kind[16], id[72], key[VIVI_HOT_KEY_BYTES];
    enum vivi_device_kind k;

    if (sscanf(what, "%15s %71s", kind, id) != 2 || vivi_device_kind_parse(kind, &k) < 0)
        return;
    emit(m, (struct vivi_driver_event){.kind = VIVI_EV_DEVICE, .device_kind = k, .id = id});
    (void)snprintf(key, sizeof(key), "remove %s %s", kind, id);
    finish(m, key, NULL);
}

/* "disk data it is mounted" */
static void on_kept(struct fake_machine *m, const char *what)
{
    char kind[16], id[72], key[VIVI_HOT_KEY_BYTES];
    viv_error why = VIV_ERROR_INIT;
    int words = 0;

    if (sscanf(what, "%15s %71s %n", kind, id, &words) != 2)
        return;
    (void)vivi_fail(&why, VIV_E_VMM, "the guest keeps it: %s", what + words);
    (void)snprintf(key, sizeof(key), "remove %s %s", kind, id);
    finish(m, key, &why);
}

static struct target *target_of(struct fake_machine *m, const char *key)
{
    for (size_t i = 0; i < ARRAY_SIZE(m->targets); i++)
        if (strcmp(m->targets[i].key, key) == 0)
            return &m->targets[i];
    return NULL;
}

/* "cpus 1 2", "disk data 0 4096": done and total are the last two words. */
static void on_resizing(struct fake_machine *m, const char *what)
{
    char key[VIVI_HOT_KEY_BYTES], id[72];
    unsigned long long n, total;

    if (sscanf(what, "disk %71s %llu %llu", id, &n, &total) == 3)
        (void)snprintf(key, sizeof(key), "disk %s", id);
    else if (sscanf(what, "%15s %llu %llu", key, &n, &total) != 3)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(m->waits.items); i++)
        if (m->waits.items[i].op != 0 && strcmp(m->waits.items[i].key, key) == 0)
            emit(m, (struct vivi_driver_event){.kind = VIVI_EV_PROGRESS,
                                               .op = m->waits.items[i].op,
                                               .text = "the guest changes it",
                                               .done = n,
                                               .total = total});
}

static void on_resized(struct fake_machine *m, const char *what)
{
    char key[VIVI_HOT_KEY_BYTES], id[72];
    unsigned long long to;
    struct target *t;

    if (sscanf(what, "disk %71s %llu", id, &to) == 2)
        (void)snprintf(key, sizeof(key), "disk %s", id);
    else if (sscanf(what, "%15s %llu", key, &to) != 2)
        return;
    t = target_of(m, key);
    if (!t || t->to != to)
        return; /* of an older wish */
    t->key[0] = '\0';
    finish(m, key, NULL);
}

static bool on_hot_event(struct fake_machine *m, const char *line)
{
    static const struct {
        const char *word;
        void (*act)(struct fake_machine *m, const char *rest);
    } events[] = {{"removed ", on_removed},
                  {"kept ", on_kept},
                  {"resizing ", on_resizing},
                  {"resized ", on_resized}};

    for (size_t i = 0; i < ARRAY_SIZE(events); i++) {
        size_t len = strlen(events[i].word);

        if (strncmp(line, events[i].word, len) != 0)
            continue;
        events[i].act(m, line + len);
        return true;
    }
    return false;
}

/* The socket is closed: what waits will not be answered. After quit that is success. */
static void on_end(void *arg, const viv_error *err)
{
    struct fake_machine *m = arg;
    uint64_t ops[MAX_CALLS + 2] = {m->begin_op, m->reset_op};
    bool quits[MAX_CALLS + 2] = {false};

    m->begin_op = m->reset_op = 0;
    m->gone = true;
    for (size_t i = 0; i < MAX_CALLS; i++) {
        if (m->pending[i].call != CALL_NONE && m->pending[i].call != CALL_REMOVE &&
            m->pending[i].call != CALL_RESIZE)
            ops[i + 2] = m->pending[i].op;
        quits[i + 2] = m->pending[i].call == CALL_QUIT;
        m->pending[i].call = CALL_NONE;
    }
    for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
        done(m, ops[i], quits[i] ? NULL : err);
    finish(m, NULL, err);
}

/* ---- slots ---- */

static int begin(void *priv, const struct vivi_machine_start *s, enum call c, uint64_t op,
                 viv_error *err)
{
    struct fake_machine *m = priv;
    const struct vivi_lines_handler on = {.arg = m, .line = on_line, .end = on_end};
    char path[512];
    int r;

    m->host = s->host;
    m->run_dir = s->run_dir;
    m->run = s->run;
    m->begun = true;
    m->gone = true;
    (void)snprintf(path, sizeof(path), "%s/fake", s->run_dir);
    r = vivi_lines_open(&m->lines, s->host->loop, path, &on, err);
    if (r < 0)
        return vivi_wrap(err, r, "viv-fake");
    m->gone = false;
    m->begin = c;
    m->begin_op = op;
    return 0;
}

static int fake_start(void *priv, const struct vivi_machine_start *s, uint64_t op, viv_error *err)
{
    return begin(priv, s, CALL_RUN, op, err);
}

static int fake_adopt(void *priv, const struct vivi_machine_start *s, uint64_t op, viv_error *err)
{
    return begin(priv, s, CALL_ADOPT, op, err);
}

static void on_event(struct fake_machine *m, const char *line)
{
    if (on_hot_event(m, line))
        return;
    if (m->gone) {
        if (strncmp(line, "end ", 4) == 0)
            tell_ending(m, line + 4);
        return;
    }
    if (strncmp(line, "agent ", 6) == 0) {
        emit(m, (struct vivi_driver_event){.kind = VIVI_EV_AGENT,
                                           .open = strcmp(line + 6, "open") == 0});
        return;
    }
    /* Before the greeting nothing needs asking: start and adopt do. */
    if (m->greeted && (strcmp(line, "reset") == 0 || strncmp(line, "end ", 4) == 0))
        call_self(m, CALL_CHECK);
}

static size_t fake_input(void *priv, const char *name, const char *data, size_t len)
{
    struct fake_machine *m = priv;
    size_t used = 0;
    char line[512];

    if (!m->begun || strcmp(name, "events.out") != 0)
        return len;
    while (used < len) {
        const char *lf = memchr(data + used, '\n', len - used);
        size_t n;

        if (!lf)
            return len - used >= sizeof(line) ? len : used; /* no line of ours is that long */
        n = (size_t)(lf - data) - used;
        (void)snprintf(line, sizeof(line), "%.*s", n < sizeof(line) ? (int)n : 0, data + used);
        used += n + 1;
        on_event(m, line);
    }
    return used;
}

static int fake_query(void *m, uint64_t op, viv_error *err)
{
    return call(m, CALL_QUERY, op, err);
}

static int fake_quit(void *priv, uint64_t op, viv_error *err)
{
    struct fake_machine *m = priv;

    m->quitting = true;
    return call(m, CALL_QUIT, op, err);
}

static int fake_power_button(void *m, uint64_t op, viv_error *err)
{
    return call(m, CALL_BUTTON, op, err);
}

static int fake_pause(void *m, uint64_t op, viv_error *err)
{
    return call(m, CALL_PAUSE, op, err);
}

static int fake_resume(void *m, uint64_t op, viv_error *err)
{
    return call(m, CALL_RESUME, op, err);
}

static int fake_reset(void *m, uint64_t op, viv_error *err)
{
    return call(m, CALL_RESET, op, err);
}

static int fake_device_add(void *m, const struct vivi_device *d, uint64_t op, viv_error *err)
{
    char args[VIVI_HOT_KEY_BYTES];

    (void)snprintf(args, sizeof(args), "%s %s", vivi_device_kind_name(d->kind), d->id);
    return call_with(m, CALL_ADD, args, op, err);
}

/* The operation waits before it is sent: the event may come before the answer. */
static int wait_and_call(struct fake_machine *m, enum call c, const char *key, const char *args,
                         uint64_t op, viv_error *err)
{
    int r = vivi_hot_wait(&m->waits, key, op, err);

    if (r < 0)
        return r;
    r = call_with(m, c, args, op, err);
    if (r < 0)
        (void)vivi_hot_drop(&m->waits, op);
    return r;
}

static int fake_device_remove(void *priv, enum vivi_device_kind kind, const char *id, uint64_t op,
                              viv_error *err)
{
    struct fake_machine *m = priv;
    char key[VIVI_HOT_KEY_BYTES];

    (void)snprintf(key, sizeof(key), "remove %s %s", vivi_device_kind_name(kind), id);
    return wait_and_call(m, CALL_REMOVE, key, key + strlen("remove "), op, err);
}

/* What a VMM does with the image. */
static int size_image(const struct vivi_resize *what, viv_error *err)
{
    const struct vivi_disk *is = vivi_disk_find(what->config, what->id);
    struct vivi_disk d;

    if (!is)
        return vivi_fail(err, VIV_E_NOT_FOUND, "no such disk");
    d = *is;
    d.size_bytes = what->to;
    return vivi_disk_set_size(&d, err);
}

static int fake_resize(void *priv, const struct vivi_resize *what, uint64_t op, viv_error *err)
{
    struct fake_machine *m = priv;
    char key[VIVI_HOT_KEY_BYTES], args[VIVI_HOT_KEY_BYTES + 24];
    struct target *t;
    int r = what->kind == VIVI_RESIZE_DISK ? size_image(what, err) : 0;

    if (r < 0)
        return r;
    (void)snprintf(key, sizeof(key), "%s%s%s", vivi_resize_kind_name(what->kind),
                   what->id ? " " : "", what->id ? what->id : "");
    (void)snprintf(args, sizeof(args), "%s %" PRIu64, key, what->to);
    t = target_of(m, key);
    if (!t)
        t = target_of(m, "");
    if (!t)
        return vivi_fail(err, VIV_E_BUSY, "too many changes wait for the guest");
    memcpy(t->key, key, sizeof(t->key));
    t->to = what->to;
    return wait_and_call(m, CALL_RESIZE, key, args, op, err);
}

static int fake_counters(void *m, uint64_t op, viv_error *err)
{
    return call(m, CALL_COUNTERS, op, err);
}

static int fake_nmi(void *m, uint64_t op, viv_error *err)
{
    return call(m, CALL_NMI, op, err);
}

static int fake_coredump(void *m, const char *path, uint64_t op, viv_error *err)
{
    return call_with(m, CALL_COREDUMP, path, op, err);
}

static int fake_agent_connect(void *priv, uint64_t op, viv_error *err)
{
    struct fake_machine *m = priv;

    return vivi_agent_port_open(
        &m->agent,
        &(struct vivi_agent_ask){
            .host = m->host, .run_dir = m->run_dir, .name = "agent", .run = m->run, .op = op},
        err);
}

static void fake_done(void *priv)
{
    struct fake_machine *m = priv;

    vivi_agent_port_done(&m->agent);
    vivi_lines_close(&m->lines);
    memset(m, 0, sizeof(*m));
}

const struct vivi_driver_effects vivi_effects_fake = {
    .name = "fake",
    .machine_size = sizeof(struct fake_machine),
    .start = fake_start,
    .adopt = fake_adopt,
    .input = fake_input,
    .drained = fake_drained,
    .query = fake_query,
    .quit = fake_quit,
    .power_button = fake_power_button,
    .pause = fake_pause,
    .resume = fake_resume,
    .reset = fake_reset,
    .device_kinds = VIVI_DEVICE_BIT(VIVI_DEV_DISK) | VIVI_DEVICE_BIT(VIVI_DEV_NET),
    .device_add = fake_device_add,
    .device_remove = fake_device_remove,
    .resize_kinds = VIVI_RESIZE_BIT(VIVI_RESIZE_CPUS) | VIVI_RESIZE_BIT(VIVI_RESIZE_MEMORY) |
                    VIVI_RESIZE_BIT(VIVI_RESIZE_BALLOON) | VIVI_RESIZE_BIT(VIVI_RESIZE_DISK),
    .resize = fake_resize,
    .counters = fake_counters,
    .nmi = fake_nmi,
    .coredump = fake_coredump,
    .agent_connect = fake_agent_connect,
    .done = fake_done,
};
