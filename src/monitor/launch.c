/*
 * The one place that applies a launch plan.
 *
 * Theory of operation. Each port becomes descriptors in the keeper's table. Some only the child
 * needs ("temporaries": listening sockets, the VMM's ends of FIFOs): they are held under the port's
 * name, named in the spawn's map, and dropped once the child has them, because a listening socket
 * that we kept would go on accepting connections for a dead VMM. The FIFOs of logs stay in the
 * keeper's table for the whole run, and a duplicate with us, so that whoever of the two survives
 * can hand them on; so does the master of a pseudo-terminal. Files of an earlier run are removed
 * first: nobody who still had one open may write into this run.
 */
#include "monitor/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "driver/disks.h"
#include "base/pty.h"

#define MAP_MAX (3 * 16)

struct apply {
    struct vivi_monitor *m;
    struct vivi_keeper_map map[MAP_MAX];
    char names[MAP_MAX][VIVI_KEEPER_NAME_MAX];
    size_t n;
};

static int path_of(const struct vivi_monitor *m, const char *name, char ret[512], viv_error *err)
{
    int n = snprintf(ret, 512, "%s/%s", m->dir.run_dir, name);

    if (n < 0 || n >= 512 || strchr(name, '/'))
        return vivi_fail(err, VIV_E_INVALID, "%s: not a name for the run directory", name);
    return 0;
}

static int map_to(struct apply *a, const char *name, const char *suffix, int child_fd,
                  viv_error *err)
{
    int n;

    if (a->n == MAP_MAX)
        return vivi_fail(err, VIV_E_INTERNAL, "a plan with more than %d descriptors", MAP_MAX);
    n = snprintf(a->names[a->n], VIVI_KEEPER_NAME_MAX, "%s%s", name, suffix);
    if (n < 0 || n >= VIVI_KEEPER_NAME_MAX)
        return vivi_fail(err, VIV_E_INVALID, "%s: too long a name", name);
    a->map[a->n] = (struct vivi_keeper_map){child_fd, a->names[a->n]};
    a->n++;
    return 0;
}

/* A descriptor that only the child needs. */
struct loan {
    const char *name, *suffix;
    int fd; /* consumed */
    int child_fd;
};

static int lend(struct apply *a, const struct loan *l, viv_error *err)
{
    cleanup_close int fd = l->fd;
    int r = map_to(a, l->name, l->suffix, l->child_fd, err);

    return r < 0 ? r : vivi_keeper_hold(&a->m->keeper, a->map[a->n - 1].name, fd, err);
}

static int apply_listen(struct apply *a, const struct vivi_port *p, viv_error *err)
{
    char path[512];
    int fd = -1, r = path_of(a->m, p->name, path, err);

    if (r >= 0)
        r = vivi_unix_listen(path, 8, &fd, err);
    if (r < 0)
        return r;
    return lend(a, &(struct loan){p->name, "", fd, p->child_fd}, err);
}

static int make_fifo(const char *path, viv_error *err)
{
    if (unlink(path) < 0 && errno != ENOENT)
        return vivi_fail_errno(err, errno, "cannot remove %s", path);
    if (mkfifo(path, 0600) < 0)
        return vivi_fail_errno(err, errno, "cannot make %s", path);
    return 0;
}

