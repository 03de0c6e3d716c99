/* Migration as callers have it: both ends of it; see vivarium.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/cpu.h"
#include "manager/call.h"
#include "store/moving.h"

/* ---- the end that sends ---- */

static void put_number(json_t *args, const viv_opts *o, const char *key)
{
    int64_t n = vivi_opt_i64(o, key, -1);

    if (n >= 0)
        (void)json_object_set_new(args, key, json_integer(n));
}

static int prepare_migrate(struct vivi_call *c, json_t **ret_local, viv_error *err)
{
    const char *step = vivi_opt_str(c->o, "step", "");
    bool settles = strcmp(step, "settle") == 0;
    int r;

    if (strcmp(step, "log") == 0)
        return vivi_log_leaves(c, ret_local, err);
    r = settles ? 0 : vivi_call_needs_vmm(c, "only a running or paused VM can be migrated", err);
    if (r < 0)
        return r;
    c->q.timeout_us = VIVI_NEVER;
    c->q.args = json_pack("{s:s, s:b, s:b, s:s*, s:s*, s:s*}", "step", step, "local",
                          (int)vivi_opt_bool(c->o, "local", false), "arrived",
                          (int)vivi_opt_bool(c->o, "arrived", false), "url",
                          vivi_opt_str(c->o, "url", NULL), "to", vivi_opt_str(c->o, "to", NULL),
                          "tls_dir", vivi_opt_str(c->o, "tls_dir", NULL));
    if (!c->q.args)
        return vivi_fail_oom(err);
    put_number(c->q.args, c->o, "downtime_ms");
    put_number(c->q.args, c->o, "timeout_s");
    put_number(c->q.args, c->o, "connections");
    return 0;
}

int viv_vm_migrate(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                   viv_error *err)
{
    struct vivi_call c = {.verb = "migrate",
                          .options = "step url to tls_dir local downtime_ms timeout_s connections "
                                     "arrived lost",
                          .prepare = prepare_migrate,
                          .m = m,
                          .o = o,
                          .q.changes = true};

    return vivi_call_run(&c, ret_op, ret_result, err);
}

/* ---- the end that receives ---- */

static int parse_offer(const char *text, json_t **ret, viv_error *err)
{
    cleanup_json json_t *j = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;

    if (!json_is_object(j) || json_integer_value(json_object_get(j, "offer")) < 1)
        return vivi_fail(err, VIV_E_INVALID, "not an offer of a VM");
    if (json_integer_value(json_object_get(j, "offer")) > 1)
        return vivi_fail(err, VIV_E_UNSUPPORTED, "an offer of a newer viv");
    if (strlen(vivi_json_text(j, "uuid")) != VIVI_UUID_SIZE - 1 || !vivi_json_text(j, "name")[0] ||
        strspn(vivi_json_text(j, "uuid"), "0123456789abcdef-") != VIVI_UUID_SIZE - 1 ||
        !json_is_object(json_object_get(j, "config")) ||
        !json_is_object(json_object_get(j, "running")))
        return vivi_fail(err, VIV_E_INVALID, "an offer without name, uuid or configuration");
    *ret = take_ptr(j);
    return 0;
}

/* What could not be taken over is left from an attempt before. */
static bool is_left_over(const struct vivi_vmdir *d, const char *uuid)
{
    cleanup_state struct vivi_state s = {.extra = NULL};
    struct vivi_moving moving;

    return strcmp(d->uuid, uuid) == 0 && vivi_moving_read(d->fd, &moving, NULL) > 0 &&
           moving.phase == VIVI_MOVING_COMING && vivi_state_read_truth(d, &s, NULL, NULL) == 0 &&
           !vivi_state_has_vmm(s.state);
}

static int make_room(viv *v, const json_t *offer, viv_error *err)
{
    cleanup_vmdir struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    const char *name = vivi_json_text(offer, "name"), *uuid = vivi_json_text(offer, "uuid");
    viv_vm *vm = NULL;
    int r = vivi_vmdir_open(&v->root, name, &d, NULL);

    if (r == 0 && is_left_over(&d, uuid)) {
        r = vivi_vm_new(v, &d, &vm, err);
        if (r == 0)
            r = viv_vm_remove(vm, NULL, NULL, NULL, err);
        viv_vm_free(vm);
        return r;
    }
    if (r == 0)
        r = vivi_fail(err, VIV_E_EXISTS, "exists already");
    else if (viv_lookup(v, uuid, &vm, NULL) == 0)
        r = vivi_fail(err, VIV_E_EXISTS, "its uuid is in use by %s", viv_vm_name(vm));
    else
        r = 0;
    viv_vm_free(vm);
    if (r < 0)
        vivi_error_vm(err, name);
    return r;
}

/* State is understood by the release that wrote it and by later ones. */
static int check_vmm(const struct vivi_resolved *res, const json_t *offer, viv_error *err)
{
    const char *driver = vivi_json_text(offer, "driver"),
               *theirs = vivi_json_text(offer, "vmm_version");
    unsigned long here = strtoul(res->facts.probe.version, NULL, 10);

    if (strcmp(driver, res->driver->name) != 0)
        return vivi_fail(err, VIV_E_UNSUPPORTED, "it is of driver %s, not %s", driver,
                         res->driver->name);
    if (!res->facts.probe.usable)
        return vivi_fail(err, VIV_E_UNSUPPORTED, "%s", res->facts.probe.reason);
    if (!vivi_caps_has(&res->facts.probe.caps, VIVI_CAP_MIGRATE))
        return vivi_fail(err, VIV_E_UNSUPPORTED, "driver %s cannot migrate here", driver);
    if (here < strtoul(theirs, NULL, 10))
        return vivi_fail(err, VIV_E_UNSUPPORTED, "%s %s here cannot take over from %s", driver,
                         res->facts.probe.version, theirs);
    return 0;
}

