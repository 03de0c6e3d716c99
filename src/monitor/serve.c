/*
 * The control socket.
 *
 * Theory of operation. A client is a socket, a bounded reader and a bounded queue of answers. An
 * answer is sent at once when nothing is queued before it (readiness must not wait for a turn of
 * the loop), the rest when the socket can take more. A client that does not read its answers is
 * not read either, and is dropped when its queue would exceed QUEUE_MAX; one that sends anything
 * but frames is dropped at once. Answers never free a client: a broken one is marked and collected
 * from the loop, so callers may walk their lists.
 *
 * While a VMM is being adopted, requests that depend on the outcome are held: the client is not
 * read on, which keeps its requests in order.
 */
#include "monitor/monitor.h"

#include <string.h>
#include <unistd.h>

#include "base/frame.h"
#include "base/log.h"
#include "store/control.h"

#define CLIENTS_MAX 256
#define QUEUE_MAX   (1u << 20)  /* answers a client has not taken */
#define QUEUE_PAUSE (64u << 10) /* from here on its requests wait */
#define WAITS_MAX   64          /* unanswered requests of one client */

struct vivi_client {
    struct vivi_client *next;
    struct vivi_server *server;
    int fd;
    struct vivi_watch *watch;
    struct vivi_frames in;
    struct vivi_buf out;
    int out_fd; /* owned; travels with the byte at out_fd_at; −1: none */
    size_t out_fd_at;
    unsigned protocol;          /* 0: no HELLO yet */
    bool greeted, broken, last; /* last: to be closed when the queue is empty */
    bool held;                  /* a request of it waits for the adoption */
    struct vivi_request held_request;
    struct vivi_frame held_frame; /* only its descriptors count */
};

struct vivi_server {
    struct vivi_monitor *m;
    int fd; /* borrowed */
    struct vivi_watch *watch;
    struct vivi_client *clients;
    size_t n;
    struct vivi_timer *reap;
};

static void process(struct vivi_client *c);

/* ---- the end of a client ---- */

static void free_client(struct vivi_client *c)
{
    struct vivi_server *s = c->server;

    for (struct vivi_client **p = &s->clients; *p; p = &(*p)->next) {
        if (*p == c) {
            *p = c->next;
            break;
        }
    }
    s->n--;
    vivi_waits_forget(s->m, c);
    vivi_agent_forget(s->m, c);
    vivi_calls_forget(s->m, c);
    s->m->loop->unwatch(c->watch);
    vivi_close(&c->fd);
    vivi_close(&c->out_fd);
    vivi_frames_done(&c->in);
    vivi_frame_done(&c->held_frame);
    vivi_request_done(&c->held_request);
    vivi_buf_done(&c->out);
    free(c);
}

static void reap(void *arg)
{
    struct vivi_server *s = arg;
    struct vivi_client *c, *next;

    vivi_disarm(s->m, &s->reap);
    for (c = s->clients; c; c = next) {
        next = c->next;
        if (c->broken || (c->last && c->out.len == 0))
            free_client(c);
    }
    vivi_idle_check(s->m);
}

static void reap_soon(struct vivi_server *s)
{
    if (!s->reap)
        (void)s->m->loop->timer(s->m->loop->ctx, "client-gone", 0, reap, s, &s->reap, NULL);
}

static void break_client(struct vivi_client *c, const char *why)
{
    if (c->broken)
        return;
    vivi_log(VIVI_LOG_INFO, "client dropped: %s", why);
    c->broken = true;
    c->server->m->loop->rewatch(c->watch, 0);
    reap_soon(c->server);
}

/* ---- answers ---- */

static void want_events(struct vivi_client *c)
{
    unsigned events = c->out.len > 0 ? VIVI_WRITE : 0;

    if (c->broken)
        return;
    if (!c->held && !c->last && c->out.len < QUEUE_PAUSE)
        events |= VIVI_READ;
    c->server->m->loop->rewatch(c->watch, events);
}

static ssize_t send_once(struct vivi_client *c)
{
    size_t len = c->out.len;
    ssize_t n;

    if (c->out_fd < 0)
        return vivi_send_fds(c->fd, c->out.data, len, NULL, 0, NULL);
    if (c->out_fd_at > 0) /* up to the frame that the descriptor belongs to */
        return vivi_send_fds(c->fd, c->out.data, c->out_fd_at, NULL, 0, NULL);
    n = vivi_send_fds(c->fd, c->out.data, len, &c->out_fd, 1, NULL);
    if (n > 0)
        vivi_close(&c->out_fd);
    return n;
}

static void flush(struct vivi_client *c)
{
    while (!c->broken && c->out.len > 0) {
        ssize_t n = send_once(c);

        if (n == -VIV_E_BUSY)
            break;
        if (n <= 0) {
            break_client(c, "it hung up");
            return;
        }
        if (c->out_fd >= 0)
            c->out_fd_at -= (size_t)n;
        vivi_buf_consume(&c->out, (size_t)n);
    }
    if (c->last && c->out.len == 0)
        reap_soon(c->server);
    want_events(c);
}

