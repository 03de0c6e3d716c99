/*
 * The serial log of a VM that moves: what one end gives away, and what the other puts in front of
 * its own; see store/serial.h. All of it is done by the caller, from files, once the machine is
 * where it goes to: whatever happens to a log, nothing that runs depends on it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/fd.h"
#include "manager/call.h"
#include "store/serial.h"

#define PIECE_BYTES (1u << 20)
#define SPARE_BYTES (1u << 20)  /* by which a log may be longer than its limit, and the FIFO's */
#define GROWS_BYTES (64u << 20) /* while it is on its way, at most */
#define BLOCK_BYTES 4096u

/* ---- the end that it leaves ---- */

static json_t *part_json(const struct vivi_vmdir *d, int fd, uint64_t size)
{
    cleanup_json json_t *running = NULL;
    uint64_t start = vivi_serial_start(d->fd, fd);
    unsigned schema;
    bool joined;

    (void)vivi_json_read_any(d->fd, VIVI_RUNNING_FILE, VIVI_DOCUMENT_MAX_BYTES, &running, &schema,
                             NULL);
    return json_pack("{s:I, s:I, s:o}", "start", (json_int_t)(start < size ? start : size), "size",
                     (json_int_t)size, "boots", vivi_serial_boots(d->fd, running, &joined));
}

static int tell_lost(struct vivi_call *c, int64_t bytes, viv_error *err)
{
    cleanup_json json_t *event = vivi_event_new(&c->s, "lost");

    if (!event || json_object_set_new(event, "stream", json_string(VIVI_SERIAL_FILE)) < 0 ||
        json_object_set_new(event, "count", json_integer(bytes)) < 0)
        return vivi_fail_oom(err);
    return vivi_event_append(&c->m->v->root, event, NULL, err);
}

int vivi_log_leaves(struct vivi_call *c, json_t **ret_local, viv_error *err)
{
    cleanup_close int fd = openat(c->d.fd, VIVI_SERIAL_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int64_t lost = vivi_opt_i64(c->o, "lost", 0);
    struct stat st = {.st_size = 0};
    int r = lost > 0 ? tell_lost(c, lost, err) : 0;

    if (r < 0)
        return r;
    if (fd >= 0 && fstat(fd, &st) < 0)
        return vivi_fail_errno(err, errno, "cannot read " VIVI_SERIAL_FILE);
    *ret_local = json_pack("{s:b, s:o}", "changed", lost > 0, "part",
                           part_json(&c->d, fd, st.st_size > 0 ? (uint64_t)st.st_size : 0));
    return *ret_local ? 0 : vivi_fail_oom(err);
}

/* ---- the end that it comes to ---- */

uint64_t vivi_log_room_for(const json_t *offer, const struct vivi_config *config)
{
    uint64_t limit = config->serial_log_limit_bytes, most = limit + limit / 4 + SPARE_BYTES;
    struct vivi_serial_part part;
    uint64_t room;

    if (vivi_serial_part_parse(json_object_get(offer, "log"), &part, NULL) < 0)
        return 0; /* of a viv that gives none */
    room = part.size - part.start > most ? most : part.size - part.start + GROWS_BYTES;
    if (room > most)
        room = most;
    return (room + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
}

static int put(struct vivi_call *c, const struct vivi_serial_part *part, int64_t *ret_bytes,
               viv_error *err)
{
    const char *text = vivi_opt_str(c->o, "data", "");
    size_t len = strlen(text);
    int64_t at = vivi_opt_i64(c->o, "at", -1);
    cleanup_free char *data = malloc(len / 4 * 3 + 1);
    ssize_t n;

    if (!data)
        return vivi_fail_oom(err);
    n = len <= VIVI_BASE64_LEN((size_t)PIECE_BYTES) ? vivi_base64_decode(text, len, data) : -1;
    if (n < 0 || n > (ssize_t)PIECE_BYTES || at < 0)
        return vivi_fail(err, VIV_E_INVALID, "not a piece of a log");
    *ret_bytes = (int64_t)n;
    return vivi_serial_put(c->d.fd, part,
                           &(struct vivi_serial_piece){(uint64_t)at, data, (size_t)n}, err);
}

int vivi_log_comes(struct vivi_call *c, json_t **ret_local, viv_error *err)
{
    const char *step = vivi_opt_str(c->o, "log", ""), *text = vivi_opt_str(c->o, "part", "");
    cleanup_json json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    struct vivi_serial_part part = {.boots = NULL};
    int64_t bytes = 0;
    int r = strcmp(step, "room") == 0 ? 0 : vivi_serial_part_parse(j, &part, err);

    if (r < 0)
        return r;
    if (strcmp(step, "room") == 0)
        bytes = vivi_serial_room(c->d.fd);
    else if (strcmp(step, "put") == 0)
        r = put(c, &part, &bytes, err);
    else if (strcmp(step, "take") == 0)
        r = vivi_serial_take(c->d.fd, &part, &bytes, err);
    else
        r = vivi_fail_field(err, VIV_E_INVALID, "log", "none of room, put, take");
    if (r < 0)
        return r;
    *ret_local = json_pack("{s:b, s:I}", "changed", 1, "bytes", (json_int_t)bytes);
    return *ret_local ? 0 : vivi_fail_oom(err);
}
