/*
 * Theory of operation: everything that is known about a VM stands in its files, because its monitor
 * may die at any moment; so inspect asks nobody. state.json tells how it is (brought up to date by
 * vivi_state_derive), running.json how this run was made, config.json what the next start will be.
 */
#include "manager/manager.h"

#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "model/parse.h"
#include "store/moving.h"

struct sources {
    struct vivi_state state;
    json_t *config, *running;
    int vm_fd; /* borrowed */
};

static void sources_done(struct sources *s)
{
    vivi_state_done(&s->state);
    json_decref(s->config);
    json_decref(s->running);
}

/* state.json, or what can be said of a VM whose record is broken. */
static int read_state(const struct vivi_vmdir *d, struct vivi_state *s, viv_error *err)
{
    viv_error why = VIV_ERROR_INIT;
    int r = vivi_state_read_truth(d, s, NULL, &why);

    if (r == 0)
        return 0;
    if (r == -VIV_E_NO_MEMORY)
        return vivi_fail_oom(err);
    vivi_state_init(s);
    s->state = VIV_ST_BROKEN;
    (void)snprintf(s->name, sizeof(s->name), "%s", d->name);
    (void)snprintf(s->uuid, sizeof(s->uuid), "%s", d->uuid);
    (void)snprintf(s->reason, sizeof(s->reason), "broken");
    (void)snprintf(s->reason_text, sizeof(s->reason_text), "%.159s", why.message);
    return 0;
}

static int read_document(int fd, const char *name, struct sources *s, json_t **ret)
{
    viv_error why = VIV_ERROR_INIT;
    unsigned schema;
    int r = vivi_json_read_any(fd, name, VIVI_DOCUMENT_MAX_BYTES, ret, &schema, &why);

    if (r == -VIV_E_NO_MEMORY)
        return r;
    if (r == 0 || (r == -VIV_E_NOT_FOUND && strcmp(name, VIVI_RUNNING_FILE) == 0) ||
        s->state.state == VIV_ST_BROKEN)
        return 0;
    if (strcmp(name, VIVI_CONFIG_FILE) == 0) {
        s->state.state = VIV_ST_BROKEN;
        (void)snprintf(s->state.reason, sizeof(s->state.reason), "broken");
        (void)snprintf(s->state.reason_text, sizeof(s->state.reason_text), "%.159s", why.message);
    }
    return 0;
}

static json_t *copy_of(const json_t *object, const char *key)
{
    const json_t *j = json_object_get(object, key);

    return j ? json_deep_copy(j) : json_null();
}

static json_t *ready_json(const struct vivi_state *s)
{
    if (!s->ready)
        return json_null();
    return json_pack("{s:o,s:o}", "proof", vivi_json_str_or_null(s->ready_proof), "at",
                     vivi_time_json(s->ready_at_ms));
}

static json_t *stop_json(const struct vivi_state *s)
{
    return json_pack("{s:o}", "rung", vivi_json_str_or_null(s->rung));
}

/* Every step is there, null until it was reached. Of this run only. */
static json_t *timeline_json(const struct sources *s)
{
    json_t *recorded = json_object_get(s->running, "timeline");
    json_int_t run = json_integer_value(json_object_get(s->running, "run"));
    json_t *j = json_object();

    if ((uint64_t)run != s->state.run)
        recorded = NULL;
    for (unsigned i = 0; j && i < VIVI_STEP_COUNT_; i++) {
        const char *step = vivi_step_name((enum vivi_step)i);

        if (json_object_set_new(j, step, copy_of(recorded, step)) < 0) {
            json_decref(j);
            return NULL;
        }
    }
    return j;
}

/* What is of this run stands in running.json, but a stopped VM shows the next one. */
static const json_t *config_in_force(const struct sources *s)
{
    return s->config ? s->config : json_object_get(s->running, "config");
}

