/*
 * Theory of operation: a change brings a whole configuration, as it shall be. What it leaves to us
 * is as it is recorded. Who changes a VM that nobody keeps takes its lock and replaces config.json,
 * which is one rename; a VM that is kept is changed by its monitor, which is sent the configuration
 * and knows what can be made while it runs. A configuration that was got from the VM carries the
 * digest of what it was got from, so that two who change at once do not undo each other's work.
 *
 * What is wrong with the new configuration refuses it; what was wrong before (a disk that is not
 * there any more) does not: it stops the next start, not a change of something else.
 */
#include <stdio.h>
#include <string.h>

#include "driver/disks.h"
#include "manager/call.h"
#include "model/diff.h"
#include "model/slots.h"

#define CHANGE_MS 60000 /* for what waits for the guest */

/* ---- a configuration of a VM ---- */

static int config_new(json_t *doc_consume, bool running, viv_config **ret, viv_error *err)
{
    json_t *doc = doc_consume;
    viv_config *c = NULL;
    int r = viv_config_new(&c, err);

    if (r < 0) {
        json_decref(doc);
        return r;
    }
    json_decref(c->doc);
    c->doc = doc;
    c->of_run = running;
    c->touched = json_array();
    if (!c->touched || vivi_document_digest(c->doc, c->base) < 0) {
        viv_config_free(c);
        return vivi_fail_oom(err);
    }
    *ret = c;
    return 0;
}

/* The configuration of this run; WRONG_STATE when there is none. */
static int read_run(const struct vivi_vmdir *d, json_t **ret, viv_error *err)
{
    cleanup_state struct vivi_state s = {.extra = NULL};
    cleanup_json json_t *running = NULL;
    int r = vivi_state_read_truth(d, &s, NULL, err);

    if (r == 0 && !vivi_state_has_vmm(s.state))
        return vivi_fail(err, VIV_E_WRONG_STATE,
                         "only a running VM has a configuration of this run (it is %s)",
                         vivi_state_name(s.state));
    if (r == 0)
        r = vivi_json_read(d->fd, VIVI_RUNNING_FILE, VIVI_DOCUMENT_MAX_BYTES, &running, err);
    return r < 0 ? r : vivi_config_complete(json_object_get(running, "config"), ret, err);
}

static int read_next(const struct vivi_vmdir *d, json_t **ret, viv_error *err)
{
    cleanup_json json_t *doc = NULL;
    int r = vivi_json_read(d->fd, VIVI_CONFIG_FILE, VIVI_DOCUMENT_MAX_BYTES, &doc, err);

    return r < 0 ? r : vivi_config_complete(doc, ret, err);
}

int viv_vm_config(viv_vm *m, uint64_t flags, viv_config **ret, viv_error *err)
{
    cleanup_vmdir struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    bool running = flags & VIV_CONFIG_RUNNING;
    json_t *doc = NULL;
    int r;

    if (flags & ~(uint64_t)VIV_CONFIG_RUNNING)
        return vivi_fail(err, VIV_E_INVALID, "viv_vm_config: unknown flags");
    r = vivi_vm_dir(m, &d, err);
    if (r == 0)
        r = running ? read_run(&d, &doc, err) : read_next(&d, &doc, err);
    if (r < 0) {
        vivi_error_vm(err, m->name);
        return r;
    }
    return config_new(doc, running, ret, err);
}

int viv_config_set_base(viv_config *c, const viv_config *base, viv_error *err)
{
    if (!base->base[0])
        return vivi_fail(err, VIV_E_INVALID, "viv_config_set_base: not the configuration of a VM");
    if (!c->touched)
        c->touched = json_array();
    if (!c->touched)
        return vivi_fail_oom(err);
    memcpy(c->base, base->base, sizeof(c->base));
    c->of_run = base->of_run;
    return 0;
}

/* How much of the path names something: up to a * or a + that stands alone. */
static size_t named_length(const char *path)
{
    size_t n = 0;

    while (path[n]) {
        size_t len = strcspn(path + n, ".");

        if (len == 1 && (path[n] == '*' || path[n] == '+'))
            return n;
        n += len + (path[n + len] == '.');
    }
    return n > 0 && path[n - 1] == '-' ? n - 1 : n;
}

