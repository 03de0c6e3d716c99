/* Console and logs of a VM; see vivarium.h. */
#include "manager/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fd.h"
#include "store/serial.h"

#define CONSOLE_US (UINT64_C(10) * 1000000)

/* One blocking question to the monitor. ret_fd may be NULL. */
static int ask(viv_vm *m, const struct vivi_request_of *q, viv_rec **ret, int *ret_fd,
               viv_error *err)
{
    viv_op *op = NULL;
    int r;

    if (!q->args)
        return vivi_fail_oom(err);
    r = vivi_op_begin(m, q, &op, err);
    if (r == 0)
        r = vivi_op_deliver(op, NULL, ret, ret_fd, err);
    if (r < 0)
        vivi_error_vm(err, m->name);
    return r;
}

int viv_vm_console(viv_vm *m, uint64_t flags, int *ret_fd, int *ret_writer, viv_error *err)
{
    struct vivi_request_of q = {.verb = "console",
                                .timeout_us = CONSOLE_US,
                                .late = "no console after 10 s",
                                .send_fd = -1};
    viv_rec *result = NULL;
    int fd = -1, writer = 0, r;

    if (flags & ~(uint64_t)(VIV_CONSOLE_STEAL | VIV_CONSOLE_READONLY))
        return vivi_fail(err, VIV_E_INVALID, "viv_vm_console: unknown flags");
    q.args = json_pack("{s:b,s:b}", "steal", (flags & VIV_CONSOLE_STEAL) != 0, "readonly",
                       (flags & VIV_CONSOLE_READONLY) != 0);
    r = ask(m, &q, &result, &fd, err);
    if (r < 0)
        return r;
    (void)viv_rec_bool(result, "writer", &writer);
    viv_rec_free(result);
    if (fd < 0)
        return vivi_fail(err, VIV_E_PROTOCOL, "the monitor's answer has no console");
    *ret_fd = fd;
    if (ret_writer)
        *ret_writer = writer;
    return 0;
}

/* ---- logs ---- */

static const struct {
    const char *which, *file, *absent;
} logs[] = {
    {"serial", VIVI_SERIAL_FILE, "it was never started"},
    {"vmm", "vmm.log", "it was never started"},
    {"monitor", "monitor.log", "it never had a monitor"},
    {"times", "serial.times", "no monitor that keeps them has run it"},
};

static int open_log(const struct vivi_vmdir *d, size_t i, int *ret, viv_error *err)
{
    int fd = openat(d->fd, logs[i].file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0 && errno == ENOENT)
        return vivi_fail(err, VIV_E_NOT_FOUND, "no %s log: %s", logs[i].which, logs[i].absent);
    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot open %s/%s", d->path, logs[i].file);
    fd = vivi_fd_above_stdio(fd, err);
    if (fd < 0)
        return fd;
    *ret = fd;
    return 0;
}

static uint64_t start_of(const struct vivi_vmdir *d, size_t i, int fd)
{
    uint64_t start = 0;

    if (strcmp(logs[i].file, VIVI_SERIAL_FILE) == 0)
        return vivi_serial_start(d->fd, fd);
    return vivi_data_start(fd, 0, &start, NULL) < 0 ? 0 : start;
}

int viv_vm_log_open(viv_vm *m, const char *which, int *ret_fd, uint64_t *ret_start, viv_error *err)
{
    cleanup_vmdir struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    cleanup_close int fd = -1;
    size_t i = 0;
    int r;

    while (i < ARRAY_SIZE(logs) && strcmp(logs[i].which, which) != 0)
        i++;
    if (i == ARRAY_SIZE(logs))
        return vivi_fail(err, VIV_E_INVALID, "\"%s\" is no log (serial, vmm, monitor, times)",
                         which);
    r = vivi_vm_dir(m, &d, err);
    if (r == 0)
        r = open_log(&d, i, &fd, err);
    if (r < 0) {
        vivi_error_vm(err, m->name);
        return r;
    }
    if (ret_start)
        *ret_start = start_of(&d, i, fd);
    *ret_fd = take_fd(&fd);
    return 0;
}

/* Where the serial log was when this run began. */
static uint64_t run_start(const json_t *running)
{
    size_t i;
    json_t *stream;

    json_array_foreach(json_object_get(running, "streams"), i, stream)
    {
        const char *log = json_string_value(json_object_get(stream, "log"));

        if (log && strcmp(log, VIVI_SERIAL_FILE) == 0)
            return (uint64_t)json_integer_value(json_object_get(stream, "start"));
    }
    return 0;
}

