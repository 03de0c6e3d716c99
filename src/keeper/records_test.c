#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/testing.h"
#include "keeper/keeper.h"

#define BOOT "0936d5d0-91d7-45e2-abf7-db8dbfc1356f"

static bool parse(const char *line, struct vivi_exits_line *ret)
{
    return vivi_exits_parse(line, strlen(line), ret);
}

static void lines_are_written_as_they_are_read(void **state)
{
    static const char *const lines[] = {
        "spawn vmm 3 1234 99887766 " BOOT " 4026531836 1795463340055",
        "exit vmm 3 1234 99887766 256 1795463340055",
        "exit monitor 0 1 0 ? 0",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        cleanup_buf struct vivi_buf b = VIVI_BUF(1000);
        struct vivi_exits_line l;

        assert_true(parse(lines[i], &l));
        assert_int_equal(vivi_exits_format(&b, &l), 0);
        assert_int_equal(b.data[b.len - 1], '\n');
        b.data[b.len - 1] = '\0';
        assert_string_equal(b.data, lines[i]);
    }
}

static void damaged_lines_are_no_records(void **state)
{
    static const char *const lines[] = {
        "",
        "spawn",
        "spawn vmm 3 1234 99887766 " BOOT " 4026531836",
        "spawn vmm 3 1234 99887766 " BOOT " 4026531836 1 2",
        "spawn vmm 3 1234 99887766 short 4026531836 1",
        "spawn  vmm 3 1234 99887766 " BOOT " 4026531836 1",
        "spawn vmm 3 0 99887766 " BOOT " 4026531836 1",
        "spawn vmm 3 -1 99887766 " BOOT " 4026531836 1",
        "spawn v/m 3 1234 99887766 " BOOT " 4026531836 1",
        "exit vmm 3 1234 99887766 x 1",
        "exit vmm 3 1234 99887766 2147483648 1",
        "exit vmm 18446744073709551616 1234 99887766 1 1",
        "start vmm 3 1234 99887766 1 1",
    };
    struct vivi_exits_line l = {.run = 77};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        if (parse(lines[i], &l))
            fail_msg("accepted: %s", lines[i]);
    assert_false(vivi_exits_parse("exit vmm 3 1\0 99887766 1 1", 26, &l));
    assert_int_equal(l.run, 77);
}

static void a_long_exits_log_is_cut_to_its_tail_and_what_lives(void **state)
{
    static struct vivi_keeper k;
    struct test_dir *d = *state;
    cleanup_buf struct vivi_buf b = VIVI_BUF(1 << 20), after = VIVI_BUF(1 << 20);
    struct vivi_child *c = &k.children[5];

    memset(&k, 0, sizeof(k));
    k.vm_fd = d->fd;
    memcpy(k.boot_id, BOOT, sizeof(BOOT));
    *c =
        (struct vivi_child){.phase = VIVI_CHILD_RUNS, .run = 1, .id = {.pid = 42, .start_time = 9}};
    memcpy(c->role, "vmm", 4);
    assert_int_equal(vivi_exits_add_spawn(&k, c, NULL), 0);
    assert_int_equal(vivi_read_file_at(d->fd, "exits.log", &b, NULL), 0);
    for (int i = 0; b.len < VIVI_KEEPER_EXITS_MAX; i++)
        assert_int_equal(vivi_buf_printf(&b, "exit monitor 0 %d 5 9 1795463340055\n", i + 1), 0);
    assert_int_equal(vivi_write_file_at(d->fd, "exits.log", b.data, b.len, VIVI_FAST, NULL), 0);
    memcpy(c->role, "net", 4);
    assert_int_equal(vivi_exits_add_exit(&k, c, NULL), 0);
    assert_int_equal(vivi_read_file_at(d->fd, "exits.log", &after, NULL), 0);
    assert_true(after.len < 70000 && after.len > 60000);
    assert_memory_equal(after.data, "spawn vmm 1 42 9 ", 17);
    assert_non_null(strstr(after.data, "\nexit net 1 42 9 ? "));
    for (const char *p = after.data; *p != '\0'; p = strchr(p, '\n') + 1) {
        struct vivi_exits_line l;

        assert_true(vivi_exits_parse(p, strcspn(p, "\n"), &l)); /* whole lines only */
    }
}

