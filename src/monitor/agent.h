/*
 * The guest's agent, as the monitor sees it: one channel, owned here, used by the monitor itself
 * and lent to clients.
 *
 * Theory of operation. When the guest runs the driver is asked for the channel. On it the wire
 * protocol's handshake (base/agent_wire.h) waits for as long as it takes: a port that nobody has
 * opened in the guest keeps our greeting, an agent that starts sends its own, so nothing polls.
 * Only a channel that cannot be opened is tried again by a timer ("agent-connect", doubling, a few
 * times). A session ends when either side begins anew, the channel breaks, the guest reboots, or
 * the driver says that the guest has closed its end and a ping stays unanswered ("agent-ping").
 *
 * Streams. Each request is a stream of the session with a number of ours, which belongs to a
 * request of the monitor (agent_request.c) or to a client (agent_relay.c). A client has one end of
 * a socket pair and speaks the same protocol over it, with numbers of its own: frames are passed on
 * with the number exchanged. Credit is between the two ends, so at most a window of each stream
 * waits here; who sends more is cut off. When the session ends every stream gets a RESET that says
 * why.
 *
 * Thread: the loop's. Callbacks run from the loop, never from inside the call that asked.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/agent_wire.h"
#include "base/error.h"

struct vivi_monitor;
struct vivi_client;
struct vivi_driver_event;
struct vivi_agent_call;

/* ---- for the monitor's own needs ---- */

#define VIVI_AGENT_REPLY_MAX 65536u /* most that a request of ours takes on channel 1 */

/* What became of a request: err NULL and the RESULT's fields (for vivi_aw_field), with what came on
 * channel 1; else why not. All lent for the call. */
struct vivi_agent_reply {
    const viv_error *err;
    const char *fields;
    size_t fields_len;
    const char *data;
    size_t data_len;
};

struct vivi_agent_ask {
    /* "online-cpus\0", "shutdown\0", "renew\0hostname=x\0": made with vivi_aw_put(w, NULL, kind).
     */
    const char *request;
    size_t len;
    uint64_t timeout_ms; /* the answer must have come by then: TIMEOUT */
    void (*done)(void *ctx, const struct vivi_agent_reply *reply); /* exactly once */
    void *ctx;
};

/* True: a session stands, a request goes out at once. */
bool vivi_agent_up(const struct vivi_monitor *m);
/*
 * Errors (done is not called then): NOT_FOUND this run has no channel, or no agent answers on it;
 * BUSY too many requests; NO_MEMORY. *ret (may be NULL) is for vivi_agent_cancel.
 */
int vivi_agent_request(struct vivi_monitor *m, const struct vivi_agent_ask *ask,
                       struct vivi_agent_call **ret, viv_error *err);
void vivi_agent_cancel(struct vivi_agent_call *c); /* NULL ok; done is not called */

/* ---- for life.c ---- */

void vivi_agent_begin(
    struct vivi_monitor *m); /* the guest runs: open the channel if there is one */
void vivi_agent_rebooted(struct vivi_monitor *m); /* a new boot has begun */
/* The run is over, why: "guest-poweroff". */
void vivi_agent_ended(struct vivi_monitor *m, const char *why);
void vivi_agent_connected(struct vivi_monitor *m, int fd_consume, const viv_error *err);
void vivi_agent_port(struct vivi_monitor *m, bool open); /* VIVI_EV_AGENT */
void vivi_agent_done(struct vivi_monitor *m);            /* the monitor ends */

/* ---- for verbs.c ---- */

/* Verb `agent`: a client wants a channel of its own, at the latest after wait_ms. > 0 or 0:
 * answered or waiting; < 0: refused. */
int vivi_agent_lend(struct vivi_monitor *m, struct vivi_client *c, uint64_t id, uint64_t wait_ms,
                    viv_error *err);
void vivi_agent_forget(struct vivi_monitor *m, const struct vivi_client *c);
size_t vivi_agent_clients(const struct vivi_monitor *m); /* so that idle.c sees them */
