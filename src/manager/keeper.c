/*
 * Starting a keeper for a VM that has none. It is nobody's child and inherits only its status pipe
 * and, as stderr, the VM's monitor.log; its one line says whether it got the lock. It is read from
 * the loop, so no caller ever waits for it.
 *
 * Where systemd runs, the keeper of a detached VM is started through viv-scope, which gives it a
 * control group of its own before anything is born into it. In the foreground everything stays in
 * the caller's.
 */
#include "manager/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/spawn.h"

#define KEEPER_EXE  "viv-keeper"
#define MONITOR_EXE "viv-monitor"
#define STATUS_FD   3
#define KEEPER_ARG  8 /* its place behind viv-scope and what that is told */
#define LOG_FILE    "monitor.log"
#define STOP_MS     60000
#define STOP_REST_S 30 /* the rungs after the guest's own time, and telling */

void vivi_keeper_forget(struct viv_op *op)
{
    if (op->status_fd < 0)
        return;
    if (op->v)
        vivi_poll_del(&op->v->poll, op->status_fd);
    vivi_close(&op->status_fd);
    op->status_len = 0;
}

/* "error <errno> <text>" */
static void said_error(struct viv_op *op, char *text)
{
    viv_error err = VIV_ERROR_INIT;
    char *rest = NULL;
    long e = strtol(text, &rest, 10);

    while (*rest == ' ')
        rest++;
    if (e > 0 && e < 4096)
        (void)vivi_fail_errno(&err, (int)e, "%s", *rest ? rest : KEEPER_EXE);
    else
        (void)vivi_fail(&err, VIV_E_IO, "%s", *rest ? rest : KEEPER_EXE);
    vivi_op_keeper_said(op, VIVI_KEEPER_FAILED, &err);
}

static void said(struct viv_op *op, char *line)
{
    viv_error err = VIV_ERROR_INIT;

    if (strncmp(line, "ok ", 3) == 0) {
        vivi_op_keeper_said(op, VIVI_KEEPER_OK, NULL);
    } else if (strcmp(line, "busy") == 0) {
        vivi_op_keeper_said(op, VIVI_KEEPER_BUSY, NULL);
    } else if (strcmp(line, "gone") == 0) {
        vivi_op_keeper_said(op, VIVI_KEEPER_GONE, NULL);
    } else if (strncmp(line, "error ", 6) == 0) {
        said_error(op, line + 6);
    } else {
        (void)vivi_fail(&err, VIV_E_PROTOCOL, KEEPER_EXE " said \"%.60s\"", line);
        vivi_op_keeper_said(op, VIVI_KEEPER_FAILED, &err);
    }
}

static void said_nothing(struct viv_op *op)
{
    viv_error err = VIV_ERROR_INIT;

    (void)vivi_fail(&err, VIV_E_INTERNAL, KEEPER_EXE " ended before it said anything");
    vivi_hint(&err, "viv logs --monitor %s", op->name);
    vivi_op_keeper_said(op, VIVI_KEEPER_FAILED, &err);
}

static void on_status(void *arg, unsigned events)
{
    struct viv_op *op = arg;
    char line[sizeof(op->status)];
    size_t room = sizeof(op->status) - 1 - op->status_len;
    ssize_t n = room > 0 ? read(op->status_fd, op->status + op->status_len, room) : 0;
    char *nl;

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        said_nothing(op);
        return;
    }
    op->status_len += (size_t)n;
    nl = memchr(op->status, '\n', op->status_len);
    if (!nl)
        return;
    *nl = '\0';
    (void)snprintf(line, sizeof(line), "%s", op->status); /* op may be gone soon */
    said(op, line);
}

struct start {
    char keeper[PATH_MAX], monitor[PATH_MAX];
    char scope[PATH_MAX]; /* "": without */
    char unit[96], text[96], stop_after[24];
    int log_fd, status[2];
};

