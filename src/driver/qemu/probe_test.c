/* The probe against programs that only pretend to be QEMU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <errno.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/file.h"
#include "driver/qemu/qemu.h"

static char dir[64], binary[100], runs[100], cache[100];

static int setup(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/viv-probe-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    (void)snprintf(binary, sizeof(binary), "%s/qemu", dir);
    (void)snprintf(runs, sizeof(runs), "%s/runs", dir);
    (void)snprintf(cache, sizeof(cache), "%s/cache", dir);
    return setenv("VIV_QEMU", binary, 1);
}

static int teardown(void **state)
{
    (void)state;
    (void)unsetenv("VIV_QEMU");
    return vivi_remove_tree_at(AT_FDCWD, dir, NULL);
}

/* Each run of the program appends its arguments to the file runs. */
static void make_binary(const char *body)
{
    char text[600];

    (void)snprintf(text, sizeof(text), "#!/bin/sh\necho \"$*\" >>%s\n%s\n", runs, body);
    assert_int_equal(vivi_write_file_at(AT_FDCWD, binary, text, strlen(text), VIVI_FAST, NULL), 0);
    assert_int_equal(chmod(binary, 0755), 0);
}

static unsigned count_runs(void)
{
    struct vivi_buf text = VIVI_BUF(65536);
    unsigned n = 0;

    (void)vivi_read_file_at(AT_FDCWD, runs, &text, NULL);
    for (size_t i = 0; i < text.len; i++)
        n += text.data[i] == '\n';
    vivi_buf_done(&text);
    return n;
}

static struct vivi_probe probe(const char *cache_dir, enum vivi_accel wanted)
{
    struct vivi_probe p;
    int fds = vivi_fd_count();

    assert_int_equal(qemu_probe(cache_dir, NULL, wanted, &p, NULL), 0);
    assert_int_equal(vivi_fd_count(), fds);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child that a caller could see */
    assert_int_equal(errno, ECHILD);
    return p;
}

static void a_missing_binary_is_unusable_with_the_reason(void **state)
{
    struct vivi_probe p = probe(NULL, VIVI_ACCEL_AUTO);
    char wanted[160];

    (void)state;
    assert_false(p.usable);
    (void)snprintf(wanted, sizeof(wanted), "%s: not found", binary);
    assert_string_equal(p.reason, wanted);
    assert_string_equal(p.hint, "apt-get install qemu-system-x86");
}

static void version_and_seccomp_come_from_one_run(void **state)
{
    struct vivi_probe p;

    (void)state;
    make_binary("echo 'QEMU emulator version 8.1.3 (x)'");
    p = probe(NULL, VIVI_ACCEL_AUTO);
    assert_true(p.usable && p.sandbox);
    assert_string_equal(p.version, "8.1.3");
    assert_string_equal(p.exe, binary);
    assert_int_equal(count_runs(), 1);
    assert_true(vivi_caps_has(&p.caps, VIVI_CAP_PAUSE));
}

static void a_binary_without_seccomp_is_asked_again(void **state)
{
    struct vivi_probe p;

    (void)state;
    make_binary("[ $1 = --version ] || exit 1\necho 'QEMU emulator version 8.1.3'");
    p = probe(NULL, VIVI_ACCEL_AUTO);
    assert_true(p.usable && !p.sandbox);
    assert_int_equal(count_runs(), 2);
}

static void what_was_learnt_is_remembered_until_the_binary_changes(void **state)
{
    struct vivi_probe p;

    (void)state;
    make_binary("echo 'QEMU emulator version 8.1.3'");
    for (int i = 0; i < 3; i++) {
        p = probe(cache, VIVI_ACCEL_AUTO);
        assert_true(p.usable && p.sandbox);
        assert_string_equal(p.version, "8.1.3");
    }
    assert_int_equal(count_runs(), 1);
    make_binary("echo 'QEMU emulator version 9.0.0'; exit 0");
    p = probe(cache, VIVI_ACCEL_AUTO);
    assert_string_equal(p.version, "9.0.0");
    assert_int_equal(count_runs(), 2);
}

static void a_broken_memory_is_no_harm(void **state)
{
    char path[160];

    (void)state;
    make_binary("echo 'QEMU emulator version 8.1.3'");
    (void)probe(cache, VIVI_ACCEL_AUTO);
    (void)snprintf(path, sizeof(path), "%s/probe-qemu.json", cache);
    assert_int_equal(vivi_write_file_at(AT_FDCWD, path, "{\"dev\": ", 8, VIVI_FAST, NULL), 0);
    assert_true(probe(cache, VIVI_ACCEL_AUTO).usable);
    assert_int_equal(count_runs(), 2);
}

static void what_is_not_qemu_or_too_old_is_unusable(void **state)
{
    struct vivi_probe p;
    char wanted[160];

    (void)state;
    make_binary("echo hello");
    p = probe(NULL, VIVI_ACCEL_AUTO);
    (void)snprintf(wanted, sizeof(wanted), "%s: does not tell its version", binary);
    assert_false(p.usable);
    assert_string_equal(p.reason, wanted);
    make_binary("echo 'QEMU emulator version 5.2.0'");
    p = probe(NULL, VIVI_ACCEL_AUTO);
    assert_false(p.usable);
    assert_string_equal(p.reason, "qemu 5.2.0 is too old: 6.0 is needed");
}

static void a_flood_of_output_is_cut(void **state)
{
    (void)state;
    make_binary("exec yes");
    assert_false(probe(NULL, VIVI_ACCEL_AUTO).usable);
}

static void tcg_that_was_asked_for_says_so(void **state)
{
    struct vivi_probe p;

    (void)state;
    make_binary("echo 'QEMU emulator version 8.1.3'");
    p = probe(NULL, VIVI_ACCEL_TCG);
    assert_int_equal(p.accel, VIVI_ACCEL_TCG);
    assert_string_equal(p.accel_reason, "accel is set to tcg");
    assert_string_equal(p.accel_fix, "");
}

static void acceleration_or_its_absence_is_always_explained(void **state)
{
    struct vivi_probe p;

    (void)state;
    make_binary("echo 'QEMU emulator version 8.1.3'");
    p = probe(cache, VIVI_ACCEL_AUTO);
    if (p.accel == VIVI_ACCEL_KVM) {
        assert_string_equal(p.accel_reason, "");
        return;
    }
    assert_int_equal(p.accel, VIVI_ACCEL_TCG);
    assert_memory_equal(p.accel_reason, "no usable KVM (", 15);
    assert_true(p.accel_fix[0] != '\0');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_missing_binary_is_unusable_with_the_reason, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(version_and_seccomp_come_from_one_run, setup, teardown),
        cmocka_unit_test_setup_teardown(a_binary_without_seccomp_is_asked_again, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_learnt_is_remembered_until_the_binary_changes,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_broken_memory_is_no_harm, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_qemu_or_too_old_is_unusable, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flood_of_output_is_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(tcg_that_was_asked_for_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(acceleration_or_its_absence_is_always_explained, setup,
                                        teardown),
    };

    return cmocka_run_group_tests_name("qemu probe", tests, NULL, NULL);
}
