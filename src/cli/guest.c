/*
 * A program in the guest with our standard streams.
 *
 * With a terminal ours is raw meanwhile, so every key reaches the guest, Ctrl-C too, and its size
 * follows ours. Without one an interrupt is passed on as a signal; whoever does not listen to it is
 * ended by the second.
 */
#include "cli/guest.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#include "cli/signals.h"
#include "cli/tty.h"

#define TIMES_ASKED 2 /* signals of us until we stop waiting */

static int own(int code)
{
    return code ? VIVI_EXIT_OWN : 0;
}

static int set_env(const struct vivi_args *a, viv_opts *o, viv_error *err)
{
    int r = 0;

    for (size_t i = 0; i < a->n_given && r == 0; i++) {
        const struct vivi_given *g = &a->given[i];

        if (!g->flag || strcmp(g->flag->name, "--env") != 0)
            continue;
        if (!strchr(g->value, '=') || g->value[0] == '=')
            return vivi_fail(err, VIV_E_INVALID, "--env: \"%s\" is not KEY=VALUE", g->value);
        r = viv_opts_set_str(o, "env", g->value, err);
    }
    return r;
}

static int set_flags(const struct vivi_args *a, viv_opts *o, viv_error *err)
{
    const char *dir = vivi_args_str(a, "--workdir"), *user = vivi_args_str(a, "--user");
    int64_t ms = 0;
    int r = set_env(a, o, err);

    if (r == 0 && dir)
        r = viv_opts_set_str(o, "cwd", dir, err);
    if (r == 0 && user)
        r = viv_opts_set_str(o, "user", user, err);
    if (r < 0)
        return r;
    r = vivi_args_duration(a, "--connect-timeout", &ms, err);
    if (r > 0)
        r = viv_opts_set_i64(o, "connect_ms", ms, err);
    if (r < 0)
        return r;
    r = vivi_args_duration(a, "--timeout", &ms, err);
    return r <= 0 ? r : viv_opts_set_i64(o, "timeout_ms", ms, err);
}

/* The environment tells what kind of terminal ours is. */
static int set_terminal(viv_opts *o, viv_error *err)
{
    const char *term = getenv("TERM");
    int rows = 0, cols = 0, r = viv_opts_set_bool(o, "tty", 1, err);
    char text[80];

    if (r == 0 && vivi_tty_size(&rows, &cols)) {
        r = viv_opts_set_i64(o, "rows", rows, err);
        if (r == 0)
            r = viv_opts_set_i64(o, "cols", cols, err);
    }
    if (r < 0 || !term || !*term || strlen(term) > 60)
        return r;
    (void)snprintf(text, sizeof(text), "TERM=%s", term);
    return viv_opts_set_str(o, "env", text, err);
}

static int make_opts(const struct vivi_guest_run *g, viv_opts **ret, viv_error *err)
{
    cleanup_opts viv_opts *o = NULL;
    int r = viv_opts_new(&o, err);

    if (r == 0 && g->tty)
        r = set_terminal(o, err);
    if (r == 0 && g->args)
        r = set_flags(g->args, o, err);
    if (r == 0 && g->input)
        r = viv_opts_set_i64(o, "stdin_fd", STDIN_FILENO, err);
    if (r == 0)
        r = viv_opts_set_i64(o, "stdout_fd", STDOUT_FILENO, err);
    if (r == 0 && !g->tty)
        r = viv_opts_set_i64(o, "stderr_fd", STDERR_FILENO, err);
    if (r == 0 && g->connect_ms >= 0)
        r = viv_opts_set_i64(o, "connect_ms", g->connect_ms, err);
    if (r < 0)
        return r;
    *ret = take_ptr(o);
    return 0;
}

/* 0 go on; else the exit code of somebody who was interrupted. */
static int take_signals(const struct vivi_guest_run *g, viv_op *op, unsigned *asked)
{
    int sig, rows = 0, cols = 0;

    while ((sig = vivi_signals_next()) != 0) {
        if (sig == SIGWINCH) {
            if (g->tty && vivi_tty_size(&rows, &cols))
                (void)viv_exec_resize(op, rows, cols, NULL);
            continue;
        }
        if (sig == SIGHUP || ++*asked >= TIMES_ASKED || viv_exec_signal(op, sig, NULL) < 0)
            return 128 + sig;
    }
    return 0;
}

static int attend(struct vivi_cli *c, const struct vivi_guest_run *g, viv_op *op, int signal_fd,
                  viv_error *err)
{
    unsigned asked = 0;

    while (!viv_op_done(op)) {
        struct pollfd fds[2] = {{.fd = viv_fd(c->v), .events = POLLIN},
                                {.fd = signal_fd, .events = POLLIN}};
        int code;

        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return vivi_fail_errno(err, errno, "poll");
        code = take_signals(g, op, &asked);
        if (code)
            return code;
        if (viv_dispatch(c->v, err) < 0)
            return -VIV_E_IO;
    }
    return 0;
}

static int exit_code(struct vivi_cli *c, const struct vivi_guest_run *g, const viv_rec *result)
{
    const char *text = viv_rec_str(result, "text");
    int64_t n = 0;

    if (text)
        vivi_cli_note(c, "viv: %s %s: %s", c->cmd->name, viv_vm_name(g->vm), text);
    if (viv_rec_i64(result, "exit", &n) == 0)
        return (int)n;
    if (viv_rec_i64(result, "signal", &n) == 0)
        return 128 + (int)n;
    return VIVI_EXIT_OWN;
}

/* Our output has no reader any more: so do we end, as every program does. */
static void end_by_sigpipe(const viv_error *err)
{
    if (err->sys_errno != EPIPE)
        return;
    (void)signal(SIGPIPE, SIG_DFL);
    (void)raise(SIGPIPE);
}

int vivi_guest_run(struct vivi_cli *c, const struct vivi_guest_run *g)
{
    cleanup_opts viv_opts *o = NULL;
    cleanup_rec viv_rec *result = NULL;
    viv_error err = VIV_ERROR_INIT;
    viv_op *op = NULL;
    int signal_fd = -1, code;
    int r = vivi_signals_catch(&signal_fd, &err);

    if (r >= 0)
        r = make_opts(g, &o, &err);
    if (r >= 0 && g->tty)
        r = vivi_signals_also(SIGWINCH, &err);
    if (r >= 0)
        r = viv_vm_exec(g->vm, g->argv, o, &op, NULL, &err);
    if (r < 0)
        return own(vivi_cli_fail(c, viv_vm_name(g->vm), &err));
    if (g->tty)
        (void)vivi_tty_raw(true);
    code = attend(c, g, op, signal_fd, &err);
    if (code == 0)
        r = viv_op_wait(op, 0, &result, &err);
    vivi_tty_restore();
    viv_op_free(op);
    if (code > 0)
        return code;
    if (code == 0 && r == 0)
        return exit_code(c, g, result);
    end_by_sigpipe(&err);
    return own(vivi_cli_fail(c, viv_vm_name(g->vm), &err));
}
