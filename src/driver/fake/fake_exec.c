/* What the pretended guest's agent can run. Each program is a state that play() moves on. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "driver/fake/fake_agent.h"

#define ARGS_MAX   16
#define CHUNK_BEST 16384u

struct request {
    const struct vivi_aw_frame *f;
    const char *args[ARGS_MAX];
    size_t n;
};

/* ---- answers ---- */

static void finish_exit(struct fake_agent *a, struct fake_stream *s, uint64_t code)
{
    char text[64];
    struct vivi_aw_writer w = VIVI_AW_WRITER(text);

    vivi_aw_put_u64(&w, "exit", code);
    fake_agent_result(a, s, &w);
}

static void finish_signal(struct fake_agent *a, struct fake_stream *s, uint64_t sig, bool timeout)
{
    char text[64];
    struct vivi_aw_writer w = VIVI_AW_WRITER(text);

    vivi_aw_put_u64(&w, "signal", sig);
    if (timeout)
        vivi_aw_put_u64(&w, "timeout", 1);
    fake_agent_result(a, s, &w);
}

static void finish_error(struct fake_agent *a, struct fake_stream *s, int code, const char *text)
{
    char fields[400];
    struct vivi_aw_writer w = VIVI_AW_WRITER(fields);
    viv_error err = VIV_ERROR_INIT;

    (void)vivi_fail(&err, code, "%s", text);
    vivi_aw_put_error(&w, &err);
    fake_agent_result(a, s, &w);
}

static void finish_not_found(struct fake_agent *a, struct fake_stream *s, const char *name)
{
    char fields[300], text[200];
    struct vivi_aw_writer w = VIVI_AW_WRITER(fields);

    (void)snprintf(text, sizeof(text), "%.100s: command not found", name);
    vivi_aw_put_u64(&w, "exit", 127);
    vivi_aw_put(&w, "text", text);
    fake_agent_result(a, s, &w);
}

/* Short output, within the credit that a stream begins with. */
static void print(struct fake_agent *a, struct fake_stream *s, uint16_t channel, const char *text)
{
    size_t n = strlen(text);

    if (n == 0 || n > s->credit.send)
        return;
    vivi_aw_credit_sent(&s->credit, n);
    fake_agent_send(
        a,
        &(struct vivi_aw_frame){
            .type = VIVI_AW_DATA, .channel = channel, .stream = s->id, .payload = text, .len = n});
}

static void started(struct fake_agent *a, const struct fake_stream *s)
{
    static const char text[] = "pid=42";

    fake_agent_send(
        a, &(struct vivi_aw_frame){
               .type = VIVI_AW_STARTED, .stream = s->id, .payload = text, .len = sizeof(text)});
}

/* ---- programs that are over at once ---- */

static void print_args(struct fake_agent *a, struct fake_stream *s, const struct request *q,
                       uint16_t channel)
{
    char line[4096] = "";

    for (size_t i = 1; i < q->n; i++) {
        (void)strncat(line, i > 1 ? " " : "", sizeof(line) - strlen(line) - 1);
        (void)strncat(line, q->args[i], sizeof(line) - strlen(line) - 2);
    }
    (void)strncat(line, "\n", sizeof(line) - strlen(line) - 1);
    print(a, s, channel, line);
    finish_exit(a, s, 0);
}

static void print_env(struct fake_agent *a, struct fake_stream *s, const struct request *q)
{
    static const char *const keys[] = {"env", "cwd", "user", "tty", "rows", "cols", "timeout_ms"};
    char line[600];

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const char *v;

        for (size_t at = 0;
             (v = vivi_aw_field_next(q->f->payload, q->f->len, keys[i], &at)) != NULL;) {
            (void)snprintf(line, sizeof(line), "%s=%.500s\n", keys[i], v);
            print(a, s, VIVI_AW_STDOUT, line);
        }
    }
    finish_exit(a, s, 0);
}

