/*
 * viv-fake: a VMM without a guest. It is a real process with FIFO serial, a control socket and an
 * event stream that survive their readers, and plays a script (fake.md); so everything above a
 * driver can be tried in milliseconds, without an image.
 *
 * Control protocol, one line each way over the socket that is passed listening; one controller at
 * a time, the next one is served when the first hangs up:
 *     fake 1                              greeting
 *     <id> <verb>                         run state pause resume button reset continue quit
 *     <id> add KIND ID                    a device; done when answered
 *     <id> remove KIND ID                 accepted when answered; events tell the rest
 *     <id> resize cpus|memory|balloon N   the same
 *     <id> resize disk ID N               the same
 *     <id> counters                       <id> counters {…}
 *     <id> ok <state>                     new running paused resetting "ended <reason> [text]"
 *     <id> error <text>
 * Events, one line each: "removed KIND ID", "kept KIND ID [text]", "resizing WHAT DONE TOTAL",
 * "resized WHAT N", "agent open", "agent closed", "reset" (stopped at the gate until "continue"),
 * "end <reason> [text]" (stands still until "quit").
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "driver/fake/vmm.h"

#define NEVER UINT64_MAX

struct program {
    struct fake_vmm vmm;
    int listen_fd, control_fd, input_fd;
    struct vivi_buf in;
};

/* ---- control ---- */

static void hang_up(struct program *p)
{
    vivi_close(&p->control_fd);
    vivi_buf_reset(&p->in);
    memset(p->vmm.delayed, 0, sizeof(p->vmm.delayed));
}

/* Answers are short; a controller that lets them pile up is cut off. */
static void send_line(struct program *p, const char *line)
{
    size_t len = strlen(line);

    if (p->control_fd >= 0 &&
        send(p->control_fd, line, len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)len)
        hang_up(p);
}

static void answer_state(struct program *p, uint64_t id)
{
    static const char *const words[] = {[FAKE_NEW] = "new",
                                        [FAKE_RUNNING] = "running",
                                        [FAKE_PAUSED] = "paused",
                                        [FAKE_RESETTING] = "resetting",
                                        [FAKE_ENDED] = "ended"};
    const struct fake_vmm *v = &p->vmm;
    bool ended = v->state == FAKE_ENDED;
    char line[400];

    (void)snprintf(line, sizeof(line), "%" PRIu64 " ok %s%s%s\n", id, words[v->state],
                   ended ? " " : "", ended ? v->end : "");
    send_line(p, line);
}

static void answer_error(struct program *p, uint64_t id, const char *text)
{
    char line[400];

    (void)snprintf(line, sizeof(line), "%" PRIu64 " error %.300s\n", id, text);
    send_line(p, line);
}

static const struct fake_rule *find_rule(const struct fake_vmm *v, enum fake_rule_kind kind,
                                         enum fake_verb verb)
{
    for (size_t i = 0; i < v->script->n_rules; i++)
        if (v->script->rules[i].kind == kind && v->script->rules[i].verb == verb)
            return &v->script->rules[i];
    return NULL;
}

/* "disk data", "cpus 4", "disk data 4096": what comes behind the verb. */
static const char *apply_change(struct fake_vmm *v, enum fake_verb verb, const char *args)
{
    char first[16], second[72], what[96];
    unsigned long long to;

    if (verb != FAKE_V_RESIZE) {
        if (sscanf(args, "%15s %71s", first, second) != 2)
            return "no such command";
        return verb == FAKE_V_ADD ? fake_hot_add(v, first, second)
                                  : fake_hot_remove(v, first, second);
    }
    if (sscanf(args, "disk %71s %llu", second, &to) == 2) {
        (void)snprintf(what, sizeof(what), "disk %s", second);
        return fake_hot_resize(v, what, to);
    }
    if (sscanf(args, "%15s %llu", first, &to) != 2)
        return "no such command";
    return fake_hot_resize(v, first, to);
}

