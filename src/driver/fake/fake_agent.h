/*
 * The agent of viv-fake's pretended guest: speaks the real wire protocol (base/agent_wire.h) and
 * knows a handful of commands, so that everything above a driver is tried without a guest.
 * fake_agent.c is the channel and the session, fake_exec.c what is run. fake.md lists the commands.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/agent_wire.h"
#include "base/buf.h"

#define FAKE_AGENT_STREAMS   VIVI_AW_STREAMS_MAX
#define FAKE_AGENT_OUT_BYTES (64u << 20)
#define FAKE_AGENT_OUT_SOME  (128u << 10) /* no more is made while so much waits */
#define FAKE_AGENT_NEVER     UINT64_MAX

enum fake_program {
    FAKE_P_NONE, /* the stream is free */
    FAKE_P_CAT,
    FAKE_P_ZEROS,
    FAKE_P_COUNT,
    FAKE_P_WAIT,
    FAKE_P_SIZE,
    FAKE_P_SLEEP
};

struct fake_stream {
    enum fake_program program;
    uint32_t id;
    struct vivi_aw_credit credit;
    struct vivi_buf held;        /* CAT: came and not sent back yet */
    uint64_t left, sum;          /* ZEROS: bytes to send; COUNT: bytes that came */
    uint64_t due_us, timeout_us; /* monotonic; FAKE_AGENT_NEVER: none */
    bool eof, tty;
};

struct fake_agent {
    int listen_fd, fd; /* −1: no channel; nobody connected */
    bool alive;        /* the guest's agent runs: without it nobody reads */
    bool deaf;         /* it takes requests and never answers them */
    bool said_ready;
    int64_t wall_off_us;                /* the guest's wall clock less the host's */
    uint64_t port;                      /* at which a program of the guest listens; 0 = none */
    char ready_ip[46], ready_nonce[40]; /* "" = it has not said that it is ready */
    bool power_off, reboot;             /* the host asked for it: the guest's to do */
    struct vivi_aw wire;
    unsigned char in[2 * VIVI_AW_BUFFER_MIN];
    struct vivi_buf out;
    struct fake_stream streams[FAKE_AGENT_STREAMS];
};

/* ---- fake_agent.c ---- */

void fake_agent_init(struct fake_agent *a, int listen_fd);
void fake_agent_start(struct fake_agent *a); /* the guest has started it */
void fake_agent_stop(struct fake_agent *a);  /* it was killed, or its guest is gone */
void fake_agent_say_ready(struct fake_agent *a, const char *ip, const char *nonce);
/* The descriptor to poll, its events in *ret_events; −1: none. */
int fake_agent_poll(const struct fake_agent *a, short *ret_events);
void fake_agent_handle(struct fake_agent *a, short revents);
/* Does what is due. Returns µs until the next, FAKE_AGENT_NEVER = nothing. */
uint64_t fake_agent_play(struct fake_agent *a);
void fake_agent_send(struct fake_agent *a, const struct vivi_aw_frame *f);
/* RESULT with these fields; the stream is free. */
void fake_agent_result(struct fake_agent *a, struct fake_stream *s, struct vivi_aw_writer *w);

/* ---- fake_exec.c ---- */

void fake_exec_open(struct fake_agent *a, struct fake_stream *s, const struct vivi_aw_frame *f);
void fake_exec_data(struct fake_agent *a, struct fake_stream *s, const struct vivi_aw_frame *f);
void fake_exec_control(struct fake_agent *a, struct fake_stream *s, const struct vivi_aw_frame *f);
/* Output there is credit and room for, end of input, times that are over. Returns µs until the
 * next time, FAKE_AGENT_NEVER = none. */
uint64_t fake_exec_play(struct fake_agent *a, struct fake_stream *s);
