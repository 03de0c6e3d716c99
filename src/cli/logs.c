/*
 * viv logs. The serial log is the guest's bytes and nothing else; when it grew stands beside it
 * (base/log_times.h). What was written while no monitor looked, or by a version that kept no times,
 * has none: -t marks what is told of it with "~", and --since takes it if it may be new enough. The
 * monitor's log has a time in each line, the VMM's words have none.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "cli/guest_output.h"
#include "cli/signals.h"
#include "model/parse.h"

#define INTERRUPTED 130

struct want {
    bool follow, stamps;
    int64_t lines;    /* −1 = all */
    int64_t since_ms; /* wall; 0 = from the start */
    int64_t boot;
    bool has_boot;
    const char *which;
};

static int parse_since(struct vivi_cli *c, int64_t *ret_ms, viv_error *err)
{
    const char *text = vivi_args_str(&c->args, "--since");
    char day[48];
    int64_t ms;

    if (!text)
        return 0;
    if (vivi_time_parse(text, ret_ms) == 0)
        return 0;
    (void)snprintf(day, sizeof(day), "%.20sT00:00:00Z", text);
    if (strlen(text) == 10 && vivi_time_parse(day, ret_ms) == 0)
        return 0;
    if (vivi_parse_duration(text, &ms, NULL) == 0) {
        *ret_ms = vivi_wall_ms() - ms;
        return 0;
    }
    return vivi_fail(err, VIV_E_INVALID,
                     "--since: \"%s\" is not a time (examples: 10m, 2026-01-02T03:04:05Z)", text);
}

static int check_other_log(const struct want *w, bool vmm, viv_error *err)
{
    if (w->follow)
        return vivi_fail(err, VIV_E_INVALID, "--follow is for the serial log");
    if (w->has_boot)
        return vivi_fail(err, VIV_E_INVALID, "--boot is for the serial log");
    if (vmm && (w->since_ms || w->stamps))
        return vivi_fail(err, VIV_E_INVALID, "%s: what the VMM writes has no times",
                         w->since_ms ? "--since" : "--timestamps");
    return 0;
}

/* What does not go together. */
static int check_want(const struct want *w, bool monitor, bool vmm, viv_error *err)
{
    if (monitor && vmm)
        return vivi_fail(err, VIV_E_INVALID, "--monitor and --vmm exclude each other");
    if (monitor || vmm)
        return check_other_log(w, vmm, err);
    if (w->has_boot && w->follow && w->boot != -1)
        return vivi_fail(err, VIV_E_INVALID, "--follow with --boot takes only the last boot (-1)");
    return 0;
}

static int parse_want(struct vivi_cli *c, struct want *w, viv_error *err)
{
    bool monitor = vivi_args_has(&c->args, "--monitor"), vmm = vivi_args_has(&c->args, "--vmm");
    int r;

    *w = (struct want){.lines = -1, .which = monitor ? "monitor" : vmm ? "vmm" : "serial"};
    w->follow = vivi_args_has(&c->args, "--follow");
    w->stamps = vivi_args_has(&c->args, "--timestamps");
    r = vivi_args_number(&c->args, "--lines", &w->lines, err);
    if (r > 0 && w->lines < 0)
        return vivi_fail(err, VIV_E_INVALID, "--lines: must not be negative");
    if (r < 0)
        return r;
    r = vivi_args_number(&c->args, "--boot", &w->boot, err);
    w->has_boot = r > 0;
    if (r >= 0)
        r = parse_since(c, &w->since_ms, err);
    return r < 0 ? r : check_want(w, monitor, vmm, err);
}

