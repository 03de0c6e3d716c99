/*
 * The verbs: each checks its options, decides what can be decided from files, and makes an
 * operation. Deadlines are the monitor's to keep; ours is a little later, so that its answer, which
 * knows more, comes first, and it is what remains when the monitor does not answer at all.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "manager/call.h"

#include "base/clock.h"

#define START_MS        30000
#define READY_MS        120000
#define EMULATED_FACTOR 3
#define STOP_MS         60000
#define LADDER_REST_MS  15000 /* after the grace: quit slot, SIGTERM, SIGKILL, 5 s each */
#define KILL_MS         5000
#define PAUSE_MS        10000
#define RESET_MS        10000
#define REMOVE_MS       30000
#define LATER_US        30000 /* by which our deadline is later than the monitor's */
#define MOST_MS         (INT64_C(366) * 24 * 3600 * 1000)

/* ---- before asking anybody ---- */

/* A record that cannot be read. Whoever holds the lock knows the VM without it. */
static int meet_broken(const struct vivi_vmdir *d, enum vivi_need need, const viv_error *why,
                       viv_error *err)
{
    cleanup_close int lock = -1;
    int r;

    if (vivi_vmdir_is_current(d, NULL) == 0) /* not broken, but being removed */
        return vivi_fail(err, VIV_E_NOT_FOUND, "no such VM");
    if (need == VIVI_NEED_NOTHING)
        return 0;
    r = vivi_lock_open(d->fd, VIVI_LOCK_FILE, 0, &lock, NULL);
    if (r == -VIV_E_BUSY)
        return 0;
    if (r == 0 && need == VIVI_NEED_REPAIRED) {
        r = vivi_state_repair(d, err);
        return r < 0 ? r : 0;
    }
    r = vivi_fail(err, VIV_E_WRONG_STATE, "broken record (%s)", why->message);
    vivi_hint(err, "viv start %s repairs it, viv rm %s removes it", d->name, d->name);
    return r;
}

/* What every changing verb looks at first. *ret_known: s was read. */
static int preflight(viv_vm *m, const struct vivi_vmdir *d, enum vivi_need need,
                     struct vivi_state *s, bool *ret_known, viv_error *err)
{
    viv_error why = VIV_ERROR_INIT;
    int r;

    *ret_known = false;
    if (m->v->root.readonly)
        return vivi_fail(err, VIV_E_DENIED, "state root %s: opened for reading only",
                         m->v->root.path);
    r = vivi_root_repair(&m->v->root, err);
    if (r < 0)
        return r;
    r = vivi_state_read_truth(d, s, NULL, &why);
    if (r == -VIV_E_PROTOCOL || r == -VIV_E_NOT_FOUND)
        return meet_broken(d, need, &why, err);
    if (r < 0) {
        if (err)
            *err = why;
        return r;
    }
    *ret_known = true;
    return vivi_state_writable(s, err);
}

/* config.json, the caller's; NULL: it cannot be read, which the monitor tells. */
static json_t *config_of(const struct vivi_vmdir *d)
{
    json_t *config = NULL;

    return vivi_json_read(d->fd, VIVI_CONFIG_FILE, VIVI_DOCUMENT_MAX_BYTES, &config, NULL) < 0
               ? NULL
               : config;
}

/* Times of the configuration, for deadlines; what cannot be read has its default. */
static int64_t ms_in(const json_t *config, const char *path, int64_t def)
{
    const json_t *j = vivi_json_at(config, path);

    return json_is_integer(j) ? (int64_t)json_integer_value(j) : def;
}

int64_t vivi_config_ms(const struct vivi_vmdir *d, const char *path, int64_t def)
{
    cleanup_json json_t *config = config_of(d);

    return ms_in(config, path, def);
}

int vivi_call_ms(const viv_opts *o, const char *key, int64_t def, int64_t *ret, viv_error *err)
{
    int64_t ms = vivi_opt_i64(o, key, def);

    if (ms < -1 || ms > MOST_MS)
        return vivi_fail_field(err, VIV_E_INVALID, key,
                               "%" PRId64 " is not a number of milliseconds", ms);
    *ret = ms;
    return 0;
}

/* ---- a call of a verb ---- */