static void apply_verb(struct fake_vmm *v, enum fake_verb verb)
{
    switch (verb) {
    case FAKE_V_RUN:
        if (v->state == FAKE_NEW)
            fake_guest_boot(v);
        break;
    case FAKE_V_PAUSE: fake_guest_pause(v); break;
    case FAKE_V_RESUME: fake_guest_resume(v); break;
    case FAKE_V_BUTTON: fake_guest_button(v); break;
    case FAKE_V_RESET:
        if (v->state == FAKE_RUNNING || v->state == FAKE_PAUSED)
            fake_guest_reset(v);
        break;
    case FAKE_V_CONTINUE:
        if (v->state == FAKE_RESETTING)
            fake_guest_boot(v);
        break;
    case FAKE_V_NMI: fake_guest_nmi(v); break;
    case FAKE_V_QUIT: v->quit = true; break;
    case FAKE_V_HELLO:
    case FAKE_V_STATE:
    case FAKE_V_ADD:
    case FAKE_V_REMOVE:
    case FAKE_V_RESIZE:
    case FAKE_V_COUNTERS:
    case FAKE_V_COREDUMP:
    case FAKE_V_COUNT_: break;
    }
}

static void answer_counters(struct program *p, uint64_t id)
{
    struct vivi_buf out = VIVI_BUF(FAKE_CONTROL_BYTES);

    (void)vivi_buf_printf(&out, "%" PRIu64 " counters ", id);
    fake_hot_counters(&p->vmm, &out);
    (void)vivi_buf_str(&out, "\n");
    if (out.failed)
        answer_error(p, id, "too many devices");
    else
        send_line(p, out.data);
    vivi_buf_done(&out);
}

static void do_verb(struct program *p, uint64_t id, enum fake_verb verb, const char *args)
{
    const struct fake_rule *fail = find_rule(&p->vmm, FAKE_FAIL, verb);
    const char *why = NULL;

    if (find_rule(&p->vmm, FAKE_HANG, verb))
        return;
    if (fail) {
        answer_error(p, id, fail->text ? fail->text : "told to fail");
        return;
    }
    if (verb == FAKE_V_HELLO) {
        send_line(p, "fake 1\n");
        return;
    }
    if (verb == FAKE_V_COUNTERS) {
        answer_counters(p, id);
        return;
    }
    if (verb == FAKE_V_ADD || verb == FAKE_V_REMOVE || verb == FAKE_V_RESIZE)
        why = apply_change(&p->vmm, verb, args);
    else if (verb == FAKE_V_COREDUMP)
        why = fake_guest_core(args);
    else
        apply_verb(&p->vmm, verb);
    if (why)
        answer_error(p, id, why);
    else
        answer_state(p, id);
}

static void begin_verb(struct program *p, uint64_t id, enum fake_verb verb, const char *args)
{
    const struct fake_rule *slow = find_rule(&p->vmm, FAKE_SLOW, verb);

    if (!slow) {
        do_verb(p, id, verb, args);
        return;
    }
    for (size_t i = 0; i < FAKE_MAX_DELAYED; i++) {
        struct fake_delayed *d = &p->vmm.delayed[i];

        if (d->due_us == 0) {
            *d = (struct fake_delayed){
                .due_us = vivi_mono_us() + slow->by_us, .id = id, .verb = verb};
            (void)snprintf(d->args, sizeof(d->args), "%s", args);
            return;
        }
    }
    answer_error(p, id, "too many commands");
}

/* Does what was delayed until now. Returns µs until the next. */
static uint64_t do_delayed(struct program *p)
{
    uint64_t now = vivi_mono_us(), next = NEVER;

    for (size_t i = 0; i < FAKE_MAX_DELAYED; i++) {
        struct fake_delayed d = p->vmm.delayed[i];

        if (d.due_us == 0)
            continue;
        if (d.due_us > now) {
            next = d.due_us - now < next ? d.due_us - now : next;
            continue;
        }
        p->vmm.delayed[i].due_us = 0;
        do_verb(p, d.id, d.verb, d.args);
    }
    return next;
}

