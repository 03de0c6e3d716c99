#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "fetch.h"
#include "testing.h"

#define REAL      "linux-image-6.1.0-56-cloud-amd64"
#define REAL_FILE REAL "_6.1.192-2_amd64.deb"

/* A mirror is a directory; this stands for apt-get: copies what is asked for, notes what was asked.
 */
static const char script[] = "#!/bin/sh\n"
                             "d=$(dirname \"$0\")\n"
                             "echo \"$*\" >>\"$d/asked\"\n"
                             "name=${3%%:amd64}\n"
                             "cp \"$d/mirror/${name}\"_* . 2>/dev/null && exit 0\n"
                             "echo 'W: a warning' >&2\n"
                             "echo \"E: Unable to locate package $name\" >&2\n"
                             "echo 'E: and more' >&2\n"
                             "exit 100\n";

struct fixture {
    char dir[256];
    char cache[300];
    char apt[300];
    struct vivi_fetch fetch;
    char *path;
    viv_error err;
};

static void put(const struct fixture *f, const char *where, const char *file, const char *control)
{
    char path[700];

    (void)snprintf(path, sizeof(path), "%s/%s/%s", f->dir, where, file);
    testing_write_deb(path, control, NULL);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char path[300];

    assert_non_null(f);
    testing_make_dir(f->dir);
    (void)snprintf(f->cache, sizeof(f->cache), "%s/cache", f->dir);
    (void)snprintf(f->apt, sizeof(f->apt), "%s/apt-get", f->dir);
    (void)snprintf(path, sizeof(path), "%s/mirror", f->dir);
    assert_int_equal(mkdir(path, 0755), 0);
    testing_write_file(f->apt, script, sizeof(script) - 1);
    assert_int_equal(chmod(f->apt, 0755), 0);
    f->fetch = (struct vivi_fetch){.cache_dir = f->cache, .apt_get = f->apt};
    f->err = (viv_error)VIV_ERROR_INIT;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    testing_remove_dir(f->dir);
    free(f->path);
    free(f);
    return 0;
}

static void fill_mirror(const struct fixture *f)
{
    put(f, "mirror", "linux-image-cloud-amd64_6.1.192-2_amd64.deb",
        "Package: linux-image-cloud-amd64\nArchitecture: amd64\nDepends: " REAL " (= 6.1.192-2)\n");
    put(f, "mirror", REAL_FILE, "Package: " REAL "\nArchitecture: amd64\n");
    put(f, "mirror", "busybox-static_1.35_amd64.deb",
        "Package: busybox-static\nArchitecture: amd64\n");
}

static void assert_asked(const struct fixture *f, const char *expected)
{
    cleanup_buf struct vivi_buf asked = VIVI_BUF(4096);
    char path[300];

    (void)snprintf(path, sizeof(path), "%s/asked", f->dir);
    if (access(path, F_OK) == 0)
        assert_int_equal(vivi_read_file_at(AT_FDCWD, path, &asked, NULL), 0);
    assert_string_equal(asked.data != NULL ? asked.data : "", expected);
}

static int fetch(struct fixture *f, const char *package)
{
    return vivi_fetch_package(&f->fetch, package, &f->path, &f->err);
}

static void the_kernel_behind_the_empty_package_is_downloaded_and_kept(void **state)
{
    struct fixture *f = *state;
    char expected[700];

    fill_mirror(f);
    assert_int_equal(fetch(f, VIVI_PACKAGE_KERNEL), 0);
    (void)snprintf(expected, sizeof(expected), "%s/" REAL_FILE, f->cache);
    assert_string_equal(f->path, expected);
    assert_asked(f, "-q download linux-image-cloud-amd64:amd64\n-q download " REAL ":amd64\n");
    assert_true(vivi_fetch_is_cached(&f->fetch, VIVI_PACKAGE_KERNEL));
    assert_false(vivi_fetch_is_cached(&f->fetch, VIVI_PACKAGE_BUSYBOX));
}

