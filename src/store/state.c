/*
 * Theory of operation: one table says how struct vivi_state and state.json correspond. Values that
 * are empty or zero are left out of the file, which keeps it far below its limit; keys the table
 * does not know are carried along in extra. The file is replaced by rename, so a reader sees an old
 * or a new one, never a half.
 */
#include "store/state_fields.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define READ_MAX_BYTES (16u << 10) /* of state.json with unknown fields */

#define FIELD(key, type, member) \
    {key, type, offsetof(struct vivi_state, member), sizeof(((struct vivi_state *)0)->member)}

const struct vivi_state_field vivi_state_fields[] = {
    FIELD("name", VIVI_SF_STR, name),
    FIELD("uuid", VIVI_SF_STR, uuid),
    FIELD("state", VIVI_SF_STATE, state),
    FIELD("ready", VIVI_SF_BOOL, ready),
    FIELD("ready_proof", VIVI_SF_STR, ready_proof),
    FIELD("ready_at_ms", VIVI_SF_I64, ready_at_ms),
    FIELD("ready_after_ms", VIVI_SF_I64, ready_after_ms),
    FIELD("ip", VIVI_SF_STR, ip),
    FIELD("ip_reachable", VIVI_SF_BOOL, ip_reachable),
    FIELD("reason", VIVI_SF_STR, reason),
    FIELD("reason_text", VIVI_SF_STR, reason_text),
    FIELD("rung", VIVI_SF_STR, rung),
    FIELD("desired", VIVI_SF_STR, desired),
    FIELD("run", VIVI_SF_U64, run),
    FIELD("boot", VIVI_SF_U64, boot),
    FIELD("driver", VIVI_SF_STR, driver),
    FIELD("accel", VIVI_SF_STR, accel),
    FIELD("cpus", VIVI_SF_U32, cpus),
    FIELD("memory_bytes", VIVI_SF_U64, memory_bytes),
    FIELD("created_at_ms", VIVI_SF_I64, created_at_ms),
    FIELD("started_at_ms", VIVI_SF_I64, started_at_ms),
    FIELD("ended_at_ms", VIVI_SF_I64, ended_at_ms),
    FIELD("next_start_at_ms", VIVI_SF_I64, next_start_at_ms),
    FIELD("restarts", VIVI_SF_U32, restarts),
    FIELD("rm", VIVI_SF_BOOL, remove_when_ended),
    FIELD("host_boot_id", VIVI_SF_STR, host_boot_id),
    FIELD("pid_ns", VIVI_SF_U64, pid_ns),
    FIELD("keeper", VIVI_SF_PROC, keeper),
    FIELD("monitor", VIVI_SF_PROC, monitor),
    FIELD("vmm", VIVI_SF_PROC, vmm),
    FIELD("boot_offset", VIVI_SF_U64, boot_offset),
    FIELD("scan_offset", VIVI_SF_U64, scan_offset),
    FIELD("events_offset", VIVI_SF_U64, events_offset),
    FIELD("reset_stamp", VIVI_SF_U64, reset_stamp),
    FIELD("backoff_ms", VIVI_SF_I64, backoff_ms),
    FIELD("monitor_version", VIVI_SF_STR, monitor_version),
    FIELD("config_stamp", VIVI_SF_STR, config_stamp),
};
const size_t vivi_state_fields_count = ARRAY_SIZE(vivi_state_fields);

void vivi_state_init(struct vivi_state *s)
{
    *s = (struct vivi_state){.schema = VIVI_SCHEMA};
}

void vivi_state_done(struct vivi_state *s)
{
    json_decref(s->extra);
    s->extra = NULL;
}

int vivi_state_copy(const struct vivi_state *s, struct vivi_state *ret, viv_error *err)
{
    json_t *extra = NULL;

    if (s->extra) {
        extra = json_deep_copy(s->extra);
        if (!extra)
            return vivi_fail_oom(err);
    }
    *ret = *s;
    ret->extra = extra;
    return 0;
}

/* ---- struct → JSON ---- */