/* The wall clock of the guest in ms; with an argument that is what it is set to. */
static void date(struct fake_agent *a, struct fake_stream *s, const struct request *q)
{
    char line[32];

    if (q->n > 1)
        a->wall_off_us = (strtoll(q->args[1], NULL, 10) - vivi_wall_ms()) * 1000;
    (void)snprintf(line, sizeof(line), "%" PRId64 "\n", vivi_wall_ms() + a->wall_off_us / 1000);
    print(a, s, VIVI_AW_STDOUT, line);
    finish_exit(a, s, 0);
}

/* ---- requests ---- */

static uint64_t number(const struct request *q, size_t i)
{
    return i < q->n ? strtoull(q->args[i], NULL, 10) : 0;
}

static bool run_short(struct fake_agent *a, struct fake_stream *s, const struct request *q)
{
    const char *name = q->args[0];

    if (strcmp(name, "true") == 0)
        finish_exit(a, s, 0);
    else if (strcmp(name, "false") == 0)
        finish_exit(a, s, 1);
    else if (strcmp(name, "exit") == 0)
        finish_exit(a, s, number(q, 1) & 0xff);
    else if (strcmp(name, "signal") == 0)
        finish_signal(a, s, number(q, 1) & 0x7f, false);
    else if (strcmp(name, "echo") == 0)
        print_args(a, s, q, VIVI_AW_STDOUT);
    else if (strcmp(name, "err") == 0)
        print_args(a, s, q, VIVI_AW_STDERR);
    else if (strcmp(name, "env") == 0)
        print_env(a, s, q);
    else if (strcmp(name, "date") == 0)
        date(a, s, q);
    else
        return false;
    return true;
}

static void run(struct fake_agent *a, struct fake_stream *s, const struct request *q)
{
    static const struct {
        const char *name;
        enum fake_program program;
    } longer[] = {{"cat", FAKE_P_CAT},   {"zeros", FAKE_P_ZEROS}, {"count", FAKE_P_COUNT},
                  {"wait", FAKE_P_WAIT}, {"size", FAKE_P_SIZE},   {"sleep", FAKE_P_SLEEP}};
    uint64_t timeout_ms = 0;

    s->program = FAKE_P_WAIT; /* taken, whatever it will be */
    s->tty = vivi_aw_field(q->f->payload, q->f->len, "tty") != NULL;
    s->eof = !s->tty && !vivi_aw_field(q->f->payload, q->f->len, "stdin");
    (void)vivi_aw_field_u64(q->f, "timeout_ms", UINT32_MAX, &timeout_ms, NULL);
    if (timeout_ms > 0)
        s->timeout_us = vivi_mono_us() + timeout_ms * 1000;
    for (size_t i = 0; i < ARRAY_SIZE(longer); i++) {
        if (strcmp(longer[i].name, q->args[0]) != 0)
            continue;
        s->program = longer[i].program;
        s->left = number(q, 1);
        if (s->program == FAKE_P_SLEEP)
            s->due_us = vivi_mono_us() + s->left * 1000;
        started(a, s);
        return;
    }
    if (run_short(a, s, q))
        return;
    finish_not_found(a, s, q->args[0]);
}

static void info(struct fake_agent *a, struct fake_stream *s)
{
    print(a, s, VIVI_AW_STDOUT,
          "{\"os\":\"viv-fake\",\"hostname\":\"fake\",\"addresses\":[\"192.0.2.1\"],"
          "\"uptime_ms\":1000,\"cpus\":1}");
    fake_agent_result(a, s, &(struct vivi_aw_writer){.data = NULL});
}

static void port(struct fake_agent *a, struct fake_stream *s, const struct vivi_aw_frame *f)
{
    char text[32];
    struct vivi_aw_writer w = VIVI_AW_WRITER(text);
    uint64_t number = 0;

    (void)vivi_aw_field_u64(f, "port", UINT16_MAX, &number, NULL);
    vivi_aw_put(&w, "listening", number == a->port ? "any" : "no");
    fake_agent_result(a, s, &w);
}

