/* lent.c: see lent.h. Both sides are this program, so structs go from one to the other as they
 * stand; the agent believes them no more than that. */
#include "lent.h"

#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/agent_tree.h"
#include "base/cleanup.h"
#include "base/fd.h"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8 /* the C library is older */
#endif

bool lent_take(struct lent *l, int fd_consume, const char *record, size_t len)
{
    cleanup_close int fd = fd_consume;
    struct lent_offer o;

    if (fd < 0 || l->fd >= 0 || len != sizeof(o))
        return false;
    memcpy(&o, record, sizeof(o));
    if (o.at > INT64_MAX || o.len > INT64_MAX - o.at)
        return false;
    *l = (struct lent){.fd = take_fd(&fd), .offer = o};
    return true;
}

/* By the system call: a C library may do without the flags. */
static ssize_t read_at(int fd, void *to, size_t len, uint64_t at, int flags)
{
    const struct iovec v = {.iov_base = to, .iov_len = len};

    return syscall(SYS_preadv2, fd, &v, 1ul, (unsigned long)at, 0ul, flags);
}

size_t lent_read(struct lent *l, char *to, size_t room)
{
    size_t head = l->offer.tree ? VIVI_TREE_HEAD : 0, want = room - head;
    struct vivi_tree_record r = {.kind = 'C', .size = l->offer.at};
    ssize_t n;

    if (want > l->offer.len)
        want = (size_t)l->offer.len;
    n = want == 0
            ? 0
            : read_at(l->fd, to + head, want, l->offer.at, l->offer.in_memory ? 0 : RWF_NOWAIT);
    l->never = n < 0 && errno != EAGAIN && errno != EINTR;
    if (n <= 0)
        return 0;
    r.extra_len = (uint32_t)n;
    if (head > 0)
        vivi_tree_encode(&r, (unsigned char *)to);
    l->offer.at += (uint64_t)n;
    l->offer.len -= (uint64_t)n;
    return head + (size_t)n;
}

uint64_t lent_waiting(const struct lent *l)
{
    return l->offer.len + (l->offer.tree ? VIVI_TREE_HEAD : 0);
}

void lent_return(struct lent *l, int status_fd)
{
    const struct lent_answer answer = {.at = l->offer.at, .never = l->never};

    vivi_close(&l->fd);
    (void)!send(status_fd, &answer, sizeof(answer), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static bool is_in_memory(int fd)
{
    struct statfs s;

    return fstatfs(fd, &s) == 0 && (s.f_type == TMPFS_MAGIC || s.f_type == RAMFS_MAGIC);
}

int lent_offer(int status_fd, int fd, uint64_t at, uint64_t len, bool tree, struct lent_answer *ret,
               viv_error *err)
{
    const struct lent_offer o = {.at = at, .len = len, .tree = tree, .in_memory = is_in_memory(fd)};
    unsigned char record[3 + sizeof(o)] = {LENT_RECORD, sizeof(o), 0};

    memcpy(record + 3, &o, sizeof(o));
    *ret = (struct lent_answer){.at = at, .never = true};
    if (vivi_send_fds(status_fd, record, sizeof(record), &fd, 1, NULL) != (ssize_t)sizeof(record))
        return 0;
    if (recv(status_fd, ret, sizeof(*ret), MSG_WAITALL) != (ssize_t)sizeof(*ret))
        return vivi_fail(err, VIV_E_CANCELLED, "stopped");
    return 0;
}
