/* viv stats */
#include <inttypes.h>
#include <string.h>

#include "cli/out.h"
#include "cli/select.h"
#include "model/parse.h"

/* ---- text ---- */

static const char *const head[] = {"NAME", "CPU TIME", "RSS",      "BALLOON",
                                   "READ", "WRITTEN",  "RECEIVED", "SENT"};

static void size_cell(struct vivi_table *t, const json_t *bytes)
{
    static const char units[] = "BKMGT";
    char text[32] = "";
    double n = (double)json_integer_value(bytes);
    size_t unit = 0;

    while (n >= 1024 && unit + 2 < sizeof(units)) {
        n /= 1024;
        unit++;
    }
    if (json_is_integer(bytes))
        (void)snprintf(text, sizeof(text), unit && n < 100 ? "%.1f%c" : "%.0f%c", n, units[unit]);
    vivi_table_cell(t, text);
}

/* Of all devices of a kind; null when nobody counts. */
static json_t *sum(const json_t *devices, const char *key)
{
    json_int_t total = 0;
    bool counted = false;
    const char *id;
    json_t *one, *not_const = (json_t *)(uintptr_t)devices; /* only read */

    json_object_foreach(not_const, id, one)
    {
        const json_t *n = json_object_get(one, key);

        counted |= json_is_integer(n);
        total += json_integer_value(n);
    }
    return counted ? json_integer(total) : json_null();
}

static void add_row(struct vivi_table *t, const json_t *rec)
{
    static const struct {
        const char *list, *key;
    } moved[] = {{"disks", "read_bytes"},
                 {"disks", "written_bytes"},
                 {"nets", "rx_bytes"},
                 {"nets", "tx_bytes"}};
    const json_t *cpu = json_object_get(rec, "cpu_ms");
    char text[32] = "";

    if (json_is_integer(cpu))
        (void)snprintf(text, sizeof(text), "%.1fs", (double)json_integer_value(cpu) / 1000);
    vivi_table_cell(t, json_string_value(json_object_get(rec, "name")));
    vivi_table_cell(t, text);
    size_cell(t, json_object_get(rec, "rss_bytes"));
    size_cell(t, json_object_get(rec, "balloon_bytes"));
    for (size_t i = 0; i < ARRAY_SIZE(moved); i++) {
        cleanup_json json_t *n = sum(json_object_get(rec, moved[i].list), moved[i].key);

        size_cell(t, n);
    }
}

static int print_table(struct vivi_cli *c, const json_t *list)
{
    cleanup_table struct vivi_table t = {0};

    vivi_table_init(&t, head, ARRAY_SIZE(head));
    for (size_t i = 0; i < json_array_size(list); i++)
        add_row(&t, json_array_get(list, i));
    return vivi_table_print(c, &t, NULL);
}

/* ---- Prometheus ---- */

struct metric {
    const char *name, *type, *help;
    const char *list, *label; /* NULL: of the VM itself */
    const char *key;
    double unit; /* the key's number by this */
};

static const struct metric metrics[] = {
    {"vivarium_vm_uptime_seconds", "gauge", "Since the start of this run.", NULL, NULL, "uptime_ms",
     1000},
    {"vivarium_vm_cpus", "gauge", "Virtual CPUs.", NULL, NULL, "cpus", 1},
    {"vivarium_vm_memory_bytes", "gauge", "Memory of the guest.", NULL, NULL, "memory_bytes", 1},
    {"vivarium_vm_balloon_bytes", "gauge", "What the balloon leaves to the guest.", NULL, NULL,
     "balloon_bytes", 1},
    {"vivarium_vm_cpu_seconds_total", "counter", "CPU time of the VMM's process.", NULL, NULL,
     "cpu_ms", 1000},
    {"vivarium_vm_resident_bytes", "gauge", "Memory of the VMM's process in the host's.", NULL,
     NULL, "rss_bytes", 1},
    {"vivarium_disk_read_bytes_total", "counter", "Read by the guest.", "disks", "disk",
     "read_bytes", 1},
    {"vivarium_disk_written_bytes_total", "counter", "Written by the guest.", "disks", "disk",
     "written_bytes", 1},
    {"vivarium_disk_reads_total", "counter", "Read requests.", "disks", "disk", "reads", 1},
    {"vivarium_disk_writes_total", "counter", "Write requests.", "disks", "disk", "writes", 1},
    {"vivarium_disk_flushes_total", "counter", "Flush requests.", "disks", "disk", "flushes", 1},
    {"vivarium_net_receive_bytes_total", "counter", "Received by the guest.", "nets", "net",
     "rx_bytes", 1},
    {"vivarium_net_transmit_bytes_total", "counter", "Sent by the guest.", "nets", "net",
     "tx_bytes", 1},
    {"vivarium_net_receive_packets_total", "counter", "Received by the guest.", "nets", "net",
     "rx_packets", 1},
    {"vivarium_net_transmit_packets_total", "counter", "Sent by the guest.", "nets", "net",
     "tx_packets", 1},
};

