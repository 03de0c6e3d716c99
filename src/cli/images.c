#include "cli/images.h"

#include <dirent.h>
#include <string.h>
#include <unistd.h>

#include "cli/exe.h"
#include "model/parse.h"

#define IMAGES_MAX 256
#define PLACES_MAX 8

struct places {
    char dirs[PLACES_MAX][PATH_MAX];
    size_t n;
};

static void add_place(struct places *p, const char *base, size_t len, const char *below)
{
    if (len && p->n < PLACES_MAX &&
        snprintf(p->dirs[p->n], PATH_MAX, "%.*s%s", (int)len, base, below) < PATH_MAX)
        p->n++;
}

static void add_cache(struct places *p)
{
    const char *own = getenv("VIV_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

    if (own && *own)
        add_place(p, own, strlen(own), "/images");
    else if (xdg && *xdg == '/')
        add_place(p, xdg, strlen(xdg), "/vivarium/images");
    else if (geteuid() == 0)
        add_place(p, "/var/cache", strlen("/var/cache"), "/vivarium/images");
    else if (home && *home == '/')
        add_place(p, home, strlen(home), "/.cache/vivarium/images");
}

static void find_places(struct places *p)
{
    char exe[PATH_MAX];

    p->n = 0;
    for (const char *s = getenv("VIV_IMAGES"); s && *s;) { /* a list, as PATH is */
        size_t len = strcspn(s, ":");

        add_place(p, s, len, "");
        s += len + (s[len] == ':');
    }
    vivi_exe_dir(exe);
    add_place(p, exe, strlen(exe), "/../share/vivarium/images");
    add_cache(p);
}

static bool is_image(const char *dir, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/%s/" VIVI_IMAGE_FILE, dir, name);

    return n > 0 && n < PATH_MAX && access(path, F_OK) == 0;
}

static bool listed(char **names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(names[i], name))
            return true;
    }
    return false;
}

static size_t list_place(const char *dir, char **names, size_t n)
{
    cleanup_closedir DIR *d = opendir(dir);

    for (struct dirent *e; d && n < IMAGES_MAX && (e = readdir(d));) {
        if (e->d_name[0] == '.' || listed(names, n, e->d_name) || !is_image(dir, e->d_name))
            continue;
        names[n] = strdup(e->d_name);
        n += names[n] != NULL;
    }
    return n;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int vivi_images_list(char ***ret, size_t *ret_n)
{
    cleanup_free struct places *p = calloc(1, sizeof(*p));
    char **names = calloc(IMAGES_MAX, sizeof(*names));
    size_t n = 0;

    if (!p || !names) {
        free(names);
        return -VIV_E_NO_MEMORY;
    }
    find_places(p);
    for (size_t i = 0; i < p->n; i++)
        n = list_place(p->dirs[i], names, n);
    qsort(names, n, sizeof(*names), by_name);
    *ret = names;
    *ret_n = n;
    return 0;
}

void vivi_images_free(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

/* The builder of the demo guest, as a command that works from here. */
static void hint_build(viv_error *err)
{
    const char *own = getenv("VIV_LIBEXEC");
    char exe[PATH_MAX], dir[PATH_MAX + 64], real[PATH_MAX];

    vivi_exe_dir(exe);
    (void)snprintf(dir, sizeof(dir), "%s%s", own ? own : exe,
                   own ? "/viv-guest-build" : "/../libexec/vivarium/viv-guest-build");
    vivi_hint(err, "%s", realpath(dir, real) ? real : "viv-guest-build");
}

static int no_image(const char *name, viv_error *err)
{
    char **names = NULL, list[160] = "";
    const char *near = NULL;
    size_t n = 0, len = 0;
    int r;

    if (vivi_images_list(&names, &n) == 0)
        near = vivi_nearest(name, (const char *const *)names, n);
    if (!strcmp(name, "demo")) {
        r = vivi_fail(err, VIV_E_NOT_FOUND, "the image \"demo\" is not built yet");
        hint_build(err);
    } else {
        r = vivi_fail(err, VIV_E_NOT_FOUND, "%s: no such image", name);
        for (size_t i = 0; i < n && len + strlen(names[i]) + 3 < sizeof(list); i++)
            len +=
                (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", i ? ", " : "", names[i]);
        if (near)
            vivi_hint(err, "did you mean \"%s\"?", near);
        else if (len)
            vivi_hint(err, "there are: %s", list);
        else
            vivi_hint(err, "there is no image yet; a file is given as FILE.yaml, a kernel by "
                           "--kernel FILE");
    }
    vivi_images_free(names, n);
    return r;
}

int vivi_image_find(const char *name, char ret_dir[PATH_MAX], viv_error *err)
{
    cleanup_free struct places *p = calloc(1, sizeof(*p));

    if (!p)
        return vivi_fail_oom(err);
    if (strchr(name, '/')) {
        if (!is_image(name, ".") || !realpath(name, ret_dir))
            return vivi_fail(err, VIV_E_NOT_FOUND, "%s: no " VIVI_IMAGE_FILE " in it", name);
        return 0;
    }
    find_places(p);
    for (size_t i = 0; i < p->n; i++) {
        char path[PATH_MAX + 300];

        if (*name == '.' || !is_image(p->dirs[i], name))
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", p->dirs[i], name);
        if (realpath(path, ret_dir))
            return 0;
    }
    return no_image(name, err);
}
