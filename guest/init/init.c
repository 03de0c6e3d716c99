/*
 * init.c: process 1 of the demo guest and of the KVM lab.
 *
 * Order: file systems, command line, consoles, the drivers that readiness needs, NICs; then one
 * poll loop over signals (children, `poweroff`, `reboot`, DHCP), power buttons, consoles and
 * deadlines. As soon as there is an address the line "VMRS_READY <address>[ <nonce>]" is printed on
 * every console; drivers that nobody waits for are loaded after it, the shell starts after it.
 * Nothing in the loop blocks, so the power button always works. Only a shutdown waits, with
 * deadlines.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "console.h"
#include "lab.h"
#include "net.h"
#include "options.h"
#include "root.h"
#include "shell.h"
#include "system.h"
#include "workload.h"

#define NEVER                 UINT64_MAX
#define NET_TIMEOUT_MS        15000
#define SHELL_WITHOUT_NET_MS  5000
#define SHELL_RESPAWN_MS      1000
#define AGENT                 "/sbin/viv-agent"
#define AGENT_RESPAWN_MS      500
#define AGENT_RESPAWN_MAX_MS  60000 /* also how long it must have run to be trusted again */
#define CHILDREN_END_MS       500
#define MARKER_DRAIN_MS       1000
#define LAST_WORDS_PRIMARY_MS 60000 /* a slow reader shall still get them */
#define LAST_WORDS_OTHERS_MS  1000
#define NO_NIC_ADDRESS        "127.0.0.1"

