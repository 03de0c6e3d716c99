#include "members.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool vivi_member_path_is_safe(const char *path)
{
    size_t len;

    if (path == NULL || *path == '\0')
        return false;
    for (const char *part = path; part != NULL; part = part[len] == '/' ? part + len + 1 : NULL) {
        len = strcspn(part, "/");
        if (len == 0 || (len == 1 && part[0] == '.') ||
            (len == 2 && part[0] == '.' && part[1] == '.'))
            return false;
    }
    return true;
}

static int grow(struct vivi_members *m, viv_error *err)
{
    size_t cap = m->cap == 0 ? 64 : m->cap * 2;
    struct vivi_member *at;

    if (m->n < m->cap)
        return 0;
    at = realloc(m->at, cap * sizeof(*at));
    if (at == NULL)
        return vivi_fail_oom(err);
    m->at = at;
    m->cap = cap;
    return 0;
}

int vivi_members_add_consume(struct vivi_members *m, const char *path, uint32_t mode, void *data,
                             size_t len, viv_error *err)
{
    cleanup_free void *owned = data;
    cleanup_free char *copy = NULL;
    int r;

    if (!vivi_member_path_is_safe(path))
        return vivi_fail(err, VIV_E_PROTOCOL, "'%s' is not a safe name", path != NULL ? path : "");
    r = grow(m, err);
    if (r < 0)
        return r;
    copy = strdup(path);
    if (copy == NULL)
        return vivi_fail_oom(err);
    m->at[m->n++] = (struct vivi_member){
        .path = take_ptr(copy), .mode = mode, .data = take_ptr(owned), .len = len};
    return 0;
}

int vivi_members_add(struct vivi_members *m, const char *path, uint32_t mode, const void *data,
                     size_t len, viv_error *err)
{
    void *copy = NULL;

    if (len > 0) {
        copy = malloc(len);
        if (copy == NULL)
            return vivi_fail_oom(err);
        memcpy(copy, data, len);
    }
    return vivi_members_add_consume(m, path, mode, copy, len, err);
}

int vivi_members_add_dir(struct vivi_members *m, const char *path, viv_error *err)
{
    return vivi_members_add(m, path, S_IFDIR | 0755, NULL, 0, err);
}

int vivi_members_add_link(struct vivi_members *m, const char *path, const char *target,
                          viv_error *err)
{
    cleanup_free char *copy = strdup(target);
    int r;

    if (copy == NULL)
        return vivi_fail_oom(err);
    r = vivi_members_add(m, path, S_IFLNK | 0777, NULL, 0, err);
    if (r < 0)
        return r;
    m->at[m->n - 1].link = take_ptr(copy);
    return 0;
}

const struct vivi_member *vivi_members_find(const struct vivi_members *m, const char *path)
{
    for (size_t i = 0; i < m->n; i++) {
        if (strcmp(m->at[i].path, path) == 0)
            return &m->at[i];
    }
    return NULL;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(((const struct vivi_member *)a)->path, ((const struct vivi_member *)b)->path);
}

int vivi_members_sort(struct vivi_members *m, viv_error *err)
{
    if (m->n > 1)
        qsort(m->at, m->n, sizeof(m->at[0]), compare_paths);
    for (size_t i = 1; i < m->n; i++) {
        if (strcmp(m->at[i - 1].path, m->at[i].path) == 0)
            return vivi_fail(err, VIV_E_PROTOCOL, "'%s' is there twice", m->at[i].path);
    }
    return 0;
}

void vivi_members_done(struct vivi_members *m)
{
    for (size_t i = 0; i < m->n; i++) {
        free(m->at[i].path);
        free(m->at[i].link);
        free(m->at[i].data);
    }
    free(m->at);
    *m = (struct vivi_members){0};
}