/* Where the last n lines before end begin; reads backwards. */
static uint64_t tail_offset(int fd, uint64_t from, uint64_t end, int64_t n)
{
    char data[8192];
    uint64_t at = end;

    if (n == 0)
        return end;
    while (at > from) {
        size_t len = at - from < sizeof(data) ? (size_t)(at - from) : sizeof(data);
        ssize_t got = pread(fd, data, len, (off_t)(at - len));

        if (got != (ssize_t)len)
            return at;
        for (size_t i = len; i-- > 0;) {
            /* the newline that ends the last line begins no other one */
            if (data[i] == '\n' && at - len + i + 1 != end && --n == 0)
                return at - len + i + 1;
        }
        at -= len;
    }
    return from;
}

/* In a log whose lines begin with their time: the first line that is not older. */
static uint64_t first_since(int fd, uint64_t from, uint64_t end, int64_t since_ms)
{
    cleanup_free char *line = NULL;
    cleanup_fclose FILE *f = NULL;
    size_t cap = 0;
    cleanup_close int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    ssize_t n;

    f = copy >= 0 ? fdopen(copy, "r") : NULL;
    if (f)
        (void)take_fd(&copy);
    if (!f || fseeko(f, (off_t)from, SEEK_SET) < 0)
        return from;
    while (from < end && (n = getline(&line, &cap, f)) > 0) {
        int64_t ms;
        char *space = strchr(line, ' ');

        if (space)
            *space = '\0';
        if (space && vivi_time_parse(line, &ms) == 0 && ms >= since_ms)
            return from;
        from += (uint64_t)n;
    }
    return end;
}

/* The start of the line that the byte before at belongs to. */
static uint64_t line_start(int fd, uint64_t from, uint64_t at)
{
    char last;

    if (at <= from || pread(fd, &last, 1, (off_t)(at - 1)) != 1 || last == '\n')
        return at;
    return tail_offset(fd, from, at, 1);
}

/* Without a time: the boot that was going on then, or the end if the log is older than that. */
static uint64_t boot_since(viv_vm *vm, uint64_t from, const struct stat *st, int64_t since_ms)
{
    cleanup_rec viv_rec *info = NULL;
    const char *started;
    int64_t started_ms;
    uint64_t begin, end;

    if ((int64_t)st->st_mtime * 1000 + 999 < since_ms)
        return (uint64_t)st->st_size;
    if (viv_vm_info(vm, &info, NULL) < 0)
        return from;
    started = viv_rec_str(info, "started_at");
    if (!started || vivi_time_parse(started, &started_ms) < 0 || started_ms > since_ms)
        return from;
    /* This run was going on: earlier runs are out. */
    return viv_vm_log_boot(vm, 0, &begin, &end, NULL) < 0 || begin < from ? from : begin;
}

/* The serial log: behind all that was seen before; a line that was begun then is told whole. */
static uint64_t serial_since(viv_vm *vm, const struct vivi_guest_output *o, uint64_t from,
                             int64_t since_ms)
{
    struct vivi_log_time older = {0, 0};
    struct stat st;
    int r = o->times_fd < 0 ? 0 : vivi_log_times_before(o->times_fd, since_ms, &older, NULL);

    if (r > 0 && older.wall_ms != 0)
        return older.size > from ? line_start(o->fd, from, older.size) : from;
    if ((o->times_fd >= 0 && r == 0) || fstat(o->fd, &st) < 0)
        return from;
    return boot_since(vm, from, &st, since_ms);
}

static int find_range(viv_vm *vm, const struct want *w, struct vivi_guest_output *o, uint64_t from,
                      viv_error *err)
{
    struct stat st;
    uint64_t end;

    if (fstat(o->fd, &st) < 0)
        return vivi_fail_errno(err, errno, "cannot read the log");
    end = (uint64_t)st.st_size;
    if (w->has_boot) {
        uint64_t begin, stop;
        int r = viv_vm_log_boot(vm, w->boot, &begin, &stop, err);

        if (r < 0)
            return r;
        from = begin > from ? begin : from;
        end = stop < end ? stop : end;
        if (!w->follow)
            o->end = end;
    }
    if (w->since_ms)
        from = strcmp(w->which, "serial") ? first_since(o->fd, from, end, w->since_ms)
                                          : serial_since(vm, o, from, w->since_ms);
    if (w->lines >= 0)
        from = tail_offset(o->fd, from < end ? from : end, end, w->lines);
    o->offset = from;
    return 0;
}

