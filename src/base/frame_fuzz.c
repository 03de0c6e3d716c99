/*
 * The frame reader on hostile bytes. The first byte chooses how the rest is cut into pieces: what
 * comes out must not depend on that.
 */
#include <assert.h>
#include <string.h>

#include "base/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Number of frames, and a sum over all they hold. */
static unsigned long run(const uint8_t *data, size_t size, size_t piece)
{
    const char *fields[8];
    struct vivi_frames r;
    unsigned long sum = 0;
    int n = 0;

    vivi_frames_init(&r);
    for (size_t at = 0; at < size && n >= 0; at += piece) {
        struct vivi_frame f;

        if (vivi_frames_feed(&r, data + at, size - at < piece ? size - at : piece) < 0)
            break;
        while ((n = vivi_frames_next(&r, &f, NULL)) == 1) {
            assert(f.len <= VIVI_FRAME_MAX && f.n_fds == 0 && f.payload[f.len] == '\0');
            sum = sum * 31 + f.op;
            for (size_t i = 0; i < f.len; i++)
                sum = sum * 31 + (unsigned char)f.payload[i];
            (void)vivi_fields_split(f.payload, f.len, fields, ARRAY_SIZE(fields), NULL);
        }
    }
    vivi_frames_done(&r);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 1) {
        unsigned long whole = run(data + 1, size - 1, size), cut;

        cut = run(data + 1, size - 1, (size_t)data[0] + 1);
        assert(whole == cut);
        (void)whole;
        (void)cut;
    }
    return 0;
}
