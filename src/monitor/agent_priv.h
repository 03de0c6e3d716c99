/* What agent.c (channel and session), agent_relay.c (clients) and agent_request.c (our own
 * requests) share. */
#pragma once

#include "base/buf.h"
#include "monitor/agent.h"
#include "monitor/monitor.h"

#define AGENT_IN_BYTES    (2 * VIVI_AW_BUFFER_MIN)
#define AGENT_OUT_PAUSE   (256u << 10) /* from here on clients are not read */
#define AGENT_OUT_BYTES   (16u << 20)  /* never reached: clients stop, our requests are small */
#define AGENT_CLIENTS_MAX 256

struct agent_client;
struct agent_waiter;

/* A request that the agent works on. */
struct agent_stream {
    uint32_t id;                 /* in the session with the agent; 0: free */
    struct agent_client *client; /* whose; NULL: ours */
    uint32_t client_id;          /* its number at the client */
    struct vivi_agent_call *call;
    uint32_t to_client, to_agent; /* bytes of DATA that were passed on and not consumed yet */
};

struct vivi_agent {
    struct vivi_monitor *m;
    bool wanted;   /* this run has a channel */
    bool opened;   /* once in this run: what was left half written may stand in it */
    bool alien;    /* the agent speaks no version of ours; why */
    char why[200]; /* why there is no session, for those who ask */
    int fd;        /* −1: no channel */
    struct vivi_watch *watch;
    struct vivi_aw wire;
    unsigned char *in; /* AGENT_IN_BYTES; with the channel */
    struct vivi_buf out;
    uint32_t last_id;
    struct agent_stream streams[VIVI_AW_STREAMS_MAX];
    size_t n_streams;
    struct agent_client *clients;
    size_t n_clients;
    struct agent_waiter *waiters;
    struct vivi_timer *again, *ping, *reap, *settle;
    unsigned failures; /* in a row */
};

/* ---- agent.c ---- */

/* Puts a frame into the queue to the agent. False: there is no session, or no memory. */
bool agent_send(struct vivi_agent *a, const struct vivi_aw_frame *f);
void agent_reset(struct vivi_agent *a, uint32_t id,
                 const viv_error *err);                      /* RESET; err may be NULL */
struct agent_stream *agent_stream_new(struct vivi_agent *a); /* NULL: as many as there may be */
struct agent_stream *agent_stream_find(struct vivi_agent *a, uint32_t id);
void agent_stream_free(struct vivi_agent *a, struct agent_stream *s);
void agent_connect_soon(
    struct vivi_agent *a); /* somebody asks: try again if nothing is under way */

/* ---- agent_relay.c ---- */

/* A frame of the agent for a client's stream; RESULT and RESET end the stream. */
void agent_relay_frame(struct vivi_agent *a, struct agent_stream *s, const struct vivi_aw_frame *f);
void agent_relay_end(struct vivi_agent *a, struct agent_stream *s, const viv_error *err);
void agent_relay_resume(struct vivi_agent *a); /* the queue to the agent has room again */
void agent_relay_up(struct vivi_agent *a);     /* a session stands: who waited gets its channel */
void agent_relay_refuse(struct vivi_agent *a, const viv_error *err); /* and who waits, this */
void agent_relay_close(struct vivi_agent *a); /* no more channel: clients end when they have read */
void agent_relay_done(struct vivi_agent *a);

/* ---- agent_request.c ---- */

void agent_call_frame(struct vivi_agent *a, struct agent_stream *s, const struct vivi_aw_frame *f);
void agent_call_end(struct vivi_agent *a, struct agent_stream *s, const viv_error *err);
