/* Descriptors: close-on-exec at birth, at 3 or above, borrowed unless a name says _consume. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define VIVI_MAX_FDS      16  /* most descriptors in one message */
#define VIVI_SUN_PATH_MAX 104 /* the smaller of Linux (108) and macOS (104), NUL included */

int vivi_fd_nonblock(int fd, bool on, viv_error *err);
int vivi_fd_cloexec(int fd, bool on, viv_error *err);
/* Returns a descriptor ≥ 3 with close-on-exec; the one given is consumed, on failure too. */
int vivi_fd_above_stdio(int fd_consume, viv_error *err);

/* Pairs with close-on-exec set atomically where the OS can. */
int vivi_pipe(int ret_fds[2], viv_error *err);
int vivi_socketpair(int ret_fds[2], viv_error *err); /* AF_UNIX SOCK_STREAM */

/*
 * All of it or an error. EINTR is retried; a non-blocking descriptor (any socket when writing) is
 * waited for up to timeout_ms (−1 for ever, else TIMEOUT). End of file is IO. Writing to a socket
 * never raises SIGPIPE; to a pipe it may.
 */
int vivi_read_full(int fd, void *buf, size_t len, int timeout_ms, viv_error *err);
int vivi_write_full(int fd, const void *buf, size_t len, int timeout_ms, viv_error *err);

/* poll(2) for one descriptor: 1 ready, 0 timed out. */
int vivi_wait_fd(int fd, short events, int timeout_ms, viv_error *err);

/*
 * AF_UNIX stream sockets by path. The path must fit VIVI_SUN_PATH_MAX: INVALID otherwise, never
 * cut.
 * listen: an existing socket file is replaced, so the caller must hold the lock that makes it the
 * owner; anything else there is EXISTS. Mode 0600.
 * connect: NOT_FOUND (no file); BUSY with the flag RETRY (nobody listens, or the backlog is full).
 * The descriptor is in blocking mode.
 */
int vivi_unix_listen(const char *path, int backlog, int *ret_fd, viv_error *err);
int vivi_unix_connect(const char *path, int *ret_fd, viv_error *err);
int vivi_accept(int fd, int *ret_fd, viv_error *err); /* 1 accepted, 0 nobody waits (EAGAIN) */

/* The peer's user id of a connected AF_UNIX socket. */
int vivi_peer_uid(int fd, uid_t *ret_uid, viv_error *err);

/* Who made the other end: the process that connected, or that called socketpair(2). It may have
 * ended since. */
int vivi_peer_pid(int fd, pid_t *ret_pid, viv_error *err);

/*
 * One sendmsg/recvmsg with SCM_RIGHTS. Return bytes moved; 0 = end of file (recv); −VIV_E_BUSY:
 * would block. Sending never blocks, whatever the descriptor's mode; receiving follows that mode.
 * Neither raises SIGPIPE.
 */
ssize_t vivi_send_fds(int fd, const void *buf, size_t len, const int *fds, size_t n_fds,
                      viv_error *err);
/* Received descriptors are close-on-exec; more than cap_fds is PROTOCOL and none is leaked. */
ssize_t vivi_recv_fds(int fd, void *buf, size_t len, int *fds, size_t cap_fds, size_t *ret_n_fds,
                      viv_error *err);

/* Number of open descriptors of this process (for tests and doctor). */
int vivi_fd_count(void);
