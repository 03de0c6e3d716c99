/* The version, and the probe against programs that only pretend to be Cloud Hypervisor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/file.h"
#include "driver/cloud_hypervisor/ch.h"

static char dir[64], binary[100], cache[100];

static int setup(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/viv-probe-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    (void)snprintf(binary, sizeof(binary), "%s/ch", dir);
    (void)snprintf(cache, sizeof(cache), "%s/cache", dir);
    return setenv("VIV_CLOUD_HYPERVISOR", binary, 1);
}

static int teardown(void **state)
{
    (void)state;
    (void)unsetenv("VIV_CLOUD_HYPERVISOR");
    return vivi_remove_tree_at(AT_FDCWD, dir, NULL);
}

static void make_binary(const char *body)
{
    char text[600];

    (void)snprintf(text, sizeof(text), "#!/bin/sh\n[ \"$*\" = '-V -v' ] || exit 2\n%s\n", body);
    assert_int_equal(vivi_write_file_at(AT_FDCWD, binary, text, strlen(text), VIVI_FAST, NULL), 0);
    assert_int_equal(chmod(binary, 0755), 0);
}

static struct vivi_probe probe(const char *cache_dir)
{
    struct vivi_probe p;
    int fds = vivi_fd_count();

    assert_int_equal(ch_probe(cache_dir, NULL, VIVI_ACCEL_AUTO, &p, NULL), 0);
    assert_int_equal(vivi_fd_count(), fds);
    return p;
}

static void releases_are_told_apart_whatever_git_described(void **state)
{
    static const struct {
        const char *text;
        bool ok;
        struct ch_version v;
    } cases[] = {
        {"53.0", true, {53, 0, false}},
        {"53.0-dirty", true, {53, 0, false}},
        {"50.1", true, {50, 1, false}},
        {"53.0-246-gae44c2971", true, {53, 0, true}},
        {"53.0-246-gae44c2971-dirty", true, {53, 0, true}},
        {"54.0.0", true, {54, 0, false}},
        {"46.0+something", true, {46, 0, false}},
        {"53", false, {0}},
        {"v53.0", false, {0}},
        {"", false, {0}},
        {"53.x", false, {0}},
        {"999999999999.0", false, {0}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct ch_version v = {0};

        assert_int_equal(ch_version_parse(cases[i].text, &v), cases[i].ok);
        assert_int_equal(v.major, cases[i].v.major);
        assert_int_equal(v.minor, cases[i].v.minor);
        assert_int_equal(v.ahead, cases[i].v.ahead);
    }
    assert_true(ch_version_since(&(struct ch_version){50, 1, false}, 50, 1));
    assert_true(ch_version_since(&(struct ch_version){51, 0, false}, 50, 1));
    assert_false(ch_version_since(&(struct ch_version){50, 0, false}, 50, 1));
}

static void what_it_prints_about_itself_is_read(void **state)
{
    char version[64];
    uint32_t features = 77;

    (void)state;
    assert_true(ch_parse_about("cloud-hypervisor v53.0-dirty\nMigration Protocol Versions: 0\n"
                               "Enabled features: [\"guest_debug\", \"kvm\"]\n",
                               version, &features));
    assert_string_equal(version, "53.0-dirty");
    assert_int_equal(features, CH_HAS_KVM | CH_HAS_GUEST_DEBUG);
    assert_true(ch_parse_about("cloud-hypervisor v46.0\n", version, &features));
    assert_int_equal(features, CH_HAS_KVM); /* it does not say: it is taken to have it */
    assert_true(ch_parse_about("cloud-hypervisor 51.0.0\nEnabled features: [\"io_uring\"]", version,
                               &features));
    assert_int_equal(features, 0);
    assert_false(ch_parse_about("qemu 7.2", version, &features));
    assert_false(ch_parse_about("cloud-hypervisor \n", version, &features));
    assert_false(ch_parse_about("cloud-hypervisor v53.0;rm\n", version, &features));
}

static void a_missing_binary_is_unusable_with_the_reason(void **state)
{
    struct vivi_probe p = probe(NULL);
    char wanted[160];

    (void)state;
    assert_false(p.usable);
    (void)snprintf(wanted, sizeof(wanted), "%s: not found", binary);
    assert_string_equal(p.reason, wanted);
}

static void an_old_one_is_unusable_and_told_what_is_needed(void **state)
{
    struct vivi_probe p;

    (void)state;
    make_binary("echo cloud-hypervisor v45.0\necho 'Enabled features: [\"x\"]'");
    p = probe(NULL);
    assert_false(p.usable);
    assert_string_equal(p.reason, "cloud-hypervisor 45.0 is too old: 46.0 is needed");
    make_binary("echo nothing of interest");
    p = probe(NULL);
    assert_false(p.usable);
    assert_non_null(strstr(p.reason, ": does not tell its version"));
}

static void what_was_learnt_is_remembered_until_the_file_changes(void **state)
{
    struct vivi_probe p;
    char mark[120];

    (void)state;
    (void)snprintf(mark, sizeof(mark), "%s/ran", dir);
    make_binary("echo x >>${0%/*}/ran; echo cloud-hypervisor v53.0-dirty\n"
                "echo 'Enabled features: [\"guest_debug\"]'");
    for (int i = 0; i < 3; i++) {
        p = probe(cache);
        assert_true(p.usable);
        assert_string_equal(p.version, "53.0-dirty");
        assert_int_equal(p.features, CH_HAS_GUEST_DEBUG);
        assert_int_equal(p.accel, VIVI_ACCEL_NONE);
        assert_int_equal(access(mark, F_OK), i == 0 ? 0 : -1);
        (void)unlink(mark);
    }
    make_binary("echo cloud-hypervisor v52.0\necho 'Enabled features: [\"io_uring\"]'");
    assert_string_equal(probe(cache).version, "52.0");
}

static void a_program_that_is_named_is_the_one(void **state)
{
    char other[300];
    struct vivi_probe p;

    (void)state;
    make_binary("echo cloud-hypervisor v51.0\necho 'Enabled features: [\"x\"]'");
    (void)snprintf(other, sizeof(other), "%s-other", binary);
    assert_int_equal(rename(binary, other), 0);
    make_binary("echo cloud-hypervisor v53.0\necho 'Enabled features: [\"x\"]'");
    assert_int_equal(ch_probe(NULL, other, VIVI_ACCEL_AUTO, &p, NULL), 0);
    assert_string_equal(p.exe, other);
    assert_string_equal(p.version, "51.0");
    assert_int_equal(unlink(other), 0);
    assert_int_equal(ch_probe(NULL, other, VIVI_ACCEL_AUTO, &p, NULL), 0);
    assert_false(p.usable);
    assert_string_equal(p.exe, "");
    assert_string_equal(probe(NULL).version, "53.0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(releases_are_told_apart_whatever_git_described),
        cmocka_unit_test(what_it_prints_about_itself_is_read),
        cmocka_unit_test_setup_teardown(a_missing_binary_is_unusable_with_the_reason, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_old_one_is_unusable_and_told_what_is_needed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_was_learnt_is_remembered_until_the_file_changes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_program_that_is_named_is_the_one, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