/* The log's times, and what is told of bytes that have none: when this run began. */
static void know_times(viv_vm *vm, struct vivi_guest_output *o)
{
    cleanup_rec viv_rec *info = NULL;
    const char *started;
    struct stat st;

    if (viv_vm_log_open(vm, "times", &o->times_fd, NULL, NULL) < 0)
        o->times_fd = -1;
    if (fstat(o->fd, &st) == 0)
        o->about_ms = (int64_t)st.st_mtime * 1000;
    o->newest_ms = -o->about_ms;
    if (viv_vm_info(vm, &info, NULL) == 0 && (started = viv_rec_str(info, "started_at")) != NULL)
        (void)vivi_time_parse(started, &o->about_ms);
}

/* Interrupts are caught before the first byte is printed: whoever saw one may interrupt. */
static int follow(struct vivi_cli *c, viv_vm *vm, struct vivi_guest_output *o)
{
    viv_error err = VIV_ERROR_INIT;
    int r = 1;

    vivi_signals_wake(c->v);
    while (r > 0 && !vivi_signals_next()) {
        r = viv_vm_log_wait(vm, o->offset, -1, &err);
        o->newest_ms = vivi_wall_ms();
        if (r >= 0 && vivi_guest_output_pump(o, &err) < 0)
            r = -err.code;
    }
    vivi_signals_wake(NULL);
    if (r > 0 || r == -VIV_E_CANCELLED)
        return INTERRUPTED;
    return r < 0 ? vivi_cli_fail(c, viv_vm_name(vm), &err) : 0;
}

/* A VM that was never started has no log yet: that is an empty one. */
static bool has_no_log(viv_vm *vm, const viv_error *err)
{
    cleanup_rec viv_rec *info = NULL;

    return err->code == VIV_E_NOT_FOUND && viv_vm_info(vm, &info, NULL) == 0;
}

static int print_log(struct vivi_cli *c, viv_vm *vm, const struct want *w)
{
    cleanup_guest_output struct vivi_guest_output o = {.fd = -1};
    viv_error err = VIV_ERROR_INIT;
    uint64_t start = 0;
    int fd = -1, signal_fd;

    if (w->follow && vivi_signals_catch(&signal_fd, &err) < 0)
        return vivi_cli_fail(c, viv_vm_name(vm), &err);
    if (viv_vm_log_open(vm, w->which, &fd, &start, &err) < 0)
        return has_no_log(vm, &err) ? 0 : vivi_cli_fail(c, viv_vm_name(vm), &err);
    vivi_guest_output_init(&o, c, fd, start);
    if (strcmp(w->which, "serial") == 0) { /* the monitor's lines begin with their time */
        o.stamps = w->stamps;
        know_times(vm, &o);
    }
    if (find_range(vm, w, &o, start, &err) < 0 || vivi_guest_output_pump(&o, &err) < 0)
        return vivi_cli_fail(c, viv_vm_name(vm), &err);
    return w->follow ? follow(c, vm, &o) : 0;
}

int vivi_cmd_logs(struct vivi_cli *c)
{
    cleanup_vm viv_vm *vm = NULL;
    viv_error err = VIV_ERROR_INIT;
    struct want w;
    int code;

    if (c->args.n_words != 1)
        return vivi_cli_usage(c, "viv ps lists them", "needs the name of one VM");
    if (parse_want(c, &w, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    /* Following may have to revive a monitor; reading writes nothing. */
    code =
        vivi_cli_open_vm(c, c->args.words[0], w.follow ? VIV_OPEN_CREATE : VIV_OPEN_READONLY, &vm);
    if (code)
        return code;
    return print_log(c, vm, &w);
}
