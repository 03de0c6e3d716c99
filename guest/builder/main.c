/*
 * main.c: viv-guest-build: the command line of the guest builder.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "fetch.h"
#include "image.h"

#define EXIT_USAGE 2

struct settings {
    enum vivi_guest_kind kind;
    char out[PATH_MAX];
    char cache[PATH_MAX];
    char init[PATH_MAX];
    char agent[PATH_MAX]; /* "" = none: the lab */
    const char *kernel_deb;
    const char *busybox_deb;
    bool force;
    bool update;
    bool offline;
    bool quiet;
};

static const char usage_text[] =
    "usage: viv-guest-build [demo|lab] [options]\n"
    "\n"
    "Makes a guest image, a directory with kernel and initramfs, from Debian packages that are\n"
    "downloaded and unpacked, never installed.\n"
    "\n"
    "  demo                the guest of `viv run demo` (default)\n"
    "  lab                 a guest that runs one command of this host's root with nested KVM\n"
    "  --out DIR           the image's directory; default: <cache>/images/demo or lab\n"
    "  --cache DIR         where packages are kept; default: $VIV_CACHE, "
    "$XDG_CACHE_HOME/vivarium,\n"
    "                      /var/cache/vivarium for root, else ~/.cache/vivarium\n"
    "  --kernel-deb FILE   use this kernel package\n"
    "  --busybox-deb FILE  use this busybox-static package\n"
    "  --init FILE         process 1 of the guest; default: viv-guest-init beside this program\n"
    "  --agent FILE        viv-agent for the demo guest; default: the one that is installed with\n"
    "                      this program\n"
    "  --update            download the newest packages though the cache has some\n"
    "  --offline           never download\n"
    "  --force             build though nothing changed\n"
    "  -q, --quiet         print errors only\n"
    "  -h, --help          print this\n";

enum {
    OPT_OUT = 256,
    OPT_CACHE,
    OPT_KERNEL,
    OPT_BUSYBOX,
    OPT_INIT,
    OPT_AGENT,
    OPT_UPDATE,
    OPT_OFFLINE,
    OPT_FORCE
};

static void say(const char *text)
{
    (void)fprintf(stderr, "viv-guest-build: %s\n", text);
}

static int fail_usage(const char *text)
{
    say(text);
    (void)fputs("hint: viv-guest-build --help\n", stderr);
    return EXIT_USAGE;
}

static bool set_path(char to[PATH_MAX], const char *path)
{
    if (path[0] == '\0' || strlen(path) >= PATH_MAX)
        return false;
    memcpy(to, path, strlen(path) + 1);
    return true;
}

static bool join(char to[PATH_MAX], const char *dir, const char *name)
{
    int len = snprintf(to, PATH_MAX, "%s/%s", dir, name);

    return len > 0 && len < PATH_MAX;
}

static bool default_cache(char to[PATH_MAX])
{
    const char *own = getenv("VIV_CACHE");
    const char *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");

    if (own != NULL && own[0] != '\0')
        return set_path(to, own);
    if (xdg != NULL && xdg[0] == '/')
        return join(to, xdg, "vivarium");
    if (geteuid() == 0)
        return set_path(to, "/var/cache/vivarium");
    return home != NULL && home[0] == '/' && join(to, home, ".cache/vivarium");
}

/* A file that is installed, or built, beside this program or below its directory. */
static bool beside(char to[PATH_MAX], const char *name)
{
    char self[PATH_MAX];
    char *slash;

    if (!vivi_self_path(self))
        return false;
    slash = strrchr(self, '/');
    if (slash == NULL)
        return false;
    *slash = '\0';
    return join(to, self, name);
}

/* Installed in agent/x86_64/, built right here. */
static bool default_agent(char to[PATH_MAX])
{
    return (beside(to, "agent/x86_64/viv-agent") && access(to, R_OK) == 0) ||
           (beside(to, "viv-agent") && access(to, R_OK) == 0);
}

/* 0, or the exit code of a usage error; -1 when help was printed. */
static int take_option(struct settings *s, int option)
{
    switch (option) {
    case OPT_OUT: return set_path(s->out, optarg) ? 0 : fail_usage("--out: not a path");
    case OPT_CACHE: return set_path(s->cache, optarg) ? 0 : fail_usage("--cache: not a path");
    case OPT_INIT: return set_path(s->init, optarg) ? 0 : fail_usage("--init: not a path");
    case OPT_AGENT: return set_path(s->agent, optarg) ? 0 : fail_usage("--agent: not a path");
    case OPT_KERNEL: s->kernel_deb = optarg; return 0;
    case OPT_BUSYBOX: s->busybox_deb = optarg; return 0;
    case OPT_UPDATE: s->update = true; return 0;
    case OPT_OFFLINE: s->offline = true; return 0;
    case OPT_FORCE: s->force = true; return 0;
    case 'q': s->quiet = true; return 0;
    case 'h': (void)fputs(usage_text, stdout); return -1;
    default: (void)fputs("hint: viv-guest-build --help\n", stderr); return EXIT_USAGE;
    }
}

static int take_kind(struct settings *s, char *const words[])
{
    if (words[0] == NULL)
        return 0;
    if (words[1] != NULL)
        return fail_usage("more than one kind of guest");
    for (int kind = VIVI_GUEST_DEMO; kind <= VIVI_GUEST_LAB; kind++) {
        if (strcmp(words[0], vivi_guest_kind_name((enum vivi_guest_kind)kind)) == 0) {
            s->kind = (enum vivi_guest_kind)kind;
            return 0;
        }
    }
    return fail_usage("the kinds of guests are demo and lab");
}

