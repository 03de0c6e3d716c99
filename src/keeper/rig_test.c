#include "keeper/rig_test.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "keeper/keeper.h"

static char keeper_exe[4096], puppet_exe[4096];

void rig_programs(void)
{
    char self[4096];

    assert_int_equal(vivi_proc_exe(self, sizeof(self), NULL), 0);
    *strrchr(self, '/') = '\0';
    (void)snprintf(keeper_exe, sizeof(keeper_exe), "%.4000s/viv-keeper", self);
    (void)snprintf(puppet_exe, sizeof(puppet_exe), "%.4000s/keeper_puppet", self);
}

int rig_setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    char path[256];

    if (r == NULL || test_dir_setup(state) < 0)
        return -1;
    r->dir = *state;
    *state = r;
    r->puppet = r->link = -1;
    vivi_frames_init(&r->in);
    (void)snprintf(r->vm, sizeof(r->vm), "%s/vm", r->dir->path);
    (void)snprintf(r->run, sizeof(r->run), "%s/run", r->dir->path);
    (void)snprintf(r->monitor, sizeof(r->monitor), "%s/monitor", r->dir->path);
    (void)snprintf(path, sizeof(path), "%s/%s", r->run, PUPPET_SOCKET);
    if (symlink(puppet_exe, r->monitor) < 0 || vivi_mkdir_path(r->vm, 0700, NULL) < 0 ||
        vivi_mkdir_path(r->run, 0700, NULL) < 0 ||
        vivi_open_dir(AT_FDCWD, r->vm, &r->vm_fd, NULL) < 0 ||
        vivi_write_file_at(r->vm_fd, "lock", "", 0, VIVI_FAST, NULL) < 0 ||
        vivi_unix_listen(path, 10, &r->listener, NULL) < 0)
        return -1;
    return 0;
}

static void forget_puppet(struct rig *r)
{
    vivi_close(&r->puppet);
    vivi_close(&r->link);
    vivi_frames_done(&r->in);
    vivi_frames_init(&r->in);
}

/* Kills whatever exits.log names and still lives; how many that were. */
static int kill_recorded(struct rig *r)
{
    cleanup_free char *text = rig_file(r, "exits.log");
    int n = 0;

    for (const char *p = text; *p != '\0'; p += strcspn(p, "\n"), p += *p == '\n') {
        struct vivi_exits_line l;
        cleanup_close int fd = -1;

        if (!vivi_exits_parse(p, strcspn(p, "\n"), &l) || !l.is_spawn ||
            vivi_proc_open(&l.id, &fd, NULL) < 0)
            continue;
        (void)vivi_proc_signal(fd, SIGKILL, NULL);
        (void)vivi_wait_fd(fd, POLLIN, TEST_DEADLINE_MS, NULL);
        n++;
    }
    return n;
}

int rig_teardown(void **state)
{
    struct rig *r = *state;
    int rounds = 0, out;

    if (getenv("VIV_TEST_LOG") !=
        NULL) { /* what keepers and puppets said, for whoever looks for a reason */
        cleanup_free char *log = rig_file(r, "../monitor.log");

        print_message("%s", log);
    }
    if (r->keeper > 0) {
        (void)kill(r->keeper, SIGKILL);
        (void)waitpid(r->keeper, NULL, 0);
    }
    forget_puppet(r); /* a puppet that is alone now ends by itself */
    vivi_close(&r->listener);
    while (kill_recorded(r) > 0 && rounds++ < 50)
        continue;
    vivi_close(&r->vm_fd);
    vivi_frames_done(&r->in);
    *state = r->dir;
    free(r);
    out = test_dir_teardown(state);
    return rounds >= 50 ? -1 : out;
}

/* ---- keeper and puppet ---- */

static void read_status(struct rig *r, int fd)
{
    size_t len = 0;

    r->status[0] = '\0';
    while (vivi_wait_fd(fd, POLLIN, TEST_DEADLINE_MS, NULL) == 1) {
        ssize_t n = read(fd, r->status + len, sizeof(r->status) - 1 - len);

        if (n <= 0)
            return;
        len += (size_t)n;
        r->status[len] = '\0';
    }
}

void rig_start(struct rig *r)
{
    char number[16], log[256];
    int p[2];
    pid_t pid;

    (void)snprintf(log, sizeof(log), "%s/monitor.log", r->dir->path);
    assert_int_equal(vivi_pipe(p, NULL), 0);
    pid = fork();
    if (pid == 0) {
        int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

        (void)dup2(fd, 2);
        (void)vivi_fd_cloexec(p[1], false, NULL);
        (void)snprintf(number, sizeof(number), "%d", p[1]);
        (void)execl(keeper_exe, "viv-keeper", "--vm-dir", r->vm, "--run-dir", r->run, "--monitor",
                    r->monitor, "--status", number, NULL);
        _exit(100);
    }
    assert_true(pid > 0);
    if (r->keeper == 0)
        r->keeper = pid;
    vivi_close(&p[1]);
    read_status(r, p[0]);
    vivi_close(&p[0]);
    if (r->keeper != pid)
        assert_int_equal(waitpid(pid, NULL, 0), pid); /* a second one, which must have ended */
}

