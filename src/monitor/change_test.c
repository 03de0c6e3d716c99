/* One change of a machine that runs: what may be asked for, what comes of it, and what comes late.
 */
#include "monitor/testing_apply.h"

#include <sys/stat.h>

#define MIB "1048576"

static struct rig rig;

static int open_most(void **state)
{
    *state = &rig;
    return rig_open_hot(&rig, "cpus: {count: 1, max: 4}\nmemory: {size: 256MiB, max: 1GiB}\n"
                              "disks: [{id: root, path: /r.img}, {id: data, path: /d.img}]\n"
                              "boot: {cmdline: root=/dev/vda}\n");
}

static int open_plain(void **state)
{
    *state = &rig;
    return rig_open_hot(&rig, "");
}

/* Asks for this path alone, "disks.+more.path" as --set has it; mode NULL: the usual one. */
static uint64_t ask(struct rig *r, const char *path, const char *value, const char *mode)
{
    json_t *more = mode ? rig_mode(mode) : json_object();
    char plain[80];
    size_t n = 0;

    for (const char *p = path; *p && n + 1 < sizeof(plain); p++)
        if (*p != '+' && (*p != '-' || p[1]))
            plain[n++] = *p;
    plain[n] = '\0';
    assert_int_equal(json_object_set_new(more, "paths", json_pack("[s]", plain)), 0);
    return rig_apply(r, NULL, rig_next_with(r, path, value), more);
}

static uint64_t set(struct rig *r, const char *path, const char *value)
{
    return ask(r, path, value, NULL);
}

static uint64_t set_strictly(struct rig *r, const char *path, const char *value)
{
    return ask(r, path, value, "strict");
}

/* Nobody has answered yet. */
static void waits(struct rig *r, uint64_t id)
{
    rig_settle(r);
    assert_false(rig_is_answered(r, &r->client, id));
}

/* ---- what comes of it ---- */

static void a_device_that_comes_is_in_this_run_when_the_driver_says_so(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    rig_start(r);
    rig_driver.add = RIG_NEVER;
    id = set(r, "disks.+more.path", "/m.img");
    waits(r, id);
    assert_string_equal(rig_driver.asked, "add disk more");
    rig_has(r, "disks.more.path", "\"/m.img\"", "null");
    rig_done(rig_driver.change_op, NULL);
    rig_tells(r, id, true, "disks.more now");
    rig_has(r, "disks.more.path", "\"/m.img\"", "\"/m.img\"");
    assert_string_equal(rig_events(r), "config");
}

static void a_device_that_leaves_is_told_before_its_change_is_done(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    rig_start(r);
    rig_driver.remove = RIG_NEVER;
    id = set(r, "disks.data-", NULL);
    waits(r, id);
    assert_string_equal(rig_driver.asked, "remove disk data");
    rig_tell_device(VIVI_DEV_DISK, "data");
    waits(r, id);
    rig_done(rig_driver.change_op, NULL);
    rig_tells(r, id, true, "disks.data now");
    rig_has(r, "disks.data", "null", "null");
    assert_string_equal(rig_events(r), "device config");
}

static void a_device_that_leaves_unasked_is_gone_from_this_run_only(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_tell_device(VIVI_DEV_DISK, "data");
    rig_settle(r);
    rig_has(r, "disks.data.path", "\"/d.img\"", "null");
    assert_string_equal(rig_events(r), "device");
    rig_tell_device(VIVI_DEV_DISK, "data"); /* once more changes nothing */
    rig_settle(r);
    rig_has(r, "disks.data.path", "\"/d.img\"", "null");
}

static void what_the_driver_refuses_waits_with_its_words(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_driver.resize = RIG_FAIL;
    rig_tells(r, set(r, "cpus.count", "2"), true, "cpus.count next-start=rig: no");
    rig_has(r, "cpus.count", "2", "1");
    rig_driver.resize = RIG_REFUSE; /* at once, rather than later */
    rig_tells(r, set(r, "cpus.count", "3"), true, "cpus.count next-start=rig: refused");
    rig_has(r, "cpus.count", "3", "1");
    rig_expect(r, &r->client, set_strictly(r, "cpus.count", "4"), "VMM: cpus.count: rig: refused");
    rig_has(r, "cpus.count", "3", "1");
}

