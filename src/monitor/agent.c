/* The channel to the agent and the session on it; agent.h has the theory of operation. */
#include "monitor/agent_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/random.h"

#define AGAIN_FIRST_MS  50
#define AGAIN_MOST_MS   5000
#define AGAIN_TRIES     12 /* then only when somebody asks */
#define PING_MS         1000
#define SETTLE_MS       250
#define CLOSED          "the channel to the agent was closed"
#define READS_PER_EVENT 4 /* then other clients of the loop get their turn */

static void on_channel(void *arg, unsigned events);
static void connect_now(struct vivi_agent *a);

static uint64_t new_nonce(void)
{
    uint64_t n = 1;

    (void)vivi_random(&n, sizeof(n), NULL);
    return n;
}

static void arm(struct vivi_agent *a, struct vivi_timer **field, const char *name, uint64_t ms,
                void (*cb)(void *))
{
    const struct vivi_loop *loop = a->m->loop;

    loop->timer_stop(*field);
    *field = NULL;
    (void)loop->timer(loop->ctx, name, ms, cb, a, field, NULL);
}

static void disarm(struct vivi_agent *a, struct vivi_timer **field)
{
    a->m->loop->timer_stop(*field);
    *field = NULL;
}

/* ---- streams ---- */

struct agent_stream *agent_stream_new(struct vivi_agent *a)
{
    if (!a->wire.up || a->n_streams >= a->wire.peer.streams || a->last_id == UINT32_MAX)
        return NULL;
    for (size_t i = 0; i < VIVI_AW_STREAMS_MAX; i++) {
        if (a->streams[i].id != 0)
            continue;
        a->streams[i] = (struct agent_stream){.id = ++a->last_id};
        a->n_streams++;
        return &a->streams[i];
    }
    return NULL;
}

struct agent_stream *agent_stream_find(struct vivi_agent *a, uint32_t id)
{
    for (size_t i = 0; id != 0 && i < VIVI_AW_STREAMS_MAX; i++)
        if (a->streams[i].id == id)
            return &a->streams[i];
    return NULL;
}

void agent_stream_free(struct vivi_agent *a, struct agent_stream *s)
{
    *s = (struct agent_stream){.id = 0};
    a->n_streams--;
}

/* The session is over: everybody who has a stream in it is told why. */
static void end_streams(struct vivi_agent *a, const char *why)
{
    viv_error err = VIV_ERROR_INIT;

    (void)vivi_fail(&err, VIV_E_IO, "%s", why);
    (void)snprintf(a->why, sizeof(a->why), "%s", why);
    disarm(a, &a->ping);
    for (size_t i = 0; i < VIVI_AW_STREAMS_MAX; i++) {
        struct agent_stream s = a->streams[i];

        if (s.id == 0)
            continue;
        agent_stream_free(a, &a->streams[i]);
        if (s.client)
            agent_relay_end(a, &s, &err);
        else
            agent_call_end(a, &s, &err);
    }
    a->last_id = 0;
}

/* ---- sending ---- */

static void want_events(struct vivi_agent *a)
{
    if (a->fd >= 0)
        a->m->loop->rewatch(a->watch, VIVI_READ | (a->out.len > 0 ? VIVI_WRITE : 0));
}

/* A greeting has its padding, and a copy its data: nobody needs that much room in between. */
static void give_back(struct vivi_agent *a)
{
    vivi_buf_done(&a->out);
    vivi_buf_init(&a->out, AGENT_OUT_BYTES);
}

static void owe_hello(struct vivi_agent *a);

