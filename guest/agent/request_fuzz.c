/* Requests to run something, as a hostile host might send them. */
#include <assert.h>
#include <string.h>

#include "agent.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct vivi_aw_frame f = {
        .type = VIVI_AW_OPEN, .stream = 1, .payload = (const char *)data, .len = size};
    struct child_request q = {0};
    viv_error err = VIV_ERROR_INIT;
    uint32_t uid = 7, gid = 7;
    int r;

    if (!vivi_aw_fields_ok(f.payload, f.len))
        return 0;
    r = request_parse(&f, &q, &err);
    assert(r <= 0 && (r < 0) == (err.code != 0));
    if (r < 0)
        return 0;
    assert(q.shell || vivi_aw_field(f.payload, f.len, "arg") != NULL);
    if (q.user != NULL && !request_ids(q.user, &uid, &gid))
        assert(uid == 7 && gid == 7);
    return 0;
}
