/*
 * The foreground of `viv run`. One loop over three things: the library's descriptor (events and
 * operations), interrupts, and a read-only console stream.
 *
 * The serial output is read from its log, which is complete and has true offsets; the console
 * stream only rings the bell: whatever comes out of it is thrown away, and says that the log grew.
 * So nothing is lost between the start of the VM and the connection, nor when a monitor is
 * replaced.
 *
 * The VM must not outlive us: its monitor holds the read end of a pipe of ours and runs the stop
 * ladder when the write end is gone, however we ended.
 */
#include "cli/foreground.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "cli/guest_output.h"
#include "cli/out.h"
#include "cli/say.h"
#include "cli/select.h"
#include "cli/signals.h"
#include "cli/start.h"

#define INTERRUPTED 130

struct foreground {
    struct vivi_cli *c;
    const struct vivi_foreground *how;
    viv_vm *vm;
    viv_op *start, *ready, *stop, *kill; /* in flight */
    int bell;
    struct vivi_guest_output out;
    unsigned signals;
    char state[24], reason[40]; /* as last told */
    bool began; /* the VM was seen starting: what is told from now on is about this run */
    bool ended;
    bool early;     /* interrupted before the start was through: it may have stopped nothing */
    bool given_up;  /* a third interrupt */
    int start_code; /* of a failed start; 0 = it did not fail */
};

static void say(struct foreground *f, const char *fmt, ...) VIVI_PRINTF(2, 3);

static void say(struct foreground *f, const char *fmt, ...)
{
    char text[400];
    va_list ap;

    if (f->c->quiet)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    vivi_guest_output_break(&f->out);
    f->out.at_line_start = true;
    vivi_cli_note(f->c, "%s: %s", viv_vm_name(f->vm), text);
}

/* ---- the guest's output ---- */

static int pump(struct foreground *f, viv_error *err)
{
    uint64_t start;

    if (f->out.fd < 0 && viv_vm_log_open(f->vm, "serial", &f->out.fd, &start, NULL) == 0 &&
        f->out.offset < start)
        f->out.offset = start;
    return vivi_guest_output_pump(&f->out, err);
}

static void connect_bell(struct foreground *f)
{
    int fd = -1;

    if (f->bell >= 0 || viv_vm_console(f->vm, VIV_CONSOLE_READONLY, &fd, NULL, NULL) < 0)
        return;
    if (vivi_fd_nonblock(fd, true, NULL) < 0)
        vivi_close(&fd);
    f->bell = fd;
}

static bool is_alive(const char *state)
{
    return vivi_select_state(VIVI_STATES_ALIVE, state);
}

/* Is the VM at its end: nothing runs, nothing is about to? */
static bool at_end(struct foreground *f)
{
    cleanup_rec viv_rec *info = NULL;
    const char *state;
    int r;

    if (f->start || f->stop || f->kill)
        return false;
    r = viv_vm_info(f->vm, &info, NULL);
    if (r == -VIV_E_NOT_FOUND)
        return true;
    state = r < 0 ? NULL : viv_rec_str(info, "state");
    if (!state || is_alive(state) || f->how->remove)
        return false; /* with --rm the end is that it is gone */
    if (!viv_rec_is_null(info, "next_start_at"))
        return false;
    return true;
}

static int ring(struct foreground *f, viv_error *err)
{
    char data[16384];
    ssize_t n = read(f->bell, data, sizeof(data));

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n <= 0) {
        vivi_close(&f->bell);
        if (is_alive(f->state))
            connect_bell(f); /* its monitor was replaced */
        f->ended = f->ended || at_end(f);
    }
    return pump(f, err);
}

/* ---- events ---- */

static const char *reason_word(const viv_rec *ev)
{
    const char *code = viv_rec_str(ev, "reason.code");

    return code ? code : viv_rec_str(ev, "reason");
}

/* The record knows more than the event: the VMM's own words. */
static void say_end(struct foreground *f, const char *state, const char *reason)
{
    cleanup_rec viv_rec *info = NULL;
    const char *text = NULL;

    if (viv_vm_info(f->vm, &info, NULL) == 0)
        text = viv_rec_str(info, "reason.text");
    if (!reason)
        say(f, "%s", state);
    else if (!text || !*text)
        say(f, "%s (%s)", state, reason);
    else
        say(f, "%s (%s): %s", state, reason, text);
}

