/*
 * The marker in hostile console output. The first byte chooses the size of the pieces; what is
 * found, and where, must not depend on it.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "model/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NONCE "0123456789abcdef"

static uint64_t sum_of(const char *nonce, const char *data, size_t size, size_t piece)
{
    struct vivi_marker m;
    uint64_t sum = 0;

    vivi_marker_init(&m, nonce, 7);
    for (size_t at = 0; at < size;) {
        size_t n = size - at < piece ? size - at : piece;
        char ip[46], again[46];
        size_t taken = vivi_marker_feed(&m, data + at, n, ip);

        assert(taken > 0 && taken <= n);
        at += taken;
        assert(m.offset == 7 + at && m.line_offset >= 7 && m.line_offset <= m.offset);
        if (ip[0] == '\0') {
            assert(taken == n);
            continue;
        }
        assert(data[at - 1] == '\n' && m.line_offset == m.offset);
        assert(vivi_parse_ip(ip, again, NULL) == 0 && strcmp(ip, again) == 0);
        sum = sum * 31 + at;
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data + 1;

    if (size < 2)
        return 0;
    assert(sum_of(NONCE, text, size - 1, size) == sum_of(NONCE, text, size - 1, 1 + data[0] % 32));
    assert(sum_of("", text, size - 1, size) == sum_of("", text, size - 1, 1));
    return 0;
}
