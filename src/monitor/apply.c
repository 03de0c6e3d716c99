/*
 * Changing what is configured.
 *
 * Theory of operation. There are two documents: config.json, of the next start, and the one in
 * running.json, of this run. A request brings a third, as it shall be. The changes that people see
 * are the differences between the first and the third; what this run lacks are those between the
 * second and the third, and of these the ones that were asked for and can be made while it runs are
 * made, one after the other. Each that worked goes into running.json at once, so that at any moment
 * the difference between the two documents is what waits for the next start, whatever happened.
 *
 * change.json says what was asked before anything is done, and what came of it before anybody is
 * told. A monitor that takes over finds the operation in the journal and goes on by that record:
 * the configuration is stored whole or not at all (one rename), and what this run lacks is computed
 * again, so nothing needs to be known about how far the former one got.
 */
#include "monitor/apply.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "driver/disks.h"
#include "model/slots.h"
#include "monitor/monitor.h"
#include "monitor/policy.h"

#define EVENT_PATHS_MAX 32

enum mode { MODE_BOTH, MODE_NEXT, MODE_LIVE, MODE_STRICT };
static const char *const mode_words[] = {"both", "next", "live", "strict"};

void vivi_apply_done(struct vivi_apply *a)
{
    json_decref(a->record);
    json_decref(a->failed);
    vivi_diff_done(&a->todo);
    *a = (struct vivi_apply){0};
}

static enum mode mode_of(const json_t *record)
{
    const char *word = json_string_value(json_object_get(record, "mode"));

    for (size_t i = 0; word && i < ARRAY_SIZE(mode_words); i++)
        if (strcmp(word, mode_words[i]) == 0)
            return (enum mode)i;
    return MODE_BOTH;
}

/* ---- the documents ---- */

static int read_next(const struct vivi_monitor *m, json_t **ret, viv_error *err)
{
    cleanup_json json_t *doc = NULL;
    int r = vivi_json_read(m->dir.fd, VIVI_CONFIG_FILE, VIVI_DOCUMENT_MAX_BYTES, &doc, err);

    return r < 0 ? r : vivi_config_complete(doc, ret, err);
}

/* *ret stays NULL when nothing runs. A run whose record is lost has what config.json says. */
static int read_run(const struct vivi_monitor *m, json_t **ret, viv_error *err)
{
    const json_t *doc = json_object_get(m->running, "config");

    if (!vivi_state_has_vmm(m->st.state))
        return 0;
    return doc ? vivi_config_complete(doc, ret, err) : read_next(m, ret, err);
}

/* ---- what can be made while it runs ---- */

/* why: for people, "" when there is nothing to say. */
static bool can_now(const struct vivi_monitor *m, const struct vivi_change *c, char why[160])
{
    why[0] = '\0';
    return vivi_policy_has(c) || vivi_change_can(m, c, why);
}

/* paths: null or an array. */
static bool is_asked(const json_t *paths, const char *path)
{
    if (!json_is_array(paths))
        return true;
    for (size_t i = 0; i < json_array_size(paths); i++) {
        const char *asked = json_string_value(json_array_get(paths, i));

        if (asked && vivi_paths_meet(asked, path))
            return true;
    }
    return false;
}

/* ---- planning ---- */

struct plan {
    enum mode mode;
    const json_t *paths;
    json_t *next, *run, *to; /* owned; run NULL: nothing runs */
    struct vivi_diff asked;  /* what people see */
    struct vivi_diff lacks;  /* what this run lacks */
};

static void plan_done(struct plan *p)
{
    json_decref(p->next);
    json_decref(p->run);
    json_decref(p->to);
    vivi_diff_done(&p->asked);
    vivi_diff_done(&p->lacks);
}
#define cleanup_plan_of VIVI_CLEANUP(plan_done)

