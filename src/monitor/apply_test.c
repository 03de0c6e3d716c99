/* Two documents: what is stored is what was asked, and what this run lacks waits. */
#include "monitor/testing_apply.h"

#include <sys/stat.h>

#include "model/random_doc.h"
#include "model/slots.h"
#include "monitor/policy.h"
#include "store/control.h"

#define NO_CPUS    "driver rig cannot change CPUs here: it has no such operation"
#define ROUNDS     150
#define HOT_ROUNDS 40 /* each is many changes */

static struct rig rig;

static int open_plain(void **state)
{
    *state = &rig;
    return rig_open(&rig, "labels: {job: \"41\"}\n");
}

static int open_hot(void **state)
{
    *state = &rig;
    return rig_open_hot(&rig, "");
}

static int open_always(void **state)
{
    *state = &rig;
    return rig_open(&rig, "restart: {policy: always, backoff: 20s}\n");
}

/* ---- what it does ---- */

static void what_the_monitor_carries_out_changes_at_once(void **state)
{
    struct rig *r = *state;
    cleanup_json json_t *doc = NULL;

    rig_start(r);
    doc = rig_next_with(r, "labels.job", "42");
    assert_int_equal(vivi_config_set(doc, "restart.policy", "always", "/", NULL), 0);
    assert_int_equal(vivi_config_set(doc, "stop.timeout", "5s", "/", NULL), 0);
    rig_tells(r, rig_apply(r, NULL, json_incref(doc), NULL), true,
              "labels.job now; stop.timeout now; restart.policy now");
    rig_has(r, "labels.job", "\"42\"", "\"42\"");
    rig_has(r, "stop.timeout", "5000", "5000");
    assert_int_equal(r->m->config.restart, VIVI_RESTART_ALWAYS);
    assert_int_equal(r->m->config.stop_timeout_ms, 5000);
    assert_string_equal(rig_events(r), "config");
}

static void the_same_again_changes_nothing_and_says_so(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_tells(r, rig_apply(r, NULL, rig_next(r), NULL), false, "");
    assert_string_equal(rig_events(r), "");
}

static void what_cannot_change_while_it_runs_waits_for_the_next_start(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_tells(r, rig_apply(r, NULL, rig_next_with(r, "cpus.count", "4"), NULL), true,
              "cpus.count next-start=" NO_CPUS);
    rig_has(r, "cpus.count", "4", "1");
    assert_int_equal(rig_state(r).cpus, 1);
    /* Back again: this run has it already. */
    rig_tells(r, rig_apply(r, NULL, rig_next_with(r, "cpus.count", "1"), NULL), true,
              "cpus.count now");
    rig_has(r, "cpus.count", "1", "1");
    rig_tells(r, rig_apply(r, NULL, rig_next_with(r, "cpus.count", "3"), NULL), true,
              "cpus.count next-start=" NO_CPUS);
    rig_stop(r);
    assert_int_equal(rig_state(r).cpus, 3);
    rig_start(r);
    rig_has(r, "cpus.count", "3", "3");
}

static void a_vm_that_does_not_run_has_it_at_once(void **state)
{
    struct rig *r = *state;
    cleanup_json json_t *next = NULL;

    rig_tells(r, rig_apply(r, NULL, rig_next_with(r, "cpus.count", "4"), NULL), true,
              "cpus.count now");
    next = rig_next(r);
    rig_is_at(next, "cpus.count", "4");
    assert_int_equal(rig_state(r).cpus, 4);
}

static void what_is_fixed_is_refused_and_nothing_is_changed(void **state)
{
    struct rig *r = *state;
    cleanup_json json_t *before = rig_next(r);
    cleanup_json json_t *doc = json_deep_copy(before);
    cleanup_json json_t *after = NULL;

    (void)json_object_set_new(doc, "driver", json_string("qemu"));
    (void)json_object_set_new(json_object_get(doc, "cpus"), "count", json_integer(4));
    rig_expect(r, &r->client, rig_apply(r, NULL, json_incref(doc), NULL),
               "INVALID: driver: is fixed when the VM is created (fake)");
    rig_tells(r, rig_apply(r, NULL, json_incref(doc), json_pack("{s:b}", "dry_run", 1)), true,
              "driver refused=driver: is fixed when the VM is created (fake); cpus.count now");
    after = rig_next(r);
    assert_true(json_equal(before, after));
    rig_expect(r, &r->client, rig_ask(r, &r->client, "apply", NULL, NULL),
               "INVALID: args.doc: not a configuration");
    rig_expect(r, &r->client, rig_apply(r, NULL, json_pack("{s:s}", "name", "a/b"), NULL),
               "INVALID: name: is fixed when the VM is created (web)");
}

