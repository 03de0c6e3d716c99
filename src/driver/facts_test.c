#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/file.h"
#include "driver/driver.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/viv-facts-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    return vivi_remove_tree_at(AT_FDCWD, dir, NULL);
}

static char *make_file(const char *name, const void *data, size_t len)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(vivi_write_file_at(AT_FDCWD, path, data, len, VIVI_FAST, NULL), 0);
    return strdup(path);
}

static void problems_are_collected_with_field_code_and_hint(void **state)
{
    struct vivi_problems p = {0};

    (void)state;
    assert_int_equal(
        vivi_problem(&p, VIV_E_INVALID, "boot.kernel", "a hint", "%s: no such file", "/x"), 0);
    assert_int_equal(vivi_problem(&p, VIV_E_UNSUPPORTED, NULL, NULL, "vz needs macOS"), 0);
    assert_int_equal(p.n, 2);
    assert_int_equal(p.items[0].code, VIV_E_INVALID);
    assert_string_equal(p.items[0].message, "boot.kernel: /x: no such file");
    assert_string_equal(p.items[0].field, "boot.kernel");
    assert_string_equal(p.items[0].hint, "a hint");
    assert_int_equal(p.items[0].size, sizeof(viv_error));
    assert_string_equal(p.items[1].message, "vz needs macOS");
    assert_string_equal(p.items[1].field, "");
    assert_string_equal(p.items[1].hint, "");
    vivi_problems_done(&p);
    assert_int_equal(p.n, 0);
    vivi_problems_done(&p);
    vivi_problems_done(NULL);
}

static void problems_have_a_ceiling(void **state)
{
    struct vivi_problems p = {0};

    (void)state;
    for (int i = 0; i < 3 * VIVI_PROBLEMS_MAX; i++)
        assert_int_equal(vivi_problem(&p, VIV_E_INVALID, "f", NULL, "%d", i), 0);
    assert_int_equal(p.n, VIVI_PROBLEMS_MAX);
    vivi_problems_done(&p);
}

static void emulation_is_told_in_one_line(void **state)
{
    char text[200] = "untouched", small[8];

    (void)state;
    vivi_accel_notice("no usable KVM (/dev/kvm: permission denied)", "join kvm", text,
                      sizeof(text));
    assert_string_equal(text,
                        "no usable KVM (/dev/kvm: permission denied): emulating, much slower. "
                        "Fix: join kvm");
    vivi_accel_notice("accel is set to tcg", "", text, sizeof(text));
    assert_string_equal(text, "accel is set to tcg: emulating, much slower.");
    vivi_accel_notice("", "x", text, sizeof(text));
    assert_string_equal(text, "");
    vivi_accel_notice("no usable KVM", NULL, small, sizeof(small));
    assert_string_equal(small, "no usab");
}

static void facts_of_files_say_what_they_are_or_why_not(void **state)
{
    const struct vivi_driver *d = vivi_driver_get(VIVI_DRIVER_FAKE);
    cleanup_free char *kernel = make_file("kernel", "0123456789", 10);
    cleanup_free char *disk = make_file("disk", "", 0);
    char missing[128], fifo[128];
    struct vivi_disk disks[3] = {{.id = disk, .path = disk},
                                 {.id = missing, .path = missing},
                                 {.id = fifo, .path = fifo, .readonly = true}};
    struct vivi_config c = {.kernel = kernel, .disks = disks, .n_disks = 3};
    cleanup_facts struct vivi_facts f = {0};
    const struct vivi_path_fact *p;
    int fds = vivi_fd_count();

    (void)state;
    (void)snprintf(missing, sizeof(missing), "%s/missing", dir);
    (void)snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(vivi_facts_gather(&c, d, NULL, &f, NULL), 0);
    assert_int_equal(vivi_fd_count(), fds);
    assert_int_equal(f.n_paths, 4);
    p = vivi_fact_of(&f, kernel);
    assert_true(S_ISREG(p->mode) && !p->writable && p->stat_errno == 0 && p->open_errno == 0);
    assert_int_equal(p->size_bytes, 10);
    assert_int_equal(p->head_len, 10);
    assert_memory_equal(p->head, "0123456789", 10);
    p = vivi_fact_of(&f, disk);
    assert_true(p->writable && p->open_errno == 0);
    assert_int_equal(vivi_fact_of(&f, missing)->stat_errno, ENOENT);
    p = vivi_fact_of(&f, fifo); /* not opened: that could have waited for ever */
    assert_true(S_ISFIFO(p->mode) && p->open_errno == 0);
    assert_null(vivi_fact_of(&f, "/never/asked"));
    assert_null(vivi_fact_of(&f, NULL));
    assert_true(f.host_memory_bytes > 0 && f.host_cpus > 0 && f.lowest_port > 0);
}