static void on_state(struct foreground *f, const viv_rec *ev)
{
    const char *state = viv_rec_str(ev, "state"), *reason = reason_word(ev);

    if (!state || (!f->began && !is_alive(state)))
        return;
    f->began = true;
    (void)snprintf(f->state, sizeof(f->state), "%s", state);
    (void)snprintf(f->reason, sizeof(f->reason), "%s", reason ? reason : "");
    if (is_alive(state)) {
        connect_bell(f);
        if (!f->signals || strcmp(state, "stopping") != 0) /* that was said when it was asked for */
            say(f, "%s", state);
        return;
    }
    say_end(f, state, reason);
    f->ended = f->ended || at_end(f);
}

static void on_ready(struct foreground *f, const viv_rec *ev)
{
    const char *ip = viv_rec_str(ev, "ip");
    char after[24] = "";
    int64_t ms;

    if (viv_rec_i64(ev, "after_ms", &ms) == 0)
        vivi_text_seconds(ms, after);
    say(f, "ready%s%s%s%s", ip ? " " : "", ip ? ip : "", *after ? " after " : "", after);
}

static void on_event(struct foreground *f, const viv_rec *ev)
{
    const char *type = viv_rec_str(ev, "type"), *uuid = viv_rec_str(ev, "uuid");

    if (!type || (uuid && strcmp(uuid, viv_vm_uuid(f->vm)) != 0))
        return;
    (void)pump(f, NULL); /* what the guest said before it happened stands before it */
    if (!strcmp(type, "state"))
        on_state(f, ev);
    else if (!strcmp(type, "ready"))
        on_ready(f, ev);
    else if (!strcmp(type, "reboot"))
        say(f, "rebooted by the guest");
    else if (!strcmp(type, "removed"))
        f->ended = true;
}

static int drain_events(struct foreground *f, viv_error *err)
{
    int r = viv_dispatch(f->c->v, err);

    while (r >= 0) {
        cleanup_rec viv_rec *ev = NULL;

        r = viv_next(f->c->v, &ev, err);
        if (r <= 0)
            break;
        on_event(f, ev);
    }
    return r < 0 ? r : 0;
}

/* ---- operations ---- */

static void fail(struct foreground *f, const viv_error *err)
{
    vivi_guest_output_break(&f->out);
    f->out.at_line_start = true;
    (void)vivi_cli_fail(f->c, viv_vm_name(f->vm), err);
}

/* Stops it after the first interrupt, kills it after the second. Done already is fine. */
static void end(struct foreground *f)
{
    viv_error err = VIV_ERROR_INIT;
    int r = 0;

    if (f->signals == 1)
        r = viv_vm_stop(f->vm, NULL, &f->stop, NULL, &err);
    else
        r = viv_vm_kill(f->vm, NULL, &f->kill, NULL, &err);
    if (r < 0 && r != -VIV_E_NOT_FOUND)
        fail(f, &err);
    if (r < 0)
        f->ended = f->ended || at_end(f);
}

static void start_done(struct foreground *f)
{
    cleanup_rec viv_rec *result = NULL;
    viv_error err = VIV_ERROR_INIT;
    struct vivi_start s = {.wait = true, .timeout_ms = f->how->timeout_ms};
    int r = viv_op_wait(f->start, 0, &result, &err);

    viv_op_free(take_ptr(f->start));
    if (r >= 0) {
        vivi_say_accel(f->c, result);
        connect_bell(f);
        if (!f->signals)
            (void)vivi_start_await(&s, f->vm, &f->ready, NULL);
        return;
    }
    if (f->signals && r == -VIV_E_CANCELLED) { /* our own stop took over */
        f->ended = f->ended || at_end(f);
        return;
    }
    fail(f, &err);
    f->start_code = viv_code_exit(err.code);
    f->ended = true;
}

/* A VM that is not ready in time goes on; everything else is told by events. */
static void ready_done(struct foreground *f)
{
    viv_error err = VIV_ERROR_INIT;

    if (viv_op_wait(f->ready, 0, NULL, &err) == -VIV_E_TIMEOUT) {
        fail(f, &err);
        f->c->code = 0; /* it is the end that counts */
    }
    viv_op_free(take_ptr(f->ready));
}

static void ending_done(struct foreground *f, viv_op **op)
{
    viv_error err = VIV_ERROR_INIT;

    if (viv_op_wait(*op, 0, NULL, &err) < 0 && err.code != VIV_E_CANCELLED &&
        err.code != VIV_E_NOT_FOUND)
        fail(f, &err);
    viv_op_free(take_ptr(*op));
    f->ended = f->ended || at_end(f);
}

static void check_operations(struct foreground *f)
{
    if (f->start && viv_op_done(f->start))
        start_done(f);
    if (f->ready && viv_op_done(f->ready))
        ready_done(f);
    if (f->stop && viv_op_done(f->stop))
        ending_done(f, &f->stop);
    if (f->kill && viv_op_done(f->kill))
        ending_done(f, &f->kill);
    if (f->early && !f->start && !f->stop && !f->kill) {
        f->early = false;
        if (!f->ended)
            end(f);
    }
}

