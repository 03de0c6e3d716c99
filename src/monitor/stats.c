/*
 * What a VM has used and moved: counters of its VMM, and what the host gave to that process. Asking
 * changes nothing; one question to the VMM at a time serves everybody.
 */
#include <string.h>

#include "base/clock.h"
#include "model/model.h"
#include "monitor/monitor.h"

static const char *const disk_keys[] = {"read_bytes", "written_bytes", "reads", "writes",
                                        "flushes"};
static const char *const net_keys[] = {"rx_bytes", "tx_bytes", "rx_packets", "tx_packets"};

/* Every key is there: null for what is not counted. */
static json_t *counters_of(const json_t *counted, const char *const *keys, size_t n)
{
    json_t *j = json_object();

    for (size_t i = 0; j && i < n; i++) {
        json_t *value = json_object_get(counted, keys[i]);

        (void)json_object_set(j, keys[i], json_is_integer(value) ? value : json_null());
    }
    return j;
}

static json_t *usage_json(uint64_t value, bool known)
{
    return known ? json_integer((json_int_t)value) : json_null();
}

/* counted: NULL where this driver counts nothing. */
static json_t *stats_json(const struct vivi_monitor *m, const json_t *counted)
{
    const json_t *all_disks = json_object_get(counted, "disks");
    const json_t *all_nets = json_object_get(counted, "nets");
    json_t *balloon = json_object_get(counted, "balloon_bytes");
    json_t *disks = json_object(), *nets = json_object();
    struct vivi_proc_usage used = {0};
    bool known = m->st.vmm.pid != 0 && vivi_proc_usage(m->st.vmm.pid, &used, NULL) == 0;
    int64_t up = m->st.started_at_ms ? vivi_wall_ms() - m->st.started_at_ms : 0;

    for (size_t i = 0; i < m->config.n_disks; i++) {
        const char *id = m->config.disks[i].id;

        (void)json_object_set_new(
            disks, id,
            counters_of(json_object_get(all_disks, id), disk_keys, ARRAY_SIZE(disk_keys)));
    }
    for (size_t i = 0; i < m->config.n_nets; i++) {
        const char *id = m->config.nets[i].id;

        (void)json_object_set_new(
            nets, id, counters_of(json_object_get(all_nets, id), net_keys, ARRAY_SIZE(net_keys)));
    }
    return json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:o,s:o,s:O,s:o,s:o}", "state",
                     vivi_state_name(m->st.state), "run", (json_int_t)m->st.run, "boot",
                     (json_int_t)m->st.boot, "uptime_ms", (json_int_t)(up > 0 ? up : 0), "cpus",
                     (json_int_t)m->st.cpus, "memory_bytes", (json_int_t)m->st.memory_bytes,
                     "cpu_ms", usage_json(used.cpu_ms, known), "rss_bytes",
                     usage_json(used.rss_bytes, known), "balloon_bytes",
                     balloon ? balloon : json_null(), "disks", disks, "nets", nets);
}

void vivi_stats_counted(struct vivi_monitor *m, const json_t *value, const viv_error *err)
{
    cleanup_json json_t *result = err ? NULL : stats_json(m, value);
    viv_error why = VIV_ERROR_INIT;

    if (!err && !result) {
        (void)vivi_fail_oom(&why);
        err = &why;
    }
    vivi_waits_stats(m, result, err);
}

int vivi_stats_ask(struct vivi_monitor *m, struct vivi_client *c, const struct vivi_request *q,
                   viv_error *err)
{
    struct vivi_wait w = {.client = c,
                          .id = q->id,
                          .kind = VIVI_WAIT_STATS,
                          .timeout_ms = q->timeout_ms,
                          .began_ms = m->loop->now_ms(m->loop->ctx)};
    viv_error why = VIV_ERROR_INIT;
    int r = vivi_machine_may(&m->machine, "counters", &why);

    if (r == -VIV_E_UNSUPPORTED && vivi_state_has_vmm(m->st.state)) {
        vivi_serve_result(c, q->id, stats_json(m, NULL));
        return 0;
    }
    if (r < 0) {
        if (err)
            *err = why;
        return r;
    }
    r = vivi_wait_add(m, &w, err);
    if (r < 0 || m->dop[VIVI_DOP_COUNTERS] != 0)
        return r;
    if (vivi_machine_counters(&m->machine, vivi_life_dop(m, VIVI_DOP_COUNTERS), &why) < 0) {
        m->dop[VIVI_DOP_COUNTERS] = 0;
        vivi_waits_stats(m, NULL, &why);
    }
    return 0;
}
