/* A machine that is saved, restored, or goes on under another VMM: the order of steps, and what is
 * left when one fails or the monitor dies between two. */
#include "monitor/testing.h"

#include <sys/stat.h>

static uint64_t ask(struct rig *r, const char *verb, const char *op, const char *args)
{
    return rig_ask(r, &r->client, verb, op, args);
}

static bool exists(const struct rig *r, const char *name)
{
    char path[400];
    struct stat st;

    (void)snprintf(path, sizeof(path), "%s/snapshots/%s", r->vm_dir, name);
    return stat(path, &st) == 0;
}

/* "vmm.path" of the next start, "" = none. */
static const char *next_vmm(const struct rig *r)
{
    static char text[256];
    json_t *doc = NULL;
    const char *path;

    assert_int_equal(
        vivi_json_read(r->m->dir.fd, VIVI_CONFIG_FILE, VIVI_DOCUMENT_MAX_BYTES, &doc, NULL), 0);
    path = json_string_value(vivi_config_get(doc, "vmm.path"));
    (void)snprintf(text, sizeof(text), "%s", path ? path : "");
    json_decref(doc);
    return text;
}

static const char *vmm_now(const struct rig *r)
{
    return vivi_json_text(vivi_record_vmm(r->m), "path");
}

/* ---- snapshot ---- */

static void a_snapshot_stands_still_saves_and_goes_on(void **state)
{
    struct rig *r = *state;
    char end[] = "/snapshots/s1.tmp/vmm";
    size_t n;

    rig_start(r);
    rig_expect(r, &r->client, ask(r, "snapshot", NULL, "{\"name\":\"s1\"}"), "ok");
    assert_true(rig_driver.pauses == 1 && rig_driver.snapshots == 1 && rig_driver.resumes == 1);
    n = strlen(rig_driver.saved_to);
    assert_true(n > strlen(end));
    assert_string_equal(rig_driver.saved_to + n - strlen(end), end);
    assert_true(exists(r, "s1/manifest.json") && !exists(r, "s1.tmp"));
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
    rig_expect(r, &r->client, ask(r, "snapshot", NULL, "{\"name\":\"s1\"}"),
               "EXISTS: snapshot s1: exists already");
    assert_int_equal(rig_driver.pauses, 1); /* looked at before anything stands still */
}

static void one_that_fails_leaves_nothing_and_the_guest_goes_on(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_driver.snapshot = RIG_FAIL;
    rig_expect(r, &r->client, ask(r, "snapshot", NULL, "{\"name\":\"s1\"}"), "VMM: rig: no");
    assert_int_equal(rig_driver.resumes, 1);
    assert_true(!exists(r, "s1") && !exists(r, "s1.tmp"));
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
}

static void a_paused_guest_stays_paused(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_expect(r, &r->client, ask(r, "pause", NULL, NULL), "ok");
    rig_expect(r, &r->client, ask(r, "snapshot", NULL, "{\"name\":\"s1\"}"), "ok");
    assert_true(rig_driver.pauses == 1 && rig_driver.resumes == 0 && exists(r, "s1"));
    assert_int_equal(rig_state(r).state, VIV_ST_PAUSED);
}

static void a_monitor_that_dies_while_it_is_saved_keeps_nothing(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_driver.snapshot = RIG_NEVER;
    (void)ask(r, "snapshot", "op-1", "{\"name\":\"s1\"}");
    rig_settle(r);
    assert_int_equal(rig_state(r).state, VIV_ST_SAVING);
    assert_true(exists(r, "s1.tmp"));
    rig_driver.adopt_state = VIV_ST_PAUSED;
    rig_take_over(r);
    assert_true(!exists(r, "s1") && !exists(r, "s1.tmp"));
    assert_int_equal(rig_driver.resumes, 1);
    rig_expect(r, &r->client, ask(r, "snapshot", "op-1", "{\"name\":\"s1\"}"),
               "CANCELLED: snapshot s1 was interrupted: nothing is kept");
    assert_int_equal(rig_state(r).state, VIV_ST_RUNNING);
}

/* ---- restore ---- */

static void a_restore_begins_a_run_with_what_was_saved(void **state)
{
    struct rig *r = *state;

    rig_driver.version = "1.0";
    rig_start(r);
    rig_expect(r, &r->client, ask(r, "snapshot", NULL, "{\"name\":\"s1\"}"), "ok");
    rig_expect(r, &r->client, ask(r, "restore", NULL, "{\"name\":\"s1\"}"),
               "WRONG_STATE: only a stopped VM can be restored (it is running)");
    rig_stop(r);
    assert_int_equal(rig_driver.how, VIVI_HOW_BOOT);
    rig_expect(r, &r->client, ask(r, "restore", NULL, "{\"name\":\"s1\"}"), "ok");
    assert_int_equal(rig_driver.how, VIVI_HOW_RESTORE);
    assert_true(rig_state(r).state == VIV_ST_RUNNING && rig_state(r).run == 2);
}

