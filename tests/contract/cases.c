/*
 * What every driver promises. The guest obeys keys (r reboots, p powers off, k panics, i ignores
 * the button; anything else comes back), on the fake by its script and on real VMMs by a tiny guest
 * that needs no kernel.
 */
#include "cases.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/proc.h"

#define MARKER    "VMRS_READY "
#define SWEEP_MAX 48

static bool is_reset(struct world *w)
{
    return w->n_reset > 0;
}

static bool is_ending(struct world *w)
{
    return w->n_ending > 0;
}

/* The guest answers a key: it runs, and the console goes both ways. All it had to say before that
 * is in the log then. */
void contract_expect_alive(struct world *w)
{
    uint64_t from = world_serial_size(w);

    world_type(w, "~");
    (void)world_wait_logged(w, "~", from);
}

void contract_start_to_marker(struct world *w)
{
    world_start(w);
    if (!*w->failure && world_wait_logged(w, MARKER, 0) && w->obeys)
        contract_expect_alive(w);
}

/* ---- start, query, quit ---- */

static void starts(struct world *w)
{
    contract_start_to_marker(w);
    EXPECT(w, w->n_api == 1 && w->n_created == 1);
    EXPECT(w, w->state == VIV_ST_RUNNING);
    EXPECT(w, w->n_done == 1 && w->done[0].times == 1);
    EXPECT(w, w->n_ending == 0 && w->n_reset == 0);
}

static void answers_query(struct world *w)
{
    contract_start_to_marker(w);
    w->state = VIV_ST_COUNT_;
    world_do(w, vivi_machine_query);
    EXPECT(w, w->state == VIV_ST_RUNNING);
}

static void quits(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t op;

    contract_start_to_marker(w);
    op = world_call(w, vivi_machine_quit, &err);
    EXPECT(w, op != 0);
    EXPECT(w, world_wait_done(w, op) && world_wait_exit(w));
    EXPECT(w, WIFEXITED(w->wstatus) && WEXITSTATUS(w->wstatus) == 0);
    EXPECT(w, world_result(w, op)->times == 1);
    EXPECT(w, w->n_ending == 0); /* the monitor knows why: it asked */
}

static void sigterm_ends(struct world *w)
{
    contract_start_to_marker(w);
    world_kill(w, SIGTERM);
    EXPECT(w, world_wait_exit(w));
}

/* ---- pause ---- */

static void pauses(struct world *w)
{
    uint64_t size;

    contract_start_to_marker(w);
    world_do(w, vivi_machine_pause);
    EXPECT(w, *w->failure == '\0');
    w->machine.state = VIV_ST_PAUSED;
    w->state = VIV_ST_COUNT_;
    world_do(w, vivi_machine_query);
    EXPECT(w, w->state == VIV_ST_PAUSED);
    size = world_serial_size(w);
    world_type(w, "~");
    for (int i = 0; i < 3; i++) /* turns in which a running guest would have answered */
        world_do(w, vivi_machine_query);
    EXPECT(w, world_serial_size(w) == size);
    world_do(w, vivi_machine_resume);
    EXPECT(w, *w->failure == '\0');
    w->machine.state = VIV_ST_RUNNING;
    world_do(w, vivi_machine_query);
    EXPECT(w, w->state == VIV_ST_RUNNING);
    contract_expect_alive(w);
}

static void refuses_by_state(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;

    contract_start_to_marker(w);
    w->machine.state = VIV_ST_STOPPED;
    EXPECT(w, world_call(w, vivi_machine_pause, &err) == 0);
    EXPECT(w, err.code == VIV_E_WRONG_STATE);
    EXPECT(w, strcmp(err.message, "only a running VM can be paused (it is stopped)") == 0);
    w->machine.state = VIV_ST_RUNNING;
    EXPECT(w, world_call(w, vivi_machine_resume, &err) == 0);
    EXPECT(w, strcmp(err.message, "only a paused VM can be resumed (it is running)") == 0);
    contract_expect_alive(w);
}

/* ---- snapshot ---- */

static char save_dir[160]; /* of the case that runs */