uint64_t vivi_call_after(int64_t ms)
{
    return ms < 0 ? VIVI_NEVER : (uint64_t)ms * 1000 + LATER_US;
}

json_t *vivi_call_as_it_is(const struct vivi_state *s)
{
    return json_pack("{s:b,s:s,s:n,s:n,s:o,s:o,s:I,s:I,s:n}", "changed", 0, "state",
                     vivi_state_name(s->state), "ready", "ip", "reason",
                     s->reason[0] ? json_pack("{s:o,s:o}", "code", vivi_json_str(s->reason), "text",
                                              vivi_json_str_or_null(s->reason_text))
                                  : json_null(),
                     "rung", vivi_json_str_or_null(s->rung), "run", (json_int_t)s->run, "boot",
                     (json_int_t)s->boot, "accel_notice");
}

/* "unless_stopped" was said, and it was: by somebody who asked for it, not by the guest, a crash or
 * the host. */
static bool was_stopped(const struct vivi_call *c)
{
    return vivi_opt_bool(c->o, "unless_stopped", false) && c->known &&
           !vivi_state_has_vmm(c->s.state) && strcmp(c->s.desired, VIVI_DESIRED_STOPPED) == 0;
}

static int start_request(struct vivi_call *c, const json_t *config, viv_error *err)
{
    const char *wait = vivi_opt_str(c->o, "wait", "running");
    bool ready = strcmp(wait, "ready") == 0;
    int64_t start_ms = 0, ready_ms, given = -1;
    int r = vivi_call_ms(c->o, "timeout_ms", START_MS, &start_ms, err);

    if (r == 0)
        r = vivi_call_ms(c->o, "ready_timeout_ms", -1, &given, err);
    if (r == 0 && !ready && strcmp(wait, "running") != 0)
        r = vivi_fail_field(err, VIV_E_INVALID, "wait", "\"%s\" is neither running nor ready",
                            wait);
    if (r < 0)
        return r;
    ready_ms = given >= 0 ? given : EMULATED_FACTOR * ms_in(config, "ready.timeout", READY_MS);
    c->q.timeout_us = vivi_call_after(ready && start_ms >= 0 ? start_ms + ready_ms : start_ms);
    (void)snprintf(c->q.late, sizeof(c->q.late),
                   ready ? "not ready after %g s; it goes on running"
                         : "not running after %g s; it goes on",
                   (double)(ready ? ready_ms : start_ms) / 1000);
    c->q.send_fd = (int)vivi_opt_i64(c->o, "foreground_fd", -1);
    c->q.args =
        json_pack("{s:s,s:I,s:b,s:b,s:I}", "wait", wait, "timeout_ms", (json_int_t)start_ms,
                  "remove_when_ended", (int)vivi_opt_bool(c->o, "remove_when_ended", false),
                  "foreground", c->q.send_fd >= 0, "requested_us", (json_int_t)vivi_mono_us());
    if (c->q.args && given >= 0)
        (void)json_object_set_new(c->q.args, "ready_timeout_ms", json_integer(given));
    return c->q.args ? 0 : vivi_fail_oom(err);
}

/* The numbers of the configuration are the caller's descriptors. One that is not open there may be
 * held from an earlier start: the monitor knows. What is close-on-exec did not come with the
 * program, but is of its own making, as all of ours are. */
static void add_own_fds(struct vivi_call *c, const json_t *config)
{
    size_t i;
    json_t *net;

    json_array_foreach(json_object_get(config, "nets"), i, net)
    {
        const char *id = json_string_value(json_object_get(net, "id"));
        const json_t *fd = json_object_get(net, "fd");

        int flags = json_is_integer(fd) ? fcntl((int)json_integer_value(fd), F_GETFD) : -1;

        if (id && flags >= 0 && !(flags & FD_CLOEXEC))
            (void)vivi_given_put(&c->q.nics, id, (int)json_integer_value(fd), NULL);
    }
}

static int give_nics(struct vivi_call *c, const json_t *config, viv_error *err)
{
    json_t *ids = NULL;

    if (vivi_opt_bool(c->o, "own_fds", false))
        add_own_fds(c, config);
    if (vivi_given_add(&c->q.nics, &c->m->given, err) < 0)
        return -VIV_E_INVALID;
    if (c->q.nics.n == 0)
        return 0;
    ids = json_array();
    for (size_t i = 0; i < c->q.nics.n; i++)
        (void)json_array_append_new(ids, json_string(c->q.nics.ids[i]));
    return json_object_set_new(c->q.args, "nics", ids) < 0 ? vivi_fail_oom(err) : 0;
}

