/* worker.c: which requests are functions of this program, and how such a process lives and ends. */
#include "agent.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define FREEZE_DEFAULT_MS 60000
#define FREEZE_MAX_MS     3600000

static const struct worker workers[] = {
    {.kind = "info", .run = work_info, .output = true},
    {.kind = "stat", .run = work_stat},
    {.kind = "read", .run = work_read, .output = true, .tells = true},
    {.kind = "write", .run = work_write, .input = true},
    {.kind = "tree-read", .run = work_tree_read, .output = true},
    {.kind = "tree-write", .run = work_tree_write, .input = true},
    {.kind = "port", .run = work_port},
    {.kind = "clock", .run = work_clock},
    {.kind = "freeze", .run = work_freeze},
    {.kind = "thaw", .run = work_thaw},
    {.kind = "trim", .run = work_trim},
    {.kind = "renew", .run = work_renew},
    {.kind = "online-cpus", .run = work_online_cpus},
    {.kind = "online-memory", .run = work_online_memory},
    {.kind = "shutdown", .run = work_shutdown},
    {.kind = "reboot", .run = work_reboot},
};

/* Of the process that a worker is. */
static int status_socket = -1;
static volatile sig_atomic_t stopped;

const struct worker *worker_find(const char *kind)
{
    for (size_t i = 0; i < ARRAY_SIZE(workers); i++) {
        if (strcmp(kind, workers[i].kind) == 0)
            return &workers[i];
    }
    return NULL;
}

static void on_term(int signal_number)
{
    stopped = 1;
}

bool worker_stopped(void)
{
    return stopped != 0;
}

bool worker_input_complete(void)
{
    char c = 0;

    /* The word was sent before the pipe was closed, so it is there by now, or never will be. */
    return !worker_stopped() && read(status_socket, &c, 1) == 1 && c == WORKER_COMPLETE[0];
}

void worker_started(const struct vivi_aw_writer *w)
{
    child_record(status_socket, 'S', w);
}

int worker_lend(int fd, uint64_t at, uint64_t len, bool tree, uint64_t *ret_sent, viv_error *err)
{
    static bool never;
    struct lent_answer answer;
    int r;

    *ret_sent = 0;
    if (never || len < LENT_MIN)
        return 0;
    r = lent_offer(status_socket, fd, at, len, tree, &answer, err);
    if (r < 0)
        return r;
    never = answer.never != 0;
    *ret_sent = answer.at - at;
    return 0;
}

_Noreturn void worker_main(const struct worker *w, const struct vivi_aw_frame *q, int status_fd)
{
    const struct sigaction term = {.sa_handler = on_term}; /* no SA_RESTART: calls end */
    char buf[AGENT_RECORD_MAX];
    struct vivi_aw_writer ret = VIVI_AW_WRITER(buf);
    viv_error err = VIV_ERROR_INIT;

    status_socket = status_fd;
    (void)sigaction(SIGTERM, &term, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* enough for a worker, which clears up after itself */
    if (w->run(q, &ret, &err) < 0) {
        ret.len = 0;
        vivi_aw_put_error(&ret, &err);
    }
    child_record(status_fd, 'R', &ret);
    _exit(0);
}

void worker_opened(struct agent *a, const struct worker *w, const struct vivi_aw_frame *f)
{
    uint64_t ms = FREEZE_DEFAULT_MS;

    if (w->run == work_freeze) {
        (void)vivi_aw_field_u64(f, "timeout_ms", FREEZE_MAX_MS, &ms, NULL);
        a->thaw_at_ms = loop_now_ms() + ms;
    } else if (w->run == work_thaw) {
        a->thaw_at_ms = AGENT_NEVER;
    }
}
