/*
 * viv-monitor: the brain of one VM. Started by viv-keeper with --vm-dir, --run-dir, --keeper and
 * the descriptor table in VIV_FDS; when the keeper dies, it executes the keeper in place, which
 * then starts a monitor again.
 */
#include "monitor/monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "monitor/loop_uv.h"
#include "monitor/memory.h"

#define LOG_KEPT_BYTES     (1u << 20)
#define TAKE_OVER_RETRY_MS 1000

struct program {
    const char *vm_dir, *run_dir, *keeper;
    char self[4096];
    struct vivi_uv *uv;
    struct vivi_timer *again;
    int host_stops[2]; /* pipe: the signal handler's byte, −1 when it could not be made */
    struct vivi_watch *host_watch;
    struct vivi_monitor monitor;
};

static int parse_args(int argc, char **argv, struct program *p)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--vm-dir") == 0)
            p->vm_dir = argv[i + 1];
        else if (strcmp(argv[i], "--run-dir") == 0)
            p->run_dir = argv[i + 1];
        else if (strcmp(argv[i], "--keeper") == 0)
            p->keeper = argv[i + 1];
        else
            return -1;
    }
    if (argc % 2 == 0 || !p->vm_dir || !p->run_dir || !p->keeper)
        return -1;
    return p->vm_dir[0] == '/' && p->run_dir[0] == '/' && p->keeper[0] == '/' ? 0 : -1;
}

/* ---- the keeper in place ---- */

static void take_over(struct vivi_monitor *m);

static void take_over_again(void *arg)
{
    struct program *p = arg;

    vivi_uv_loop(p->uv)->timer_stop(p->again);
    p->again = NULL;
    take_over(&p->monitor);
}

/* Only returns when the keeper cannot be executed. */
static void exec_keeper(struct program *p)
{
    cleanup_buf struct vivi_buf env = VIVI_BUF(65536);
    char vm[] = "--vm-dir", run[] = "--run-dir", monitor[] = "--monitor", adopt[] = "--adopt";
    char *argv[] = {NULL, vm, NULL, run, NULL, monitor, NULL, adopt, NULL};
    viv_error err = VIV_ERROR_INIT;

    argv[0] = argv[2] = argv[4] = NULL;
    if (vivi_fds_format(&p->monitor.fds, "keeper", &env) < 0 ||
        setenv(VIVI_FDS_ENV, env.data ? env.data : "", 1) < 0) {
        vivi_log(VIVI_LOG_ERROR, "out of memory");
        return;
    }
    argv[0] = strdup(p->keeper);
    argv[2] = strdup(p->vm_dir);
    argv[4] = strdup(p->run_dir);
    argv[6] = p->self;
    vivi_fds_drop(&p->monitor.fds, "keeper"); /* its other end is gone */
    if (argv[0] && argv[2] && argv[4] && vivi_fds_inherit(&p->monitor.fds, &err) >= 0) {
        vivi_log(VIVI_LOG_WARN, "the keeper is gone: taking its place");
        (void)execv(p->keeper, argv);
        vivi_log(VIVI_LOG_ERROR, "cannot run %s: %s", p->keeper, strerror(errno));
    }
    free(argv[0]);
    free(argv[2]);
    free(argv[4]);
}

static void take_over(struct vivi_monitor *m)
{
    struct program *p = m->env_ctx;
    const struct vivi_loop *loop = vivi_uv_loop(p->uv);

    if (m->quitting) {
        vivi_uv_stop(p->uv);
        return;
    }
    exec_keeper(p);
    (void)loop->timer(loop->ctx, "keeper-again", TAKE_OVER_RETRY_MS, take_over_again, p, &p->again,
                      NULL);
}

static void end(struct vivi_monitor *m)
{
    struct program *p = m->env_ctx;

    vivi_uv_stop(p->uv);
}

static const struct vivi_monitor_env env = {
    .driver = vivi_driver_get,
    .effects = vivi_effects_get,
    .facts = vivi_facts_gather,
    .take_over = take_over,
    .end = end,
    .trim = vivi_memory_trim,
};