static bool is_wanted_now(const struct plan *p, const struct vivi_change *c)
{
    return p->mode != MODE_NEXT &&
           (is_asked(p->paths, c->path) || vivi_diff_meets(&p->asked, c->path));
}

static bool is_tried(const struct vivi_monitor *m, const struct plan *p,
                     const struct vivi_change *c)
{
    char why[160];

    return is_wanted_now(p, c) && can_now(m, c, why);
}

static json_t *text_or_null(const char *text)
{
    return text && text[0] ? json_string(text) : json_null();
}

/* {path, op, from, to, when, applied, reason}; consumes applied, which it is now or shall be. */
static json_t *entry_of(const struct vivi_change *c, const char *applied, const char *reason)
{
    json_t *e = vivi_change_json(c);

    if (e && (json_object_set_new(e, "applied", text_or_null(applied)) < 0 ||
              json_object_set_new(e, "reason", text_or_null(reason)) < 0)) {
        json_decref(e);
        return NULL;
    }
    return e;
}

/* Whether that is, of what this run lacks, what stands at path: the order of devices is not, as
 * long as one of those before it waits. */
static bool is_lack_of(const struct vivi_change *lack, const char *path)
{
    return vivi_paths_meet(lack->path, path) &&
           (!vivi_change_is_order(lack) || strcmp(lack->path, path) == 0);
}

/* What is to become of a change that was asked for. */
static json_t *planned_entry(const struct vivi_monitor *m, const struct plan *p,
                             const struct vivi_change *c)
{
    viv_error err = VIV_ERROR_INIT;
    char why[160];

    if (vivi_change_fixed(c, &err) < 0)
        return entry_of(c, "refused", err.message);
    for (size_t i = 0; i < p->lacks.n; i++) {
        const struct vivi_change *l = &p->lacks.items[i];

        if (!is_lack_of(l, c->path))
            continue;
        if (p->mode == MODE_NEXT)
            return entry_of(c, "next-start", NULL);
        if (!can_now(m, l, why))
            return entry_of(c, "next-start", why);
    }
    return entry_of(c, "now", NULL);
}

/* All that was asked for, then what waited already and is made on this occasion. */
static json_t *planned(const struct vivi_monitor *m, const struct plan *p, size_t *ret_tried)
{
    json_t *list = json_array();

    *ret_tried = 0;
    for (size_t i = 0; list && i < p->asked.n; i++)
        if (json_array_append_new(list, planned_entry(m, p, &p->asked.items[i])) < 0)
            goto no_memory;
    for (size_t i = 0; list && i < p->lacks.n; i++) {
        const struct vivi_change *c = &p->lacks.items[i];

        if (!is_tried(m, p, c))
            continue;
        ++*ret_tried;
        if (!vivi_diff_meets(&p->asked, c->path) &&
            json_array_append_new(list, entry_of(c, "now", NULL)) < 0)
            goto no_memory;
    }
    return list;

no_memory:
    json_decref(list);
    return NULL;
}

/* ---- the request ---- */

static bool flag(const json_t *args, const char *key)
{
    return json_is_true(json_object_get(args, key));
}

static int check_base(const struct plan *p, const json_t *args, viv_error *err)
{
    const char *base = json_string_value(json_object_get(args, "base"));
    char now[VIVI_DIGEST_SIZE];
    int r;

    if (!base)
        return 0;
    if (vivi_document_digest(p->mode == MODE_LIVE ? p->run : p->next, now) < 0)
        return vivi_fail_oom(err);
    if (strcmp(now, base) == 0)
        return 0;
    r = vivi_fail(err, VIV_E_BUSY, "the configuration was changed by somebody else meanwhile");
    if (err)
        err->flags |= VIV_ERR_RETRY;
    return r;
}

