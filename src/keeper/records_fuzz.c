/*
 * What a keeper reads of its predecessors: lines of exits.log and the text of VIV_FDS. A line that
 * is understood must be written back to one that is understood the same.
 */
#include <assert.h>
#include <string.h>

#include "keeper/keeper.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(const char *line, size_t len)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(1000);
    struct vivi_exits_line l, again;

    if (!vivi_exits_parse(line, len, &l))
        return;
    assert(vivi_exits_format(&b, &l) == 0 && b.data[b.len - 1] == '\n');
    assert(vivi_exits_parse(b.data, b.len - 1, &again));
    assert(l.is_spawn == again.is_spawn && strcmp(l.role, again.role) == 0 && l.run == again.run &&
           l.id.pid == again.id.pid && l.id.start_time == again.id.start_time &&
           strcmp(l.boot_id, again.boot_id) == 0 && l.pid_ns == again.pid_ns &&
           l.status_known == again.status_known && l.wstatus == again.wstatus &&
           l.wall_ms == again.wall_ms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vivi_fds_item item;
    const char *p;
    char *text = malloc(size + 1);

    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    for (size_t at = 0; at < size;) {
        const char *end = memchr(text + at, '\n', size - at);
        size_t len = end == NULL ? size - at : (size_t)(end - text) - at;

        round_trip(text + at, len);
        at += len + 1;
    }
    p = text;
    while (vivi_fds_next(&p, &item))
        assert(vivi_keeper_name_ok(item.name) && item.fd >= 0 &&
               (item.file[0] == '\0' || vivi_keeper_file_ok(item.file)));
    free(text);
    return 0;
}
