/*
 * Clients of the agent: each has one end of a socket pair and speaks the agent's protocol over it,
 * with us in the agent's role. Frames are passed on with the stream's number exchanged.
 *
 * Who may wait here, and how much: towards a client at most a window of each of its streams, since
 * the agent has no more credit; towards the agent AGENT_OUT_PAUSE and one read of each client,
 * since clients are not read beyond that. The agent itself is always read. A client that is gone
 * takes its streams along: the agent ends what runs in them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/random.h"
#include "monitor/agent_priv.h"

#define CLIENT_OUT_BYTES (VIVI_AW_STREAMS_MAX * (VIVI_AW_WINDOW + 16384u))
#define CLIENT_SLACK     (256u << 10) /* frames besides DATA: answers, credit */

struct agent_client {
    struct agent_client *next;
    struct vivi_agent *agent;
    int fd;
    struct vivi_watch *watch;
    struct vivi_aw wire;
    unsigned char *in; /* VIVI_AW_BUFFER_MIN */
    struct vivi_buf out;
    uint32_t last_id;
    size_t n_streams;
    bool last;   /* to be closed when its queue is empty */
    bool broken; /* to be collected from the loop */
};

/* A client of the control socket that waits for an agent. */
struct agent_waiter {
    struct agent_waiter *next;
    struct vivi_agent *agent;
    struct vivi_client *client;
    uint64_t id, wait_ms;
    struct vivi_timer *timer;
};

/* ---- the end of a client ---- */

static void free_client(struct agent_client *c)
{
    struct vivi_agent *a = c->agent;

    for (struct agent_client **p = &a->clients; *p; p = &(*p)->next) {
        if (*p == c) {
            *p = c->next;
            break;
        }
    }
    a->n_clients--;
    for (size_t i = 0; i < VIVI_AW_STREAMS_MAX && c->n_streams > 0; i++) {
        uint32_t id = a->streams[i].id;

        if (id == 0 || a->streams[i].client != c)
            continue;
        c->n_streams--;
        agent_stream_free(a, &a->streams[i]);
        agent_reset(a, id, NULL);
    }
    a->m->loop->unwatch(c->watch);
    vivi_close(&c->fd);
    vivi_buf_done(&c->out);
    free(c->in);
    free(c);
}

static void reap(void *arg)
{
    struct vivi_agent *a = arg;
    struct agent_client *c, *next;

    a->m->loop->timer_stop(a->reap);
    a->reap = NULL;
    for (c = a->clients; c; c = next) {
        next = c->next;
        if (c->broken || (c->last && c->out.len == 0))
            free_client(c);
    }
    vivi_idle_check(a->m);
}

static void reap_soon(struct vivi_agent *a)
{
    if (!a->reap)
        (void)a->m->loop->timer(a->m->loop->ctx, "agent-client-gone", 0, reap, a, &a->reap, NULL);
}

static void break_client(struct agent_client *c, const char *why)
{
    if (c->broken)
        return;
    vivi_log(VIVI_LOG_DEBUG, "agent: client gone: %s", why);
    c->broken = true;
    c->agent->m->loop->rewatch(c->watch, 0);
    reap_soon(c->agent);
}

/* ---- towards the client ---- */

static void want_events(struct agent_client *c)
{
    unsigned events = c->out.len > 0 ? VIVI_WRITE : 0;

    if (c->broken)
        return;
    if (!c->last && c->agent->out.len <= AGENT_OUT_PAUSE)
        events |= VIVI_READ;
    c->agent->m->loop->rewatch(c->watch, events);
}

static void flush(struct agent_client *c)
{
    while (!c->broken && c->out.len > 0) {
        ssize_t n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) {
            break_client(c, "it hung up");
            return;
        }
        vivi_buf_consume(&c->out, (size_t)n);
    }
    if (c->last && c->out.len == 0)
        reap_soon(c->agent);
    want_events(c);
}

