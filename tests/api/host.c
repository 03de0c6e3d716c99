/*
 * A host with a SIGCHLD handler and a waitpid(-1) loop of its own, and one poll loop for
 * everything: children that the library makes must be invisible to it, and N VMs must fit into one
 * descriptor.
 *
 *   host N
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

#define MOST        128
#define DEADLINE_MS 60000

static volatile sig_atomic_t sigchlds;
static unsigned foreign; /* children that waitpid(-1) told of and we did not make */

static void on_sigchld(int sig)
{
    (void)sig;
    sigchlds++;
}

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void reap(pid_t mine)
{
    pid_t pid;

    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
        foreign += pid != mine;
    CHECK(pid == 0 || errno == ECHILD);
}

/* A child of our own, which the library must not steal. */
static pid_t own_child(void)
{
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        (void)pause();
        _exit(0);
    }
    return pid;
}

static viv_vm *make(viv *v, unsigned i)
{
    char yaml[200];
    viv_config *c = NULL;
    viv_vm *vm = NULL;
    int n =
        snprintf(yaml, sizeof(yaml),
                 "name: vm%u\ndriver: fake\nfake: {script: \"ready after=1ms ip=192.0.2.%u\"}\n", i,
                 i % 250 + 1);

    OK(viv_config_parse(yaml, (size_t)n, NULL, &c, &err));
    OK(viv_create(v, c, 0, &vm, NULL, &err));
    viv_config_free(c);
    return vm;
}

/* The host's loop: everything comes through viv_fd. */
static void drive(viv *v, viv_op **ops, unsigned n, pid_t mine)
{
    int64_t until = now_ms() + DEADLINE_MS;
    unsigned left = n;

    while (left > 0) {
        struct pollfd p = {.fd = viv_fd(v), .events = POLLIN};

        CHECK(now_ms() < until);
        CHECK(poll(&p, 1, 1000) >= 0 || errno == EINTR);
        OK(viv_dispatch(v, &err));
        reap(mine);
        left = 0;
        for (unsigned i = 0; i < n; i++)
            left += !viv_op_done(ops[i]);
    }
}

static void finish(viv_op **ops, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        OK(viv_op_wait(ops[i], 0, NULL, &err));
        viv_op_free(ops[i]);
    }
}

static unsigned count(viv *v, const char *filter)
{
    viv_list *l = NULL;
    unsigned n;

    OK(viv_ls(v, filter, &l, &err));
    n = (unsigned)viv_list_len(l);
    viv_list_free(l);
    return n;
}

static unsigned count_events(viv *v, const char *type)
{
    viv_rec *e = NULL;
    unsigned n = 0;

    while (viv_next(v, &e, NULL) > 0) {
        n += !strcmp(viv_rec_str(e, "type"), type);
        viv_rec_free(e);
    }
    return n;
}

int main(int argc, char **argv)
{
    struct sigaction sa = {.sa_handler = on_sigchld};
    char dir[] = "/tmp/vivh.XXXXXX";
    unsigned n = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 10;
    viv_vm *vms[MOST];
    viv_op *ops[MOST];
    viv_opts *ready = NULL;
    viv *v = NULL;
    pid_t mine;

    puts("1..4");
    CHECK(n <= MOST && mkdtemp(dir) && sigaction(SIGCHLD, &sa, NULL) == 0);
    mine = own_child();
    OK(viv_open(dir, VIV_OPEN_CREATE, &v, &err));
    OK(viv_subscribe(v, NULL, 0, &err));
    OK(viv_opts_new(&ready, &err));
    OK(viv_opts_set_str(ready, "wait", "ready", &err));
    for (unsigned i = 0; i < n; i++) {
        vms[i] = make(v, i);
        OK(viv_vm_start(vms[i], ready, &ops[i], NULL, &err));
    }
    drive(v, ops, n, mine);
    finish(ops, n);
    CHECK(count(v, "state=ready") == n);
    puts("ok 1 - all get ready in one poll loop");
    CHECK(count_events(v, "ready") == n);
    puts("ok 2 - every ready is told as an event");
    for (unsigned i = 0; i < n; i++)
        OK(viv_vm_stop(vms[i], NULL, &ops[i], NULL, &err));
    drive(v, ops, n, mine);
    finish(ops, n);
    for (unsigned i = 0; i < n; i++) {
        OK(viv_vm_remove(vms[i], NULL, &ops[i], NULL, &err));
    }
    drive(v, ops, n, mine);
    finish(ops, n);
    CHECK(count(v, NULL) == 0);
    for (unsigned i = 0; i < n; i++)
        viv_vm_free(vms[i]);
    viv_opts_free(ready);
    viv_close(v);
    remove_tree(dir);
    puts("ok 3 - all are stopped and removed");
    CHECK(sigchlds == 0 && foreign == 0);
    CHECK(kill(mine, SIGKILL) == 0 && waitpid(mine, NULL, 0) == mine);
    puts("ok 4 - the host sees its own children only, and keeps them");
    return 0;
}
