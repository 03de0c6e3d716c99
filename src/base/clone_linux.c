#include "base/clone.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

int vivi_clone_fd(int from, int to, viv_error *err)
{
    if (ioctl(to, FICLONE, from) == 0)
        return 0;
    if (errno == EOPNOTSUPP || errno == EXDEV || errno == EINVAL || errno == ENOTTY ||
        errno == ENOSYS)
        return vivi_fail(err, VIV_E_UNSUPPORTED, "this file system cannot share data");
    return vivi_fail_errno(err, errno, "cannot clone");
}

/* copy_file_range where it works, else through memory. Bytes copied, or −1 with errno. */
static ssize_t copy_some(int from, int to, off_t at, size_t len)
{
    char data[65536];
    off_t in = at, out = at;
    ssize_t n = copy_file_range(from, &in, to, &out, len, 0);

    if (n >= 0 || (errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS))
        return n;
    n = pread(from, data, len < sizeof(data) ? len : sizeof(data), at);
    return n <= 0 ? n : pwrite(to, data, (size_t)n, at);
}

int vivi_copy_piece(int from, int to, uint64_t *at, uint64_t max_bytes, viv_error *err)
{
    struct stat st;
    off_t data, hole, end;

    if (fstat(from, &st) < 0 || ftruncate(to, st.st_size) < 0)
        return vivi_fail_errno(err, errno, "cannot copy");
    data = lseek(from, (off_t)*at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) { /* only a hole is left */
        *at = (uint64_t)st.st_size;
        return 0;
    }
    if (data < 0)
        return vivi_fail_errno(err, errno, "cannot copy");
    hole = lseek(from, data, SEEK_HOLE);
    end = hole < 0 ? st.st_size : hole;
    if ((uint64_t)(end - data) > max_bytes)
        end = data + (off_t)max_bytes;
    while (data < end) {
        ssize_t n = copy_some(from, to, data, (size_t)(end - data));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vivi_fail_errno(err, errno, "cannot copy");
        if (n == 0)
            break; /* it has become shorter */
        data += n;
    }
    *at = (uint64_t)data;
    return data < st.st_size && data == end ? 1 : 0;
}
