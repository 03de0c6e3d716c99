/*
 * The wire protocol between a host and viv-agent, over any stream of bytes: a virtio-serial port
 * (where neither side sees that the other died, rebooted or was replaced), vsock, TCP, a socket
 * pair between the monitor and a client. No allocation, no system call: bytes in, frames out.
 *
 * FRAME, little endian
 *
 *   u8 type | u8 flags = 0 | u16 channel | u32 stream | u32 length | payload | u32 seal
 *
 * length ≤ 65,536. The seal is what the sender's HELLO said (low half of its nonce, odd): a frame
 * that a dying sender left half done, and whose rest is made of other bytes, is never taken for
 * whole. A frame is acted upon only when all of it is there.
 *
 * SESSION
 *
 *   pad (zeros) | sync (32 bytes) | HELLO
 *
 * Each side has a nonce, new whenever it starts or lost its place in the stream. HELLO carries it
 * (n) and the nonce of the peer as far as known (e, 0 = not yet). Rules, the same on both sides:
 *
 *   1. A side that starts, or whose connection was made anew, sends HELLO(n, 0). It sends the pad
 *      first where an earlier sender may have left half a frame in the same stream (a virtio-serial
 *      port; not a fresh connection): zeros fill that frame up, its seal is wrong, and what follows
 *      is looked at anew.
 *   2. HELLO(n', e') with an n' not seen last: all streams of before are gone (VIVI_AW_DOWN); it is
 *      answered with HELLO(n, n').
 *   3. HELLO(n', e' = n): the session stands (VIVI_AW_UP). Frames before that belong to the past
 *      and are dropped, and no frame but HELLO may be sent.
 *   4. A HELLO with n' known and another e' is old: ignored.
 *   5. Whatever is no frame (unknown type, a flag, a length above the limit, a wrong seal) is
 *      noise: the streams are gone, a new nonce is taken, HELLO(n, 0) is sent, and bytes are
 *      dropped until the next sync. So is a HELLO of a side of the same role (an echo).
 *
 * Every answer is caused by a nonce that is new, so the exchange ends; a HELLO that waits to be
 * sent is replaced by the next, so a hostile peer cannot make a queue of them.
 *
 * HELLO's payload: u16 version, u16 lowest version, u8 role, u8[3] 0, u64 n, u64 e, u32 window, u32
 * streams, u32 payload, u16 where the fields begin, u16 0, then fields (name, release, …; at most
 * VIVI_AW_ABOUT_MAX bytes). This layout only grows at its end, in every version. The session's
 * version is the lower of the two; where one side's lowest is above the other's version there is no
 * session (VIVI_AW_ALIEN) and both know whom they met. A release speaks its version and the one
 * before.
 *
 * STREAMS
 *
 * The host opens them, ids grow from 1 and are never used twice in a session. At most
 * VIVI_AW_STREAMS_MAX at once: more is answered with RESULT error=BUSY.
 *
 *   OPEN    host→agent   a request: its kind as first field, then key=value fields
 *   STARTED agent→host   the request is running (fields by kind); not for every kind
 *   DATA    both         bytes of a channel; costs credit
 *   EOF     both         no more DATA on that channel from me
 *   CREDIT  both         u32: so many bytes of DATA were consumed
 *   CONTROL host→agent   fields; exec: signal=, rows= and cols=
 *   RESULT  agent→host   the end of the stream: fields by kind, or error=, errno=, text=
 *   RESET   both         the end of the stream, at once; fields error=, text= may say why
 *   EVENT   agent→host   fields, event= first; on stream 0, or on the stream of a `watch`
 *   PING    both         at most 64 bytes, stream 0; answered with PONG of the same bytes
 *   PONG    both
 *
 * RESULT comes after all DATA of the agent and ends the stream for both: frames for a stream that
 * is over (still on their way) are ignored. On RESET the agent ends the request (a process group is
 * killed, a file half written is removed) and sends nothing more on it. The end of a session is a
 * RESET of all its streams.
 *
 * CREDIT. Each side may have VIVI_AW_WINDOW bytes of DATA on its way per stream, all channels
 * together; CREDIT gives back what the receiver handed on. So nobody ever buffers more than a
 * window per stream and direction, whoever passes frames on included: credit is between the ends.
 * More DATA than credit, or more credit than the window, is a RESET with PROTOCOL. A sender does
 * best with frames of VIVI_AW_DATA_BEST bytes (the guest's virtio-serial driver cuts writes at 32
 * KiB).
 *
 * REQUESTS. Fields end in NUL: "exec\0arg=ls\0arg=-l\0". Numbers are decimal. Unknown fields are
 * ignored, an unknown kind is UNSUPPORTED.
 *
 *   exec           arg=… (first: the program, sought in PATH), env=K=V …, cwd=, user= (name or
 *                  uid[:gid]), stdin=1 (else /dev/null), tty=1, rows=, cols=, timeout_ms=
 *                  Channels: 0 in, 1 out, 2 error (tty: all on 1). STARTED pid=
 *                  RESULT exit=0…255 or signal=N, timeout=1 where its time was over;
 *                  not found: exit=127, not to be run: exit=126, both with text=
 *   shell          as exec, of the user's login shell; arg= is given to it
 *   info           channel 1: one JSON object
 *   stat           path=  RESULT type=file|dir|link|other size= mode= mtime_ns= uid= gid= target=
 *   read           path=, offset=, length=  STARTED size= mode= mtime_ns=, then channel 1
 *   write          path=, name= (used where path is a directory), mode=, append=1, excl=1,
 *                  mkdir=1 (makes missing parents). Channel 0 up to EOF; the file changes only
 *                  when all came (not with append). RESULT bytes=
 *   tree-read      path=  channel 1 is a tree (base/agent_tree.h)
 *   tree-write     path=, name=, mkdir=1, owner=1: channel 0 is a tree up to EOF. Where path is a
 *                  directory and name is given, the root of the tree becomes path/name, else path.
 *                  RESULT as tree-read
 *   port           port=  RESULT listening=no|loopback|any: who is served at that TCP port
 *   clock          realtime_ns=, within_ns= (a clock that is off by no more stays as it is)
 *                  RESULT adjusted_ns=
 *   freeze         timeout_ms= (thaws by itself after it; default 60,000)  RESULT frozen=N
 *   thaw           RESULT thawed=N
 *   trim           minimum=  RESULT bytes=
 *   renew          hostname=, machine_id= (32 hex digits, or "new"), mac=IF=AA:BB:… …,
 *                  entropy= (hex)
 *   online-cpus    count= (waits until so many are in use, 20 s at most)  RESULT onlined=, online=
 *   online-memory  RESULT onlined= (blocks), online=, block_bytes=
 *   shutdown       RESULT by=systemd|openrc|busybox|init; then the guest powers off
 *   reboot         as shutdown
 *   watch          load_ms=: EVENT event=load on this stream every load_ms until RESET
 *
 * EVENTS  ready address= nonce= (once per session and again when they change; nonce of the kernel
 *   command line's vmrs.nonce=), address address=, oom pid= name=, load load1= (times 100)
 *   memory_free= memory_total=.
 *
 * ERRORS are those of viv_code: error= is viv_code_name's word, errno= its name, text= the message.
 *
 * Thread: any, one at a time per object.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define VIVI_AW_VERSION     1u
#define VIVI_AW_VERSION_MIN 1u

#define VIVI_AW_HEAD        12u
#define VIVI_AW_SEAL        4u
#define VIVI_AW_FRAME_EXTRA (VIVI_AW_HEAD + VIVI_AW_SEAL)
#define VIVI_AW_PAYLOAD_MAX 65536u
#define VIVI_AW_WINDOW      65536u
#define VIVI_AW_DATA_BEST   (32768u - VIVI_AW_FRAME_EXTRA)
#define VIVI_AW_STREAMS_MAX 256u
#define VIVI_AW_ABOUT_MAX   512u
#define VIVI_AW_PING_MAX    64u
#define VIVI_AW_SYNC_BYTES  32u
/* The longest HELLO with its sync, without pad. */
#define VIVI_AW_HELLO_MAX (VIVI_AW_SYNC_BYTES + VIVI_AW_FRAME_EXTRA + 40u + VIVI_AW_ABOUT_MAX)
/* The smallest buffer to receive into; twice that means fewer moves. */
#define VIVI_AW_BUFFER_MIN ((size_t)VIVI_AW_PAYLOAD_MAX + 2 * VIVI_AW_FRAME_EXTRA)

