/* Requests of the monitor itself to the guest's agent: small, each with a deadline. */
#include "monitor/agent_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

struct vivi_agent_call {
    struct vivi_agent *agent;
    uint32_t stream;
    struct vivi_agent_ask ask; /* request is not kept */
    struct vivi_timer *deadline;
    struct vivi_aw_credit credit;
    struct vivi_buf data;
    char what[24];
};

static void free_call(struct vivi_agent_call *c)
{
    c->agent->m->loop->timer_stop(c->deadline);
    vivi_buf_done(&c->data);
    free(c);
}

static void answer(struct vivi_agent_call *c, const viv_error *err, const struct vivi_aw_frame *f)
{
    struct vivi_agent_reply reply = {.err = err,
                                     .fields = f ? f->payload : NULL,
                                     .fields_len = f ? f->len : 0,
                                     .data = c->data.data ? c->data.data : "",
                                     .data_len = c->data.len};

    if (err)
        vivi_log(VIVI_LOG_INFO, "agent: %s: %s", c->what, err->message);
    c->ask.done(c->ask.ctx, &reply);
    free_call(c);
}

static void release(struct vivi_agent_call *c)
{
    struct agent_stream *s = agent_stream_find(c->agent, c->stream);

    if (s && s->call == c)
        agent_stream_free(c->agent, s);
}

static void give_up(struct vivi_agent_call *c, const viv_error *err)
{
    agent_reset(c->agent, c->stream, err);
    release(c);
    answer(c, err, NULL);
}

static void late(void *arg)
{
    struct vivi_agent_call *c = arg;
    viv_error err = VIV_ERROR_INIT;
    char s[24];

    (void)vivi_fail(&err, VIV_E_TIMEOUT, "the agent has not answered after %s s",
                    vivi_seconds((int64_t)c->ask.timeout_ms, s));
    give_up(c, &err);
}

static void on_data(struct vivi_agent_call *c, const struct vivi_aw_frame *f)
{
    viv_error err = VIV_ERROR_INIT;
    unsigned char value[4];
    struct vivi_aw_frame credit;
    uint32_t back;

    if (vivi_aw_credit_received(&c->credit, f->len) < 0 ||
        vivi_buf_add(&c->data, f->payload, f->len) < 0) {
        (void)vivi_fail(&err, VIV_E_PROTOCOL, "the agent sends more than was asked for");
        give_up(c, &err);
        return;
    }
    back = vivi_aw_credit_consumed(&c->credit, f->len);
    if (back == 0)
        return;
    credit = vivi_aw_credit_frame(c->stream, back, value);
    (void)agent_send(c->agent, &credit);
}

void agent_call_frame(struct vivi_agent *a, struct agent_stream *s, const struct vivi_aw_frame *f)
{
    struct vivi_agent_call *c = s->call;
    viv_error err = VIV_ERROR_INIT;

    if (f->type == VIVI_AW_DATA) {
        on_data(c, f);
        return;
    }
    if (f->type != VIVI_AW_RESULT && f->type != VIVI_AW_RESET)
        return;
    agent_stream_free(a, s);
    if (!vivi_aw_fields_ok(f->payload, f->len))
        (void)vivi_fail(&err, VIV_E_PROTOCOL, "an answer that is no list of fields");
    else if (vivi_aw_get_error(f->payload, f->len, &err) == 0 && f->type == VIVI_AW_RESET)
        (void)vivi_fail(&err, VIV_E_IO, "the agent gave up");
    answer(c, err.code ? &err : NULL, err.code ? NULL : f);
}

void agent_call_end(struct vivi_agent *a, struct agent_stream *s, const viv_error *err)
{
    (void)a;
    answer(s->call, err, NULL);
}

int vivi_agent_request(struct vivi_monitor *m, const struct vivi_agent_ask *ask,
                       struct vivi_agent_call **ret, viv_error *err)
{
    struct vivi_agent *a = m->agent;
    struct vivi_agent_call *c;
    struct agent_stream *s;
    int r;

    if (!vivi_agent_up(m))
        return vivi_fail(err, VIV_E_NOT_FOUND, "%s",
                         a && a->why[0] ? a->why : "this run has no channel to an agent");
    c = calloc(1, sizeof(*c));
    if (!c)
        return vivi_fail_oom(err);
    *c = (struct vivi_agent_call){.agent = a,
                                  .ask = *ask,
                                  .credit = VIVI_AW_CREDIT_FULL,
                                  .data = VIVI_BUF(VIVI_AGENT_REPLY_MAX)};
    (void)snprintf(c->what, sizeof(c->what), "%s", vivi_aw_kind(ask->request, ask->len));
    r = m->loop->timer(m->loop->ctx, "agent-request", ask->timeout_ms, late, c, &c->deadline, err);
    if (r < 0) {
        free(c);
        return r;
    }
    s = agent_stream_new(a);
    if (!s) {
        free_call(c);
        return vivi_fail(err, VIV_E_BUSY, "the agent has too many requests");
    }
    s->call = c;
    c->stream = s->id;
    (void)agent_send(
        a, &(struct vivi_aw_frame){
               .type = VIVI_AW_OPEN, .stream = s->id, .payload = ask->request, .len = ask->len});
    if (ret)
        *ret = c;
    return 0;
}

void vivi_agent_cancel(struct vivi_agent_call *c)
{
    if (!c)
        return;
    agent_reset(c->agent, c->stream, NULL);
    release(c);
    free_call(c);
}
