/* For tests of the agent's channel: one end of it, played by the test. */
#pragma once

#include "base/agent_wire.h"
#include "monitor/testing.h"

struct rig_end {
    int fd;
    struct vivi_aw wire;
    unsigned char in[2 * VIVI_AW_BUFFER_MIN];
    bool deaf;           /* reads nothing */
    int version, lowest; /* that it claims to speak; 0: the truth, −1: none */
    unsigned counts[16]; /* frames by type */
    uint64_t data;       /* bytes of DATA */
    uint32_t stream;     /* of the last OPEN or RESET */
    char text[512];      /* payload of the last frame, fields apart by spaces */
};

/* Greets; the fd is the end's from now on. */
void rig_end_begin(struct rig_end *e, int fd, enum vivi_aw_role role);
/* False: there is no room for it. */
bool rig_end_push(struct rig_end *e, const void *data, size_t len);
/* An agent's DATA goes to channel 1, a host's to 0. */
bool rig_end_say(struct rig_end *e, enum vivi_aw_type type, uint32_t stream, const void *payload,
                 size_t len);
void rig_end_greet(struct rig_end *e); /* what its wire owes */
/* Takes what came; true: something did. */
bool rig_end_take(struct rig_end *e);

/* ---- the guest's agent, where there is no client ---- */

void rig_agent_settle(struct rig *r, struct rig_end *agent);
/* It opens its end of the channel that the driver gave last, and is in session. */
void rig_agent_meet(struct rig *r, struct rig_end *agent);
/* RESULT of the last request: "a=b c=d". */
void rig_agent_answers(struct rig *r, struct rig_end *agent, const char *fields);
void rig_agent_close(struct rig_end *agent); /* also one that never met */
