/*
 * The Cloud Hypervisor driver's effects.
 *
 * Theory of operation. Requests go over the API socket, one after the other, as the VMM takes them;
 * what happens by itself comes by the event stream (stream.c).
 *
 *   start   vmm.ping, vm.create, vm.boot
 *   adopt   vmm.ping, vm.info, then what it says:
 *           no VM      drain the events: one of an end, and it is ending; else the former
 *                      monitor died before vm.create: as start
 *           Created    it died before vm.boot: that. But where the events tell of a boot that was
 *                      begun, it has failed, and the configuration may have lost devices with it:
 *                      never boot again, end the process
 *           else       drain the events, then act on them
 *
 * A start that finds a VM there goes the way of adoption. One process is one run: a VM that is off
 * is never booted again.
 */
#include <stdio.h>
#include <string.h>

#include "driver/cloud_hypervisor/machine.h"

/* ---- telling the monitor ---- */

void ch_emit(struct ch_machine *m, struct vivi_driver_event e)
{
    e.run = m->run;
    m->host->event(m->host->ctx, &e);
}

void ch_tell_done(struct ch_machine *m, uint64_t op, const viv_error *err)
{
    if (op)
        ch_emit(m, (struct vivi_driver_event){.kind = VIVI_EV_DONE, .op = op, .err = err});
}

void ch_tell_state(struct ch_machine *m, enum viv_state state)
{
    ch_emit(m, (struct vivi_driver_event){.kind = VIVI_EV_STATE, .state = state});
}

static void begin_done(struct ch_machine *m, const viv_error *err)
{
    uint64_t op = m->begin_op;

    m->begin_op = 0;
    ch_tell_done(m, op, err);
}

/* The VMM said no, or (a NULL) nothing more at all: then only why it ended is left to be told. */
static void begin_failed(struct ch_machine *m, const struct ch_answer *a, const viv_error *err)
{
    if (!a)
        m->phase = CH_GONE;
    begin_done(m, err);
    ch_act_on_cause(m);
}

/* ---- asking the VMM ---- */

int ch_ask(struct ch_machine *m, const char *verb, enum ch_tag tag, uint64_t op, viv_error *err)
{
    return ch_http_send(&m->http, &(struct ch_request){.verb = verb, .tag = (int)tag, .op = op},
                        err);
}

int ch_get(struct ch_machine *m, const char *verb, enum ch_tag tag, uint64_t op, viv_error *err)
{
    return ch_http_send(
        &m->http, &(struct ch_request){.verb = verb, .get = true, .tag = (int)tag, .op = op}, err);
}

/* A step of start or adopt; one that cannot be sent ends it. */
static void step(struct ch_machine *m, const struct ch_request *r)
{
    viv_error why = VIV_ERROR_INIT;

    if (ch_http_send(&m->http, r, &why) < 0)
        begin_failed(m, NULL, &why);
}

/* The nth planned request of that verb; NULL: so many are not planned. */
static const json_t *planned_nth(const struct ch_machine *m, const char *verb, size_t n)
{
    for (size_t i = 0; i < json_array_size(m->requests); i++) {
        const json_t *r = json_array_get(m->requests, i);
        const char *name = json_string_value(json_object_get(r, "verb"));

        if (name && strcmp(name, verb) == 0 && n-- == 0)
            return r;
    }
    return NULL;
}

static const json_t *planned(const struct ch_machine *m, const char *verb)
{
    return planned_nth(m, verb, 0);
}

const json_t *ch_boot_body(const struct ch_machine *m)
{
    return json_object_get(planned(m, "vm.create"), "body");
}

static void send_planned(struct ch_machine *m, const char *verb, enum ch_tag tag)
{
    const json_t *body = json_object_get(planned(m, verb), "body");

    step(m, &(struct ch_request){.verb = verb, .body = body, .tag = (int)tag});
}

/* The first step that changes something: a new machine, or one that was saved. */
static void make_machine(struct ch_machine *m)
{
    if (planned(m, "vm.restore")) {
        send_planned(m, "vm.restore", CH_T_RESTORE);
    } else if (planned(m, "vm.receive-migration")) {
        send_planned(m, "vm.receive-migration", CH_T_RECEIVE);
        ch_receiving(m);
    } else {
        send_planned(m, "vm.create", CH_T_CREATE);
    }
}

