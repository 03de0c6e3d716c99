/*
 * Migration: a machine that leaves this VMM for another one, or comes from there.
 *
 * Theory of operation. Until 52 vm.send-migration lasts as long as the migration and the API is
 * deaf meanwhile: its answer is the outcome. Since 53 it is answered at once and a worker goes on;
 * its events tell the outcome. Events may be lost, and a monitor that was not there has no answer
 * either, so whether a machine still is on its way is also asked for: a vm.resize of nothing is
 * refused exactly while it is. A machine that has arrived there ends this process, which is the
 * only success there is.
 *
 * The receiver lets the machine run and then answers; a sender that hears no answer lets its own
 * run again, at once and unasked. So a failure after the state was written to the other side
 * ("snapshotted", the last event before that) proves nothing, and whoever is told of it is told of
 * that before.
 *
 * vm.receive-migration lasts as long, too. That somebody listens is told by an event since 53;
 * before, the socket's file tells, and for TCP nothing does: a sender of those releases tries
 * again.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "driver/cloud_hypervisor/machine.h"
#include "model/parse.h"

#define STATE_MAJOR    52   /* a machine that stands still arrives so */
#define LOOK_MS        1000 /* a machine is on its way: is it still? */
#define LOOK_SOON_MS   20
#define LOOK_FAILED_MS 1   /* the VMM lets it run again at once */
#define REFUSED_TRIES  250 /* of LOOK_SOON_MS: five seconds for the other side to listen */

/* ---- sending ---- */

static void send_done(struct ch_machine *m, const viv_error *err)
{
    uint64_t op = m->move.op;

    m->host->loop->timer_stop(m->move.look);
    m->move.look = NULL;
    m->move.op = 0;
    json_decref(m->move.body);
    m->move.body = NULL;
    ch_tell_done(m, op, err);
}

static void send_failed(struct ch_machine *m)
{
    viv_error why = VIV_ERROR_INIT;

    (void)vivi_fail(&why, VIV_E_VMM, "cloud-hypervisor: %s",
                    m->move.text[0] ? m->move.text : "the migration failed");
    send_done(m, &why);
}

static int send_now(struct ch_machine *m, viv_error *err)
{
    return ch_http_send(
        &m->http,
        &(struct ch_request){
            .verb = "vm.send-migration", .body = m->move.body, .tag = CH_T_SEND, .op = m->move.op},
        err);
}

/* Refused exactly while a machine is on its way. */
static int probe(struct ch_machine *m, viv_error *err)
{
    json_t *nothing = json_object();
    struct ch_request ask = {
        .verb = "vm.resize", .body = nothing, .tag = CH_T_MOVE_PROBE, .op = m->move.op};
    int r;

    if (m->move.failed && m->move.handed) { /* it may run there: not here, then */
        ask.verb = "vm.pause";
        ask.body = NULL;
    }
    r = ch_http_send(&m->http, &ask, err);
    json_decref(nothing);
    return r;
}

static void on_look(void *arg)
{
    struct ch_machine *m = arg;
    viv_error why = VIV_ERROR_INIT;

    m->host->loop->timer_stop(m->move.look);
    m->move.look = NULL;
    if (m->move.op == 0 || m->ending)
        return;
    if (m->move.tries > 0 && m->move.body) {
        if (send_now(m, &why) < 0)
            send_done(m, &why);
        return;
    }
    (void)probe(m, NULL); /* nobody listens any more: the end of the process tells */
}

static void look_later(struct ch_machine *m, uint64_t after_ms)
{
    m->host->loop->timer_stop(m->move.look);
    m->move.look = NULL;
    (void)m->host->loop->timer(m->host->loop->ctx, "ch-migration", after_ms, on_look, m,
                               &m->move.look, NULL);
}

/* It has failed. An answer and the events before it share no order, and whether it was handed over
 * is one of those. */
static void look_when_drained(struct ch_machine *m)
{
    m->move.failed = true;
    m->move.drain = ++m->token;
    if (m->host->drain(m->host->ctx, CH_PORT_EVENTS, m->move.drain, NULL) < 0)
        ch_move_drained(m);
}

void ch_move_drained(struct ch_machine *m)
{
    m->move.drain = 0;
    if (m->move.op && !m->ending)
        (void)probe(m, NULL); /* nobody listens any more: the end of the process tells */
}

