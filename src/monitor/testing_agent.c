#include "monitor/testing_agent.h"

#include <sys/socket.h>

/* In a greeting without padding: u16 version, u16 lowest. */
#define VERSION_AT (VIVI_AW_SYNC_BYTES + VIVI_AW_HEAD)

bool rig_end_push(struct rig_end *e, const void *data, size_t len)
{
    ssize_t n = send(e->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);

    /* A frame that fits in part would break the stream: these are small against the buffer. */
    assert_true(n < 0 || (size_t)n == len);
    return n > 0;
}

bool rig_end_say(struct rig_end *e, enum vivi_aw_type type, uint32_t stream, const void *payload,
                 size_t len)
{
    static char frame[VIVI_AW_PAYLOAD_MAX + VIVI_AW_FRAME_EXTRA];
    bool output = type == VIVI_AW_DATA && e->wire.role == VIVI_AW_AGENT;
    const struct vivi_aw_frame f = {.type = (uint8_t)type,
                                    .channel = output ? VIVI_AW_STDOUT : VIVI_AW_STDIN,
                                    .stream = stream,
                                    .payload = payload,
                                    .len = len};

    return rig_end_push(e, frame, vivi_aw_encode(&e->wire, &f, frame, sizeof(frame)));
}

void rig_end_greet(struct rig_end *e)
{
    char text[VIVI_AW_HELLO_MAX];
    size_t n;

    while (e->wire.hello_due && (n = vivi_aw_hello(&e->wire, text, sizeof(text))) > 0) {
        if (e->version != 0) {
            text[VERSION_AT] = (char)(e->version > 0 ? e->version : 0);
            text[VERSION_AT + 2] = (char)(e->version > 0 ? e->lowest : 0);
        }
        (void)rig_end_push(e, text, n);
    }
}

static void note(struct rig_end *e, const struct vivi_aw_frame *f)
{
    e->counts[f->type]++;
    if (f->type == VIVI_AW_DATA)
        e->data += f->len;
    if (f->type == VIVI_AW_OPEN || f->type == VIVI_AW_RESET)
        e->stream = f->stream;
    (void)snprintf(e->text, sizeof(e->text), "%.*s", (int)f->len, f->payload);
    for (size_t i = 0; i < f->len && i < sizeof(e->text); i++)
        e->text[i] = f->payload[i] == '\0' ? ' ' : f->payload[i];
    e->text[f->len < sizeof(e->text) ? f->len : sizeof(e->text) - 1] = '\0';
}

bool rig_end_take(struct rig_end *e)
{
    struct vivi_aw_frame f;
    enum vivi_aw_step step;
    size_t room;
    void *space;
    ssize_t n;

    if (e->fd < 0 || e->deaf)
        return false;
    space = vivi_aw_space(&e->wire, &room);
    n = recv(e->fd, space, room, MSG_DONTWAIT);
    if (n == 0)
        vivi_close(&e->fd);
    if (n <= 0)
        return false;
    vivi_aw_received(&e->wire, (size_t)n);
    while ((step = vivi_aw_next(&e->wire, &f)) != VIVI_AW_MORE) {
        if (step == VIVI_AW_FRAME)
            note(e, &f);
        rig_end_greet(e);
    }
    rig_end_greet(e);
    return true;
}

void rig_end_begin(struct rig_end *e, int fd, enum vivi_aw_role role)
{
    *e = (struct rig_end){.fd = fd};
    vivi_aw_init(&e->wire, role, e->in, sizeof(e->in), 12345 + (uint64_t)role);
    rig_end_greet(e);
}

void rig_agent_settle(struct rig *r, struct rig_end *agent)
{
    do
        rig_settle(r);
    while (rig_end_take(agent));
}

void rig_agent_meet(struct rig *r, struct rig_end *agent)
{
    rig_settle(r);
    assert_true(rig_driver.agent_fd >= 0);
    rig_end_begin(agent, rig_driver.agent_fd, VIVI_AW_AGENT);
    rig_driver.agent_fd = -1;
    rig_agent_settle(r, agent);
    assert_true(vivi_agent_up(r->m));
}

void rig_agent_answers(struct rig *r, struct rig_end *agent, const char *fields)
{
    char text[200];
    size_t n = strlen(fields) + 1;

    assert_true(n <= sizeof(text));
    for (size_t i = 0; i < n; i++)
        text[i] = (char)(fields[i] == ' ' ? '\0' : fields[i]);
    assert_true(rig_end_say(agent, VIVI_AW_RESULT, agent->stream, text, n > 1 ? n : 0));
    rig_agent_settle(r, agent);
}

void rig_agent_close(struct rig_end *agent)
{
    vivi_close(&agent->fd);
    vivi_close(&rig_driver.agent_fd);
}
