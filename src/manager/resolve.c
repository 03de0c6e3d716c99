/*
 * Theory of operation: a configuration leaves things to us ("auto"). At creation they are decided
 * once, for this host, and recorded: a VM never changes its driver, its machine type or its MAC
 * addresses because the host did. accel stays as it is: it is decided at each start.
 */
#include "manager/manager.h"

#include <string.h>

#include "driver/checks.h"

void vivi_resolved_done(struct vivi_resolved *r)
{
    json_decref(r->doc);
    r->doc = NULL;
    vivi_config_done(&r->config);
    vivi_facts_done(&r->facts);
    vivi_problems_done(&r->problems);
}

static bool is_auto(const json_t *j)
{
    const char *s = json_string_value(j);

    return !j || json_is_null(j) || (s && strcmp(s, "auto") == 0);
}

static int set_text(json_t *object, const char *key, const char *text)
{
    return json_object_set_new(object, key, json_string(text));
}

static int resolve_macs(json_t *doc, const char *uuid)
{
    size_t i;
    json_t *net;

    json_array_foreach(json_object_get(doc, "nets"), i, net)
    {
        const char *id = json_string_value(json_object_get(net, "id"));
        uint8_t mac[6];
        char text[18];

        if (!is_auto(json_object_get(net, "mac")))
            continue;
        vivi_mac_derive(uuid, id ? id : "", mac);
        vivi_format_mac(mac, text);
        if (set_text(net, "mac", text) < 0)
            return -1;
    }
    return 0;
}

int vivi_resolve_like(json_t *completed, const json_t *recorded, const char *uuid)
{
    static const char *const keys[] = {"driver", "machine"};

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        json_t *was = json_object_get(recorded, keys[i]);

        if (was && is_auto(json_object_get(completed, keys[i])) &&
            json_object_set(completed, keys[i], was) < 0)
            return -1;
    }
    return resolve_macs(completed, uuid);
}

/*
 * auto prefers Cloud Hypervisor, which has no user-mode network of its own: a NIC that needs one is
 * what QEMU is for, where it can run.
 */
static bool wants_qemu(viv *v, const json_t *doc, enum vivi_driver_kind kind)
{
    const struct vivi_driver *qemu = vivi_driver_get(VIVI_DRIVER_QEMU);
    struct vivi_probe p = {.usable = false};
    size_t i;
    json_t *net;

    if (kind != VIVI_DRIVER_CLOUD_HYPERVISOR || !qemu)
        return false;
    json_array_foreach(json_object_get(doc, "nets"), i, net)
    {
        const char *type = json_string_value(json_object_get(net, "type"));

        if (type && strcmp(type, "nat") == 0)
            return qemu->probe(v->cache_dir, NULL, VIVI_ACCEL_AUTO, &p, NULL) == 0 && p.usable;
    }
    return false;
}

/* driver and machine of r->doc; r->driver. */
static int resolve_driver(viv *v, struct vivi_resolved *r, viv_error *err)
{
    enum vivi_driver_kind kind = VIVI_DRIVER_AUTO;
    const char *wanted = json_string_value(json_object_get(r->doc, "driver"));
    char reason[200];
    bool is_free;
    int code = 0;

    if (wanted)
        code = vivi_driver_parse(wanted, &kind);
    if (code < 0)
        return vivi_fail_field(err, VIV_E_INVALID, "driver", "\"%s\" is not a driver", wanted);
    is_free = kind == VIVI_DRIVER_AUTO;
    if (is_free && json_is_string(vivi_config_get(r->doc, "vmm.path")))
        return vivi_fail_field(err, VIV_E_INVALID, "vmm.path",
                               "whose program it is must be said: driver: cloud-hypervisor, qemu");
    code = vivi_driver_resolve(kind, v->cache_dir, &kind, reason, err);
    if (code < 0)
        return code;
    if (is_free && wants_qemu(v, r->doc, kind))
        kind = VIVI_DRIVER_QEMU;
    r->driver = vivi_driver_get(kind);
    if (!r->driver)
        return vivi_fail(err, VIV_E_INTERNAL, "driver %s is not there", vivi_driver_name(kind));
    if (set_text(r->doc, "driver", r->driver->name) < 0)
        return vivi_fail_oom(err);
    if (is_auto(json_object_get(r->doc, "machine")) && r->driver->machine &&
        set_text(r->doc, "machine", r->driver->machine) < 0)
        return vivi_fail_oom(err);
    return 0;
}

/* The huge pages that the VM has are free for itself. */
static int add_held(const json_t *run, struct vivi_facts *f, viv_error *err)
{
    cleanup_config struct vivi_config c = {.name = NULL};
    int code = vivi_config_decode(run, &c, err);

    if (code < 0 || c.hugepage_bytes == 0)
        return code;
    *(c.hugepage_bytes == UINT64_C(1) << 30 ? &f->huge_1g_bytes : &f->huge_2m_bytes) +=
        c.memory_bytes;
    return 0;
}

int vivi_resolve(viv *v, const json_t *doc, const char *uuid, const json_t *run,
                 struct vivi_resolved *ret, viv_error *err)
{
    cleanup_resolved struct vivi_resolved r = VIVI_RESOLVED_EMPTY;
    int code = vivi_config_complete(doc, &r.doc, err);

    if (code == 0)
        code = resolve_driver(v, &r, err);
    if (code == 0 && resolve_macs(r.doc, uuid) < 0)
        code = vivi_fail_oom(err);
    if (code == 0)
        code = vivi_config_decode(r.doc, &r.config, err);
    if (code == 0)
        code = vivi_facts_gather(&r.config, r.driver, v->cache_dir, &r.facts, err);
    if (code == 0 && run)
        code = add_held(run, &r.facts, err);
    if (code == 0 && (vivi_check_fields(r.doc, r.driver, &r.problems) < 0 ||
                      r.driver->check(&r.config, &r.facts, &r.problems) < 0))
        code = vivi_fail_oom(err);
    if (code < 0)
        return code;
    *ret = r;
    r = (struct vivi_resolved)VIVI_RESOLVED_EMPTY;
    return 0;
}
