/* What a client may send, from bytes to a checked request. */
#include <assert.h>
#include <string.h>

#include "base/frame.h"
#include "monitor/request.h"
#include "store/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct vivi_frame *f)
{
    viv_error err = VIV_ERROR_INIT;
    struct vivi_request q;
    json_t *body = NULL;
    int r;

    if (vivi_control_parse(f, &body, &err) < 0)
        return;
    r = vivi_request_parse(body, &q, &err);
    assert(r == 0 || (err.code == -r && err.message[0]));
    if (r == 0) {
        assert(q.verb > VIVI_VERB_NONE && q.verb < VIVI_VERB_COUNT_);
        assert(strlen(q.op) < sizeof(q.op) && !strpbrk(q.op, " \n"));
        assert(q.timeout_ms >= VIVI_NO_TIMEOUT && q.timeout_ms <= VIVI_TIMEOUT_MAX_MS);
        assert(q.verb != VIVI_VERB_WAIT || (unsigned)q.state < VIV_ST_COUNT_);
    }
    vivi_request_done(&q);
    json_decref(body);
}

/* An input that begins with '{' is a payload; any other one a stream of frames. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vivi_frames in;
    struct vivi_frame f = {.payload = (const char *)data, .len = size};

    if (size > 0 && data[0] == '{') {
        check(&f);
        return 0;
    }
    vivi_frames_init(&in);
    if (vivi_frames_feed(&in, data, size) == 0) {
        while (vivi_frames_next(&in, &f, NULL) == 1)
            check(&f);
    }
    vivi_frames_done(&in);
    return 0;
}