static void notes_of_an_elf_file_come_with_its_facts(void **state)
{
    static uint8_t elf[8192];
    const struct vivi_driver *d = vivi_driver_get(VIVI_DRIVER_FAKE);
    cleanup_facts struct vivi_facts f = {0};
    cleanup_free char *kernel = NULL;
    struct vivi_config c = {0};

    (void)state;
    memcpy(elf, "\177ELF\2\1\1", 7);
    elf[18] = 62;
    elf[32] = 64;
    elf[54] = 56;
    elf[56] = 1;
    elf[64] = 4;
    elf[64 + 9] = 0x18; /* at 0x1800, beyond the head */
    elf[64 + 32] = 16;
    memcpy(elf + 0x1800, "sixteen bytes...", 16);
    kernel = make_file("elf", elf, sizeof(elf));
    c.kernel = kernel;
    assert_int_equal(vivi_facts_gather(&c, d, NULL, &f, NULL), 0);
    assert_int_equal(vivi_fact_of(&f, kernel)->notes_len, 16);
    assert_memory_equal(vivi_fact_of(&f, kernel)->notes, "sixteen bytes...", 16);
}

static void a_driver_that_was_not_built_says_what_it_needs(void **state)
{
    enum vivi_driver_kind kind = VIVI_DRIVER_FAKE;
    viv_error err = VIV_ERROR_INIT;
    char reason[200] = "untouched";

    (void)state;
    assert_int_equal(vivi_driver_resolve(VIVI_DRIVER_VZ, NULL, &kind, reason, &err),
                     -VIV_E_UNSUPPORTED);
    assert_string_equal(err.message, "vz needs macOS");
    assert_int_equal(kind, VIVI_DRIVER_FAKE);
    assert_string_equal(reason, "untouched");
}

/* A Cloud Hypervisor that says it was built without KVM needs none. */
static void auto_takes_cloud_hypervisor_where_it_runs(void **state)
{
    static const char script[] = "#!/bin/sh\necho cloud-hypervisor v53.0-dirty\n"
                                 "echo 'Enabled features: [\"io_uring\"]'\n";
    enum vivi_driver_kind kind = VIVI_DRIVER_FAKE;
    viv_error err = VIV_ERROR_INIT;
    char reason[200] = "untouched";
    char *path = strdup(getenv("PATH"));
    cleanup_free char *binary = make_file("cloud-hypervisor", script, sizeof(script) - 1);

    (void)state;
    assert_int_equal(chmod(binary, 0755), 0);
    (void)unsetenv("VIV_CLOUD_HYPERVISOR");
    (void)setenv("PATH", dir, 1);
    assert_int_equal(vivi_driver_resolve(VIVI_DRIVER_AUTO, NULL, &kind, reason, &err), 0);
    assert_int_equal(kind, VIVI_DRIVER_CLOUD_HYPERVISOR);
    assert_string_equal(reason, "");
    (void)setenv("PATH", path, 1);
    (void)unlink(binary);
    free(path);
}

static void auto_takes_qemu_and_says_why_not_the_other(void **state)
{
    enum vivi_driver_kind kind = VIVI_DRIVER_FAKE;
    viv_error err = VIV_ERROR_INIT;
    char reason[200] = "untouched";
    char *path = strdup(getenv("PATH"));
    cleanup_free char *binary =
        make_file("qemu-system-x86_64", "#!/bin/sh\necho QEMU emulator version 9.1.2\n", 42);

    (void)state;
    assert_int_equal(chmod(binary, 0755), 0);
    (void)unsetenv("VIV_QEMU");
    (void)setenv("PATH", "/nowhere", 1);
    assert_int_equal(vivi_driver_resolve(VIVI_DRIVER_AUTO, NULL, &kind, reason, &err),
                     -VIV_E_UNSUPPORTED);
    assert_string_equal(err.message, "qemu-system-x86_64: not found on PATH");
    assert_string_equal(err.hint, "apt-get install qemu-system-x86");
    assert_string_equal(reason, "untouched");
    (void)setenv("PATH", dir, 1);
    assert_int_equal(vivi_driver_resolve(VIVI_DRIVER_AUTO, NULL, &kind, reason, &err), 0);
    assert_int_equal(kind, VIVI_DRIVER_QEMU);
    assert_non_null(strstr(reason, "cloud-hypervisor"));
    assert_int_equal(vivi_driver_resolve(VIVI_DRIVER_FAKE, NULL, &kind, reason, &err), 0);
    assert_int_equal(kind, VIVI_DRIVER_FAKE);
    assert_string_equal(reason, "");
    (void)setenv("PATH", path, 1);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(problems_are_collected_with_field_code_and_hint),
        cmocka_unit_test(problems_have_a_ceiling),
        cmocka_unit_test(emulation_is_told_in_one_line),
        cmocka_unit_test(facts_of_files_say_what_they_are_or_why_not),
        cmocka_unit_test(notes_of_an_elf_file_come_with_its_facts),
        cmocka_unit_test(a_driver_that_was_not_built_says_what_it_needs),
        cmocka_unit_test(auto_takes_cloud_hypervisor_where_it_runs),
        cmocka_unit_test(auto_takes_qemu_and_says_why_not_the_other),
    };

    return cmocka_run_group_tests_name("driver facts", tests, make_dir, remove_dir);
}