/* As viv-agent does it: a clock that is off by no more than within_ns stays as it is. */
static void clock_request(struct fake_agent *a, struct fake_stream *s,
                          const struct vivi_aw_frame *f)
{
    char fields[64], text[24];
    struct vivi_aw_writer w = VIVI_AW_WRITER(fields);
    uint64_t realtime_ns = 0, within_ns = 0;
    int64_t by_ns;

    (void)vivi_aw_field_u64(f, "realtime_ns", INT64_MAX, &realtime_ns, NULL);
    (void)vivi_aw_field_u64(f, "within_ns", INT64_MAX, &within_ns, NULL);
    by_ns = (int64_t)realtime_ns - vivi_wall_ns() - a->wall_off_us * 1000;
    if (by_ns <= (int64_t)within_ns && by_ns >= -(int64_t)within_ns)
        by_ns = 0;
    a->wall_off_us += by_ns / 1000;
    (void)snprintf(text, sizeof(text), "%" PRId64, by_ns);
    vivi_aw_put(&w, "adjusted_ns", text);
    fake_agent_result(a, s, &w);
}

static void by(struct fake_agent *a, struct fake_stream *s)
{
    char text[32];
    struct vivi_aw_writer w = VIVI_AW_WRITER(text);

    vivi_aw_put(&w, "by", "init");
    fake_agent_result(a, s, &w);
}

void fake_exec_open(struct fake_agent *a, struct fake_stream *s, const struct vivi_aw_frame *f)
{
    struct request q = {.f = f};
    const char *kind, *v;

    s->program = FAKE_P_WAIT;
    if (!vivi_aw_fields_ok(f->payload, f->len)) {
        finish_error(a, s, VIV_E_PROTOCOL, "a request that is no list of fields");
        return;
    }
    kind = vivi_aw_kind(f->payload, f->len);
    for (size_t at = 0;
         q.n < ARGS_MAX && (v = vivi_aw_field_next(f->payload, f->len, "arg", &at)) != NULL;)
        q.args[q.n++] = v;
    if (strcmp(kind, "exec") == 0 && q.n > 0) {
        run(a, s, &q);
    } else if (strcmp(kind, "shell") == 0) {
        q.args[0] = "cat";
        q.n = 1;
        run(a, s, &q);
    } else if (strcmp(kind, "info") == 0) {
        info(a, s);
    } else if (strcmp(kind, "port") == 0) {
        port(a, s, f);
    } else if (strcmp(kind, "clock") == 0) {
        clock_request(a, s, f);
    } else if (strcmp(kind, "shutdown") == 0) {
        by(a, s);
        a->power_off = true;
    } else if (strcmp(kind, "reboot") == 0) {
        by(a, s);
        a->reboot = true;
    } else {
        finish_error(a, s, VIV_E_UNSUPPORTED, "the pretended guest cannot do that");
    }
}

/* ---- what comes for a running program ---- */

static void give_credit(struct fake_agent *a, struct fake_stream *s, size_t n)
{
    uint32_t back = vivi_aw_credit_consumed(&s->credit, n);
    unsigned char value[4];
    struct vivi_aw_frame f;

    if (back == 0)
        return;
    f = vivi_aw_credit_frame(s->id, back, value);
    fake_agent_send(a, &f);
}

void fake_exec_data(struct fake_agent *a, struct fake_stream *s, const struct vivi_aw_frame *f)
{
    if (vivi_aw_credit_received(&s->credit, f->len) < 0) {
        finish_error(a, s, VIV_E_PROTOCOL, "more data than credit");
        return;
    }
    if (s->tty && f->len > 0 && memchr(f->payload, '\3', f->len)) {
        finish_signal(a, s, SIGINT, false);
        return;
    }
    if (s->tty && f->len > 0 && memchr(f->payload, '\4', f->len))
        s->eof = true;
    if (s->program == FAKE_P_CAT) {
        (void)vivi_buf_add(&s->held, f->payload, f->len); /* within the window */
        return;
    }
    s->sum += f->len;
    if (s->program == FAKE_P_COUNT)
        give_credit(a, s, f->len); /* the others never read */
}

