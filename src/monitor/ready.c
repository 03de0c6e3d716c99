#include "monitor/ready.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"

#define CHUNK_BYTES 16384

void vivi_ready_begin(struct vivi_ready *r, const char *nonce, uint64_t offset)
{
    (void)snprintf(r->nonce, sizeof(r->nonce), "%s", nonce);
    vivi_marker_init(&r->marker, r->nonce, offset);
    r->found = false;
}

/* What was punched away reads as zeros: skip to what is there. A boot that lost its head to a
 * flood starts with half a line, which matches only if the marker stands whole in it. */
static void skip_hole(struct vivi_ready *r, int fd)
{
    uint64_t start;

    if (vivi_data_start(fd, 0, &start, NULL) == 0 && start > r->marker.offset)
        vivi_marker_init(&r->marker, r->nonce, start);
}

int vivi_ready_scan(struct vivi_ready *r, int fd, uint64_t size, char ret_ip[46], viv_error *err)
{
    char chunk[CHUNK_BYTES];
    uint64_t end = size;

    if (r->found)
        return 0;
    if (size > r->marker.offset && size - r->marker.offset > VIVI_READY_SLICE_BYTES)
        skip_hole(r, fd);
    if (size > r->marker.offset && size - r->marker.offset > VIVI_READY_SLICE_BYTES)
        end = r->marker.offset + VIVI_READY_SLICE_BYTES;
    while (r->marker.offset < end) {
        uint64_t left = end - r->marker.offset;
        size_t want = left < sizeof(chunk) ? (size_t)left : sizeof(chunk);
        ssize_t n = pread(fd, chunk, want, (off_t)r->marker.offset);
        char ip[46];

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vivi_fail_errno(err, errno, "cannot read serial.log");
        if (n == 0)
            return 0; /* shorter than we were told: not ours to judge */
        ip[0] = '\0';
        (void)vivi_marker_feed(&r->marker, chunk, (size_t)n, ip);
        if (ip[0]) {
            r->found = true;
            (void)snprintf(ret_ip, 46, "%s", ip);
            return 1;
        }
    }
    return end < size ? 2 : 0;
}

uint64_t vivi_ready_offset(const struct vivi_ready *r)
{
    return r->found ? r->marker.offset : r->marker.line_offset;
}