static int save(struct vivi_machine *m, uint64_t op, viv_error *err)
{
    return vivi_machine_snapshot(m, save_dir, op, err);
}

static void start_to_save(struct world *w)
{
    (void)snprintf(save_dir, sizeof(save_dir), "%s/snapshots", w->vm_dir);
    contract_start_to_marker(w);
}

/* What was saved lies there, and the machine goes on as if nothing had been. */
static void saves(struct world *w)
{
    start_to_save(w);
    world_do(w, vivi_machine_pause);
    w->machine.state = VIV_ST_PAUSED;
    world_do(w, save);
    EXPECT(w, *w->failure == '\0');
    EXPECT(w, rmdir(save_dir) < 0 && errno == ENOTEMPTY);
    world_do(w, vivi_machine_resume);
    w->machine.state = VIV_ST_RUNNING;
    contract_expect_alive(w);
}

/* A refusal is told, and the machine stands still as before. */
static void refused_save_changes_nothing(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t op;

    start_to_save(w);
    op = world_call(w, save, &err); /* it runs: that is the VMM's to refuse */
    EXPECT(w, op != 0);
    EXPECT(w, world_wait_result(w, op)->code == VIV_E_VMM);
    contract_expect_alive(w);
}

/* ---- resets ---- */

static void resets(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t before, op;

    contract_start_to_marker(w);
    before = world_serial_size(w);
    op = world_call(w, vivi_machine_reset, &err);
    EXPECT(w, op != 0 && world_wait_done(w, op));
    EXPECT(w, w->n_reset == 1 && w->boot == 2);
    EXPECT(w, !w->gated || w->boot_offset >= before);
    EXPECT(w, world_wait_logged(w, MARKER, w->boot_offset));
    EXPECT(w, world_result(w, op)->times == 1);
    contract_expect_alive(w);
}

static void guest_reboots(struct world *w)
{
    contract_start_to_marker(w);
    for (unsigned i = 1; i <= 3 && !*w->failure; i++) {
        uint64_t before;

        contract_expect_alive(w);
        before = world_serial_size(w);
        w->n_reset = 0;
        world_type(w, "r");
        EXPECT(w, world_wait(w, is_reset, "RESET after a reboot by the guest"));
        EXPECT(w, w->boot == i + 1 && world_boot_began_at(w, before));
        EXPECT(w, world_wait_logged(w, MARKER, w->boot_offset));
    }
    EXPECT(w, w->n_ending == 0);
    contract_expect_alive(w);
}

static void silent_resets_count_once(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t op;

    /* The second comes before the new boot can have printed anything. */
    contract_start_to_marker(w);
    op = world_call(w, vivi_machine_reset, &err);
    EXPECT(w, op != 0 && world_wait_done(w, op));
    op = world_call(w, vivi_machine_reset, &err);
    EXPECT(w, op != 0 && world_wait_done(w, op));
    EXPECT(w, world_wait_logged(w, MARKER, w->boot_offset));
    EXPECT(w, w->boot == 2 || w->boot_offset > 0);
    if (w->boot == 3) /* it had printed: then both count */
        EXPECT(w, w->n_reset == 2);
    else
        EXPECT(w, w->n_reset == 1);
}

static void pauses_during_a_reset(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t reset, pause;

    contract_start_to_marker(w);
    reset = world_call(w, vivi_machine_reset, &err);
    pause = world_call(w, vivi_machine_pause, &err);
    EXPECT(w, reset != 0 && pause != 0);
    EXPECT(w, world_wait_done(w, pause) && world_wait_done(w, reset));
    w->machine.state = VIV_ST_PAUSED;
    world_do(w, vivi_machine_query);
    EXPECT(w, w->state == VIV_ST_PAUSED);
    world_do(w, vivi_machine_resume);
    EXPECT(w, world_wait_logged(w, MARKER, w->boot_offset));
}

/* ---- endings ---- */