static void a_dry_run_says_what_would_be_and_does_nothing(void **state)
{
    struct rig *r = *state;
    cleanup_json json_t *doc = NULL;

    rig_start(r);
    doc = rig_next_with(r, "cpus.count", "4");
    assert_int_equal(vivi_config_set(doc, "labels.new", "x", "/", NULL), 0);
    rig_tells(r, rig_apply(r, NULL, json_incref(doc), json_pack("{s:b}", "dry_run", 1)), true,
              "labels.new now; cpus.count next-start=" NO_CPUS);
    rig_has(r, "cpus.count", "1", "1");
    rig_has(r, "labels.new", "null", "null");
    assert_string_equal(rig_events(r), "");
}

static void who_looked_at_an_older_configuration_is_told_to_look_again(void **state)
{
    struct rig *r = *state;
    cleanup_json json_t *seen = rig_next(r);
    char base[VIVI_DIGEST_SIZE];

    assert_int_equal(vivi_document_digest(seen, base), 0);
    rig_tells(
        r,
        rig_apply(r, NULL, rig_next_with(r, "cpus.count", "2"), json_pack("{s:s}", "base", base)),
        true, "cpus.count now");
    rig_expect(
        r, &r->client,
        rig_apply(r, NULL, rig_next_with(r, "labels.a", "b"), json_pack("{s:s}", "base", base)),
        "BUSY: the configuration was changed by somebody else meanwhile");
}

static void only_the_next_start_or_only_this_run_can_be_meant(void **state)
{
    struct rig *r = *state;
    cleanup_json json_t *doc = NULL;

    rig_expect(r, &r->client, rig_apply(r, NULL, rig_next(r), rig_mode("live")),
               "WRONG_STATE: only a running VM can be changed for this run alone (it is created)");
    rig_start(r);
    rig_tells(r, rig_apply(r, NULL, rig_next_with(r, "labels.job", "next"), rig_mode("next")), true,
              "labels.job next-start");
    rig_has(r, "labels.job", "\"next\"", "\"41\"");
    doc = rig_run(r);
    assert_int_equal(vivi_config_set(doc, "labels.job", "live", "/", NULL), 0);
    rig_tells(r, rig_apply(r, NULL, json_incref(doc), rig_mode("live")), true, "labels.job now");
    rig_has(r, "labels.job", "\"next\"", "\"live\"");
}

static void what_must_be_made_now_is_refused_where_it_cannot(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_expect(r, &r->client,
               rig_apply(r, NULL, rig_next_with(r, "cpus.count", "2"), rig_mode("strict")),
               "UNSUPPORTED: cpus.count: cannot be changed while the VM runs: " NO_CPUS);
    rig_expect(r, &r->client,
               rig_apply(r, NULL, rig_next_with(r, "cpus.count", "2"), rig_mode("live")),
               "UNSUPPORTED: cpus.count: cannot be changed while the VM runs: " NO_CPUS);
    rig_has(r, "cpus.count", "1", "1");
    rig_tells(r, rig_apply(r, NULL, rig_next_with(r, "labels.s", "x"), rig_mode("strict")), true,
              "labels.s now");
    rig_has(r, "labels.s", "\"x\"", "\"x\"");
}

static void what_waits_is_made_when_it_is_asked_for_and_not_by_the_way(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_tells(r, rig_apply(r, NULL, rig_next_with(r, "labels.later", "x"), rig_mode("next")), true,
              "labels.later next-start");
    rig_tells(r,
              rig_apply(r, NULL, rig_next_with(r, "labels.other", "y"),
                        json_pack("{s:[s]}", "paths", "labels.other")),
              true, "labels.other now");
    rig_has(r, "labels.later", "\"x\"", "null");
    rig_tells(r, rig_apply(r, NULL, rig_next(r), json_pack("{s:[s]}", "paths", "labels.later")),
              true, "labels.later now");
    rig_has(r, "labels.later", "\"x\"", "\"x\"");
}

