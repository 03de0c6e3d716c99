/* The stop ladder alone, with a clock of the test's own. */
#include "monitor/testing.h"

#include <signal.h>

struct bench {
    struct rig_loop loop;
    struct vivi_ladder ladder;
    char did[256];       /* what the rungs were asked, in order, with the time in ms */
    const char *refuses; /* a rung that cannot be tried */
    int gave_up_at;      /* −1: not */
};

static struct bench bench;

static int note(struct bench *b, const char *what)
{
    size_t len = strlen(b->did);

    (void)snprintf(b->did + len, sizeof(b->did) - len, "%s%s@%llu", len ? " " : "", what,
                   (unsigned long long)(b->loop.now_ms - 1000000));
    return b->refuses && strcmp(b->refuses, what) == 0 ? -VIV_E_UNSUPPORTED : 0;
}

static int resume(void *ctx)
{
    return note(ctx, "resume");
}

static int ask_agent(void *ctx)
{
    return note(ctx, "agent");
}

static int button(void *ctx)
{
    return note(ctx, "button");
}

static int quit(void *ctx)
{
    return note(ctx, "quit");
}

static int send_signal(void *ctx, int sig)
{
    return note(ctx, sig == SIGTERM ? "term" : "kill");
}

static void climbed(void *ctx)
{
    (void)ctx;
}

static void gave_up(void *ctx, enum vivi_ladder_phase at)
{
    struct bench *b = ctx;

    b->gave_up_at = (int)at;
}

static const struct vivi_ladder_ops rungs = {.resume = resume,
                                             .agent = ask_agent,
                                             .button = button,
                                             .quit = quit,
                                             .signal = send_signal,
                                             .climbed = climbed,
                                             .gave_up = gave_up};

static int open_bench(void **state)
{
    bench = (struct bench){.gave_up_at = -1};
    rig_loop_init(&bench.loop);
    bench.ladder = (struct vivi_ladder){.loop = &bench.loop.face, .ops = &rungs, .ctx = &bench};
    *state = &bench;
    return 0;
}

static int close_bench(void **state)
{
    struct bench *b = *state;

    (void)vivi_ladder_ended(&b->ladder);
    rig_loop_done(&b->loop);
    return 0;
}

static void begin(struct bench *b, enum vivi_ladder_phase from, uint64_t grace_ms, bool may_kill)
{
    vivi_ladder_begin(&b->ladder, &(struct vivi_ladder_begin){from, grace_ms, may_kill});
}

static void each_rung_has_its_time_and_the_last_one_ends_it(void **state)
{
    struct bench *b = *state;

    begin(b, VIVI_LADDER_BUTTON, 60000, true);
    rig_loop_advance(&b->loop, 200000);
    assert_string_equal(b->did, "button@0 quit@60000 term@65000 kill@70000");
    assert_int_equal(b->gave_up_at, VIVI_LADDER_KILL);
    assert_int_equal(b->ladder.phase, VIVI_LADDER_OFF);
}

static void the_rung_that_is_current_when_the_vmm_ends_is_the_answer(void **state)
{
    static const struct {
        uint64_t after_ms;
        enum vivi_rung rung;
    } rows[] = {{59999, VIVI_RUNG_ACPI},
                {60000, VIVI_RUNG_VMM},
                {65000, VIVI_RUNG_SIGTERM},
                {70000, VIVI_RUNG_SIGKILL}};
    struct bench *b = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        begin(b, VIVI_LADDER_BUTTON, 60000, true);
        rig_loop_advance(&b->loop, rows[i].after_ms);
        assert_int_equal(vivi_ladder_ended(&b->ladder), rows[i].rung);
        assert_int_equal(rig_loop_timers(&b->loop), 0);
        assert_int_equal(vivi_ladder_ended(&b->ladder), VIVI_RUNG_NONE);
    }
}

static void a_silent_agent_gives_way_soon_a_willing_one_has_half_the_grace(void **state)
{
    struct bench *b = *state;

    begin(b, VIVI_LADDER_AGENT, 60000, true);
    rig_loop_advance(&b->loop, 3000);
    assert_string_equal(b->did, "agent@0 button@3000");
    rig_loop_advance(&b->loop, 56999);
    assert_int_equal(vivi_ladder_ended(&b->ladder), VIVI_RUNG_ACPI);

    b->did[0] = '\0';
    b->loop.now_ms = 1000000;
    begin(b, VIVI_LADDER_AGENT, 60000, true);
    rig_loop_advance(&b->loop, 1000);
    vivi_ladder_answer(&b->ladder, VIVI_LADDER_AGENT, 0);
    rig_loop_advance(&b->loop, 29499);
    assert_int_equal(b->ladder.phase, VIVI_LADDER_AGENT);
    rig_loop_advance(&b->loop, 1);
    assert_string_equal(b->did, "agent@0 button@30500");
    rig_loop_advance(&b->loop, 29500);
    assert_string_equal(b->did, "agent@0 button@30500 quit@60000");
    assert_int_equal(vivi_ladder_ended(&b->ladder), VIVI_RUNG_VMM);

    b->did[0] = '\0';
    b->loop.now_ms = 1000000;
    begin(b, VIVI_LADDER_AGENT, 60000, true);
    vivi_ladder_answer(&b->ladder, VIVI_LADDER_AGENT, -VIV_E_IO);
    assert_string_equal(b->did, "agent@0 button@0");
    (void)vivi_ladder_ended(&b->ladder);
    begin(b, VIVI_LADDER_AGENT, 60000, true);
    assert_int_equal(vivi_ladder_ended(&b->ladder), VIVI_RUNG_AGENT);
}