void rig_meet(struct rig *r)
{
    struct vivi_frames in;
    cleanup_frame struct vivi_frame f = {0};
    const char *fields[2];

    forget_puppet(r);
    vivi_frames_init(&in);
    assert_int_equal(vivi_wait_fd(r->listener, POLLIN, TEST_DEADLINE_MS, NULL), 1);
    assert_int_equal(vivi_accept(r->listener, &r->puppet, NULL), 1);
    while (vivi_frames_next(&in, &f, NULL) == 0) {
        assert_int_equal(vivi_wait_fd(r->puppet, POLLIN, TEST_DEADLINE_MS, NULL), 1);
        if (vivi_frames_read(&in, r->puppet, NULL) != 1)
            break;
    }
    assert_int_equal(f.op, PUPPET_HELLO);
    assert_int_equal(vivi_fields_split(f.payload, f.len, fields, 2, NULL), 2);
    r->puppet_pid = (pid_t)strtol(fields[0], NULL, 10);
    (void)snprintf(r->puppet_fds, sizeof(r->puppet_fds), "%s", fields[1]);
    r->link = take_fd(&f.fds[0]);
    vivi_frames_done(&in);
}

void rig_start_ok(struct rig *r)
{
    rig_start(r);
    if (strncmp(r->status, "ok ", 3) != 0)
        fail_msg("the keeper said: %s", r->status);
    rig_meet(r);
}

int rig_keeper_ended(struct rig *r)
{
    struct vivi_proc_id id;
    cleanup_close int fd = -1;
    int wstatus = -1;

    if (vivi_proc_identify(r->keeper, &id, NULL) == 0 && vivi_proc_open(&id, &fd, NULL) == 0)
        assert_int_equal(vivi_wait_fd(fd, POLLIN, TEST_DEADLINE_MS, NULL), 1);
    assert_int_equal(waitpid(r->keeper, &wstatus, 0), r->keeper);
    r->keeper = 0;
    return wstatus;
}

void rig_wait_gone(const struct vivi_proc_id *id)
{
    cleanup_close int fd = -1;

    if (vivi_proc_open(id, &fd, NULL) == 0)
        assert_int_equal(vivi_wait_fd(fd, POLLIN, TEST_DEADLINE_MS, NULL), 1);
}

void rig_kill(pid_t pid, int sig)
{
    struct vivi_proc_id id;
    cleanup_close int fd = -1;

    assert_int_equal(vivi_proc_identify(pid, &id, NULL), 0);
    assert_int_equal(vivi_proc_open(&id, &fd, NULL), 0);
    assert_int_equal(vivi_proc_signal(fd, sig, NULL), 0);
    if (sig == SIGKILL)
        assert_int_equal(vivi_wait_fd(fd, POLLIN, TEST_DEADLINE_MS, NULL), 1);
}

void rig_puppet(struct rig *r, enum puppet_op op, const char *text, int fd)
{
    struct vivi_frame f = {
        .version = 1, .op = (uint8_t)op, .payload = text, .len = strlen(text) + 1};

    if (fd >= 0)
        f.fds[f.n_fds++] = fd;
    assert_int_equal(vivi_frame_send(r->puppet, &f, TEST_DEADLINE_MS, NULL), 0);
}

/* ---- messages ---- */

void rig_send(struct rig *r, enum vivi_keeper_op op, int fd, const char *fields)
{
    struct vivi_frame f = {.version = VIVI_KEEPER_VERSION, .op = (uint8_t)op};
    char payload[2048];

    f.len = strlen(fields);
    f.payload = payload;
    assert_true(f.len < sizeof(payload));
    for (size_t i = 0; i < f.len; i++)
        payload[i] = fields[i] == '|' ? '\0' : fields[i];
    if (fd >= 0)
        f.fds[f.n_fds++] = fd;
    assert_int_equal(vivi_frame_send(r->link, &f, TEST_DEADLINE_MS, NULL), 0);
}

/* Takes one message apart; true when it is op. */
static bool take(struct rig *r, const struct vivi_frame *f, enum vivi_keeper_op op)
{
    assert_int_equal(f->version, VIVI_KEEPER_VERSION);
    assert_int_equal(f->n_fds, 0);
    assert_true(f->len < sizeof(r->payload));
    if (f->len > 0)
        memcpy(r->payload, f->payload, f->len);
    r->n_fields = vivi_fields_split(r->payload, f->len, r->fields, RIG_MAX_FIELDS, NULL);
    assert_true(r->n_fields >= 0);
    r->n_messages++;
    if (f->op == VIVI_KO_GREW) {
        assert_int_equal(r->n_fields, 2);
        r->grew = strtoull(r->fields[1], NULL, 10);
        r->n_grew++;
    }
    return f->op == op;
}

