/* streams.c: the table of streams and what frames mean for them. */
#include "agent.h"

#include <stdlib.h>
#include <string.h>

static struct stream *find(const struct agent *a, uint32_t id)
{
    for (size_t i = 0; id != 0 && i < a->n_streams; i++) {
        if (a->streams[i]->id == id)
            return a->streams[i];
    }
    return NULL;
}

void streams_add(struct agent *a, struct stream *s, const struct stream_ops *ops, uint32_t id)
{
    s->agent = a;
    s->ops = ops;
    s->id = id;
    s->due_ms = AGENT_NEVER;
    s->credit = (struct vivi_aw_credit)VIVI_AW_CREDIT_FULL;
    a->streams[a->n_streams++] = s;
}

static void send_error(struct agent *a, enum vivi_aw_type type, uint32_t id, const viv_error *err)
{
    char buf[1024];
    struct vivi_aw_writer w = VIVI_AW_WRITER(buf);

    vivi_aw_put_error(&w, err);
    channel_send_fields(a, type, id, &w);
}

void stream_result(struct stream *s, const char *fields, size_t len)
{
    const struct vivi_aw_frame f = {
        .type = VIVI_AW_RESULT, .stream = s->id, .payload = fields, .len = len};

    if (s->id != 0)
        channel_send(s->agent, &f);
    s->id = 0;
}

void stream_fail(struct stream *s, const viv_error *err)
{
    if (s->id != 0)
        send_error(s->agent, VIVI_AW_RESULT, s->id, err);
    s->id = 0;
}

void stream_consumed(struct stream *s, size_t n)
{
    uint32_t give = vivi_aw_credit_consumed(&s->credit, n);
    unsigned char value[4];

    if (give > 0 && s->id != 0) {
        struct vivi_aw_frame f = vivi_aw_credit_frame(s->id, give, value);

        channel_send(s->agent, &f);
    }
}

void stream_starve(struct stream *s)
{
    s->starved = true;
    s->agent->starved = true;
}

static void stop(struct stream *s)
{
    s->id = 0;
    s->ops->stop(s);
}

void streams_stop_all(struct agent *a)
{
    for (size_t i = 0; i < a->n_streams; i++) {
        if (a->streams[i]->id != 0)
            stop(a->streams[i]);
    }
    a->last_id = 0;
}

static void open_stream(struct agent *a, const struct vivi_aw_frame *f)
{
    viv_error err = VIV_ERROR_INIT;
    int r;

    if (f->stream <= a->last_id || !vivi_aw_fields_ok(f->payload, f->len)) {
        (void)vivi_fail(&err, VIV_E_PROTOCOL, "a stream was opened wrongly");
        send_error(a, VIVI_AW_RESET, f->stream, &err);
        return;
    }
    a->last_id = f->stream;
    if (a->n_streams == VIVI_AW_STREAMS_MAX)
        r = vivi_fail(&err, VIV_E_BUSY, "more than %u requests at once", VIVI_AW_STREAMS_MAX);
    else if (strcmp(vivi_aw_kind(f->payload, f->len), "watch") == 0)
        r = watch_open(a, f, &err);
    else
        r = process_open(a, f, &err);
    if (r < 0)
        send_error(a, VIVI_AW_RESULT, f->stream, &err);
}

/* The peer broke the rules of one stream: that stream ends, the others go on. */
static void refuse(struct stream *s, const char *why)
{
    viv_error err = VIV_ERROR_INIT;

    (void)vivi_fail(&err, VIV_E_PROTOCOL, "%s", why);
    send_error(s->agent, VIVI_AW_RESET, s->id, &err);
    stop(s);
}

static void stream_frame(struct stream *s, const struct vivi_aw_frame *f)
{
    switch ((enum vivi_aw_type)f->type) {
    case VIVI_AW_DATA:
        if (vivi_aw_credit_received(&s->credit, f->len) < 0)
            refuse(s, "more data than credit");
        else if (s->ops->data != NULL)
            s->ops->data(s, f);
        else
            stream_consumed(s, f->len);
        break;
    case VIVI_AW_EOF:
        if (s->ops->eof != NULL)
            s->ops->eof(s, f->channel);
        break;
    case VIVI_AW_CREDIT:
        if (vivi_aw_credit_granted(&s->credit, f) < 0)
            refuse(s, "more credit than the window");
        else if (s->ops->resume != NULL)
            s->ops->resume(s);
        break;
    case VIVI_AW_CONTROL:
        if (!vivi_aw_fields_ok(f->payload, f->len))
            refuse(s, "a damaged control");
        else if (s->ops->control != NULL)
            s->ops->control(s, f);
        break;
    case VIVI_AW_RESET: stop(s); break;
    case VIVI_AW_HELLO:
    case VIVI_AW_OPEN:
    case VIVI_AW_STARTED:
    case VIVI_AW_RESULT:
    case VIVI_AW_EVENT:
    case VIVI_AW_PING:
    case VIVI_AW_PONG: break; /* not for a stream, or not for an agent */
    }
}

void streams_frame(struct agent *a, const struct vivi_aw_frame *f)
{
    struct stream *s;

    if (f->type == VIVI_AW_OPEN) {
        open_stream(a, f);
    } else if (f->type == VIVI_AW_PING) {
        struct vivi_aw_frame pong = *f;

        pong.type = VIVI_AW_PONG;
        channel_send(a, &pong);
    } else {
        s = find(a, f->stream);
        if (s != NULL) /* else it is over, and this was still on its way */
            stream_frame(s, f);
    }
}

void streams_resume(struct agent *a)
{
    size_t n = a->n_streams;

    if (!a->starved || n == 0)
        return;
    a->starved = false;
    for (size_t i = 0; i < n; i++) {
        struct stream *s = a->streams[(a->turn + i) % n];

        if (!s->starved)
            continue;
        s->starved = false;
        s->ops->resume(s);
    }
    a->turn++;
}

void streams_expire(struct agent *a, uint64_t now_ms)
{
    for (size_t i = 0; i < a->n_streams; i++) {
        struct stream *s = a->streams[i];

        if (now_ms >= s->due_ms) {
            s->due_ms = AGENT_NEVER;
            s->ops->expire(s, now_ms);
        }
    }
}

uint64_t streams_next_ms(const struct agent *a)
{
    uint64_t next_ms = AGENT_NEVER;

    for (size_t i = 0; i < a->n_streams; i++) {
        if (a->streams[i]->due_ms < next_ms)
            next_ms = a->streams[i]->due_ms;
    }
    return next_ms;
}

void streams_sweep(struct agent *a)
{
    size_t kept = 0;

    for (size_t i = 0; i < a->n_streams; i++) {
        struct stream *s = a->streams[i];

        if (s->over) {
            s->ops->done(s);
            free(s);
        } else {
            a->streams[kept++] = s;
        }
    }
    a->n_streams = kept;
}
