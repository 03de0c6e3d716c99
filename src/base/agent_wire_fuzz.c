/*
 * The channel of the guest agent on hostile bytes. The first byte chooses how the rest is cut into
 * pieces: what comes out must not depend on that. The nonce is known to the corpus (7), so that
 * inputs can get past the handshake.
 */
#include <assert.h>
#include <string.h>

#include "base/agent_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long sum_of(unsigned long sum, const struct vivi_aw_frame *f)
{
    sum = sum * 31 + f->type + f->channel + f->stream;
    for (size_t i = 0; i < f->len; i++)
        sum = sum * 31 + (unsigned char)f->payload[i];
    return sum;
}

static void look_into(const struct vivi_aw_frame *f)
{
    struct vivi_aw_credit c = VIVI_AW_CREDIT_FULL;
    viv_error err = VIV_ERROR_INIT;
    uint64_t v = 0;

    assert(f->len <= VIVI_AW_PAYLOAD_MAX);
    if (f->type == VIVI_AW_CREDIT)
        (void)vivi_aw_credit_granted(&c, f);
    assert(c.send == VIVI_AW_WINDOW);
    if (!vivi_aw_fields_ok(f->payload, f->len))
        return;
    (void)vivi_aw_kind(f->payload, f->len);
    (void)vivi_aw_field_u64(f, "rows", UINT16_MAX, &v, &err);
    assert(v <= UINT16_MAX);
    (void)vivi_aw_get_error(f->payload, f->len, &err);
}

/* A sum over all that came out. */
static unsigned long run(const uint8_t *data, size_t size, size_t piece)
{
    static unsigned char buffer[2 * VIVI_AW_BUFFER_MIN], hello[VIVI_AW_HELLO_MAX];
    unsigned long sum = 0;
    struct vivi_aw w;

    vivi_aw_init(&w, VIVI_AW_AGENT, buffer, sizeof(buffer), 7);
    while (size > 0) {
        size_t room, n = size < piece ? size : piece;
        void *to = vivi_aw_space(&w, &room);
        enum vivi_aw_step step;
        struct vivi_aw_frame f;

        assert(room > 0);
        n = n < room ? n : room;
        memcpy(to, data, n);
        vivi_aw_received(&w, n);
        while ((step = vivi_aw_next(&w, &f)) != VIVI_AW_MORE) {
            sum = sum * 31 + (unsigned long)step;
            if (step == VIVI_AW_FRAME) {
                assert(w.up);
                look_into(&f);
                sum = sum_of(sum, &f);
            }
        }
        (void)vivi_aw_hello(&w, hello, sizeof(hello));
        data += n;
        size -= n;
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 1) {
        unsigned long whole = run(data + 1, size - 1, size);
        unsigned long cut = run(data + 1, size - 1, (size_t)data[0] + 1);

        assert(whole == cut);
        (void)whole;
        (void)cut;
    }
    return 0;
}