/* Where the agent is found. The names are part of the contract with images that exist. */
#define VIVI_AW_PORT_NAME  "vivarium.agent.0" /* virtio-serial port */
#define VIVI_AW_VSOCK_PORT 1024u              /* the agent listens */

enum vivi_aw_type {
    VIVI_AW_HELLO = 1,
    VIVI_AW_OPEN,
    VIVI_AW_STARTED,
    VIVI_AW_DATA,
    VIVI_AW_EOF,
    VIVI_AW_CREDIT,
    VIVI_AW_CONTROL,
    VIVI_AW_RESULT,
    VIVI_AW_RESET,
    VIVI_AW_EVENT,
    VIVI_AW_PING,
    VIVI_AW_PONG,
};

enum vivi_aw_channel {
    VIVI_AW_STDIN = 0,
    VIVI_AW_STDOUT = 1,
    VIVI_AW_STDERR = 2,
};

enum vivi_aw_role {
    VIVI_AW_HOST = 1, /* also a client of the monitor */
    VIVI_AW_AGENT = 2 /* also the monitor, towards its clients */
};

struct vivi_aw_frame {
    uint8_t type; /* enum vivi_aw_type */
    uint16_t channel;
    uint32_t stream;
    const char *payload; /* borrowed */
    size_t len;
};

