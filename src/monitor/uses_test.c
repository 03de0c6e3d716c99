/* A disk that the guest's agent reports in use: what keeps it, and what goes past that by force. */
#include "monitor/testing_agent.h"
#include "monitor/testing_apply.h"

#define MIB        "1048576"
#define INFO(used) "{\"disks\":[{\"serial\":\"data\",\"used\":[" used "]}]}"

static struct rig rig;
static struct rig_end agent;
static char image[200];

static int open_used(void **state)
{
    int r = rig_open_hot(&rig, ""), fd;
    json_t *doc;

    *state = &rig;
    agent.fd = -1;
    rig_driver.has_agent = true;
    (void)snprintf(image, sizeof(image), "%s/data.img", rig.dir);
    fd = open(image, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && ftruncate(fd, 2 << 20) == 0);
    (void)close(fd);
    doc = rig_next_with(&rig, "disks.+data.path", image);
    rig_tells(&rig, rig_apply(&rig, NULL, doc, NULL), true, "disks.data now");
    rig_start(&rig);
    rig_agent_meet(&rig, &agent);
    return r;
}

static int close_used(void **state)
{
    rig_close(*state);
    rig_agent_close(&agent);
    return 0;
}

/* Asks for this alone, now or not at all. */
static uint64_t ask(const char *path, const char *value, bool force)
{
    uint64_t id = rig_apply(&rig, NULL, rig_next_with(&rig, path, value),
                            json_pack("{s:s,s:b}", "mode", "strict", "force", (int)force));

    rig_agent_settle(&rig, &agent);
    return id;
}

static void says(const char *info)
{
    assert_int_equal(agent.counts[VIVI_AW_OPEN], 1);
    assert_string_equal(agent.text, "info ");
    assert_int_equal(rig_driver.changes, 0); /* it is asked before the guest's bus is */
    assert_true(rig_end_say(&agent, VIVI_AW_DATA, agent.stream, info, strlen(info)));
    rig_agent_answers(&rig, &agent, "");
}

/* ---- without force ---- */

static void stays(const char *info, const char *wanted)
{
    uint64_t id = ask("disks.data-", NULL, false);
    char path[220];

    (void)snprintf(path, sizeof(path), "\"%s\"", image);
    says(info);
    rig_expect(&rig, &rig.client, id, wanted);
    assert_int_equal(rig_driver.changes, 0);
    rig_has(&rig, "disks.data.path", path, path);
}

static void a_disk_that_is_mounted_stays(void **state)
{
    (void)state;
    stays(INFO("\"/srv\""), "BUSY: disks.data: the guest has mounted it at /srv");
}

static void a_disk_with_the_root_stays(void **state)
{
    (void)state;
    stays(INFO("\"/\",\"/boot\""), "BUSY: disks.data: the guest's root is on it");
}

static void a_disk_that_is_swapped_to_stays(void **state)
{
    (void)state;
    stays(INFO("\"swap\""), "BUSY: disks.data: the guest swaps to it");
}

static void a_disk_that_is_built_upon_stays(void **state)
{
    (void)state;
    stays(INFO("\"dm-0\""), "BUSY: disks.data: the guest has built dm-0 upon it");
}

static void leaves(const char *info)
{
    uint64_t id = ask("disks.data-", NULL, false);

    says(info);
    rig_tells(&rig, id, true, "disks.data now");
    assert_string_equal(rig_driver.asked, "remove disk data");
}

static void a_disk_that_nobody_uses_leaves(void **state)
{
    (void)state;
    leaves(INFO(""));
}

static void an_answer_that_says_nothing_of_it_keeps_nothing(void **state)
{
    (void)state;
    leaves("{\"disks\":[{\"serial\":\"other\",\"used\":[\"/\"]},{\"serial\":\"\",\"used\":[\"/"
           "\"]},7]}");
}

static void an_agent_that_does_not_answer_keeps_nothing(void **state)
{
    uint64_t id = ask("disks.data-", NULL, false);

    (void)state;
    rig_advance(&rig, 4999);
    assert_int_equal(rig_driver.changes, 0);
    rig_advance(&rig, 1);
    rig_tells(&rig, id, true, "disks.data now");
    assert_string_equal(rig_driver.asked, "remove disk data");
}

/* ---- by force ---- */

static void by_force_a_mounted_disk_leaves_and_nobody_is_asked(void **state)
{
    (void)state;
    rig_tells(&rig, ask("disks.data-", NULL, true), true, "disks.data now");
    assert_string_equal(rig_driver.asked, "remove disk data");
    assert_int_equal(agent.counts[VIVI_AW_OPEN], 0);
}

static void by_force_the_image_of_a_mounted_disk_is_cut_and_nobody_is_asked(void **state)
{
    (void)state;
    rig_expect(&rig, &rig.client, ask("disks.data.size", "1MiB", false),
               "INVALID: disks.data.size: less than the image has; it is only cut by force");
    assert_int_equal(rig_driver.changes, 0);
    rig_tells(&rig, ask("disks.data.size", "1MiB", true), true, "disks.data.size now");
    assert_string_equal(rig_driver.asked, "resize disk data " MIB " cut");
    rig_has(&rig, "disks.data.size", MIB, MIB);
    assert_int_equal(agent.counts[VIVI_AW_OPEN], 0);
}

/* A forced change is taken up as one by the next monitor: it does not ask then either. */
static void a_monitor_that_takes_over_goes_on_by_force(void **state)
{
    json_t *more = json_pack("{s:s,s:b}", "mode", "strict", "force", 1);
    uint64_t id;

    (void)state;
    rig_driver.remove = RIG_NEVER;
    (void)rig_apply(&rig, "op-1", rig_next_with(&rig, "disks.data-", NULL), more);
    rig_agent_settle(&rig, &agent);
    assert_string_equal(rig_driver.asked, "remove disk data");
    rig_disconnect(&rig, &rig.client);
    rig_kill_monitor(&rig);
    rig_agent_close(&agent);
    rig_driver.remove = RIG_AT_ONCE;
    rig_boot(&rig);
    rig_connect(&rig, &rig.client);
    rig_agent_meet(&rig, &agent);
    more = json_pack("{s:s,s:b}", "mode", "strict", "force", 1);
    id = rig_apply(&rig, "op-1", rig_next(&rig), more);
    rig_tells(&rig, id, true, "disks.data now");
    assert_int_equal(agent.counts[VIVI_AW_OPEN], 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, open_used, close_used)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_disk_that_is_mounted_stays),
        T(a_disk_with_the_root_stays),
        T(a_disk_that_is_swapped_to_stays),
        T(a_disk_that_is_built_upon_stays),
        T(a_disk_that_nobody_uses_leaves),
        T(an_answer_that_says_nothing_of_it_keeps_nothing),
        T(an_agent_that_does_not_answer_keeps_nothing),
        T(by_force_a_mounted_disk_leaves_and_nobody_is_asked),
        T(by_force_the_image_of_a_mounted_disk_is_cut_and_nobody_is_asked),
        T(a_monitor_that_takes_over_goes_on_by_force),
    };

    return cmocka_run_group_tests_name("monitor uses", tests, NULL, NULL);
}
