#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/pty.h"
#include "base/spawn.h"

#define UUID  "6f1f2e0c-8a53-4f0e-9d4b-0c1d2e3f4a5b"
#define NONCE "0123456789abcdef"

extern const char tiny_guest_start[], tiny_guest_end[], pvh_guest_start[], pvh_guest_end[];

void world_fail(struct world *w, const char *file, int line, const char *what)
{
    const char *slash = strrchr(file, '/');

    if (!*w->failure)
        (void)snprintf(w->failure, sizeof(w->failure), "%s:%d: %s", slash ? slash + 1 : file, line,
                       what);
}

void world_fail_text(struct world *w, const char *what, const char *why)
{
    if (!*w->failure)
        (void)snprintf(w->failure, sizeof(w->failure), "%.200s: %.280s", what, why);
}

struct stream *world_serial(struct world *w)
{
    for (size_t i = 0; i < w->n_streams; i++)
        if (strcmp(w->streams[i].name, "serial.out") == 0)
            return &w->streams[i];
    return NULL;
}

/* ---- keeper's part: FIFO → log ---- */

static void offer(struct world *w, struct stream *s)
{
    char *data;
    size_t len = (size_t)(s->size - s->consumed), used;

    if (!s->to_driver || !w->has_machine || !w->machine.fx->input || s->offered == s->size)
        return;
    s->offered = s->size;
    data = malloc(len + 1);
    if (!data || pread(s->log_fd, data, len, (off_t)s->consumed) != (ssize_t)len) {
        world_fail_text(w, "cannot read the event log", s->name);
        free(data);
        return;
    }
    used = w->machine.fx->input(w->machine.priv, s->name, data, len);
    if (used > len)
        world_fail_text(w, "input consumed more than it was given", s->name);
    else
        s->consumed += used;
    free(data);
}

static void move(struct stream *s)
{
    char data[16384];
    ssize_t n;

    while ((n = read(s->fifo_fd, data, sizeof(data))) > 0) {
        if (pwrite(s->log_fd, data, (size_t)n, (off_t)s->size) != n)
            world_fail_text(s->w, "cannot write a log", s->name);
        s->size += (uint64_t)n;
    }
}

static void on_fifo(void *arg, unsigned events)
{
    struct stream *s = arg;

    (void)events;
    move(s);
    offer(s->w, s);
}

static void on_vmm_exit(void *arg, unsigned events)
{
    struct world *w = arg;

    (void)events;
    if (waitpid(w->vmm.pid, &w->wstatus, WNOHANG) != w->vmm.pid)
        return;
    w->exited = true;
    w->loop.iface.unwatch(w->vmm_watch);
    w->vmm_watch = NULL;
    for (size_t i = 0; i < w->n_streams; i++) {
        move(&w->streams[i]);
        offer(w, &w->streams[i]);
    }
}

static void on_drain(void *arg)
{
    struct drain *d = arg;
    struct world *w = d->w;
    struct stream *s = d->stream;

    w->loop.iface.timer_stop(d->timer);
    d->timer = NULL;
    move(s);
    offer(w, s);
    if (w->has_machine && w->machine.fx->drained)
        w->machine.fx->drained(w->machine.priv, d->token, s->size);
}

static int host_drain(void *ctx, const char *name, uint64_t token, viv_error *err)
{
    struct world *w = ctx;

    for (size_t i = 0; i < w->n_streams; i++) {
        if (strcmp(w->streams[i].name, name) != 0)
            continue;
        for (size_t k = 0; k < ARRAY_SIZE(w->drains); k++) {
            struct drain *d = &w->drains[k];

            if (d->timer)
                continue;
            *d = (struct drain){.w = w, .stream = &w->streams[i], .token = token};
            return w->loop.iface.timer(&w->loop, "drain", 0, on_drain, d, &d->timer, err);
        }
    }
    return vivi_fail(err, VIV_E_NOT_FOUND, "no stream %s", name);
}

/* ---- monitor's part ---- */

