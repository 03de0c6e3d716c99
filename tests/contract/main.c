/*
 * The contract suite: contract_test DRIVER [CASE-NUMBER]
 *
 * TAP on stdout. A case that a capability of the driver rules out, or that needs a VMM which can be
 * told to misbehave, is listed as skipped with the reason. A driver that this host cannot run skips
 * all, unless VIV_TEST_REQUIRE names it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "cases.h"

static bool is_required(const char *name)
{
    const char *list = getenv("VIV_TEST_REQUIRE"), *at = list ? strstr(list, name) : NULL;

    return at && (at == list || at[-1] == ',') && strchr(",", at[strlen(name)]);
}

/* The demo image: $VIV_TEST_GUEST, or as a build has made it. */
static const char *find_linux(char *ret, size_t size)
{
    const char *set = getenv("VIV_TEST_GUEST"), *build = getenv("VIV_BUILD_DIR");
    const char *const below[] = {"images/demo", "../build/images/demo"};

    for (size_t i = 0; i <= ARRAY_SIZE(below); i++) {
        char kernel[600];

        if (i == 0)
            (void)snprintf(ret, size, "%s", set ? set : "");
        else
            (void)snprintf(ret, size, "%s/%s", build ? build : "build", below[i - 1]);
        (void)snprintf(kernel, sizeof(kernel), "%.500s/vmlinuz", ret);
        if (access(kernel, R_OK) == 0)
            return NULL;
    }
    return "needs guest: no demo image (VIV_TEST_GUEST)";
}

/* Why a case is not for this driver here, or NULL. */
static const char *off_because(const struct vivi_driver *d, const struct vivi_probe *p,
                               const struct contract_case *c, char *image, size_t size)
{
    static char text[100];

    if (c->cap >= 0 && !vivi_caps_has(&p->caps, (enum vivi_cap)c->cap)) {
        (void)snprintf(text, sizeof(text), "off: no capability %s", vivi_cap_rows[c->cap].word);
        return text;
    }
    if (c->script && d->kind != VIVI_DRIVER_FAKE)
        return "off: this VMM cannot be told to misbehave";
    if (c->cmdline && p->accel == VIVI_ACCEL_NONE)
        return "off: this VMM runs no Linux";
    return c->cmdline ? find_linux(image, size) : NULL;
}

static bool run_case(const struct vivi_driver *d, const struct vivi_probe *p, size_t i)
{
    const struct contract_case *c = &contract_cases[i];
    static struct world w;
    char image[512];
    const char *off = off_because(d, p, c, image, sizeof(image));
    int fds = vivi_fd_count();

    if (off) {
        printf("ok %zu - %s # SKIP %s\n", i + 1, c->name, off);
        return true;
    }
    if (c->cmdline)
        world_init_linux(&w, d, image, c->cmdline);
    else if (c->firmware)
        world_init_firmware(&w, d);
    else
        world_init(&w, d, c->script);
    if (!*w.failure)
        c->run(&w);
    world_done(&w);
    if (!*w.failure && vivi_fd_count() != fds)
        (void)snprintf(w.failure, sizeof(w.failure), "descriptors: %d before, %d after", fds,
                       vivi_fd_count());
    printf("%sok %zu - %s\n", *w.failure ? "not " : "", i + 1, c->name);
    if (*w.failure)
        printf("# %s\n", w.failure);
    (void)fflush(stdout);
    return !*w.failure;
}

int main(int argc, char **argv)
{
    const struct vivi_driver *d = argc > 1 ? vivi_driver_find(argv[1]) : NULL;
    size_t only = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    struct vivi_probe p;
    viv_error err = VIV_ERROR_INIT;
    int failed = 0;

    if (!d || d->probe(NULL, NULL, VIVI_ACCEL_AUTO, &p, &err) < 0) {
        (void)fprintf(stderr, "usage: contract_test DRIVER [CASE-NUMBER]\n");
        return 2;
    }
    if (!p.usable) {
        printf("1..1\n%sok 1 - %s # SKIP needs %s: %s\n", is_required(d->name) ? "not " : "",
               d->name, d->name, p.reason);
        return is_required(d->name);
    }
    printf("1..%zu\n", only ? 1 : n_contract_cases);
    printf("# %s %s, %s\n", d->name, p.version,
           *p.accel_reason ? p.accel_reason : vivi_accel_name(p.accel));
    for (size_t i = 0; i < n_contract_cases; i++)
        if (!only || only == i + 1)
            failed += !run_case(d, &p, i);
    return failed > 0;
}