static void tell(struct agent_client *c, const struct vivi_aw_frame *f)
{
    size_t size = f->len + VIVI_AW_FRAME_EXTRA;
    size_t most = c->n_streams * (size_t)VIVI_AW_WINDOW + CLIENT_SLACK;

    if (c->broken || !c->wire.up)
        return;
    if (c->out.len > most || vivi_buf_reserve(&c->out, size) < 0) {
        break_client(c, "more waits for it than it has credit for");
        return;
    }
    c->out.len += vivi_aw_encode(&c->wire, f, c->out.data + c->out.len, size);
    flush(c);
}

static void owe_hello(struct agent_client *c)
{
    if (c->out.len > CLIENT_SLACK)
        break_client(c, "it begins anew again and again and does not read");
    while (!c->broken && c->wire.hello_due && vivi_buf_reserve(&c->out, VIVI_AW_HELLO_MAX) == 0) {
        size_t n = vivi_aw_hello(&c->wire, c->out.data + c->out.len, VIVI_AW_HELLO_MAX);

        if (n == 0)
            break;
        c->out.len += n;
    }
    flush(c);
}

static void tell_error(struct agent_client *c, enum vivi_aw_type type, uint32_t id,
                       const viv_error *err)
{
    char text[sizeof(err->message) + 100];
    struct vivi_aw_writer w = VIVI_AW_WRITER(text);

    vivi_aw_put_error(&w, err);
    tell(c, &(struct vivi_aw_frame){
                .type = (uint8_t)type, .stream = id, .payload = text, .len = w.len});
}

void agent_relay_end(struct vivi_agent *a, struct agent_stream *s, const viv_error *err)
{
    (void)a;
    s->client->n_streams--;
    tell_error(s->client, VIVI_AW_RESET, s->client_id, err);
}

/* One side sends more than it has credit for: the stream ends for both. */
static void cut_off(struct vivi_agent *a, struct agent_stream *s, const char *who)
{
    struct agent_stream was = *s;
    viv_error err = VIV_ERROR_INIT;

    (void)vivi_fail(&err, VIV_E_PROTOCOL, "%s sent more than it may", who);
    agent_stream_free(a, s);
    agent_reset(a, was.id, &err);
    agent_relay_end(a, &was, &err);
}

static uint32_t credit_of(const struct vivi_aw_frame *f)
{
    struct vivi_aw_credit c = {.send = 0};

    return vivi_aw_credit_granted(&c, f) < 0 ? UINT32_MAX : c.send;
}

void agent_relay_frame(struct vivi_agent *a, struct agent_stream *s, const struct vivi_aw_frame *f)
{
    struct agent_client *c = s->client;
    struct vivi_aw_frame passed = *f;

    passed.stream = s->client_id;
    switch ((enum vivi_aw_type)f->type) {
    case VIVI_AW_DATA:
        if (f->len > VIVI_AW_WINDOW - s->to_client) {
            cut_off(a, s, "the agent");
            return;
        }
        s->to_client += (uint32_t)f->len;
        break;
    case VIVI_AW_CREDIT:
        if (credit_of(f) > s->to_agent) {
            cut_off(a, s, "the agent");
            return;
        }
        s->to_agent -= credit_of(f);
        break;
    case VIVI_AW_RESULT:
    case VIVI_AW_RESET:
        agent_stream_free(a, s);
        c->n_streams--;
        break;
    case VIVI_AW_STARTED:
    case VIVI_AW_EOF:
    case VIVI_AW_EVENT: break;
    case VIVI_AW_HELLO:
    case VIVI_AW_OPEN:
    case VIVI_AW_CONTROL:
    case VIVI_AW_PING:
    case VIVI_AW_PONG: return; /* not the agent's to send on a stream */
    }
    tell(c, &passed);
}

/* ---- from the client ---- */