/* Words of what this VM's driver can do on this host. */
static json_t *capabilities_json(viv *v, const struct vivi_state *s, const json_t *config)
{
    cleanup_config struct vivi_config c = {.name = NULL};
    const struct vivi_driver *driver = vivi_driver_find(s->driver);
    struct vivi_probe probe = {.usable = false};
    json_t *list = json_array();

    if (!list || !driver)
        return list;
    if (config)
        (void)vivi_config_decode(config, &c, NULL); /* one that cannot be read is an empty one */
    if (driver->probe(v->cache_dir, c.vmm_path, VIVI_ACCEL_AUTO, &probe, NULL) < 0 || !probe.usable)
        return list;
    if (driver->narrow)
        driver->narrow(&c, &probe.caps);
    for (unsigned i = 0; i < VIVI_CAP_COUNT_; i++) {
        if (vivi_caps_has(&probe.caps, (enum vivi_cap)i) &&
            json_array_append_new(list, json_string(vivi_cap_rows[i].word)) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* A forward as the configuration has it: host_port null = a free one, at the next start. */
static json_t *forward_json(const char *net, const char *text)
{
    struct vivi_forward f;

    if (vivi_parse_forward(text, &f, NULL) < 0)
        return NULL;
    return json_pack("{s:s, s:s, s:s, s:o, s:i}", "net", net, "protocol", f.udp ? "udp" : "tcp",
                     "host_ip", f.host_ip, "host_port",
                     f.host_port ? json_integer(f.host_port) : json_null(), "guest_port",
                     (int)f.guest_port);
}

/* What a run really has, where its driver had to tell; else what is asked for. */
static json_t *ports_json(const struct sources *s)
{
    bool runs = vivi_state_has_vmm(s->state.state) && s->running;
    const json_t *told = runs ? json_object_get(s->running, "forwards") : NULL, *config;
    json_t *list, *net, *text;
    size_t i, k;

    if (told)
        return json_deep_copy(told);
    config = runs ? json_object_get(s->running, "config") : s->config;
    list = json_array();
    json_array_foreach(json_object_get(config, "nets"), i, net)
    {
        const char *id = json_string_value(json_object_get(net, "id"));

        json_array_foreach(json_object_get(net, "forward"), k, text)
        {
            if (id && json_is_string(text))
                (void)json_array_append_new(list, forward_json(id, json_string_value(text)));
        }
    }
    return list;
}

static json_t *labels_json(const struct sources *s)
{
    json_t *labels = json_object_get(config_in_force(s), "labels");

    return json_is_object(labels) ? json_deep_copy(labels) : json_object();
}

static json_t *monitor_json(const struct vivi_state *s)
{
    json_t *j = vivi_view_proc(&s->monitor);

    if (!json_is_object(j) ||
        json_object_set_new(j, "version", vivi_json_str_or_null(s->monitor_version)) == 0)
        return j;
    json_decref(j);
    return NULL;
}

/* pid, start_time, and what the record of the run knows of that process. */
static json_t *vmm_json(const struct sources *s)
{
    static const char *const more[] = {"version", "path", "role"};
    const json_t *vmm = json_array_get(json_object_get(s->running, "vmms"), 0);
    json_t *j = vivi_view_proc(&s->state.vmm);

    for (size_t i = 0; json_is_object(j) && i < ARRAY_SIZE(more); i++) {
        if (json_object_set_new(j, more[i], copy_of(vmm, more[i])) < 0) {
            json_decref(j);
            return NULL;
        }
    }
    return j;
}

/* Where the VM's processes are accounted for: what they were born into, or a scope of their own. */
static json_t *cgroup_json(const struct vivi_state *s)
{
    const struct vivi_proc_id *who = s->vmm.pid ? &s->vmm : &s->keeper;
    char path[1024];

    if (who->pid == 0 || !vivi_proc_alive(who) ||
        vivi_proc_cgroup(who->pid, path, sizeof(path), NULL) < 0)
        return json_null();
    return vivi_json_str(path);
}

static json_t *autostart_json(int vm_fd)
{
    struct vivi_autostart a;

    if (vivi_autostart_read(vm_fd, &a, NULL) <= 0)
        return json_null();
    return json_pack("{s:b,s:o}", "on", vivi_autostart_is_on(&a), "unit", vivi_json_str(a.unit));
}

/* A VM that is, or was, on its way somewhere. */
static json_t *moving_json(int vm_fd)
{
    struct vivi_moving m;

    if (vivi_moving_read(vm_fd, &m, NULL) <= 0)
        return json_null();
    return json_pack("{s:s,s:o}", "phase", vivi_moving_phase_name(m.phase), "to",
                     vivi_json_str_or_null(m.to));
}

static int add_processes(json_t *doc, const struct sources *s)
{
    int bad = json_object_set_new(doc, "keeper", vivi_view_proc(&s->state.keeper));

    bad |= json_object_set_new(doc, "monitor", monitor_json(&s->state));
    bad |= json_object_set_new(doc, "vmm", vmm_json(s));
    return bad;
}

/* What of the configuration this run has not: null, or a list of differences. */
static json_t *pending_json(const struct sources *s)
{
    cleanup_diff struct vivi_diff d = {0};
    cleanup_json json_t *run = NULL;
    cleanup_json json_t *next = NULL;
    const json_t *has = json_object_get(s->running, "config");
    json_t *list;

    if (!vivi_state_has_vmm(s->state.state) || !has || !s->config ||
        (uint64_t)json_integer_value(json_object_get(s->running, "run")) != s->state.run)
        return json_null();
    /* Completed: a field that the older of the two records did not know has its default. */
    if (vivi_config_complete(has, &run, NULL) < 0 ||
        vivi_config_complete(s->config, &next, NULL) < 0 || vivi_diff(run, next, &d, NULL) < 0)
        return json_null();
    if (d.n == 0)
        return json_null();
    list = json_array();
    for (size_t i = 0; list && i < d.n; i++) {
        if (json_array_append_new(list, vivi_change_json(&d.items[i])) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *info_json(viv *v, const struct sources *s)
{
    json_t *doc = json_object();
    int bad = doc ? vivi_view_common(doc, &s->state) : -1;
    bool has_run = json_is_object(s->running);

    bad |= json_object_set_new(doc, "ready", ready_json(&s->state));
    bad |= json_object_set_new(doc, "machine", copy_of(config_in_force(s), "machine"));
    bad |= json_object_set_new(doc, "accel_reason",
                               has_run ? copy_of(s->running, "accel_reason") : json_null());
    bad |= json_object_set_new(doc, "labels", labels_json(s));
    bad |= json_object_set_new(doc, "ports", ports_json(s));
    bad |= json_object_set_new(doc, "config", s->config ? json_incref(s->config) : json_null());
    bad |= json_object_set_new(doc, "pending", pending_json(s));
    bad |= doc ? add_processes(doc, s) : -1;
    bad |= json_object_set_new(doc, "cgroup", cgroup_json(&s->state));
    bad |= json_object_set_new(doc, "autostart", autostart_json(s->vm_fd));
    bad |= json_object_set_new(doc, "moving", moving_json(s->vm_fd));
    bad |= json_object_set_new(doc, "stop", stop_json(&s->state));
    bad |= json_object_set_new(doc, "timeline", timeline_json(s));
    bad |= json_object_set_new(doc, "capabilities",
                               capabilities_json(v, &s->state, config_in_force(s)));
    if (!bad)
        return doc;
    json_decref(doc);
    return NULL;
}

int viv_vm_info(viv_vm *m, viv_rec **ret, viv_error *err)
{
    cleanup_vmdir struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    struct sources s = {.config = NULL};
    int r = vivi_vm_dir(m, &d, err);

    if (r < 0)
        return r;
    s.vm_fd = d.fd;
    r = read_state(&d, &s.state, err);
    if (r == 0 && (read_document(d.fd, VIVI_CONFIG_FILE, &s, &s.config) < 0 ||
                   read_document(d.fd, VIVI_RUNNING_FILE, &s, &s.running) < 0))
        r = vivi_fail_oom(err);
    if (r == 0 && vivi_vmdir_is_current(&d, NULL) == 0) { /* removed while we read */
        r = vivi_fail(err, VIV_E_NOT_FOUND, "no such VM");
        vivi_error_vm(err, m->name);
    }
    if (r == 0)
        r = vivi_rec_new(info_json(m->v, &s), ret, err);
    sources_done(&s);
    return r;
}
