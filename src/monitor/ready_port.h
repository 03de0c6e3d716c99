/* Readiness by a TCP port of the guest; see ready_port.c. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct vivi_monitor;
struct vivi_timer;

struct vivi_ready_port {
    char ip[46]; /* the guest's, as its agent says; "" = unknown */
    uint64_t pause_ms;
    struct vivi_timer *again;
    bool asked; /* an answer is outstanding: it comes, or the session ends */
};

/* The agent says that the guest is ready, at this address: its port is looked at from now on. */
void vivi_ready_port_begin(struct vivi_monitor *m, const char *ip);
