/*
 * Theory of operation. Bytes gather in the caller's buffer; `at` walks over them. Three states:
 *
 *   HUNT   bytes are dropped until the sync pattern is whole. Its first byte occurs nowhere else in
 *          it, so a mismatch never has to go back further than to the byte that did not match.
 *   GREET  the sync was there: the next frame must be a HELLO.
 *   FRAMES frames follow; they are handed out while `up`, and dropped while the peer has not told
 *          that it knows our nonce.
 *
 * A first byte of the sync at a frame's place is no noise but a peer that begins anew in good
 * order. When a frame turns out bad, hunting begins at its own head, so that a sync behind a torn
 * frame (within what was thought its payload) is found.
 */
#include "base/agent_wire.h"

#include <assert.h>
#include <string.h>

enum { HUNT, GREET, FRAMES };

#define SYNC_FIRST  0xf6u
#define PAD_BYTES   (VIVI_AW_PAYLOAD_MAX + VIVI_AW_FRAME_EXTRA)
#define HELLO_FIXED 40u
#define CREDIT_STEP (VIVI_AW_WINDOW / 2)

static const char sync_pattern[VIVI_AW_SYNC_BYTES + 1] = "\xf6vivarium agent channel, sync 1\n";

static uint32_t get(const unsigned char *p, unsigned bytes)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < bytes; i++)
        v |= (uint32_t)p[i] << (8 * i);
    return v;
}

static uint64_t get64(const unsigned char *p)
{
    return (uint64_t)get(p, 4) | (uint64_t)get(p + 4, 4) << 32;
}

static void put(unsigned char *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (unsigned char)(v >> (8 * i));
}

static uint32_t seal_of(uint64_t nonce)
{
    return (uint32_t)nonce | 1u;
}

/* Another nonce out of an old one (splitmix64): new for the peer, never 0. */
static uint64_t next_nonce(uint64_t n)
{
    n += 0x9e3779b97f4a7c15u;
    n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9u;
    n = (n ^ (n >> 27)) * 0x94d049bb133111ebu;
    n ^= n >> 31;
    return n == 0 ? 1 : n;
}

void vivi_aw_init(struct vivi_aw *w, enum vivi_aw_role role, void *buffer, size_t size,
                  uint64_t nonce)
{
    assert(size >= VIVI_AW_BUFFER_MIN);
    memset(w, 0, sizeof(*w));
    w->role = role;
    w->in = buffer;
    w->size = size;
    vivi_aw_connected(w, nonce, true);
}

void vivi_aw_about(struct vivi_aw *w, const char *about, size_t len)
{
    assert(len <= VIVI_AW_ABOUT_MAX);
    w->about = about;
    w->about_len = len;
}

void vivi_aw_connected(struct vivi_aw *w, uint64_t nonce, bool fresh)
{
    w->state = HUNT;
    w->nonce = nonce == 0 ? 1 : nonce;
    memset(&w->peer, 0, sizeof(w->peer));
    w->ended = w->ended || w->up;
    w->owed = VIVI_AW_MORE;
    w->up = false;
    w->version = 0;
    w->pad_left = fresh ? 0 : PAD_BYTES;
    w->hello_due = true;
    w->at = w->end = 0;
}

void *vivi_aw_space(struct vivi_aw *w, size_t *ret_room)
{
    if (w->at > 0 && (w->at == w->end || w->size - w->end < w->size / 2)) {
        memmove(w->in, w->in + w->at, w->end - w->at);
        w->end -= w->at;
        w->at = 0;
    }
    *ret_room = w->size - w->end;
    return w->in + w->end;
}

void vivi_aw_received(struct vivi_aw *w, size_t n)
{
    assert(n <= w->size - w->end);
    w->end += n;
}

static void end_session(struct vivi_aw *w)
{
    w->ended = w->ended || w->up;
    w->up = false;
}