/* What is missing here and not there: the machine will not be made. */
static void give_up(struct ch_machine *m, const viv_error *why)
{
    bool adopting = m->adopting;

    m->phase = CH_RUNNING;
    begin_done(m, why);
    if (adopting) /* a start is ended by the monitor */
        ch_finish(m, VIVI_REASON_VMM_EXIT, why->message);
}

/* The next NIC that comes with its descriptor; after the last one, the boot. */
static void add_nic_or_boot(struct ch_machine *m)
{
    const json_t *r = planned_nth(m, "vm.add-net", m->nics);
    const char *name = json_string_value(json_object_get(r, "fd"));
    viv_error why = VIV_ERROR_INIT;
    int fd = name && m->host->fd ? m->host->fd(m->host->ctx, name) : -1;

    if (!r) {
        send_planned(m, "vm.boot", CH_T_BOOT);
        return;
    }
    if (fd < 0) {
        (void)vivi_fail(&why, VIV_E_NOT_FOUND,
                        "cloud-hypervisor: vm.add-net: the descriptor %.60s is not here any more",
                        name ? name : "");
        give_up(m, &why);
        return;
    }
    step(m, &(struct ch_request){.verb = "vm.add-net",
                                 .body = json_object_get(r, "body"),
                                 .fds = &fd,
                                 .n_fds = 1,
                                 .tag = CH_T_NIC});
}

/* How many of them a machine has that a former monitor was making. */
static void count_nics(struct ch_machine *m, const struct ch_answer *a)
{
    json_t *doc = json_loadb(a->body, a->body_len, 0, NULL);
    const json_t *nets = json_object_get(json_object_get(doc, "config"), "net"), *r;

    for (m->nics = 0; (r = planned_nth(m, "vm.add-net", m->nics)) != NULL; m->nics++) {
        const json_t *id = json_object_get(json_object_get(r, "body"), "id");
        size_t i = 0;

        while (i < json_array_size(nets) &&
               !json_equal(json_object_get(json_array_get(nets, i), "id"), id))
            i++;
        if (i == json_array_size(nets))
            break;
    }
    json_decref(doc);
}

/* ---- state ---- */

/* Out of vm.info; VIV_ST_COUNT_: it does not say. */
static enum viv_state state_of(const struct ch_answer *a)
{
    static const struct {
        const char *word;
        enum viv_state state;
    } words[] = {{"Created", VIV_ST_STARTING},
                 {"Running", VIV_ST_RUNNING},
                 {"Paused", VIV_ST_PAUSED},
                 {"BreakPoint", VIV_ST_PAUSED}};
    json_t *doc = json_loadb(a->body, a->body_len, 0, NULL);
    const char *word = json_string_value(json_object_get(doc, "state"));
    enum viv_state state = VIV_ST_COUNT_;

    for (size_t i = 0; word && i < ARRAY_SIZE(words); i++)
        if (strcmp(word, words[i].word) == 0)
            state = words[i].state;
    json_decref(doc);
    return state;
}

void ch_runs_now(struct ch_machine *m, enum viv_state state)
{
    m->phase = CH_RUNNING;
    m->paused = state == VIV_ST_PAUSED;
    ch_tell_state(m, state);
    begin_done(m, NULL);
    ch_act_on_cause(m);
}

/* One that stands still is what a sender that died has left, unless all of it had come. */
static bool has_arrived(const struct ch_machine *m)
{
    return m->told == VIV_ST_RUNNING || (m->told == VIV_ST_PAUSED && m->move.whole);
}

/* Whoever sent has it still: an end, and no machine to begin with. */
static void not_arrived(struct ch_machine *m)
{
    viv_error why = VIV_ERROR_INIT;

    (void)vivi_fail(&why, VIV_E_VMM, "cloud-hypervisor: the machine did not arrive%s%s",
                    m->move.text[0] ? ": " : "", m->move.text);
    begin_failed(m, NULL, &why);
}

