/*
 * A keeper and a monitor that hang: an ordinary kill says so in time, a forced one goes past them,
 * and afterwards the VM can be started again.
 */
#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static pid_t pid_of(viv_vm *vm, const char *path)
{
    viv_rec *info = NULL;
    int64_t pid = 0;

    OK(viv_vm_info(vm, &info, &err));
    CHECK(viv_rec_i64(info, path, &pid) == 0 && pid > 1);
    viv_rec_free(info);
    return (pid_t)pid;
}

static void check_state(viv_vm *vm, const char *a, const char *b)
{
    viv_rec *info = NULL;
    const char *state;

    OK(viv_vm_info(vm, &info, &err));
    state = viv_rec_str(info, "state");
    CHECK(!strcmp(state, a) || !strcmp(state, b));
    CHECK(viv_rec_is_null(info, "vmm"));
    viv_rec_free(info);
}

static void stop_both(viv_vm *vm, int keeper_too)
{
    if (keeper_too)
        CHECK(kill(pid_of(vm, "keeper.pid"), SIGSTOP) == 0);
    CHECK(kill(pid_of(vm, "monitor.pid"), SIGSTOP) == 0);
}

static int is_kept(viv_vm *vm)
{
    viv_rec *info = NULL;
    int kept;

    OK(viv_vm_info(vm, &info, &err));
    kept = !viv_rec_is_null(info, "keeper") || !viv_rec_is_null(info, "monitor");
    viv_rec_free(info);
    return kept;
}

/* Kills both at once, so that neither brings the other one back. */
static void kill_both(viv_vm *vm)
{
    int64_t until = now_ms() + 20000;
    pid_t keeper = pid_of(vm, "keeper.pid"), monitor = pid_of(vm, "monitor.pid");

    stop_both(vm, 1);
    CHECK(kill(keeper, SIGKILL) == 0 && kill(monitor, SIGKILL) == 0);
    while (is_kept(vm)) /* until the last of them has let go */
        CHECK(now_ms() < until);
}

static void subscriber_revives(const char *dir)
{
    int64_t until = now_ms() + 20000;
    viv_rec *e = NULL;
    viv *v = NULL;
    int adopted = 0;

    OK(viv_open(dir, 0, &v, &err));
    OK(viv_subscribe(v, "vm=web", 0, &err));
    while (!adopted) {
        struct pollfd p = {.fd = viv_fd(v), .events = POLLIN};

        CHECK(now_ms() < until);
        CHECK(poll(&p, 1, 1000) >= 0);
        OK(viv_dispatch(v, &err));
        while (viv_next(v, &e, NULL) > 0) {
            adopted |= !strcmp(viv_rec_str(e, "type"), "adopted");
            viv_rec_free(e);
        }
    }
    viv_close(v);
}

int main(void)
{
    const char *yaml = "name: web\ndriver: fake\n";
    char dir[] = "/tmp/vivf.XXXXXX";
    viv_config *c = NULL;
    viv_opts *force = NULL, *brief = NULL;
    viv_vm *vm = NULL;
    viv *v = NULL;
    int64_t begin;

    puts("1..4");
    CHECK(mkdtemp(dir));
    OK(viv_open(dir, VIV_OPEN_CREATE, &v, &err));
    OK(viv_config_parse(yaml, strlen(yaml), NULL, &c, &err));
    OK(viv_create(v, c, 0, &vm, NULL, &err));
    OK(viv_opts_new(&force, &err));
    OK(viv_opts_set_bool(force, "force", 1, &err));
    OK(viv_opts_new(&brief, &err));
    OK(viv_opts_set_i64(brief, "timeout_ms", 200, &err));

    OK(viv_vm_start(vm, NULL, NULL, NULL, &err));
    stop_both(vm, 0);
    begin = now_ms();
    CHECK(viv_vm_kill(vm, brief, NULL, NULL, &err) == -VIV_E_TIMEOUT);
    CHECK(now_ms() - begin >= 200 && now_ms() - begin < 300);
    CHECK(!strcmp(err.message, "not ended after 0.2 s; it goes on"));
    CHECK(!strcmp(err.hint, "its monitor does not answer; viv kill --force web"));
    puts("ok 1 - a monitor that hangs is named in time");

    OK(viv_vm_kill(vm, force, NULL, NULL, &err));
    check_state(vm, "failed", "stopped");
    puts("ok 2 - a forced kill goes past the monitor");

    OK(viv_vm_start(vm, NULL, NULL, NULL, &err));
    stop_both(vm, 1);
    OK(viv_vm_kill(vm, force, NULL, NULL, &err));
    check_state(vm, "failed", "stopped");
    puts("ok 3 - and past the keeper");

    OK(viv_vm_start(vm, NULL, NULL, NULL, &err));
    kill_both(vm);
    subscriber_revives(dir);
    OK(viv_vm_kill(vm, NULL, NULL, NULL, &err));
    OK(viv_vm_remove(vm, NULL, NULL, NULL, &err));
    viv_opts_free(force);
    viv_opts_free(brief);
    viv_config_free(c);
    viv_vm_free(vm);
    viv_close(v);
    remove_tree(dir);
    puts("ok 4 - a subscriber revives what nobody keeps");
    return 0;
}