void ch_send_reply(struct ch_machine *m, uint64_t op, const struct ch_answer *a,
                   const viv_error *err)
{
    if (op == 0 || op != m->move.op || !a)
        return; /* a closed socket: it has ended, which says more */
    if (err && strstr(err->message, "refused") && m->move.tries < REFUSED_TRIES) {
        m->move.tries++;
        look_later(m, LOOK_SOON_MS);
        return;
    }
    m->move.tries = 0;
    if (err) {
        (void)snprintf(m->move.text, sizeof(m->move.text), "%.199s", err->message);
        look_when_drained(m);
        return;
    }
    if (m->version.major < CH_ASYNC_MAJOR && !m->version.ahead && !m->ending)
        ch_moved(m);
    else
        look_later(m, LOOK_MS);
}

void ch_move_probed(struct ch_machine *m, uint64_t op, const struct ch_answer *a,
                    const viv_error *err)
{
    if (op == 0 || op != m->move.op || !a || m->ending)
        return;
    if (err && ch_answer_blames(a, "VM is currently migrating and can't be modified")) {
        ch_emit(m,
                (struct vivi_driver_event){.kind = VIVI_EV_PROGRESS, .op = op, .text = "sending"});
        look_later(m, m->move.failed ? LOOK_FAILED_MS : LOOK_MS);
        return;
    }
    if (!m->move.failed) {
        look_when_drained(m);
        return;
    }
    (void)ch_get(m, "vm.info", CH_T_MOVE_INFO, op, NULL);
}

void ch_move_settled(struct ch_machine *m, uint64_t op, enum viv_state state)
{
    if (op == 0 || op != m->move.op || m->ending)
        return;
    if (state == VIV_ST_RUNNING || state == VIV_ST_PAUSED) {
        m->paused = state == VIV_ST_PAUSED;
        ch_tell_state(m, state);
        send_failed(m);
    }
}

static void tell_handed(struct ch_machine *m)
{
    ch_emit(m, (struct vivi_driver_event){.kind = VIVI_EV_HANDED_OVER, .op = m->move.op});
}

void ch_move_handed(struct ch_machine *m)
{
    m->move.handed = true; /* of a snapshot, too: a send forgets that */
    if (m->move.op)
        tell_handed(m);
}

void ch_move_runs_here(struct ch_machine *m)
{
    if (m->move.incoming)
        ch_tell_state(m, VIV_ST_RUNNING);
}

void ch_move_event(struct ch_machine *m, const char *name, const char *id)
{
    char text[80];

    if (strcmp(name, "migration-receive-ready") == 0 && m->move.incoming) {
        ch_listening(m);
    } else if (strcmp(name, "migration-memory-iteration") == 0 && m->move.op) {
        (void)snprintf(text, sizeof(text), "memory, round %.20s", id);
        ch_emit(m, (struct vivi_driver_event){
                       .kind = VIVI_EV_PROGRESS, .op = m->move.op, .text = text});
    } else if (strcmp(name, "migration-receive-finished") == 0) {
        m->move.whole = true;
    } else if (strcmp(name, "migration-failed") == 0) {
        m->move.failed = true;
        if (m->move.op)
            look_later(m, 0);
    }
}

static json_t *send_body(const struct vivi_migration *to)
{
    json_t *j = json_pack("{s:s, s:s*}", "destination_url", to->url, "tls_dir", to->tls_dir);
    const struct {
        const char *key;
        int64_t n;
    } numbers[] = {{"downtime_ms", to->downtime_ms},
                   {"timeout_s", to->timeout_s},
                   {"connections", to->connections}};

    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        if (numbers[i].n >= 0)
            (void)json_object_set_new(j, numbers[i].key, json_integer(numbers[i].n));
    if (to->local)
        (void)json_object_set_new(j, "local", json_true());
    return j;
}

