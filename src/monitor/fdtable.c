#include "monitor/fdtable.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/fd.h"
#include "model/parse.h"

void vivi_fds_done(struct vivi_fd_table *t)
{
    for (size_t i = 0; i < t->n; i++)
        vivi_close(&t->items[i].fd);
    free(t->items);
    *t = (struct vivi_fd_table){0};
}

static struct vivi_fd_entry *find(const struct vivi_fd_table *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++) {
        if (strcmp(t->items[i].name, name) == 0)
            return &t->items[i];
    }
    return NULL;
}

static bool good_name(const char *s, size_t max)
{
    size_t n = strlen(s);

    return n > 0 && n < max && strpbrk(s, ",=@/ \n") == NULL;
}

/* Room for one more entry at the end of the table, not counted yet. */
static struct vivi_fd_entry *grow(struct vivi_fd_table *t, viv_error *err)
{
    struct vivi_fd_entry *items;

    if (t->n >= VIVI_KEEPER_MAX_NAMES) {
        (void)vivi_fail(err, VIV_E_INVALID, "more than %d descriptors", VIVI_KEEPER_MAX_NAMES);
        return NULL;
    }
    items = realloc(t->items, (t->n + 1) * sizeof(*items));
    if (!items) {
        (void)vivi_fail_oom(err);
        return NULL;
    }
    t->items = items;
    return &items[t->n];
}

/* "name@file@limit" is taken apart in place. */
static int parse_name(char *text, struct vivi_fd_entry *e, viv_error *err)
{
    char *file = strchr(text, '@'), *limit = NULL;

    if (file) {
        *file++ = '\0';
        limit = strchr(file, '@');
        if (!limit)
            return vivi_fail(err, VIV_E_PROTOCOL, "%s: %s: no limit", VIVI_FDS_ENV, text);
        *limit++ = '\0';
        if (!good_name(file, sizeof(e->file)) || vivi_parse_u64(limit, &e->limit_bytes, NULL) < 0)
            return vivi_fail(err, VIV_E_PROTOCOL, "%s: %s: bad log", VIVI_FDS_ENV, text);
        (void)snprintf(e->file, sizeof(e->file), "%s", file);
    }
    if (!good_name(text, sizeof(e->name)))
        return vivi_fail(err, VIV_E_PROTOCOL, "%s: bad name", VIVI_FDS_ENV);
    (void)snprintf(e->name, sizeof(e->name), "%s", text);
    return 0;
}

static int parse_one(char *text, struct vivi_fd_table *t, viv_error *err)
{
    struct vivi_fd_entry e = {.fd = -1};
    struct vivi_fd_entry *slot;
    char *number = strchr(text, '=');
    uint64_t fd;
    int r;

    if (!number)
        return vivi_fail(err, VIV_E_PROTOCOL, "%s: no descriptor in \"%s\"", VIVI_FDS_ENV, text);
    *number++ = '\0';
    r = parse_name(text, &e, err);
    if (r < 0)
        return r;
    if (vivi_parse_u64(number, &fd, NULL) < 0 || fd > INT32_MAX || fcntl((int)fd, F_GETFD) < 0)
        return vivi_fail(err, VIV_E_PROTOCOL, "%s: %s: not an open descriptor", VIVI_FDS_ENV,
                         e.name);
    if (find(t, e.name))
        return vivi_fail(err, VIV_E_PROTOCOL, "%s: %s is there twice", VIVI_FDS_ENV, e.name);
    r = vivi_fd_cloexec((int)fd, true, err);
    if (r < 0)
        return r;
    slot = grow(t, err);
    if (!slot)
        return -VIV_E_NO_MEMORY;
    e.fd = (int)fd;
    *slot = e;
    t->n++;
    return 0;
}

int vivi_fds_parse(const char *text, struct vivi_fd_table *ret, viv_error *err)
{
    struct vivi_fd_table t = {0};
    cleanup_free char *copy = strdup(text ? text : "");
    char *rest = NULL;
    int r = 0;

    if (!copy)
        return vivi_fail_oom(err);
    for (char *s = strtok_r(copy, ",", &rest); s && r >= 0; s = strtok_r(NULL, ",", &rest))
        r = parse_one(s, &t, err);
    if (r < 0) {
        free(t.items); /* the descriptors are still the caller's */
        return r;
    }
    *ret = t;
    return 0;
}

int vivi_fds_get(const struct vivi_fd_table *t, const char *name)
{
    const struct vivi_fd_entry *e = find(t, name);

    return e ? e->fd : -1;
}

int vivi_fds_put(struct vivi_fd_table *t, const struct vivi_fd_entry *e_consume, viv_error *err)
{
    struct vivi_fd_entry *slot = find(t, e_consume->name);
    int fd = e_consume->fd;

    if (!good_name(e_consume->name, sizeof(e_consume->name)) ||
        (e_consume->file[0] && !good_name(e_consume->file, sizeof(e_consume->file)))) {
        vivi_close(&fd);
        return vivi_fail(err, VIV_E_INVALID, "\"%s\" cannot name a descriptor", e_consume->name);
    }
    if (slot) {
        vivi_close(&slot->fd);
        *slot = *e_consume;
        return 0;
    }
    slot = grow(t, err);
    if (!slot) {
        vivi_close(&fd);
        return -VIV_E_NO_MEMORY;
    }
    *slot = *e_consume;
    t->n++;
    return 0;
}

void vivi_fds_drop(struct vivi_fd_table *t, const char *name)
{
    struct vivi_fd_entry *e = find(t, name);

    if (!e)
        return;
    vivi_close(&e->fd);
    *e = t->items[--t->n];
}

int vivi_fds_format(const struct vivi_fd_table *t, const char *except, struct vivi_buf *out)
{
    const char *comma = "";
    int r = 0;

    for (size_t i = 0; i < t->n && r >= 0; i++) {
        const struct vivi_fd_entry *e = &t->items[i];

        if (except && strcmp(e->name, except) == 0)
            continue;
        if (e->file[0])
            r = vivi_buf_printf(out, "%s%s@%s@%" PRIu64 "=%d", comma, e->name, e->file,
                                e->limit_bytes, e->fd);
        else
            r = vivi_buf_printf(out, "%s%s=%d", comma, e->name, e->fd);
        comma = ",";
    }
    return r;
}

int vivi_fds_inherit(const struct vivi_fd_table *t, viv_error *err)
{
    for (size_t i = 0; i < t->n; i++) {
        int r = vivi_fd_cloexec(t->items[i].fd, false, err);

        if (r < 0)
            return r;
    }
    return 0;
}