static void a_planned_restart_ends_with_its_policy(void **state)
{
    struct rig *r = *state;

    rig_start(r);
    rig_vmm_exits(r, 0);
    rig_settle(r);
    assert_int_not_equal(rig_state(r).next_start_at_ms, 0);
    rig_tells(r, rig_apply(r, NULL, rig_next_with(r, "restart.policy", "never"), NULL), true,
              "restart.policy now");
    assert_int_equal(rig_state(r).next_start_at_ms, 0);
    assert_int_equal(rig_loop_timer(&r->loop, "restart"), -1);
}

static void the_keeper_is_told_how_much_of_the_log_to_keep(void **state)
{
    struct rig *r = *state;
    struct vivi_stream *s;

    rig_start(r);
    r->last_log[0] = '\0';
    rig_tells(r, rig_apply(r, NULL, rig_next_with(r, "serial.log_limit", "1MiB"), NULL), true,
              "serial.log_limit now");
    assert_string_equal(r->last_log, "serial.log");
    rig_kill_monitor(r);
    rig_boot(r);
    s = vivi_stream_serial(&r->m->streams);
    assert_non_null(s);
    assert_int_equal(s->limit_bytes, 1 << 20);
    rig_serial(r, "VMRS_READY 10.0.0.7\n"); /* the stream goes on */
    assert_true(rig_state(r).ready);
}

static bool refused(struct rig *r, uint64_t id)
{
    cleanup_json json_t *answer = NULL;

    rig_settle(r);
    answer = rig_answer(r, &r->client, id);
    assert_non_null(answer);
    return json_object_get(answer, "error") != NULL;
}

/* ---- deaths ---- */

static void who_asks_again_gets_the_same_answer_from_any_monitor(void **state)
{
    struct rig *r = *state;
    cleanup_json json_t *doc = NULL;

    rig_start(r);
    doc = rig_next_with(r, "cpus.count", "4");
    for (int i = 0; i < 3; i++) {
        rig_tells(r, rig_apply(r, "op-1", json_incref(doc), NULL), true,
                  "cpus.count next-start=" NO_CPUS);
        if (i == 0)
            continue;
        rig_disconnect(r, &r->client);
        rig_kill_monitor(r);
        rig_boot(r);
        rig_connect(r, &r->client);
    }
}

/* What is different, but for what list has already. */
static void list_changes(json_t *list, const json_t *from, const json_t *to)
{
    cleanup_diff struct vivi_diff d = {0};

    assert_int_equal(vivi_diff(from, to, &d, NULL), 0);
    for (size_t i = 0; i < d.n; i++) {
        bool has = false;

        for (size_t k = 0; k < json_array_size(list) && !has; k++)
            has =
                vivi_paths_meet(json_string_value(json_object_get(json_array_get(list, k), "path")),
                                d.items[i].path);
        if (!has)
            assert_int_equal(json_array_append_new(list, vivi_change_json(&d.items[i])), 0);
    }
}

