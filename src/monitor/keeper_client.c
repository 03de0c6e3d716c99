#include "monitor/keeper_client.h"

#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "model/parse.h"

#define SEND_TIMEOUT_MS 1000
#define MAX_FIELDS      8

/* Whatever the reason, it is told from the loop: a caller in the middle of its work must not find
 * itself replaced. */
static void tell_gone(void *arg)
{
    struct vivi_keeper_client *k = arg;

    k->loop->timer_stop(k->told);
    k->told = NULL;
    k->events->gone(k->ctx);
}

static void lose(struct vivi_keeper_client *k)
{
    if (k->dead)
        return;
    k->dead = true;
    k->loop->unwatch(k->watch);
    k->watch = NULL;
    if (k->loop->timer(k->loop->ctx, "keeper-gone", 0, tell_gone, k, &k->told, NULL) < 0)
        k->events->gone(k->ctx);
}

/* ---- what comes ---- */

static int number(const char *text, uint64_t *ret)
{
    return vivi_parse_u64(text, ret, NULL);
}

static int on_spawned(struct vivi_keeper_client *k, const char **f, size_t n)
{
    uint64_t req, pid, start;

    if (n != 3 || number(f[0], &req) < 0 || number(f[1], &pid) < 0 || number(f[2], &start) < 0 ||
        pid > INT32_MAX)
        return -VIV_E_PROTOCOL;
    k->events->spawned(k->ctx, req, &(struct vivi_proc_id){.pid = (pid_t)pid, .start_time = start});
    return 0;
}

static int on_spawn_failed(struct vivi_keeper_client *k, const char **f, size_t n)
{
    uint64_t req, sys_errno;

    if (n != 3 || number(f[0], &req) < 0 || number(f[1], &sys_errno) < 0 || sys_errno > 4095)
        return -VIV_E_PROTOCOL;
    k->events->spawn_failed(k->ctx, req, (int)sys_errno, f[2]);
    return 0;
}

static int on_exited(struct vivi_keeper_client *k, const char **f, size_t n)
{
    struct vivi_keeper_exit e = {0};
    uint64_t pid, status = 0;

    if (n != 5 || number(f[1], &e.run) < 0 || number(f[2], &pid) < 0 ||
        number(f[3], &e.proc.start_time) < 0 || pid > INT32_MAX)
        return -VIV_E_PROTOCOL;
    e.status_known = strcmp(f[4], "?") != 0;
    if (e.status_known && (number(f[4], &status) < 0 || status > INT32_MAX))
        return -VIV_E_PROTOCOL;
    e.role = f[0];
    e.proc.pid = (pid_t)pid;
    e.wstatus = (int)status;
    k->events->exited(k->ctx, &e);
    return 0;
}

static int on_grew(struct vivi_keeper_client *k, const char **f, size_t n)
{
    uint64_t size;

    if (n != 2 || number(f[1], &size) < 0)
        return -VIV_E_PROTOCOL;
    k->events->grew(k->ctx, f[0], size);
    return 0;
}

static int on_drained(struct vivi_keeper_client *k, const char **f, size_t n)
{
    uint64_t token, size;

    if (n != 3 || number(f[0], &token) < 0 || number(f[2], &size) < 0)
        return -VIV_E_PROTOCOL;
    k->events->drained(k->ctx, f[1], token, size);
    return 0;
}

static int on_lost(struct vivi_keeper_client *k, const char **f, size_t n)
{
    uint64_t sys_errno;

    if (n != 2 || number(f[1], &sys_errno) < 0 || sys_errno > 4095)
        return -VIV_E_PROTOCOL;
    k->events->lost(k->ctx, f[0], (int)sys_errno);
    return 0;
}

static int on_caller_gone(struct vivi_keeper_client *k, const char **f, size_t n)
{
    (void)f;
    if (n != 0)
        return -VIV_E_PROTOCOL;
    k->events->caller_gone(k->ctx);
    return 0;
}

static const struct {
    uint8_t op;
    int (*run)(struct vivi_keeper_client *k, const char **fields, size_t n);
} answers[] = {
    {VIVI_KO_SPAWNED, on_spawned},
    {VIVI_KO_SPAWN_FAILED, on_spawn_failed},
    {VIVI_KO_EXIT, on_exited},
    {VIVI_KO_GREW, on_grew},
    {VIVI_KO_DRAINED, on_drained},
    {VIVI_KO_LOST, on_lost},
    {VIVI_KO_CALLER_GONE, on_caller_gone},
};

/* An op that is not known comes from a newer keeper and means nothing to us. */
static int dispatch(struct vivi_keeper_client *k, const struct vivi_frame *f)
{
    const char *fields[MAX_FIELDS];
    int n = 0;

    if (f->len > 0)
        n = vivi_fields_split(f->payload, f->len, fields, MAX_FIELDS, NULL);
    if (n < 0)
        return n;
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        if (answers[i].op == f->op)
            return answers[i].run(k, fields, (size_t)n);
    }
    vivi_log(VIVI_LOG_WARN, "keeper: unknown message %u", f->op);
    return 0;
}