/* "disks.+data.path" → "disks.data.path", "nets.*.forward.+" → "nets", "disks.data-" →
 * "disks.data".
 */
void vivi_config_touch(viv_config *c, const char *path)
{
    size_t len = named_length(path), n = 0;
    char plain[256];

    if (!c->touched)
        return;
    for (size_t i = 0; i < len && n + 1 < sizeof(plain); i++)
        if (path[i] != '+' || (i > 0 && path[i - 1] != '.'))
            plain[n++] = path[i];
    while (n > 0 && plain[n - 1] == '.')
        n--;
    plain[n] = '\0';
    /* Without memory for it, all that waits counts as asked for: more is made, nothing is lost. */
    if (json_array_append_new(c->touched, json_string(plain)) < 0) {
        json_decref(c->touched);
        c->touched = NULL;
    }
}

/* ---- what shall be ---- */

enum mode { MODE_BOTH, MODE_NEXT, MODE_LIVE, MODE_STRICT };
static const char *const mode_words[] = {"both", "next", "live", "strict"};

struct change {
    enum mode mode;
    bool dry_run;
    json_t *recorded, *to;     /* owned */
    struct vivi_diff diff;     /* between the two */
    struct vivi_config wanted; /* of to, when images may be cut; else empty */
    json_t *changes;           /* owned; the diff as it is answered */
};

static void change_done(struct change *ch)
{
    json_decref(ch->recorded);
    json_decref(ch->to);
    json_decref(ch->changes);
    vivi_config_done(&ch->wanted);
    vivi_diff_done(&ch->diff);
}
#define cleanup_change VIVI_CLEANUP(change_done)

static int read_mode(const struct vivi_call *c, enum mode *ret, viv_error *err)
{
    int given = 0;

    *ret = c->config->of_run ? MODE_LIVE : c->strict ? MODE_STRICT : MODE_BOTH;
    for (int i = MODE_NEXT; i <= MODE_STRICT; i++) {
        if (!vivi_opt_bool(c->o, mode_words[i], false))
            continue;
        given++;
        *ret = (enum mode)i;
    }
    if (given > 1)
        return vivi_fail(err, VIV_E_INVALID, "next, live and strict exclude each other");
    if (c->config->of_run && *ret != MODE_LIVE)
        return vivi_fail(err, VIV_E_INVALID, "a configuration of this run changes only this run");
    return 0;
}

/* What is left to us stays as it is: also an address that somebody had chosen. */
static int keep_macs(json_t *to, const json_t *recorded)
{
    const json_t *have = json_object_get(recorded, "nets");
    size_t i;
    json_t *net;

    json_array_foreach(json_object_get(to, "nets"), i, net)
    {
        const char *id = json_string_value(json_object_get(net, "id"));
        const char *mac = json_string_value(json_object_get(net, "mac"));
        int k = id ? vivi_element_find("nets", have, id) : -1;
        json_t *was = k < 0 ? NULL : json_object_get(json_array_get(have, (size_t)k), "mac");

        if (was && mac && strcmp(mac, "auto") == 0 && json_object_set(net, "mac", was) < 0)
            return -1;
    }
    return 0;
}

static int make_to(const struct vivi_call *c, struct change *ch, viv_error *err)
{
    int r = vivi_config_complete(c->config->doc, &ch->to, err);

    if (r < 0)
        return r;
    if (!json_is_string(json_object_get(ch->to, "name")) &&
        json_object_set_new(ch->to, "name", json_string(c->d.name)) < 0)
        return vivi_fail_oom(err);
    if (keep_macs(ch->to, ch->recorded) < 0 ||
        vivi_resolve_like(ch->to, ch->recorded, c->d.uuid) < 0)
        return vivi_fail_oom(err);
    r = vivi_slots_keep(ch->to, ch->recorded, err);
    return r < 0 ? r : vivi_diff(ch->recorded, ch->to, &ch->diff, err);
}