static void guest_powers_off(struct world *w)
{
    contract_start_to_marker(w);
    world_type(w, "p");
    EXPECT(w, world_wait_exit(w));
    EXPECT(w, w->n_ending == 1 && w->reason == VIVI_REASON_GUEST_POWEROFF);
    EXPECT(w, WIFEXITED(w->wstatus) && WEXITSTATUS(w->wstatus) == 0);
}

static void obeys_the_power_button(struct world *w)
{
    contract_start_to_marker(w);
    world_do(w, vivi_machine_power_button);
    EXPECT(w, world_wait_exit(w));
    EXPECT(w, w->n_ending == 1 && w->reason == VIVI_REASON_GUEST_POWEROFF);
}

static void button_may_be_ignored(struct world *w)
{
    contract_start_to_marker(w);
    world_type(w, "i");
    contract_expect_alive(w);
    world_do(w, vivi_machine_power_button);
    contract_expect_alive(w);
    EXPECT(w, w->n_ending == 0);
}

/* Whether somebody answers in the guest is not promised: only that bytes can be sent. */
static void open_channel(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t op = world_call(w, vivi_machine_agent_connect, &err);
    const struct done_record *done;
    int fd, error = 0;
    socklen_t len = sizeof(error);

    EXPECT(w, op != 0);
    EXPECT(w, world_wait_done(w, op));
    done = world_result(w, op);
    fd = done->fd;
    EXPECT(w, fd > 2 && done->times == 1);
    EXPECT(w, (fcntl(fd, F_GETFL) & O_NONBLOCK) && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
    EXPECT(w, getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0);
    EXPECT(w, send(fd, "", 1, MSG_NOSIGNAL) == 1);
    (void)close(fd);
}

static void opens_the_agents_channel(struct world *w)
{
    contract_start_to_marker(w);
    open_channel(w);
    open_channel(w);
    contract_expect_alive(w);
    world_adopted(w);
    open_channel(w);
    contract_expect_alive(w);
    world_do(w, vivi_machine_quit);
    EXPECT(w, world_wait_exit(w));
}

static void tells_a_panic(struct world *w)
{
    contract_start_to_marker(w);
    world_type(w, "k");
    EXPECT(w, world_wait(w, is_ending, "ENDING after a panic"));
    EXPECT(w, w->reason == VIVI_REASON_GUEST_PANIC);
    EXPECT(w, world_wait_exit(w));
    EXPECT(w, w->n_ending == 1);
}

static void killed_vmm_ends_operations(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t op;

    contract_start_to_marker(w);
    world_kill(w, SIGSTOP);
    op = world_call(w, vivi_machine_query, &err);
    EXPECT(w, op != 0);
    world_kill(w, SIGKILL);
    (void)world_wait_result(w, op);
    EXPECT(w, world_wait_exit(w));
    EXPECT(w, world_result(w, op)->times == 1 && world_result(w, op)->code == VIV_E_IO);
    EXPECT(w, WIFSIGNALED(w->wstatus) && WTERMSIG(w->wstatus) == SIGKILL);
    EXPECT(w, w->n_ending == 0);
    EXPECT(w, world_call(w, vivi_machine_query, &err) == 0 && err.code == VIV_E_IO);
}

/* ---- adoption ---- */

static void adopts_running(struct world *w)
{
    contract_start_to_marker(w);
    for (int i = 0; i < 5 && !*w->failure; i++) {
        world_adopted(w);
        EXPECT(w, w->state == VIV_ST_RUNNING);
        contract_expect_alive(w);
    }
    EXPECT(w, w->n_reset == 0 && w->n_ending == 0 && w->n_created == 1);
    world_do(w, vivi_machine_quit);
    EXPECT(w, world_wait_exit(w));
}

static void adopts_paused(struct world *w)
{
    contract_start_to_marker(w);
    world_do(w, vivi_machine_pause);
    world_adopted(w);
    EXPECT(w, w->state == VIV_ST_PAUSED);
    world_do(w, vivi_machine_resume);
    w->machine.state = VIV_ST_RUNNING;
    contract_expect_alive(w);
}

static void adopts_what_never_ran(struct world *w)
{
    world_spawn(w);
    world_adopted(w);
    EXPECT(w, w->state == VIV_ST_RUNNING);
    EXPECT(w, world_wait_logged(w, MARKER, 0));
    EXPECT(w, w->n_reset == 0);
}

static bool event_was_written(struct world *w)
{
    for (size_t i = 0; i < w->n_streams; i++)
        if (w->streams[i].to_driver && w->streams[i].size > w->streams[i].typed_at)
            return true;
    return false;
}

static void adopts_after_an_unseen_reboot(struct world *w)
{
    uint64_t before;

    contract_start_to_marker(w);
    before = world_serial_size(w);
    world_monitor_dies(w);
    world_type(w, "r");
    EXPECT(w, world_wait(w, event_was_written, "the reboot's event"));
    world_adopted(w);
    EXPECT(w, world_wait(w, is_reset, "RESET after adoption"));
    EXPECT(w, w->boot == 2 && world_boot_began_at(w, before));
    EXPECT(w, world_wait_logged(w, MARKER, w->boot_offset));
    contract_expect_alive(w);
}

static void adopts_after_an_unseen_poweroff(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;

    contract_start_to_marker(w);
    world_monitor_dies(w);
    world_type(w, "p");
    EXPECT(w, world_wait(w, event_was_written, "the power-off's event"));
    (void)world_adopt(w, &err); /* a VMM that does not wait for us is gone, or going */
    EXPECT(w, world_wait_exit(w));
    EXPECT(w, w->n_ending == 1 && w->reason == VIVI_REASON_GUEST_POWEROFF);
}

static void adopts_after_an_unseen_panic(struct world *w)
{
    contract_start_to_marker(w);
    world_monitor_dies(w);
    world_type(w, "k");
    EXPECT(w, world_wait(w, event_was_written, "the panic's event"));
    world_adopted(w);
    EXPECT(w, world_wait_exit(w));
    EXPECT(w, w->n_ending == 1 && w->reason == VIVI_REASON_GUEST_PANIC);
}

static void tells_why_a_dead_vmm_ended(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;

    contract_start_to_marker(w);
    world_monitor_dies(w);
    world_type(w, "p");
    EXPECT(w, world_wait(w, event_was_written, "the power-off's event"));
    world_kill(w, SIGKILL);
    EXPECT(w, world_wait_exit(w));
    EXPECT(w, world_adopt(w, &err) == 0);
    EXPECT(w, err.code == VIV_E_BUSY || err.code == VIV_E_NOT_FOUND);
    EXPECT(w, w->n_ending == 1 && w->reason == VIVI_REASON_GUEST_POWEROFF);
}

static void refuses_a_dead_vmm(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;

    contract_start_to_marker(w);
    world_monitor_dies(w);
    world_kill(w, SIGKILL);
    EXPECT(w, world_wait_exit(w));
    EXPECT(w, world_adopt(w, &err) == 0);
    EXPECT(w, err.code == VIV_E_BUSY || err.code == VIV_E_NOT_FOUND);
    EXPECT(w, w->n_ending == 0);
}

/*
 * The monitor dies after n callbacks from a reboot on, for every n: each reboot counts exactly
 * once, and the guest always goes on.
 */
static void monitor_dies_at_every_step_of_a_reboot(struct world *w)
{
    contract_start_to_marker(w);
    for (unsigned n = 0; n < SWEEP_MAX && !*w->failure; n++) {
        uint64_t boot = w->boot, size = world_serial_size(w);

        world_type(w, "r");
        for (unsigned i = 0; i < n && w->boot == boot; i++)
            (void)poll_loop_step(&w->loop, 2);
        for (unsigned i = 0; i < n % 7; i++)
            (void)poll_loop_step(&w->loop, 2);
        world_adopted(w);
        EXPECT(w, world_wait_logged(w, MARKER, size));
        if (w->boot != boot + 1)
            (void)snprintf(w->failure, sizeof(w->failure), "after step %u: boot %u, not %u", n,
                           (unsigned)w->boot, (unsigned)boot + 1);
        EXPECT(w, world_boot_began_at(w, size));
        EXPECT(w, w->state == VIV_ST_RUNNING);
        contract_expect_alive(w);
    }
    EXPECT(w, w->n_ending == 0);
}

static void monitor_dies_at_every_step_of_a_start(struct world *w)
{
    const struct vivi_driver *d = w->driver;

    for (unsigned n = 0; n < 16 && !*w->failure; n++) {
        char failure[sizeof(w->failure)];

        world_spawn(w);
        (void)world_begin(w);
        for (unsigned i = 0; i < n; i++)
            if (poll_loop_step(&w->loop, 200) == 0)
                break; /* all that could happen has */
        world_adopted(w);
        EXPECT(w, w->state == VIV_ST_RUNNING);
        EXPECT(w, world_wait_logged(w, MARKER, 0));
        EXPECT(w, w->n_reset == 0 && w->n_ending == 0);
        contract_expect_alive(w);
        world_done(w);
        memcpy(failure, w->failure, sizeof(failure));
        world_init(w, d, NULL);
        if (*failure)
            memcpy(w->failure, failure, sizeof(failure));
    }
}

/* ---- VMMs that misbehave ---- */

static void carries_the_vmms_words(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t op;

    contract_start_to_marker(w);
    op = world_call(w, vivi_machine_pause, &err);
    EXPECT(w, op != 0);
    (void)world_wait_result(w, op);
    EXPECT(w, world_result(w, op)->code == VIV_E_VMM);
    EXPECT(w, strcmp(world_result(w, op)->message, "viv-fake: pause: no mood") == 0);
    contract_expect_alive(w);
}

static void refused_start_ends_the_operation(struct world *w)
{
    uint64_t op;

    world_spawn(w);
    op = world_begin(w);
    if (op == 0) { /* it was gone before we came: just as good */
        w->failure[0] = '\0';
        EXPECT(w, world_wait_exit(w));
    }
    EXPECT(w, world_wait_exit(w));
    EXPECT(w, op == 0 || world_wait_result(w, op)->code == VIV_E_IO);
    EXPECT(w, WIFEXITED(w->wstatus) && WEXITSTATUS(w->wstatus) == 3);
}

static void silent_vmm_is_left_cleanly(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t op;

    contract_start_to_marker(w);
    op = world_call(w, vivi_machine_pause, &err);
    EXPECT(w, op != 0);
    world_do(w, vivi_machine_query);
    EXPECT(w, world_result(w, op) == NULL); /* its deadline is the monitor's business */
}

static void own_exit_needs_no_ending(struct world *w)
{
    world_start(w);
    EXPECT(w, world_wait_exit(w));
    EXPECT(w, WIFEXITED(w->wstatus) && WEXITSTATUS(w->wstatus) == 5);
    EXPECT(w, w->n_ending == 0);
}

static void noise_among_the_events_is_skipped(struct world *w)
{
    contract_start_to_marker(w);
    world_type(w, "r");
    EXPECT(w, world_wait(w, is_reset, "RESET behind noise"));
    EXPECT(w, w->boot == 2);
}

/* ---- Linux ---- */

static bool is_reset_once(struct world *w)
{
    return w->boot == 2;
}

static void linux_gets_ready(struct world *w)
{
    contract_start_to_marker(w);
    if (w->config.n_nets > 0)
        EXPECT(w, world_wait_logged(w, "VMRS_READY 10.0.2.15 0123456789abcdef", 0));
    EXPECT(w, world_wait_logged(w, " 0123456789abcdef", 0));
    EXPECT(w, world_logged(w, "disk vda 8388608 bytes serial root", 0));
    EXPECT(w, world_logged(w, "disk vdb 4194304 bytes serial data", 0));
    EXPECT(w, world_logged(w, ", 2 CPU, ", 0));
    world_do(w, vivi_machine_power_button);
    EXPECT(w, world_wait_exit(w));
    EXPECT(w, w->n_ending == 1 && w->reason == VIVI_REASON_GUEST_POWEROFF);
    EXPECT(w, world_logged(w, "power button", 0));
}

static void linux_reboots(struct world *w)
{
    contract_start_to_marker(w);
    EXPECT(w, world_wait(w, is_reset_once, "RESET after a reboot of Linux"));
    EXPECT(w, world_wait_logged(w, "vivarium-guest: Linux", w->boot_offset));
    EXPECT(w, world_wait_logged(w, MARKER, w->boot_offset));
    EXPECT(w, w->n_reset == 1 || w->boot == 3);
}

static void linux_panics(struct world *w)
{
    contract_start_to_marker(w);
    EXPECT(w, world_wait(w, is_ending, "ENDING after a panic of Linux"));
    EXPECT(w, w->reason == VIVI_REASON_GUEST_PANIC);
    EXPECT(w, world_wait_exit(w));
}

const struct contract_case contract_cases[] = {
    {"starts, tells api, created, running, and is done once", -1, NULL, starts},
    {"answers a query with its state", VIVI_CAP_STATE, NULL, answers_query},
    {"quits: done once, exit status 0, no reason of its own", VIVI_CAP_KILL, NULL, quits},
    {"ends by SIGTERM", -1, NULL, sigterm_ends},
    {"pauses and resumes: the guest stands still meanwhile", VIVI_CAP_PAUSE, NULL, pauses},
    {"what the state forbids is refused by name and changes nothing", VIVI_CAP_PAUSE, NULL,
     refuses_by_state},
    {"a machine that stands still is saved, and goes on", VIVI_CAP_SNAPSHOT, NULL, saves},
    {"a save that the VMM refuses changes nothing", VIVI_CAP_SNAPSHOT, NULL,
     refused_save_changes_nothing},
    {"resets: RESET with the log's size, then done", VIVI_CAP_RESET, NULL, resets},
    {"a reboot by the guest is told with the exact offset", VIVI_CAP_RESET, NULL, guest_reboots},
    {"resets with no serial byte between them count once", VIVI_CAP_RESET, NULL,
     silent_resets_count_once},
    {"a pause during a reset leaves the new boot paused", VIVI_CAP_PAUSE, NULL,
     pauses_during_a_reset},
    {"a power-off by the guest is told and ends the VMM", -1, NULL, guest_powers_off},
    {"the power button reaches the guest", VIVI_CAP_POWER_BUTTON, NULL, obeys_the_power_button},
    {"a guest may ignore the power button", VIVI_CAP_POWER_BUTTON, NULL, button_may_be_ignored},
    {"a panic is told and ends the VMM", VIVI_CAP_CRASH_NOTICE, NULL, tells_a_panic},
    {"a killed VMM ends what was under way, each once", -1, NULL, killed_vmm_ends_operations},
    {"a channel to the agent opens, also after it was closed, and after adoption", VIVI_CAP_AGENT,
     NULL, opens_the_agents_channel},
    {"a running machine is adopted, again and again", VIVI_CAP_ADOPT, NULL, adopts_running},
    {"a paused machine is adopted paused", VIVI_CAP_ADOPT, NULL, adopts_paused},
    {"a machine that was never told to run is adopted and runs", VIVI_CAP_ADOPT, NULL,
     adopts_what_never_ran},
    {"a reboot that nobody saw is told after adoption", VIVI_CAP_ADOPT, NULL,
     adopts_after_an_unseen_reboot},
    {"a power-off that nobody saw is told after adoption", VIVI_CAP_ADOPT, NULL,
     adopts_after_an_unseen_poweroff},
    {"a panic that nobody saw is told after adoption", VIVI_CAP_CRASH_NOTICE, NULL,
     adopts_after_an_unseen_panic},
    {"a dead VMM is not adopted, and its event log tells why it ended", VIVI_CAP_ADOPT, NULL,
     tells_why_a_dead_vmm_ended},
    {"a dead VMM that said nothing is not adopted", VIVI_CAP_ADOPT, NULL, refuses_a_dead_vmm},
    {"the monitor dies at every step of a reboot: it counts once", VIVI_CAP_ADOPT, NULL,
     monitor_dies_at_every_step_of_a_reboot},
    {"the monitor dies at every step of a start: the guest runs", VIVI_CAP_ADOPT, NULL,
     monitor_dies_at_every_step_of_a_start},
    {"an error carries the VMM's own words", -1, "keys; fail verb=pause text=\"no mood\"",
     carries_the_vmms_words},
    {"a VMM that ends at once ends the start", -1, "refuse-start code=3 text=no",
     refused_start_ends_the_operation},
    {"a VMM that does not answer is left cleanly", -1, "hang verb=pause",
     silent_vmm_is_left_cleanly},
    {"a VMM that ends by itself needs no reason from the driver", -1, "exit after=20ms code=5",
     own_exit_needs_no_ending},
    {"noise among the events is skipped", -1,
     "keys; event text=\"garbage\\n\\0\\xff\\nreset\\nend\\n\"; event after=1ms text=\"half\\n\"",
     noise_among_the_events_is_skipped},
    {"Linux gets ready with its disks and CPUs, and obeys the button", VIVI_CAP_BOOT_KERNEL, NULL,
     linux_gets_ready, ""},
    {"Linux reboots: one RESET, and the new boot gets ready", VIVI_CAP_BOOT_KERNEL, NULL,
     linux_reboots, "vivguest.reboot=200"},
    {"Linux panics: told as such", VIVI_CAP_CRASH_NOTICE, NULL, linux_panics, "vivguest.panic=100"},
    {"a disk is added; a second one of its name is refused", VIVI_CAP_DISK_HOTPLUG, NULL,
     hot_adds_a_disk},
    {"a disk leaves: told once, then done", VIVI_CAP_DISK_HOTPLUG, "keys; unplug after=20ms",
     hot_removes_a_disk},
    {"a guest that keeps a disk leaves its removal open, and may be asked again",
     VIVI_CAP_DISK_HOTPLUG, "keys; busy n=1", hot_waits_for_a_busy_guest},
    {"a guest's refusal is told in its words", VIVI_CAP_DISK_HOTPLUG,
     "keys; keep text=\"it is mounted\"", hot_carries_a_refusal},
    {"the monitor dies while a disk leaves: asked again, it is gone", VIVI_CAP_DISK_HOTPLUG,
     "keys; unplug after=20ms", hot_goes_on_after_the_monitors_death},
    {"a disk that leaves without being asked is told", VIVI_CAP_DISK_HOTPLUG,
     "keys; event after=5ms text=\"removed disk data\\n\"", hot_leaves_by_itself},
    {"CPUs change: progress, then done; the same again is done at once", VIVI_CAP_CPU_HOTPLUG,
     "keys; settle after=20ms", hot_resizes_cpus},
    {"a disk grows", VIVI_CAP_DISK_RESIZE, NULL, hot_resizes_a_disk},
    {"counters count each disk", VIVI_CAP_COUNTERS, NULL, hot_counts},
    {"a VMM that ends ends the changes that wait for its guest, each once", VIVI_CAP_DISK_HOTPLUG,
     "keys; busy", hot_ends_with_the_vmm},
    {"Linux takes a disk and lets go of it", VIVI_CAP_DISK_HOTPLUG, NULL,
     hot_linux_lets_go_of_a_disk, ""},
    {"Linux takes and gives back CPUs, memory and what a balloon wants", VIVI_CAP_CPU_HOTPLUG, NULL,
     hot_linux_changes_its_sizes, ""},
    {"an interrupt is injected", VIVI_CAP_NMI, NULL, call_injects_an_nmi},
    {"a core is written, and the machine goes on", VIVI_CAP_COREDUMP, NULL, call_writes_a_core},
    {"a raw call is answered in the VMM's words, or refused", -1, NULL,
     call_passes_on_what_others_say},
    {"Linux sees the interrupt", VIVI_CAP_NMI, NULL, call_linux_sees_the_nmi, ""},
    {"what is given as firmware gets control", VIVI_CAP_BOOT_FIRMWARE, NULL,
     contract_start_to_marker, NULL, true},
};
const size_t n_contract_cases = ARRAY_SIZE(contract_cases);