/* Rule 5. Called once per loss: who hunts already hears nothing as noise. */
static void noise(struct vivi_aw *w)
{
    end_session(w);
    w->nonce = next_nonce(w->nonce);
    w->peer.nonce = 0;
    w->hello_due = true;
    w->state = HUNT;
}

/* Drops bytes until the sync is whole: true then. */
static bool hunt(struct vivi_aw *w)
{
    while (w->at < w->end) {
        unsigned char *first = memchr(w->in + w->at, SYNC_FIRST, w->end - w->at);
        size_t left, i = 1;

        if (first == NULL) {
            w->at = w->end;
            return false;
        }
        w->at = (size_t)(first - w->in);
        left = w->end - w->at;
        while (i < left && i < VIVI_AW_SYNC_BYTES &&
               w->in[w->at + i] == (unsigned char)sync_pattern[i])
            i++;
        if (i == VIVI_AW_SYNC_BYTES) {
            w->at += i;
            return true;
        }
        if (i == left)
            return false; /* a beginning: wait for its rest */
        w->at += i;
    }
    return false;
}

/* Looks at the frame at w->at: 1 whole and well formed but for its seal, 0 incomplete, −1 noise. */
static int look(const struct vivi_aw *w, struct vivi_aw_frame *ret)
{
    const unsigned char *p = w->in + w->at;
    size_t left = w->end - w->at;

    if (left == 0)
        return 0;
    if (p[0] < VIVI_AW_HELLO || p[0] > VIVI_AW_PONG || (left > 1 && p[1] != 0))
        return -1;
    if (left < VIVI_AW_HEAD)
        return 0;
    ret->type = p[0];
    ret->channel = (uint16_t)get(p + 2, 2);
    ret->stream = get(p + 4, 4);
    ret->len = get(p + 8, 4);
    ret->payload = (const char *)p + VIVI_AW_HEAD;
    if (ret->len > VIVI_AW_PAYLOAD_MAX ||
        (ret->type == VIVI_AW_PING && ret->len > VIVI_AW_PING_MAX))
        return -1;
    return left < VIVI_AW_FRAME_EXTRA + ret->len ? 0 : 1;
}

static bool sealed(const struct vivi_aw_frame *f, uint64_t nonce)
{
    return get((const unsigned char *)f->payload + f->len, 4) == seal_of(nonce);
}

static bool decode_hello(const struct vivi_aw *w, const struct vivi_aw_frame *f,
                         struct vivi_aw_peer *ret, uint64_t *ret_echo)
{
    const unsigned char *p = (const unsigned char *)f->payload;
    size_t fields;

    if (f->type != VIVI_AW_HELLO || f->len < HELLO_FIXED)
        return false;
    ret->version = (uint16_t)get(p, 2);
    ret->version_min = (uint16_t)get(p + 2, 2);
    ret->nonce = get64(p + 8);
    *ret_echo = get64(p + 16);
    ret->streams = get(p + 28, 4);
    if (ret->streams > VIVI_AW_STREAMS_MAX)
        ret->streams = VIVI_AW_STREAMS_MAX;
    fields = get(p + 36, 2);
    if (p[4] == (unsigned char)w->role || ret->nonce == 0 || fields < HELLO_FIXED ||
        fields > f->len || !sealed(f, ret->nonce))
        return false;
    ret->about_len = f->len - fields;
    if (ret->about_len > VIVI_AW_ABOUT_MAX ||
        !vivi_aw_fields_ok(f->payload + fields, ret->about_len))
        ret->about_len = 0;
    memcpy(ret->about, f->payload + fields, ret->about_len);
    ret->about[ret->about_len] = '\0';
    return true;
}

/* Rules 2 to 4. */
static enum vivi_aw_step greeted(struct vivi_aw *w, const struct vivi_aw_peer *peer, uint64_t echo)
{
    uint16_t version = peer->version < VIVI_AW_VERSION ? peer->version : (uint16_t)VIVI_AW_VERSION;
    uint16_t lowest =
        peer->version_min > VIVI_AW_VERSION_MIN ? peer->version_min : (uint16_t)VIVI_AW_VERSION_MIN;