static void what_the_cache_has_is_not_downloaded(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(mkdir(f->cache, 0755), 0);
    put(f, "cache", "busybox-static_1.9_amd64.deb", "Package: busybox-static\n");
    put(f, "cache", "busybox-static_1.10_amd64.deb", "Package: busybox-static\n");
    put(f, "cache", "busybox-static_2.0_arm64.deb", "Package: busybox-static\n");
    put(f, "cache", "busybox-static-x_3.0_amd64.deb", "Package: busybox-static\n");
    assert_int_equal(fetch(f, VIVI_PACKAGE_BUSYBOX), 0);
    assert_string_equal(strrchr(f->path, '/'), "/busybox-static_1.10_amd64.deb");
    assert_asked(f, "");
}

static void update_downloads_though_the_cache_has_one(void **state)
{
    struct fixture *f = *state;

    fill_mirror(f);
    assert_int_equal(mkdir(f->cache, 0755), 0);
    put(f, "cache", "busybox-static_1.9_amd64.deb", "Package: busybox-static\n");
    f->fetch.update = true;
    assert_int_equal(fetch(f, VIVI_PACKAGE_BUSYBOX), 0);
    assert_string_equal(strrchr(f->path, '/'), "/busybox-static_1.35_amd64.deb");
}

static void no_network_names_the_package_and_the_next_step(void **state)
{
    struct fixture *f = *state;
    char expected[1200];

    assert_int_equal(fetch(f, VIVI_PACKAGE_BUSYBOX), -VIV_E_NOT_FOUND);
    (void)snprintf(expected, sizeof(expected),
                   "busybox-static is not in %s and cannot be downloaded: %s: "
                   "Unable to locate package busybox-static",
                   f->cache, f->apt);
    assert_string_equal(f->err.message, expected);
    assert_non_null(strstr(f->err.hint, "--busybox-deb FILE"));
    assert_null(f->path);
}

static void a_machine_without_apt_is_told_so(void **state)
{
    struct fixture *f = *state;

    f->fetch.apt_get = "viv-no-such-program";
    assert_int_equal(fetch(f, VIVI_PACKAGE_KERNEL), -VIV_E_NOT_FOUND);
    assert_non_null(strstr(f->err.message, "cannot start viv-no-such-program: "));
    assert_non_null(strstr(f->err.hint, "--kernel-deb FILE"));
}

static void offline_never_starts_apt(void **state)
{
    struct fixture *f = *state;

    fill_mirror(f);
    f->fetch.offline = true;
    assert_int_equal(fetch(f, VIVI_PACKAGE_KERNEL), -VIV_E_NOT_FOUND);
    assert_asked(f, "");
}

static void a_package_that_is_another_is_refused_and_not_kept(void **state)
{
    struct fixture *f = *state;

    put(f, "mirror", "busybox-static_1_amd64.deb", "Package: evil\nArchitecture: amd64\n");
    assert_int_equal(fetch(f, VIVI_PACKAGE_BUSYBOX), -VIV_E_PROTOCOL);
    assert_false(vivi_fetch_is_cached(&f->fetch, VIVI_PACKAGE_BUSYBOX));
}

static void what_a_killed_download_left_is_removed(void **state)
{
    struct fixture *f = *state;
    char stale[400];

    fill_mirror(f);
    assert_int_equal(mkdir(f->cache, 0755), 0);
    (void)snprintf(stale, sizeof(stale), "%s/.download.1", f->cache);
    assert_int_equal(mkdir(stale, 0755), 0);
    put(f, "cache/.download.1", "busybox-static_1_amd64.deb", "Package: half\n");
    assert_int_equal(fetch(f, VIVI_PACKAGE_BUSYBOX), 0);
    assert_int_equal(access(stale, F_OK), -1);
}

int main(void)
{
#define ON(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ON(the_kernel_behind_the_empty_package_is_downloaded_and_kept),
        ON(what_the_cache_has_is_not_downloaded),
        ON(update_downloads_though_the_cache_has_one),
        ON(no_network_names_the_package_and_the_next_step),
        ON(a_machine_without_apt_is_told_so),
        ON(offline_never_starts_apt),
        ON(a_package_that_is_another_is_refused_and_not_kept),
        ON(what_a_killed_download_left_is_removed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
