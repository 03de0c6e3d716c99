/*
 * Messages are compared byte for byte by tests and by people's scripts, so the words are ours:
 * strerror(3) differs between systems, follows the locale and starts with a capital.
 */
#include "base/errno_text.h"

#include <errno.h>
#include <stddef.h>

#include "base/error.h"

#define E(name, text) {name, #name, text}

static const struct {
    int number;
    const char *name, *text;
} table[] = {
    E(EPERM, "operation not permitted"),
    E(ENOENT, "no such file"),
    E(ESRCH, "no such process"),
    E(EINTR, "interrupted system call"),
    E(EIO, "input/output error"),
    E(ENXIO, "no such device or address"),
    E(E2BIG, "argument list too long"),
    E(ENOEXEC, "exec format error"),
    E(EBADF, "bad file descriptor"),
    E(ECHILD, "no child processes"),
    E(EAGAIN, "resource temporarily unavailable"),
    E(ENOMEM, "cannot allocate memory"),
    E(EACCES, "permission denied"),
    E(EFAULT, "bad address"),
    E(ENOTBLK, "block device required"),
    E(EBUSY, "device or resource busy"),
    E(EEXIST, "file exists"),
    E(EXDEV, "invalid cross-device link"),
    E(ENODEV, "no such device"),
    E(ENOTDIR, "not a directory"),
    E(EISDIR, "is a directory"),
    E(EINVAL, "invalid argument"),
    E(ENFILE, "too many open files in system"),
    E(EMFILE, "too many open files"),
    E(ENOTTY, "inappropriate ioctl for device"),
    E(ETXTBSY, "text file busy"),
    E(EFBIG, "file too large"),
    E(ENOSPC, "no space left on device"),
    E(ESPIPE, "illegal seek"),
    E(EROFS, "read-only file system"),
    E(EMLINK, "too many links"),
    E(EPIPE, "broken pipe"),
    E(EDOM, "argument out of domain"),
    E(ERANGE, "result out of range"),
    E(EDEADLK, "resource deadlock avoided"),
    E(ENAMETOOLONG, "file name too long"),
    E(ENOLCK, "no locks available"),
    E(ENOSYS, "function not implemented"),
    E(ENOTEMPTY, "directory not empty"),
    E(ELOOP, "too many levels of symbolic links"),
    E(EPROTO, "protocol error"),
    E(EBADMSG, "bad message"),
    E(EOVERFLOW, "value too large for defined data type"),
    E(EILSEQ, "invalid or incomplete character"),
    E(EUSERS, "too many users"),
    E(ENOTSOCK, "not a socket"),
    E(EDESTADDRREQ, "destination address required"),
    E(EMSGSIZE, "message too long"),
    E(EPROTOTYPE, "protocol wrong type for socket"),
    E(ENOPROTOOPT, "protocol not available"),
    E(EPROTONOSUPPORT, "protocol not supported"),
    E(ESOCKTNOSUPPORT, "socket type not supported"),
    E(EOPNOTSUPP, "operation not supported"),
    E(EAFNOSUPPORT, "address family not supported"),
    E(EADDRINUSE, "address already in use"),
    E(EADDRNOTAVAIL, "cannot assign requested address"),
    E(ENETDOWN, "network is down"),
    E(ENETUNREACH, "network is unreachable"),
    E(ENETRESET, "network dropped connection on reset"),
    E(ECONNABORTED, "connection aborted"),
    E(ECONNRESET, "connection reset by peer"),
    E(ENOBUFS, "no buffer space available"),
    E(EISCONN, "socket is already connected"),
    E(ENOTCONN, "socket is not connected"),
    E(ETIMEDOUT, "connection timed out"),
    E(ECONNREFUSED, "connection refused"),
    E(EHOSTDOWN, "host is down"),
    E(EHOSTUNREACH, "no route to host"),
    E(EALREADY, "operation already in progress"),
    E(EINPROGRESS, "operation now in progress"),
    E(ESTALE, "stale file handle"),
    E(EDQUOT, "disk quota exceeded"),
    E(ECANCELED, "operation cancelled"),
    E(EOWNERDEAD, "owner died"),
};

const char *vivi_errno_text(int sys_errno)
{
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if (table[i].number == sys_errno)
            return table[i].text;
    return sys_errno == 0 ? "success" : "unknown error";
}

const char *vivi_errno_name(int sys_errno)
{
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if (table[i].number == sys_errno)
            return table[i].name;
    return sys_errno == 0 ? "0" : "EUNKNOWN";
}
