/*
 * The guest's wall clock after the guest stood still.
 *
 * Theory of operation. A guest that was paused, saved or on its way goes on with the time of day at
 * which it stopped, unless VMM and host can put it right. So whenever the state becomes running by
 * anything but a boot, running.json says that the clock is due, and as soon as the agent is in
 * session it is told the host's time: it sets the guest's clock when that is off by more than
 * BOUND, and says by how much. Then the note goes. A monitor that dies before leaves it to the next
 * one; done twice it changes nothing.
 *
 * A request holds the time of asking. When its answer took longer than BOUND the guest may have got
 * a time that was over, so it is asked once more, up to TRIES times. One that the guest had not
 * read when it was paused is given up when the guest goes on: the new one comes behind it.
 */
#include "monitor/clock_sync.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "monitor/monitor.h"

#define BOUND_MS  1000
#define ANSWER_MS 10000
#define TRIES     3
#define NS_PER_MS 1000000

static void settled(struct vivi_monitor *m)
{
    m->clock_sync.due = false;
    vivi_record_running(m);
}

static void tell(struct vivi_monitor *m, int64_t adjusted_ms)
{
    json_t *more = json_object();

    vivi_log(VIVI_LOG_INFO, "the guest's clock was set by %" PRId64 " ms", adjusted_ms);
    (void)json_object_set_new(more, "adjusted_ms", json_integer(adjusted_ms));
    vivi_record_event(m, "clock", more);
}

/* Whatever the agent says: a number, or it did nothing. */
static int64_t adjusted_ms(const struct vivi_agent_reply *reply)
{
    const char *text = vivi_aw_field(reply->fields, reply->fields_len, "adjusted_ns");
    char *end = NULL;
    long long ns;

    errno = 0;
    ns = text ? strtoll(text, &end, 10) : 0;
    return errno || !end || *end ? 0 : ns / NS_PER_MS;
}

static void answered(void *ctx, const struct vivi_agent_reply *reply)
{
    struct vivi_monitor *m = ctx;
    bool late = m->loop->now_ms(m->loop->ctx) - m->clock_sync.asked_ms > BOUND_MS;
    int64_t ms;

    m->clock_sync.call = NULL;
    if (reply->err && (!vivi_agent_up(m) || m->st.state != VIV_ST_RUNNING))
        return; /* with the next session, or when the guest goes on */
    ms = reply->err ? 0 : adjusted_ms(reply);
    if (ms >= BOUND_MS || ms <= -BOUND_MS) /* an older agent sets it always */
        tell(m, ms);
    if (late && m->clock_sync.tries < TRIES) {
        vivi_clock_sync(m);
        return;
    }
    if (reply->err)
        vivi_log(VIVI_LOG_WARN, "the guest's clock is as it was: %s", reply->err->message);
    settled(m);
}

void vivi_clock_sync(struct vivi_monitor *m)
{
    char text[100];
    struct vivi_aw_writer w = VIVI_AW_WRITER(text);
    struct vivi_agent_ask ask = {
        .request = text, .timeout_ms = ANSWER_MS, .done = answered, .ctx = m};

    if (!m->clock_sync.due || m->clock_sync.call || m->st.state != VIV_ST_RUNNING ||
        !vivi_agent_up(m))
        return;
    vivi_aw_put(&w, NULL, "clock");
    vivi_aw_put_u64(&w, "within_ns", (uint64_t)BOUND_MS * NS_PER_MS);
    vivi_aw_put_u64(&w, "realtime_ns", (uint64_t)vivi_wall_ns());
    ask.len = w.len;
    m->clock_sync.asked_ms = m->loop->now_ms(m->loop->ctx);
    m->clock_sync.tries++;
    (void)vivi_agent_request(m, &ask, &m->clock_sync.call, NULL);
}

void vivi_clock_sync_forget(struct vivi_monitor *m)
{
    vivi_agent_cancel(m->clock_sync.call);
    m->clock_sync = (struct vivi_clock_sync){.due = false};
}

void vivi_clock_sync_owe(struct vivi_monitor *m)
{
    bool was = m->clock_sync.due;

    vivi_clock_sync_forget(m);
    m->clock_sync.due =
        m->config_valid && m->config.sync_clock && m->config.agent != VIVI_AGENT_OFF;
    if (m->clock_sync.due != was)
        vivi_record_running(m);
}