static void tell(struct vivi_client *c, enum vivi_control_op op, json_t *body_consume,
                 int fd_consume)
{
    size_t before = c->out.len;
    unsigned protocol = c->protocol ? c->protocol : VIVI_CONTROL_PROTOCOL;
    int fd = fd_consume;

    if (c->broken || !body_consume || (fd >= 0 && c->out_fd >= 0) ||
        vivi_control_encode(&c->out, (uint8_t)protocol, op, body_consume) < 0) {
        json_decref(body_consume);
        vivi_close(&fd);
        break_client(c, "it does not take its answers");
        return;
    }
    json_decref(body_consume);
    if (fd >= 0) {
        vivi_frame_announce(&c->out, before, 1);
        c->out_fd = fd;
        c->out_fd_at = before;
    }
    flush(c);
}

static json_t *with_id(uint64_t id, const char *key, json_t *value_consume)
{
    json_t *body = json_object();

    if (!value_consume || !body) {
        json_decref(value_consume);
        json_decref(body);
        return NULL;
    }
    (void)json_object_set_new(body, "id", json_integer((json_int_t)id));
    (void)json_object_set_new(body, key, value_consume);
    return body;
}

void vivi_serve_result(struct vivi_client *c, uint64_t id, json_t *result_consume)
{
    vivi_serve_result_fd(c, id, result_consume, -1);
}

void vivi_serve_result_fd(struct vivi_client *c, uint64_t id, json_t *result_consume,
                          int fd_consume)
{
    tell(c, VIVI_CTL_REPLY, with_id(id, "result", result_consume), fd_consume);
}

void vivi_serve_problems(struct vivi_client *c, uint64_t id, const viv_error *err,
                         json_t *problems_consume)
{
    viv_error named = *err;
    json_t *error;

    vivi_error_vm(&named, c->server->m->dir.name);
    error = vivi_error_to_json(&named);
    if (problems_consume)
        (void)json_object_set_new(error, "problems", problems_consume);
    tell(c, VIVI_CTL_ERROR, with_id(id, "error", error), -1);
}

void vivi_serve_error(struct vivi_client *c, uint64_t id, const viv_error *err)
{
    vivi_serve_problems(c, id, err, NULL);
}

void vivi_serve_note(struct vivi_client *c, uint64_t id, json_t *note_consume)
{
    if (note_consume)
        (void)json_object_set_new(note_consume, "id", json_integer((json_int_t)id));
    tell(c, VIVI_CTL_NOTE, note_consume, -1);
}

/* ---- requests ---- */

static json_t *hello(void)
{
    json_t *j = json_object();

    (void)json_object_set_new(j, "protocol", json_integer(VIVI_CONTROL_PROTOCOL));
    (void)json_object_set_new(j, "version", json_string(viv_version()));
    (void)json_object_set_new(j, "pid", json_integer(getpid()));
    return j;
}

/* The two sides agree on the lower protocol; a client that is too far away is told why. */
static int greet(struct vivi_client *c, const json_t *body, viv_error *err)
{
    json_int_t theirs = json_integer_value(json_object_get(body, "protocol"));
    unsigned agreed = 0;
    int r;

    tell(c, VIVI_CTL_HELLO, hello(), -1);
    r = vivi_control_agree(VIVI_CONTROL_PROTOCOL,
                           theirs < 0 || theirs > UINT8_MAX ? UINT8_MAX : (unsigned)theirs,
                           "this client", &agreed, err);
    if (r < 0) {
        vivi_serve_error(c, 0, err);
        c->last = true;
        want_events(c);
        reap_soon(c->server);
        return r;
    }
    c->protocol = agreed;
    c->greeted = true;
    return 0;
}

static void run(struct vivi_client *c, const struct vivi_request *q, struct vivi_frame *f)
{
    viv_error err = VIV_ERROR_INIT;
    int r = vivi_waits_of(c->server->m, c) >= WAITS_MAX
                ? vivi_fail(&err, VIV_E_BUSY, "too many unanswered requests")
                : vivi_verb_run(c->server->m, c, q, f, &err);

    if (r < 0)
        vivi_serve_error(c, q->id, &err);
}

static void request(struct vivi_client *c, const json_t *body, struct vivi_frame *f)
{
    viv_error err = VIV_ERROR_INIT;
    struct vivi_request q;
    int r = vivi_request_parse(body, &q, &err);

    if (r == -VIV_E_PROTOCOL) {
        break_client(c, err.message);
    } else if (r < 0) {
        vivi_serve_error(c, q.id, &err);
    } else if (vivi_verb_must_wait(c->server->m, &q)) {
        c->held = true;
        c->held_request = q;
        q.args = NULL; /* the held one's now, as are the frame's descriptors */
        c->held_frame = *f;
        f->n_fds = 0;
        want_events(c);
    } else {
        run(c, &q, f);
    }
    vivi_request_done(&q);
}

