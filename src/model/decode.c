/*
 * The typed form of a completed document. One row per field of the table says where it goes; a test
 * sees to it that no field is forgotten. The document may come from a file that somebody edited, so
 * every value is looked at again.
 */
#include "model/canon.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "model/decode.h"

#define AT(type, member) offsetof(struct type, member)

static const char *const ready_words[] = {"auto", "marker", "agent", "none"};
static const char *const agent_words[] = {"auto", "on", "off"};
static const char *const restart_words[] = {"never", "on-failure", "always"};
static const char *const net_words[] = {"nat", "tap"};
static const char *const driver_words[] = {"auto", "cloud-hypervisor", "vz", "qemu", "fake"};
static const char *const accel_words[] = {"auto", "kvm", "tcg", "hvf", "none"};

#define WORDS(w) .words = (w), .n_words = ARRAY_SIZE(w)

const struct vivi_decode_row vivi_decode_rows[] = {
    {"name", VIVI_DECODE_STRING, AT(vivi_config, name)},
    {"driver", VIVI_DECODE_WORD, AT(vivi_config, driver), WORDS(driver_words)},
    {"machine", VIVI_DECODE_STRING, AT(vivi_config, machine)},
    {"accel", VIVI_DECODE_WORD, AT(vivi_config, accel), WORDS(accel_words)},
    {"labels", VIVI_DECODE_NOTHING, 0},
    {"boot.kernel", VIVI_DECODE_STRING, AT(vivi_config, kernel)},
    {"boot.initramfs", VIVI_DECODE_STRING, AT(vivi_config, initramfs)},
    {"boot.cmdline", VIVI_DECODE_STRING, AT(vivi_config, cmdline)},
    {"cpus.count", VIVI_DECODE_U32, AT(vivi_config, cpus)},
    {"cpus.max", VIVI_DECODE_U32, AT(vivi_config, cpus_max)},
    {"memory.size", VIVI_DECODE_I64, AT(vivi_config, memory_bytes)},
    {"memory.max", VIVI_DECODE_I64, AT(vivi_config, memory_max_bytes)},
    {"memory.balloon", VIVI_DECODE_I64, AT(vivi_config, balloon_bytes)},
    {"disks", VIVI_DECODE_DISKS, 0},
    {"disks.*.id", VIVI_DECODE_STRING, AT(vivi_disk, id)},
    {"disks.*.path", VIVI_DECODE_STRING, AT(vivi_disk, path)},
    {"disks.*.readonly", VIVI_DECODE_BOOL, AT(vivi_disk, readonly)},
    {"disks.*.size", VIVI_DECODE_I64, AT(vivi_disk, size_bytes)},
    {"disks.*.slot", VIVI_DECODE_U32, AT(vivi_disk, slot)},
    {"nets", VIVI_DECODE_NETS, 0},
    {"nets.*.id", VIVI_DECODE_STRING, AT(vivi_net, id)},
    {"nets.*.type", VIVI_DECODE_WORD, AT(vivi_net, type), WORDS(net_words)},
    {"nets.*.tap", VIVI_DECODE_STRING, AT(vivi_net, tap)},
    {"nets.*.slot", VIVI_DECODE_U32, AT(vivi_net, slot)},
    {"nets.*.mac", VIVI_DECODE_MAC, AT(vivi_net, mac)},
    {"nets.*.forward", VIVI_DECODE_FORWARDS, 0},
    {"serial.log", VIVI_DECODE_NOTHING, 0},
    {"serial.log_limit", VIVI_DECODE_I64, AT(vivi_config, serial_log_limit_bytes)},
    {"agent.enabled", VIVI_DECODE_WORD, AT(vivi_config, agent), WORDS(agent_words)},
    {"ready.by", VIVI_DECODE_WORD, AT(vivi_config, ready_by), WORDS(ready_words)},
    {"ready.timeout", VIVI_DECODE_I64, AT(vivi_config, ready_timeout_ms)},
    {"stop.timeout", VIVI_DECODE_I64, AT(vivi_config, stop_timeout_ms)},
    {"restart.policy", VIVI_DECODE_WORD, AT(vivi_config, restart), WORDS(restart_words)},
    {"restart.backoff", VIVI_DECODE_I64, AT(vivi_config, restart_backoff_ms)},
    {"fake.script", VIVI_DECODE_STRING, AT(vivi_config, fake_script)},
};
const size_t vivi_decode_rows_count = ARRAY_SIZE(vivi_decode_rows);

const char *vivi_driver_name(enum vivi_driver_kind d)
{
    return (unsigned)d < ARRAY_SIZE(driver_words) ? driver_words[d] : "unknown";
}

int vivi_driver_parse(const char *s, enum vivi_driver_kind *ret)
{
    for (size_t i = 0; i < ARRAY_SIZE(driver_words); i++)
        if (strcmp(driver_words[i], s) == 0) {
            *ret = (enum vivi_driver_kind)i;
            return 0;
        }
    return -VIV_E_INVALID;
}