    if (peer->nonce != w->peer.nonce) {
        end_session(w);
        w->hello_due = true;
    }
    w->peer = *peer;
    if (version < lowest)
        return VIVI_AW_ALIEN;
    if (echo != w->nonce || w->up)
        return VIVI_AW_MORE;
    w->up = true;
    w->version = version;
    return VIVI_AW_UP;
}

/* GREET: one HELLO. MORE with *ret_wait false, here and below: go on. */
static enum vivi_aw_step greet(struct vivi_aw *w, bool *ret_wait)
{
    struct vivi_aw_frame f;
    struct vivi_aw_peer peer = {0};
    uint64_t echo = 0;
    int r = look(w, &f);

    *ret_wait = r == 0;
    if (r == 0)
        return VIVI_AW_MORE;
    if (r < 0 || !decode_hello(w, &f, &peer, &echo)) {
        noise(w);
        return VIVI_AW_MORE;
    }
    w->at += VIVI_AW_FRAME_EXTRA + f.len;
    w->state = FRAMES;
    return greeted(w, &peer, echo);
}

/* FRAMES: one frame, or the sync of a peer that begins anew. */
static enum vivi_aw_step frame(struct vivi_aw *w, struct vivi_aw_frame *ret, bool *ret_wait)
{
    struct vivi_aw_frame f;
    int r;

    *ret_wait = false;
    if (w->at < w->end && w->in[w->at] == SYNC_FIRST) {
        size_t left = w->end - w->at, n = left < VIVI_AW_SYNC_BYTES ? left : VIVI_AW_SYNC_BYTES;

        if (memcmp(w->in + w->at, sync_pattern, n) != 0) {
            noise(w);
        } else if (n < VIVI_AW_SYNC_BYTES) {
            *ret_wait = true;
        } else {
            w->at += n;
            w->state = GREET;
        }
        return VIVI_AW_MORE;
    }
    r = look(w, &f);
    *ret_wait = r == 0;
    if (r < 0 || (r > 0 && (f.type == VIVI_AW_HELLO || !sealed(&f, w->peer.nonce)))) {
        noise(w);
        return VIVI_AW_MORE;
    }
    if (r == 0)
        return VIVI_AW_MORE;
    w->at += VIVI_AW_FRAME_EXTRA + f.len;
    if (!w->up)
        return VIVI_AW_MORE;
    *ret = f;
    return VIVI_AW_FRAME;
}

/* One step on; *ret_wait says that it cannot go further with the bytes there are. */
static enum vivi_aw_step advance(struct vivi_aw *w, struct vivi_aw_frame *ret, bool *ret_wait)
{
    switch (w->state) {
    case GREET: return greet(w, ret_wait);
    case FRAMES: return frame(w, ret, ret_wait);
    default:
        *ret_wait = !hunt(w);
        w->state = *ret_wait ? HUNT : GREET;
        return VIVI_AW_MORE;
    }
}

enum vivi_aw_step vivi_aw_next(struct vivi_aw *w, struct vivi_aw_frame *ret)
{
    enum vivi_aw_step step = (enum vivi_aw_step)w->owed;
    bool wait = false;

    w->owed = VIVI_AW_MORE;
    while (step == VIVI_AW_MORE && !wait && !w->ended)
        step = advance(w, ret, &wait);
    if (!w->ended)
        return step;
    /* The step that ended a session may have begun the next one: told in that order. */
    w->ended = false;
    w->owed = (int)step;
    return VIVI_AW_DOWN;
}