static int parse(struct settings *s, int argc, char **argv)
{
    static const struct option options[] = {
        {"out", required_argument, NULL, OPT_OUT},
        {"cache", required_argument, NULL, OPT_CACHE},
        {"kernel-deb", required_argument, NULL, OPT_KERNEL},
        {"busybox-deb", required_argument, NULL, OPT_BUSYBOX},
        {"init", required_argument, NULL, OPT_INIT},
        {"agent", required_argument, NULL, OPT_AGENT},
        {"update", no_argument, NULL, OPT_UPDATE},
        {"offline", no_argument, NULL, OPT_OFFLINE},
        {"force", no_argument, NULL, OPT_FORCE},
        {"quiet", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;
    int r = 0;

    while (r == 0 && (option = getopt_long(argc, argv, "qh", options, NULL)) != -1)
        r = take_option(s, option);
    if (r == 0)
        r = take_kind(s, argv + optind);
    return r;
}

static int fill_defaults(struct settings *s)
{
    char images[PATH_MAX];

    if (s->update && s->offline)
        return fail_usage("--update and --offline exclude each other");
    if (s->cache[0] == '\0' && !default_cache(s->cache))
        return fail_usage("no place for the cache: give --cache DIR");
    if (s->init[0] == '\0' && !beside(s->init, "viv-guest-init"))
        return fail_usage("cannot find viv-guest-init: give --init FILE");
    if (s->kind == VIVI_GUEST_DEMO && s->agent[0] == '\0' && !default_agent(s->agent))
        return fail_usage("cannot find viv-agent: give --agent FILE");
    if (s->out[0] == '\0' &&
        (!join(images, s->cache, "images") || !join(s->out, images, vivi_guest_kind_name(s->kind))))
        return fail_usage("no place for the image: give --out DIR");
    return 0;
}

static int check_host(viv_error *err)
{
    struct utsname name;

    if (uname(&name) < 0)
        return vivi_fail_errno(err, errno, "uname");
    if (strcmp(name.machine, "x86_64") != 0)
        return vivi_fail(err, VIV_E_UNSUPPORTED, "guest images are made on amd64 only (this is %s)",
                         name.machine);
    return 0;
}

/*
 * The packages to build from. With none given and none in the cache an image that is there is good
 * enough: its packages may have been removed to save space, and the network may be away.
 */
static int find_packages(const struct settings *s, struct vivi_image_request *q, char **kernel,
                         char **busybox, viv_error *err)
{
    const struct vivi_fetch fetch = {.cache_dir = s->cache,
                                     .apt_get = "apt-get",
                                     .offline = s->offline,
                                     .update = s->update,
                                     .say = s->quiet ? NULL : say};
    int r = 0;

    if (!s->force && !s->update && q->kernel_deb == NULL && q->busybox_deb == NULL &&
        vivi_image_is_there(q) &&
        (!vivi_fetch_is_cached(&fetch, VIVI_PACKAGE_KERNEL) ||
         !vivi_fetch_is_cached(&fetch, VIVI_PACKAGE_BUSYBOX)))
        return 0;
    if (q->kernel_deb == NULL) {
        r = vivi_fetch_package(&fetch, VIVI_PACKAGE_KERNEL, kernel, err);
        q->kernel_deb = *kernel;
        q->kernel_is_cached = true;
    }
    if (r == 0 && q->busybox_deb == NULL) {
        r = vivi_fetch_package(&fetch, VIVI_PACKAGE_BUSYBOX, busybox, err);
        q->busybox_deb = *busybox;
        q->busybox_is_cached = true;
    }
    return r;
}

static int build(const struct settings *s, struct vivi_image_result *ret_result, viv_error *err)
{
    cleanup_free char *kernel = NULL;
    cleanup_free char *busybox = NULL;
    struct vivi_image_request q = {.kind = s->kind,
                                   .out = s->out,
                                   .init = s->init,
                                   .agent = s->agent[0] != '\0' ? s->agent : NULL,
                                   .kernel_deb = s->kernel_deb,
                                   .busybox_deb = s->busybox_deb,
                                   .force = s->force};
    int r = check_host(err);

    if (r == 0)
        r = find_packages(s, &q, &kernel, &busybox, err);
    return r < 0 ? r : vivi_image_build(&q, ret_result, err);
}

static void report(const struct settings *s, const struct vivi_image_result *result)
{
    if (s->quiet)
        return;
    if (!result->changed) {
        (void)fprintf(stderr, "viv-guest-build: %s is up to date\n", s->out);
        return;
    }
    (void)fprintf(stderr, "viv-guest-build: %s: made from %s and %s\n", s->out, result->kernel,
                  result->busybox);
    if (s->kernel_deb == NULL || s->busybox_deb == NULL)
        (void)fprintf(stderr, "viv-guest-build: packages are kept in %s\n", s->cache);
}

int main(int argc, char **argv)
{
    static struct settings s; /* three paths are too much for a stack */
    struct vivi_image_result result = {0};
    viv_error err = VIV_ERROR_INIT;
    int r = parse(&s, argc, argv);

    if (r == 0)
        r = fill_defaults(&s);
    if (r != 0)
        return r < 0 ? 0 : r;
    /* apt's complaints are shown as they are: in one language. */
    (void)setenv("LC_ALL", "C", 1);
    r = build(&s, &result, &err);
    if (r < 0) {
        say(err.message);
        if (err.hint[0] != '\0')
            (void)fprintf(stderr, "hint: %s\n", err.hint);
        return viv_code_exit(r);
    }
    report(&s, &result);
    return 0;
}