/* What must be made now, or not at all. */
static int check_strict(const struct vivi_monitor *m, const struct plan *p, viv_error *err)
{
    char why[160];

    for (size_t i = 0; i < p->lacks.n; i++) {
        const struct vivi_change *c = &p->lacks.items[i];
        int r;

        if (!is_wanted_now(p, c) || can_now(m, c, why))
            continue;
        r = vivi_fail_field(err, VIV_E_UNSUPPORTED, c->path,
                            "cannot be changed while the VM runs%s%s", why[0] ? ": " : "", why);
        vivi_hint(err, "with --next it is from the next start on");
        return r;
    }
    return 0;
}

static int read_documents(const struct vivi_monitor *m, const json_t *args, struct plan *p,
                          viv_error *err)
{
    cleanup_config struct vivi_config decoded = {0};
    const json_t *doc = json_object_get(args, "doc");
    int r;

    if (!json_is_object(doc))
        return vivi_fail(err, VIV_E_INVALID, "args.doc: not a configuration");
    r = vivi_config_complete(doc, &p->to, err);
    if (r == 0)
        r = vivi_config_decode(p->to, &decoded, err);
    if (r == 0)
        r = read_next(m, &p->next, err);
    if (r == 0)
        r = read_run(m, &p->run, err);
    return r < 0 ? r : vivi_slots_keep(p->to, p->run ? p->run : p->next, err);
}

static int make_plan(const struct vivi_monitor *m, const json_t *args, struct plan *p,
                     viv_error *err)
{
    int r = read_documents(m, args, p, err);

    if (r < 0)
        return r;
    p->mode = mode_of(args);
    p->paths = json_object_get(args, "paths");
    if (p->mode == MODE_LIVE && !p->run)
        return vivi_fail(err, VIV_E_WRONG_STATE,
                         "only a running VM can be changed for this run alone (it is %s)",
                         vivi_state_name(m->st.state));
    r = check_base(p, args, err);
    if (r == 0)
        r = vivi_diff(p->mode == MODE_LIVE ? p->run : p->next, p->to, &p->asked, err);
    if (r == 0 && p->run)
        r = vivi_diff(p->run, p->to, &p->lacks, err);
    if (r == 0 && !flag(args, "dry_run"))
        r = vivi_diff_fixed(&p->asked, err);
    if (r == 0 && (p->mode == MODE_LIVE || p->mode == MODE_STRICT))
        r = check_strict(m, p, err);
    return r;
}

static json_t *record_of(const struct vivi_monitor *m, const struct vivi_request *q,
                         const struct plan *p, json_t *changes)
{
    return json_pack("{s:s,s:I,s:s,s:O,s:O?,s:I,s:b,s:b,s:O,s:b}", "op", q->op, "run",
                     (json_int_t)m->st.run, "mode", mode_words[p->mode], "to", p->to, "paths",
                     p->paths, "timeout_ms", (json_int_t)q->timeout_ms, "force",
                     (int)flag(q->args, "force"), "changed", p->asked.n > 0, "changes", changes,
                     "done", 0);
}

int vivi_apply_prepare(struct vivi_monitor *m, const struct vivi_request *q, json_t **ret_now,
                       viv_error *err)
{
    cleanup_plan_of struct plan p = {.mode = MODE_BOTH};
    cleanup_json json_t *changes = NULL;
    size_t tried = 0;
    int r = make_plan(m, q->args, &p, err);

    if (r < 0)
        return r;
    changes = planned(m, &p, &tried);
    if (!changes)
        return vivi_fail_oom(err);
    if (flag(q->args, "dry_run") || (p.asked.n == 0 && tried == 0)) {
        *ret_now =
            json_pack("{s:b,s:O}", "changed", json_array_size(changes) > 0, "changes", changes);
        return *ret_now ? 0 : vivi_fail_oom(err);
    }
    vivi_apply_done(&m->apply);
    m->apply.record = record_of(m, q, &p, changes);
    return m->apply.record ? 0 : vivi_fail_oom(err);
}

/* ---- carrying it out ---- */