static void on_open(struct agent_client *c, const struct vivi_aw_frame *f)
{
    struct vivi_agent *a = c->agent;
    struct vivi_aw_frame passed = *f;
    struct agent_stream *s;
    viv_error err = VIV_ERROR_INIT;

    if (f->stream <= c->last_id) {
        break_client(c, "a stream is opened twice");
        return;
    }
    c->last_id = f->stream;
    if (!vivi_agent_up(a->m))
        (void)vivi_fail(&err, VIV_E_IO, "%s", a->why[0] ? a->why : "no agent answers in the guest");
    s = err.code ? NULL : agent_stream_new(a);
    if (!s && !err.code)
        (void)vivi_fail(&err, VIV_E_BUSY, "the agent works on as many requests as it can");
    if (!s) {
        tell_error(c, VIVI_AW_RESULT, f->stream, &err);
        return;
    }
    s->client = c;
    s->client_id = f->stream;
    c->n_streams++;
    passed.stream = s->id;
    (void)agent_send(a, &passed);
}

static struct agent_stream *stream_of(struct agent_client *c, uint32_t client_id)
{
    struct vivi_agent *a = c->agent;

    for (size_t i = 0; i < VIVI_AW_STREAMS_MAX; i++)
        if (a->streams[i].id != 0 && a->streams[i].client == c &&
            a->streams[i].client_id == client_id)
            return &a->streams[i];
    return NULL;
}

/* False: not to be passed on. */
static bool account(struct agent_client *c, struct agent_stream *s, const struct vivi_aw_frame *f)
{
    if (f->type == VIVI_AW_DATA) {
        if (f->len > VIVI_AW_WINDOW - s->to_agent) {
            cut_off(c->agent, s, "the client");
            return false;
        }
        s->to_agent += (uint32_t)f->len;
    } else if (f->type == VIVI_AW_CREDIT) {
        if (credit_of(f) > s->to_client) {
            cut_off(c->agent, s, "the client");
            return false;
        }
        s->to_client -= credit_of(f);
    }
    return true;
}

static void on_frame(struct agent_client *c, const struct vivi_aw_frame *f)
{
    struct vivi_agent *a = c->agent;
    struct vivi_aw_frame passed = *f;
    struct agent_stream *s;

    if (f->type == VIVI_AW_OPEN) {
        on_open(c, f);
        return;
    }
    if (f->type == VIVI_AW_PING) {
        passed.type = VIVI_AW_PONG;
        tell(c, &passed);
        return;
    }
    if (f->type != VIVI_AW_DATA && f->type != VIVI_AW_EOF && f->type != VIVI_AW_CREDIT &&
        f->type != VIVI_AW_CONTROL && f->type != VIVI_AW_RESET) {
        break_client(c, "a frame that only an agent sends");
        return;
    }
    s = stream_of(c, f->stream);
    if (!s || !account(c, s, f))
        return; /* it is over; the client will hear or has heard so */
    passed.stream = s->id;
    if (f->type == VIVI_AW_RESET) {
        agent_stream_free(a, s);
        c->n_streams--;
    }
    (void)agent_send(a, &passed);
}

static void session_over(struct agent_client *c)
{
    struct vivi_agent *a = c->agent;

    c->last_id = 0;
    for (size_t i = 0; i < VIVI_AW_STREAMS_MAX; i++) {
        uint32_t id = a->streams[i].id;

        if (id == 0 || a->streams[i].client != c)
            continue;
        agent_stream_free(a, &a->streams[i]);
        c->n_streams--;
        agent_reset(a, id, NULL);
    }
}

static void process(struct agent_client *c)
{
    struct vivi_aw_frame f;
    enum vivi_aw_step step;

    while (!c->broken && !c->last && c->agent->out.len <= AGENT_OUT_PAUSE) {
        step = vivi_aw_next(&c->wire, &f);
        if (c->wire.hello_due)
            owe_hello(c);
        if (step == VIVI_AW_MORE)
            break;
        if (step == VIVI_AW_FRAME)
            on_frame(c, &f);
        else if (step == VIVI_AW_DOWN)
            session_over(c);
        else if (step == VIVI_AW_ALIEN)
            break_client(c, "it speaks another version of the protocol");
    }
    want_events(c);
}

