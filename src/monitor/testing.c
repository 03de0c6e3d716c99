#include "monitor/testing.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fd.h"
#include "store/control.h"

#define REAP_MS 5000

/* ---- what surrounds the monitor ---- */

static const struct vivi_driver *the_driver(enum vivi_driver_kind k)
{
    return k != VIVI_DRIVER_FAKE ? NULL
           : rig_driver.hot      ? &rig_hot_driver_table
                                 : &rig_driver_table;
}

static const struct vivi_driver_effects *the_effects(enum vivi_driver_kind k)
{
    return k == VIVI_DRIVER_FAKE ? the_driver(k)->effects : NULL;
}

static int the_facts(const struct vivi_config *c, const struct vivi_driver *d,
                     const char *cache_dir, struct vivi_facts *ret, viv_error *err)
{
    *ret = (struct vivi_facts){.host_cpus = 2};
    return d->probe(cache_dir, c->vmm_path, c->accel, &ret->probe, err);
}

static void took_over(struct vivi_monitor *m)
{
    struct rig *r = m->env_ctx;

    r->took_over = true;
}

static void ended(struct vivi_monitor *m)
{
    struct rig *r = m->env_ctx;

    r->ended = true;
}

static void trimmed(void)
{
}

static const struct vivi_monitor_env env = {the_driver, the_effects, the_facts,
                                            took_over,  ended,       trimmed};

/* ---- the keeper ---- */

static void tell(struct rig *r, enum vivi_keeper_op op, const char *fmt, ...) VIVI_PRINTF(3, 4);

/* Fields are separated by '|' in fmt's text. */
static void tell(struct rig *r, enum vivi_keeper_op op, const char *fmt, ...)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(4096);
    struct vivi_frame f = {.version = 1, .op = (uint8_t)op};
    va_list ap;

    va_start(ap, fmt);
    assert_int_equal(vivi_buf_vprintf(&b, fmt, ap), 0);
    va_end(ap);
    for (size_t i = 0; i < b.len; i++) {
        if (b.data[i] == '|')
            b.data[i] = '\0';
    }
    f.payload = b.data;
    f.len = b.len + (b.len > 0); /* with the NUL of the last field */
    if (r->m)
        assert_int_equal(vivi_frame_send(r->keeper_fd, &f, 1000, NULL), 0);
}

static void exits_line(struct rig *r, const char *fmt, ...) VIVI_PRINTF(2, 3);