void rig_wait(struct rig *r, enum vivi_keeper_op op)
{
    uint64_t deadline = vivi_mono_us() + TEST_DEADLINE_MS * (uint64_t)1000;
    int n;

    for (;;) {
        cleanup_frame struct vivi_frame f = {0};

        while ((n = vivi_frames_next(&r->in, &f, NULL)) == 0) {
            if (vivi_mono_us() > deadline)
                fail_msg("no message %d", (int)op);
            if (vivi_wait_fd(r->link, POLLIN, TEST_DEADLINE_MS, NULL) != 1)
                fail_msg("no message %d", (int)op);
            if (vivi_frames_read(&r->in, r->link, NULL) == 0)
                fail_msg("the keeper is gone before message %d", (int)op);
        }
        assert_int_equal(n, 1);
        if (take(r, &f, op))
            return;
    }
}

bool rig_quiet(struct rig *r, int ms)
{
    for (;;) {
        struct vivi_frame f;

        if (vivi_frames_next(&r->in, &f, NULL) != 0)
            return false;
        if (vivi_wait_fd(r->link, POLLIN, ms, NULL) == 0)
            return true;
        if (vivi_frames_read(&r->in, r->link, NULL) <= 0)
            return false;
    }
}

uint64_t rig_drain(struct rig *r, const char *name)
{
    static unsigned token;
    char fields[128], expected[16];

    (void)snprintf(expected, sizeof(expected), "%u", ++token);
    (void)snprintf(fields, sizeof(fields), "%u|%s|", token, name);
    rig_send(r, VIVI_KO_DRAIN, -1, fields);
    rig_wait(r, VIVI_KO_DRAINED);
    assert_int_equal(r->n_fields, 3);
    assert_string_equal(r->fields[0], expected);
    assert_string_equal(r->fields[1], name);
    return strtoull(r->fields[2], NULL, 10);
}

struct vivi_proc_id rig_spawn(struct rig *r, const char *run, const char *script, const char *map)
{
    struct vivi_proc_id id = {0};
    char fields[2048];
    int n_map = 0;

    for (const char *p = map; *p != '\0'; p++)
        n_map += *p == '|';
    (void)snprintf(fields, sizeof(fields), "77|vmm|%s|/bin/sh|3|sh|-c|%s|%d|%s", run, script, n_map,
                   map);
    rig_send(r, VIVI_KO_SPAWN, -1, fields);
    rig_wait(r, VIVI_KO_SPAWNED);
    assert_int_equal(r->n_fields, 3);
    assert_string_equal(r->fields[0], "77");
    id.pid = (pid_t)strtol(r->fields[1], NULL, 10);
    id.start_time = strtoull(r->fields[2], NULL, 10);
    assert_true(id.pid > 0 && id.start_time > 0);
    return id;
}

void rig_expect_exit(struct rig *r, const struct vivi_proc_id *id, const char *status)
{
    char pid[16], start[24];

    (void)snprintf(pid, sizeof(pid), "%d", (int)id->pid);
    (void)snprintf(start, sizeof(start), "%" PRIu64, id->start_time);
    rig_wait(r, VIVI_KO_EXIT);
    assert_int_equal(r->n_fields, 5);
    assert_string_equal(r->fields[0], "vmm");
    assert_string_equal(r->fields[2], pid);
    assert_string_equal(r->fields[3], start);
    if (status != NULL)
        assert_string_equal(r->fields[4], status);
}

void rig_serial(struct rig *r, const char *limit)
{
    char path[256], fields[128], listed[128];
    cleanup_close int both = -1, in = -1;

    (void)snprintf(path, sizeof(path), "%s/serial.out", r->run);
    if (mkfifo(path, 0600) < 0)
        assert_int_equal(errno, EEXIST);
    both = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    in = open(path, O_WRONLY | O_CLOEXEC); /* blocking: the guest waits when it is full */
    assert_true(both >= 0 && in >= 0);
    (void)snprintf(fields, sizeof(fields), "serial.out|serial.log|%s|", limit);
    (void)snprintf(listed, sizeof(listed), "serial.out@serial.log@%s", limit);
    rig_send(r, VIVI_KO_LOG, both, fields);
    rig_send(r, VIVI_KO_HOLD, in, "serial.in|");
    rig_puppet(r, PUPPET_INHERIT, listed, both);
    rig_puppet(r, PUPPET_INHERIT, "serial.in", in);
}

char *rig_file(struct rig *r, const char *name)
{
    struct vivi_buf b = VIVI_BUF((size_t)256 << 20);
    char *text;

    (void)vivi_read_file_at(r->vm_fd, name, &b, NULL);
    text = vivi_buf_take(&b);
    assert_non_null(text);
    return text;
}

bool rig_has_line(struct rig *r, const char *name, const char *part)
{
    cleanup_free char *text = rig_file(r, name);

    return strstr(text, part) != NULL;
}

char *rig_proc_text(pid_t pid, const char *name)
{
    struct vivi_buf b = VIVI_BUF(100000);
    char path[64];

    (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    assert_int_equal(vivi_read_file_at(AT_FDCWD, path, &b, NULL), 0);
    return vivi_buf_take(&b);
}