static int prepare_start(struct vivi_call *c, json_t **ret_local, viv_error *err)
{
    cleanup_json json_t *config = config_of(&c->d); /* read once for all that a start needs of it */
    int r = start_request(c, config, err);

    if (r == 0)
        r = give_nics(c, config, err);
    if (r < 0 || !was_stopped(c))
        return r;
    *ret_local = vivi_call_as_it_is(&c->s);
    return *ret_local ? 0 : vivi_fail_oom(err);
}

/* Nothing runs, nothing is planned and nobody is about to change that. */
static bool at_rest(const struct vivi_call *c)
{
    return c->known && !vivi_state_has_vmm(c->s.state) && c->s.next_start_at_ms == 0 &&
           vivi_lock_test(c->d.fd, VIVI_LOCK_FILE, NULL) == 0;
}

/*
 * Stop and kill of what has ended already. It may have ended by itself, so that it is stopped by
 * wish is news for the record; where somebody else is about it just now, a monitor has to do it.
 */
static int rest_is_done(struct vivi_call *c, bool for_now, json_t **ret_local, viv_error *err)
{
    int r = 0;

    if (!at_rest(c))
        return 0;
    if (!for_now && strcmp(c->s.desired, VIVI_DESIRED_STOPPED) != 0)
        r = vivi_vm_desire(&c->d, VIVI_DESIRED_STOPPED, 0, err);
    if (r < 0)
        return r == -VIV_E_BUSY ? 0 : r;
    *ret_local = vivi_call_as_it_is(&c->s);
    return *ret_local ? 0 : vivi_fail_oom(err);
}

static int prepare_stop(struct vivi_call *c, json_t **ret_local, viv_error *err)
{
    bool kill = vivi_opt_bool(c->o, "kill", true);
    bool for_now = vivi_opt_bool(c->o, "for_now", false);
    int64_t ms = 0, def = vivi_config_ms(&c->d, "stop.timeout", STOP_MS);
    int r = vivi_call_ms(c->o, "timeout_ms", def, &ms, err);

    if (r < 0)
        return r;
    c->q.timeout_us = vivi_call_after(ms < 0 ? ms : kill ? ms + LADDER_REST_MS : ms);
    (void)snprintf(c->q.late, sizeof(c->q.late), "not stopped after %g s; %s", (double)ms / 1000,
                   kill ? "it is still being stopped" : "it goes on running");
    c->q.args = json_pack("{s:I,s:b,s:b}", "timeout_ms", (json_int_t)ms, "kill", (int)kill,
                          "for_now", (int)for_now);
    return c->q.args ? rest_is_done(c, for_now, ret_local, err) : vivi_fail_oom(err);
}

/* Verbs whose only option is a time. */
static int prepare_timed(struct vivi_call *c, int64_t def, const char *what, viv_error *err)
{
    int64_t ms = 0;
    int r = vivi_call_ms(c->o, "timeout_ms", def, &ms, err);

    if (r < 0)
        return r;
    c->q.timeout_us = vivi_call_after(ms);
    (void)snprintf(c->q.late, sizeof(c->q.late), "not %s after %g s; it goes on", what,
                   (double)ms / 1000);
    c->q.args = json_pack("{s:I}", "timeout_ms", (json_int_t)ms);
    return c->q.args ? 0 : vivi_fail_oom(err);
}

static int prepare_kill(struct vivi_call *c, json_t **ret_local, viv_error *err)
{
    int r = prepare_timed(c, KILL_MS, "ended", err);

    c->q.force = vivi_opt_bool(c->o, "force", false);
    return r < 0 ? r : rest_is_done(c, false, ret_local, err);
}

static int prepare_pause(struct vivi_call *c, json_t **ret_local, viv_error *err)
{
    (void)ret_local;
    return prepare_timed(c, PAUSE_MS, "paused", err);
}

