/*
 * Two processes at one state root: a start against a removal, and many starts of one VM at once.
 * Who wins is chance; that exactly one does is not.
 *
 *   race ROUNDS
 */
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

#define STARTERS 50

static viv_vm *make(viv *v)
{
    const char *yaml = "name: web\ndriver: fake\n";
    viv_config *c = NULL;
    viv_vm *vm = NULL;

    OK(viv_config_parse(yaml, strlen(yaml), NULL, &c, &err));
    OK(viv_create(v, c, 0, &vm, NULL, &err));
    viv_config_free(c);
    return vm;
}

static int outcome(int r)
{
    if (r < 0 && r != -VIV_E_NOT_FOUND && r != -VIV_E_WRONG_STATE && r != -VIV_E_BUSY)
        printf("# %s: %s\n", viv_code_name(r), err.message);
    return r < 0 ? -r : 0;
}

/* Starts web as a process of its own; the exit status is the code. */
static pid_t starter(const char *dir, int go)
{
    viv *v = NULL;
    viv_vm *vm = NULL;
    char byte;
    pid_t pid;
    int r;

    (void)fflush(stdout);
    pid = fork();
    CHECK(pid >= 0);
    if (pid > 0)
        return pid;
    OK(viv_open(dir, 0, &v, &err));
    CHECK(read(go, &byte, 1) >= 0);
    r = viv_lookup(v, "web", &vm, &err);
    r = outcome(r < 0 ? r : viv_vm_start(vm, NULL, NULL, NULL, &err));
    viv_vm_free(vm);
    viv_close(v);
    (void)fflush(stdout);
    _exit(r);
}

static int wait_code(pid_t pid)
{
    int status = -1;

    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static unsigned count(viv *v)
{
    viv_list *l = NULL;
    unsigned n;

    OK(viv_ls(v, NULL, &l, &err));
    n = (unsigned)viv_list_len(l);
    viv_list_free(l);
    return n;
}

static int64_t now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* The head start that the other process gets: some rounds none, some twice what a start takes. */
static void spin(unsigned us)
{
    int64_t until = now_us() + us;

    while (now_us() < until)
        ;
}

/* 1 the start won, 0 the removal. */
static int start_against_remove(viv *v, const char *dir, unsigned head_start_us)
{
    viv_vm *vm = make(v);
    viv_opts *force = NULL;
    int go[2], started, removed;
    pid_t pid;

    CHECK(pipe(go) == 0);
    pid = starter(dir, go[0]);
    CHECK(write(go[1], "x", 1) == 1);
    spin(head_start_us);
    removed = outcome(viv_vm_remove(vm, NULL, NULL, NULL, &err));
    started = wait_code(pid);
    (void)close(go[0]);
    (void)close(go[1]);
    if (started != 0) { /* whoever loses says why */
        CHECK(started == VIV_E_NOT_FOUND && removed == 0);
        CHECK(count(v) == 0);
    } else {
        CHECK(removed == VIV_E_WRONG_STATE || removed == VIV_E_BUSY);
        CHECK(count(v) == 1);
        OK(viv_opts_new(&force, &err));
        OK(viv_opts_set_bool(force, "force", 1, &err));
        OK(viv_vm_remove(vm, force, NULL, NULL, &err));
        viv_opts_free(force);
    }
    viv_vm_free(vm);
    return started == 0;
}

static void many_starts(viv *v, const char *dir)
{
    viv_vm *vm = make(v);
    viv_rec *info = NULL;
    pid_t pids[STARTERS];
    int go[2];
    int64_t run = 0;

    CHECK(pipe(go) == 0);
    for (unsigned i = 0; i < STARTERS; i++)
        pids[i] = starter(dir, go[0]);
    for (unsigned i = 0; i < STARTERS; i++)
        CHECK(write(go[1], "x", 1) == 1);
    for (unsigned i = 0; i < STARTERS; i++)
        CHECK(wait_code(pids[i]) == 0);
    OK(viv_vm_info(vm, &info, &err));
    CHECK(!strcmp(viv_rec_str(info, "state"), "running"));
    CHECK(viv_rec_i64(info, "run", &run) == 0 && run == 1);
    viv_rec_free(info);
    OK(viv_vm_kill(vm, NULL, NULL, NULL, &err));
    OK(viv_vm_remove(vm, NULL, NULL, NULL, &err));
    viv_vm_free(vm);
}

/* How long a start takes here, by whatever this was built with. */
static unsigned start_us(viv *v)
{
    viv_vm *vm = make(v);
    int64_t begin = now_us(), end;

    OK(viv_vm_start(vm, NULL, NULL, NULL, &err));
    end = now_us();
    OK(viv_vm_kill(vm, NULL, NULL, NULL, &err));
    OK(viv_vm_remove(vm, NULL, NULL, NULL, &err));
    viv_vm_free(vm);
    return (unsigned)(end - begin);
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 100;
    char dir[] = "/tmp/vivr.XXXXXX";
    unsigned starts = 0, step_us;
    viv *v = NULL;

    puts("1..2");
    CHECK(mkdtemp(dir));
    OK(viv_open(dir, VIV_OPEN_CREATE, &v, &err));
    step_us = start_us(v) / 20;
    for (unsigned i = 0; i < rounds; i++)
        starts += (unsigned)start_against_remove(v, dir, i % 40 * step_us);
    CHECK(rounds < 40 || (starts > 0 && starts < rounds)); /* else it was no race */
    printf("# the start won %u of %u rounds\n", starts, rounds);
    puts("ok 1 - of a start and a removal exactly one wins");
    many_starts(v, dir);
    puts("ok 2 - many starts at once make one VMM");
    viv_close(v);
    remove_tree(dir);
    return 0;
}