static void control_line(struct program *p, char *line)
{
    char *end, *args;
    unsigned long long id = strtoull(line, &end, 10);
    enum fake_verb verb;

    args = *end == ' ' ? strchr(end + 1, ' ') : NULL;
    if (args)
        *args++ = '\0';
    if (end == line || *end != ' ' || fake_verb_parse(end + 1, &verb) < 0 || verb == FAKE_V_HELLO) {
        answer_error(p, id, "no such command");
        return;
    }
    begin_verb(p, id, verb, args ? args : "");
}

static void control_readable(struct program *p)
{
    ssize_t n;
    char *lf;

    if (vivi_buf_reserve(&p->in, 1024) < 0) {
        hang_up(p);
        return;
    }
    n = recv(p->control_fd, p->in.data + p->in.len, 1024, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        hang_up(p);
        return;
    }
    p->in.len += (size_t)n;
    while (p->control_fd >= 0 && p->in.len > 0 && (lf = memchr(p->in.data, '\n', p->in.len))) {
        *lf = '\0';
        control_line(p, p->in.data);
        if (p->control_fd >= 0)
            vivi_buf_consume(&p->in, (size_t)(lf + 1 - p->in.data));
    }
}

static void control_accept(struct program *p)
{
    if (vivi_accept(p->listen_fd, &p->control_fd, NULL) > 0)
        begin_verb(p, 0, FAKE_V_HELLO, "");
}

/* ---- console input ---- */

static void input_readable(struct program *p)
{
    char text[1024];
    ssize_t n = read(p->input_fd, text, sizeof(text));

    if (n > 0)
        fake_guest_input(&p->vmm, text, (size_t)n);
}

/* ---- the loop ---- */

enum { P_CONTROL, P_INPUT, P_SERIAL, P_EVENTS, P_AGENT, P_COUNT };

static int timeout_of(uint64_t us)
{
    if (us == NEVER)
        return -1;
    us = (us + 999) / 1000;
    return us > 60000 ? 60000 : (int)us;
}

static uint64_t least(uint64_t a, uint64_t b, uint64_t c)
{
    a = a < b ? a : b;
    return a < c ? a : c;
}

static void fill_polls(const struct program *p, struct pollfd fds[P_COUNT])
{
    const struct fake_vmm *v = &p->vmm;
    int control = p->control_fd >= 0 ? p->control_fd : p->listen_fd;
    short wanted;
    int agent = fake_agent_poll(&v->agent, &wanted);

    fds[P_CONTROL] = (struct pollfd){.fd = v->api_hung ? -1 : control, .events = POLLIN};
    fds[P_INPUT] = (struct pollfd){.fd = p->input_fd, .events = POLLIN};
    fds[P_SERIAL] =
        (struct pollfd){.fd = v->serial.pending.len > 0 ? v->serial.fd : -1, .events = POLLOUT};
    fds[P_EVENTS] =
        (struct pollfd){.fd = v->events.pending.len > 0 ? v->events.fd : -1, .events = POLLOUT};
    /* The connection is the VMM's, what comes over it the guest's, who may stand still. */
    fds[P_AGENT] = (struct pollfd){
        .fd = v->agent.fd < 0 || v->state == FAKE_RUNNING || !v->agent.alive ? agent : -1,
        .events = wanted};
}

static void handle_polls(struct program *p, const struct pollfd fds[P_COUNT])
{
    if (fds[P_SERIAL].revents)
        fake_out_flush(&p->vmm.serial);
    if (fds[P_EVENTS].revents)
        fake_out_flush(&p->vmm.events);
    if (fds[P_INPUT].revents)
        input_readable(p);
    if (fds[P_AGENT].revents)
        fake_agent_handle(&p->vmm.agent, fds[P_AGENT].revents);
    if (fds[P_CONTROL].revents && fds[P_CONTROL].fd == p->control_fd)
        control_readable(p);
    else if (fds[P_CONTROL].revents)
        control_accept(p);
}

static int loop(struct program *p)
{
    struct pollfd fds[P_COUNT];

    for (;;) {
        uint64_t a = do_delayed(p);
        uint64_t d = p->vmm.state == FAKE_RUNNING ? fake_agent_play(&p->vmm.agent) : NEVER;
        uint64_t b = fake_guest_play(&p->vmm), c = fake_hot_play(&p->vmm);

        if (p->vmm.quit)
            return p->vmm.exit_code;
        fill_polls(p, fds);
        if (poll(fds, P_COUNT, timeout_of(least(least(a, b, c), d, NEVER))) >= 0)
            handle_polls(p, fds);
        else if (errno != EINTR)
            return 1;
    }
}