static int open_fifo(const char *path, int flags, int *ret, viv_error *err)
{
    int fd = open(path, flags | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot open %s", path);
    *ret = vivi_fd_above_stdio(fd, err);
    return *ret < 0 ? *ret : 0;
}

/* The keeper's own end of an outgoing FIFO: from here on it fills the log. */
static int keep_log(struct vivi_monitor *m, const struct vivi_port *p, const char *path,
                    viv_error *err)
{
    struct vivi_fd_entry e = {.limit_bytes = p->log_limit_bytes};
    int r = open_fifo(path, O_RDWR, &e.fd, err);

    if (r < 0)
        return r;
    (void)snprintf(e.name, sizeof(e.name), "%s", p->name);
    (void)snprintf(e.file, sizeof(e.file), "%s", p->log);
    r = vivi_keeper_log(&m->keeper,
                        &(struct vivi_keeper_log){p->name, p->log, p->log_limit_bytes, e.fd}, err);
    if (r < 0) {
        vivi_close(&e.fd);
        return r;
    }
    return vivi_fds_put(&m->fds, &e, err);
}

static int apply_fifo(struct apply *a, const struct vivi_port *p, viv_error *err)
{
    bool out = p->kind == VIVI_PORT_FIFO_OUT;
    char path[512];
    int fd = -1, r = path_of(a->m, p->name, path, err);

    if (r >= 0)
        r = make_fifo(path, err);
    if (r >= 0 && out)
        r = keep_log(a->m, p, path, err);
    if (r >= 0 && p->child_fd_rw >= 0) {
        r = open_fifo(path, O_RDWR, &fd, err);
        if (r >= 0)
            r = lend(a, &(struct loan){p->name, ".rw", fd, p->child_fd_rw}, err);
    }
    if (r >= 0 && p->child_fd >= 0) {
        r = open_fifo(path, out ? O_WRONLY : O_RDONLY, &fd, err);
        if (r >= 0)
            r = lend(a, &(struct loan){p->name, ".vmm", fd, p->child_fd}, err);
    }
    return r;
}

/* The master stays with the keeper and with us for the whole run: console input goes there. */
static int apply_pty(struct apply *a, const struct vivi_port *p, viv_error *err)
{
    struct vivi_fd_entry e = {.fd = -1};
    int slave = -1, copy = -1, r = vivi_pty_open(&e.fd, &slave, err);

    if (r < 0)
        return r;
    (void)snprintf(e.name, sizeof(e.name), "%s", p->name);
    r = vivi_keeper_hold(&a->m->keeper, p->name, e.fd, err);
    if (r >= 0 && p->child_fd_rw >= 0) {
        copy = fcntl(e.fd, F_DUPFD_CLOEXEC, 3);
        r = copy < 0 ? vivi_fail_errno(err, errno, "cannot duplicate a descriptor")
                     : lend(a, &(struct loan){p->name, ".rw", copy, p->child_fd_rw}, err);
    }
    if (r >= 0)
        r = lend(a, &(struct loan){p->name, ".vmm", take_fd(&slave), p->child_fd}, err);
    vivi_close(&slave);
    if (r < 0) {
        vivi_close(&e.fd);
        return r;
    }
    return vivi_fds_put(&a->m->fds, &e, err);
}

static int apply_socket(const struct apply *a, const struct vivi_port *p, viv_error *err)
{
    char path[512];
    int r = path_of(a->m, p->name, path, err);

    if (r >= 0 && unlink(path) < 0 && errno != ENOENT)
        return vivi_fail_errno(err, errno, "cannot remove %s", path);
    return r;
}

static int apply_dir(struct apply *a, const struct vivi_port *p, viv_error *err)
{
    const char *path = strcmp(p->name, VIVI_DIR_RUN) == 0 ? a->m->dir.run_dir : a->m->dir.path;
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return vivi_fail_errno(err, errno, "cannot open %s", path);
    fd = vivi_fd_above_stdio(fd, err);
    return fd < 0 ? fd : lend(a, &(struct loan){p->name, ".vmm", fd, p->child_fd}, err);
}

static int apply_port(struct apply *a, const struct vivi_port *p, viv_error *err)
{
    switch (p->kind) {
    case VIVI_PORT_LISTEN: return apply_listen(a, p, err);
    case VIVI_PORT_FIFO_OUT:
    case VIVI_PORT_FIFO_IN: return apply_fifo(a, p, err);
    case VIVI_PORT_PTY: return apply_pty(a, p, err);
    case VIVI_PORT_SOCKET: return apply_socket(a, p, err);
    case VIVI_PORT_HELD: return map_to(a, p->name, "", p->child_fd, err);
    case VIVI_PORT_DIR: return apply_dir(a, p, err);
    }
    return 0;
}

int vivi_launch_apply(struct vivi_monitor *m, viv_error *err)
{
    struct apply a = {.m = m};
    struct vivi_keeper_spawn s = {.req = ++m->spawn_req,
                                  .run = m->st.run,
                                  .role = "vmm",
                                  .exe = m->plan.exe,
                                  .argv = m->plan.argv,
                                  .n_argv = m->plan.n_argv,
                                  .map = a.map};
    int r = vivi_vmdir_ensure_run(&m->dir, err);

    if (r >= 0)
        r = vivi_disks_grow(&m->config, NULL, err);
    for (size_t i = 0; i < m->plan.n_ports && r >= 0; i++)
        r = apply_port(&a, &m->plan.ports[i], err);
    if (r < 0)
        return r;
    s.n_map = a.n;
    return vivi_keeper_spawn(&m->keeper, &s, err);
}

/* ---- the logs of a run ---- */

int vivi_launch_streams(struct vivi_monitor *m, viv_error *err)
{
    vivi_streams_done(&m->streams);
    for (size_t i = 0; i < m->plan.n_ports; i++) {
        const struct vivi_port *p = &m->plan.ports[i];
        struct vivi_stream *s;
        int r;

        if (p->kind != VIVI_PORT_FIFO_OUT)
            continue;
        s = vivi_stream_add(&m->streams, p->name, p->log);
        if (!s)
            return vivi_fail(err, VIV_E_INTERNAL, "a plan with more than %d logs",
                             VIVI_STREAMS_MAX);
        s->to_driver = p->to_driver;
        s->limit_bytes = p->log_limit_bytes;
        r = vivi_stream_open(s, m->dir.fd, err);
        if (r < 0)
            return r;
        s->start = s->taken = s->size;
        r = vivi_stream_reserve(s, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Once the VMM is there: until then nothing has come, and nobody waits for this. */
void vivi_launch_times(struct vivi_monitor *m)
{
    const struct vivi_stream *serial = vivi_stream_serial(&m->streams);

    if (serial)
        vivi_streams_time(&m->streams, m->dir.fd, serial->start);
}

/* ---- afterwards ---- */

static void drop(struct vivi_monitor *m, const char *name, const char *suffix)
{
    char text[VIVI_KEEPER_NAME_MAX];

    (void)snprintf(text, sizeof(text), "%s%s", name, suffix);
    (void)vivi_keeper_drop(&m->keeper, text, NULL); /* the keeper's death is told elsewhere */
}

void vivi_launch_spawned(struct vivi_monitor *m)
{
    for (size_t i = 0; i < m->plan.n_ports; i++) {
        const struct vivi_port *p = &m->plan.ports[i];

        if (p->kind == VIVI_PORT_HELD)
            continue;
        if (p->kind == VIVI_PORT_LISTEN) {
            drop(m, p->name, "");
            continue;
        }
        if (p->child_fd >= 0)
            drop(m, p->name, ".vmm");
        if (p->child_fd_rw >= 0)
            drop(m, p->name, ".rw");
    }
}

void vivi_launch_clean(struct vivi_monitor *m)
{
    const json_t *ports = json_object_get(m->running, "ports");
    char path[512];

    for (size_t i = 0; i < m->streams.n; i++) {
        drop(m, m->streams.items[i].name, "");
        vivi_fds_drop(&m->fds, m->streams.items[i].name);
    }
    for (size_t i = 0; i < json_array_size(ports); i++) {
        const char *name = json_string_value(json_array_get(ports, i));

        if (name && path_of(m, name, path, NULL) == 0)
            (void)unlink(path);
    }
    vivi_terminal_drop(m);
    vivi_plan_done(&m->plan);
    free(m->input_path);
    m->input_path = NULL;
}