static int prepare_resume(struct vivi_call *c, json_t **ret_local, viv_error *err)
{
    (void)ret_local;
    return prepare_timed(c, PAUSE_MS, "resumed", err);
}

static int prepare_reboot(struct vivi_call *c, json_t **ret_local, viv_error *err)
{
    bool hard = vivi_opt_bool(c->o, "hard", false);
    int64_t ms = 0, stop_ms = vivi_config_ms(&c->d, "stop.timeout", STOP_MS);
    int r = vivi_call_ms(c->o, "timeout_ms", hard ? RESET_MS : stop_ms, &ms, err);

    (void)ret_local;
    if (r < 0)
        return r;
    c->q.timeout_us = vivi_call_after(ms < 0 || hard ? ms : ms + LADDER_REST_MS + START_MS);
    (void)snprintf(c->q.late, sizeof(c->q.late), "not rebooted after %g s; it goes on",
                   (double)ms / 1000);
    c->q.args = json_pack("{s:I,s:b}", "timeout_ms", (json_int_t)ms, "hard", (int)hard);
    return c->q.args ? 0 : vivi_fail_oom(err);
}

static int prepare_wait(struct vivi_call *c, json_t **ret_local, viv_error *err)
{
    const char *until = vivi_opt_str(c->o, "until", "ready");
    enum viv_state state;
    const char *what = strcmp(until, "exit") == 0 ? "ended" : until;
    int64_t ms = 0;
    int r = vivi_call_ms(c->o, "timeout_ms", -1, &ms, err);

    (void)ret_local;
    if (r == 0 && strcmp(until, "ready") != 0 && strcmp(until, "exit") != 0 &&
        vivi_state_parse(until, &state) < 0)
        r = vivi_fail_field(err, VIV_E_INVALID, "until",
                            "\"%s\" is neither a state nor ready nor exit", until);
    if (r < 0)
        return r;
    c->q.timeout_us = vivi_call_after(ms);
    (void)snprintf(c->q.late, sizeof(c->q.late), "not %s after %g s; it goes on running", what,
                   (double)ms / 1000);
    c->q.args = json_pack("{s:s,s:I}", "until", until, "timeout_ms", (json_int_t)ms);
    return c->q.args ? 0 : vivi_fail_oom(err);
}

/* Waiting changes nothing; all it needs is that somebody knows the VM. */
static int look(struct vivi_call *c, viv_error *err)
{
    viv_error why = VIV_ERROR_INIT;
    int r = vivi_state_read_truth(&c->d, &c->s, NULL, &why);

    c->known = r == 0;
    if (r == -VIV_E_PROTOCOL || r == -VIV_E_NOT_FOUND)
        return meet_broken(&c->d, VIVI_NEED_RECORD, &why, err);
    if (r < 0 && err)
        *err = why;
    return r;
}

static int begin(struct vivi_call *c, viv_op **ret, viv_error *err)
{
    json_t *local = NULL;
    int r = vivi_vm_dir(c->m, &c->d, err);

    if (r == 0)
        r = c->q.changes ? preflight(c->m, &c->d, c->need, &c->s, &c->known, err) : look(c, err);
    if (r == 0)
        r = c->prepare(c, &local, err);
    if (r == 0 && !local && vivi_opt_bool(c->o, "async", false) &&
        json_object_set_new(c->q.args, "async", json_true()) < 0)
        r = vivi_fail_oom(err);
    if (r < 0) {
        vivi_given_done(&c->q.nics);
        json_decref(c->q.args);
        return r;
    }
    if (local) {
        vivi_given_done(&c->q.nics);
        json_decref(c->q.args);
        return vivi_op_finished(c->m, local, ret, err);
    }
    return vivi_op_begin(c->m, &c->q, ret, err);
}

int vivi_call_run(struct vivi_call *c, viv_op **ret_op, viv_rec **ret_result, viv_error *err)
{
    viv_op *op = NULL;
    int r = vivi_opts_only(c->o, c->verb, c->options, err);

    c->d = (struct vivi_vmdir)VIVI_VMDIR_EMPTY;
    vivi_state_init(&c->s);
    c->q.verb = c->verb;
    c->q.send_fd = -1;
    if (r == 0)
        r = begin(c, &op, err);
    vivi_vmdir_done(&c->d);
    vivi_state_done(&c->s);
    if (r < 0) {
        vivi_error_vm(err, c->m->name);
        return r;
    }
    return vivi_op_deliver(op, ret_op, ret_result, NULL, err);
}