static void record_done(struct world *w, const struct vivi_driver_event *e)
{
    struct done_record *r = NULL;

    for (size_t i = 0; i < w->n_done; i++)
        if (w->done[i].op == e->op)
            r = &w->done[i];
    if (!r && w->n_done < WORLD_MAX_DONE) {
        r = &w->done[w->n_done++];
        *r = (struct done_record){.op = e->op, .fd = -1};
    }
    if (!r) {
        if (e->fd > 0)
            (void)close(e->fd);
        return;
    }
    if (e->value) {
        json_decref(w->value);
        w->value = json_deep_copy(e->value);
    }
    if (e->fd > 0)
        r->fd = e->fd;
    r->times++;
    r->code = e->err ? e->err->code : 0;
    (void)snprintf(r->message, sizeof(r->message), "%s", e->err ? e->err->message : "");
}

/* As a monitor does: where a boot begins that its VMM did not stop for. */
static uint64_t behind_the_marker(struct world *w)
{
    struct stream *s = world_serial(w);
    size_t len = s && s->size > w->boot_offset ? (size_t)(s->size - w->boot_offset) : 0;
    char *data = malloc(len + 1), *at, *lf;
    uint64_t end = w->boot_offset;

    if (data && len > 0 && pread(s->log_fd, data, len, (off_t)w->boot_offset) == (ssize_t)len) {
        data[len] = '\0';
        at = memmem(data, len, "VMRS_READY ", 11);
        lf = at ? memchr(at, '\n', len - (size_t)(at - data)) : NULL;
        if (lf)
            end += (uint64_t)(lf + 1 - data);
    }
    free(data);
    return end;
}

static void record_reset(struct world *w, const struct vivi_driver_event *e)
{
    bool same = e->stamp ? e->stamp <= w->reset_stamp : e->offset == w->boot_offset;

    w->n_reset++;
    if (same)
        return;
    w->boot++;
    w->boot_offset = e->offset == VIVI_OFFSET_UNKNOWN ? behind_the_marker(w) : e->offset;
    w->reset_stamp = e->stamp;
    w->gated = e->offset != VIVI_OFFSET_UNKNOWN;
}

static void host_event(void *ctx, const struct vivi_driver_event *e)
{
    struct world *w = ctx;

    w->n_events++;
    if (w->inside_slot)
        world_fail_text(w, "event", "told from inside a slot");
    if (e->run != w->begun.run)
        w->wrong_run = true;
    switch (e->kind) {
    case VIVI_EV_DONE: record_done(w, e); return;
    case VIVI_EV_STATE: w->state = w->machine.state = e->state; return;
    case VIVI_EV_AGENT: return; /* a hint: tests of the monitor look at it */
    case VIVI_EV_API: w->n_api++; return;
    case VIVI_EV_CREATED: w->n_created++; return;
    case VIVI_EV_LISTENING:
    case VIVI_EV_HANDED_OVER:
    case VIVI_EV_PORTS: return;
    case VIVI_EV_ENDING:
        w->n_ending++;
        w->reason = e->reason;
        return;
    case VIVI_EV_RESET: record_reset(w, e); return;
    case VIVI_EV_PROGRESS: w->n_progress++; return;
    case VIVI_EV_DEVICE:
        w->n_device++;
        w->device_kind = e->device_kind;
        (void)snprintf(w->device_id, sizeof(w->device_id), "%s", e->id);
        return;
    }
}

static void new_machine(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;

    if (vivi_machine_init(&w->machine, w->driver, vivi_effects_get(w->driver->kind),
                          &w->facts.probe.caps, &err) < 0) {
        world_fail_text(w, "machine", err.message);
        return;
    }
    w->has_machine = true;
    w->machine.state = VIV_ST_STARTING;
    w->begun = (struct vivi_machine_start){.host = &w->host,
                                           .config = &w->config,
                                           .plan = &w->plan,
                                           .requests = w->plan.requests,
                                           .run_dir = w->run_dir,
                                           .run = 7,
                                           .vmm = w->vmm};
}

void world_monitor_dies(struct world *w)
{
    if (!w->has_machine)
        return;
    vivi_machine_done(&w->machine);
    w->has_machine = false;
    for (size_t i = 0; i < ARRAY_SIZE(w->drains); i++) {
        w->loop.iface.timer_stop(w->drains[i].timer);
        w->drains[i].timer = NULL;
    }
    for (size_t i = 0; i < w->n_streams; i++)
        w->streams[i].offered = w->streams[i].consumed;
    w->state = VIV_ST_COUNT_;
}