void fake_exec_control(struct fake_agent *a, struct fake_stream *s, const struct vivi_aw_frame *f)
{
    uint64_t sig = 0, rows = 0, cols = 0;
    char line[64];

    if (!vivi_aw_fields_ok(f->payload, f->len))
        return;
    (void)vivi_aw_field_u64(f, "signal", 64, &sig, NULL);
    (void)vivi_aw_field_u64(f, "rows", UINT16_MAX, &rows, NULL);
    (void)vivi_aw_field_u64(f, "cols", UINT16_MAX, &cols, NULL);
    if (rows > 0 && s->program == FAKE_P_SIZE) {
        (void)snprintf(line, sizeof(line), "%" PRIu64 " %" PRIu64 "\n", rows, cols);
        print(a, s, VIVI_AW_STDOUT, line);
    }
    if (sig > 0)
        finish_signal(a, s, sig, false);
}

/* ---- moving on ---- */

static void send_data(struct fake_agent *a, struct fake_stream *s, const char *data, size_t n)
{
    vivi_aw_credit_sent(&s->credit, n);
    fake_agent_send(a, &(struct vivi_aw_frame){.type = VIVI_AW_DATA,
                                               .channel = VIVI_AW_STDOUT,
                                               .stream = s->id,
                                               .payload = data,
                                               .len = n});
}

static size_t some(const struct fake_agent *a, const struct fake_stream *s, uint64_t left)
{
    size_t n = left < CHUNK_BEST ? (size_t)left : CHUNK_BEST;

    if (a->out.len > FAKE_AGENT_OUT_SOME)
        return 0;
    return n < s->credit.send ? n : s->credit.send;
}

/* Byte i of the stream is i modulo 251: what is lost or doubled on the way shows. */
static void play_zeros(struct fake_agent *a, struct fake_stream *s)
{
    char chunk[CHUNK_BEST];
    size_t n;

    while ((n = some(a, s, s->left)) > 0) {
        for (size_t i = 0; i < n; i++)
            chunk[i] = (char)((s->sum + i) % 251);
        send_data(a, s, chunk, n);
        s->sum += n;
        s->left -= n;
    }
    if (s->left == 0)
        finish_exit(a, s, 0);
}

static void play_cat(struct fake_agent *a, struct fake_stream *s)
{
    size_t n;

    while ((n = some(a, s, s->held.len)) > 0) {
        send_data(a, s, s->held.data, n);
        vivi_buf_consume(&s->held, n);
        give_credit(a, s, n);
    }
    if (s->eof && s->held.len == 0)
        finish_exit(a, s, 0);
}

static void play_end_of_input(struct fake_agent *a, struct fake_stream *s)
{
    char line[32];

    if (s->program == FAKE_P_COUNT) {
        (void)snprintf(line, sizeof(line), "%" PRIu64 "\n", s->sum);
        print(a, s, VIVI_AW_STDOUT, line);
    }
    finish_exit(a, s, 0);
}

uint64_t fake_exec_play(struct fake_agent *a, struct fake_stream *s)
{
    uint64_t now = vivi_mono_us(), next;

    if (s->timeout_us <= now) {
        finish_signal(a, s, SIGKILL, true);
        return FAKE_AGENT_NEVER;
    }
    if (s->due_us <= now) {
        finish_exit(a, s, 0);
        return FAKE_AGENT_NEVER;
    }
    next = s->due_us < s->timeout_us ? s->due_us : s->timeout_us;
    if (s->program == FAKE_P_ZEROS)
        play_zeros(a, s);
    else if (s->program == FAKE_P_CAT)
        play_cat(a, s);
    else if (s->eof && (s->program == FAKE_P_COUNT || s->program == FAKE_P_SIZE))
        play_end_of_input(a, s);
    if (s->program == FAKE_P_NONE)
        return FAKE_AGENT_NEVER;
    return next == FAKE_AGENT_NEVER ? next : next - now;
}