static void flush(struct vivi_agent *a)
{
    size_t before = a->out.len;

    while (a->fd >= 0 && a->out.len > 0) {
        ssize_t n = send(a->fd, a->out.data, a->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break; /* full; or broken, which is read */
        vivi_buf_consume(&a->out, (size_t)n);
    }
    want_events(a);
    owe_hello(a);
    if (before > AGENT_OUT_PAUSE && a->out.len <= AGENT_OUT_PAUSE)
        agent_relay_resume(a);
    if (a->out.len == 0 && a->n_streams == 0 && a->out.cap > AGENT_OUT_PAUSE / 4)
        give_back(a);
}

/* To an agent that does not read nothing more is said: its next greeting replaces this one. */
static void owe_hello(struct vivi_agent *a)
{
    bool any = false;

    while (a->wire.hello_due && a->out.len <= AGENT_OUT_PAUSE &&
           vivi_buf_reserve(&a->out, VIVI_AW_HELLO_MAX) == 0) {
        size_t n = vivi_aw_hello(&a->wire, a->out.data + a->out.len, VIVI_AW_HELLO_MAX);

        if (n == 0)
            break;
        a->out.len += n;
        any = true;
    }
    if (any)
        flush(a);
}

bool agent_send(struct vivi_agent *a, const struct vivi_aw_frame *f)
{
    size_t size = f->len + VIVI_AW_FRAME_EXTRA;

    if (!a->wire.up || a->wire.hello_due || a->fd < 0 || vivi_buf_reserve(&a->out, size) < 0)
        return false;
    a->out.len += vivi_aw_encode(&a->wire, f, a->out.data + a->out.len, size);
    flush(a);
    return true;
}

void agent_reset(struct vivi_agent *a, uint32_t id, const viv_error *err)
{
    char text[300];
    struct vivi_aw_writer w = VIVI_AW_WRITER(text);

    if (err)
        vivi_aw_put_error(&w, err);
    (void)agent_send(a, &(struct vivi_aw_frame){
                            .type = VIVI_AW_RESET, .stream = id, .payload = text, .len = w.len});
}

/* ---- what the agent says ---- */

static void on_event(struct vivi_agent *a, const struct vivi_aw_frame *f)
{
    struct vivi_monitor *m = a->m;
    const char *event, *address, *nonce;

    if (!vivi_aw_fields_ok(f->payload, f->len))
        return;
    event = vivi_aw_field(f->payload, f->len, "event");
    address = vivi_aw_field(f->payload, f->len, "address");
    nonce = vivi_aw_field(f->payload, f->len, "nonce");
    if (!event)
        return;
    if (strcmp(event, "ready") == 0) {
        if (nonce && *nonce && m->nonce[0] && strcmp(nonce, m->nonce) != 0)
            vivi_log(VIVI_LOG_WARN, "agent: ready with the nonce of another run: ignored");
        else
            vivi_life_agent_ready(m, address ? address : "");
    } else if (strcmp(event, "address") == 0) {
        vivi_life_agent_address(m, address ? address : "");
    } else if (strcmp(event, "oom") == 0) {
        const char *name = vivi_aw_field(f->payload, f->len, "name");
        json_t *more = json_object();

        (void)json_object_set_new(more, "process", vivi_json_str(name ? name : ""));
        vivi_record_event(m, "oom", more);
    }
}

static void on_frame(struct vivi_agent *a, const struct vivi_aw_frame *f)
{
    struct agent_stream *s = agent_stream_find(a, f->stream);
    struct vivi_aw_frame pong = *f;

    if (f->type == VIVI_AW_PONG) {
        disarm(a, &a->ping);
    } else if (f->type == VIVI_AW_PING && a->out.len <= AGENT_OUT_PAUSE) {
        pong.type = VIVI_AW_PONG;
        (void)agent_send(a, &pong);
    } else if (f->type == VIVI_AW_EVENT && f->stream == 0) {
        on_event(a, f);
    } else if (s && s->client) {
        agent_relay_frame(a, s, f);
    } else if (s) {
        agent_call_frame(a, s, f);
    }
}

static const char *about_of(const struct vivi_agent *a, const char *key)
{
    const char *v = vivi_aw_field(a->wire.peer.about, a->wire.peer.about_len, key);

    return v ? v : "";
}

static void session_up(struct vivi_agent *a)
{
    a->alien = false;
    a->why[0] = '\0';
    a->failures = 0;
    vivi_log(VIVI_LOG_INFO, "agent: %s %s, protocol %u", about_of(a, "name"),
             about_of(a, "release"), (unsigned)a->wire.version);
    agent_relay_up(a);
    vivi_clock_sync(a->m);
}

static void met_alien(struct vivi_agent *a)
{
    viv_error err = VIV_ERROR_INIT;
    bool old = a->wire.peer.version < VIVI_AW_VERSION_MIN;

    a->alien = true;
    (void)snprintf(a->why, sizeof(a->why),
                   "the agent in the guest is too %s (it speaks protocol %u, this needs %s %u)",
                   old ? "old" : "new",
                   (unsigned)(old ? a->wire.peer.version : a->wire.peer.version_min),
                   old ? "at least" : "at most", old ? VIVI_AW_VERSION_MIN : VIVI_AW_VERSION);
    vivi_log(VIVI_LOG_WARN, "%s", a->why);
    (void)vivi_fail(&err, VIV_E_UNSUPPORTED, "%s", a->why);
    vivi_hint(&err, "put this version's agent into it: viv agent install %s", a->m->dir.name);
    agent_relay_refuse(a, &err);
}

/* False: the channel is closed. */
static bool take_steps(struct vivi_agent *a)
{
    struct vivi_aw_frame f;
    enum vivi_aw_step step;

    while (a->fd >= 0 && (step = vivi_aw_next(&a->wire, &f)) != VIVI_AW_MORE) {
        owe_hello(a);
        if (step == VIVI_AW_FRAME)
            on_frame(a, &f);
        else if (step == VIVI_AW_UP)
            session_up(a);
        else if (step == VIVI_AW_ALIEN)
            met_alien(a);
        else if (step == VIVI_AW_DOWN)
            end_streams(a, "the agent in the guest began anew");
    }
    owe_hello(a);
    return a->fd >= 0;
}

/* ---- the channel ---- */

static void close_channel(struct vivi_agent *a)
{
    if (a->fd < 0)
        return;
    a->m->loop->unwatch(a->watch);
    a->watch = NULL;
    vivi_close(&a->fd);
    give_back(a);
    a->wire.up = a->wire.hello_due = false;
    free(a->in);
    a->in = NULL;
}

static void again(void *arg)
{
    struct vivi_agent *a = arg;

    disarm(a, &a->again);
    connect_now(a);
}

static void later(struct vivi_agent *a, const char *why)
{
    uint64_t ms = AGAIN_FIRST_MS;

    (void)snprintf(a->why, sizeof(a->why), "%s", why);
    if (!a->wanted || a->failures >= AGAIN_TRIES)
        return;
    for (unsigned i = 0; i < a->failures && ms < AGAIN_MOST_MS; i++)
        ms *= 2;
    a->failures++;
    arm(a, &a->again, "agent-connect", ms < AGAIN_MOST_MS ? ms : AGAIN_MOST_MS, again);
}

static void settled(void *arg)
{
    struct vivi_agent *a = arg;

    disarm(a, &a->settle);
    end_streams(a, CLOSED);
    later(a, CLOSED);
}

/* A VMM that ends closes its channel first: that it has ended is the better answer, and comes at
 * once. */
static void lost(struct vivi_agent *a)
{
    close_channel(a);
    arm(a, &a->settle, "agent-lost", SETTLE_MS, settled);
}

static bool receive(struct vivi_agent *a)
{
    size_t room;
    void *space = vivi_aw_space(&a->wire, &room);
    ssize_t n = recv(a->fd, space, room, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        lost(a);
        return false;
    }
    vivi_aw_received(&a->wire, (size_t)n);
    return take_steps(a) && (size_t)n == room;
}

static void on_channel(void *arg, unsigned events)
{
    struct vivi_agent *a = arg;

    if (events & VIVI_WRITE)
        flush(a);
    for (int i = 0; (events & VIVI_READ) && i < READS_PER_EVENT && a->fd >= 0; i++)
        if (!receive(a))
            break;
}

static void connect_now(struct vivi_agent *a)
{
    struct vivi_monitor *m = a->m;
    viv_error err = VIV_ERROR_INIT;
    enum viv_state was = m->machine.state;
    int r;

    if (!a->wanted || a->fd >= 0 || m->dop[VIVI_DOP_AGENT] != 0 || m->stage != VIVI_STAGE_UP ||
        !m->machine.priv)
        return;
    m->machine.state = m->vcpus; /* the checked dispatch looks at the virtual CPUs */
    r = vivi_machine_agent_connect(&m->machine, vivi_life_dop(m, VIVI_DOP_AGENT), &err);
    m->machine.state = was;
    if (r < 0)
        vivi_agent_connected(m, -1, &err);
}

void agent_connect_soon(struct vivi_agent *a)
{
    if (a->fd >= 0 || !a->wanted || a->again || a->settle)
        return;
    a->failures = 0;
    connect_now(a);
}

void vivi_agent_connected(struct vivi_monitor *m, int fd_consume, const viv_error *err)
{
    static const char about[] = "name=vivarium";
    struct vivi_agent *a = m->agent;
    cleanup_close int fd = fd_consume;

    m->dop[VIVI_DOP_AGENT] = 0;
    if (!a || !a->wanted || a->fd >= 0)
        return;
    if (err || fd < 0) {
        if (err && (err->code == VIV_E_NOT_FOUND || err->code == VIV_E_UNSUPPORTED))
            a->wanted = false; /* this run has none, and will have none */
        later(a, err ? err->message : "the driver gave no channel");
        return;
    }
    a->in = malloc(AGENT_IN_BYTES);
    if (!a->in || m->loop->watch(m->loop->ctx, fd, VIVI_READ, on_channel, a, &a->watch, NULL) < 0) {
        free(a->in);
        a->in = NULL;
        later(a, "out of memory");
        return;
    }
    a->fd = take_fd(&fd);
    vivi_aw_init(&a->wire, VIVI_AW_HOST, a->in, AGENT_IN_BYTES, new_nonce());
    vivi_aw_about(&a->wire, about, sizeof(about));
    vivi_aw_connected(&a->wire, new_nonce(), m->machine.fx->agent_fresh || !a->opened);
    a->opened = true;
    (void)snprintf(a->why, sizeof(a->why), "no agent answers in the guest");
    owe_hello(a);
}

/* ---- the life of a run ---- */

void vivi_agent_begin(struct vivi_monitor *m)
{
    struct vivi_agent *a = m->agent;

    if (!a) {
        a = calloc(1, sizeof(*a));
        if (!a)
            return;
        a->m = m;
        a->fd = -1;
        vivi_buf_init(&a->out, AGENT_OUT_BYTES);
        m->agent = a;
        a->opened = m->stage == VIVI_STAGE_UP && m->spawn_known; /* by a former monitor */
    }
    a->wanted = m->config_valid && m->config.agent != VIVI_AGENT_OFF && m->machine.fx &&
                m->machine.fx->agent_connect;
    a->failures = 0;
    connect_now(a);
}

/* What either side had on its way belongs to the old boot: the channel is opened anew. */
void vivi_agent_rebooted(struct vivi_monitor *m)
{
    struct vivi_agent *a = m->agent;

    if (!a || !a->wanted)
        return;
    disarm(a, &a->settle);
    close_channel(a);
    end_streams(a, "the guest rebooted");
    a->failures = 0;
    connect_now(a);
}

void vivi_agent_ended(struct vivi_monitor *m, const char *why)
{
    struct vivi_agent *a = m->agent;
    char text[VIVI_END_TEXT_MAX + 32];

    if (!a)
        return;
    (void)snprintf(text, sizeof(text), "the VM has ended: %s", why);
    a->wanted = a->opened = a->alien = false;
    disarm(a, &a->again);
    disarm(a, &a->settle);
    close_channel(a);
    end_streams(a, text);
    agent_relay_close(a);
}

static void ping_late(void *arg)
{
    struct vivi_agent *a = arg;

    disarm(a, &a->ping);
    vivi_aw_connected(&a->wire, new_nonce(), false); /* nothing new goes to the old one */
    end_streams(a, "the agent in the guest has ended");
    owe_hello(a);
}

/*
 * Events of the port and bytes of the channel come by two ways without a common order: an agent
 * that was replaced may be in session already when the end of the old one is told. So it is asked.
 */
void vivi_agent_port(struct vivi_monitor *m, bool open)
{
    static const char text[] = "port";
    struct vivi_agent *a = m->agent;

    if (!a || a->fd < 0)
        return;
    if (open || !a->wire.up || a->ping)
        return;
    arm(a, &a->ping, "agent-ping", PING_MS, ping_late);
    (void)agent_send(
        a, &(struct vivi_aw_frame){.type = VIVI_AW_PING, .payload = text, .len = sizeof(text)});
}

bool vivi_agent_up(const struct vivi_monitor *m)
{
    return m->agent && m->agent->fd >= 0 && m->agent->wire.up;
}

void vivi_agent_done(struct vivi_monitor *m)
{
    struct vivi_agent *a = m->agent;

    if (!a)
        return;
    a->wanted = false;
    disarm(a, &a->again);
    disarm(a, &a->settle);
    close_channel(a);
    end_streams(a, "the monitor has ended");
    agent_relay_done(a);
    disarm(a, &a->reap);
    vivi_buf_done(&a->out);
    free(a);
    m->agent = NULL;
}