/* The records as a monitor leaves them that is killed in the middle: asked, and stored or not. */
static void cut_short(struct rig *r, const json_t *doc, bool stored)
{
    cleanup_close int fd = open(r->vm_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cleanup_json json_t *old = rig_next(r);
    cleanup_json json_t *run = vivi_state_has_vmm(rig_state(r).state) ? rig_run(r) : NULL;
    cleanup_json json_t *changes = json_array();
    cleanup_json json_t *record = NULL;

    list_changes(changes, old, doc);
    if (run) /* and what waited already */
        list_changes(changes, run, doc);
    record = json_pack("{s:s,s:i,s:s,s:O,s:n,s:i,s:b,s:O,s:b}", "op", "op-9", "run", 1, "mode",
                       "both", "to", doc, "paths", "timeout_ms", -1, "changed", 1, "changes",
                       changes, "done", 0);
    assert_int_equal(vivi_journal_begin(fd, "op-9", "apply", VIVI_FAST, NULL), 0);
    rig_write(r, VIVI_CHANGE_FILE, record);
    if (stored)
        rig_write(r, VIVI_CONFIG_FILE, doc);
}

static void go_on_after(struct rig *r, bool stored)
{
    cleanup_json json_t *doc = NULL;

    rig_start(r);
    doc = rig_next_with(r, "labels.job", "42");
    assert_int_equal(vivi_config_set(doc, "cpus.count", "2", "/", NULL), 0);
    rig_disconnect(r, &r->client);
    rig_kill_monitor(r);
    cut_short(r, doc, stored);
    rig_boot(r);
    rig_connect(r, &r->client);
    rig_has(r, "labels.job", "\"42\"", "\"42\"");
    rig_has(r, "cpus.count", "2", "1");
    assert_int_equal(r->m->op.verb, VIVI_VERB_NONE);
    rig_tells(r, rig_apply(r, "op-9", json_incref(doc), NULL), true,
              "labels.job now; cpus.count next-start=" NO_CPUS);
}

static void a_monitor_goes_on_with_what_its_predecessor_was_asked(void **state)
{
    go_on_after(*state, false);
}

static void a_monitor_goes_on_with_what_its_predecessor_had_stored(void **state)
{
    go_on_after(*state, true);
}

static void an_apply_that_left_no_record_never_began(void **state)
{
    struct rig *r = *state;
    cleanup_close int fd = open(r->vm_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    rig_start(r);
    rig_disconnect(r, &r->client);
    rig_kill_monitor(r);
    assert_int_equal(vivi_journal_begin(fd, "op-9", "apply", VIVI_FAST, NULL), 0);
    rig_boot(r);
    rig_connect(r, &r->client);
    rig_has(r, "labels.job", "\"41\"", "\"41\"");
    rig_tells(r, rig_apply(r, "op-9", rig_next_with(r, "labels.job", "42"), NULL), true,
              "labels.job now");
}

static void a_disk_that_is_full_leaves_everything_as_it_was(void **state)
{
    struct rig *r = *state;
    cleanup_json json_t *doc = NULL;
    char path[200];

    rig_start(r);
    doc = rig_next_with(r, "labels.job", "42");
    (void)snprintf(path, sizeof(path), "%s/%s", r->vm_dir, VIVI_CHANGE_FILE);
    assert_int_equal(mkdir(path, 0700), 0); /* no record can be renamed onto it */
    assert_true(refused(r, rig_apply(r, NULL, json_incref(doc), NULL)));
    rig_has(r, "labels.job", "\"41\"", "\"41\"");
    assert_int_equal(rmdir(path), 0);
    rig_tells(r, rig_apply(r, NULL, json_incref(doc), NULL), true, "labels.job now");
}

/* ---- the property ---- */

/* What has come of the changes that a machine was asked for. */
enum outcome { ALL_MADE, SOME_FAIL };

/* Of a machine that does what it is asked, nothing waits that can be made now; but a balloon may be
 * larger than the memory that is there. */
static void check_waiting(struct rig *r, const struct vivi_change *c, enum outcome outcome)
{
    char why[160];

    assert_false(vivi_policy_has(c));
    if (outcome == ALL_MADE && strcmp(c->path, "memory.balloon") != 0 &&
        vivi_change_can(r->m, c, why))
        fail_msg("%s waits", c->path);
}

/* stored = asked; this run and what waits are the difference; what can be made now does not wait.
 */
static void check_documents(struct rig *r, const json_t *asked, bool runs, enum outcome outcome)
{
    cleanup_json json_t *next = rig_next(r);
    cleanup_json json_t *run = runs ? rig_run(r) : NULL;
    cleanup_diff struct vivi_diff waits = {0};

    if (!json_equal(next, asked)) {
        cleanup_free char *a = json_dumps(next, JSON_COMPACT), *b = json_dumps(asked, JSON_COMPACT);

        fail_msg("stored %s\nasked %s", a, b);
    }
    if (!runs)
        return;
    assert_int_equal(vivi_diff(run, next, &waits, NULL), 0);
    for (size_t i = 0; i < waits.n; i++)
        check_waiting(r, &waits.items[i], outcome);
    for (size_t i = 0; i < waits.n; i++)
        assert_int_equal(vivi_change_make(run, &waits.items[i], NULL), 0);
    assert_true(json_equal(run, next));
}

/* Devices stay in the places where this run, or the stored configuration, has them. */
static json_t *in_place(json_t *doc, const json_t *from)
{
    static const char *const lists[] = {"disks", "nets"};

    for (size_t k = 0; k < ARRAY_SIZE(lists); k++)
        for (size_t i = 0; i < json_array_size(json_object_get(doc, lists[k])); i++)
            assert_int_equal(json_object_set_new(json_array_get(json_object_get(doc, lists[k]), i),
                                                 "slot", json_null()),
                             0);
    assert_int_equal(vivi_slots_keep(doc, from, NULL), 0);
    return doc;
}

/* Another document; mostly with the devices in the order in which they can be had. */
static json_t *another(uint64_t *seed, const json_t *before)
{
    json_t *doc = vivi_random_document(seed, "web", "fake"), *kept;
    cleanup_diff struct vivi_diff d = {0};

    assert_non_null(doc);
    if (*seed % 5 == 0)
        return doc;
    kept = json_deep_copy(before);
    assert_int_equal(vivi_diff(before, doc, &d, NULL), 0);
    for (size_t i = 0; i < d.n; i++)
        if (!vivi_change_is_order(&d.items[i]))
            assert_int_equal(vivi_change_make(kept, &d.items[i], NULL), 0);
    json_decref(doc);
    return kept;
}

struct walk {
    uint64_t seed;
    json_t *asked; /* owned; what was taken last */
    bool runs;
    unsigned taken, orders;
    bool *met; /* by row of the field table: it was changed */
};

static void note_met(struct walk *w, const struct vivi_diff *d)
{
    for (size_t i = 0; i < d->n; i++)
        w->met[d->items[i].field - vivi_fields] = true;
}

/* The monitor dies after it has been asked; the next one goes on. */
static void ask_and_die(struct rig *r, const struct walk *w, const json_t *doc)
{
    rig_disconnect(r, &r->client);
    rig_kill_monitor(r);
    cut_short(r, doc, w->seed % 2);
    rig_boot(r);
    rig_connect(r, &r->client);
    rig_settle(r);
    assert_int_equal(r->m->op.verb, VIVI_VERB_NONE);
}

/* Asked in the usual way; what the guest keeps waiting ends by its deadline. */
static void ask_and_wait(struct rig *r, json_t *doc, bool fixed)
{
    uint64_t id = rig_apply(r, NULL, json_incref(doc), NULL);
    cleanup_json json_t *answer = NULL;

    for (int i = 0; !answer && i < 1000; i++) {
        rig_settle(r);
        answer = rig_answer(r, &r->client, id);
        if (!answer)
            rig_advance(r, VIVI_CHANGE_DEADLINE_MS);
    }
    assert_non_null(answer);
    assert_int_equal(json_object_get(answer, "error") != NULL, fixed);
}

static void step(struct rig *r, struct walk *w, enum outcome outcome)
{
    cleanup_json json_t *before = rig_next(r);
    cleanup_json json_t *from = w->runs ? rig_run(r) : json_incref(before);
    cleanup_json json_t *doc = in_place(another(&w->seed, before), from);
    cleanup_diff struct vivi_diff d = {0};
    bool fixed, dies = outcome == ALL_MADE && w->seed % 3 == 0;

    assert_int_equal(vivi_diff(before, doc, &d, NULL), 0);
    fixed = vivi_diff_fixed(&d, NULL) < 0;
    if (dies && !fixed)
        ask_and_die(r, w, doc);
    else
        ask_and_wait(r, doc, fixed);
    w->orders += fixed;
    if (!fixed) {
        w->taken++;
        note_met(w, &d);
        json_decref(w->asked);
        w->asked = json_incref(doc);
    }
    check_documents(r, w->asked, w->runs,
                    fixed ? SOME_FAIL : outcome); /* refused: nothing is made */
}

/* What the machine makes of this round: everything, or it fails, refuses, or never answers. */
static enum outcome choose(const struct walk *w)
{
    static const enum rig_answer answers[] = {RIG_AT_ONCE, RIG_FAIL, RIG_REFUSE, RIG_NEVER};
    enum outcome outcome = w->seed / 7 % 2 ? ALL_MADE : SOME_FAIL;

    rig_driver.add = rig_driver.remove = rig_driver.resize = RIG_AT_ONCE;
    if (outcome == SOME_FAIL) {
        rig_driver.add = answers[w->seed / 11 % ARRAY_SIZE(answers)];
        rig_driver.remove = answers[w->seed / 13 % ARRAY_SIZE(answers)];
        rig_driver.resize = answers[w->seed / 17 % ARRAY_SIZE(answers)];
    }
    return outcome;
}

static bool has_a_choice(const struct vivi_field *f)
{
    return f->type != VIVI_T_ENUM || strchr(f->choices, '|');
}

/* Each row that may be changed at all was. */
static void check_met(const struct walk *w)
{
    for (size_t i = 0; i < vivi_fields_count(); i++)
        if (vivi_fields[i].when != VIVI_WHEN_FIXED && !w->met[i] && has_a_choice(&vivi_fields[i]))
            fail_msg("%s was never changed", vivi_fields[i].path);
}

/* all: it is long enough to meet each row. */
static void walk_at_random(struct rig *r, int rounds, bool all)
{
    cleanup_free bool *met = calloc(vivi_fields_count(), sizeof(*met));
    struct walk w = {.seed = 4711, .asked = rig_next(r), .met = met};

    assert_non_null(met);
    for (int i = 0; i < rounds; i++) {
        enum outcome outcome = choose(&w);

        step(r, &w, outcome);
        if (w.runs && rig_driver.change_op && w.seed % 4 == 0) { /* late, or once too often */
            rig_done(rig_driver.change_op, NULL);
            rig_settle(r);
            check_documents(r, w.asked, w.runs, SOME_FAIL);
        }
        if (i % 10 == 9) {
            w.runs ? rig_stop(r) : rig_start(r);
            w.runs = !w.runs;
            check_documents(r, w.asked, w.runs, ALL_MADE);
        }
    }
    json_decref(w.asked);
    assert_true(w.taken > (unsigned)rounds / 2 && w.orders > 0);
    if (all)
        check_met(&w);
}

static void random_changes_with_deaths_between_are_stored_as_asked(void **state)
{
    walk_at_random(*state, ROUNDS, true);
    assert_int_equal(rig_driver.changes, 0); /* this machine can change nothing */
}

static void random_changes_of_a_machine_that_makes_them_or_not_are_kept_apart(void **state)
{
    walk_at_random(*state, HOT_ROUNDS, false);
    assert_true(rig_driver.changes > HOT_ROUNDS);
}

static void each_field_that_is_fixed_is_refused_by_its_name(void **state)
{
    struct rig *r = *state;
    unsigned n = 0;

    for (size_t i = 0; i < vivi_fields_count(); i++) {
        const struct vivi_field *f = &vivi_fields[i];
        cleanup_json json_t *doc = rig_next(r);
        cleanup_json json_t *answer = NULL;
        uint64_t id;

        if (f->when != VIVI_WHEN_FIXED || strchr(f->path, '*'))
            continue;
        n++;
        assert_int_equal(json_object_set_new(doc, f->path, json_string("vz")), 0);
        id = rig_apply(r, NULL, json_incref(doc), NULL);
        rig_settle(r);
        answer = rig_answer(r, &r->client, id);
        assert_string_equal(
            json_string_value(json_object_get(json_object_get(answer, "error"), "field")), f->path);
    }
    assert_true(n >= 3);
}

#define TEST(name)           cmocka_unit_test_setup_teardown(name, open_plain, rig_close_state)
#define TEST_WITH(name, how) cmocka_unit_test_setup_teardown(name, how, rig_close_state)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_the_monitor_carries_out_changes_at_once),
        TEST(the_same_again_changes_nothing_and_says_so),
        TEST(what_cannot_change_while_it_runs_waits_for_the_next_start),
        TEST(a_vm_that_does_not_run_has_it_at_once),
        TEST(what_is_fixed_is_refused_and_nothing_is_changed),
        TEST(a_dry_run_says_what_would_be_and_does_nothing),
        TEST(who_looked_at_an_older_configuration_is_told_to_look_again),
        TEST(only_the_next_start_or_only_this_run_can_be_meant),
        TEST(what_must_be_made_now_is_refused_where_it_cannot),
        TEST(what_waits_is_made_when_it_is_asked_for_and_not_by_the_way),
        TEST_WITH(a_planned_restart_ends_with_its_policy, open_always),
        TEST(the_keeper_is_told_how_much_of_the_log_to_keep),
        TEST(who_asks_again_gets_the_same_answer_from_any_monitor),
        TEST(a_monitor_goes_on_with_what_its_predecessor_was_asked),
        TEST(a_monitor_goes_on_with_what_its_predecessor_had_stored),
        TEST(an_apply_that_left_no_record_never_began),
        TEST(a_disk_that_is_full_leaves_everything_as_it_was),
        TEST(each_field_that_is_fixed_is_refused_by_its_name),
        TEST(random_changes_with_deaths_between_are_stored_as_asked),
        TEST_WITH(random_changes_of_a_machine_that_makes_them_or_not_are_kept_apart, open_hot),
    };

    return cmocka_run_group_tests_name("apply", tests, NULL, NULL);
}