/* Adoption: vm.info said m->told, and all events up to it were seen. */
static void settle(struct ch_machine *m)
{
    static const char lost[] = "its boot failed, and nobody was there to see why";
    viv_error why = VIV_ERROR_INIT;

    if (m->told == VIV_ST_STOPPED && m->cause == CH_CAUSE_NONE &&
        !planned(m, "vm.receive-migration")) {
        make_machine(m);
        return;
    }
    if (m->told == VIV_ST_STOPPED && m->cause != CH_CAUSE_NONE) {
        (void)vivi_fail(&why, VIV_E_WRONG_STATE, "cloud-hypervisor: it is ending");
        begin_failed(m, NULL, &why);
        return;
    }
    if (m->move.incoming && !has_arrived(m)) {
        not_arrived(m);
        return;
    }
    if (m->told != VIV_ST_STARTING && m->told != VIV_ST_STOPPED) {
        m->move.incoming = false;
        ch_runs_now(m, m->told);
        return;
    }
    if (!m->booting && m->cause == CH_CAUSE_NONE) {
        add_nic_or_boot(m);
        return;
    }
    m->phase = CH_RUNNING;
    (void)vivi_fail(&why, VIV_E_VMM, "cloud-hypervisor: vm.boot: %s", lost);
    begin_done(m, &why);
    if (m->booting && !m->booted)
        ch_finish(m, VIVI_REASON_VMM_EXIT, lost);
    else
        ch_act_on_cause(m);
}

/* ---- answers ---- */

static void have_info(struct ch_machine *m, const struct ch_answer *a, const viv_error *err)
{
    viv_error why = VIV_ERROR_INIT;
    bool none = err && a && ch_answer_blames(a, "VM is not created");

    if (err && !none) {
        begin_failed(m, a, err);
        return;
    }
    m->told = none ? VIV_ST_STOPPED : state_of(a);
    if (!none)
        count_nics(m, a);
    if (m->told == VIV_ST_COUNT_) {
        (void)vivi_fail(&why, VIV_E_PROTOCOL, "cloud-hypervisor: vm.info: an answer without state");
        begin_done(m, &why);
        return;
    }
    m->drain_adopt = ++m->token;
    if (m->host->drain(m->host->ctx, CH_PORT_EVENTS, m->drain_adopt, NULL) < 0) {
        m->drain_adopt = 0;
        settle(m);
    }
}

/* What cannot be read is the oldest there is: nothing newer is sent to it. */
static void read_version(struct ch_machine *m, const struct ch_answer *a)
{
    json_t *doc = json_loadb(a->body, a->body_len, 0, NULL);
    const char *text = json_string_value(json_object_get(doc, "version"));

    m->version = (struct ch_version){.major = CH_MIN_MAJOR};
    if (text)
        (void)ch_version_parse(text, &m->version);
    json_decref(doc);
}

static void is_there(struct ch_machine *m, const struct ch_answer *a, const viv_error *err)
{
    if (err) {
        begin_failed(m, a, err);
        return;
    }
    read_version(m, a);
    ch_emit(m, (struct vivi_driver_event){.kind = VIVI_EV_API});
    if (m->adopting)
        step(m, &(struct ch_request){.verb = "vm.info", .get = true, .tag = CH_T_INFO});
    else
        make_machine(m);
}

static void is_created(struct ch_machine *m, const struct ch_answer *a, const viv_error *err)
{
    if (err && a && !m->adopting && ch_answer_blames(a, "VM is already created")) {
        m->adopting = true; /* further than we thought: look */
        step(m, &(struct ch_request){.verb = "vm.info", .get = true, .tag = CH_T_INFO});
        return;
    }
    if (err) {
        begin_failed(m, a, err);
        return;
    }
    ch_emit(m, (struct vivi_driver_event){.kind = VIVI_EV_CREATED});
    add_nic_or_boot(m);
}

static void is_booted(struct ch_machine *m, const struct ch_answer *a, const viv_error *err)
{
    bool adopting = m->adopting;
    viv_error why = err ? *err : (viv_error)VIV_ERROR_INIT;

    if (!err) {
        ch_runs_now(m, VIV_ST_RUNNING);
        return;
    }
    if (a)
        why.code = VIV_E_VMM; /* whatever it was: the process is of no use any more */
    begin_failed(m, a, &why);
    if (a && adopting) { /* a start is ended by the monitor */
        m->phase = CH_RUNNING;
        ch_finish(m, VIVI_REASON_VMM_EXIT, err->message);
    }
}

static void has_nic(struct ch_machine *m, const struct ch_answer *a, const viv_error *err)
{
    if (err) {
        is_booted(m, a, err);
        return;
    }
    m->nics++;
    add_nic_or_boot(m);
}

/* Memory that comes on demand needs what not every host allows; read first it always works. */
static bool read_memory_first(struct ch_machine *m, const viv_error *err)
{
    const json_t *body = json_object_get(planned(m, "vm.restore"), "body");
    json_t *other;

    if (m->reads_first || !json_object_get(body, "memory_restore_mode") ||
        !strcasestr(err->message, "userfaultfd"))
        return false;
    other = json_deep_copy(body);
    if (!other)
        return false;
    m->reads_first = true;
    (void)json_object_del(other, "memory_restore_mode");
    step(m, &(struct ch_request){.verb = "vm.restore", .body = other, .tag = CH_T_RESTORE});
    json_decref(other);
    return true;
}

