#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "modules.h"
#include "testing.h"

#define DIR "lib/modules/6.1/kernel/"

static void add_module(struct vivi_members *m, const char *path, const char *modinfo, size_t len)
{
    cleanup_buf struct vivi_buf elf = VIVI_BUF(TESTING_MAX_BYTES);

    testing_module(&elf, modinfo, len);
    assert_int_equal(vivi_members_add(m, path, S_IFREG | 0644, elf.data, elf.len, NULL), 0);
}

#define ADD(m, path, modinfo) add_module(m, DIR path, modinfo, sizeof(modinfo))

static void make_tree(struct vivi_members *m)
{
    static const char builtin[] = "kernel/fs/ext4/ext4.ko\nkernel/lib/crc-t10.ko";

    ADD(m, "net/virtio_net.ko", "license=GPL\0depends=net_failover,virtio\0name=virtio_net");
    ADD(m, "net/net_failover.ko", "depends=failover");
    ADD(m, "net/failover.ko", "depends=");
    ADD(m, "virtio/virtio.ko", "depends=");
    ADD(m, "misc/snd-x.ko", "depends=crc_t10\0softdep=pre: failover absent");
    ADD(m, "bad/a.ko", "depends=b");
    ADD(m, "bad/b.ko", "depends=a");
    ADD(m, "bad/needy.ko", "depends=nowhere");
    assert_int_equal(vivi_members_add(m, "lib/modules/6.1/modules.builtin", S_IFREG | 0644, builtin,
                                      sizeof(builtin) - 1, NULL),
                     0);
    assert_int_equal(vivi_members_add(m, "boot/vmlinuz-6.1", S_IFREG | 0644, "k", 1, NULL), 0);
}

/* Names of what one wanted module makes one load, with commas. */
static int resolve(const char *wanted, char names[512], viv_error *err)
{
    cleanup_members struct vivi_members m = {0};
    cleanup_modules struct vivi_modules modules = {0};
    cleanup_module_list struct vivi_module_list list = {0};
    const char *const wanteds[] = {wanted, NULL};
    int r;

    make_tree(&m);
    assert_int_equal(vivi_modules_index(&m, &modules, err), 0);
    assert_int_equal(modules.n, 8);
    r = vivi_modules_resolve(&modules, wanteds, &list, err);
    names[0] = '\0';
    for (size_t i = 0; i < list.n; i++) {
        size_t len = strlen(names);

        (void)snprintf(names + len, 512 - len, "%s%s", i > 0 ? "," : "", list.at[i]->name);
    }
    return r;
}

static void a_module_comes_after_all_it_depends_on(void **state)
{
    viv_error err = VIV_ERROR_INIT;
    char names[512];

    (void)state;
    assert_int_equal(resolve("virtio_net", names, &err), 0);
    assert_string_equal(names, "failover,net_failover,virtio,virtio_net");
}

static void dashes_and_underscores_are_the_same(void **state)
{
    char names[512];

    (void)state;
    assert_int_equal(resolve("snd_x", names, NULL), 0);
    assert_string_equal(names, "failover,snd_x");
    assert_int_equal(resolve("virtio-net", names, NULL), 0);
}

static void what_is_built_in_needs_no_module(void **state)
{
    char names[512];

    (void)state;
    assert_int_equal(resolve("ext4", names, NULL), 0);
    assert_string_equal(names, "");
    assert_int_equal(resolve("crc_t10", names, NULL), 0);
}

static void a_missing_module_is_named(void **state)
{
    viv_error err = VIV_ERROR_INIT;
    char names[512];

    (void)state;
    assert_int_equal(resolve("e1000", names, &err), -VIV_E_NOT_FOUND);
    assert_string_equal(err.message, "the kernel package has no module e1000");
    vivi_error_clear(&err);
    assert_int_equal(resolve("needy", names, &err), -VIV_E_NOT_FOUND);
    assert_string_equal(err.message, "the kernel package has no module nowhere");
}

static void a_circle_of_dependencies_is_refused(void **state)
{
    viv_error err = VIV_ERROR_INIT;
    char names[512];

    (void)state;
    assert_int_equal(resolve("a", names, &err), -VIV_E_PROTOCOL);
    assert_string_equal(err.message, "module a depends on itself");
}

static void a_module_that_is_no_elf_object_is_named(void **state)
{
    cleanup_members struct vivi_members m = {0};
    struct vivi_modules modules = {.n = 77};
    viv_error err = VIV_ERROR_INIT;

    (void)state;
    assert_int_equal(vivi_members_add(&m, DIR "x.ko", S_IFREG, "text", 4, NULL), 0);
    assert_int_equal(vivi_modules_index(&m, &modules, &err), -VIV_E_PROTOCOL);
    assert_string_equal(err.message, DIR "x.ko: not a kernel module (no sound ELF object)");
    assert_int_equal(modules.n, 77);
}

static void only_modules_and_the_list_of_builtin_ones_are_wanted(void **state)
{
    (void)state;
    assert_true(vivi_modules_wants("lib/modules/6.1/kernel/a.ko"));
    assert_true(vivi_modules_wants("lib/modules/6.1/modules.builtin"));
    assert_false(vivi_modules_wants("lib/modules/6.1/modules.order"));
    assert_false(vivi_modules_wants("boot/a.ko"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_module_comes_after_all_it_depends_on),
        cmocka_unit_test(dashes_and_underscores_are_the_same),
        cmocka_unit_test(what_is_built_in_needs_no_module),
        cmocka_unit_test(a_missing_module_is_named),
        cmocka_unit_test(a_circle_of_dependencies_is_refused),
        cmocka_unit_test(a_module_that_is_no_elf_object_is_named),
        cmocka_unit_test(only_modules_and_the_list_of_builtin_ones_are_wanted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