static void what_is_reached_already_is_success(void **state)
{
    struct rig *r = *state;
    viv_error err = VIV_ERROR_INIT;
    uint64_t id;

    rig_start(r);
    rig_driver.add = rig_driver.remove = RIG_NEVER;
    id = set(r, "nets.+lan.type", "nat");
    waits(r, id);
    (void)vivi_fail(&err, VIV_E_EXISTS, "is there");
    rig_done_with(rig_driver.change_op, &err);
    rig_tells(r, id, true, "nets.lan now");
    id = set(r, "nets.lan-", NULL);
    waits(r, id);
    vivi_error_clear(&err);
    (void)vivi_fail(&err, VIV_E_NOT_FOUND, "is gone");
    rig_done_with(rig_driver.change_op, &err);
    rig_tells(r, id, true, "nets.lan now");
    rig_has(r, "nets.lan", "null", "null");
}

static void one_is_made_after_the_other_and_the_balloon_gives_first(void **state)
{
    struct rig *r = *state;
    json_t *doc;
    uint64_t id;

    rig_start(r);
    rig_tells(r, set(r, "memory.balloon", "128MiB"), true, "memory.balloon now");
    rig_has(r, "memory.balloon", "134217728", "134217728");
    doc = rig_next_with(r, "memory.balloon-", NULL);
    assert_int_equal(vivi_config_set(doc, "cpus.count", "2", "/", NULL), 0);
    assert_int_equal(vivi_config_set(doc, "memory.size", "512MiB", "/", NULL), 0);
    rig_driver.resize = RIG_NEVER;
    rig_driver.changes = 0;
    id = rig_apply(r, NULL, doc, NULL);
    waits(r, id);
    assert_string_equal(rig_driver.asked, "resize balloon 268435456"); /* none is all of it */
    assert_int_equal(rig_driver.changes, 1);
    rig_driver.resize = RIG_AT_ONCE;
    rig_done(rig_driver.change_op, NULL);
    rig_tells(r, id, true, "cpus.count now; memory.size now; memory.balloon now");
    assert_int_equal(rig_driver.changes, 3);
    assert_int_equal(rig_state(r).cpus, 2);
}

/* ---- time ---- */

static void an_addition_has_half_a_minute(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    rig_start(r);
    rig_driver.add = RIG_NEVER;
    id = set_strictly(r, "disks.+more.path", "/m.img");
    rig_advance(r, VIVI_ADD_DEADLINE_MS - 1);
    assert_false(rig_is_answered(r, &r->client, id));
    rig_advance(r, 1);
    rig_expect(r, &r->client, id,
               "TIMEOUT: disks.more: the VMM has not added it for 30 s; it goes on trying");
    rig_has(r, "disks.more.path", "\"/m.img\"", "null"); /* waits, and can be asked again */
}

static void whoever_waits_for_the_guest_is_told_how_far_it_is(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    rig_start(r);
    rig_driver.resize = rig_driver.remove = RIG_NEVER;
    id = set_strictly(r, "memory.size", "512MiB");
    waits(r, id);
    rig_tell_progress(rig_driver.change_op, 384ull << 20, 512ull << 20);
    rig_tell_progress(rig_driver.change_op + 7, 1, 2); /* of nobody */
    rig_advance(r, VIVI_CHANGE_DEADLINE_MS);
    rig_expect(r, &r->client, id,
               "TIMEOUT: memory.size: the guest has not done its part for 60 s (384MiB so far, "
               "512MiB asked for); it still may, and can be asked again");
    id = set_strictly(r, "cpus.count", "4");
    waits(r, id);
    rig_tell_progress(rig_driver.change_op, 2, 4);
    rig_advance(r, VIVI_CHANGE_DEADLINE_MS);
    rig_expect(r, &r->client, id,
               "TIMEOUT: cpus.count: the guest has not done its part for 60 s (2 so far, 4 asked "
               "for); it still may, and can be asked again");
    id = set_strictly(r, "disks.data-", NULL);
    rig_advance(r, VIVI_CHANGE_DEADLINE_MS);
    rig_expect(r, &r->client, id,
               "TIMEOUT: disks.data: the guest has not let go of it for 60 s; it still may, and "
               "can be asked again");
}

