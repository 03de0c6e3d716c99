/* What a client may ask for: waits, console and info here; what changes something in ops.c. */
#include "monitor/monitor.h"

#include <string.h>

#include "base/fd.h"

static int run_wait(struct vivi_monitor *m, struct vivi_client *c, const struct vivi_request *q,
                    viv_error *err)
{
    struct vivi_wait w = {.client = c,
                          .id = q->id,
                          .timeout_ms = q->timeout_ms,
                          .began_ms = m->loop->now_ms(m->loop->ctx),
                          .state = q->state,
                          .offset = q->offset};

    if (q->verb == VIVI_VERB_LOG_WAIT)
        w.kind = VIVI_WAIT_LOG;
    else if (q->until == VIVI_UNTIL_READY)
        w.kind = VIVI_WAIT_READY;
    else
        w.kind = q->until == VIVI_UNTIL_EXIT ? VIVI_WAIT_EXIT : VIVI_WAIT_STATE;
    return vivi_wait_add(m, &w, err);
}

static int run_console(struct vivi_monitor *m, struct vivi_client *c, const struct vivi_request *q,
                       viv_error *err)
{
    bool writer = false;
    json_t *result;
    int fd = -1, r;

    if (m->consoles.log_fd < 0)
        return vivi_fail(err, VIV_E_WRONG_STATE, "only a running VM has a console (it is %s)",
                         vivi_state_name(m->st.state));
    r = vivi_console_add(&m->consoles,
                         &(struct vivi_console_ask){.steal = q->steal, .readonly = q->readonly},
                         &fd, &writer, err);
    if (r < 0)
        return r;
    result = json_object();
    (void)json_object_set_new(result, "writer", json_boolean(writer));
    vivi_serve_result_fd(c, q->id, result, fd);
    return 0;
}

static json_t *caps_json(const struct vivi_monitor *m)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < VIVI_CAP_COUNT_; i++) {
        if (vivi_caps_has(&m->machine.caps, (enum vivi_cap)i))
            (void)json_array_append_new(list, json_string(vivi_cap_rows[i].word));
    }
    return list;
}

static json_t *op_json(const struct vivi_monitor *m)
{
    json_t *j;

    if (m->op.verb == VIVI_VERB_NONE)
        return json_null();
    j = json_object();
    (void)json_object_set_new(j, "id", vivi_json_str(m->op.id));
    (void)json_object_set_new(j, "verb", json_string(vivi_verb_name(m->op.verb)));
    return j;
}

static int run_info(struct vivi_monitor *m, struct vivi_client *c, const struct vivi_request *q,
                    viv_error *err)
{
    json_t *j = json_object();

    if (!j)
        return vivi_fail_oom(err);
    (void)json_object_set_new(j, "state", vivi_state_to_json(&m->st));
    (void)json_object_set(j, "running", m->running ? m->running : json_null());
    (void)json_object_set_new(j, "timeline",
                              m->running ? vivi_timeline_to_json(&m->timeline) : json_null());
    (void)json_object_set_new(j, "capabilities", caps_json(m));
    (void)json_object_set_new(j, "op", op_json(m));
    (void)json_object_set_new(j, "consoles", json_integer((json_int_t)m->consoles.n));
    (void)json_object_set_new(j, "clients", json_integer((json_int_t)vivi_serve_clients(m)));
    vivi_serve_result(c, q->id, j);
    return 0;
}

bool vivi_verb_must_wait(const struct vivi_monitor *m, const struct vivi_request *q)
{
    return !m->serving && q->verb != VIVI_VERB_KILL &&
           (vivi_verb_changes(q->verb) || q->verb == VIVI_VERB_AGENT ||
            q->verb == VIVI_VERB_STATS || vivi_verb_calls(q->verb));
}

int vivi_verb_run(struct vivi_monitor *m, struct vivi_client *c, const struct vivi_request *q,
                  struct vivi_frame *f, viv_error *err)
{
    if (vivi_verb_changes(q->verb))
        return vivi_op_submit(m, c, q, f, err);
    if (q->verb == VIVI_VERB_CONSOLE)
        return run_console(m, c, q, err);
    if (q->verb == VIVI_VERB_AGENT)
        return vivi_agent_lend(m, c, q->id, q->wait_ms, err);
    if (q->verb == VIVI_VERB_STATS)
        return vivi_stats_ask(m, c, q, err);
    if (vivi_verb_calls(q->verb))
        return vivi_call_begin(m, c, q, f, err);
    if (q->verb == VIVI_VERB_INFO)
        return run_info(m, c, q, err);
    return run_wait(m, c, q, err);
}
