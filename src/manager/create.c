/*
 * Theory of operation: create is looked at as "there shall be a VM of this name with this
 * configuration". If there is one already, the two are compared with everything that the new one
 * leaves to us taken from the recorded one. Two creates at once meet in a rename without replace:
 * one wins, the other compares.
 */
#include "manager/manager.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

#define ROUNDS     8 /* somebody creates and removes the name in between, again and again */
#define UUID_TRIES 16

static int exists_otherwise(const char *name, viv_error *err)
{
    int r = vivi_fail(err, VIV_E_EXISTS, "exists already, with another configuration");

    vivi_error_vm(err, name);
    return r;
}

/* 1 the same, 0 none of that name, < 0 (EXISTS: another configuration). */
static int compare(viv *v, const char *name, const json_t *doc, viv_vm **ret, viv_error *err)
{
    cleanup_vmdir struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    cleanup_json json_t *completed = NULL;
    cleanup_json json_t *recorded = NULL;
    int r = vivi_vmdir_open(&v->root, name, &d, NULL);

    if (r == -VIV_E_NOT_FOUND)
        return 0;
    if (r == 0)
        r = vivi_config_complete(doc, &completed, err);
    if (r < 0)
        return r;
    r = vivi_json_read(d.fd, VIVI_CONFIG_FILE, VIVI_DOCUMENT_MAX_BYTES, &recorded, err);
    if (r == -VIV_E_NOT_FOUND && vivi_vmdir_is_current(&d, NULL) == 0)
        return 0; /* removed this very moment */
    if (r < 0) {
        vivi_error_vm(err, name);
        return vivi_wrap(err, r, "exists already, with a broken record");
    }
    if (vivi_resolve_like(completed, recorded, d.uuid) < 0)
        return vivi_fail_oom(err);
    if (!vivi_config_equal(completed, recorded))
        return exists_otherwise(name, err);
    r = vivi_vm_new(v, &d, ret, err);
    return r < 0 ? r : 1;
}

/* A uuid whose first eight digits name no other run directory. */
static int new_uuid(viv *v, char ret[VIVI_UUID_SIZE], viv_error *err)
{
    char path[VIVI_UUID_SIZE + 4096];
    int r = 0;

    for (int i = 0; i < UUID_TRIES; i++) {
        r = vivi_uuid_new(ret, err);
        (void)snprintf(path, sizeof(path), "%s/%.8s", v->root.run, ret);
        if (r < 0 || access(path, F_OK) < 0)
            break;
    }
    return r;
}

int vivi_first_state(const struct vivi_resolved *res, const char *uuid, struct vivi_state *s)
{
    assert(res->driver);
    vivi_state_init(s);
    (void)snprintf(s->name, sizeof(s->name), "%s", res->config.name);
    (void)snprintf(s->uuid, sizeof(s->uuid), "%s", uuid);
    (void)snprintf(s->driver, sizeof(s->driver), "%s", res->driver->name);
    s->state = VIV_ST_CREATED;
    s->cpus = res->config.cpus;
    s->memory_bytes = res->config.memory_bytes;
    s->created_at_ms = vivi_wall_ms();
    return vivi_state_labels(s, res->doc);
}

/* The first problem is the error. */
static int refuse(const struct vivi_resolved *res, viv_error *err)
{
    const viv_error *first = &res->problems.items[0];

    if (err)
        *err = *first;
    return -first->code;
}

static int make(viv *v, const json_t *doc, viv_error *err)
{
    cleanup_resolved struct vivi_resolved res = VIVI_RESOLVED_EMPTY;
    cleanup_state struct vivi_state s = {.extra = NULL};
    char uuid[VIVI_UUID_SIZE];
    int r = new_uuid(v, uuid, err);

    if (r == 0)
        r = vivi_resolve(v, doc, uuid, NULL, &res, err);
    if (r < 0)
        return r;
    if (res.problems.n > 0)
        return refuse(&res, err);
    if (vivi_first_state(&res, uuid, &s) < 0)
        return vivi_fail_oom(err);
    return vivi_vm_create(&v->root, res.doc, &s, err);
}

static int open_made(viv *v, const char *name, viv_vm **ret, viv_error *err)
{
    cleanup_vmdir struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    int r = vivi_vmdir_open(&v->root, name, &d, err);

    return r < 0 ? r : vivi_vm_new(v, &d, ret, err);
}

/* 1: there is one with this configuration now; *ret_changed: made by us. 0: somebody was faster. */
static int once(viv *v, const json_t *doc, viv_vm **ret, int *ret_changed, viv_error *err)
{
    const char *name = json_string_value(json_object_get(doc, "name"));
    viv_error why = VIV_ERROR_INIT;
    int r = compare(v, name, doc, ret, err);

    if (r != 0)
        return r;
    r = make(v, doc, &why);
    if (r == -VIV_E_EXISTS)
        return 0;
    if (r < 0) {
        if (err)
            *err = why;
        return r;
    }
    *ret_changed = 1;
    r = open_made(v, name, ret, err);
    return r < 0 ? r : 1;
}

int viv_create(viv *v, const viv_config *c, uint64_t flags, viv_vm **ret, int *ret_changed,
               viv_error *err)
{
    viv_vm *vm = NULL;
    int changed = 0, r = 0;

    if (flags)
        return vivi_fail(err, VIV_E_INVALID, "viv_create: unknown flags");
    if (!json_is_string(json_object_get(c->doc, "name")))
        return vivi_fail_field(err, VIV_E_INVALID, "name", "is missing");
    r = vivi_root_repair(&v->root, err);
    for (int i = 0; r == 0 && i < ROUNDS; i++)
        r = once(v, c->doc, &vm, &changed, err);
    if (r == 0)
        r = vivi_fail(err, VIV_E_BUSY, "somebody else creates and removes it all the time");
    if (r < 0)
        return r;
    r = vivi_given_add(&vm->given, &c->given, err);
    if (r < 0) {
        viv_vm_free(vm);
        return r;
    }
    if (ret_changed)
        *ret_changed = changed;
    if (ret)
        *ret = vm;
    else
        viv_vm_free(vm);
    return 0;
}