/* ---- images that are to be cut ---- */

/* What force is for, of a size: it is cut now or not at all, because the guest has the image open.
 */
static int check_cuts(const struct vivi_call *c, struct change *ch, bool here, viv_error *err)
{
    int r = 0;

    if (!vivi_opt_bool(c->o, "force", false))
        return 0;
    r = vivi_config_decode(ch->to, &ch->wanted, err);
    for (size_t i = 0; r == 0 && i < ch->diff.n; i++) {
        const struct vivi_disk *d = vivi_disk_of_size(&ch->wanted, ch->diff.items[i].path);
        int cut = d ? vivi_disk_must_be_cut(d, err) : 0;

        if (cut < 0)
            return cut;
        if (cut && !here && ch->mode == MODE_NEXT)
            return vivi_fail_field(err, VIV_E_INVALID, ch->diff.items[i].path,
                                   "the image cannot be cut later: it is in use until then");
    }
    return r;
}

/* Is this the size of a disk that changes, and its image is to be cut to it? */
static bool is_cut(const struct change *ch, const char *field)
{
    const struct vivi_disk *d = vivi_disk_of_size(&ch->wanted, field);

    for (size_t i = 0; d && i < ch->diff.n; i++)
        if (strcmp(ch->diff.items[i].path, field) == 0)
            return vivi_disk_must_be_cut(d, NULL) > 0;
    return false;
}

static int cut_images(const struct change *ch, viv_error *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < ch->diff.n; i++)
        r = vivi_disk_cut(&ch->wanted, ch->diff.items[i].path, err);
    return r;
}

/* ---- what is wrong with it ---- */

static bool was_wrong(const struct vivi_problems *before, const viv_error *e)
{
    for (size_t i = 0; i < before->n; i++)
        if (strcmp(before->items[i].field, e->field) == 0 &&
            strcmp(before->items[i].message, e->message) == 0)
            return true;
    return false;
}

/* A driver that is missing on this host is a matter of the next start. */
static bool is_hosts_matter(int r)
{
    return r == -VIV_E_UNSUPPORTED || r == -VIV_E_NOT_FOUND;
}

static int check_new(const struct vivi_call *c, const struct change *ch, viv_error *err)
{
    cleanup_resolved struct vivi_resolved now = VIVI_RESOLVED_EMPTY;
    cleanup_resolved struct vivi_resolved before = VIVI_RESOLVED_EMPTY;
    cleanup_json json_t *run = NULL;
    viv_error why = VIV_ERROR_INIT;
    int r;

    if (ch->diff.n == 0)
        return 0;
    (void)read_run(&c->d, &run, NULL); /* none: it has nothing of the host yet */
    r = vivi_resolve(c->m->v, ch->to, c->d.uuid, run, &now, &why);
    if (is_hosts_matter(r))
        return 0;
    if (r == 0 && now.problems.n > 0)
        (void)vivi_resolve(c->m->v, ch->recorded, c->d.uuid, run, &before, NULL);
    for (size_t i = 0; r == 0 && i < now.problems.n; i++) {
        if (was_wrong(&before.problems, &now.problems.items[i]) ||
            is_cut(ch, now.problems.items[i].field))
            continue;
        why = now.problems.items[i];
        r = -why.code;
    }
    if (r < 0 && err) {
        uint32_t size = err->size;

        *err = why;
        err->size = size;
    }
    return r;
}

/* What cannot be changed at all comes first; a dry run lists it among the others. */
static int check(const struct vivi_call *c, struct change *ch, bool here, viv_error *err)
{
    int r = vivi_diff_fixed(&ch->diff, ch->dry_run ? NULL : err);

    if (r < 0)
        return ch->dry_run ? 0 : r;
    r = check_cuts(c, ch, here, err);
    return r < 0 ? r : check_new(c, ch, err);
}

/* ---- changed here ---- */