static void take_frame(struct vivi_client *c, struct vivi_frame *f)
{
    viv_error err = VIV_ERROR_INIT;
    json_t *body = NULL;

    if (vivi_control_parse(f, &body, &err) < 0)
        break_client(c, err.message);
    else if (!c->greeted && f->op == VIVI_CTL_HELLO)
        (void)greet(c, body, &err);
    else if (!c->greeted || f->op != VIVI_CTL_REQUEST)
        break_client(c, "neither a greeting nor a request");
    else
        request(c, body, f);
    json_decref(body);
}

static void process(struct vivi_client *c)
{
    viv_error err = VIV_ERROR_INIT;

    while (!c->broken && !c->held && !c->last && c->out.len < QUEUE_PAUSE) {
        cleanup_frame struct vivi_frame f = {0};
        int r = vivi_frames_next(&c->in, &f, &err);

        if (r == 0)
            break;
        if (r < 0) {
            break_client(c, err.message);
            break;
        }
        take_frame(c, &f);
    }
}

static void on_client(void *arg, unsigned events)
{
    struct vivi_client *c = arg;
    viv_error err = VIV_ERROR_INIT;
    int r = 1;

    if (c->broken)
        return;
    if (events & VIVI_WRITE)
        flush(c);
    if ((events & VIVI_READ) && !c->broken && !c->held) {
        r = vivi_frames_read(&c->in, c->fd, &err);
        if (r <= 0 && r != -VIV_E_BUSY) {
            break_client(c, r == 0 ? "it hung up" : err.message);
            return;
        }
    }
    /* Also after a write: whole requests may have waited behind a full queue. */
    process(c);
    want_events(c);
}

/* ---- accepting ---- */

static void add_client(struct vivi_server *s, int fd_consume)
{
    struct vivi_client *c = calloc(1, sizeof(*c));
    int fd = fd_consume;

    if (!c ||
        s->m->loop->watch(s->m->loop->ctx, fd, VIVI_READ, on_client, c, &c->watch, NULL) < 0) {
        free(c);
        vivi_close(&fd);
        return;
    }
    c->server = s;
    c->fd = fd;
    c->out_fd = -1;
    vivi_frames_init(&c->in);
    vivi_buf_init(&c->out, QUEUE_MAX);
    c->next = s->clients;
    s->clients = c;
    s->n++;
    vivi_idle_check(s->m);
}

/* The state root is its owner's; the superuser may do what it could do anyway. */
static bool allowed(int fd)
{
    uid_t uid;

    return vivi_peer_uid(fd, &uid, NULL) == 0 && (uid == geteuid() || uid == 0);
}

static void on_listener(void *arg, unsigned events)
{
    struct vivi_server *s = arg;
    viv_error err = VIV_ERROR_INIT;
    int fd = -1, r;

    (void)events;
    while ((r = vivi_accept(s->fd, &fd, &err)) > 0) {
        if (s->n >= CLIENTS_MAX || !allowed(fd)) {
            vivi_log(VIVI_LOG_WARN, "client refused: %s",
                     s->n >= CLIENTS_MAX ? "too many" : "another user");
            vivi_close(&fd);
            continue;
        }
        add_client(s, fd);
    }
    if (r < 0)
        vivi_log(VIVI_LOG_WARN, "cannot accept: %s", err.message);
}

int vivi_serve_open(struct vivi_monitor *m, int listener_fd, viv_error *err)
{
    struct vivi_server *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return vivi_fail_oom(err);
    s->m = m;
    s->fd = listener_fd;
    r = m->loop->watch(m->loop->ctx, s->fd, 0, on_listener, s, &s->watch, err);
    if (r < 0) {
        free(s);
        return r;
    }
    m->server = s;
    return 0;
}

void vivi_serve_begin(struct vivi_monitor *m)
{
    if (m->server)
        m->loop->rewatch(m->server->watch, VIVI_READ);
}

void vivi_serve_adopted(struct vivi_monitor *m)
{
    struct vivi_client *c, *next;

    if (!m->server)
        return;
    vivi_serve_begin(m);
    for (c = m->server->clients; c; c = next) {
        struct vivi_request q;
        struct vivi_frame f;

        next = c->next;
        if (!c->held || c->broken)
            continue;
        c->held = false;
        f = c->held_frame;
        c->held_frame = (struct vivi_frame){0};
        q = c->held_request;
        c->held_request.args = NULL;
        run(c, &q, &f);
        vivi_request_done(&q);
        vivi_frame_done(&f);
        process(c);
        want_events(c);
    }
}

size_t vivi_serve_clients(const struct vivi_monitor *m)
{
    return m->server ? m->server->n : 0;
}

void vivi_serve_close(struct vivi_monitor *m)
{
    struct vivi_server *s = m->server;

    if (!s)
        return;
    while (s->clients)
        free_client(s->clients);
    m->loop->unwatch(s->watch);
    vivi_disarm(m, &s->reap);
    free(s);
    m->server = NULL;
}
