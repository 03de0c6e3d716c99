#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "image.h"
#include "testing.h"

/* Every module that either kind of guest asks for. */
static const char *const modules[] = {"virtio_pci",     "virtio_blk",
                                      "virtio_net",     "virtio_console",
                                      "evdev",          "button",
                                      "pvpanic",        "pvpanic-pci",
                                      "pvpanic-mmio",   "virtio-rng",
                                      "virtio_balloon", "virtio_mem",
                                      "virtiofs",       "vmw_vsock_virtio_transport",
                                      "virtio_pmem",    "nd_pmem"};

struct fixture {
    char dir[256];
    char kernel[300];
    char busybox[300];
    char init[300];
    char agent[300];
    char out[300];
    struct vivi_image_request q;
    viv_error err;
};

static void write_program(const char *path, uint16_t machine)
{
    Elf64_Ehdr h = {.e_machine = machine};

    memcpy(h.e_ident, ELFMAG, SELFMAG);
    testing_write_file(path, &h, sizeof(h));
}

static void write_kernel(const char *path, size_t leave_out, const char *vmlinuz)
{
    struct testing_file files[ARRAY_SIZE(modules) + 2] = {{0}};
    char names[ARRAY_SIZE(modules)][100];
    cleanup_buf struct vivi_buf elf = VIVI_BUF(TESTING_MAX_BYTES);
    size_t n = 0;

    testing_module(&elf, "depends=", sizeof("depends="));
    for (size_t i = 0; i + leave_out < ARRAY_SIZE(modules); i++) {
        (void)snprintf(names[i], sizeof(names[i]), "./lib/modules/6.1/kernel/%s.ko", modules[i]);
        files[n++] = (struct testing_file){.name = names[i], .data = elf.data, .len = elf.len};
    }
    files[n++] = (struct testing_file){
        .name = "./boot/vmlinuz-6.1", .data = vmlinuz, .len = strlen(vmlinuz)};
    testing_write_deb(path, "Package: linux-image-6.1\nVersion: 6.1-2\nArchitecture: amd64\n",
                      files);
}

static void write_busybox(const char *path, const char *architecture)
{
    Elf64_Ehdr h = {.e_machine = EM_X86_64};
    const struct testing_file files[] = {{.name = "./bin/busybox", .data = &h, .len = sizeof(h)},
                                         {0}};
    char control[100];

    memcpy(h.e_ident, ELFMAG, SELFMAG);
    (void)snprintf(control, sizeof(control),
                   "Package: busybox-static\nVersion: 1\nArchitecture: %s\n", architecture);
    testing_write_deb(path, control, files);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    testing_make_dir(f->dir);
    (void)snprintf(f->kernel, sizeof(f->kernel), "%s/kernel.deb", f->dir);
    (void)snprintf(f->busybox, sizeof(f->busybox), "%s/busybox.deb", f->dir);
    (void)snprintf(f->init, sizeof(f->init), "%s/init", f->dir);
    (void)snprintf(f->agent, sizeof(f->agent), "%s/agent", f->dir);
    (void)snprintf(f->out, sizeof(f->out), "%s/images/demo", f->dir);
    write_kernel(f->kernel, 0, "one kernel");
    write_busybox(f->busybox, "amd64");
    write_program(f->init, EM_X86_64);
    write_program(f->agent, EM_X86_64);
    f->q = (struct vivi_image_request){.kind = VIVI_GUEST_DEMO,
                                       .out = f->out,
                                       .init = f->init,
                                       .agent = f->agent,
                                       .kernel_deb = f->kernel,
                                       .busybox_deb = f->busybox};
    f->err = (viv_error)VIV_ERROR_INIT;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    testing_remove_dir(f->dir);
    free(f);
    return 0;
}

static void read_out(const struct fixture *f, const char *name, struct vivi_buf *b)
{
    char path[600];

    (void)snprintf(path, sizeof(path), "%s/%s", f->out, name);
    vivi_buf_reset(b);
    assert_int_equal(vivi_read_file_at(AT_FDCWD, path, b, NULL), 0);
}

/* Entries of the directory that images are made in, "." and ".." left out. */
static int count_beside(const struct fixture *f)
{
    char path[600];
    int n = 0;

    (void)snprintf(path, sizeof(path), "%s/images", f->dir);
    DIR *d = opendir(path);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    (void)closedir(d);
    return n;
}

static void build(struct fixture *f, bool changed)
{
    struct vivi_image_result result;

    assert_int_equal(vivi_image_build(&f->q, &result, &f->err), 0);
    assert_int_equal(result.changed, changed);
}

static void an_image_has_kernel_initramfs_and_a_partial_configuration(void **state)
{
    struct fixture *f = *state;
    struct vivi_image_result result;
    cleanup_buf struct vivi_buf b = VIVI_BUF(TESTING_MAX_BYTES);

    assert_int_equal(vivi_image_build(&f->q, &result, &f->err), 0);
    assert_true(result.changed);
    assert_string_equal(result.kernel, "linux-image-6.1 6.1-2");
    read_out(f, "vmlinuz", &b);
    assert_string_equal(b.data, "one kernel");
    read_out(f, "initramfs", &b);
    assert_memory_equal(b.data, "\x1f\x8b", 2);
    read_out(f, "image.yaml", &b);
    assert_non_null(strstr(b.data, "\nboot:\n  kernel: vmlinuz\n  initramfs: initramfs\n"));
    assert_int_equal(count_beside(f), 1);
}

