/* system.c: clock, identity, what was plugged in, and the end of the guest. */
#include "agent.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S        1000000000u
#define ENTROPY_BYTES   512u
#define MACHINE_ID      "/etc/machine-id"
#define ANSWER_FIRST_MS 100
#define ONLINE_LOOK_MS  20
#define ONLINE_WAIT_MS  20000

int work_clock(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err)
{
    uint64_t ns = 0, within = 0, before, diff;
    struct timespec now = {0}, to;
    char text[32];
    int r = vivi_aw_field_u64(q, "realtime_ns", INT64_MAX, &ns, err);

    if (r == 0)
        r = vivi_aw_field_u64(q, "within_ns", INT64_MAX, &within, err);
    if (r < 0)
        return r;
    if (ns == 0)
        return vivi_fail(err, VIV_E_INVALID, "realtime_ns: missing");
    (void)clock_gettime(CLOCK_REALTIME, &now);
    before = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
    to.tv_sec = (time_t)(ns / NS_PER_S);
    to.tv_nsec = (long)(ns % NS_PER_S);
    diff = ns > before ? ns - before : before - ns;
    if (diff <= within)
        diff = 0;
    else if (clock_settime(CLOCK_REALTIME, &to) < 0)
        return vivi_fail_errno(err, errno, "cannot set the clock");
    (void)snprintf(text, sizeof(text), "%s%llu", diff > 0 && ns < before ? "-" : "",
                   (unsigned long long)diff);
    vivi_aw_put(ret, "adjusted_ns", text);
    return 0;
}

/* ---- identity ------------------------------------------------------------------------------- */

static int unhex(const char *text, unsigned char *ret, size_t cap, size_t *ret_len)
{
    size_t len = strlen(text);

    if (len % 2 != 0 || len / 2 > cap || strspn(text, "0123456789abcdefABCDEF") != len)
        return -1;
    for (size_t i = 0; i < len / 2; i++) {
        const char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};

        ret[i] = (unsigned char)strtoul(pair, NULL, 16);
    }
    *ret_len = len / 2;
    return 0;
}

static int renew_entropy(const char *hex, viv_error *err)
{
    union {
        struct rand_pool_info head;
        unsigned char room[sizeof(struct rand_pool_info) + ENTROPY_BYTES];
    } pool = {0};
    cleanup_close int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
    size_t len = 0;

    if (unhex(hex, pool.room + sizeof(pool.head), ENTROPY_BYTES, &len) < 0)
        return vivi_fail(err, VIV_E_INVALID, "entropy: at most %u bytes in hex digits are wanted",
                         ENTROPY_BYTES);
    pool.head.entropy_count = (int)len * 8;
    pool.head.buf_size = (int)len;
    if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) < 0)
        return vivi_fail_errno(err, errno, "cannot add entropy");
    /* Two guests made of one memory image must not go on with the same keys. */
    (void)ioctl(fd, RNDRESEEDCRNG);
    return 0;
}

