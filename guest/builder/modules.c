/*
 * modules.c: dependencies of kernel modules.
 *
 * Debian's package has no modules.dep: depmod makes it when the package is installed, and ours
 * never is. So every module's own .modinfo is asked. A wanted list is walked depth first; what is
 * on the path at the moment is known by its depth, so a circle is found before it is followed
 * twice.
 */
#include "modules.h"

#include <stdlib.h>
#include <string.h>

#define MODULES_PREFIX "lib/modules/"
#define MODULE_SUFFIX  ".ko"
#define MAX_DEPTH      32

static bool has_suffix(const char *text, const char *suffix)
{
    size_t len = strlen(text);
    size_t suffix_len = strlen(suffix);

    return len >= suffix_len && strcmp(text + len - suffix_len, suffix) == 0;
}

bool vivi_modules_wants(const char *path)
{
    return strncmp(path, MODULES_PREFIX, strlen(MODULES_PREFIX)) == 0 &&
           (has_suffix(path, MODULE_SUFFIX) || has_suffix(path, "/modules.builtin"));
}

/* "a/b/snd-x.ko" → "snd_x"; false if it is too long for a module. */
static bool module_name(const char *path, char ret_name[VIVI_MODULE_NAME_SIZE])
{
    const char *base = strrchr(path, '/');
    size_t len;

    base = base != NULL ? base + 1 : path;
    len = strlen(base);
    if (has_suffix(base, MODULE_SUFFIX))
        len -= strlen(MODULE_SUFFIX);
    if (len == 0 || len >= VIVI_MODULE_NAME_SIZE)
        return false;
    for (size_t i = 0; i < len; i++)
        ret_name[i] = base[i] == '-' ? '_' : base[i];
    ret_name[len] = '\0';
    return true;
}

static int compare_modules(const void *a, const void *b)
{
    return strcmp(((const struct vivi_module *)a)->name, ((const struct vivi_module *)b)->name);
}

static int index_one(struct vivi_modules *m, const struct vivi_member *file, viv_error *err)
{
    struct vivi_module *module = &m->at[m->n];
    int r;

    if (!module_name(file->path, module->name))
        return vivi_fail(err, VIV_E_PROTOCOL, "%s: not a module's name", file->path);
    r = vivi_modinfo_parse(file->data, file->len, &module->info, err);
    if (r < 0)
        return vivi_wrap(err, r, "%s", file->path);
    module->file = file;
    m->n++;
    return 0;
}

int vivi_modules_index(const struct vivi_members *files, struct vivi_modules *ret_modules,
                       viv_error *err)
{
    cleanup_modules struct vivi_modules m = {0};

    m.at = calloc(files->n > 0 ? files->n : 1, sizeof(*m.at));
    if (m.at == NULL)
        return vivi_fail_oom(err);
    for (size_t i = 0; i < files->n; i++) {
        const struct vivi_member *file = &files->at[i];
        int r = 0;

        if (!vivi_modules_wants(file->path))
            continue;
        if (has_suffix(file->path, MODULE_SUFFIX))
            r = index_one(&m, file, err);
        else
            m.builtin = file;
        if (r < 0)
            return r;
    }
    qsort(m.at, m.n, sizeof(*m.at), compare_modules);
    *ret_modules = m;
    m = (struct vivi_modules){0};
    return 0;
}

static const struct vivi_module *find_module(const struct vivi_modules *m, const char *name)
{
    struct vivi_module key = {0};

    if (m->n == 0 || !module_name(name, key.name))
        return NULL;
    return bsearch(&key, m->at, m->n, sizeof(*m->at), compare_modules);
}

/* modules.builtin has one path a line. */
static bool is_builtin(const struct vivi_modules *m, const char *name)
{
    char wanted[VIVI_MODULE_NAME_SIZE];
    const char *text = m->builtin != NULL ? m->builtin->data : NULL;
    size_t left = text != NULL ? m->builtin->len : 0;

    if (!module_name(name, wanted))
        return false;
    while (left > 0) {
        const char *end = memchr(text, '\n', left);
        size_t len = end != NULL ? (size_t)(end - text) : left;
        char line[256];
        char found[VIVI_MODULE_NAME_SIZE];

        if (len < sizeof(line)) {
            memcpy(line, text, len);
            line[len] = '\0';
            if (module_name(line, found) && strcmp(found, wanted) == 0)
                return true;
        }
        len += end != NULL;
        text += len;
        left -= len;
    }
    return false;
}

static bool is_listed(const struct vivi_module_list *list, const struct vivi_module *module)
{
    for (size_t i = 0; i < list->n; i++) {
        if (list->at[i] == module)
            return true;
    }
    return false;
}

static int append(struct vivi_module_list *list, const struct vivi_module *module, viv_error *err)
{
    if (list->n == list->cap) {
        size_t cap = list->cap == 0 ? 32 : list->cap * 2;
        const struct vivi_module **at = realloc(list->at, cap * sizeof(*at));

        if (at == NULL)
            return vivi_fail_oom(err);
        list->at = at;
        list->cap = cap;
    }
    list->at[list->n++] = module;
    return 0;
}

struct walk {
    const struct vivi_modules *modules;
    struct vivi_module_list *list;
    const struct vivi_module *path[MAX_DEPTH];
    size_t depth;
};

static int visit(struct walk *w, const char *name, bool must_exist, viv_error *err);

static int visit_each(struct walk *w, const char *names, const char *separators, bool must_exist,
                      viv_error *err)
{
    while (*names != '\0') {
        char name[VIVI_MODULE_NAME_SIZE];
        size_t len = strcspn(names, separators);

        if (len > 0 && len < sizeof(name)) {
            int r;

            memcpy(name, names, len);
            name[len] = '\0';
            r = visit(w, name, must_exist, err);
            if (r < 0)
                return r;
        }
        names += len;
        names += strspn(names, separators);
    }
    return 0;
}

static int visit(struct walk *w, const char *name, bool must_exist, viv_error *err)
{
    const struct vivi_module *module = find_module(w->modules, name);
    int r;

    if (module == NULL) {
        if (!must_exist || is_builtin(w->modules, name))
            return 0;
        return vivi_fail(err, VIV_E_NOT_FOUND, "the kernel package has no module %s", name);
    }
    if (is_listed(w->list, module))
        return 0;
    for (size_t i = 0; i < w->depth; i++) {
        if (w->path[i] == module)
            return vivi_fail(err, VIV_E_PROTOCOL, "module %s depends on itself", name);
    }
    if (w->depth == MAX_DEPTH)
        return vivi_fail(err, VIV_E_PROTOCOL, "module %s: dependencies too deep", name);
    w->path[w->depth++] = module;
    r = visit_each(w, module->info.softdep_pre, " ", false, err);
    if (r == 0)
        r = visit_each(w, module->info.depends, ",", true, err);
    w->depth--;
    return r < 0 ? r : append(w->list, module, err);
}

int vivi_modules_resolve(const struct vivi_modules *m, const char *const wanted[],
                         struct vivi_module_list *list, viv_error *err)
{
    struct walk w = {.modules = m, .list = list};

    for (size_t i = 0; wanted[i] != NULL; i++) {
        int r = visit(&w, wanted[i], true, err);

        if (r < 0)
            return r;
    }
    return 0;
}

void vivi_modules_done(struct vivi_modules *m)
{
    free(m->at);
    *m = (struct vivi_modules){0};
}

void vivi_module_list_done(struct vivi_module_list *l)
{
    free(l->at);
    *l = (struct vivi_module_list){0};
}