static void a_rung_that_cannot_be_tried_gives_way_at_once(void **state)
{
    struct bench *b = *state;

    b->refuses = "button";
    begin(b, VIVI_LADDER_BUTTON, 60000, true);
    rig_loop_advance(&b->loop, 5000);
    assert_string_equal(b->did, "button@0 quit@0 term@5000");
}

static void an_answer_that_it_failed_gives_way_and_one_of_an_earlier_rung_does_not(void **state)
{
    struct bench *b = *state;

    begin(b, VIVI_LADDER_BUTTON, 60000, true);
    rig_loop_advance(&b->loop, 10);
    vivi_ladder_answer(&b->ladder, VIVI_LADDER_BUTTON, 0); /* pressed: the guest has its time */
    vivi_ladder_answer(&b->ladder, VIVI_LADDER_QUIT, -VIV_E_IO);
    assert_int_equal(b->ladder.phase, VIVI_LADDER_BUTTON);
    vivi_ladder_answer(&b->ladder, VIVI_LADDER_BUTTON, -VIV_E_IO);
    vivi_ladder_answer(&b->ladder, VIVI_LADDER_BUTTON, -VIV_E_IO); /* late */
    assert_string_equal(b->did, "button@0 quit@10");
}

static void resume_and_button_share_the_grace(void **state)
{
    struct bench *b = *state;

    b->refuses = "agent";
    begin(b, VIVI_LADDER_RESUME, 1000, true);
    rig_loop_advance(&b->loop, 400);
    vivi_ladder_answer(&b->ladder, VIVI_LADDER_RESUME, 0);
    rig_loop_advance(&b->loop, 600);
    assert_string_equal(b->did, "resume@0 agent@400 button@400 quit@1000");
}

static void a_resume_that_never_answers_does_not_cost_more_than_the_grace(void **state)
{
    struct bench *b = *state;

    begin(b, VIVI_LADDER_RESUME, 1000, true);
    rig_loop_advance(&b->loop, 1000);
    assert_string_equal(b->did, "resume@0 quit@1000");
}

static void who_may_not_kill_gives_up_after_the_grace(void **state)
{
    struct bench *b = *state;

    begin(b, VIVI_LADDER_BUTTON, 3000, false);
    rig_loop_advance(&b->loop, 2999);
    assert_int_equal(b->gave_up_at, -1);
    rig_loop_advance(&b->loop, 1);
    assert_int_equal(b->gave_up_at, VIVI_LADDER_BUTTON);
    assert_string_equal(b->did, "button@0");
    assert_int_equal(rig_loop_timers(&b->loop), 0);
}

static void a_kill_takes_the_last_rung_from_everywhere(void **state)
{
    struct bench *b = *state;

    begin(b, VIVI_LADDER_BUTTON, 60000, false);
    rig_loop_advance(&b->loop, 5);
    vivi_ladder_kill(&b->ladder);
    assert_string_equal(b->did, "button@0 kill@5");
    assert_int_equal(vivi_ladder_ended(&b->ladder), VIVI_RUNG_SIGKILL);
}

static void every_phase_has_a_name_that_parses_back(void **state)
{
    (void)state;
    for (unsigned i = 0; i < VIVI_LADDER_PHASE_COUNT_; i++) {
        enum vivi_ladder_phase p = VIVI_LADDER_PHASE_COUNT_;

        assert_int_equal(
            vivi_ladder_phase_parse(vivi_ladder_phase_name((enum vivi_ladder_phase)i), &p), 0);
        assert_int_equal(p, i);
    }
    assert_int_equal(vivi_ladder_phase_parse("x", &(enum vivi_ladder_phase){0}), -VIV_E_INVALID);
}

#define T(name) cmocka_unit_test_setup_teardown(name, open_bench, close_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(each_rung_has_its_time_and_the_last_one_ends_it),
        T(the_rung_that_is_current_when_the_vmm_ends_is_the_answer),
        T(a_rung_that_cannot_be_tried_gives_way_at_once),
        T(a_silent_agent_gives_way_soon_a_willing_one_has_half_the_grace),
        T(an_answer_that_it_failed_gives_way_and_one_of_an_earlier_rung_does_not),
        T(resume_and_button_share_the_grace),
        T(a_resume_that_never_answers_does_not_cost_more_than_the_grace),
        T(who_may_not_kill_gives_up_after_the_grace),
        T(a_kill_takes_the_last_rung_from_everywhere),
        T(every_phase_has_a_name_that_parses_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