/* ---- one end of a channel ---------------------------------------------------------------- */

/* What the peer's HELLO said. */
struct vivi_aw_peer {
    uint16_t version, version_min;
    uint64_t nonce;
    uint32_t streams; /* at most so many at once; never more than VIVI_AW_STREAMS_MAX */
    char about[VIVI_AW_ABOUT_MAX + 1]; /* fields; for vivi_aw_field with about_len */
    size_t about_len;
};

struct vivi_aw {
    enum vivi_aw_role role;
    int state;      /* private */
    uint64_t nonce; /* ours */
    struct vivi_aw_peer peer;
    bool up;           /* streams may be opened and frames sent */
    uint16_t version;  /* of the session, while up */
    uint32_t pad_left; /* zeros to send before the next HELLO */
    bool hello_due;    /* vivi_aw_hello has something to send */
    bool ended;        /* private: VIVI_AW_DOWN is owed */
    int owed;          /* private: what follows that DOWN */
    const char *about; /* borrowed; our fields */
    size_t about_len;
    unsigned char *in; /* borrowed; bytes in[at … end) are not yet looked at */
    size_t size, at, end;
};

/*
 * buffer (≥ VIVI_AW_BUFFER_MIN bytes) and about (fields, ≤ VIVI_AW_ABOUT_MAX bytes, kept as a
 * pointer) stay the caller's for the life of w. nonce: random. fresh: the connection is new at both
 * ends (socket, vsock), so no pad is needed.
 */
void vivi_aw_init(struct vivi_aw *w, enum vivi_aw_role role, void *buffer, size_t size,
                  uint64_t nonce);
void vivi_aw_about(struct vivi_aw *w, const char *about, size_t len);
/* Connected, or connected again: forgets all of the connection before. nonce: random. */
void vivi_aw_connected(struct vivi_aw *w, uint64_t nonce, bool fresh);

/* Room to read into, never 0 after vivi_aw_next returned VIVI_AW_MORE; then how much came. */
void *vivi_aw_space(struct vivi_aw *w, size_t *ret_room);
void vivi_aw_received(struct vivi_aw *w, size_t n);

enum vivi_aw_step {
    VIVI_AW_MORE = 0, /* nothing whole: read more */
    VIVI_AW_FRAME,    /* *ret holds one, valid until the next call */
    VIVI_AW_UP,       /* a session stands; w->peer tells with whom */
    VIVI_AW_DOWN,     /* the session is over: forget all streams. UP or ALIEN may follow */
    VIVI_AW_ALIEN     /* the peer speaks no version of ours; w->peer tells which */
};

/*
 * The next thing that the bytes received mean. Of frames, PING, CREDIT and the like are handed out
 * as all others; HELLO never. After each step look whether hello_due was set.
 */