/* It has its state; one that stands still goes on by the next step. */
static void is_restored(struct ch_machine *m, const struct ch_answer *a, const viv_error *err)
{
    if (err && a && read_memory_first(m, err))
        return;
    if (!err && planned(m, "vm.resume")) {
        ch_emit(m, (struct vivi_driver_event){.kind = VIVI_EV_CREATED});
        send_planned(m, "vm.resume", CH_T_BOOT);
        return;
    }
    if (!err)
        ch_emit(m, (struct vivi_driver_event){.kind = VIVI_EV_CREATED});
    is_booted(m, a, err);
}

/* It is here, as it was there. */
static void is_received(struct ch_machine *m, const struct ch_answer *a, const viv_error *err)
{
    viv_error why = err ? *err : (viv_error)VIV_ERROR_INIT;

    if (!err)
        ch_emit(m, (struct vivi_driver_event){.kind = VIVI_EV_CREATED});
    if (err && a) /* it may run all the same: only the last word to the sender was lost */
        (void)snprintf(m->move.text, sizeof(m->move.text), "%.199s", err->message);
    m->move.broke = err != NULL;
    m->move.whole = m->move.whole || !err;
    if (a)
        step(m, &(struct ch_request){.verb = "vm.info", .get = true, .tag = CH_T_INFO});
    else
        begin_failed(m, a, &why);
}

static void query_reply(struct ch_machine *m, uint64_t op, const struct ch_answer *a,
                        const viv_error *err)
{
    enum viv_state state = err ? VIV_ST_COUNT_ : state_of(a);
    viv_error why = VIV_ERROR_INIT;

    if (!err && state == VIV_ST_COUNT_) {
        (void)vivi_fail(&why, VIV_E_PROTOCOL, "cloud-hypervisor: vm.info: an answer without state");
        err = &why;
    }
    if (!err)
        ch_tell_state(m, state);
    ch_tell_done(m, op, err);
}

/* After a pause or resume that was not ours: what is true now. */
static void check_reply(struct ch_machine *m, const struct ch_answer *a, const viv_error *err)
{
    enum viv_state state = err ? VIV_ST_COUNT_ : state_of(a);

    if ((state != VIV_ST_RUNNING && state != VIV_ST_PAUSED) || m->ending ||
        m->paused == (state == VIV_ST_PAUSED))
        return;
    m->paused = state == VIV_ST_PAUSED;
    ch_tell_state(m, state);
}

static void pause_reply(struct ch_machine *m, bool pause, uint64_t op, const viv_error *err)
{
    if (!err)
        m->paused = pause;
    ch_tell_done(m, op, err);
}

static void reset_reply(struct ch_machine *m, uint64_t op, const viv_error *err)
{
    if (err) {
        m->reset_op = 0;
        ch_tell_done(m, op, err);
    } else {
        ch_reset_answered(m);
    }
}

static void on_answer(struct ch_machine *m, enum ch_tag tag, uint64_t op, const struct ch_answer *a,
                      const viv_error *err)
{
    switch (tag) {
    case CH_T_PING: is_there(m, a, err); return;
    case CH_T_INFO: have_info(m, a, err); return;
    case CH_T_CREATE: is_created(m, a, err); return;
    case CH_T_NIC: has_nic(m, a, err); return;
    case CH_T_BOOT: is_booted(m, a, err); return;
    case CH_T_RESTORE: is_restored(m, a, err); return;
    case CH_T_RECEIVE: is_received(m, a, err); return;
    case CH_T_SEND: ch_send_reply(m, op, a, err); return;
    case CH_T_MOVE_PROBE: ch_move_probed(m, op, a, err); return;
    case CH_T_MOVE_INFO: ch_move_settled(m, op, err ? VIV_ST_COUNT_ : state_of(a)); return;
    case CH_T_QUERY: query_reply(m, op, a, err); return;
    case CH_T_CHECK: check_reply(m, a, err); return;
    case CH_T_PAUSE:
    case CH_T_RESUME: pause_reply(m, tag == CH_T_PAUSE, op, err); return;
    case CH_T_SNAPSHOT:
    case CH_T_NMI:
    case CH_T_COREDUMP:
    case CH_T_BUTTON: ch_tell_done(m, op, err); return;
    case CH_T_ADD: ch_add_reply(m, op, a, err); return;
    case CH_T_REMOVE: ch_remove_reply(m, op, a, err); return;
    case CH_T_REMOVE_INFO: ch_remove_info(m, op, a, err); return;
    case CH_T_RESIZE: ch_resize_reply(m, op, a, err); return;
    case CH_T_RESIZE_INFO: ch_resize_info(m, op, a, err); return;
    case CH_T_COUNTERS: ch_counters_reply(m, a, err); return;
    case CH_T_COUNTERS_INFO: ch_counters_info(m, a, err); return;
    case CH_T_RESET: reset_reply(m, op, err); return;
    case CH_T_QUIT:
        ch_tell_done(m, op, a ? err : NULL);
        return; /* a closed socket is its purpose */
    }
}