bool vivi_scope_wanted(char *ret, size_t size)
{
    const char *env = getenv("VIV_SCOPE");

    if ((env && strcmp(env, "off") == 0) || access(VIVI_SYSTEMD_RUNS, F_OK) < 0)
        return false;
    return vivi_helper_path(VIVI_SCOPE_EXE, ret, size, NULL) == 0; /* not built: doctor says so */
}

static void choose_scope(const struct viv_op *op, const struct vivi_vmdir *d, struct start *s)
{
    bool foreground = op->own_fd >= 0 && strcmp(op->what.verb, "start") == 0;
    int64_t stop_ms;

    if (foreground || !d->uuid[0] || !vivi_scope_wanted(s->scope, sizeof(s->scope))) {
        s->scope[0] = '\0';
        return;
    }
    stop_ms = vivi_config_ms(d, "stop.timeout", STOP_MS);
    (void)snprintf(s->unit, sizeof(s->unit), "viv-%s-%.8s.scope", d->name, d->uuid);
    (void)snprintf(s->text, sizeof(s->text), "Virtual machine %s", d->name);
    (void)snprintf(s->stop_after, sizeof(s->stop_after), "%" PRId64, stop_ms / 1000 + STOP_REST_S);
}

static int open_channels(const struct vivi_vmdir *d, struct start *s, viv_error *err)
{
    int r = openat(d->fd, LOG_FILE, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (r < 0)
        return vivi_fail_errno(err, errno, "cannot open %s/" LOG_FILE, d->path);
    s->log_fd = vivi_fd_above_stdio(r, err);
    if (s->log_fd < 0)
        return s->log_fd;
    r = vivi_pipe(s->status, err);
    return r < 0 ? r : vivi_fd_nonblock(s->status[0], true, err);
}

static int spawn(const struct vivi_vmdir *d, const struct start *s, viv_error *err)
{
    const struct vivi_fd_map map[] = {{s->log_fd, STDERR_FILENO}, {s->status[1], STATUS_FD}};
    const char *const args[] = {s->scope,       "--unit",      s->unit,    "--describe", s->text,
                                "--stop-after", s->stop_after, "--",       s->keeper,    "--vm-dir",
                                d->path,        "--run-dir",   d->run_dir, "--monitor",  s->monitor,
                                "--status",     "3",           NULL};
    size_t first = s->scope[0] ? 0 : KEEPER_ARG; /* the keeper itself, without a scope */
    struct vivi_spawn how = {.path = args[first], .n_map = ARRAY_SIZE(map), .map = map};
    char *argv[ARRAY_SIZE(args)];
    struct vivi_proc_id id;
    int r;

    for (size_t i = 0; i < ARRAY_SIZE(args); i++)
        argv[i] = (char *)(uintptr_t)args[i]; /* exec(2) does not write to them */
    how.argv = argv + first;
    r = vivi_spawn_detached(&how, &id, err);
    return r < 0 ? vivi_wrap(err, r, "cannot start %s", s->keeper) : 0;
}

int vivi_keeper_start(struct viv_op *op, const struct vivi_vmdir *d, viv_error *err)
{
    struct start s = {.log_fd = -1, .status = {-1, -1}};
    int r = vivi_helper_path(KEEPER_EXE, s.keeper, sizeof(s.keeper), err);

    if (r == 0)
        r = vivi_helper_path(MONITOR_EXE, s.monitor, sizeof(s.monitor), err);
    if (r == 0)
        r = vivi_vmdir_ensure_run(d, err);
    if (r == 0)
        r = open_channels(d, &s, err);
    choose_scope(op, d, &s);
    if (r == 0)
        r = spawn(d, &s, err);
    if (r == 0) {
        op->status_source = (struct vivi_source){on_status, op};
        r = vivi_poll_add(&op->v->poll, s.status[0], VIVI_POLL_READ, &op->status_source, err);
    }
    if (r == 0) {
        op->status_fd = take_fd(&s.status[0]);
        op->status_len = 0;
        op->phase = VIVI_PH_KEEPER;
    }
    vivi_close(&s.log_fd);
    vivi_close(&s.status[0]);
    vivi_close(&s.status[1]);
    return r;
}