static uint64_t offset_at(const json_t *boots, size_t i)
{
    return (uint64_t)json_integer_value(json_object_get(json_array_get(boots, i), "offset"));
}

/* Position of the wanted boot among those that are recorded, or their number when it is not.
 * from: where this run's begin. */
static size_t find_boot(const json_t *boots, uint64_t from, int64_t boot)
{
    size_t n = json_array_size(boots), i = 0;

    if (boot < 0)
        return (uint64_t)-boot <= n ? n - (size_t)-boot : n;
    if (boot == 0) { /* the first of this run */
        while (i < n && offset_at(boots, i) < from)
            i++;
        return i;
    }
    while (i < n && json_integer_value(json_object_get(json_array_get(boots, i), "boot")) != boot)
        i++;
    return i;
}

int viv_vm_log_boot(viv_vm *m, int64_t boot, uint64_t *ret_from, uint64_t *ret_to, viv_error *err)
{
    cleanup_vmdir struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    cleanup_json json_t *running = NULL, *boots = NULL;
    unsigned schema;
    bool joined = false; /* then what it did elsewhere is of this run, too */
    size_t i;
    int r = vivi_vm_dir(m, &d, err);

    if (r == 0)
        r = vivi_json_read_any(d.fd, VIVI_RUNNING_FILE, VIVI_DOCUMENT_MAX_BYTES, &running, &schema,
                               err);
    if (r == -VIV_E_NOT_FOUND && d.fd >= 0)
        r = vivi_fail(err, VIV_E_NOT_FOUND, "no boots: it was never started");
    if (r == 0) {
        boots = vivi_serial_boots(d.fd, running, &joined);
        i = find_boot(boots, joined ? 0 : run_start(running), boot);
        if (i < json_array_size(boots)) {
            *ret_from = offset_at(boots, i);
            *ret_to = i + 1 < json_array_size(boots) ? offset_at(boots, i + 1) : UINT64_MAX;
            return 0;
        }
        r = vivi_fail(err, VIV_E_NOT_FOUND, "boot %" PRId64 " is not recorded (any more)", boot);
    }
    vivi_error_vm(err, m->name);
    return r;
}

/* Whether the log is longer already (1), will never be (0), or has to be waited for (2). */
static int look_at_log(const struct vivi_vmdir *d, uint64_t offset, viv_error *err)
{
    cleanup_state struct vivi_state s = {.extra = NULL};
    struct stat st;
    int r, held = vivi_lock_test(d->fd, VIVI_LOCK_FILE, NULL);

    /* The state first: what was written before the end is then surely in the size. */
    r = vivi_state_read_truth(d, &s, NULL, err);
    if (r < 0 && vivi_vmdir_is_current(d, NULL) == 0)
        return vivi_fail(err, VIV_E_NOT_FOUND, "no such VM"); /* it is being removed */
    if (r < 0)
        return r;
    if (fstatat(d->fd, VIVI_SERIAL_FILE, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        (uint64_t)st.st_size > offset)
        return 1;
    return !vivi_state_has_vmm(s.state) && held == 0 && s.next_start_at_ms == 0 ? 0 : 2;
}

int viv_vm_log_wait(viv_vm *m, uint64_t offset, int64_t timeout_ms, viv_error *err)
{
    struct vivi_request_of q = {.verb = "log_wait", .timeout_us = VIVI_NEVER, .send_fd = -1};
    cleanup_vmdir struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    viv_rec *result = NULL;
    int ended = 0;
    int r = vivi_vm_dir(m, &d, err);

    if (r == 0)
        r = look_at_log(&d, offset, err);
    if (r < 0)
        vivi_error_vm(err, m->name);
    if (r != 2)
        return r;
    if (timeout_ms >= 0)
        q.timeout_us = (uint64_t)timeout_ms * 1000;
    (void)snprintf(q.late, sizeof(q.late), "nothing new after %g s", (double)timeout_ms / 1000);
    q.args = json_pack("{s:I}", "offset", (json_int_t)(offset > INT64_MAX ? INT64_MAX : offset));
    r = ask(m, &q, &result, NULL, err);
    if (r < 0)
        return r;
    (void)viv_rec_bool(result, "ended", &ended);
    viv_rec_free(result);
    return !ended;
}