const char *vivi_accel_name(enum vivi_accel a)
{
    return (unsigned)a < ARRAY_SIZE(accel_words) ? accel_words[a] : "unknown";
}

/* ---- one value ---- */

static int wrong_type(const char *path, const char *wanted, viv_error *err)
{
    return vivi_fail_field(err, VIV_E_INVALID, path, "must be %s", wanted);
}

static int decode_string(const json_t *v, const char *path, void *to, viv_error *err)
{
    char *copy;

    if (!v)
        return 0;
    if (!json_is_string(v))
        return wrong_type(path, "a string", err);
    copy = strdup(json_string_value(v));
    if (!copy)
        return vivi_fail_oom(err);
    memcpy(to, &copy, sizeof(copy));
    return 0;
}

static int decode_number(const struct vivi_decode_row *row, const json_t *v, const char *path,
                         void *to, viv_error *err)
{
    const struct vivi_field *f = vivi_field_find(row->path);
    int64_t n = json_integer_value(v);
    uint32_t small = (uint32_t)n;

    if (!v && !f->def)
        return 0;
    if (!json_is_integer(v))
        return wrong_type(path, "a whole number", err);
    if ((f->min != 0 || f->max != 0) && (n < f->min || n > f->max))
        return vivi_fail_field(err, VIV_E_INVALID, path, "%" JSON_INTEGER_FORMAT " is out of range",
                               (json_int_t)n);
    if (row->how == VIVI_DECODE_U32)
        memcpy(to, &small, sizeof(small));
    else
        memcpy(to, &n, sizeof(n));
    return 0;
}

static int decode_word(const struct vivi_decode_row *row, const json_t *v, const char *path,
                       void *to, viv_error *err)
{
    const char *s = json_string_value(v);
    char shown[VIVI_SHOWN_SIZE];

    if (!s)
        return wrong_type(path, "a word", err);
    for (size_t i = 0; i < row->n_words; i++)
        if (strcmp(row->words[i], s) == 0) {
            unsigned value = (unsigned)i; /* enums that hold no negative value are unsigned */

            memcpy(to, &value, sizeof(value));
            return 0;
        }
    return vivi_fail_field(err, VIV_E_INVALID, path, "%s is not known here", vivi_show(s, shown));
}

static int decode_mac(const json_t *v, const char *path, char *to, viv_error *err)
{
    const char *s = json_string_value(v);
    uint8_t mac[6];
    int r;

    if (!s)
        return wrong_type(path, "a MAC address", err);
    if (strcmp(s, "auto") == 0)
        return 0;
    r = vivi_parse_mac(s, mac, err);
    if (r < 0)
        return vivi_in_field(err, r, path);
    vivi_format_mac(mac, to);
    return 0;
}

static int decode_forwards(const json_t *v, const char *path, struct vivi_net *net, viv_error *err)
{
    size_t n = json_array_size(v);

    if (!json_is_array(v) || n > VIVI_LIST_MAX)
        return wrong_type(path, "a list of port forwards", err);
    if (n == 0)
        return 0;
    net->forwards = calloc(n, sizeof(*net->forwards));
    if (!net->forwards)
        return vivi_fail_oom(err);
    for (; net->n_forwards < n; net->n_forwards++) {
        const char *s = json_string_value(json_array_get(v, net->n_forwards));
        int r;

        if (!s)
            return wrong_type(path, "a list of port forwards", err);
        r = vivi_parse_forward(s, &net->forwards[net->n_forwards], err);
        if (r < 0)
            return vivi_in_field(err, r, path);
    }
    return 0;
}

static int decode_bool(const json_t *v, const char *path, bool *to, viv_error *err)
{
    if (!json_is_boolean(v))
        return wrong_type(path, "true or false", err);
    *to = json_is_true(v);
    return 0;
}

static int decode_disks(const json_t *v, struct vivi_config *c, viv_error *err);
static int decode_nets(const json_t *v, struct vivi_config *c, viv_error *err);

static int decode_row(const struct vivi_decode_row *row, const json_t *v, const char *path,
                      void *base, viv_error *err)
{
    char *to = (char *)base + row->offset;

    switch (row->how) {
    case VIVI_DECODE_NOTHING: return 0;
    case VIVI_DECODE_STRING: return decode_string(v, path, to, err);
    case VIVI_DECODE_WORD: return decode_word(row, v, path, to, err);
    case VIVI_DECODE_U32:
    case VIVI_DECODE_I64: return decode_number(row, v, path, to, err);
    case VIVI_DECODE_BOOL: return decode_bool(v, path, (bool *)(void *)to, err);
    case VIVI_DECODE_MAC: return decode_mac(v, path, to, err);
    case VIVI_DECODE_FORWARDS: return decode_forwards(v, path, base, err);
    case VIVI_DECODE_DISKS: return decode_disks(v, base, err);
    case VIVI_DECODE_NETS: return decode_nets(v, base, err);
    }
    return 0;
}