static int write_record(struct vivi_monitor *m, viv_error *err)
{
    return vivi_json_write(m->dir.fd, VIVI_CHANGE_FILE, m->apply.record, VIVI_FAST, err);
}

/* The configuration that counts now becomes doc: of this run, or of the last one. */
static void use_config(struct vivi_monitor *m, const json_t *doc)
{
    struct vivi_config c = {0};
    viv_error err = VIV_ERROR_INIT;

    if (vivi_config_decode(doc, &c, &err) < 0) {
        vivi_log(VIVI_LOG_ERROR, "configuration: %s", err.message);
        return;
    }
    if (m->config_valid)
        vivi_config_done(&m->config);
    m->config = c;
    m->config_valid = true;
    m->st.cpus = c.cpus;
    m->st.memory_bytes = c.memory_bytes;
    vivi_policy_take(m);
}

/* Nothing runs: images that were asked to be smaller are cut by us. */
static int cut_images(const struct vivi_monitor *m, viv_error *err)
{
    const json_t *list = json_object_get(m->apply.record, "changes");
    cleanup_config struct vivi_config c = {0};
    int r = vivi_config_decode(json_object_get(m->apply.record, "to"), &c, err);

    for (size_t i = 0; r == 0 && i < json_array_size(list); i++)
        r = vivi_disk_cut(&c, vivi_json_text(json_array_get(list, i), "path"), err);
    return r;
}

/* config.json becomes what was asked for: the one step in which that happens. */
static int store(struct vivi_monitor *m, viv_error *err)
{
    const json_t *to = json_object_get(m->apply.record, "to");
    cleanup_json json_t *next = NULL;
    int r = read_next(m, &next, err);

    if (r == 0 && flag(m->apply.record, "force") && !vivi_state_has_vmm(m->st.state))
        r = cut_images(m, err);
    if (r < 0)
        return r;
    if (!json_equal(next, to)) {
        r = vivi_config_store(m->dir.fd, to, &m->st, err);
        if (r < 0)
            return r;
        vivi_op_step(m, "stored");
    }
    if (!vivi_state_has_vmm(m->st.state)) {
        use_config(m, to);
        vivi_apply_columns(m);
    }
    return 0;
}

/* Neither made nor impossible: the guest may still do its part, at the latest when it starts anew.
 */
static bool is_waiting(const viv_error *err)
{
    return err->code == VIV_E_TIMEOUT || err->code == VIV_E_CANCELLED;
}

/* Why is kept by path, for the answer; the first error is kept whole, but one that waiting cannot
 * heal comes before those that it can. */
static void note_failure(struct vivi_monitor *m, const struct vivi_change *c, const viv_error *err)
{
    viv_error *kept = &m->apply.error;

    if (!m->apply.failed)
        m->apply.failed = json_object();
    (void)json_object_set_new(m->apply.failed, c->path, vivi_json_str(err->message));
    if (kept->code != 0 && (!is_waiting(kept) || is_waiting(err)))
        return;
    *kept = *err;
    if (!kept->field[0])
        (void)vivi_in_field(kept, -kept->code, c->path);
}

/* Who stays in the machine stays in its place, whoever leaves. */
static int make_in_run(json_t *run, const struct vivi_change *c, viv_error *err)
{
    cleanup_json json_t *before = json_deep_copy(run);
    int r = before ? vivi_change_make(run, c, err) : vivi_fail_oom(err);

    return r < 0 ? r : vivi_slots_keep(run, before, err);
}

/* The change is true of this run from now on; false: it could not be recorded. */
static bool record_made(struct vivi_monitor *m, const struct vivi_change *c)
{
    viv_error err = VIV_ERROR_INIT;
    json_t *run = NULL;
    int r = read_run(m, &run, &err);

    if (r == 0 && run)
        r = make_in_run(run, c, &err);
    if (r < 0 || !run) {
        vivi_log(VIVI_LOG_ERROR, "%s: %s", c->path, run ? err.message : "nothing runs");
        json_decref(run);
        return false;
    }
    (void)json_object_set_new(m->running, "config", run);
    use_config(m, run);
    vivi_record_running(m);
    vivi_record_state(m);
    return true;
}