uint64_t world_begin(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t op = ++w->next_op;

    new_machine(w);
    w->inside_slot = true;
    if (vivi_machine_start(&w->machine, &w->begun, op, &err) < 0) {
        world_fail_text(w, "start was refused", err.message);
        op = 0;
    }
    w->inside_slot = false;
    return op;
}

uint64_t world_adopt(struct world *w, viv_error *err)
{
    uint64_t op = ++w->next_op;

    new_machine(w);
    w->begun.plan = NULL;
    w->machine.state = VIV_ST_RUNNING;
    w->inside_slot = true;
    if (vivi_machine_adopt(&w->machine, &w->begun, op, err) < 0)
        op = 0;
    w->inside_slot = false;
    for (size_t i = 0; i < w->n_streams; i++)
        offer(w, &w->streams[i]);
    return op;
}

void world_adopted(struct world *w)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t op;

    world_monitor_dies(w);
    op = world_adopt(w, &err);
    if (op == 0)
        world_fail_text(w, "adoption was refused", err.message);
    else
        (void)world_wait_done(w, op);
}

uint64_t world_call(struct world *w, world_verb *verb, viv_error *err)
{
    uint64_t op = ++w->next_op;

    w->inside_slot = true;
    if (verb(&w->machine, op, err) < 0)
        op = 0;
    w->inside_slot = false;
    return op;
}

void world_do(struct world *w, world_verb *verb)
{
    viv_error err = VIV_ERROR_INIT;
    uint64_t op = world_call(w, verb, &err);

    if (op == 0)
        world_fail_text(w, "a slot was refused", err.message);
    else
        (void)world_wait_done(w, op);
}

/* An image, and the device in the configuration; its index. */
static size_t configure_disk(struct world *w, const char *id, uint64_t bytes)
{
    struct vivi_config *c = &w->config;
    struct vivi_disk *more = realloc(c->disks, (c->n_disks + 1) * sizeof(*more));
    char path[160];
    int fd;

    if (!more) {
        world_fail_text(w, "config", "out of memory");
        return 0;
    }
    c->disks = more;
    (void)snprintf(path, sizeof(path), "%s/%.40s, hot.img", w->dir, id);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
        world_fail_text(w, "disk", strerror(errno));
    vivi_close(&fd);
    c->disks[c->n_disks] = (struct vivi_disk){
        .id = strdup(id), .path = strdup(path), .slot = (uint32_t)c->n_disks + 1};
    return c->n_disks++;
}

static uint64_t called(struct world *w, int r, uint64_t op)
{
    return w->inside_slot = false, r < 0 ? 0 : op;
}

uint64_t world_disk_add(struct world *w, const char *id, uint64_t bytes, viv_error *err)
{
    struct vivi_device d = {.kind = VIVI_DEV_DISK, .id = id, .config = &w->config, .uuid = UUID};
    uint64_t op = ++w->next_op;

    for (d.index = 0; d.index < w->config.n_disks; d.index++)
        if (strcmp(w->config.disks[d.index].id, id) == 0)
            break;
    if (d.index == w->config.n_disks)
        d.index = configure_disk(w, id, bytes);
    w->inside_slot = true;
    return called(w, vivi_machine_device_add(&w->machine, &d, op, err), op);
}

uint64_t world_disk_remove(struct world *w, const char *id, viv_error *err)
{
    uint64_t op = ++w->next_op;

    w->inside_slot = true;
    return called(w, vivi_machine_device_remove(&w->machine, VIVI_DEV_DISK, id, op, err), op);
}

uint64_t world_resize(struct world *w, const struct vivi_resize *what, viv_error *err)
{
    struct vivi_resize now = *what;
    uint64_t op = ++w->next_op;

    now.config = &w->config;
    w->inside_slot = true;
    return called(w, vivi_machine_resize(&w->machine, &now, op, err), op);
}

/* ---- ports and process ---- */

static void path_of(char ret[160], const char *dir, const char *name)
{
    (void)snprintf(ret, 160, "%s/%s", dir, name);
}

