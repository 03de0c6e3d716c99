/*
 * Theory of operation of the receiving side: bytes gather in one buffer, descriptors in one queue.
 * The kernel delivers a message's descriptors with its first byte and never joins two batches in
 * one receive, so when a frame is whole, its descriptors stand at the head of the queue and at most
 * one more batch (of the frame begun behind it) follows. Descriptors that no frame claims mean that
 * the two sides disagree about the stream: an error, and nothing is leaked.
 */
#include "base/frame.h"

#include <errno.h>
#include <poll.h>
#include <assert.h>
#include <string.h>

#include "base/clock.h"

#define HEAD_BYTES   8u
#define READ_BYTES   4096u
#define BUFFER_BYTES ((size_t)VIVI_FRAME_MAX + HEAD_BYTES + (1u << 16))

struct head {
    size_t len;
    uint8_t version, op, n_fds;
};

static void head_encode(const struct head *h, unsigned char ret[HEAD_BYTES])
{
    for (unsigned i = 0; i < 4; i++)
        ret[i] = (unsigned char)(h->len >> (8 * i));
    ret[4] = h->version;
    ret[5] = h->op;
    ret[6] = h->n_fds;
    ret[7] = 0;
}

static void head_decode(const char *data, struct head *ret)
{
    const unsigned char *p = (const unsigned char *)data;

    ret->len = (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
    ret->version = p[4];
    ret->op = p[5];
    ret->n_fds = p[6];
}

static void close_all(int *fds, size_t *n)
{
    for (size_t i = 0; i < *n; i++)
        vivi_close(&fds[i]);
    *n = 0;
}

void vivi_frame_done(struct vivi_frame *f)
{
    close_all(f->fds, &f->n_fds);
}

void vivi_frames_init(struct vivi_frames *r)
{
    memset(r, 0, sizeof(*r));
    vivi_buf_init(&r->buf, BUFFER_BYTES);
}

void vivi_frames_done(struct vivi_frames *r)
{
    vivi_buf_done(&r->buf);
    close_all(r->fds, &r->n_fds);
    r->taken = 0;
}

/* Forgets the frame handed out last. A buffer that a large frame made grow is given back. */
static void drop_taken(struct vivi_frames *r)
{
    if (r->taken > 0) {
        r->buf.data[r->taken] = r->behind;
        vivi_buf_consume(&r->buf, r->taken);
        r->taken = 0;
    }
    if (r->buf.len == 0 && r->buf.cap > 4 * READ_BYTES)
        vivi_buf_done(&r->buf);
}

/* How much to ask for: the rest of the frame that has begun, within reason. */
static size_t wanted(const struct vivi_frames *r)
{
    struct head h;
    size_t rest;

    if (r->buf.len < HEAD_BYTES)
        return READ_BYTES;
    head_decode(r->buf.data, &h);
    rest = h.len + HEAD_BYTES > r->buf.len ? h.len + HEAD_BYTES - r->buf.len : 0;
    return rest < READ_BYTES ? READ_BYTES : rest < 1u << 16 ? rest : 1u << 16;
}

int vivi_frames_read(struct vivi_frames *r, int fd, viv_error *err)
{
    int fds[VIVI_MAX_FDS];
    size_t n_fds = 0, want;
    ssize_t n;

    drop_taken(r);
    want = wanted(r);
    if (vivi_buf_reserve(&r->buf, want) < 0)
        return vivi_buf_check(&r->buf, err);
    n = vivi_recv_fds(fd, r->buf.data + r->buf.len, want, fds, ARRAY_SIZE(fds), &n_fds, err);
    if (n < 0) {
        r->buf.data[r->buf.len] = '\0';
        return (int)n;
    }
    r->buf.len += (size_t)n;
    r->buf.data[r->buf.len] = '\0';
    if (r->n_fds + n_fds > ARRAY_SIZE(r->fds)) {
        close_all(fds, &n_fds);
        return vivi_fail(err, VIV_E_PROTOCOL, "too many descriptors without a frame");
    }
    for (size_t i = 0; i < n_fds; i++)
        r->fds[r->n_fds++] = fds[i];
    return n > 0 ? 1 : 0;
}

int vivi_frames_feed(struct vivi_frames *r, const void *data, size_t len)
{
    drop_taken(r);
    return vivi_buf_add(&r->buf, data, len);
}

int vivi_frames_next(struct vivi_frames *r, struct vivi_frame *ret, viv_error *err)
{
    struct head h;

    drop_taken(r);
    if (r->buf.len < HEAD_BYTES)
        return r->buf.len == 0 && r->n_fds > 0
                   ? vivi_fail(err, VIV_E_PROTOCOL, "descriptors that belong to no frame")
                   : 0;
    head_decode(r->buf.data, &h);
    if (h.len > VIVI_FRAME_MAX)
        return vivi_fail(err, VIV_E_PROTOCOL, "a frame of %zu bytes (at most %u)", h.len,
                         VIVI_FRAME_MAX);
    if (h.n_fds > VIVI_MAX_FDS || r->buf.data[7] != 0)
        return vivi_fail(err, VIV_E_PROTOCOL, "a frame's head is damaged");
    if (r->buf.len - HEAD_BYTES < h.len)
        return 0;
    if (h.n_fds > r->n_fds)
        return vivi_fail(err, VIV_E_PROTOCOL, "a frame lacks its descriptors");

    memset(ret, 0, sizeof(*ret));
    ret->version = h.version;
    ret->op = h.op;
    ret->payload = r->buf.data + HEAD_BYTES;
    ret->len = h.len;
    memcpy(ret->fds, r->fds, sizeof(int) * h.n_fds);
    ret->n_fds = h.n_fds;
    r->n_fds -= h.n_fds;
    memmove(r->fds, r->fds + h.n_fds, sizeof(int) * r->n_fds);
    r->taken = HEAD_BYTES + h.len;
    r->behind = r->buf.data[r->taken];
    r->buf.data[r->taken] = '\0';
    return 1;
}

int vivi_frame_encode(struct vivi_buf *out, uint8_t version, uint8_t op, const void *payload,
                      size_t len)
{
    const struct head h = {.len = len, .version = version, .op = op};
    unsigned char bytes[HEAD_BYTES];
    int r;

    if (len > VIVI_FRAME_MAX)
        return -VIV_E_PROTOCOL;
    r = vivi_buf_reserve(out, len + HEAD_BYTES); /* both or none */
    if (r < 0)
        return r;
    head_encode(&h, bytes);
    r = vivi_buf_add(out, bytes, sizeof(bytes));
    return r < 0 ? r : vivi_buf_add(out, payload, len);
}

void vivi_frame_announce(struct vivi_buf *out, size_t at, uint8_t n_fds)
{
    assert(at + HEAD_BYTES <= out->len);
    out->data[at + 6] = (char)n_fds;
}

/* As much as the socket takes at once, with the descriptors: the reader is mostly woken once. The
 * rest is an ordinary write. How many bytes went, −code. */
static ssize_t send_first(int fd, const struct vivi_buf *whole, const struct vivi_frame *f,
                          int timeout_ms, viv_error *err)
{
    uint64_t start_us = vivi_mono_us();
    int left = timeout_ms, r;
    ssize_t n;

    while ((n = vivi_send_fds(fd, whole->data, whole->len, f->fds, f->n_fds, err)) == -VIV_E_BUSY) {
        if (timeout_ms >= 0) {
            uint64_t spent_ms = (vivi_mono_us() - start_us) / 1000;

            left = spent_ms >= (uint64_t)timeout_ms ? 0 : timeout_ms - (int)spent_ms;
        }
        r = vivi_wait_fd(fd, POLLOUT, left, err);
        if (r < 0)
            return r;
        if (r == 0)
            return vivi_fail(err, VIV_E_TIMEOUT, "timed out after %d ms", timeout_ms);
    }
    return n;
}

int vivi_frame_send(int fd, const struct vivi_frame *f, int timeout_ms, viv_error *err)
{
    const struct head h = {
        .len = f->len, .version = f->version, .op = f->op, .n_fds = (uint8_t)f->n_fds};
    cleanup_buf struct vivi_buf whole = VIVI_BUF(BUFFER_BYTES);
    unsigned char bytes[HEAD_BYTES];
    ssize_t n;
    int r;

    if (f->len > VIVI_FRAME_MAX || f->n_fds > VIVI_MAX_FDS)
        return vivi_fail(err, VIV_E_PROTOCOL, "a frame of %zu bytes and %zu descriptors", f->len,
                         f->n_fds);
    head_encode(&h, bytes);
    (void)vivi_buf_add(&whole, bytes, sizeof(bytes));
    (void)vivi_buf_add(&whole, f->payload, f->len);
    r = vivi_buf_check(&whole, err);
    if (r < 0)
        return r;
    n = send_first(fd, &whole, f, timeout_ms, err);
    if (n < 0)
        return (int)n;
    return vivi_write_full(fd, whole.data + n, whole.len - (size_t)n, timeout_ms, err);
}

int vivi_fields_split(const char *payload, size_t len, const char **ret, size_t cap, viv_error *err)
{
    const char *end = payload + len;
    size_t n = 0;

    if (len > 0 && payload[len - 1] != '\0')
        return vivi_fail(err, VIV_E_PROTOCOL, "the last field has no end");
    for (const char *p = payload; p < end; p += strlen(p) + 1) {
        if (n == cap)
            return vivi_fail(err, VIV_E_PROTOCOL, "more than %zu fields", cap);
        ret[n++] = p;
    }
    return (int)n;
}