static size_t encode_hello(const struct vivi_aw *w, unsigned char *to)
{
    unsigned char payload[HELLO_FIXED + VIVI_AW_ABOUT_MAX] = {0};
    const struct vivi_aw_frame f = {
        .type = VIVI_AW_HELLO, .payload = (const char *)payload, .len = HELLO_FIXED + w->about_len};

    put(payload, VIVI_AW_VERSION, 2);
    put(payload + 2, VIVI_AW_VERSION_MIN, 2);
    payload[4] = (unsigned char)w->role;
    put(payload + 8, w->nonce, 8);
    put(payload + 16, w->peer.nonce, 8);
    put(payload + 24, VIVI_AW_WINDOW, 4);
    put(payload + 28, VIVI_AW_STREAMS_MAX, 4);
    put(payload + 32, VIVI_AW_PAYLOAD_MAX, 4);
    put(payload + 36, HELLO_FIXED, 2);
    if (w->about_len > 0)
        memcpy(payload + HELLO_FIXED, w->about, w->about_len);
    memcpy(to, sync_pattern, VIVI_AW_SYNC_BYTES);
    return VIVI_AW_SYNC_BYTES +
           vivi_aw_encode(w, &f, to + VIVI_AW_SYNC_BYTES, VIVI_AW_HELLO_MAX - VIVI_AW_SYNC_BYTES);
}

size_t vivi_aw_hello(struct vivi_aw *w, void *to, size_t room)
{
    assert(room >= VIVI_AW_HELLO_MAX);
    if (!w->hello_due)
        return 0;
    if (w->pad_left > 0) {
        size_t n = w->pad_left < room ? w->pad_left : room;

        memset(to, 0, n);
        w->pad_left -= (uint32_t)n;
        return n;
    }
    w->hello_due = false;
    return encode_hello(w, to);
}

void vivi_aw_head(const struct vivi_aw_frame *f, unsigned char ret[VIVI_AW_HEAD])
{
    ret[0] = f->type;
    ret[1] = 0;
    put(ret + 2, f->channel, 2);
    put(ret + 4, f->stream, 4);
    put(ret + 8, f->len, 4);
}

void vivi_aw_seal(const struct vivi_aw *w, unsigned char ret[VIVI_AW_SEAL])
{
    put(ret, seal_of(w->nonce), 4);
}

size_t vivi_aw_encode(const struct vivi_aw *w, const struct vivi_aw_frame *f, void *to, size_t room)
{
    unsigned char *p = to;

    if (f->len > VIVI_AW_PAYLOAD_MAX || f->len + VIVI_AW_FRAME_EXTRA > room)
        return 0;
    vivi_aw_head(f, p);
    if (f->len > 0)
        memcpy(p + VIVI_AW_HEAD, f->payload, f->len);
    vivi_aw_seal(w, p + VIVI_AW_HEAD + f->len);
    return f->len + VIVI_AW_FRAME_EXTRA;
}

void vivi_aw_credit_sent(struct vivi_aw_credit *c, size_t n)
{
    assert(n <= c->send);
    c->send -= (uint32_t)n;
}

int vivi_aw_credit_received(struct vivi_aw_credit *c, size_t n)
{
    if (n > c->receive)
        return -VIV_E_PROTOCOL;
    c->receive -= (uint32_t)n;
    return 0;
}

uint32_t vivi_aw_credit_consumed(struct vivi_aw_credit *c, size_t n)
{
    uint32_t give;

    assert(n + c->owed + c->receive <= VIVI_AW_WINDOW);
    c->owed += (uint32_t)n;
    if (c->owed < CREDIT_STEP)
        return 0;
    give = c->owed;
    c->receive += give;
    c->owed = 0;
    return give;
}

int vivi_aw_credit_granted(struct vivi_aw_credit *c, const struct vivi_aw_frame *f)
{
    uint32_t n;

    if (f->len != 4)
        return -VIV_E_PROTOCOL;
    n = get((const unsigned char *)f->payload, 4);
    if (n > VIVI_AW_WINDOW - c->send)
        return -VIV_E_PROTOCOL;
    c->send += n;
    return 0;
}

struct vivi_aw_frame vivi_aw_credit_frame(uint32_t stream, uint32_t n, unsigned char value[4])
{
    put(value, n, 4);
    return (struct vivi_aw_frame){
        .type = VIVI_AW_CREDIT, .stream = stream, .payload = (const char *)value, .len = 4};
}
