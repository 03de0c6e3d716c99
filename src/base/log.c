/*
 * One line, one write(2): lines of several processes that append to one file never mix. Bytes that
 * would break the line format (a guest's or a VMM's text may be quoted in it) are shown as '?'.
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"

static struct {
    int fd;
    const char *who;
    enum vivi_log_level most;
    uint64_t max_bytes, start; /* start: first byte that was not punched out */
} sink = {.fd = -1};

void vivi_log_to(int fd, const char *who, enum vivi_log_level most, size_t max_bytes)
{
    sink.fd = fd;
    sink.who = who;
    sink.most = most;
    sink.max_bytes = max_bytes;
    sink.start = 0;
    if (fd >= 0 && max_bytes > 0 && vivi_data_start(fd, 0, &sink.start, NULL) < 0)
        sink.max_bytes = 0; /* a terminal or a pipe has no head to punch */
}

static void bound_size(void)
{
    struct stat st;

    if (sink.max_bytes == 0 || fstat(sink.fd, &st) < 0 || !S_ISREG(st.st_mode))
        return;
    if ((uint64_t)st.st_size <= sink.start + 2 * sink.max_bytes)
        return;
    sink.start = (uint64_t)st.st_size - sink.max_bytes;
    if (vivi_punch_head(sink.fd, sink.start, NULL) < 0)
        sink.max_bytes = 0; /* this file system cannot: asking again for each line would not help */
}

void vivi_log(enum vivi_log_level level, const char *fmt, ...)
{
    static const char *const names[] = {
        [VIVI_LOG_ERROR] = "error",
        [VIVI_LOG_WARN] = "warning",
        [VIVI_LOG_INFO] = "info",
        [VIVI_LOG_DEBUG] = "debug",
    };
    char line[1024], now[VIVI_TIME_SIZE];
    int saved = errno, head, n;
    size_t len;
    va_list ap;

    if (sink.fd < 0 || level > sink.most)
        return;
    vivi_time_format(vivi_wall_ms(), now);
    head = snprintf(line, sizeof(line), "%s %s %s: ", now, sink.who, names[level]);
    if (head < 0 || (size_t)head >= sizeof(line) - 1)
        return;
    va_start(ap, fmt);
    n = vsnprintf(line + head, sizeof(line) - (size_t)head, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    len = strlen(line);
    for (size_t i = (size_t)head; i < len; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7F)
            line[i] = '?';
    line[len == sizeof(line) - 1 ? len - 1 : len] = '\n';
    len = len == sizeof(line) - 1 ? len : len + 1;
    /* A log that cannot be written has nobody to tell. */
    if (write(sink.fd, line, len) > 0)
        bound_size();
    errno = saved;
}