static json_t *entry_of(const struct vivi_change *c)
{
    viv_error err = VIV_ERROR_INIT;
    bool fixed = vivi_change_fixed(c, &err) < 0;
    json_t *e = vivi_change_json(c);

    if (e &&
        (json_object_set_new(e, "applied", json_string(fixed ? "refused" : "now")) < 0 ||
         json_object_set_new(e, "reason", fixed ? vivi_json_str(err.message) : json_null()) < 0)) {
        json_decref(e);
        return NULL;
    }
    return e;
}

static int list_changes(struct change *ch, viv_error *err)
{
    ch->changes = json_array();
    for (size_t i = 0; ch->changes && i < ch->diff.n; i++)
        if (json_array_append_new(ch->changes, entry_of(&ch->diff.items[i])) < 0)
            return vivi_fail_oom(err);
    return ch->changes ? 0 : vivi_fail_oom(err);
}

static void tell_event(struct vivi_call *c, const struct change *ch)
{
    cleanup_json json_t *body = vivi_event_new(&c->s, "config");
    json_t *paths = json_array();

    for (size_t i = 0; paths && i < ch->diff.n && i < VIVI_EVENT_PATHS_MAX; i++)
        (void)json_array_append_new(paths, json_string(ch->diff.items[i].path));
    if (body && json_object_set_new(body, "paths", paths) == 0)
        (void)vivi_event_append(&c->m->v->root, body, NULL, NULL);
}

static int store(struct vivi_call *c, struct change *ch, viv_error *err)
{
    cleanup_config struct vivi_config decoded = {0};
    int r = vivi_config_decode(ch->to, &decoded, err);

    if (r == 0) /* first: who dies in between asks again and finds it done */
        r = cut_images(ch, err);
    if (r == 0)
        r = vivi_config_store(c->d.fd, ch->to, &c->s, err);
    if (r < 0)
        return r;
    c->s.cpus = decoded.cpus;
    c->s.memory_bytes = decoded.memory_bytes;
    /* config.json is what counts: who lists looks there when the two do not fit. */
    (void)vivi_state_write(c->d.fd, &c->s, VIVI_FAST, NULL);
    tell_event(c, ch);
    return 0;
}

static int check_base(const struct vivi_call *c, const struct change *ch, viv_error *err)
{
    char now[VIVI_DIGEST_SIZE];
    int r;

    if (!c->config->base[0])
        return 0;
    if (vivi_document_digest(ch->recorded, now) < 0)
        return vivi_fail_oom(err);
    if (strcmp(now, c->config->base) == 0)
        return 0;
    r = vivi_fail(err, VIV_E_BUSY, "the configuration was changed by somebody else meanwhile");
    if (err)
        err->flags |= VIV_ERR_RETRY;
    return r;
}

/* The VM does not run and its lock is ours. */
static int change_here(struct vivi_call *c, struct change *ch, json_t **ret_local, viv_error *err)
{
    json_t *answer;
    int r = 0;

    if (ch->mode == MODE_LIVE)
        return vivi_fail(err, VIV_E_WRONG_STATE,
                         "only a running VM can be changed for this run alone (it is %s)",
                         vivi_state_name(c->s.state));
    r = check_base(c, ch, err);
    if (r == 0)
        r = list_changes(ch, err);
    if (r == 0 && !ch->dry_run && ch->diff.n > 0)
        r = store(c, ch, err);
    if (r < 0)
        return r;
    answer = vivi_call_as_it_is(&c->s);
    if (!answer || json_object_set_new(answer, "changed", json_boolean(ch->diff.n > 0)) < 0 ||
        json_object_set(answer, "changes", ch->changes) < 0) {
        json_decref(answer);
        return vivi_fail_oom(err);
    }
    *ret_local = answer;
    return 0;
}

/* A monitor died in the middle of a change: the next one goes on with it, before anything else. */
static bool is_unfinished(const struct vivi_call *c)
{
    cleanup_json json_t *record = NULL;
    struct vivi_journal_open open;
    const char *op;

    if (vivi_journal_unfinished(c->d.fd, &open, NULL) <= 0 || strcmp(open.verb, "apply") != 0 ||
        vivi_json_read(c->d.fd, VIVI_CHANGE_FILE, 2 * VIVI_DOCUMENT_MAX_BYTES, &record, NULL) < 0)
        return false;
    op = json_string_value(json_object_get(record, "op"));
    return op && strcmp(op, open.op) == 0;
}