struct guest {
    struct guest_options options;
    struct guest_consoles consoles;
    struct guest_nics nics;
    struct guest_workload workload;
    int signal_fd;
    int buttons[GUEST_MAX_BUTTONS];
    size_t buttons_n;
    char address[GUEST_ADDR_SIZE]; /* "" = not known yet */
    uint64_t net_until_ms;         /* then it becomes ready without a lease */
    uint64_t ready_at_ms;
    bool booted; /* the marker was printed, or would have been */
    uint64_t panic_at_ms, reboot_at_ms, poweroff_at_ms;
    pid_t shell; /* keeper of the shell; 0 = not running */
    uint64_t shell_at_ms;
    pid_t setup; /* makes the links that commands are found by; then the agent may begin */
    pid_t agent; /* 0 = not running */
    uint64_t agent_at_ms, agent_began_ms, agent_wait_ms;
};

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void open_signals(struct guest *g)
{
    const int wanted[] = {SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
    sigset_t set;

    (void)sigemptyset(&set);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        (void)sigaddset(&set, wanted[i]);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    g->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* Ends what runs; waits for it, but not for ever. */
static void end_children(void)
{
    uint64_t end_ms = guest_now_ms() + CHILDREN_END_MS;

    (void)kill(-1, SIGTERM);
    (void)kill(-1, SIGHUP); /* an interactive shell ignores SIGTERM */
    while (waitpid(-1, NULL, WNOHANG) >= 0 && guest_now_ms() < end_ms)
        (void)poll(NULL, 0, 5);
    (void)kill(-1, SIGKILL);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
}

static void stop_machine(struct guest *g, bool restart, const char *why)
{
    struct guest_consoles *c = &g->consoles;

    guest_log(c, "%s, shutting down", why);
    if (g->options.stop_delay_ms > 0)
        (void)poll(NULL, 0, (int)smaller(g->options.stop_delay_ms, 600000));
    end_children();
    guest_consoles_mute_kernel(true); /* nothing of the kernel's may cut the last line */
    guest_log(c, "syncing and %s", restart ? "restarting" : "powering off");
    sync();
    guest_consoles_drain(c, LAST_WORDS_PRIMARY_MS, LAST_WORDS_OTHERS_MS);
    if (restart)
        guest_restart();
    guest_power_off();
}

static void start_shell(struct guest *g)
{
    char path[32];

    (void)snprintf(path, sizeof(path), "/dev/%s", guest_consoles_primary(&g->consoles));
    g->shell = guest_shell_start(path);
    g->shell_at_ms = NEVER;
}

/* What commands in the guest are called: a link to busybox for each of them. */
static void start_setup(struct guest *g)
{
    static const char *const argv[] = {"/bin/busybox", "--install", "-s", "/bin", NULL};

    g->agent_at_ms = NEVER;
    g->agent_wait_ms = AGENT_RESPAWN_MS;
    if (access(AGENT, X_OK) == 0)
        g->setup = guest_spawn(argv);
}

static void start_agent(struct guest *g)
{
    static const char *const argv[] = {AGENT, "--quiet", NULL};

    g->agent = guest_spawn(argv);
    g->agent_began_ms = guest_now_ms();
    g->agent_at_ms = NEVER;
}

/* It is started again, after a while that doubles as long as it does not stay. */
static void agent_ended(struct guest *g)
{
    uint64_t now_ms = guest_now_ms();

    g->agent = 0;
    if (now_ms - g->agent_began_ms >= AGENT_RESPAWN_MAX_MS)
        g->agent_wait_ms = AGENT_RESPAWN_MS;
    g->agent_at_ms = now_ms + g->agent_wait_ms;
    g->agent_wait_ms = smaller(g->agent_wait_ms * 2, AGENT_RESPAWN_MAX_MS);
    guest_log(&g->consoles, "the agent has ended");
}

static void reap(struct guest *g)
{
    pid_t pid;

    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
        if (pid == g->shell) {
            g->shell = 0;
            g->shell_at_ms = guest_now_ms() + SHELL_RESPAWN_MS;
        } else if (pid == g->setup) {
            g->setup = 0;
            g->agent_at_ms = 0;
        } else if (pid == g->agent) {
            agent_ended(g);
        }
    }
}

/* Looks for an address; without any NIC, or when the time is over, the guest is ready all the same.
 */
static void find_address(struct guest *g)
{
    bool expired = guest_now_ms() >= g->net_until_ms;

    if (g->address[0] != '\0')
        return;
    if (guest_net_address(&g->nics, expired, g->address)) {
        g->ready_at_ms = guest_now_ms() + g->options.ready_delay_ms;
        return;
    }
    if (!expired && g->nics.n > 0 && !g->options.ip.off)
        return;
    if (g->nics.n > 0 && !g->options.ip.off)
        guest_log(&g->consoles, "no DHCP answer after %d s", NET_TIMEOUT_MS / 1000);
    (void)snprintf(g->address, sizeof(g->address), NO_NIC_ADDRESS);
    g->ready_at_ms = guest_now_ms() + g->options.ready_delay_ms;
}

static void print_marker(struct guest *g)
{
    const struct guest_options *o = &g->options;
    const char *addr = o->ready_addr[0] != '\0' ? o->ready_addr : g->address;
    const char *nonce = o->ready_nonce[0] != '\0' ? o->ready_nonce : o->nonce;
    struct timespec up = {0};
    char line[GUEST_ADDR_SIZE * 2 + 160];

    if (o->noready)
        return;
    (void)snprintf(line, sizeof(line), "VMRS_READY %s%s%s\n", addr, nonce[0] != '\0' ? " " : "",
                   nonce);
    guest_consoles_mute_kernel(true);
    guest_consoles_say(&g->consoles, line);
    guest_consoles_drain(&g->consoles, MARKER_DRAIN_MS, MARKER_DRAIN_MS);
    guest_consoles_mute_kernel(o->count || o->flood != GUEST_FLOOD_NONE);
    (void)clock_gettime(CLOCK_BOOTTIME, &up);
    guest_log(&g->consoles, "ready %lld ms after the kernel began",
              (long long)up.tv_sec * 1000 + up.tv_nsec / 1000000);
}

/* Drivers that no readiness needs; in a child, so that the loop goes on. */
static void load_late_modules(struct guest *g)
{
    if (fork() == 0) {
        guest_load_modules(&g->consoles, "/etc/modules.late");
        _exit(0);
    }
}

static void become_ready(struct guest *g)
{
    const struct guest_options *o = &g->options;
    uint64_t now_ms = guest_now_ms();

    g->booted = true;
    print_marker(g);
    load_late_modules(g);
    g->panic_at_ms = o->panic ? now_ms + o->panic_ms : NEVER;
    g->reboot_at_ms = o->reboot ? now_ms + o->reboot_ms : NEVER;
    g->poweroff_at_ms = o->poweroff ? now_ms + o->poweroff_ms : NEVER;
    guest_workload_start(&g->workload, now_ms);
    if (g->shell == 0)
        g->shell_at_ms = now_ms;
}

static void handle_signals(struct guest *g)
{
    struct signalfd_siginfo info;

    while (read(g->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        switch ((int)info.ssi_signo) {
        case SIGCHLD: reap(g); break;
        case SIGHUP: find_address(g); break;
        case SIGINT:
        case SIGTERM: stop_machine(g, true, "reboot asked for"); break;
        default: stop_machine(g, false, "poweroff asked for"); break;
        }
    }
}

static void handle_buttons(struct guest *g)
{
    for (size_t i = 0; i < g->buttons_n; i++) {
        if (!guest_button_pressed(g->buttons[i]))
            continue;
        if (g->options.nobutton)
            guest_log(&g->consoles, "power button, ignored");
        else
            stop_machine(g, false, "power button");
    }
}

static void start_children(struct guest *g, uint64_t now_ms)
{
    if (g->shell == 0 && now_ms >= g->shell_at_ms && !g->options.noshell)
        start_shell(g);
    if (g->agent == 0 && now_ms >= g->agent_at_ms)
        start_agent(g);
}

static void handle_deadlines(struct guest *g)
{
    uint64_t now_ms = guest_now_ms();
    enum guest_wish wish;

    if (!g->booted && now_ms >= g->net_until_ms)
        find_address(g);
    if (!g->booted && g->address[0] != '\0' && now_ms >= g->ready_at_ms)
        become_ready(g);
    if (now_ms >= g->panic_at_ms)
        guest_crash();
    if (now_ms >= g->reboot_at_ms)
        stop_machine(g, true, "reboot by command line");
    if (now_ms >= g->poweroff_at_ms)
        stop_machine(g, false, "poweroff by command line");
    start_children(g, now_ms);
    wish = guest_workload_run(&g->workload, &g->consoles, &g->options, now_ms);
    if (wish == GUEST_WISH_REBOOT)
        stop_machine(g, true, "reboot after the last line");
    else if (wish == GUEST_WISH_POWER_OFF)
        stop_machine(g, false, "poweroff after the last line");
}

static int poll_timeout_ms(const struct guest *g)
{
    uint64_t now_ms = guest_now_ms();
    uint64_t next_ms = NEVER;

    if (!g->booted)
        next_ms = smaller(g->net_until_ms, g->address[0] != '\0' ? g->ready_at_ms : NEVER);
    if (g->shell == 0 && !g->options.noshell)
        next_ms = smaller(next_ms, g->shell_at_ms);
    if (g->agent == 0)
        next_ms = smaller(next_ms, g->agent_at_ms);
    next_ms = smaller(next_ms, smaller(g->panic_at_ms, g->reboot_at_ms));
    next_ms = smaller(next_ms, g->poweroff_at_ms);
    if (!guest_consoles_busy(&g->consoles)) /* else POLLOUT says when */
        next_ms = smaller(next_ms, guest_workload_next_ms(&g->workload, &g->options));
    if (next_ms == NEVER)
        return -1;
    return next_ms <= now_ms ? 0 : (int)smaller(next_ms - now_ms, 60000);
}

static void loop(struct guest *g)
{
    struct pollfd fds[1 + GUEST_MAX_BUTTONS + GUEST_MAX_CONSOLES];
    size_t n;

    for (;;) {
        handle_deadlines(g);
        n = 0;
        fds[n++] = (struct pollfd){.fd = g->signal_fd, .events = POLLIN};
        for (size_t i = 0; i < g->buttons_n; i++)
            fds[n++] = (struct pollfd){.fd = g->buttons[i], .events = POLLIN};
        n += guest_consoles_poll(&g->consoles, fds + n, GUEST_MAX_CONSOLES);
        (void)poll(fds, (nfds_t)n, poll_timeout_ms(g));
        guest_consoles_flush(&g->consoles);
        handle_signals(g);
        handle_buttons(g);
    }
}

static void log_machine(struct guest *g)
{
    struct utsname name = {0};
    struct sysinfo info = {0};

    (void)uname(&name);
    (void)sysinfo(&info);
    guest_log(&g->consoles, "Linux %s, %ld CPU, %llu MiB", name.release,
              sysconf(_SC_NPROCESSORS_ONLN),
              (unsigned long long)info.totalram * info.mem_unit / 1048576);
}

/* Everything up to the loop that the demo guest has and the lab has not. */
static void begin_demo(struct guest *g)
{
    struct guest_consoles *c = &g->consoles;
    uint64_t now_ms = guest_now_ms();

    (void)sethostname("demo", 4);
    g->buttons_n = guest_buttons_open(g->buttons);
    start_setup(g);
    guest_nics_find(&g->nics);
    g->net_until_ms = now_ms + NET_TIMEOUT_MS;
    g->shell_at_ms = now_ms + SHELL_WITHOUT_NET_MS;
    guest_net_begin(c, &g->nics, &g->options.ip);
    log_machine(g);
    guest_log_disks(c);
    if (g->options.disk_test[0] != '\0')
        guest_disk_test(c, g->options.disk_test);
    if (g->buttons_n == 0)
        guest_log(c, "no power button");
    guest_write_text("/sys/devices/system/memory/auto_online_blocks", "online_movable");
    find_address(g);
}

int main(int argc, char **argv)
{
    static struct guest guest; /* zeroed, and too large for comfort on a stack */
    struct guest *g = &guest;
    char cmdline[4096];

    if (getpid() != 1)
        return guest_dhcp_event(argc > 1 ? argv[1] : "");

    (void)umask(022);
    guest_mount_basics();
    guest_read_text("/proc/cmdline", cmdline, sizeof(cmdline));
    guest_options_parse(cmdline, &g->options);
    g->panic_at_ms = g->reboot_at_ms = g->poweroff_at_ms = NEVER;
    (void)reboot(RB_DISABLE_CAD);
    guest_consoles_open(&g->consoles);
    guest_load_modules(&g->consoles, "/etc/modules.early");
    guest_consoles_open(&g->consoles); /* virtio consoles have come */
    if (g->options.lab[0] != '\0') {
        guest_lab_run(&g->consoles, &g->options);
        guest_power_off();
    }
    if (g->options.root[0] != '\0')
        guest_root_switch(&g->consoles, g->options.root);
    open_signals(g);
    begin_demo(g);
    loop(g);
    return 0;
}