/* The operations that missed their deadlines, oldest first. */
static void miss(struct rig *r, size_t n, uint64_t ops[])
{
    rig_driver.remove = RIG_NEVER;
    for (size_t i = 0; i < n; i++) {
        char path[32];
        uint64_t id;

        (void)snprintf(path, sizeof(path), "nets.x%zu-", i);
        id = set(r, path, NULL);
        rig_advance(r, VIVI_CHANGE_DEADLINE_MS);
        assert_true(rig_is_answered(r, &r->client, id));
        ops[i] = rig_driver.change_op;
    }
}

static void what_comes_late_is_true_of_this_run_and_the_oldest_are_forgotten(void **state)
{
    struct rig *r = *state;
    uint64_t ops[VIVI_CHANGES_LATE + 1];

    rig_start(r);
    for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
        char path[32];

        (void)snprintf(path, sizeof(path), "nets.+x%zu.type", i);
        (void)set(r, path, "nat");
        rig_settle(r);
    }
    miss(r, ARRAY_SIZE(ops), ops);
    rig_has(r, "nets.x1.type", "null", "\"nat\"");
    rig_done(ops[1], NULL);
    rig_done(ops[1], NULL); /* a second time says nothing */
    rig_done(ops[2], "no");
    rig_done(ops[0], NULL); /* nobody knows it any more; its DEVICE would tell */
    rig_settle(r);
    rig_has(r, "nets.x0.type", "null", "\"nat\"");
    rig_has(r, "nets.x1", "null", "null");
    rig_has(r, "nets.x2.type", "null", "\"nat\"");
    rig_tell_device(VIVI_DEV_NET, "x0");
    rig_settle(r);
    rig_has(r, "nets.x0", "null", "null");
}

/* ---- ends ---- */

static void the_end_of_the_run_leaves_it_to_the_next_start(void **state)
{
    struct rig *r = *state;
    uint64_t id;

    rig_start(r);
    rig_driver.resize = RIG_NEVER;
    id = set(r, "cpus.count", "2");
    waits(r, id);
    rig_vmm_exits(r, 0);
    rig_settle(r);
    rig_tells(r, id, true, "cpus.count now"); /* nothing runs that lacks it */
    assert_int_equal(rig_state(r).cpus, 2);
    rig_done(rig_driver.change_op, NULL); /* of a run that is over */
    rig_settle(r);
}

static void a_monitor_that_takes_over_makes_it_again(void **state)
{
    struct rig *r = *state;
    viv_error err = VIV_ERROR_INIT;

    rig_start(r);
    rig_driver.add = RIG_NEVER;
    (void)rig_apply(r, "op-1", rig_next_with(r, "disks.+more.path", "/m.img"), NULL);
    rig_settle(r);
    rig_disconnect(r, &r->client);
    rig_kill_monitor(r);
    rig_driver.changes = 0;
    rig_boot(r);
    rig_connect(r, &r->client);
    rig_settle(r);
    assert_int_equal(rig_driver.changes, 1);
    (void)vivi_fail(&err, VIV_E_EXISTS, "is there"); /* the former one's was made */
    rig_done_with(rig_driver.change_op, &err);
    rig_tells(r, rig_apply(r, "op-1", rig_next(r), NULL), true, "disks.more now");
    rig_has(r, "disks.more.path", "\"/m.img\"", "\"/m.img\"");
}

/* ---- what may be asked for ---- */