/* NULL: no memory. *ret_skip: empty, so not written. */
static json_t *encode(const struct vivi_state_field *f, const void *at, bool *ret_skip)
{
    const struct vivi_proc_id *p;
    uint64_t u;
    int64_t i;

    *ret_skip = false;
    switch (f->type) {
    case VIVI_SF_STR:
        *ret_skip = ((const char *)at)[0] == '\0';
        return *ret_skip ? NULL : vivi_json_str(at);
    case VIVI_SF_STATE: return json_string(vivi_state_name(*(const enum viv_state *)at));
    case VIVI_SF_BOOL: *ret_skip = !*(const bool *)at; return *ret_skip ? NULL : json_true();
    case VIVI_SF_U32:
        u = *(const uint32_t *)at;
        *ret_skip = u == 0;
        return *ret_skip ? NULL : json_integer((json_int_t)u);
    case VIVI_SF_U64:
        u = *(const uint64_t *)at;
        *ret_skip = u == 0;
        return *ret_skip ? NULL : json_integer((json_int_t)(u > INT64_MAX ? INT64_MAX : u));
    case VIVI_SF_I64:
        i = *(const int64_t *)at;
        *ret_skip = i == 0;
        return *ret_skip ? NULL : json_integer((json_int_t)i);
    case VIVI_SF_PROC:
        p = at;
        *ret_skip = p->pid == 0;
        return *ret_skip ? NULL : json_pack("[I,I]", (json_int_t)p->pid, (json_int_t)p->start_time);
    }
    return NULL;
}

static int add_fields(json_t *doc, const struct vivi_state *s)
{
    for (size_t i = 0; i < ARRAY_SIZE(vivi_state_fields); i++) {
        bool skip = false;
        json_t *j =
            encode(&vivi_state_fields[i], (const char *)s + vivi_state_fields[i].offset, &skip);

        if (!skip && json_object_set_new(doc, vivi_state_fields[i].key, j) < 0)
            return -1;
    }
    return 0;
}

json_t *vivi_state_to_json(const struct vivi_state *s)
{
    json_t *doc = json_object();

    if (doc && add_fields(doc, s) == 0 &&
        (!s->extra || json_object_update_missing(doc, s->extra) == 0))
        return doc;
    json_decref(doc);
    return NULL;
}

/* Cuts the reason's text by at least n bytes, at a character. False: nothing is left to cut. */
static bool cut_text(struct vivi_state *s, size_t n)
{
    size_t len = strlen(s->reason_text);

    if (len == 0)
        return false;
    len -= n < len ? n : len;
    while (len > 0 && ((unsigned char)s->reason_text[len] & 0xC0) == 0x80)
        len--;
    s->reason_text[len] = '\0';
    return true;
}

/* Text of s without unknown fields, shortened until it fits. NULL: no memory. */
static size_t fit(struct vivi_state *s)
{
    for (;;) {
        cleanup_json json_t *doc = vivi_state_to_json(s);
        size_t len = doc ? json_dumpb(doc, NULL, 0, JSON_COMPACT) : 0;

        /* {"schema":1, comes on top */
        len += len ? sizeof("\"schema\":1,") - 1 : 0;
        if (len <= VIVI_STATE_MAX_BYTES || !cut_text(s, len - VIVI_STATE_MAX_BYTES))
            return len;
    }
}

int vivi_state_write(int vm_fd, const struct vivi_state *s, enum vivi_durability how,
                     viv_error *err)
{
    struct vivi_state own = *s; /* extra is borrowed */
    cleanup_json json_t *doc = NULL;
    size_t len;
    int r = vivi_state_writable(s, err);

    if (r < 0)
        return r;
    own.extra = NULL;
    if (own.monitor.pid == getpid())
        (void)snprintf(own.monitor_version, sizeof(own.monitor_version), "%s", VIV_VERSION);
    len = fit(&own);
    if (len == 0)
        return vivi_fail_oom(err);
    assert(len <= VIVI_STATE_MAX_BYTES);
    own.extra = s->extra;
    doc = vivi_state_to_json(&own);
    if (!doc)
        return vivi_fail_oom(err);
    return vivi_json_write(vm_fd, VIVI_STATE_FILE, doc, how, err);
}

