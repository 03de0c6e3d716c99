#include "monitor/policy.h"

#include <string.h>

#include "base/log.h"
#include "monitor/monitor.h"

static const char *const paths[] = {"labels",         "serial.log_limit", "agent.sync_clock",
                                    "ready.timeout",  "stop.timeout",     "restart.policy",
                                    "restart.backoff"};

bool vivi_policy_has(const struct vivi_change *c)
{
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
        if (strcmp(c->field->path, paths[i]) == 0)
            return true;
    return false;
}

/* For whoever takes over: what running.json and the list of descriptors say. */
static void record_limit(struct vivi_monitor *m, const char *name, uint64_t limit)
{
    json_t *streams = json_object_get(m->running, "streams");

    for (size_t i = 0; i < m->fds.n; i++)
        if (strcmp(m->fds.items[i].name, name) == 0)
            m->fds.items[i].limit_bytes = limit;
    for (size_t i = 0; i < json_array_size(streams); i++) {
        json_t *s = json_array_get(streams, i);
        const char *is = json_string_value(json_object_get(s, "name"));

        if (is && strcmp(is, name) == 0)
            (void)json_object_set_new(s, "limit", json_integer((json_int_t)limit));
    }
}

/* The keeper bounds the log; telling it the stream again gives it the new limit and loses nothing.
 */
static void bound_serial(struct vivi_monitor *m)
{
    struct vivi_stream *s = vivi_stream_serial(&m->streams);
    uint64_t limit = m->config.serial_log_limit_bytes;
    viv_error err = VIV_ERROR_INIT;
    int fd = s && s->limit_bytes != limit ? vivi_fds_get(&m->fds, s->name) : -1;

    if (fd < 0)
        return;
    if (vivi_keeper_log(&m->keeper, &(struct vivi_keeper_log){s->name, s->log, limit, fd}, &err) <
        0) {
        vivi_log(VIVI_LOG_ERROR, "%s: %s", s->name, err.message);
        return;
    }
    s->limit_bytes = limit;
    record_limit(m, s->name, limit);
}

void vivi_policy_take(struct vivi_monitor *m)
{
    if (!m->config_valid)
        return;
    bound_serial(m);
    /* A restart that is planned is the policy's: without the policy there is none. */
    if (m->config.restart == VIVI_RESTART_NEVER && vivi_op_restart_cancel(m))
        vivi_record_state(m);
}