static void exits_line(struct rig *r, const char *fmt, ...)
{
    cleanup_buf struct vivi_buf b = VIVI_BUF(4096);
    cleanup_close int fd = open(r->vm_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    va_list ap;

    va_start(ap, fmt);
    assert_int_equal(vivi_buf_vprintf(&b, fmt, ap), 0);
    va_end(ap);
    assert_int_equal(vivi_append_at(fd, "exits.log", b.data, b.len, NULL), 0);
}

static pid_t fork_vmm(const struct rig *r)
{
    pid_t pid = fork();

    if (pid == 0) {
        if (r->ignores_term)
            (void)signal(SIGTERM, SIG_IGN);
        (void)alarm(120); /* a test that was killed leaves nothing for long */
        for (;;)
            (void)pause();
    }
    return pid;
}

void rig_spawned(struct rig *r)
{
    struct vivi_host_now now;

    assert_int_equal(r->vmm, 0); /* never two VMMs */
    r->vmm = fork_vmm(r);
    assert_true(r->vmm > 0);
    r->vmm_run = r->spawn_run;
    assert_int_equal(vivi_proc_identify(r->vmm, &r->vmm_id, NULL), 0);
    assert_int_equal(vivi_host_now(&now, NULL), 0);
    exits_line(r, "spawn vmm %" PRIu64 " %d %" PRIu64 " %s %" PRIu64 " %lld\n", r->spawn_run,
               (int)r->vmm, r->vmm_id.start_time, now.boot_id, now.pid_ns,
               (long long)vivi_wall_ms());
    tell(r, VIVI_KO_SPAWNED, "%" PRIu64 "|%d|%" PRIu64, r->spawn_req, (int)r->vmm,
         r->vmm_id.start_time);
}

static uint64_t number(const char *s)
{
    return strtoull(s, NULL, 10);
}

static void on_request(struct rig *r, struct vivi_frame *f)
{
    const char *fields[64];
    struct vivi_fd_entry e = {.fd = -1};
    int n = f->len ? vivi_fields_split(f->payload, f->len, fields, 64, NULL) : 0;

    assert_true(n >= 0);
    for (int i = n; i < 64; i++)
        fields[i] = "";
    switch (f->op) {
    case VIVI_KO_LOG:
        (void)snprintf(e.file, sizeof(e.file), "%s", fields[1]);
        (void)snprintf(r->last_log, sizeof(r->last_log), "%s", fields[1]);
        e.limit_bytes = number(fields[2]);
        __attribute__((fallthrough));
    case VIVI_KO_HOLD:
        assert_int_equal(f->n_fds, 1);
        (void)snprintf(e.name, sizeof(e.name), "%s", fields[0]);
        e.fd = take_fd(&f->fds[0]);
        assert_int_equal(vivi_fds_put(&r->table, &e, NULL), 0);
        break;
    case VIVI_KO_DROP: vivi_fds_drop(&r->table, fields[0]); break;
    case VIVI_KO_DRAIN:
        tell(r, VIVI_KO_DRAINED, "%s|%s|%" PRIu64, fields[0], fields[1],
             vivi_log_size(r->m->dir.fd, "serial.log"));
        break;
    case VIVI_KO_SPAWN:
        r->spawns++;
        r->spawn_req = number(fields[0]);
        r->spawn_run = number(fields[2]);
        if (r->spawn_fails)
            tell(r, VIVI_KO_SPAWN_FAILED, "%" PRIu64 "|2|No such file or directory", r->spawn_req);
        else if (!r->hold_spawn)
            rig_spawned(r);
        break;
    case VIVI_KO_QUIT: r->quits++; break;
    default: fail_msg("keeper: op %u", f->op);
    }
}

static bool run_keeper(struct rig *r)
{
    bool some = false;
    int n;

    while (vivi_wait_fd(r->keeper_fd, POLLIN, 0, NULL) == 1 &&
           vivi_frames_read(&r->keeper_in, r->keeper_fd, NULL) > 0)
        ;
    for (;;) {
        cleanup_frame struct vivi_frame f = {0};

        n = vivi_frames_next(&r->keeper_in, &f, NULL);
        assert_true(n >= 0);
        if (n == 0)
            return some;
        on_request(r, &f);
        some = true;
    }
}

/* ---- the VMM ---- */

void rig_vmm_exits(struct rig *r, int wstatus)
{
    struct vivi_proc_id id = r->vmm_id;
    char text[16] = "?";

    if (r->vmm) {
        (void)kill(r->vmm, SIGKILL);
        assert_int_equal(waitpid(r->vmm, NULL, 0), r->vmm);
    }
    r->vmm = 0;
    if (r->exit_lost)
        return;
    if (wstatus >= 0)
        (void)snprintf(text, sizeof(text), "%d", wstatus);
    exits_line(r, "exit vmm %" PRIu64 " %d %" PRIu64 " %s %lld\n", r->vmm_run, (int)id.pid,
               id.start_time, text, (long long)vivi_wall_ms());
    tell(r, VIVI_KO_EXIT, "vmm|%" PRIu64 "|%d|%" PRIu64 "|%s", r->vmm_run, (int)id.pid,
         id.start_time, text);
}

static bool is_being_killed(const struct rig *r)
{
    const struct vivi_monitor *m = r->m;

    if (!m)
        return false;
    return m->ladder.phase == VIVI_LADDER_KILL ||
           (m->ladder.phase == VIVI_LADDER_TERM && !r->ignores_term) ||
           m->cause == VIVI_CAUSE_START_TIMEOUT || m->cause == VIVI_CAUSE_START_FAILED;
}

/* A signal that was sent takes effect some time: the rig waits for it, so tests need not. */
static bool reap(struct rig *r)
{
    int wstatus, waited = 0;
    pid_t pid = 0;

    if (!r->vmm)
        return false;
    do {
        pid = waitpid(r->vmm, &wstatus, WNOHANG);
        if (pid == 0 && is_being_killed(r))
            (void)poll(NULL, 0, 1);
    } while (pid == 0 && is_being_killed(r) && ++waited < REAP_MS);
    if (pid != r->vmm)
        return false;
    r->vmm = 0;
    rig_vmm_exits(r, wstatus);
    return true;
}

/* ---- turning ---- */

void rig_settle(struct rig *r)
{
    bool again = true;

    while (again) {
        rig_loop_settle(&r->loop);
        again = run_keeper(r);
        again |= reap(r);
    }
}

void rig_advance(struct rig *r, uint64_t ms)
{
    rig_settle(r);
    /* in steps, so that what the keeper answers comes at about its time */
    while (ms > 0) {
        uint64_t step = ms > 50 ? 50 : ms;

        rig_loop_advance(&r->loop, step);
        rig_settle(r);
        ms -= step;
    }
}

void rig_log(struct rig *r, const char *file, const char *text, const char *name)
{
    cleanup_close int fd = open(r->vm_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_int_equal(vivi_append_at(fd, file, text, strlen(text), NULL), 0);
    if (name)
        tell(r, VIVI_KO_GREW, "%s|%" PRIu64, name, vivi_log_size(fd, file));
    rig_settle(r);
}

void rig_serial(struct rig *r, const char *text)
{
    rig_log(r, "serial.log", text, "serial.out");
}

/* ---- birth and death ---- */

static void make_vm(struct rig *r, const char *config)
{
    cleanup_buf struct vivi_buf text = VIVI_BUF(4096);
    cleanup_json json_t *given = NULL, *doc = NULL;
    viv_error err = VIV_ERROR_INIT;
    struct vivi_state s;

    assert_int_equal(vivi_buf_printf(&text, "name: web\ndriver: fake\n%s", config), 0);
    if (vivi_config_parse(text.data, text.len, "a.yaml", "/", &given, &err) < 0 ||
        vivi_config_complete(given, &doc, &err) < 0)
        fail_msg("%s", err.message);
    vivi_state_init(&s);
    (void)snprintf(s.name, sizeof(s.name), "web");
    (void)snprintf(s.uuid, sizeof(s.uuid), "%s", RIG_UUID);
    (void)snprintf(s.driver, sizeof(s.driver), "fake");
    s.state = VIV_ST_CREATED;
    if (vivi_vm_create(&r->root, doc, &s, &err) < 0)
        fail_msg("%s", err.message);
}

static int open_rig(struct rig *r, const char *config, bool hot)
{
    struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    char path[256];

    *r = (struct rig){.keeper_fd = -1, .lock_fd = -1, .listener_fd = -1, .client.fd = -1};
    rig_driver = (struct rig_driver){.loop = &r->loop,
                                     .adopt_state = VIV_ST_RUNNING,
                                     .accel = VIVI_ACCEL_NONE,
                                     .agent_fd = -1,
                                     .send = RIG_NEVER,
                                     .hot = hot};
    rig_loop_init(&r->loop);
    (void)snprintf(r->dir, sizeof(r->dir), "/tmp/vivm.XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    assert_int_equal(vivi_root_open(r->dir, true, false, &r->root, NULL), 0);
    make_vm(r, config);
    assert_int_equal(vivi_vmdir_open(&r->root, "web", &d, NULL), 0);
    assert_int_equal(vivi_vmdir_ensure_run(&d, NULL), 0);
    (void)snprintf(r->vm_dir, sizeof(r->vm_dir), "%s", d.path);
    (void)snprintf(r->run_dir, sizeof(r->run_dir), "%s", d.run_dir);
    assert_int_equal(vivi_lock_open(d.fd, VIVI_LOCK_FILE, 0, &r->lock_fd, NULL), 0);
    (void)snprintf(path, sizeof(path), "%s/%s", r->run_dir, VIVI_CONTROL_SOCKET);
    assert_int_equal(vivi_unix_listen(path, 16, &r->listener_fd, NULL), 0);
    vivi_vmdir_done(&d);
    assert_int_equal(vivi_events_open(&r->root, VIVI_EVENTS_NEW, &r->events, NULL), 0);
    rig_boot(r);
    rig_connect(r, &r->client);
    return 0;
}

int rig_open(struct rig *r, const char *config)
{
    return open_rig(r, config, false);
}

int rig_open_hot(struct rig *r, const char *config)
{
    return open_rig(r, config, true);
}

static void lend(struct vivi_fd_table *t, const char *name, int fd_consume)
{
    struct vivi_fd_entry e = {.fd = fd_consume};

    (void)snprintf(e.name, sizeof(e.name), "%s", name);
    assert_int_equal(vivi_fds_put(t, &e, NULL), 0);
}

void rig_boot(struct rig *r)
{
    struct vivi_monitor_setup s = {.loop = &r->loop.face,
                                   .env = &env,
                                   .env_ctx = r,
                                   .vm_dir = r->vm_dir,
                                   .run_dir = r->run_dir};
    viv_error err = VIV_ERROR_INIT;
    int pair[2];

    assert_null(r->m);
    assert_int_equal(vivi_socketpair(pair, NULL), 0);
    assert_int_equal(vivi_fd_nonblock(pair[0], true, NULL), 0);
    r->keeper_fd = pair[0];
    vivi_frames_init(&r->keeper_in);
    lend(&s.fds, "keeper", pair[1]);
    lend(&s.fds, "lock", fcntl(r->lock_fd, F_DUPFD_CLOEXEC, 3));
    lend(&s.fds, "listener", fcntl(r->listener_fd, F_DUPFD_CLOEXEC, 3));
    for (size_t i = 0; i < r->table.n; i++) {
        struct vivi_fd_entry e = r->table.items[i];

        e.fd = fcntl(e.fd, F_DUPFD_CLOEXEC, 3);
        assert_int_equal(vivi_fds_put(&s.fds, &e, NULL), 0);
    }
    r->m = calloc(1, sizeof(*r->m));
    assert_non_null(r->m);
    if (vivi_monitor_open(r->m, &s, &err) < 0)
        print_message("monitor: %s\n", err.message);
    rig_settle(r);
}

void rig_kill_monitor(struct rig *r)
{
    vivi_monitor_close(r->m); /* writes nothing */
    free(r->m);
    r->m = NULL;
    (void)run_keeper(r); /* what it had asked for is done: the keeper reads to the end */
    vivi_close(&r->keeper_fd);
    vivi_frames_done(&r->keeper_in);
}

void rig_take_over(struct rig *r)
{
    rig_disconnect(r, &r->client);
    rig_kill_monitor(r);
    rig_boot(r);
    rig_connect(r, &r->client);
    rig_settle(r);
}

void rig_close(struct rig *r)
{
    rig_disconnect(r, &r->client);
    if (r->m)
        rig_kill_monitor(r);
    r->exit_lost = true;
    rig_vmm_exits(r, 0);
    vivi_fds_done(&r->table);
    vivi_close(&r->lock_fd);
    vivi_close(&r->listener_fd);
    vivi_events_done(&r->events);
    rig_loop_done(&r->loop);
    vivi_root_done(&r->root);
    assert_int_equal(vivi_remove_tree_at(AT_FDCWD, r->dir, NULL), 0);
}

int rig_open_as(void **state, const char *config)
{
    static struct rig rig;

    *state = &rig;
    return rig_open(&rig, config);
}

int rig_open_plain(void **state)
{
    return rig_open_as(state, "");
}

int rig_close_state(void **state)
{
    rig_close(*state);
    return 0;
}

void rig_start(struct rig *r)
{
    rig_expect(r, &r->client, rig_ask(r, &r->client, "start", NULL, NULL), "ok");
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
    (void)rig_events(r);
}

void rig_stop(struct rig *r)
{
    uint64_t id = rig_ask(r, &r->client, "kill", NULL, NULL);

    rig_expect(r, &r->client, id, "ok");
    assert_int_equal(rig_state(r).state, VIV_ST_STOPPED);
}

/* ---- records ---- */

struct vivi_state rig_state(struct rig *r)
{
    cleanup_close int fd = open(r->vm_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct vivi_state s;
    viv_error err = VIV_ERROR_INIT;

    if (vivi_state_read(fd, &s, &err) < 0)
        fail_msg("%s", err.message);
    vivi_state_done(&s);
    return s;
}

const char *rig_events(struct rig *r)
{
    static char text[1024];
    size_t len = 0;
    json_t *j = NULL;

    text[0] = '\0';
    while (vivi_events_next(&r->events, &j, NULL) > 0) {
        const char *type = json_string_value(json_object_get(j, "type"));
        const char *word =
            strcmp(type, "state") == 0 ? json_string_value(json_object_get(j, "state")) : type;

        if (strcmp(type, "op") != 0)
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", len ? " " : "", word);
        json_decref(j);
    }
    return text;
}
