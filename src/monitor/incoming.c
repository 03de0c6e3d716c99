/*
 * Waiting for a machine that another VMM sends.
 *
 * Theory of operation. The VM is recorded here with moving.json "coming", so nothing but this makes
 * it run. A VMM begins with nothing but an address; once it listens whoever asked is told, and lets
 * the other end send. When the machine is here, moving.json goes away, and from then on it is a VM
 * like any other that inherits what was known of its guest. A receiver that is given up is never
 * killed for it, since a machine may have arrived this very moment: it is touched, which ends it
 * only while it still waits.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "monitor/migrate.h"
#include "store/moving.h"

#define WAIT_MS     60000 /* for somebody to come */
#define SOCKET_NAME "migration"
#define LISTEN_UNIX "unix"

int vivi_incoming_parse(const json_t *args, struct vivi_incoming_ask *ret, viv_error *err)
{
    const json_t *wait = json_object_get(args, "wait_ms");

    *ret = (struct vivi_incoming_ask){
        .abort = json_is_true(json_object_get(args, "abort")),
        .listen = vivi_json_text(args, "listen"),
        .tls_dir = vivi_json_text(args, "tls_dir"),
        .nonce = vivi_json_text(args, "nonce"),
        .ip = vivi_json_text(args, "ip"),
        .config = json_object_get(args, "config"),
        .wait_ms = json_is_integer(wait) ? (int64_t)json_integer_value(wait) : WAIT_MS};
    if (ret->abort)
        return 0;
    if (strcmp(ret->listen, LISTEN_UNIX) != 0 && strncmp(ret->listen, "tcp:", 4) != 0)
        return vivi_fail(err, VIV_E_INVALID, "args.listen: neither unix nor tcp:HOST:PORT");
    if (!json_is_object(ret->config))
        return vivi_fail(err, VIV_E_INVALID, "args.config: missing");
    if (ret->wait_ms < 0)
        return vivi_fail(err, VIV_E_INVALID, "args.wait_ms: not a number of milliseconds");
    return 0;
}

int vivi_incoming_prepare(struct vivi_monitor *m, const struct vivi_incoming_ask *a,
                          struct vivi_launch *ret, viv_error *err)
{
    struct vivi_moving moving;
    char url[VIVI_URL_SIZE];
    int n, r;

    if (vivi_state_has_vmm(m->st.state))
        return vivi_fail(err, VIV_E_WRONG_STATE, "only a stopped VM can be waited for (it is %s)",
                         vivi_state_name(m->st.state));
    r = vivi_moving_read(m->dir.fd, &moving, err);
    if (r >= 0 && (r == 0 || moving.phase != VIVI_MOVING_COMING))
        r = vivi_fail(err, VIV_E_WRONG_STATE, "nobody has announced that it comes");
    if (r < 0)
        return r;
    if (strcmp(a->listen, LISTEN_UNIX) == 0)
        n = snprintf(url, sizeof(url), "unix:%s/" SOCKET_NAME, m->dir.run_dir);
    else
        n = snprintf(url, sizeof(url), "%s", a->listen);
    if (n < 0 || (size_t)n >= sizeof(url))
        return vivi_fail(err, VIV_E_INVALID, "args.listen: too long");
    r = vivi_start_prepare_from(
        m,
        &(struct vivi_launch_from){.doc = a->config,
                                   .nonce = a->nonce,
                                   .incoming_url = url,
                                   .incoming_tls = a->tls_dir[0] ? a->tls_dir : NULL},
        ret, NULL, err);
    if (r < 0)
        return r;
    (void)snprintf(ret->ip, sizeof(ret->ip), "%s", a->ip);
    return vivi_caps_has(&ret->probe.caps, VIVI_CAP_MIGRATE)
               ? 0
               : vivi_fail(err, VIV_E_UNSUPPORTED, "driver %s cannot migrate", ret->driver->name);
}

/* ---- waiting ---- */

static void nobody_came(void *arg)
{
    struct vivi_monitor *m = arg;

    vivi_disarm(m, &m->incoming_wait);
    vivi_log(VIVI_LOG_WARN, "nobody came");
    vivi_incoming_abort(m);
}

void vivi_incoming_abort(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;

    if (m->st.state == VIV_ST_INCOMING && m->machine.priv &&
        vivi_machine_receive_abort(&m->machine, &err) < 0)
        vivi_log(VIVI_LOG_WARN, "incoming: %s", err.message);
}

static void wait_for_peer(struct vivi_monitor *m, uint64_t ms)
{
    vivi_arm(m, &m->incoming_wait, &(struct vivi_arm){"incoming-wait", ms, nobody_came});
}

void vivi_incoming_now(struct vivi_monitor *m, const struct vivi_incoming_ask *a,
                       struct vivi_launch *l)
{
    vivi_start_install(m, l);
    m->op.timeout_ms = VIVI_NO_TIMEOUT;
    wait_for_peer(m, (uint64_t)a->wait_ms);
    vivi_start_commit(
        m, &(struct vivi_start_how){.how = VIVI_HOW_INCOMING, .timeout_ms = VIVI_NO_TIMEOUT});
}

static const char *url_of(const struct vivi_monitor *m)
{
    const json_t *requests = json_object_get(json_object_get(m->running, "plan"), "requests");

    for (size_t i = 0; i < json_array_size(requests); i++) {
        const json_t *body = json_object_get(json_array_get(requests, i), "body");
        const char *url = json_string_value(json_object_get(body, "receiver_url"));

        if (url)
            return url;
    }
    return "";
}

void vivi_incoming_listening(struct vivi_monitor *m)
{
    m->incoming_listens = true;
    vivi_waits_note(m, json_pack("{s:s}", "listening", url_of(m)));
}

void vivi_incoming_tell(struct vivi_monitor *m, struct vivi_client *c, uint64_t id)
{
    if (m->incoming_listens && m->st.state == VIV_ST_INCOMING)
        vivi_serve_note(c, id, json_pack("{s:s}", "listening", url_of(m)));
}

void vivi_incoming_drop(struct vivi_monitor *m)
{
    vivi_disarm(m, &m->incoming_wait);
    m->incoming_listens = m->incoming_ran = false;
}

void vivi_incoming_state(struct vivi_monitor *m, enum viv_state state)
{
    if (m->st.state != VIV_ST_INCOMING || state != VIV_ST_RUNNING)
        return;
    m->incoming_ran = true;
    if (m->running_since_us == 0)
        m->running_since_us = vivi_mono_us();
}

/* One that has run here is a VM of here that has ended, however little we heard of it. */
void vivi_incoming_ended(struct vivi_monitor *m)
{
    if (m->st.state == VIV_ST_INCOMING && m->incoming_ran)
        vivi_incoming_arrived(m);
}

void vivi_incoming_arrived(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;

    vivi_incoming_drop(m);
    vivi_desire(m, VIVI_DESIRED_RUNNING);
    if (vivi_moving_remove(m->dir.fd, &err) < 0)
        vivi_log(VIVI_LOG_ERROR, "incoming: %s", err.message);
}

void vivi_incoming_adopted(struct vivi_monitor *m)
{
    wait_for_peer(m, WAIT_MS);
}