int ch_migrate_send(void *priv, const struct vivi_migration *to, uint64_t op, viv_error *err)
{
    struct ch_machine *m = priv;
    int r;

    if (m->move.op)
        return vivi_fail(err, VIV_E_BUSY, "cloud-hypervisor: a migration is under way");
    if (to && m->paused && m->version.major < STATE_MAJOR && !m->version.ahead)
        return vivi_fail(
            err, VIV_E_UNSUPPORTED,
            "Cloud Hypervisor %u lets a paused VM run where it arrives: resume it first",
            m->version.major);
    m->move.op = op;
    if (!to) {
        if (m->move.handed)
            tell_handed(m);
        r = probe(m, err);
    } else {
        m->move.failed = m->move.handed = false;
        m->move.text[0] = '\0';
        m->move.tries = 0;
        m->move.body = send_body(to);
        r = m->move.body ? send_now(m, err) : vivi_fail_oom(err);
    }
    if (r < 0) {
        m->move.op = 0;
        json_decref(m->move.body);
        m->move.body = NULL;
    }
    return r;
}

/* ---- receiving ---- */

static const char *receiver_url(const struct ch_machine *m)
{
    for (size_t i = 0; i < json_array_size(m->requests); i++) {
        const json_t *body = json_object_get(json_array_get(m->requests, i), "body");
        const char *url = json_string_value(json_object_get(body, "receiver_url"));

        if (url)
            return url;
    }
    return "";
}

void ch_listening(struct ch_machine *m)
{
    if (m->move.listening)
        return;
    m->move.listening = true;
    ch_emit(m, (struct vivi_driver_event){.kind = VIVI_EV_LISTENING});
}

static void on_listens(void *arg)
{
    struct ch_machine *m = arg;
    const char *url = receiver_url(m);

    m->host->loop->timer_stop(m->move.look);
    m->move.look = NULL;
    if (!m->move.incoming)
        return;
    if (strncmp(url, "unix:", 5) != 0 || access(url + 5, F_OK) == 0)
        ch_listening(m);
    else
        (void)m->host->loop->timer(m->host->loop->ctx, "ch-listens", LOOK_SOON_MS, on_listens, m,
                                   &m->move.look, NULL);
}

void ch_receiving(struct ch_machine *m)
{
    m->move.incoming = true;
    m->move.listening = false;
    if (m->version.major < CH_ASYNC_MAJOR)
        (void)m->host->loop->timer(m->host->loop->ctx, "ch-listens", LOOK_SOON_MS, on_listens, m,
                                   &m->move.look, NULL);
}

/* A connection that says nothing is what a receiver that waits gives up for; one that has its
 * sender already never looks at it. */
static int touch(const struct sockaddr *to, socklen_t len)
{
    int fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), r;

    if (fd < 0)
        return -1;
    r = connect(fd, to, len);
    if (r < 0 && errno == EINPROGRESS)
        r = 0;
    (void)close(fd);
    return r;
}

/* Numbers only: the monitor is linked statically, and a resolver would be loaded. */
static int touch_tcp(const char *where)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    const char *colon = strrchr(where, ':');
    bool brackets = where[0] == '[' && colon > where && colon[-1] == ']';
    char host[80];
    uint16_t port;

    if (!colon || (size_t)(colon - where) >= sizeof(host) || !vivi_parse_port(colon + 1, &port))
        return -1;
    (void)snprintf(host, sizeof(host), "%.*s", (int)(colon - where) - 2 * brackets,
                   where + brackets);
    v4.sin_port = v6.sin6_port = htons(port);
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1)
        return touch((const struct sockaddr *)&v4, sizeof(v4));
    if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1)
        return touch((const struct sockaddr *)&v6, sizeof(v6));
    return -1;
}

int ch_receive_abort(void *priv, viv_error *err)
{
    struct ch_machine *m = priv;
    const char *url = receiver_url(m);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int r;

    if (strncmp(url, "unix:", 5) == 0 && strlen(url + 5) < sizeof(at.sun_path)) {
        memcpy(at.sun_path, url + 5, strlen(url + 5));
        r = touch((const struct sockaddr *)&at, sizeof(at));
    } else {
        r = strncmp(url, "tcp:", 4) == 0 ? touch_tcp(url + 4) : -1;
    }
    if (r < 0)
        return vivi_fail(err, VIV_E_NOT_FOUND, "cloud-hypervisor: nobody listens at %s", url);
    return 0;
}

void ch_move_done(struct ch_machine *m)
{
    if (m->move.look)
        m->host->loop->timer_stop(m->move.look);
    json_decref(m->move.body);
    m->move = (struct ch_move){.op = 0};
}
