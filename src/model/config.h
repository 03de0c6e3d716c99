/*
 * A VM's configuration. THE field table (fields.c) drives everything: YAML/JSON parsing with file:line messages, defaults, flags, --set, JSON Schema,
 * `viv config docs`, completion, what is live. A document is a json_t in canonical form (canonical keys, values in base units as JSON integers/strings/bools,
 * lists of devices as arrays of objects each with "id"); the typed struct below is decoded from it by the same table.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "model/parse.h"

enum vivi_field_type {
    VIVI_T_STR, VIVI_T_BOOL, VIVI_T_INT, VIVI_T_SIZE, VIVI_T_DURATION, VIVI_T_ENUM, VIVI_T_PATH, VIVI_T_NAME,
    VIVI_T_MAC, VIVI_T_FORWARD, VIVI_T_STR_LIST, VIVI_T_FORWARD_LIST, VIVI_T_MAP /* string → string */, VIVI_T_OBJECT_LIST
};

enum vivi_when { VIVI_WHEN_FIXED /* at creation */, VIVI_WHEN_NEXT_START, VIVI_WHEN_LIVE };

struct vivi_field {
    const char *path;     /* "cpus.count", "disks.*.path" */
    enum vivi_field_type type;
    const char *unit;     /* "bytes", "ms" or NULL */
    int64_t min, max;     /* of INT, SIZE, DURATION; both 0 = none */
    const char *choices;  /* ENUM: "auto|kvm|tcg" */
    const char *def;      /* default as text, NULL = none (absent) */
    const char *flag;     /* "--cpus", NULL = none */
    char short_flag;      /* 'c' or 0 */
    const char *arg;      /* "N", "SIZE", "FILE": in help */
    const char *help;     /* one line */
    enum vivi_when when;
    const char *drivers;  /* "all" or "qemu,fake" */
    bool shorthand;       /* the parent may be given as this scalar: "cpus: 2" = cpus.count */
    bool required;
};

extern const struct vivi_field vivi_fields[];
size_t vivi_fields_count(void);
const struct vivi_field *vivi_field_find(const char *path); /* concrete or pattern path: "disks.data.path" finds "disks.*.path" */

/* ---- documents ---- */

/* Parses YAML or JSON text into a canonical document (only what is given, no defaults). Errors: INVALID "config a.yaml:3: memroy: unknown field" + hint;
 * field set. base_dir: absolute directory against which relative paths become absolute. Size ≤ 1 MiB, depth ≤ 16, YAML aliases refused beyond 100. */
int vivi_config_parse(const char *text, size_t len, const char *origin, const char *base_dir, json_t **ret, viv_error *err);
/* path=value with the --set grammar ("disks.+data.size", "disks.data-" with value NULL). base_dir as above. */
int vivi_config_set(json_t *doc, const char *path, const char *value, const char *base_dir, viv_error *err);
json_t *vivi_config_get(const json_t *doc, const char *path); /* borrowed; NULL absent; lists by id */
int vivi_config_merge_under(json_t *doc, const json_t *lower, viv_error *err);
/* Defaults filled in, implied values made explicit (ids of unnamed devices, no nets = one NAT NIC "n0"). Does not resolve auto driver. */
int vivi_config_complete(const json_t *doc, json_t **ret, viv_error *err);
bool vivi_config_equal(const json_t *a, const json_t *b); /* as completed documents */

json_t *vivi_config_schema(void);              /* JSON Schema (2020-12) of the document */
int vivi_config_docs(struct vivi_buf *out);    /* Markdown table of fields; needs base/buf.h */
struct vivi_buf;

/* ---- the typed form, of a completed document ---- */

enum vivi_driver_kind { VIVI_DRIVER_AUTO, VIVI_DRIVER_CLOUD_HYPERVISOR, VIVI_DRIVER_VZ, VIVI_DRIVER_QEMU, VIVI_DRIVER_FAKE, VIVI_DRIVER_COUNT_ };
const char *vivi_driver_name(enum vivi_driver_kind d); /* "cloud-hypervisor", … */
int vivi_driver_parse(const char *s, enum vivi_driver_kind *ret);
enum vivi_accel { VIVI_ACCEL_AUTO, VIVI_ACCEL_KVM, VIVI_ACCEL_TCG, VIVI_ACCEL_HVF, VIVI_ACCEL_NONE };
const char *vivi_accel_name(enum vivi_accel a);
enum vivi_ready_by { VIVI_READY_AUTO, VIVI_READY_MARKER, VIVI_READY_NONE };
enum vivi_restart { VIVI_RESTART_NEVER, VIVI_RESTART_ON_FAILURE, VIVI_RESTART_ALWAYS };

struct vivi_disk {
    char *id, *path;
    bool readonly;
};
struct vivi_net {
    char *id;
    char mac[18]; /* "" = derive */
    struct vivi_forward *forwards;
    size_t n_forwards;
};
struct vivi_config {
    char *name;
    enum vivi_driver_kind driver;
    char *machine;          /* "auto", "q35" */
    enum vivi_accel accel;
    char *kernel, *initramfs, *cmdline; /* NULL = absent */
    uint32_t cpus;
    uint64_t memory_bytes;
    struct vivi_disk *disks;
    size_t n_disks;
    struct vivi_net *nets;  /* every one is type nat */
    size_t n_nets;
    uint64_t serial_log_limit_bytes;
    enum vivi_ready_by ready_by;
    int64_t ready_timeout_ms, stop_timeout_ms;
    enum vivi_restart restart;
    int64_t restart_backoff_ms;
    char *fake_script;      /* fake.script: what the fake VMM plays; see driver/fake */
};
int vivi_config_decode(const json_t *completed, struct vivi_config *ret, viv_error *err); /* NO_MEMORY, INVALID */
void vivi_config_done(struct vivi_config *c);
#define cleanup_config VIVI_CLEANUP(vivi_config_done)