static void add_stream(struct world *w, const struct vivi_port *p)
{
    struct stream *s = &w->streams[w->n_streams++];
    char path[160];
    viv_error err = VIV_ERROR_INIT;

    *s = (struct stream){.w = w, .to_driver = p->to_driver};
    (void)snprintf(s->name, sizeof(s->name), "%s", p->name);
    path_of(path, w->run_dir, p->name);
    s->fifo_fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    path_of(path, w->vm_dir, p->log);
    s->log_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->fifo_fd < 0 || s->log_fd < 0 ||
        w->loop.iface.watch(&w->loop, s->fifo_fd, VIVI_READ, on_fifo, s, &s->watch, &err) < 0)
        world_fail_text(w, "cannot open a stream", p->name);
}

/* The child's descriptors; ours are closed once it has them. */
struct lent {
    struct vivi_fd_map map[16];
    size_t n;
};

static void lend(struct lent *l, int fd, int child_fd)
{
    if (child_fd < 0 || fd < 0 || l->n == ARRAY_SIZE(l->map))
        vivi_close(&fd);
    else
        l->map[l->n++] = (struct vivi_fd_map){fd, child_fd};
}

static void make_fifo(struct world *w, const struct vivi_port *p, const char *path, struct lent *l)
{
    bool out = p->kind == VIVI_PORT_FIFO_OUT;

    if (mkfifo(path, 0600) < 0)
        world_fail_text(w, "mkfifo", strerror(errno));
    if (out)
        add_stream(w, p);
    else if (strcmp(p->name, "serial.in") == 0)
        w->input_fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (p->child_fd_rw >= 0)
        lend(l, open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC), p->child_fd_rw);
    if (p->child_fd >= 0)
        lend(l, open(path, (out ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_CLOEXEC), p->child_fd);
}

static void make_port(struct world *w, const struct vivi_port *p, struct lent *l)
{
    char path[160];
    viv_error err = VIV_ERROR_INIT;
    int fd = -1;

    path_of(path, w->run_dir, p->name);
    switch (p->kind) {
    case VIVI_PORT_LISTEN:
        if (vivi_unix_listen(path, 8, &fd, &err) < 0)
            world_fail_text(w, "listen", err.message);
        lend(l, fd, p->child_fd);
        return;
    case VIVI_PORT_FIFO_IN:
    case VIVI_PORT_FIFO_OUT: make_fifo(w, p, path, l); return;
    case VIVI_PORT_PTY:
        if (vivi_pty_open(&w->input_fd, &fd, &err) < 0)
            world_fail_text(w, "terminal", err.message);
        lend(l, fd, p->child_fd);
        lend(l, fcntl(w->input_fd, F_DUPFD_CLOEXEC, 3), p->child_fd_rw);
        return;
    case VIVI_PORT_SOCKET: (void)unlink(path); return;
    case VIVI_PORT_HELD: world_fail_text(w, "port", "no case here gives a descriptor"); return;
    case VIVI_PORT_DIR:
        lend(l,
             open(strcmp(p->name, VIVI_DIR_RUN) == 0 ? w->run_dir : w->vm_dir,
                  O_PATH | O_DIRECTORY | O_CLOEXEC),
             p->child_fd);
        return;
    }
}

static void spawn(struct world *w, const struct vivi_fd_map *map, size_t n_map)
{
    const struct vivi_spawn s = {
        .path = w->plan.exe, .argv = w->plan.argv, .map = map, .n_map = n_map};
    struct vivi_gated g;
    viv_error err = VIV_ERROR_INIT;
    int failed = 0;

    if (vivi_spawn_gated(&s, NULL, 0, &g, &err) < 0) {
        world_fail_text(w, "spawn", err.message);
        return;
    }
    if (vivi_proc_identify(g.pid, &w->vmm, &err) < 0 ||
        vivi_proc_open(&w->vmm, &w->pidfd, &err) < 0)
        world_fail_text(w, "identity", err.message);
    if (write(g.gate_fd, "", 1) != 1 || read(g.exec_fd, &failed, sizeof(failed)) != 0)
        world_fail_text(w, "exec", w->plan.exe);
    vivi_close(&g.gate_fd);
    vivi_close(&g.exec_fd);
    if (w->loop.iface.watch(&w->loop, w->pidfd, VIVI_READ, on_vmm_exit, w, &w->vmm_watch, &err) < 0)
        world_fail_text(w, "watch", err.message);
}

