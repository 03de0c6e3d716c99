/* What the monitor asks, carried out. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "keeper/keeper.h"

static void refused(const struct vivi_request *r, const char *why)
{
    vivi_log(VIVI_LOG_ERROR, "%s: cannot be held: %s", r->name, why);
}

static void on_hold(struct vivi_keeper *k, const struct vivi_request *r, int fd_consume,
                    uint64_t now_us)
{
    struct vivi_entry *old = vivi_table_find(&k->table, r->name), *e;
    cleanup_close int fd = fd_consume;
    viv_error err = VIV_ERROR_INIT;
    struct stat st;

    if (vivi_keeper_reserved(r->name)) {
        refused(r, "a reserved name");
        return;
    }
    if (r->op == VIVI_KO_LOG && (fstat(fd, &st) < 0 || !S_ISFIFO(st.st_mode))) {
        refused(r, "not a FIFO");
        return;
    }
    for (size_t i = 0; r->op == VIVI_KO_LOG && i < ARRAY_SIZE(k->table.entries); i++) {
        const struct vivi_entry *other = &k->table.entries[i];

        if (other != old && other->name[0] != '\0' && strcmp(other->stream.file, r->file) == 0) {
            refused(r, "another stream goes into that file");
            return;
        }
    }
    if (old != NULL)
        vivi_stream_drain(old, k->vm_fd, now_us);
    if (vivi_table_put(&k->table, r->name, take_fd(&fd), &e, &err) < 0) {
        refused(r, err.message);
        return;
    }
    if (r->op == VIVI_KO_LOG)
        (void)vivi_stream_set(&e->stream, k->vm_fd, r->file, r->limit_bytes);
    if (strcmp(r->name, "caller") == 0)
        k->caller_gone = false;
}

static void on_drop(struct vivi_keeper *k, const struct vivi_request *r, uint64_t now_us)
{
    struct vivi_entry *e = vivi_table_find(&k->table, r->name);

    if (e == NULL)
        return;
    vivi_stream_drain(e, k->vm_fd, now_us);
    if (strcmp(r->name, "caller") == 0)
        k->caller_gone = false;
    vivi_table_drop(e);
}

static void on_drain(struct vivi_keeper *k, const struct vivi_request *r, uint64_t now_us)
{
    struct vivi_entry *e = vivi_table_find(&k->table, r->name);

    if (e != NULL)
        vivi_stream_drain(e, k->vm_fd, now_us);
    vivi_link_reply(k, VIVI_KO_DRAINED, "%" PRIu64 "\x1f%s\x1f%" PRIu64, r->token, r->name,
                    e == NULL ? 0 : e->stream.size);
}

static int map_names(struct vivi_keeper *k, const struct vivi_request *r, int null_fd,
                     struct vivi_fd_map *map, viv_error *err)
{
    for (size_t i = 0; i < r->n_map; i++) {
        const struct vivi_entry *e = vivi_table_find(&k->table, r->map[i].name);

        map[i].child_fd = r->map[i].child_fd;
        if (e != NULL)
            map[i].fd = e->fd;
        else if (strcmp(r->map[i].name, "null") == 0)
            map[i].fd = null_fd;
        else
            return vivi_fail_errno(err, ENOENT, "descriptor %s", r->map[i].name);
    }
    return 0;
}

static int spawn(struct vivi_keeper *k, const struct vivi_request *r, viv_error *err)
{
    cleanup_close int null_fd = -1;
    struct vivi_fd_map map[VIVI_REQUEST_MAX_MAP];
    /* exec wants no const, and changes nothing. */
    struct vivi_spawn s = {
        .path = r->exe, .argv = (char *const *)(uintptr_t)r->argv, .map = map, .n_map = r->n_map};
    struct vivi_child_spec spec = {.role = r->name, .run = r->run, .req = r->token, .spawn = &s};
    struct vivi_child *c;
    int n = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (n < 0)
        return vivi_fail_errno(err, errno, "/dev/null");
    null_fd = n;
    n = map_names(k, r, null_fd, map, err);
    return n < 0 ? n : vivi_child_spawn(k, &spec, &c, err);
}

static void on_spawn(struct vivi_keeper *k, const struct vivi_request *r)
{
    viv_error err = VIV_ERROR_INIT;

    if (spawn(k, r, &err) < 0) {
        vivi_log(VIVI_LOG_ERROR, "%s: %s", r->name, err.message);
        for (char *p = err.message; *p != '\0'; p++)
            if (*p == VIVI_FIELD_END)
                *p = '?'; /* a path may hold anything */
        vivi_link_reply(k, VIVI_KO_SPAWN_FAILED, "%" PRIu64 "\x1f%d\x1f%s", r->token,
                        err.sys_errno == 0 ? EIO : err.sys_errno, err.message);
    }
}

static int serve_frame(struct vivi_keeper *k, struct vivi_frame *f, uint64_t now_us, viv_error *err)
{
    struct vivi_request r;
    int known = vivi_request_parse(f, &r, err);

    if (known < 0)
        return known;
    if (known == 0) {
        vivi_log(VIVI_LOG_WARN, "request %d of a newer monitor is passed over", f->op);
        return 0;
    }
    switch (r.op) {
    case VIVI_KO_HOLD:
    case VIVI_KO_LOG: on_hold(k, &r, take_fd(&f->fds[0]), now_us); break;
    case VIVI_KO_DROP: on_drop(k, &r, now_us); break;
    case VIVI_KO_DRAIN: on_drain(k, &r, now_us); break;
    case VIVI_KO_SPAWN: on_spawn(k, &r); break;
    case VIVI_KO_QUIT: vivi_link_quit(k, now_us); break;
    case VIVI_KO_SPAWNED:
    case VIVI_KO_SPAWN_FAILED:
    case VIVI_KO_EXIT:
    case VIVI_KO_GREW:
    case VIVI_KO_DRAINED:
    case VIVI_KO_LOST:
    case VIVI_KO_CALLER_GONE: break; /* not a monitor's: never parsed as a request */
    }
    return 0;
}

bool vivi_serve(struct vivi_keeper *k, uint64_t now_us)
{
    struct vivi_link *l = &k->link;
    viv_error err = VIV_ERROR_INIT;
    int got = vivi_frames_read(&l->in, l->fd, &err), r = 0;

    if (got == -VIV_E_BUSY)
        return false;
    while (l->fd >= 0 && r >= 0) {
        cleanup_frame struct vivi_frame f = {0};

        r = vivi_frames_next(&l->in, &f, &err);
        if (r <= 0)
            break;
        r = serve_frame(k, &f, now_us, &err);
    }
    if (r < 0 || (got < 0 && err.code == VIV_E_PROTOCOL))
        vivi_link_lose(k, err.message);
    else if (got <= 0)
        vivi_link_lose(k, NULL);
    return got > 0;
}