static void an_end_in_a_directory_that_is_being_removed_makes_no_file(void **state)
{
    static struct vivi_keeper k;
    struct test_dir *d = *state;
    struct vivi_child c = {.role = "vmm", .id = {.pid = 1, .start_time = 1}};

    k.vm_fd = d->fd;
    assert_int_equal(vivi_exits_add_exit(&k, &c, NULL), 0);
    assert_int_equal(faccessat(d->fd, "exits.log", F_OK, 0), -1);
}

static void a_name_is_replaced_and_the_table_has_an_end(void **state)
{
    static struct vivi_table t;
    viv_error err = VIV_ERROR_INIT;
    struct vivi_entry *e = NULL, *first;
    char name[16];
    int before = vivi_fd_count();

    (void)state;
    memset(&t, 0, sizeof(t));
    for (int i = 0; i < VIVI_KEEPER_MAX_NAMES; i++) {
        (void)snprintf(name, sizeof(name), "n%d", i);
        assert_int_equal(vivi_table_put(&t, name, dup(0), NULL, NULL), 0);
    }
    first = vivi_table_find(&t, "n0");
    assert_int_equal(vivi_table_put(&t, "more", dup(0), &e, &err), -VIV_E_EXISTS);
    assert_string_equal(err.message, "more: more than 64 names");
    assert_null(e);
    assert_int_equal(vivi_table_put(&t, "n0", dup(0), &e, NULL), 0); /* replaced: no new place */
    assert_ptr_equal(e, first);
    assert_int_equal(vivi_fd_count(), before + VIVI_KEEPER_MAX_NAMES);
    vivi_table_drop(e);
    assert_null(vivi_table_find(&t, "n0"));
    assert_int_equal(vivi_table_put(&t, "more", dup(0), &e, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(t.entries); i++)
        vivi_table_drop(&t.entries[i]);
    assert_int_equal(vivi_fd_count(), before);
}

static void the_list_of_descriptors_is_read_as_it_is_written(void **state)
{
    struct vivi_entry plain = {.name = "caller"},
                      stream = {.name = "serial.out",
                                .stream = {.file = "serial.log", .limit_bytes = 4096}};
    cleanup_buf struct vivi_buf b = VIVI_BUF(1000);
    struct vivi_fds_item item;
    const char *p;

    (void)state;
    assert_int_equal(vivi_buf_str(&b, "lock=3"), 0);
    assert_int_equal(vivi_fds_add(&b, &plain, 7), 0);
    assert_int_equal(vivi_fds_add(&b, &stream, 8), 0);
    assert_string_equal(b.data, "lock=3,caller=7,serial.out@serial.log@4096=8");
    p = b.data;
    assert_true(vivi_fds_next(&p, &item));
    assert_string_equal(item.name, "lock");
    assert_int_equal(item.fd, 3);
    assert_true(vivi_fds_next(&p, &item));
    assert_string_equal(item.file, "");
    assert_true(vivi_fds_next(&p, &item));
    assert_string_equal(item.name, "serial.out");
    assert_string_equal(item.file, "serial.log");
    assert_int_equal(item.limit_bytes, 4096);
    assert_int_equal(item.fd, 8);
    assert_false(vivi_fds_next(&p, &item));
}

static void a_damaged_part_of_the_list_does_not_spoil_the_others(void **state)
{
    const char *p = "=,a,a=,a=x,@=1,a@b.log=1,a@b.log@=1,a@../b.log@1=1,a@b@1=1,b=4294967296,ok=5,";
    struct vivi_fds_item item;

    (void)state;
    assert_true(vivi_fds_next(&p, &item));
    assert_string_equal(item.name, "ok");
    assert_int_equal(item.fd, 5);
    assert_false(vivi_fds_next(&p, &item));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_written_as_they_are_read),
        cmocka_unit_test(damaged_lines_are_no_records),
        test_in_dir(a_long_exits_log_is_cut_to_its_tail_and_what_lives),
        test_in_dir(an_end_in_a_directory_that_is_being_removed_makes_no_file),
        cmocka_unit_test(a_name_is_replaced_and_the_table_has_an_end),
        cmocka_unit_test(the_list_of_descriptors_is_read_as_it_is_written),
        cmocka_unit_test(a_damaged_part_of_the_list_does_not_spoil_the_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