void world_spawn(struct world *w)
{
    struct lent l = {.n = 0};

    for (size_t i = 0; i < w->plan.n_ports && !*w->failure; i++)
        make_port(w, &w->plan.ports[i], &l);
    if (!*w->failure)
        spawn(w, l.map, l.n);
    for (size_t i = 0; i < l.n; i++)
        vivi_close(&l.map[i].fd);
}

void world_start(struct world *w)
{
    uint64_t op;

    world_spawn(w);
    if (*w->failure)
        return;
    op = world_begin(w);
    if (op)
        (void)world_wait_done(w, op);
}

/* ---- init, done ---- */

static char *copy(const char *s)
{
    return s ? strdup(s) : NULL;
}

static void write_tiny_guest(struct world *w, bool as_firmware)
{
    bool pvh = w->driver->kind == VIVI_DRIVER_CLOUD_HYPERVISOR;
    const char *start = pvh ? pvh_guest_start : tiny_guest_start;
    const char *end = pvh ? pvh_guest_end : tiny_guest_end;
    char path[160];
    viv_error err = VIV_ERROR_INIT;

    path_of(path, w->dir, "guest");
    if (vivi_write_file_at(AT_FDCWD, path, start, (size_t)(end - start), VIVI_FAST, &err) < 0)
        world_fail_text(w, "guest", err.message);
    *(as_firmware ? &w->config.firmware : &w->config.kernel) = copy(path);
}

static void make_config(struct world *w, const char *script, bool as_firmware)
{
    struct vivi_config *c = &w->config;

    c->name = copy("contract");
    c->driver = w->driver->kind;
    c->machine = copy("auto");
    c->cpus = 1;
    c->memory_bytes = UINT64_C(64) << 20;
    c->serial_log_limit_bytes = UINT64_C(16) << 20;
    c->allow.items = calloc(1, sizeof(*c->allow.items)); /* what is attached later lies there */
    if (c->allow.items)
        c->allow.items[c->allow.n++] = copy(w->dir);
    if (w->driver->kind == VIVI_DRIVER_FAKE)
        c->fake_script = copy(script ? script : "keys");
    else
        write_tiny_guest(w, as_firmware);
}

static void make_plan(struct world *w)
{
    const struct vivi_plan_input in = {.config = &w->config,
                                       .facts = &w->facts,
                                       .uuid = UUID,
                                       .nonce = NONCE,
                                       .run_dir = w->run_dir,
                                       .vm_dir = w->vm_dir,
                                       .how = VIVI_HOW_BOOT};
    cleanup_problems struct vivi_problems problems = {0};
    viv_error err = VIV_ERROR_INIT;

    if (vivi_facts_gather(&w->config, w->driver, NULL, &w->facts, &err) < 0)
        world_fail_text(w, "facts", err.message);
    else if (w->driver->check(&w->config, &w->facts, &problems) < 0)
        world_fail_text(w, "check", "out of memory");
    else if (problems.n > 0)
        world_fail_text(w, "check", problems.items[0].message);
    else if (w->driver->plan(&in, &w->plan, &err) < 0)
        world_fail_text(w, "plan", err.message);
}

static void init_dirs(struct world *w, const struct vivi_driver *d)
{
    char snapshots[160], hotplug[160];

    memset(w, 0, sizeof(*w));
    poll_loop_init(&w->loop);
    w->driver = d;
    w->pidfd = w->input_fd = -1;
    w->state = VIV_ST_COUNT_;
    w->boot = 1;
    w->host = (struct vivi_driver_host){
        .ctx = w, .loop = &w->loop.iface, .event = host_event, .drain = host_drain};
    (void)snprintf(w->dir, sizeof(w->dir), "/tmp/viv-contract-XXXXXX");
    if (!mkdtemp(w->dir)) {
        world_fail_text(w, "mkdtemp", strerror(errno));
        return;
    }
    (void)snprintf(w->vm_dir, sizeof(w->vm_dir), "%.63s/vm", w->dir);
    (void)snprintf(w->run_dir, sizeof(w->run_dir), "%.63s/run, with a comma", w->dir);
    path_of(snapshots, w->vm_dir, "snapshots");
    path_of(hotplug, w->vm_dir, "hotplug");
    if (mkdir(w->vm_dir, 0700) < 0 || mkdir(w->run_dir, 0700) < 0 || mkdir(snapshots, 0700) < 0 ||
        mkdir(hotplug, 0700) < 0)
        world_fail_text(w, "mkdir", strerror(errno));
}