static int renew_machine_id(const char *id, viv_error *err)
{
    unsigned char bytes[16];
    char text[34], temp[] = MACHINE_ID ".viv-XXXXXX";
    size_t len = 0;
    cleanup_close int fd = -1;

    if (strcmp(id, "new") == 0) {
        if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
            return vivi_fail_errno(err, errno, "no random numbers");
        bytes[6] = (unsigned char)((bytes[6] & 0x0f) | 0x40);
        bytes[8] = (unsigned char)((bytes[8] & 0x3f) | 0x80);
    } else if (unhex(id, bytes, sizeof(bytes), &len) < 0 || len != sizeof(bytes)) {
        return vivi_fail(err, VIV_E_INVALID, "machine_id: 32 hex digits are wanted, or new");
    }
    for (size_t i = 0; i < sizeof(bytes); i++)
        (void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    text[32] = '\n';
    fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot write " MACHINE_ID);
    if (write(fd, text, 33) != 33 || fchmod(fd, 0444) < 0 || rename(temp, MACHINE_ID) < 0) {
        int e = errno;

        (void)unlink(temp);
        return vivi_fail_errno(err, e, "cannot write " MACHINE_ID);
    }
    return 0;
}

/* "eth0=52:54:00:12:34:56" */
static int renew_mac(const char *spec, viv_error *err)
{
    const char *equals = strchr(spec, '=');
    cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {0};
    short flags;
    unsigned mac[6];
    char more;

    if (equals == NULL || (size_t)(equals - spec) >= sizeof(request.ifr_name) ||
        sscanf(equals + 1, "%2x:%2x:%2x:%2x:%2x:%2x%c", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
               &mac[5], &more) != 6)
        return vivi_fail(err, VIV_E_INVALID, "mac: INTERFACE=AA:BB:CC:DD:EE:FF is wanted");
    memcpy(request.ifr_name, spec, (size_t)(equals - spec));
    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
        return vivi_fail_errno(err, errno, "no interface %s", request.ifr_name);
    /* Down for a moment: not every driver changes it while up. */
    flags = request.ifr_flags;
    request.ifr_flags = (short)(flags & ~IFF_UP);
    (void)ioctl(fd, SIOCSIFFLAGS, &request);
    memset(&request.ifr_hwaddr, 0, sizeof(request.ifr_hwaddr));
    request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    for (int i = 0; i < 6; i++)
        request.ifr_hwaddr.sa_data[i] = (char)mac[i];
    if (ioctl(fd, SIOCSIFHWADDR, &request) < 0)
        (void)vivi_fail_errno(err, errno, "cannot change the address of %s", request.ifr_name);
    request.ifr_flags = flags;
    (void)ioctl(fd, SIOCSIFFLAGS, &request);
    return err->code != 0 ? -err->code : 0;
}

static int renew_hostname(const char *name, viv_error *err)
{
    size_t len = strlen(name);
    int fd;

    if (len == 0 || len > 64 || name[0] == '-' || name[0] == '.')
        return vivi_fail(err, VIV_E_INVALID, "hostname: not a name");
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)name[i]) && name[i] != '-' && name[i] != '.')
            return vivi_fail(err, VIV_E_INVALID, "hostname: not a name");
    }
    if (sethostname(name, len) < 0)
        return vivi_fail_errno(err, errno, "cannot set the hostname");
    fd = open("/etc/hostname", O_WRONLY | O_TRUNC | O_CLOEXEC); /* where there is one */
    if (fd >= 0) {
        (void)!write(fd, name, len);
        (void)!write(fd, "\n", 1);
    }
    vivi_close(&fd);
    return 0;
}

int work_renew(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err)
{
    const char *hostname = vivi_aw_field(q->payload, q->len, "hostname");
    const char *machine_id = vivi_aw_field(q->payload, q->len, "machine_id");
    const char *entropy = vivi_aw_field(q->payload, q->len, "entropy");
    const char *mac;
    size_t at = 0;
    int r = entropy != NULL ? renew_entropy(entropy, err) : 0;

    if (r == 0 && machine_id != NULL)
        r = renew_machine_id(machine_id, err);
    if (r == 0 && hostname != NULL)
        r = renew_hostname(hostname, err);
    while (r == 0 && (mac = vivi_aw_field_next(q->payload, q->len, "mac", &at)) != NULL)
        r = renew_mac(mac, err);
    return r;
}

/* ---- what was plugged in -----------------------------------------------------------------------
 */

/*
 * Writes `on` to the file `state` of each entry of a directory that begins with prefix and a digit
 * and does not say so yet. Counts those that were and those that are now.
 */
struct onlining {
    const char *dir, *prefix, *file, *is, *on;
    uint64_t onlined, online;
};

static int bring_online(struct onlining *o, viv_error *err)
{
    cleanup_closedir DIR *d = opendir(o->dir);
    size_t n = strlen(o->prefix);

    if (d == NULL)
        return vivi_fail_errno(err, errno, "cannot read %s", o->dir);
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        char path[400], text[32];

        if (strncmp(e->d_name, o->prefix, n) != 0 || !isdigit((unsigned char)e->d_name[n]))
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s/%s", o->dir, e->d_name, o->file);
        sys_read_text(path, text, sizeof(text));
        if (text[0] == '\0' || strcmp(text, o->is) == 0) { /* the first CPU has no such file */
            o->online++;
        } else {
            int r = sys_write_text(path, o->on, err);

            if (r < 0)
                return r;
            o->onlined++;
            o->online++;
        }
    }
    vivi_error_clear(err);
    return 0;
}

/* The VMM may have said that the CPUs are there before the kernel has found them: looks again until
 * as many as count= are in use. */