/* ---- JSON → struct ---- */

static int bad(const char *key, const char *what, viv_error *err)
{
    return vivi_fail(err, VIV_E_PROTOCOL, VIVI_STATE_FILE ": %s: %s", key, what);
}

static int decode_str(const struct vivi_state_field *f, const json_t *j, char *at, viv_error *err)
{
    size_t len = json_string_length(j);

    if (!json_is_string(j))
        return bad(f->key, "not a string", err);
    if (len >= f->size || strlen(json_string_value(j)) != len)
        return bad(f->key, "too long", err);
    memcpy(at, json_string_value(j), len + 1);
    return 0;
}

static int decode_number(const struct vivi_state_field *f, const json_t *j, void *at,
                         viv_error *err)
{
    json_int_t n = json_integer_value(j);

    if (!json_is_integer(j))
        return bad(f->key, "not a number", err);
    if ((n < 0 && f->type != VIVI_SF_I64) || (f->type == VIVI_SF_U32 && n > UINT32_MAX))
        return bad(f->key, "out of range", err);
    if (f->type == VIVI_SF_U32)
        *(uint32_t *)at = (uint32_t)n;
    else if (f->type == VIVI_SF_U64)
        *(uint64_t *)at = (uint64_t)n;
    else
        *(int64_t *)at = (int64_t)n;
    return 0;
}

static int decode_proc(const struct vivi_state_field *f, const json_t *j, struct vivi_proc_id *at,
                       viv_error *err)
{
    json_int_t pid = json_integer_value(json_array_get(j, 0));
    json_int_t start = json_integer_value(json_array_get(j, 1));

    if (pid < 1 || pid > INT32_MAX || start < 1)
        return bad(f->key, "not a process", err);
    at->pid = (pid_t)pid;
    at->start_time = (uint64_t)start;
    return 0;
}

static int decode(const struct vivi_state_field *f, const json_t *j, void *at, viv_error *err)
{
    switch (f->type) {
    case VIVI_SF_STR: return decode_str(f, j, at, err);
    case VIVI_SF_STATE:
        if (!json_is_string(j) || vivi_state_parse(json_string_value(j), at) < 0)
            return bad(f->key, "not a state", err);
        return 0;
    case VIVI_SF_BOOL:
        if (!json_is_boolean(j))
            return bad(f->key, "not true or false", err);
        *(bool *)at = json_is_true(j);
        return 0;
    case VIVI_SF_U32:
    case VIVI_SF_U64:
    case VIVI_SF_I64: return decode_number(f, j, at, err);
    case VIVI_SF_PROC: return decode_proc(f, j, at, err);
    }
    return 0;
}

static int decode_all(json_t *doc, struct vivi_state *s, viv_error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(vivi_state_fields); i++) {
        const struct vivi_state_field *f = &vivi_state_fields[i];
        const json_t *j = json_object_get(doc, f->key);
        int r;

        if (!j)
            continue;
        r = decode(f, j, (char *)s + f->offset, err);
        if (r < 0)
            return r;
        (void)json_object_del(doc, f->key);
    }
    if (!s->name[0])
        return bad("name", "missing", err);
    if (strlen(s->uuid) != VIVI_UUID_SIZE - 1)
        return bad("uuid", "missing", err);
    return 0;
}

int vivi_state_read(int vm_fd, struct vivi_state *ret, viv_error *err)
{
    cleanup_json json_t *doc = NULL;
    struct vivi_state s;
    unsigned schema = 0;
    int r = vivi_json_read_any(vm_fd, VIVI_STATE_FILE, READ_MAX_BYTES, &doc, &schema, err);

    if (r < 0)
        return r;
    vivi_state_init(&s);
    s.schema = schema;
    if (!json_object_get(doc, "state"))
        return bad("state", "missing", err);
    r = decode_all(doc, &s, err);
    if (r < 0)
        return r;
    if (json_object_size(doc) > 0)
        s.extra = take_ptr(doc);
    *ret = s;
    return 0;
}