int viv_vm_start(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                 viv_error *err)
{
    struct vivi_call c = {.verb = "start",
                          .options =
                              "wait timeout_ms ready_timeout_ms remove_when_ended foreground_fd "
                              "unless_stopped own_fds",
                          .need = VIVI_NEED_REPAIRED,
                          .prepare = prepare_start,
                          .m = m,
                          .o = o,
                          .q.changes = true};

    return vivi_call_run(&c, ret_op, ret_result, err);
}

int viv_vm_stop(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result, viv_error *err)
{
    struct vivi_call c = {.verb = "stop",
                          .options = "timeout_ms kill for_now async",
                          .prepare = prepare_stop,
                          .m = m,
                          .o = o,
                          .q.changes = true};

    return vivi_call_run(&c, ret_op, ret_result, err);
}

int viv_vm_kill(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result, viv_error *err)
{
    struct vivi_call c = {.verb = "kill",
                          .options = "timeout_ms force",
                          .prepare = prepare_kill,
                          .m = m,
                          .o = o,
                          .q.changes = true};

    return vivi_call_run(&c, ret_op, ret_result, err);
}

int viv_vm_reboot(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                  viv_error *err)
{
    struct vivi_call c = {.verb = "reboot",
                          .options = "timeout_ms hard async",
                          .prepare = prepare_reboot,
                          .m = m,
                          .o = o,
                          .q.changes = true};

    return vivi_call_run(&c, ret_op, ret_result, err);
}

int viv_vm_pause(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                 viv_error *err)
{
    struct vivi_call c = {.verb = "pause",
                          .options = "timeout_ms async",
                          .prepare = prepare_pause,
                          .m = m,
                          .o = o,
                          .q.changes = true};

    return vivi_call_run(&c, ret_op, ret_result, err);
}

int viv_vm_resume(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                  viv_error *err)
{
    struct vivi_call c = {.verb = "resume",
                          .options = "timeout_ms async",
                          .prepare = prepare_resume,
                          .m = m,
                          .o = o,
                          .q.changes = true};

    return vivi_call_run(&c, ret_op, ret_result, err);
}

/* Both name a snapshot; what takes long is not ours to limit. */
static int snapshot_request(struct vivi_call *c, int64_t run_ms, viv_error *err)
{
    const char *name = vivi_opt_str(c->o, "name", "");

    if (!name[0])
        return vivi_fail_field(err, VIV_E_INVALID, "name", "missing");
    c->q.timeout_us = vivi_call_after(run_ms);
    c->q.args = json_pack("{s:s,s:b,s:b,s:I}", "name", name, "allow_long_pause",
                          (int)vivi_opt_bool(c->o, "allow_long_pause", false), "on_demand",
                          (int)vivi_opt_bool(c->o, "on_demand", false), "requested_us",
                          (json_int_t)vivi_mono_us());
    return c->q.args ? 0 : vivi_fail_oom(err);
}

static int prepare_snapshot(struct vivi_call *c, json_t **ret_local, viv_error *err)
{
    int r = vivi_call_needs_vmm(c, "only a running or paused VM can be saved", err);

    (void)ret_local;
    return r < 0 ? r : snapshot_request(c, -1, err);
}

static int prepare_restore(struct vivi_call *c, json_t **ret_local, viv_error *err)
{
    (void)ret_local;
    return snapshot_request(c, -1, err);
}

int viv_vm_snapshot(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                    viv_error *err)
{
    struct vivi_call c = {.verb = "snapshot",
                          .options = "name allow_long_pause async",
                          .prepare = prepare_snapshot,
                          .m = m,
                          .o = o,
                          .q.changes = true};

    return vivi_call_run(&c, ret_op, ret_result, err);
}

int viv_vm_restore(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                   viv_error *err)
{
    struct vivi_call c = {.verb = "restore",
                          .options = "name on_demand async",
                          .prepare = prepare_restore,
                          .m = m,
                          .o = o,
                          .q.changes = true};

    return vivi_call_run(&c, ret_op, ret_result, err);
}