enum vivi_aw_step vivi_aw_next(struct vivi_aw *w, struct vivi_aw_frame *ret);

/*
 * Writes the next part of what the handshake owes (pad, sync, HELLO) to `to`; call until 0. room ≥
 * VIVI_AW_HELLO_MAX. Only between two frames.
 */
size_t vivi_aw_hello(struct vivi_aw *w, void *to, size_t room);

/* Head and seal of a frame, for writev or for a payload that stands in place already. */
void vivi_aw_head(const struct vivi_aw_frame *f, unsigned char ret[VIVI_AW_HEAD]);
void vivi_aw_seal(const struct vivi_aw *w, unsigned char ret[VIVI_AW_SEAL]);
/* A whole frame as one piece: its size, or 0 when it is longer than room or the payload too long.
 */
size_t vivi_aw_encode(const struct vivi_aw *w, const struct vivi_aw_frame *f, void *to,
                      size_t room);

/* ---- credit of one stream, both directions ----------------------------------------------- */

struct vivi_aw_credit {
    uint32_t send;    /* bytes that may be sent now */
    uint32_t receive; /* bytes that the peer may still send */
    uint32_t owed;    /* consumed and not told yet */
};

#define VIVI_AW_CREDIT_FULL {.send = VIVI_AW_WINDOW, .receive = VIVI_AW_WINDOW}

void vivi_aw_credit_sent(struct vivi_aw_credit *c, size_t n); /* n ≤ c->send */
/* The peer's DATA of n bytes came: 0, or −VIV_E_PROTOCOL when it had no credit. */
int vivi_aw_credit_received(struct vivi_aw_credit *c, size_t n);
/*
 * n bytes were handed on: how much to give back in a CREDIT frame now, 0 = not yet. Half of the
 * window gathers first: CREDIT frames stay few, and the peer has the other half meanwhile.
 */
uint32_t vivi_aw_credit_consumed(struct vivi_aw_credit *c, size_t n);
/* The peer's CREDIT: 0, or −VIV_E_PROTOCOL when it is damaged or above the window. */
int vivi_aw_credit_granted(struct vivi_aw_credit *c, const struct vivi_aw_frame *f);
/* The frame for vivi_aw_credit_consumed's answer; it points into value. */
struct vivi_aw_frame vivi_aw_credit_frame(uint32_t stream, uint32_t n, unsigned char value[4]);

/* ---- fields ------------------------------------------------------------------------------- */

/* Every field ends in NUL, none is empty. Check once; the functions below rely on it. */
bool vivi_aw_fields_ok(const char *payload, size_t len);
/* The kind of a request: its first field, "" for a payload without any. */
const char *vivi_aw_kind(const char *payload, size_t len);
/* The value of the first field "key=…", NULL where there is none. */
const char *vivi_aw_field(const char *payload, size_t len, const char *key);
/*
 * Walks over all fields "key=…": *at is 0 at first; the next value, or NULL at the end.
 *     for (size_t at = 0; (v = vivi_aw_field_next(p, len, "arg", &at)) != NULL;)
 */
const char *vivi_aw_field_next(const char *payload, size_t len, const char *key, size_t *at);
/* A decimal number ≤ max; absent: 0 and *ret untouched. −VIV_E_INVALID: "key: …". */
int vivi_aw_field_u64(const struct vivi_aw_frame *f, const char *key, uint64_t max, uint64_t *ret,
                      viv_error *err);

/* Builds a payload in memory of the caller. What does not fit is left out and sets full. */
struct vivi_aw_writer {
    char *data;
    size_t size, len;
    bool full;
};

#define VIVI_AW_WRITER(buf) {.data = (buf), .size = sizeof(buf)}

void vivi_aw_put(struct vivi_aw_writer *w, const char *key_or_null, const char *value);
void vivi_aw_put_u64(struct vivi_aw_writer *w, const char *key, uint64_t value);

/* error=, errno=, text= of an error; and back: 0 where the payload holds none, else −code. */
void vivi_aw_put_error(struct vivi_aw_writer *w, const viv_error *err);
int vivi_aw_get_error(const char *payload, size_t len, viv_error *err);
