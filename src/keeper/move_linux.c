/*
 * splice(2) from a FIFO into a file at an explicit offset: a byte is in the FIFO or in the file,
 * and the file's size says which, however this process dies. read(2) and write(2) lose what is
 * between them.
 */
#include <errno.h>
#include <fcntl.h>

#include "keeper/keeper.h"

ssize_t vivi_splice(int fifo, int file, uint64_t offset, size_t most)
{
    off_t at = (off_t)offset;
    ssize_t n = splice(fifo, NULL, file, &at, most, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);

    return n < 0 ? -errno : n;
}