static void made(struct vivi_monitor *m, const struct vivi_change *c)
{
    if (record_made(m, c))
        (void)json_object_set_new(m->apply.record, "changed", json_true());
}

void vivi_apply_happened(struct vivi_monitor *m, enum vivi_change_op op, const char *path,
                         json_t *to)
{
    struct vivi_change c = {.op = op, .from = json_null(), .to = to ? to : json_null()};
    cleanup_json json_t *run = NULL;
    char list[VIVI_PATH_SIZE];

    (void)snprintf(c.path, sizeof(c.path), "%s", path);
    (void)snprintf(list, sizeof(list), "%.*s", (int)strcspn(path, "."), path);
    c.field = vivi_field_find(path); /* a value, or a device of a list */
    if (!c.field)
        c.field = vivi_field_find(list);
    if (!c.field)
        return;
    if (read_run(m, &run, NULL) < 0 || !run ||
        (op == VIVI_CHANGE_REMOVE && !vivi_config_get(run, path)))
        return; /* it is known already */
    (void)record_made(m, &c);
}

/* ---- the end ---- */

/* Why a change that this run still lacks is not made: the failure, else that it cannot be. */
static void why_not(const struct vivi_monitor *m, const struct vivi_change *c, char ret[160])
{
    const char *text = json_string_value(json_object_get(m->apply.failed, c->path));

    if (text)
        (void)snprintf(ret, 160, "%.159s", text);
    else
        (void)can_now(m, c, ret);
}

/* What has become of each change: the truth by the documents, not by what was intended. */
static int conclude_changes(struct vivi_monitor *m, viv_error *err)
{
    cleanup_diff struct vivi_diff lacks = {0};
    cleanup_json json_t *run = NULL;
    const json_t *list = json_object_get(m->apply.record, "changes");
    bool wanted = mode_of(m->apply.record) != MODE_NEXT;
    int r = read_run(m, &run, err);

    if (r == 0 && run)
        r = vivi_diff(run, json_object_get(m->apply.record, "to"), &lacks, err);
    for (size_t i = 0; r == 0 && i < json_array_size(list); i++) {
        json_t *e = json_array_get(list, i);
        const char *path = json_string_value(json_object_get(e, "path"));
        char why[160] = "";
        size_t k = 0;

        while (path && k < lacks.n && !is_lack_of(&lacks.items[k], path))
            k++;
        if (wanted && k < lacks.n)
            why_not(m, &lacks.items[k], why);
        if (json_object_set_new(e, "applied", json_string(k < lacks.n ? "next-start" : "now")) <
                0 ||
            json_object_set_new(e, "reason", text_or_null(why)) < 0)
            r = vivi_fail_oom(err);
    }
    return r;
}

static void tell_event(struct vivi_monitor *m)
{
    const json_t *list = json_object_get(m->apply.record, "changes");
    json_t *more = json_object(), *paths = json_array();

    for (size_t i = 0; i < json_array_size(list) && i < EVENT_PATHS_MAX; i++)
        (void)json_array_append(paths, json_object_get(json_array_get(list, i), "path"));
    (void)json_object_set_new(more, "paths", paths);
    vivi_record_event(m, "config", more);
}

static json_t *answer_of(const json_t *record)
{
    return json_pack("{s:O,s:O}", "changed", json_object_get(record, "changed"), "changes",
                     json_object_get(record, "changes"));
}

static void end(struct vivi_monitor *m, const viv_error *err)
{
    if (!err)
        m->op.more = answer_of(m->apply.record);
    vivi_record_state(m);
    vivi_apply_done(&m->apply);
    vivi_op_end(m, err);
}

