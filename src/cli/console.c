/*
 * viv console: the terminal's bytes to the guest and back. Input is queued here without blocking,
 * so that Ctrl-] works however stuck the guest is. When the stream ends because the VM's monitor
 * was replaced, the next monitor is asked for another one; when the VM ended, so do we.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "cli/cli.h"
#include "cli/escape.h"
#include "cli/signals.h"
#include "cli/tty.h"

#define LEAVE         0x1d /* Ctrl-] */
#define QUEUE_MAX     65536
#define CHUNK         16384
#define EMPTY_STREAMS 20 /* streams in a row that end without a byte: something is wrong */

struct console {
    struct vivi_cli *c;
    viv_vm *vm;
    uint64_t flags;
    int fd;
    int writer;
    bool tty;   /* stdin is a terminal in raw mode */
    bool input; /* stdin has not ended */
    bool leaving;
    unsigned empty; /* streams in a row that gave nothing */
    bool got;       /* this stream gave something */
    struct vivi_buf queue;
    struct vivi_escape escape;
};

static void banner(struct console *k)
{
    const char *name = viv_vm_name(k->vm);
    const char *how = !k->tty     ? ""
                      : k->c->raw ? "; Ctrl-] leaves"
                                  : "; Ctrl-] leaves (--raw passes escape sequences)";

    if (k->writer)
        vivi_cli_note(k->c, "connected to %s%s", name, how);
    else if (k->flags & VIV_CONSOLE_READONLY)
        vivi_cli_note(k->c, "connected to %s, read-only%s", name, how);
    else
        vivi_cli_note(k->c,
                      "connected to %s, read-only: another console writes (--steal takes over)%s",
                      name, how);
}

static int connect_console(struct console *k, viv_error *err)
{
    int fd = -1, writer = 0, r = viv_vm_console(k->vm, k->flags, &fd, &writer, err);

    if (r < 0)
        return r;
    r = vivi_fd_nonblock(fd, true, err);
    if (r < 0) {
        vivi_close(&fd);
        return r;
    }
    vivi_close(&k->fd);
    k->fd = fd;
    k->writer = writer;
    k->got = false;
    return 0;
}

/* Puts typed bytes into the queue up to Ctrl-]; what does not fit is lost, as on a real line. */
static void take_input(struct console *k, const char *data, size_t len)
{
    const char *leave = k->tty ? memchr(data, LEAVE, len) : NULL;

    if (leave) {
        len = (size_t)(leave - data);
        k->leaving = true;
    }
    if (k->writer && k->queue.len + len <= QUEUE_MAX)
        (void)vivi_buf_add(&k->queue, data, len);
}

static int read_input(struct console *k, viv_error *err)
{
    char data[CHUNK];
    ssize_t n = read(STDIN_FILENO, data, sizeof(data));

    if (n < 0)
        return errno == EINTR || errno == EAGAIN ? 0
                                                 : vivi_fail_errno(err, errno, "standard input");
    if (n == 0)
        k->input = false;
    else
        take_input(k, data, (size_t)n);
    return 0;
}

static void send_input(struct console *k)
{
    ssize_t n = send(k->fd, k->queue.data, k->queue.len, MSG_NOSIGNAL);

    if (n > 0)
        vivi_buf_consume(&k->queue, (size_t)n);
}

/* 1 goes on, 0 the stream ended. */
static int read_output(struct console *k, viv_error *err)
{
    cleanup_buf struct vivi_buf out = VIVI_BUF((size_t)CHUNK * VIVI_ESCAPE_GROWTH + 16);
    char data[CHUNK];
    ssize_t n = read(k->fd, data, sizeof(data));
    int r;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 1;
    if (n <= 0)
        return 0;
    k->got = true;
    if (k->c->out_tty && !k->c->raw)
        vivi_escape_feed(&k->escape, data, (size_t)n, &out);
    else
        (void)vivi_buf_add(&out, data, (size_t)n);
    r = out.len ? vivi_write_full(STDOUT_FILENO, out.data, out.len, -1, err) : 0;
    return r < 0 ? r : 1;
}