/* ---- main ---- */

static void open_log(const struct program *p)
{
    const char *level = getenv("VIV_LOG");
    char path[4096];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/monitor.log", p->vm_dir);
    fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    vivi_log_to(fd >= 0 ? fd : STDERR_FILENO, "monitor",
                level && strcmp(level, "debug") == 0 ? VIVI_LOG_DEBUG : VIVI_LOG_INFO,
                LOG_KEPT_BYTES);
}

/* ---- the host goes down ---- */

static int host_stops_fd = -1; /* for the signal handler */

static void on_signal(int sig)
{
    int saved = errno;

    (void)sig;
    (void)!write(host_stops_fd, "", 1);
    errno = saved;
}

static void on_host_stops(void *arg, unsigned events)
{
    struct program *p = arg;
    char bytes[16];

    (void)events;
    if (read(p->host_stops[0], bytes, sizeof(bytes)) > 0)
        vivi_op_host_stops(&p->monitor);
}

/* Without it the service manager's patience ends the VM, as it does without a scope. */
static void watch_host(struct program *p)
{
    const struct vivi_loop *loop = vivi_uv_loop(p->uv);
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    viv_error err = VIV_ERROR_INIT;

    if (vivi_pipe(p->host_stops, &err) < 0 || vivi_fd_nonblock(p->host_stops[1], true, &err) < 0 ||
        loop->watch(loop->ctx, p->host_stops[0], VIVI_READ, on_host_stops, p, &p->host_watch,
                    &err) < 0) {
        vivi_log(VIVI_LOG_WARN, "the host's end will not be noticed: %s", err.message);
        return;
    }
    host_stops_fd = p->host_stops[1];
    (void)sigaction(VIVI_HOST_STOPS_SIGNAL, &act, NULL);
}

static void unwatch_host(struct program *p)
{
    (void)signal(VIVI_HOST_STOPS_SIGNAL, SIG_IGN);
    vivi_uv_loop(p->uv)->unwatch(p->host_watch);
    vivi_close(&p->host_stops[0]);
    vivi_close(&p->host_stops[1]);
}

static int run(struct program *p, viv_error *err)
{
    cleanup_free char *cache = vivi_cache_dir();
    struct vivi_monitor_setup s = {
        .env = &env, .env_ctx = p, .vm_dir = p->vm_dir, .run_dir = p->run_dir, .cache_dir = cache};
    int r = vivi_fds_parse(getenv(VIVI_FDS_ENV), &s.fds, err);

    if (r >= 0)
        r = vivi_uv_new(&p->uv, err);
    if (r < 0)
        return r;
    (void)unsetenv(VIVI_FDS_ENV);
    s.loop = vivi_uv_loop(p->uv);
    r = vivi_monitor_open(&p->monitor, &s, err);
    if (r >= 0 && !p->monitor.quitting) {
        watch_host(p);
        vivi_uv_run(p->uv);
        unwatch_host(p);
    }
    vivi_monitor_close(&p->monitor);
    vivi_uv_free(p->uv);
    return r;
}

int main(int argc, char **argv)
{
    static struct program p = {.host_stops = {-1, -1}};
    viv_error err = VIV_ERROR_INIT;
    int r;

    vivi_memory_small();
    if (parse_args(argc, argv, &p) < 0 || vivi_self_path(p.self, sizeof(p.self)) < 0) {
        (void)fprintf(stderr, "viv-monitor: it is started by viv-keeper: "
                              "--vm-dir DIR --run-dir DIR --keeper FILE\n");
        return 2;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit of file sizes is an error like a full disk */
    open_log(&p);
    r = run(&p, &err);
    if (r == -VIV_E_NOT_FOUND) {
        vivi_log(VIVI_LOG_INFO, "%s", err.message);
        return 0;
    }
    if (r < 0)
        vivi_log(VIVI_LOG_ERROR, "%s", err.message);
    return r < 0 ? 1 : 0;
}