/* What was asked for holds from now on. */
static void settle(struct vivi_monitor *m, enum mode mode, viv_error *err)
{
    if (mode == MODE_STRICT)
        (void)store(m, err);
    if (err->code == 0)
        (void)conclude_changes(m, err);
    if (err->code != 0)
        return;
    (void)json_object_set_new(m->apply.record, "done", json_true());
    tell_event(m);
    (void)write_record(m, err);
}

/* Live and strict are all or an error; of strict nothing is stored then, unless the guest is only
 * late: what was asked for waits, and asking again is asking for the same. */
static void finish(struct vivi_monitor *m)
{
    enum mode mode = mode_of(m->apply.record);
    viv_error failed = m->apply.error, err = VIV_ERROR_INIT;
    bool counts = mode == MODE_LIVE || mode == MODE_STRICT;

    if (!counts || failed.code == 0 || (mode == MODE_STRICT && is_waiting(&failed)))
        settle(m, mode, &err);
    if (counts && failed.code != 0)
        err = failed;
    end(m, err.code ? &err : NULL);
}

static void proceed(struct vivi_monitor *m);

/* err NULL: the change at at is made. */
static void change_over(struct vivi_monitor *m, const viv_error *err)
{
    struct vivi_apply *a = &m->apply;
    const struct vivi_change *c = &a->todo.items[a->at];

    a->making = false;
    if (err)
        note_failure(m, c, err);
    else
        made(m, c);
    a->at++;
    if (!a->walking)
        proceed(m);
}

static void make_one(struct vivi_monitor *m, const struct vivi_change *c)
{
    const json_t *timeout = json_object_get(m->apply.record, "timeout_ms");
    struct vivi_change_how how = {.timeout_ms =
                                      timeout ? json_integer_value(timeout) : VIVI_NO_TIMEOUT,
                                  .force = flag(m->apply.record, "force"),
                                  .done = change_over};
    cleanup_json json_t *run = NULL;
    viv_error err = VIV_ERROR_INIT;
    int r = 0;

    if (vivi_policy_has(c)) {
        change_over(m, NULL);
        return;
    }
    r = read_run(m, &run, &err);
    if (r == 0 && !run)
        r = vivi_fail(&err, VIV_E_WRONG_STATE, "nothing runs");
    if (r == 0)
        r = make_in_run(run, c, &err);
    how.doc = run;
    if (r == 0)
        r = vivi_change_begin(m, c, &how, &err);
    if (r < 0)
        change_over(m, &err);
}

/* Makes what is left to be made, one after the other. */
static void proceed(struct vivi_monitor *m)
{
    struct vivi_apply *a = &m->apply;

    a->walking = true;
    while (a->at < a->todo.n && !a->making) {
        a->making = true;
        make_one(m, &a->todo.items[a->at]);
    }
    a->walking = false;
    if (!a->making)
        finish(m);
}

/* What the balloon gives back comes first: memory that is to go may be part of it. */
static bool is_first(const struct vivi_change *c)
{
    return strcmp(c->path, "memory.balloon") == 0 && json_is_integer(c->from) &&
           (json_is_null(c->to) || json_integer_value(c->to) > json_integer_value(c->from));
}

static void sort_todo(struct vivi_diff *d)
{
    for (size_t i = 1; i < d->n; i++) {
        struct vivi_change c = d->items[i];

        if (!is_first(&c))
            continue;
        memmove(&d->items[1], &d->items[0], i * sizeof(c));
        d->items[0] = c;
    }
}