int work_online_cpus(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err)
{
    static const struct timespec pause = {.tv_nsec = ONLINE_LOOK_MS * 1000000};
    struct onlining o = {
        .dir = "/sys/devices/system/cpu", .prefix = "cpu", .file = "online", .is = "1", .on = "1"};
    uint64_t wanted = 0;
    int r = vivi_aw_field_u64(q, "count", INT32_MAX, &wanted, err);

    if (r < 0)
        return r;
    for (int waited = 0;; waited += ONLINE_LOOK_MS) {
        o.online = 0;
        r = bring_online(&o, err);
        if (o.online >= wanted || waited >= ONLINE_WAIT_MS || worker_stopped())
            break;
        (void)nanosleep(&pause, NULL);
    }
    vivi_aw_put_u64(ret, "onlined", o.onlined);
    vivi_aw_put_u64(ret, "online", o.online);
    return r;
}

int work_online_memory(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err)
{
    struct onlining o = {.dir = "/sys/devices/system/memory",
                         .prefix = "memory",
                         .file = "state",
                         .is = "online",
                         .on = "online"};
    char text[32];
    int r = bring_online(&o, err);

    sys_read_text("/sys/devices/system/memory/block_size_bytes", text, sizeof(text));
    vivi_aw_put_u64(ret, "onlined", o.onlined);
    vivi_aw_put_u64(ret, "online", o.online);
    vivi_aw_put_u64(ret, "block_bytes", strtoull(text, NULL, 16));
    return r;
}

/* ---- the end of the guest ---------------------------------------------------------------------
 */

enum init { SYSTEMD, OPENRC, BUSYBOX, OUR_INIT, OTHER };

static enum init which_init(void)
{
    char exe[256] = "", comm[32];
    ssize_t n = readlink("/proc/1/exe", exe, sizeof(exe) - 1);

    if (n > 0)
        exe[n] = '\0';
    sys_read_text("/proc/1/comm", comm, sizeof(comm));
    if (access("/run/systemd/system", F_OK) == 0)
        return SYSTEMD;
    if (strstr(exe, "busybox") != NULL)
        return access("/run/openrc", F_OK) == 0 ? OPENRC : BUSYBOX;
    if (access("/run/openrc", F_OK) == 0)
        return OPENRC;
    return strcmp(exe, "/init") == 0 || strcmp(comm, "init") == 0 ? OUR_INIT : OTHER;
}

/* A little later: the answer shall be out before everything, this agent too, is ended. */
static void ask_process_one(int signal_number)
{
    if (fork() != 0)
        return;
    (void)setsid();
    (void)close(CHILD_STATUS_FD);
    (void)poll(NULL, 0, ANSWER_FIRST_MS);
    (void)kill(1, signal_number);
    _exit(0);
}

/*
 * What each process 1 takes for an orderly end. systemd: SIGRTMIN+4 is poweroff, +5 reboot. Busybox
 * (also below OpenRC) and our own: SIGUSR2 and SIGTERM. Anything else is asked by the kernel's
 * Ctrl-Alt-Del for a reboot, and by the commands' own path for the rest: their init's `poweroff`.
 */
static int end_guest(bool reboot_wanted, struct vivi_aw_writer *ret, viv_error *err)
{
    static const char *const names[] = {[SYSTEMD] = "systemd",
                                        [OPENRC] = "openrc",
                                        [BUSYBOX] = "busybox",
                                        [OUR_INIT] = "init",
                                        [OTHER] = "other"};
    enum init init = which_init();
    int number = reboot_wanted ? SIGTERM : SIGUSR2;

    if (init == SYSTEMD)
        number =
            34 + (reboot_wanted ? 5 : 4); /* the kernel's SIGRTMIN is 32, systemd's is libc's */
    if (init == OTHER)
        return vivi_fail(err, VIV_E_UNSUPPORTED, "this guest's process 1 is none that is known");
    if (kill(1, 0) < 0)
        return vivi_fail_errno(err, errno, "cannot ask process 1");
    ask_process_one(number);
    vivi_aw_put(ret, "by", names[init]);
    return 0;
}

int work_shutdown(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err)
{
    return end_guest(false, ret, err);
}

int work_reboot(const struct vivi_aw_frame *q, struct vivi_aw_writer *ret, viv_error *err)
{
    return end_guest(true, ret, err);
}