static int reconnect(struct console *k, viv_error *err)
{
    k->empty = k->got ? 0 : k->empty + 1;
    if (k->empty > EMPTY_STREAMS)
        return vivi_fail(err, VIV_E_IO, "its monitor closes the console again and again");
    return connect_console(k, err);
}

static int turn(struct console *k, int signal_fd, viv_error *err)
{
    bool more = k->input && (k->tty || k->queue.len + CHUNK <= QUEUE_MAX);
    struct pollfd fds[3] = {
        {.fd = k->fd, .events = (short)(POLLIN | (k->queue.len ? POLLOUT : 0))},
        {.fd = more ? STDIN_FILENO : -1, .events = POLLIN},
        {.fd = signal_fd, .events = POLLIN},
    };
    int r = 1;

    if (poll(fds, 3, -1) < 0 && errno != EINTR)
        return vivi_fail_errno(err, errno, "poll");
    if (vivi_signals_next()) {
        k->leaving = true;
        return 0;
    }
    if (fds[1].revents)
        r = read_input(k, err);
    if (r >= 0 && (fds[0].revents & POLLOUT))
        send_input(k);
    if (r >= 0 && (fds[0].revents & (POLLIN | POLLHUP | POLLERR))) {
        r = read_output(k, err);
        if (r == 0)
            r = reconnect(k, err);
    }
    return r;
}

static int ended(struct console *k, const viv_error *err)
{
    cleanup_rec viv_rec *info = NULL;
    const char *state = NULL, *reason = NULL;

    if (err->code != VIV_E_WRONG_STATE && err->code != VIV_E_NOT_FOUND)
        return vivi_cli_fail(k->c, viv_vm_name(k->vm), err);
    if (viv_vm_info(k->vm, &info, NULL) == 0) {
        state = viv_rec_str(info, "state");
        reason = viv_rec_str(info, "reason.code");
    }
    vivi_cli_note(k->c, "%s: %s%s%s%s", viv_vm_name(k->vm), state ? state : "removed",
                  reason ? " (" : "", reason ? reason : "", reason ? ")" : "");
    return 0;
}

static int attend(struct console *k)
{
    viv_error err = VIV_ERROR_INIT;
    int signal_fd, r = vivi_signals_catch(&signal_fd, &err);

    if (r >= 0)
        r = connect_console(k, &err);
    if (r < 0)
        return vivi_cli_fail(k->c, viv_vm_name(k->vm), &err);
    k->tty = isatty(STDIN_FILENO);
    banner(k);
    if (k->tty)
        (void)vivi_tty_raw(false);
    while (!k->leaving && r >= 0)
        r = turn(k, signal_fd, &err);
    if (k->leaving && k->queue.len)
        send_input(k);
    vivi_tty_restore();
    if (r < 0)
        return ended(k, &err);
    if (k->c->out_tty)
        (void)fputs("\n", stderr);
    vivi_cli_note(k->c, "left %s", viv_vm_name(k->vm));
    return 0;
}

int vivi_cmd_console(struct vivi_cli *c)
{
    cleanup_vm viv_vm *vm = NULL;
    struct console k = {.c = c, .fd = -1, .input = true, .queue = VIVI_BUF(QUEUE_MAX)};
    int code;

    if (c->args.n_words != 1)
        return vivi_cli_usage(c, "viv ps lists them", "needs the name of one VM");
    code = vivi_cli_open_vm(c, c->args.words[0], VIV_OPEN_CREATE, &vm);
    if (code)
        return code;
    k.vm = vm;
    k.escape.console = true;
    if (vivi_args_has(&c->args, "--steal"))
        k.flags |= VIV_CONSOLE_STEAL;
    if (vivi_args_has(&c->args, "--read-only"))
        k.flags |= VIV_CONSOLE_READONLY;
    code = attend(&k);
    vivi_close(&k.fd);
    vivi_buf_done(&k.queue);
    return code;
}