/* ---- start ---- */

struct options {
    const char *control, *serial, *events, *nonce, *script, *name, *devices, *agent;
};

static int parse_options(int argc, char **argv, struct options *o)
{
    struct {
        const char *name, **value;
    } table[] = {{"--control", &o->control}, {"--serial", &o->serial}, {"--events", &o->events},
                 {"--nonce", &o->nonce},     {"--script", &o->script}, {"--name", &o->name},
                 {"--devices", &o->devices}, {"--agent", &o->agent}};

    for (int i = 1; i < argc; i++) {
        size_t k = 0;

        while (k < ARRAY_SIZE(table) && strcmp(table[k].name, argv[i]) != 0)
            k++;
        if (k == ARRAY_SIZE(table) || i + 1 == argc) {
            (void)fprintf(stderr, "viv-fake: unknown or incomplete option %s\n", argv[i]);
            return -1;
        }
        *table[k].value = argv[++i];
    }
    return o->control && o->serial && o->events ? 0 : -1;
}

/* Read-write, so that the FIFO keeps its contents and never hangs up while we live. */
static int open_fifo(const char *base, const char *suffix)
{
    char path[512];
    int fd;

    (void)snprintf(path, sizeof(path), "%s%s", base, suffix);
    fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        (void)fprintf(stderr, "viv-fake: cannot open %s: %s\n", path, strerror(errno));
    return fd;
}

static int run(const struct options *o, const struct fake_script *script)
{
    static struct program p = {.control_fd = -1};
    struct fake_vmm *v = &p.vmm;

    v->script = script;
    v->nonce = o->nonce ? o->nonce : "";
    v->button_due_us = NEVER;
    v->button_ignored = script->ignore_button;
    fake_hot_init(v, o->devices);
    if (script->refuse) {
        (void)fprintf(stderr, "viv-fake: %s\n",
                      script->refuse_text ? script->refuse_text : "told to refuse");
        return script->refuse_code;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    if (script->ignore_term)
        (void)signal(SIGTERM, SIG_IGN);
    vivi_buf_init(&v->serial.pending, FAKE_SERIAL_PENDING_BYTES);
    vivi_buf_init(&v->events.pending, FAKE_EVENTS_PENDING_BYTES);
    vivi_buf_init(&p.in, FAKE_CONTROL_BYTES);
    fake_agent_init(&v->agent, o->agent ? (int)strtol(o->agent, NULL, 10) : -1);
    p.listen_fd = (int)strtol(o->control, NULL, 10);
    p.input_fd = open_fifo(o->serial, ".in");
    v->serial.fd = open_fifo(o->serial, ".out");
    v->events.fd = open_fifo(o->events, ".out");
    if (p.input_fd < 0 || v->serial.fd < 0 || v->events.fd < 0)
        return 1;
    if (vivi_fd_nonblock(p.listen_fd, true, NULL) < 0 ||
        (v->agent.listen_fd >= 0 && vivi_fd_nonblock(v->agent.listen_fd, true, NULL) < 0)) {
        (void)fprintf(stderr, "viv-fake: descriptor %s is no socket\n", o->control);
        return 1;
    }
    return loop(&p);
}

int main(int argc, char **argv)
{
    cleanup_fake_script struct fake_script *script = NULL;
    struct options o = {0};
    viv_error err = VIV_ERROR_INIT;

    if (parse_options(argc, argv, &o) < 0) {
        (void)fputs("usage: viv-fake --control FD --serial PATH --events PATH [--nonce HEX] "
                    "[--script TEXT] [--name NAME] [--devices KIND:ID,…] [--agent FD]\n",
                    stderr);
        return 2;
    }
    if (fake_script_parse(o.script, &script, &err) < 0) {
        (void)fprintf(stderr, "viv-fake: script: %s\n", err.message);
        return 2;
    }
    return run(&o, script);
}