/* What this run lacks, was asked for, and can be made. */
static int find_todo(struct vivi_monitor *m, viv_error *err)
{
    const json_t *list = json_object_get(m->apply.record, "changes");
    cleanup_diff struct vivi_diff lacks = {0};
    cleanup_json json_t *run = NULL;
    int r = read_run(m, &run, err);
    size_t kept = 0;

    if (r < 0 || !run || mode_of(m->apply.record) == MODE_NEXT)
        return r;
    r = vivi_diff(run, json_object_get(m->apply.record, "to"), &lacks, err);
    for (size_t i = 0; i < lacks.n; i++) {
        struct vivi_change c = lacks.items[i];
        bool listed = false;
        char why[160];

        for (size_t k = 0; k < json_array_size(list) && !listed; k++) {
            const char *path = json_string_value(json_object_get(json_array_get(list, k), "path"));

            listed = path && vivi_paths_meet(path, c.path);
        }
        if (listed && can_now(m, &c, why)) { /* the ones that stay move to the front */
            lacks.items[i] = lacks.items[kept];
            lacks.items[kept++] = c;
        }
    }
    m->apply.todo = lacks;
    lacks = (struct vivi_diff){0};
    for (size_t i = kept; i < m->apply.todo.n; i++) {
        json_decref(m->apply.todo.items[i].from);
        json_decref(m->apply.todo.items[i].to);
    }
    m->apply.todo.n = kept;
    sort_todo(&m->apply.todo);
    return r;
}

void vivi_apply_go(struct vivi_monitor *m)
{
    enum mode mode = mode_of(m->apply.record);
    viv_error err = VIV_ERROR_INIT;
    int r = write_record(m, &err);

    if (r == 0 && (mode == MODE_BOTH || mode == MODE_NEXT))
        r = store(m, &err);
    if (r == 0)
        r = find_todo(m, &err);
    if (r < 0)
        end(m, &err);
    else
        proceed(m);
}

void vivi_apply_abandon(struct vivi_monitor *m, const char *why)
{
    struct vivi_apply *a = &m->apply;
    viv_error err = VIV_ERROR_INIT;

    if (!a->record) {
        (void)vivi_fail(&err, VIV_E_WRONG_STATE, "it ended meanwhile (%s)", m->st.reason);
        vivi_op_end(m, &err);
        return;
    }
    vivi_change_forget(m);
    (void)vivi_fail(&err, VIV_E_CANCELLED, "%s", why ? why : "the VM has ended");
    for (; a->at < a->todo.n; a->at++)
        note_failure(m, &a->todo.items[a->at], &err);
    a->making = false;
    finish(m);
}

/* ---- a former monitor's ---- */

static json_t *read_record(const struct vivi_monitor *m, const char *op)
{
    json_t *record = NULL;
    const char *id;

    if (vivi_json_read(m->dir.fd, VIVI_CHANGE_FILE, 2 * VIVI_DOCUMENT_MAX_BYTES, &record, NULL) < 0)
        return NULL;
    id = json_string_value(json_object_get(record, "op"));
    if (id && strcmp(id, op) == 0 && json_is_object(json_object_get(record, "to")))
        return record;
    json_decref(record);
    return NULL;
}

void vivi_apply_resume(struct vivi_monitor *m)
{
    vivi_apply_done(&m->apply);
    m->apply.record = read_record(m, m->op.id);
    if (!m->apply.record) /* it never began: whoever still wants it asks again */
        m->op = (struct vivi_op){.verb = VIVI_VERB_NONE};
    else if (json_is_true(json_object_get(m->apply.record, "done")))
        end(m, NULL);
    else
        vivi_apply_go(m);
}

json_t *vivi_apply_recall(const struct vivi_monitor *m, const char *op)
{
    cleanup_json json_t *record = read_record(m, op);

    return record ? answer_of(record) : NULL;
}

void vivi_apply_columns(struct vivi_monitor *m)
{
    cleanup_config struct vivi_config c = {0};
    cleanup_json json_t *next = NULL;

    if (read_next(m, &next, NULL) < 0 || vivi_config_decode(next, &c, NULL) < 0)
        return;
    m->st.cpus = c.cpus;
    m->st.memory_bytes = c.memory_bytes;
}