int viv_vm_wait(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result, viv_error *err)
{
    struct vivi_call c = {
        .verb = "wait", .options = "until timeout_ms", .prepare = prepare_wait, .m = m, .o = o};

    return vivi_call_run(&c, ret_op, ret_result, err);
}

#define STATS_MS 5000

static int prepare_stats(struct vivi_call *c, json_t **ret_local, viv_error *err)
{
    int r = vivi_call_needs_vmm(c, "only a running VM has counters", err);

    (void)ret_local;
    return r < 0 ? r : prepare_timed(c, STATS_MS, "counted", err);
}

int viv_vm_stats(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                 viv_error *err)
{
    struct vivi_call c = {
        .verb = "stats", .options = "timeout_ms", .prepare = prepare_stats, .m = m, .o = o};

    return vivi_call_run(&c, ret_op, ret_result, err);
}

/* ---- remove ---- */

int vivi_call_needs_vmm(const struct vivi_call *c, const char *only, viv_error *err)
{
    if (!c->known || vivi_state_has_vmm(c->s.state))
        return 0;
    return vivi_fail(err, VIV_E_WRONG_STATE, "%s (it is %s)", only, vivi_state_name(c->s.state));
}

bool vivi_call_has_vmm(const struct vivi_vmdir *d)
{
    cleanup_state struct vivi_state s = {.extra = NULL};
    struct vivi_exit_rec rec = {.exited = true};

    if (vivi_state_read(d->fd, &s, NULL) == 0 && s.vmm.pid != 0)
        return vivi_state_has_vmm(s.state) && vivi_proc_alive(&s.vmm);
    return vivi_exits_last(d->fd, "vmm", &rec, NULL) > 0 && !rec.exited &&
           vivi_proc_alive(&rec.proc);
}

static int running(const char *name, viv_error *err)
{
    int r = vivi_fail(err, VIV_E_WRONG_STATE, "only a stopped VM can be removed (it is running)");

    vivi_hint(err, "viv rm --force %s", name);
    return r;
}

/*
 * Nobody keeps this VM: it is removed here, under its lock. *ret_local stays NULL when a monitor
 * has to do it, because a VMM lives.
 */
static int remove_unkept(struct vivi_call *c, int lock, bool force, json_t **ret_local,
                         viv_error *err)
{
    int r = 0;

    if (vivi_call_has_vmm(&c->d)) {
        if (!force)
            return running(c->d.name, err);
        r = vivi_state_repair(&c->d, err); /* a monitor needs a record to adopt by */
        return r < 0 ? r : 0;
    }
    r = vivi_vm_remove(&c->d, lock, err);
    if (r < 0)
        return r;
    *ret_local = json_pack("{s:b,s:n}", "changed", 1, "state");
    return *ret_local ? 0 : vivi_fail_oom(err);
}

static int prepare_remove(struct vivi_call *c, json_t **ret_local, viv_error *err)
{
    bool force = vivi_opt_bool(c->o, "force", false);
    cleanup_close int lock = -1;
    viv_error why = VIV_ERROR_INIT;
    int r = vivi_lock_open(c->d.fd, VIVI_LOCK_FILE, 0, &lock, &why);

    if (r == 0)
        r = remove_unkept(c, lock, force, ret_local, &why);
    else if (r == -VIV_E_BUSY)
        r = 0; /* its monitor does it */
    if (r < 0 && err)
        *err = why;
    if (r < 0 || *ret_local)
        return r;
    c->q.timeout_us = vivi_call_after(REMOVE_MS);
    c->q.gone_is_done = true;
    (void)snprintf(c->q.late, sizeof(c->q.late), "not removed after %g s; it goes on",
                   (double)REMOVE_MS / 1000);
    c->q.args = json_pack("{s:b,s:I}", "force", (int)force, "timeout_ms", (json_int_t)REMOVE_MS);
    return c->q.args ? 0 : vivi_fail_oom(err);
}

int viv_vm_remove(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                  viv_error *err)
{
    struct vivi_call c = {.verb = "remove",
                          .options = "force",
                          .need = VIVI_NEED_NOTHING,
                          .prepare = prepare_remove,
                          .m = m,
                          .o = o,
                          .q.changes = true};

    return vivi_call_run(&c, ret_op, ret_result, err);
}