static void on_reply(void *arg, const struct ch_call *c, const struct ch_answer *a,
                     const viv_error *why)
{
    viv_error err = VIV_ERROR_INIT;

    if (why)
        err = *why;
    else if (a->status >= 300)
        (void)ch_answer_fail(a, c->verb, &err);
    on_answer(arg, (enum ch_tag)c->tag, c->op, a, err.code ? &err : NULL);
}

static void on_end(void *arg, const viv_error *why)
{
    ch_hot_ended(arg, why);
}

/* ---- slots ---- */

void ch_attach(struct ch_machine *m, const struct vivi_machine_start *s)
{
    m->host = s->host;
    m->run_dir = s->run_dir;
    m->run = s->run;
}

static int begin(void *priv, const struct vivi_machine_start *s, bool adopting, uint64_t op,
                 viv_error *err)
{
    struct ch_machine *m = priv;
    char path[512];
    int r;

    ch_attach(m, s);
    m->requests = s->requests;
    m->adopting = adopting;
    m->move.incoming = s->incoming;
    m->phase = CH_GONE;
    (void)snprintf(path, sizeof(path), "%s/" CH_PORT_API, s->run_dir);
    r = ch_http_open(&m->http, s->host->loop, path,
                     &(struct ch_handler){.arg = m, .reply = on_reply, .end = on_end}, err);
    if (r >= 0)
        r = ch_get(m, "vmm.ping", CH_T_PING, 0, err);
    if (r < 0)
        return vivi_wrap(err, r, "cloud-hypervisor");
    m->phase = CH_OPENING;
    m->begin_op = op;
    return 0;
}

static int ch_start(void *m, const struct vivi_machine_start *s, uint64_t op, viv_error *err)
{
    return begin(m, s, false, op, err);
}

static int ch_adopt(void *m, const struct vivi_machine_start *s, uint64_t op, viv_error *err)
{
    return begin(m, s, true, op, err);
}

void ch_drained(void *priv, uint64_t token, uint64_t log_size)
{
    struct ch_machine *m = priv;

    (void)log_size;
    if (token != 0 && token == m->drain_adopt) {
        m->drain_adopt = 0;
        if (m->cli)
            ch_cli_drained(m);
        else
            settle(m);
    } else if (token != 0 && token == m->drain_reset) {
        ch_reset_drained(m);
    } else if (token != 0 && token == m->drain_log) {
        ch_reset_logged(m);
    } else if (token != 0 && token == m->move.drain) {
        ch_move_drained(m);
    }
}

static int ch_query(void *m, uint64_t op, viv_error *err)
{
    return ch_get(m, "vm.info", CH_T_QUERY, op, err);
}

static int ch_quit(void *priv, uint64_t op, viv_error *err)
{
    struct ch_machine *m = priv;

    m->quitting = true;
    return ch_ask(m, "vmm.shutdown", CH_T_QUIT, op, err);
}

static int ch_power_button(void *m, uint64_t op, viv_error *err)
{
    return ch_ask(m, "vm.power-button", CH_T_BUTTON, op, err);
}

static int ch_pause(void *m, uint64_t op, viv_error *err)
{
    return ch_ask(m, "vm.pause", CH_T_PAUSE, op, err);
}

static int ch_resume(void *m, uint64_t op, viv_error *err)
{
    return ch_ask(m, "vm.resume", CH_T_RESUME, op, err);
}