static void no_size_is_beyond_what_this_run_was_made_for(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_tells(r, set(r, "cpus.max", "8"), true, "cpus.max next-start");
    rig_tells(r, set(r, "memory.max", "4GiB"), true, "memory.max next-start");
    rig_driver.changes = 0;
    rig_tells(r, set(r, "cpus.count", "5"), true,
              "cpus.count next-start=5 is more than cpus.max of this run (4)");
    rig_tells(r, set(r, "memory.size", "2GiB"), true,
              "memory.size next-start=2GiB is more than memory.max of this run (1GiB)");
    rig_tells(r, set(r, "memory.balloon", "1536MiB"), true,
              "memory.balloon next-start=1.5GiB is more than the memory of this run can be (1GiB)");
    rig_tells(r, set(r, "memory.balloon", "512MiB"), true,
              "memory.balloon next-start=512MiB is more than the memory that it has (256MiB)");
    assert_int_equal(rig_driver.changes, 0); /* nobody was asked */
}

static void the_disk_with_the_root_stays(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_expect(r, &r->client, set_strictly(r, "disks.root-", NULL),
               "UNSUPPORTED: disks.root: cannot be changed while the VM runs: the guest's root is "
               "on it (boot.cmdline: root=)");
    rig_expect(r, &r->client,
               rig_apply(r, NULL, rig_next_with(r, "disks.root-", NULL),
                         json_pack("{s:s,s:b}", "mode", "strict", "force", 1)),
               "UNSUPPORTED: disks.root: cannot be changed while the VM runs: the guest's root is "
               "on it (boot.cmdline: root=)");
    assert_int_equal(rig_driver.changes, 0);
}

/* Of three disks, by what the kernel is told. */
static void which_disk_has_the_root_is_read_as_the_kernel_reads_it(void **state)
{
    static const struct {
        const char *cmdline, *stays; /* the ids that do */
    } cases[] = {{"root=/dev/vda", "a"},
                 {"quiet root=/dev/vdb2 ro", "b"},
                 {"root=UUID=1-2", "a"},
                 {"root=/dev/vda root=/dev/vdc", "c"},
                 {"nfsroot=10.0.0.1:/r", ""},
                 {"quiet", ""},
                 {"", ""}};
    struct rig *r = *state;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        json_t *doc = rig_next_with(r, "boot.cmdline", cases[i].cmdline);
        char stays[8] = "";

        assert_int_equal(
            vivi_config_set(doc, "disks",
                            "[{id: a, path: /a}, {id: b, path: /b}, {id: c, path: /c}]", "/", NULL),
            0);
        (void)rig_apply(r, NULL, doc, NULL);
        rig_start(r);
        for (const char *id = "abc"; *id; id++) {
            struct vivi_change c = {.op = VIVI_CHANGE_REMOVE, .field = vivi_field_find("disks")};
            char why[160];

            (void)snprintf(c.path, sizeof(c.path), "disks.%c", *id);
            if (!vivi_change_can(r->m, &c, why))
                (void)snprintf(stays + strlen(stays), 2, "%c", *id);
        }
        assert_string_equal(stays, cases[i].stays);
        rig_stop(r);
    }
}

/* vda has left, and vdb with the root is the first one now. */
static void a_root_disk_stays_also_when_others_before_it_have_left(void **state)
{
    struct rig *r = *state;
    json_t *doc = rig_next_with(r, "boot.cmdline", "root=/dev/vdb");

    assert_int_equal(
        vivi_config_set(doc, "disks", "[{id: a, path: /a}, {id: b, path: /b}]", "/", NULL), 0);
    (void)rig_apply(r, NULL, doc, NULL);
    rig_start(r);
    rig_tells(r, set(r, "disks.a-", NULL), true, "disks.a now; disks.b.slot now");
    rig_tells(r, set(r, "disks.b-", NULL), true,
              "disks.b next-start=the guest's root is on it (boot.cmdline: root=)");
}