static void the_same_packages_give_the_same_bytes(void **state)
{
    struct fixture *f = *state;
    cleanup_buf struct vivi_buf first = VIVI_BUF(TESTING_MAX_BYTES);
    cleanup_buf struct vivi_buf second = VIVI_BUF(TESTING_MAX_BYTES);

    build(f, true);
    read_out(f, "initramfs", &first);
    f->q.force = true;
    build(f, true);
    read_out(f, "initramfs", &second);
    assert_int_equal(first.len, second.len);
    assert_memory_equal(first.data, second.data, first.len);
}

static void nothing_is_built_while_nothing_changed(void **state)
{
    struct fixture *f = *state;

    build(f, true);
    build(f, false);
    assert_true(vivi_image_is_there(&f->q));
    f->q.kernel_deb = f->q.busybox_deb = "/nonexistent";
    assert_true(vivi_image_is_there(&f->q)); /* whatever became of its packages */
}

static void each_changed_input_builds_anew(void **state)
{
    struct fixture *f = *state;
    cleanup_buf struct vivi_buf b = VIVI_BUF(TESTING_MAX_BYTES);

    build(f, true);
    write_kernel(f->kernel, 0, "two kernel");
    build(f, true);
    read_out(f, "vmlinuz", &b);
    assert_string_equal(b.data, "two kernel");
    testing_write_file(f->init,
                       "\x7f"
                       "ELF",
                       4);
    assert_false(vivi_image_is_there(&f->q));
    write_program(f->init, EM_X86_64);
    build(f, false);
    assert_int_equal(count_beside(f), 1);
}

static void a_damaged_image_is_built_anew(void **state)
{
    struct fixture *f = *state;
    char path[600];

    build(f, true);
    (void)snprintf(path, sizeof(path), "%s/vmlinuz", f->out);
    assert_int_equal(truncate(path, 3), 0);
    build(f, true);
}

static void a_failed_build_leaves_the_old_image(void **state)
{
    struct fixture *f = *state;
    struct vivi_image_result result = {.changed = true, .kernel = "before"};
    cleanup_buf struct vivi_buf b = VIVI_BUF(TESTING_MAX_BYTES);

    build(f, true);
    write_kernel(f->kernel, 1, "no kernel"); /* one module is missing */
    assert_int_equal(vivi_image_build(&f->q, &result, &f->err), -VIV_E_NOT_FOUND);
    assert_non_null(strstr(f->err.message, "the kernel package has no module"));
    assert_string_equal(result.kernel, "before");
    read_out(f, "vmlinuz", &b);
    assert_string_equal(b.data, "one kernel");
    assert_int_equal(count_beside(f), 1);
}

static void a_package_of_another_architecture_is_refused(void **state)
{
    struct fixture *f = *state;
    struct vivi_image_result result;

    write_busybox(f->busybox, "arm64");
    assert_int_equal(vivi_image_build(&f->q, &result, &f->err), -VIV_E_PROTOCOL);
    assert_non_null(strstr(f->err.message, "it is for arm64, guests are made for amd64"));
    write_busybox(f->busybox, "amd64");
    write_program(f->init, EM_AARCH64);
    assert_int_equal(vivi_image_build(&f->q, &result, &f->err), -VIV_E_PROTOCOL);
    assert_non_null(strstr(f->err.message, "not a program for amd64"));
}

static void a_directory_of_somebody_else_is_not_replaced(void **state)
{
    struct fixture *f = *state;
    struct vivi_image_result result;
    char path[600];

    (void)snprintf(path, sizeof(path), "%s/images", f->dir);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(mkdir(f->out, 0755), 0);
    (void)snprintf(path, sizeof(path), "%s/precious", f->out);
    testing_write_file(path, "x", 1);
    assert_int_equal(vivi_image_build(&f->q, &result, &f->err), -VIV_E_INVALID);
    assert_non_null(strstr(f->err.message, "exists and is no image made by viv-guest-build"));
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(unlink(path), 0);
    build(f, true); /* an empty directory may be taken */
}

static void what_a_killed_builder_left_is_removed(void **state)
{
    struct fixture *f = *state;
    char path[600];

    build(f, true);
    (void)snprintf(path, sizeof(path), "%s/images/.demo.new.1", f->dir);
    assert_int_equal(mkdir(path, 0755), 0);
    f->q.force = true;
    build(f, true);
    assert_int_equal(count_beside(f), 1);
}

/* Killed after 0, 1, 2 … ms of its work: the image is always the old or the new one, and complete.
 */
static void a_builder_killed_at_any_moment_leaves_a_complete_image(void **state)
{
    struct fixture *f = *state;
    cleanup_buf struct vivi_buf b = VIVI_BUF(TESTING_MAX_BYTES);

    build(f, true);
    f->q.force = true;
    for (useconds_t after_us = 0; after_us < 30000; after_us += 1000) {
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
            struct vivi_image_result result;

            (void)ualarm(after_us + 1, 0); /* SIGALRM is not handled: the end, wherever it is */
            _exit(vivi_image_build(&f->q, &result, NULL) == 0 ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_true(vivi_image_is_there(&f->q));
        read_out(f, "vmlinuz", &b);
        assert_string_equal(b.data, "one kernel");
    }
    build(f, true);
    assert_int_equal(count_beside(f), 1);
}

int main(void)
{
#define ON(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        ON(an_image_has_kernel_initramfs_and_a_partial_configuration),
        ON(the_same_packages_give_the_same_bytes),
        ON(nothing_is_built_while_nothing_changed),
        ON(each_changed_input_builds_anew),
        ON(a_damaged_image_is_built_anew),
        ON(a_failed_build_leaves_the_old_image),
        ON(a_package_of_another_architecture_is_refused),
        ON(a_directory_of_somebody_else_is_not_replaced),
        ON(what_a_killed_builder_left_is_removed),
        ON(a_builder_killed_at_any_moment_leaves_a_complete_image),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
