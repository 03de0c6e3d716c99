/* The request parser on hostile frames: the first byte is the op, the second the descriptors. */
#include <assert.h>
#include <string.h>

#include "keeper/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_spawn(const struct vivi_request *r)
{
    size_t n = 0;

    while (r->argv[n] != NULL)
        n++;
    assert(n == r->n_argv && n >= 1 && r->exe[0] == '/' && r->n_map <= VIVI_REQUEST_MAX_MAP);
    for (size_t i = 0; i < r->n_map; i++) {
        assert(vivi_keeper_name_ok(r->map[i].name) && r->map[i].child_fd >= 0);
        assert(strcmp(r->map[i].name, "lock") != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vivi_request r;
    struct vivi_frame f = {.version = VIVI_KEEPER_VERSION};

    if (size < 2)
        return 0;
    f.op = data[0];
    f.n_fds = data[1] % 4;
    f.payload = (const char *)data + 2;
    f.len = size - 2;
    if (vivi_request_parse(&f, &r, NULL) != 1)
        return 0;
    assert(r.op == VIVI_KO_QUIT || vivi_keeper_name_ok(r.name));
    if (r.op == VIVI_KO_LOG)
        assert(strchr(r.file, '/') == NULL && r.file[0] != '.');
    if (r.op == VIVI_KO_SPAWN)
        check_spawn(&r);
    return 0;
}