static void on_readable(void *arg, unsigned events)
{
    struct vivi_keeper_client *k = arg;
    viv_error err = VIV_ERROR_INIT;
    int r = vivi_frames_read(&k->in, k->fd, &err);

    (void)events;
    if (r == -VIV_E_BUSY)
        return;
    /* What a keeper said before it died still counts: an exit may be in it. */
    while (!k->dead) {
        cleanup_frame struct vivi_frame f = {0};
        int next = vivi_frames_next(&k->in, &f, &err);

        if (next == 0)
            break;
        if (next < 0 || dispatch(k, &f) < 0) {
            vivi_log(VIVI_LOG_ERROR, "keeper: message not understood");
            r = -VIV_E_PROTOCOL;
            break;
        }
    }
    if (r <= 0)
        lose(k);
}

int vivi_keeper_open(struct vivi_keeper_client *k, const struct vivi_loop *loop, int fd,
                     const struct vivi_keeper_events *events, void *ctx, viv_error *err)
{
    *k = (struct vivi_keeper_client){.loop = loop, .events = events, .ctx = ctx, .fd = fd};
    vivi_frames_init(&k->in);
    return loop->watch(loop->ctx, fd, VIVI_READ, on_readable, k, &k->watch, err);
}

void vivi_keeper_close(struct vivi_keeper_client *k)
{
    if (!k->loop)
        return;
    k->loop->unwatch(k->watch);
    k->watch = NULL;
    k->loop->timer_stop(k->told);
    k->told = NULL;
    k->dead = true;
    vivi_frames_done(&k->in);
}

/* ---- what goes ---- */

/* fields: each string with its NUL. fd −1: none. */
static int tell(struct vivi_keeper_client *k, uint8_t op, const struct vivi_buf *fields, int fd,
                viv_error *err)
{
    struct vivi_frame f = {.version = VIVI_KEEPER_VERSION, .op = op};
    int r;

    if (k->dead)
        return vivi_fail(err, VIV_E_IO, "the keeper is gone");
    if (fields) {
        r = vivi_buf_check(fields, err);
        if (r < 0)
            return r;
        f.payload = fields->data;
        f.len = fields->len;
    }
    if (fd >= 0)
        f.fds[f.n_fds++] = fd; /* borrowed: the frame is not given to vivi_frame_done */
    r = vivi_frame_send(k->fd, &f, SEND_TIMEOUT_MS, err);
    if (r < 0) {
        vivi_log(VIVI_LOG_WARN, "keeper: cannot be told: %s", err ? err->message : "");
        lose(k);
    }
    return r;
}

static void add(struct vivi_buf *b, const char *field)
{
    (void)vivi_buf_add(b, field, strlen(field) + 1); /* failure sticks, see tell */
}

static void add_number(struct vivi_buf *b, uint64_t n)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRIu64, n);
    add(b, text);
}

int vivi_keeper_hold(struct vivi_keeper_client *k, const char *name, int fd, viv_error *err)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(VIVI_FRAME_MAX);

    add(&b, name);
    return tell(k, VIVI_KO_HOLD, &b, fd, err);
}

int vivi_keeper_drop(struct vivi_keeper_client *k, const char *name, viv_error *err)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(VIVI_FRAME_MAX);

    add(&b, name);
    return tell(k, VIVI_KO_DROP, &b, -1, err);
}

int vivi_keeper_log(struct vivi_keeper_client *k, const struct vivi_keeper_log *l, viv_error *err)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(VIVI_FRAME_MAX);

    add(&b, l->name);
    add(&b, l->file);
    add_number(&b, l->limit_bytes);
    return tell(k, VIVI_KO_LOG, &b, l->fd, err);
}

int vivi_keeper_drain(struct vivi_keeper_client *k, const char *name, uint64_t token,
                      viv_error *err)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(VIVI_FRAME_MAX);

    add_number(&b, token);
    add(&b, name);
    return tell(k, VIVI_KO_DRAIN, &b, -1, err);
}

int vivi_keeper_quit(struct vivi_keeper_client *k, viv_error *err)
{
    return tell(k, VIVI_KO_QUIT, NULL, -1, err);
}

int vivi_keeper_spawn(struct vivi_keeper_client *k, const struct vivi_keeper_spawn *s,
                      viv_error *err)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(VIVI_FRAME_MAX);

    add_number(&b, s->req);
    add(&b, s->role);
    add_number(&b, s->run);
    add(&b, s->exe);
    add_number(&b, s->n_argv);
    for (size_t i = 0; i < s->n_argv; i++)
        add(&b, s->argv[i]);
    add_number(&b, s->n_map);
    for (size_t i = 0; i < s->n_map; i++) {
        char text[VIVI_KEEPER_NAME_MAX + 16];

        (void)snprintf(text, sizeof(text), "%d=%s", s->map[i].child_fd, s->map[i].name);
        add(&b, text);
    }
    return tell(k, VIVI_KO_SPAWN, &b, -1, err);
}