/* ---- elements ---- */

/* All rows below list, from element e into base. */
static int decode_element(const char *list, const json_t *e, void *base, viv_error *err)
{
    const char *id = json_string_value(json_object_get(e, "id"));
    char prefix[VIVI_PATH_SIZE], path[VIVI_PATH_SIZE];
    size_t n;

    if (!id || vivi_parse_name(id, NULL) < 0)
        return wrong_type(list, "a list of mappings with an id each", err);
    vivi_path_join(prefix, list, "*");
    n = strlen(prefix);
    for (size_t i = 0; i < ARRAY_SIZE(vivi_decode_rows); i++) {
        const struct vivi_decode_row *row = &vivi_decode_rows[i];
        int r;

        if (strncmp(row->path, prefix, n) != 0 || row->path[n] != '.')
            continue;
        (void)snprintf(path, sizeof(path), "%s.%s%s", list, id, row->path + n);
        r = decode_row(row, vivi_config_get(e, row->path + n + 1), path, base, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int list_size(const char *list, const json_t *v, size_t *ret, viv_error *err)
{
    if (!json_is_array(v) || json_array_size(v) > VIVI_LIST_MAX)
        return wrong_type(list, "a list", err);
    *ret = json_array_size(v);
    return 0;
}

/* Elements without a place get the first free ones, in order. slots: the first one's, stride bytes
 * apart. */
static int place(const char *list, void *slots, size_t n, size_t stride, viv_error *err)
{
    uint64_t used[VIVI_LIST_MAX / 64 + 2] = {0};
    uint32_t next = 1;

    for (size_t i = 0; i < n; i++) {
        uint32_t slot = *(uint32_t *)(void *)((char *)slots + i * stride);

        if (slot && (used[slot / 64] & UINT64_C(1) << slot % 64))
            return vivi_fail_field(err, VIV_E_INVALID, list, "slot %u is used twice", slot);
        if (slot)
            used[slot / 64] |= UINT64_C(1) << slot % 64;
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t *slot = (uint32_t *)(void *)((char *)slots + i * stride);

        if (*slot)
            continue;
        while (used[next / 64] & UINT64_C(1) << next % 64)
            next++;
        *slot = next++;
    }
    return 0;
}

static int decode_disks(const json_t *v, struct vivi_config *c, viv_error *err)
{
    size_t n = 0;
    int r = list_size("disks", v, &n, err);

    if (r < 0 || n == 0)
        return r;
    c->disks = calloc(n, sizeof(*c->disks));
    if (!c->disks)
        return vivi_fail_oom(err);
    for (c->n_disks = n, n = 0; r == 0 && n < c->n_disks; n++) {
        r = decode_element("disks", json_array_get(v, n), &c->disks[n], err);
        if (r == 0 && !c->disks[n].path)
            r = vivi_fail_field(err, VIV_E_INVALID, "disks", "a disk has no path");
    }
    return r < 0 ? r : place("disks", &c->disks[0].slot, c->n_disks, sizeof(*c->disks), err);
}

static int decode_nets(const json_t *v, struct vivi_config *c, viv_error *err)
{
    size_t n = 0;
    int r = list_size("nets", v, &n, err);

    if (r < 0 || n == 0)
        return r;
    c->nets = calloc(n, sizeof(*c->nets));
    if (!c->nets)
        return vivi_fail_oom(err);
    for (c->n_nets = n, n = 0; r == 0 && n < c->n_nets; n++)
        r = decode_element("nets", json_array_get(v, n), &c->nets[n], err);
    return r < 0 ? r : place("nets", &c->nets[0].slot, c->n_nets, sizeof(*c->nets), err);
}

int vivi_config_decode(const json_t *completed, struct vivi_config *ret, viv_error *err)
{
    cleanup_config struct vivi_config c = {0};

    for (size_t i = 0; i < ARRAY_SIZE(vivi_decode_rows); i++) {
        const struct vivi_decode_row *row = &vivi_decode_rows[i];
        int r;

        if (strchr(row->path, '*'))
            continue;
        r = decode_row(row, vivi_config_get(completed, row->path), row->path, &c, err);
        if (r < 0)
            return r;
    }
    *ret = c;
    c = (struct vivi_config){0};
    return 0;
}

void vivi_config_done(struct vivi_config *c)
{
    for (size_t i = 0; i < c->n_disks; i++) {
        free(c->disks[i].id);
        free(c->disks[i].path);
    }
    for (size_t i = 0; i < c->n_nets; i++) {
        free(c->nets[i].id);
        free(c->nets[i].tap);
        free(c->nets[i].forwards);
    }
    free(c->disks);
    free(c->nets);
    free(c->name);
    free(c->machine);
    free(c->kernel);
    free(c->initramfs);
    free(c->cmdline);
    free(c->fake_script);
    *c = (struct vivi_config){0};
}