static void an_image_is_cut_by_force_only(void **state)
{
    struct rig *r = *state;
    char path[200];
    json_t *doc;
    int fd;

    (void)snprintf(path, sizeof(path), "%s/big.img", r->dir);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && ftruncate(fd, 2 << 20) == 0);
    (void)close(fd);
    rig_start(r);
    rig_tells(r, set(r, "disks.+big.path", path), true, "disks.big now");
    rig_tells(r, set(r, "disks.big.size", "4MiB"), true, "disks.big.size now");
    assert_string_equal(rig_driver.asked, "resize disk big 4194304");
    rig_driver.changes = 0;
    rig_expect(r, &r->client, set_strictly(r, "disks.big.size", "1MiB"),
               "INVALID: disks.big.size: less than the image has; it is only cut by force");
    assert_int_equal(rig_driver.changes, 0);
    doc = rig_next_with(r, "disks.big.size", "1MiB");
    rig_tells(r, rig_apply(r, NULL, doc, json_pack("{s:s,s:b}", "mode", "strict", "force", 1)),
              true, "disks.big.size now");
    assert_string_equal(rig_driver.asked, "resize disk big " MIB " cut");
    rig_has(r, "disks.big.size", MIB, MIB);
    rig_stop(r);
    doc = rig_next_with(r, "disks.big.size", "512KiB");
    rig_tells(r, rig_apply(r, NULL, doc, json_pack("{s:b}", "force", 1)), true,
              "disks.big.size now");
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(lseek(fd, 0, SEEK_END), 512 << 10); /* nobody else would cut it */
    (void)close(fd);
}

static void of_a_paused_machine_devices_wait(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_expect(r, &r->client, rig_ask(r, &r->client, "pause", NULL, NULL), "ok");
    rig_tells(r, set(r, "nets.+lan.type", "nat"), true,
              "nets.lan next-start=only a running VM can be changed (it is paused)");
    rig_expect(r, &r->client, rig_ask(r, &r->client, "resume", NULL, NULL), "ok");
    rig_tells(r, rig_apply(r, NULL, rig_next(r), NULL), true, "nets.lan now");
}

static void a_place_can_be_written_down_but_not_changed(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_driver.changes = 0;
    rig_tells(r, set(r, "disks.data.slot", "5"), true, "disks.data.slot next-start");
    rig_tells(r, set(r, "disks.data.slot", "2"), true, "disks.data.slot now");
    rig_tells(r, set(r, "vsock.cid", "9"), true, "vsock.cid now");
    assert_string_equal(rig_driver.asked, "add vsock ");
    rig_tells(r, set(r, "vsock.cid", "10"), true, "vsock.cid next-start");
    assert_int_equal(rig_driver.changes, 1);
}

#define TEST(name)           cmocka_unit_test_setup_teardown(name, open_most, rig_close_state)
#define TEST_WITH(name, how) cmocka_unit_test_setup_teardown(name, how, rig_close_state)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_device_that_comes_is_in_this_run_when_the_driver_says_so),
        TEST(a_device_that_leaves_is_told_before_its_change_is_done),
        TEST(a_device_that_leaves_unasked_is_gone_from_this_run_only),
        TEST(what_the_driver_refuses_waits_with_its_words),
        TEST(what_is_reached_already_is_success),
        TEST(one_is_made_after_the_other_and_the_balloon_gives_first),
        TEST(an_addition_has_half_a_minute),
        TEST(whoever_waits_for_the_guest_is_told_how_far_it_is),
        TEST_WITH(what_comes_late_is_true_of_this_run_and_the_oldest_are_forgotten, open_plain),
        TEST(the_end_of_the_run_leaves_it_to_the_next_start),
        TEST(a_monitor_that_takes_over_makes_it_again),
        TEST(no_size_is_beyond_what_this_run_was_made_for),
        TEST(the_disk_with_the_root_stays),
        TEST_WITH(which_disk_has_the_root_is_read_as_the_kernel_reads_it, open_plain),
        TEST_WITH(a_root_disk_stays_also_when_others_before_it_have_left, open_plain),
        TEST(an_image_is_cut_by_force_only),
        TEST(of_a_paused_machine_devices_wait),
        TEST(a_place_can_be_written_down_but_not_changed),
    };

    return cmocka_run_group_tests_name("change", tests, NULL, NULL);
}