static void on_client(void *arg, unsigned events)
{
    struct agent_client *c = arg;
    size_t room;
    void *space;
    ssize_t n;

    if (c->broken)
        return;
    if (events & VIVI_WRITE)
        flush(c);
    process(c); /* what came before and had to wait */
    if (!(events & VIVI_READ) || c->broken || c->last || c->agent->out.len > AGENT_OUT_PAUSE)
        return;
    space = vivi_aw_space(&c->wire, &room);
    n = recv(c->fd, space, room, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        break_client(c, "it hung up");
        return;
    }
    vivi_aw_received(&c->wire, (size_t)n);
    process(c);
}

/* Asks for WRITE too, which comes at once: whole frames may have waited. */
void agent_relay_resume(struct vivi_agent *a)
{
    for (struct agent_client *c = a->clients; c; c = c->next)
        if (!c->broken && !c->last)
            a->m->loop->rewatch(c->watch, VIVI_READ | VIVI_WRITE);
}

/* ---- a new client ---- */

static int add_client(struct vivi_agent *a, int *ret_fd, viv_error *err)
{
    static const char about[] = "name=viv-monitor";
    int pair[2] = {-1, -1}, r = vivi_socketpair(pair, err);
    cleanup_close int ours = pair[0], theirs = pair[1];
    struct agent_client *c;
    uint64_t nonce = 1;

    if (r < 0)
        return r;
    c = calloc(1, sizeof(*c));
    if (c)
        c->in = malloc(VIVI_AW_BUFFER_MIN);
    if (!c || !c->in) {
        free(c);
        return vivi_fail_oom(err);
    }
    r = a->m->loop->watch(a->m->loop->ctx, ours, VIVI_READ, on_client, c, &c->watch, err);
    if (r < 0) {
        free(c->in);
        free(c);
        return r;
    }
    c->agent = a;
    c->fd = take_fd(&ours);
    vivi_buf_init(&c->out, CLIENT_OUT_BYTES);
    (void)vivi_random(&nonce, sizeof(nonce), NULL);
    vivi_aw_init(&c->wire, VIVI_AW_AGENT, c->in, VIVI_AW_BUFFER_MIN, nonce);
    vivi_aw_about(&c->wire, about, sizeof(about));
    vivi_aw_connected(&c->wire, nonce, true);
    c->next = a->clients;
    a->clients = c;
    a->n_clients++;
    owe_hello(c);
    *ret_fd = take_fd(&theirs);
    return 0;
}

static void lend_now(struct vivi_agent *a, struct vivi_client *client, uint64_t id)
{
    viv_error err = VIV_ERROR_INIT;
    int fd = -1;

    if (add_client(a, &fd, &err) < 0)
        vivi_serve_error(client, id, &err);
    else
        vivi_serve_result_fd(client, id, json_object(), fd);
}

/* ---- who waits for an agent ---- */

static void unlink_waiter(struct agent_waiter *w)
{
    for (struct agent_waiter **p = &w->agent->waiters; *p; p = &(*p)->next) {
        if (*p == w) {
            *p = w->next;
            break;
        }
    }
    w->agent->m->loop->timer_stop(w->timer);
    free(w);
}

static void none_answers(const struct vivi_agent *a, uint64_t wait_ms, viv_error *err)
{
    char s[24];

    if (wait_ms > 0)
        (void)vivi_fail(err, VIV_E_NOT_FOUND, "%s after %s s",
                        a->why[0] ? a->why : "no agent answers in the guest",
                        vivi_seconds((int64_t)wait_ms, s));
    else
        (void)vivi_fail(err, VIV_E_NOT_FOUND, "%s",
                        a->why[0] ? a->why : "no agent answers in the guest");
    vivi_hint(err, "put one into it: viv agent install %s", a->m->dir.name);
}

static void waited(void *arg)
{
    struct agent_waiter *w = arg;
    struct vivi_client *client = w->client;
    viv_error err = VIV_ERROR_INIT;
    uint64_t id = w->id;

    none_answers(w->agent, w->wait_ms, &err);
    unlink_waiter(w);
    vivi_serve_error(client, id, &err);
}

void agent_relay_up(struct vivi_agent *a)
{
    while (a->waiters) {
        struct vivi_client *client = a->waiters->client;
        uint64_t id = a->waiters->id;

        unlink_waiter(a->waiters);
        lend_now(a, client, id);
    }
}

