/*
 * What the events log remembers. A monitor that dies between telling and recording leaves a
 * successor that would tell again; the log knows better than the record. Searched from its end, as
 * text: the line that is looked for was among the last of its VM.
 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"

#define EVENTS_FILE "events.log"

struct wanted {
    char uuid[VIVI_UUID_SIZE + 16], type[64];
};

static json_t *parse_if_wanted(const char *line, size_t len, const struct wanted *w)
{
    if (!memmem(line, len, w->uuid, strlen(w->uuid)) ||
        !memmem(line, len, w->type, strlen(w->type)))
        return NULL;
    return json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
}

static json_t *search(const char *text, size_t len, const struct wanted *w)
{
    const char *end = len ? memrchr(text, '\n', len) : NULL; /* a torn last line is no line */
    json_t *found = NULL;

    while (end && !found) {
        const char *before = memrchr(text, '\n', (size_t)(end - text));
        const char *line = before ? before + 1 : text;

        found = parse_if_wanted(line, (size_t)(end - line), w);
        end = before;
    }
    return found;
}

int vivi_event_last(const struct vivi_root *r, const char *uuid, const char *type, json_t **ret,
                    viv_error *err)
{
    cleanup_close int fd = openat(r->fd, EVENTS_FILE, O_RDONLY | O_CLOEXEC);
    struct wanted w;
    uint64_t start = 0;
    json_t *found;
    void *map;
    off_t end;
    int code;

    if (fd < 0)
        return errno == ENOENT ? 0 : vivi_fail_errno(err, errno, EVENTS_FILE);
    (void)snprintf(w.uuid, sizeof(w.uuid), "\"uuid\":\"%s\"", uuid);
    (void)snprintf(w.type, sizeof(w.type), "\"type\":\"%s\"", type);
    end = lseek(fd, 0, SEEK_END);
    code = vivi_data_start(fd, 0, &start, err);
    if (code < 0 || end <= (off_t)start)
        return code;
    start -= start % (uint64_t)sysconf(_SC_PAGESIZE);
    map = mmap(NULL, (size_t)end - start, PROT_READ, MAP_PRIVATE, fd, (off_t)start);
    if (map == MAP_FAILED)
        return vivi_fail_errno(err, errno, EVENTS_FILE);
    found = search(map, (size_t)end - start, &w);
    (void)munmap(map, (size_t)end - start);
    if (!found)
        return 0;
    *ret = found;
    return 1;
}