static int ch_reset(void *priv, uint64_t op, viv_error *err)
{
    struct ch_machine *m = priv;
    int r;

    if (m->reset_op)
        return vivi_fail(err, VIV_E_BUSY, "cloud-hypervisor: a reset is under way");
    r = ch_ask(m, "vm.reboot", CH_T_RESET, op, err);
    if (r < 0)
        return r;
    m->reset_op = op;
    m->reset_answered = m->reset_seen = false;
    return 0;
}

/* What the VMM writes to a place of ours. */
static int save_to(struct ch_machine *m, const char *path, const struct ch_request *r,
                   viv_error *err)
{
    struct ch_request full = *r;
    json_t *body = json_pack("{s:o?}", "destination_url", json_sprintf("file://%s", path));
    int n;

    if (!body)
        return vivi_fail_oom(err);
    full.body = body;
    n = ch_http_send(&m->http, &full, err);
    json_decref(body);
    return n;
}

static int ch_snapshot(void *m, const char *dir, uint64_t op, viv_error *err)
{
    const struct ch_request r = {.verb = "vm.snapshot", .tag = CH_T_SNAPSHOT, .op = op};

    return save_to(m, dir, &r, err);
}

static int ch_nmi(void *m, uint64_t op, viv_error *err)
{
    return ch_ask(m, "vm.nmi", CH_T_NMI, op, err);
}

static int ch_coredump(void *m, const char *path, uint64_t op, viv_error *err)
{
    const struct ch_request r = {.verb = "vm.coredump", .tag = CH_T_COREDUMP, .op = op};

    return save_to(m, path, &r, err);
}

void ch_done(void *priv)
{
    struct ch_machine *m = priv;

    if (m->later)
        m->host->loop->timer_stop(m->later);
    ch_http_close(&m->http);
    ch_agents_done(m);
    ch_raws_done(m);
    ch_stream_done(m);
    ch_hot_done(m);
    ch_move_done(m);
    memset(m, 0, sizeof(*m));
}

static const struct vivi_driver_effects *ch_effects_of(const struct vivi_config *c)
{
    return c->ch_mode == VIVI_CH_CLI ? &vivi_effects_ch_cli : &vivi_effects_cloud_hypervisor;
}

const struct vivi_driver_effects vivi_effects_cloud_hypervisor = {
    .name = "cloud-hypervisor",
    .of = ch_effects_of,
    .agent_fresh = true, /* every vsock connection is a new one */
    .taps_up = true,
    .machine_size = sizeof(struct ch_machine),
    .start = ch_start,
    .adopt = ch_adopt,
    .input = ch_input,
    .drained = ch_drained,
    .query = ch_query,
    .quit = ch_quit,
    .power_button = ch_power_button,
    .pause = ch_pause,
    .resume = ch_resume,
    .reset = ch_reset,
    .agent_connect = ch_agent_connect,
    .snapshot = ch_snapshot,
    .nmi = ch_nmi,
    .coredump = ch_coredump,
    .raw = ch_raw,
    .raw_ms = ch_raw_ms,
    .raw_drop = ch_raw_drop,
    .upgrades = true,
    .migrate_send = ch_migrate_send,
    .receive_abort = ch_receive_abort,
    .device_kinds = VIVI_DEVICE_BIT(VIVI_DEV_DISK) | VIVI_DEVICE_BIT(VIVI_DEV_NET) |
                    VIVI_DEVICE_BIT(VIVI_DEV_SHARE) | VIVI_DEVICE_BIT(VIVI_DEV_PMEM) |
                    VIVI_DEVICE_BIT(VIVI_DEV_VDPA) | VIVI_DEVICE_BIT(VIVI_DEV_VFIO) |
                    VIVI_DEVICE_BIT(VIVI_DEV_USER) | VIVI_DEVICE_BIT(VIVI_DEV_VHOST_USER) |
                    VIVI_DEVICE_BIT(VIVI_DEV_VSOCK),
    .may_device = ch_may_device,
    .device_add = ch_device_add,
    .device_remove = ch_device_remove,
    .resize_kinds = VIVI_RESIZE_BIT(VIVI_RESIZE_CPUS) | VIVI_RESIZE_BIT(VIVI_RESIZE_MEMORY) |
                    VIVI_RESIZE_BIT(VIVI_RESIZE_BALLOON) | VIVI_RESIZE_BIT(VIVI_RESIZE_DISK) |
                    VIVI_RESIZE_BIT(VIVI_RESIZE_ZONE),
    .may_resize = ch_may_resize,
    .resize = ch_resize_slot,
    .counters = ch_counters,
    .done = ch_done,
};