static int check_cpu(const json_t *offer, viv_error *err)
{
    char *here = vivi_cpu_describe(), lacks[80];
    bool bad = here && vivi_cpu_lacks(here, vivi_json_text(offer, "cpu"), lacks, sizeof(lacks));

    free(here);
    return bad ? vivi_fail(err, VIV_E_UNSUPPORTED,
                           "the CPU here has no %s, and the guest may use it", lacks)
               : 0;
}

static int record(viv *v, const json_t *offer, viv_error *err)
{
    cleanup_resolved struct vivi_resolved res = VIVI_RESOLVED_EMPTY;
    cleanup_state struct vivi_state s = {.extra = NULL};
    const char *uuid = vivi_json_text(offer, "uuid");
    json_int_t boot = json_integer_value(json_object_get(offer, "boot"));
    int r = vivi_resolve(v, json_object_get(offer, "config"), uuid, NULL, &res, err);

    if (r == 0 && res.problems.n > 0) {
        if (err)
            *err = res.problems.items[0];
        return -res.problems.items[0].code;
    }
    if (r == 0)
        r = check_vmm(&res, offer, err);
    if (r == 0)
        r = check_cpu(offer, err);
    if (r < 0)
        return r;
    if (strcmp(vivi_json_text(offer, "name"), res.config.name ? res.config.name : "") != 0)
        return vivi_fail(err, VIV_E_INVALID, "an offer under another name than its own");
    if (vivi_first_state(&res, uuid, &s) < 0)
        return vivi_fail_oom(err);
    if (boot > 0 && boot < INT32_MAX) /* its start here counts it again */
        s.boot = (uint64_t)boot - 1;
    return vivi_vm_create_coming(&v->root, res.doc, &s, vivi_log_room_for(offer, &res.config), err);
}

int viv_create_incoming(viv *v, const char *offer, viv_vm **ret, viv_error *err)
{
    cleanup_json json_t *j = NULL;
    int r = parse_offer(offer, &j, err);

    if (r == 0)
        r = vivi_root_repair(&v->root, err);
    if (r == 0)
        r = make_room(v, j, err);
    if (r == 0)
        r = record(v, j, err);
    return r < 0 ? r : viv_lookup(v, vivi_json_text(j, "name"), ret, err);
}

static int prepare_receive(struct vivi_call *c, json_t **ret_local, viv_error *err)
{
    cleanup_json json_t *offer = NULL;
    int64_t wait = vivi_opt_i64(c->o, "wait_ms", -1);
    int r = 0;

    if (vivi_opt_str(c->o, "log", NULL))
        return vivi_log_comes(c, ret_local, err);
    c->q.timeout_us = VIVI_NEVER;
    if (vivi_opt_bool(c->o, "abort", false)) {
        c->q.args = json_pack("{s:b}", "abort", 1);
        return c->q.args ? 0 : vivi_fail_oom(err);
    }
    r = parse_offer(vivi_opt_str(c->o, "offer", NULL), &offer, err);
    if (r < 0)
        return r;
    c->q.args = json_pack(
        "{s:s, s:s*, s:s, s:s, s:O}", "listen", vivi_opt_str(c->o, "listen", "unix"), "tls_dir",
        vivi_opt_str(c->o, "tls_dir", NULL), "nonce", vivi_json_text(offer, "nonce"), "ip",
        vivi_json_text(offer, "ip"), "config", json_object_get(offer, "running"));
    if (!c->q.args)
        return vivi_fail_oom(err);
    if (wait >= 0)
        (void)json_object_set_new(c->q.args, "wait_ms", json_integer(wait));
    return 0;
}

int viv_vm_receive(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                   viv_error *err)
{
    struct vivi_call c = {.verb = "incoming",
                          .options = "offer listen tls_dir wait_ms abort log part at data",
                          .prepare = prepare_receive,
                          .m = m,
                          .o = o,
                          .q.changes = true};

    return vivi_call_run(&c, ret_op, ret_result, err);
}

/* ---- another VMM in place ---- */

static int prepare_upgrade(struct vivi_call *c, json_t **ret_local, viv_error *err)
{
    const char *vmm = vivi_opt_str(c->o, "vmm", NULL);
    int r = vivi_call_needs_vmm(c, "only a running VM can be upgraded", err);

    (void)ret_local;
    if (r < 0)
        return r;
    if (vmm && vmm[0] != '/')
        return vivi_fail_field(err, VIV_E_INVALID, "vmm", "%.200s: not an absolute path", vmm);
    c->q.timeout_us = VIVI_NEVER;
    c->q.args = json_pack("{s:s*}", "vmm", vmm);
    return c->q.args ? 0 : vivi_fail_oom(err);
}

int viv_vm_upgrade(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                   viv_error *err)
{
    struct vivi_call c = {.verb = "upgrade",
                          .options = "vmm",
                          .prepare = prepare_upgrade,
                          .m = m,
                          .o = o,
                          .q.changes = true};

    return vivi_call_run(&c, ret_op, ret_result, err);
}