void agent_relay_refuse(struct vivi_agent *a, const viv_error *err)
{
    while (a->waiters) {
        struct vivi_client *client = a->waiters->client;
        uint64_t id = a->waiters->id;

        unlink_waiter(a->waiters);
        vivi_serve_error(client, id, err);
    }
}

static int refuse_by_state(const struct vivi_monitor *m, viv_error *err)
{
    const struct vivi_agent *a = m->agent;
    int r = 0;

    if (m->st.state == VIV_ST_PAUSED) {
        r = vivi_fail(err, VIV_E_WRONG_STATE, "a paused guest answers nothing");
        vivi_hint(err, "viv resume %s", m->dir.name);
    } else if (m->st.state != VIV_ST_STARTING && m->st.state != VIV_ST_RUNNING) {
        r = vivi_fail(err, VIV_E_WRONG_STATE, "only a running VM has an agent (it is %s)",
                      vivi_state_name(m->st.state));
        vivi_hint(err, "viv start %s", m->dir.name);
    } else if (m->config_valid && m->config.agent == VIVI_AGENT_OFF) {
        r = vivi_fail_field(err, VIV_E_UNSUPPORTED, "agent.enabled",
                            "this VM has no channel to an agent");
    } else if (a && !a->wanted) {
        r = vivi_fail(err, VIV_E_UNSUPPORTED, "this run has no channel to an agent");
        vivi_hint(err, "viv reboot %s gives it one", m->dir.name);
    } else if (a && a->alien) {
        r = vivi_fail(err, VIV_E_UNSUPPORTED, "%s", a->why);
        vivi_hint(err, "put this version's agent into it: viv agent install %s", m->dir.name);
    }
    return r;
}

int vivi_agent_lend(struct vivi_monitor *m, struct vivi_client *client, uint64_t id,
                    uint64_t wait_ms, viv_error *err)
{
    struct vivi_agent *a = m->agent;
    struct agent_waiter *w;
    int r = refuse_by_state(m, err);

    if (r < 0)
        return r;
    if (!a || a->n_clients >= AGENT_CLIENTS_MAX)
        return vivi_fail(err, VIV_E_BUSY, "%s",
                         a ? "the agent has too many clients" : "the guest has not begun to run");
    if (vivi_agent_up(m)) {
        lend_now(a, client, id);
        return 0;
    }
    agent_connect_soon(a);
    if (wait_ms == 0) {
        none_answers(a, 0, err);
        return -VIV_E_NOT_FOUND;
    }
    w = calloc(1, sizeof(*w));
    if (!w)
        return vivi_fail_oom(err);
    *w = (struct agent_waiter){.agent = a, .client = client, .id = id, .wait_ms = wait_ms};
    r = m->loop->timer(m->loop->ctx, "agent-wait", wait_ms, waited, w, &w->timer, err);
    if (r < 0) {
        free(w);
        return r;
    }
    w->next = a->waiters;
    a->waiters = w;
    return 0;
}

void vivi_agent_forget(struct vivi_monitor *m, const struct vivi_client *client)
{
    struct agent_waiter *w, *next;

    for (w = m->agent ? m->agent->waiters : NULL; w; w = next) {
        next = w->next;
        if (w->client == client)
            unlink_waiter(w);
    }
}

size_t vivi_agent_clients(const struct vivi_monitor *m)
{
    return m->agent ? m->agent->n_clients : 0;
}

/* ---- the end ---- */

void agent_relay_close(struct vivi_agent *a)
{
    viv_error err = VIV_ERROR_INIT;

    (void)vivi_fail(&err, VIV_E_WRONG_STATE, "%s", a->why);
    agent_relay_refuse(a, &err);
    for (struct agent_client *c = a->clients; c; c = c->next) {
        c->last = true;
        want_events(c);
    }
    reap_soon(a);
}

void agent_relay_done(struct vivi_agent *a)
{
    while (a->waiters)
        unlink_waiter(a->waiters);
    while (a->clients)
        free_client(a->clients);
}