/* Names and ids are DNS labels: nothing in them has to be escaped. */
static void print_sample(const struct metric *m, const json_t *rec, const char *id,
                         const json_t *value)
{
    if (!json_is_integer(value)) /* not counted is not zero */
        return;
    (void)printf("%s{vm=\"%s\",uuid=\"%s\"", m->name,
                 json_string_value(json_object_get(rec, "name")),
                 json_string_value(json_object_get(rec, "uuid")));
    if (id)
        (void)printf(",%s=\"%s\"", m->label, id);
    if (m->unit > 1)
        (void)printf("} %.3f\n", (double)json_integer_value(value) / m->unit);
    else
        (void)printf("} %" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
}

static int print_prometheus(const json_t *list)
{
    for (size_t k = 0; k < ARRAY_SIZE(metrics); k++) {
        const struct metric *m = &metrics[k];

        (void)printf("# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name, m->type);
        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *rec = json_array_get(list, i);
            json_t *devices = m->list ? json_object_get(rec, m->list) : NULL, *one;
            const char *id;

            if (!m->list)
                print_sample(m, rec, NULL, json_object_get(rec, m->key));
            json_object_foreach(devices, id, one)
                print_sample(m, rec, id, json_object_get(one, m->key));
        }
    }
    return 0;
}

/* ---- asking ---- */

static int ask_one(struct vivi_cli *c, const char *target, json_t *list)
{
    cleanup_vm viv_vm *vm = NULL;
    cleanup_rec viv_rec *rec = NULL;
    cleanup_json json_t *doc = NULL;
    json_t *whole;
    viv_error err = VIV_ERROR_INIT;

    if (viv_lookup(c->v, target, &vm, &err) < 0)
        return vivi_cli_fail(c, target, &err);
    if (viv_vm_stats(vm, NULL, NULL, &rec, &err) < 0)
        return vivi_cli_fail(c, viv_vm_name(vm), &err);
    doc = vivi_rec_to_json(rec);
    whole = json_pack("{s:s, s:s}", "name", viv_vm_name(vm), "uuid", viv_vm_uuid(vm));
    if (!doc || !whole || json_object_update(whole, doc) < 0) {
        json_decref(whole);
        return vivi_cli_oom(c);
    }
    return json_array_append_new(list, whole) < 0 ? vivi_cli_oom(c) : 0;
}

static int print_records(struct vivi_cli *c, const json_t *list, bool several)
{
    vivi_cli_records(c, several);
    for (size_t i = 0; i < json_array_size(list); i++)
        (void)vivi_cli_record(c, json_deep_copy(json_array_get(list, i)));
    return vivi_cli_records_end(c);
}

int vivi_cmd_stats(struct vivi_cli *c)
{
    cleanup_selection struct vivi_selection sel = {0};
    cleanup_json json_t *list = json_array();
    int code = list ? vivi_cli_open(c, VIV_OPEN_CREATE) : vivi_cli_oom(c);

    if (code == 0)
        code = vivi_select(c, c->args.words, c->args.n_words, "running|paused", &sel);
    if (code)
        return code;
    for (size_t i = 0; i < sel.n; i++)
        (void)vivi_cli_code(c, ask_one(c, sel.names[i], list));
    if (vivi_args_has(&c->args, "--prometheus"))
        (void)print_prometheus(list);
    else if (c->quiet)
        for (size_t i = 0; i < json_array_size(list); i++)
            (void)printf("%s\n",
                         json_string_value(json_object_get(json_array_get(list, i), "name")));
    else if (vivi_cli_structured(c))
        (void)print_records(c, list, sel.several);
    else if (json_array_size(list) > 0 || sel.several)
        (void)print_table(c, list);
    return c->code;
}