static void the_state_of_another_version_is_not_touched(void **state)
{
    struct rig *r = *state;

    rig_driver.version = "1.0";
    rig_start(r);
    rig_expect(r, &r->client, ask(r, "snapshot", NULL, "{\"name\":\"s1\"}"), "ok");
    rig_stop(r);
    rig_driver.version = "2.0";
    rig_expect(r, &r->client, ask(r, "restore", NULL, "{\"name\":\"s1\"}"),
               "UNSUPPORTED: snapshot s1 was made by rig 1.0, and here is 2.0: its state is not "
               "understood");
    assert_true(rig_state(r).state == VIV_ST_STOPPED && rig_state(r).run == 1);
}

/* ---- upgrade ---- */

static void the_new_vmm_goes_on_and_is_kept(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_expect(r, &r->client, ask(r, "upgrade", NULL, "{\"vmm\":\"/bin/new\"}"), "ok");
    assert_true(rig_state(r).state == VIV_ST_RUNNING && rig_state(r).run == 2);
    assert_true(rig_driver.snapshots == 1 && rig_driver.how == VIVI_HOW_RESTORE);
    assert_string_equal(vmm_now(r), "/bin/new");
    assert_string_equal(next_vmm(r), "/bin/new");
    assert_false(exists(r, "upgrade.tmp"));
}

static void without_a_name_it_is_the_one_of_the_next_start(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_expect(r, &r->client, ask(r, "upgrade", NULL, NULL), "ok");
    assert_string_equal(vmm_now(r), "/bin/rig");
    assert_string_equal(next_vmm(r), "");
    assert_int_equal(rig_state(r).run, 2);
}

static void an_older_one_is_refused_before_anything_happens(void **state)
{
    struct rig *r = *state;

    rig_driver.version = "3.0";
    rig_start(r);
    rig_driver.version = "2.0";
    rig_expect(r, &r->client, ask(r, "upgrade", NULL, "{\"vmm\":\"/bin/new\"}"),
               "UNSUPPORTED: rig 2.0 cannot take over from 3.0");
    assert_true(rig_driver.pauses == 0 && rig_state(r).run == 1 && !exists(r, "upgrade.tmp"));
}

static void a_save_that_fails_lets_the_old_one_go_on(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_driver.snapshot = RIG_FAIL;
    rig_expect(r, &r->client, ask(r, "upgrade", NULL, "{\"vmm\":\"/bin/new\"}"), "VMM: rig: no");
    assert_true(rig_state(r).state == VIV_ST_RUNNING && rig_state(r).run == 1);
    assert_int_equal(rig_driver.resumes, 1);
    assert_string_equal(next_vmm(r), "");
    assert_false(exists(r, "upgrade.tmp"));
}

static void a_monitor_that_dies_while_it_is_saved_goes_on_with_the_old_one(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_driver.snapshot = RIG_NEVER;
    (void)ask(r, "upgrade", "op-1", "{\"vmm\":\"/bin/new\"}");
    rig_settle(r);
    rig_driver.adopt_state = VIV_ST_PAUSED;
    rig_take_over(r);
    rig_expect(r, &r->client, ask(r, "upgrade", "op-1", "{\"vmm\":\"/bin/new\"}"),
               "CANCELLED: it was interrupted; the old VMM goes on");
    assert_true(rig_state(r).state == VIV_ST_RUNNING && rig_state(r).run == 1);
    assert_string_equal(next_vmm(r), "");
    assert_false(exists(r, "upgrade.tmp"));
}

static void a_monitor_that_dies_while_the_new_one_starts_keeps_it(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_driver.start = RIG_NEVER;
    (void)ask(r, "upgrade", "op-1", "{\"vmm\":\"/bin/new\"}");
    rig_settle(r);
    assert_int_equal(rig_state(r).state, VIV_ST_RESTORING);
    rig_driver.adopt_state = VIV_ST_RUNNING;
    rig_take_over(r);
    rig_expect(r, &r->client, ask(r, "upgrade", "op-1", "{\"vmm\":\"/bin/new\"}"), "ok");
    assert_true(rig_state(r).state == VIV_ST_RUNNING && rig_state(r).run == 2);
    assert_string_equal(next_vmm(r), "/bin/new");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_open_plain, rig_close_state)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_snapshot_stands_still_saves_and_goes_on),
        TEST(one_that_fails_leaves_nothing_and_the_guest_goes_on),
        TEST(a_paused_guest_stays_paused),
        TEST(a_monitor_that_dies_while_it_is_saved_keeps_nothing),
        TEST(a_restore_begins_a_run_with_what_was_saved),
        TEST(the_state_of_another_version_is_not_touched),
        TEST(the_new_vmm_goes_on_and_is_kept),
        TEST(without_a_name_it_is_the_one_of_the_next_start),
        TEST(an_older_one_is_refused_before_anything_happens),
        TEST(a_save_that_fails_lets_the_old_one_go_on),
        TEST(a_monitor_that_dies_while_it_is_saved_goes_on_with_the_old_one),
        TEST(a_monitor_that_dies_while_the_new_one_starts_keeps_it),
    };

    return cmocka_run_group_tests_name("saving", tests, NULL, NULL);
}