static void on_signal(struct foreground *f)
{
    f->signals++;
    f->early = f->start;
    if (f->signals > 2) {
        f->given_up = true;
        return;
    }
    say(f, f->signals == 1 ? "stopping; once more kills it" : "killing");
    end(f);
}

/* ---- the loop ---- */

static int turn(struct foreground *f, int signal_fd, viv_error *err)
{
    struct pollfd fds[3] = {{.fd = viv_fd(f->c->v), .events = POLLIN},
                            {.fd = signal_fd, .events = POLLIN},
                            {.fd = f->bell, .events = POLLIN}};
    int64_t ms = viv_timeout_ms(f->c->v);
    int r = 0;

    if (poll(fds, 3, ms > INT_MAX ? INT_MAX : (int)ms) < 0 && errno != EINTR)
        return vivi_fail_errno(err, errno, "poll");
    while (vivi_signals_next())
        on_signal(f);
    if (f->bell >= 0 && fds[2].revents)
        r = ring(f, err);
    if (r >= 0)
        r = drain_events(f, err);
    if (r >= 0)
        check_operations(f);
    return r;
}

int vivi_foreground_opts(const struct vivi_foreground *how, int pipe_read, viv_opts **ret,
                         viv_error *err)
{
    int r = vivi_start_opts(ret, err);

    if (r >= 0)
        r = viv_opts_set_i64(*ret, "foreground_fd", pipe_read, err);
    if (r >= 0 && how->remove)
        r = viv_opts_set_bool(*ret, "remove_when_ended", 1, err);
    return r;
}

static int begin(struct foreground *f, int pipe_read, viv_error *err)
{
    cleanup_opts viv_opts *o = NULL;
    int r = vivi_foreground_opts(f->how, pipe_read, &o, err);

    return r < 0 ? r : viv_vm_start(f->vm, o, &f->start, NULL, err);
}

/* Where this run's output will begin: behind that of earlier ones. */
static void skip_old_output(struct foreground *f)
{
    struct stat st;
    uint64_t start;

    if (viv_vm_log_open(f->vm, "serial", &f->out.fd, &start, NULL) == 0 &&
        fstat(f->out.fd, &st) == 0)
        f->out.offset = (uint64_t)st.st_size;
}

static int exit_code(const struct foreground *f)
{
    if (f->signals > 1)
        return INTERRUPTED;
    if (f->start_code)
        return f->start_code;
    if (!strcmp(f->state, "failed") || !strcmp(f->reason, "kill"))
        return 1;
    return 0;
}

/* A start that failed may have come to no monitor that could carry out --rm. */
static void remove_failed(struct foreground *f)
{
    if (f->start_code && f->how->remove)
        (void)viv_vm_remove(f->vm, NULL, NULL, NULL, NULL);
}

static int live(struct foreground *f, int pipe_read)
{
    viv_error err = VIV_ERROR_INIT;
    int signal_fd, r = vivi_signals_catch(&signal_fd, &err);

    if (r >= 0) {
        skip_old_output(f);
        r = begin(f, pipe_read, &err);
    }
    if (r < 0) {
        fail(f, &err);
        f->start_code = viv_code_exit(err.code);
        remove_failed(f);
        return f->start_code;
    }
    while (!f->ended && !f->given_up && r >= 0)
        r = turn(f, signal_fd, &err);
    if (r >= 0)
        r = pump(f, &err);
    if (r < 0) {
        fail(f, &err);
        return viv_code_exit(err.code);
    }
    remove_failed(f);
    return exit_code(f);
}

int vivi_foreground_run(struct vivi_cli *c, viv_vm *vm, const struct vivi_foreground *how)
{
    struct foreground f = {.c = c, .how = how, .vm = vm, .bell = -1};
    viv_error err = VIV_ERROR_INIT;
    cleanup_close int read_end = -1, write_end = -1;
    int fds[2], code;

    if (vivi_pipe(fds, &err) < 0)
        return vivi_cli_fail(c, viv_vm_name(vm), &err);
    read_end = fds[0];
    write_end = fds[1];
    vivi_guest_output_init(&f.out, c, -1, 0);
    code = live(&f, read_end);
    viv_op_free(f.start);
    viv_op_free(f.ready);
    viv_op_free(f.stop);
    viv_op_free(f.kill);
    vivi_close(&write_end); /* not before: it says that we are there */
    vivi_close(&f.bell);
    vivi_guest_output_done(&f.out);
    return code;
}