void world_init(struct world *w, const struct vivi_driver *d, const char *script)
{
    init_dirs(w, d);
    w->obeys = !script || strstr(script, "keys");
    make_config(w, script, false);
    make_plan(w);
}

void world_init_firmware(struct world *w, const struct vivi_driver *d)
{
    init_dirs(w, d);
    w->obeys = true;
    make_config(w, NULL, true);
    make_plan(w);
}

static void add_disk(struct world *w, const char *id, uint64_t bytes, bool readonly)
{
    struct vivi_disk *d = &w->config.disks[w->config.n_disks++];
    char path[160];

    path_of(path, w->dir, id);
    (void)strncat(path, ", 1.img", sizeof(path) - strlen(path) - 1);
    *d = (struct vivi_disk){.id = copy(id),
                            .path = copy(path),
                            .readonly = readonly,
                            .slot = (uint32_t)w->config.n_disks};
    vivi_close(&(int){open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)});
    if (truncate(path, (off_t)bytes) < 0)
        world_fail_text(w, "disk", strerror(errno));
}

void world_init_linux(struct world *w, const struct vivi_driver *d, const char *dir,
                      const char *cmdline)
{
    struct vivi_config *c = &w->config;
    char text[512];

    init_dirs(w, d);
    c->name = copy("contract");
    c->driver = d->kind;
    c->machine = copy("auto");
    c->cpus = 2;
    c->cpus_max = 4;
    c->memory_bytes = UINT64_C(256) << 20;
    c->memory_max_bytes = UINT64_C(512) << 20;
    c->serial_log_limit_bytes = UINT64_C(16) << 20;
    (void)snprintf(text, sizeof(text), "%s/vmlinuz", dir);
    c->kernel = copy(text);
    (void)snprintf(text, sizeof(text), "%s/initramfs", dir);
    c->initramfs = copy(text);
    (void)snprintf(text, sizeof(text), "console=ttyS0 cryptomgr.notests quiet %s", cmdline);
    c->cmdline = copy(text);
    c->disks = calloc(2, sizeof(*c->disks));
    c->nets = calloc(1, sizeof(*c->nets));
    if (!c->disks || !c->nets) {
        world_fail_text(w, "config", "out of memory");
        return;
    }
    add_disk(w, "root", UINT64_C(8) << 20, false);
    add_disk(w, "data", UINT64_C(4) << 20, true);
    if (d->kind == VIVI_DRIVER_QEMU) { /* user-mode: needs nothing of the host */
        c->n_nets = 1;
        c->nets[0].slot = 1;
        c->nets[0].id = copy("n0");
        (void)snprintf(c->nets[0].mac, sizeof(c->nets[0].mac), "52:54:00:12:34:56");
    }
    make_plan(w);
}

void world_kill(struct world *w, int sig)
{
    (void)vivi_proc_signal(w->pidfd, sig, NULL);
}

void world_done(struct world *w)
{
    world_monitor_dies(w);
    if (w->vmm.pid && !w->exited) {
        world_kill(w, SIGKILL);
        (void)world_wait_exit(w);
    }
    for (size_t i = 0; i < w->n_streams; i++) {
        w->loop.iface.unwatch(w->streams[i].watch);
        vivi_close(&w->streams[i].fifo_fd);
        vivi_close(&w->streams[i].log_fd);
    }
    vivi_close(&w->pidfd);
    vivi_close(&w->input_fd);
    if (poll_loop_leftovers(&w->loop) > 0)
        world_fail_text(w, "teardown", "the driver left a watch or a timer behind");
    if (w->wrong_run)
        world_fail_text(w, "event", "an event of another run");
    json_decref(w->value);
    vivi_config_done(&w->config);
    vivi_facts_done(&w->facts);
    vivi_plan_done(&w->plan);
    (void)vivi_remove_tree_at(AT_FDCWD, w->dir, NULL);
}