/* ---- changed by the monitor ---- */

static int ask_monitor(struct vivi_call *c, const struct change *ch, viv_error *err)
{
    int64_t ms = 0;
    int r = vivi_call_ms(c->o, "timeout_ms", CHANGE_MS, &ms, err);

    if (r < 0)
        return r;
    c->q.timeout_us = vivi_call_after(ms < 0 ? ms : ms * (int64_t)(ch->diff.n + 1));
    (void)snprintf(c->q.late, sizeof(c->q.late), "not changed after %g s; it goes on",
                   (double)ms / 1000);
    c->q.args =
        json_pack("{s:O,s:s,s:b,s:I,s:O?}", "doc", ch->to, "mode", mode_words[ch->mode], "dry_run",
                  (int)ch->dry_run, "timeout_ms", (json_int_t)ms, "paths", c->config->touched);
    if (!c->q.args ||
        (c->config->base[0] &&
         json_object_set_new(c->q.args, "base", json_string(c->config->base)) < 0) ||
        (vivi_opt_bool(c->o, "force", false) &&
         json_object_set_new(c->q.args, "force", json_true()) < 0))
        return vivi_fail_oom(err);
    return 0;
}

/* The lock, when nobody has it and nothing runs; −1: a monitor has to do it. */
static int take_lock(const struct vivi_call *c, int *ret_lock, viv_error *err)
{
    int r = vivi_lock_open(c->d.fd, VIVI_LOCK_FILE, 0, ret_lock, err);

    if (r == -VIV_E_BUSY)
        return 0;
    if (r < 0)
        return r;
    if (vivi_vmdir_is_current(&c->d, NULL) == 0)
        return vivi_fail(err, VIV_E_NOT_FOUND, "no such VM");
    if (vivi_call_has_vmm(&c->d) || vivi_state_has_vmm(c->s.state) || is_unfinished(c))
        vivi_close(ret_lock);
    return 0;
}

int vivi_call_prepare_apply(struct vivi_call *c, json_t **ret_local, viv_error *err)
{
    cleanup_change struct change ch = {.dry_run = vivi_opt_bool(c->o, "dry_run", false)};
    cleanup_close int lock = -1;
    viv_error busy = VIV_ERROR_INIT;
    int r = read_mode(c, &ch.mode, err);

    if (r == 0) {
        r = take_lock(c, &lock, &busy);
        if (r < 0 && err)
            *err = busy;
    }
    if (r == 0 && lock >= 0) { /* what was known may have changed before the lock was ours */
        vivi_state_done(&c->s);
        vivi_state_init(&c->s);
        r = vivi_state_read_truth(&c->d, &c->s, NULL, err);
    }
    if (r == 0)
        r = ch.mode == MODE_LIVE && lock < 0 ? read_run(&c->d, &ch.recorded, err)
                                             : read_next(&c->d, &ch.recorded, err);
    if (r == 0)
        r = make_to(c, &ch, err);
    if (r == 0)
        r = check(c, &ch, lock >= 0, err);
    if (r < 0)
        return r;
    return lock >= 0 ? change_here(c, &ch, ret_local, err) : ask_monitor(c, &ch, err);
}

int viv_vm_apply(viv_vm *m, const viv_config *config, const viv_opts *o, viv_op **ret_op,
                 viv_rec **ret_result, viv_error *err)
{
    struct vivi_call c = {.verb = "apply",
                          .options = "dry_run next live strict timeout_ms async",
                          .prepare = vivi_call_prepare_apply,
                          .m = m,
                          .o = o,
                          .config = config,
                          .q.changes = true};
    int r = vivi_given_add(&m->given, &config->given, err);

    return r < 0 ? r : vivi_call_run(&c, ret_op, ret_result, err);
}
