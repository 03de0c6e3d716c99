/*
 * A VM's configuration. THE field table (fields.c) drives everything: YAML/JSON parsing with
 * file:line messages, defaults, flags, --set, JSON Schema, `viv config docs`, completion, what is
 * live. A document is a json_t in canonical form: canonical keys, values in base units as JSON
 * integers, strings and bools, devices as arrays of objects with an "id". The typed struct below is
 * decoded from a completed document.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "model/parse.h"

enum vivi_field_type {
    VIVI_T_STR, /* one line of text */
    VIVI_T_BOOL,
    VIVI_T_INT,
    VIVI_T_SIZE,
    VIVI_T_DURATION,
    VIVI_T_ENUM,
    VIVI_T_PATH,
    VIVI_T_NAME,
    VIVI_T_MAC, /* or "auto" */
    VIVI_T_FORWARD,
    VIVI_T_STR_LIST,
    VIVI_T_FORWARD_LIST,
    VIVI_T_MAP, /* string → string */
    VIVI_T_OBJECT_LIST,
    VIVI_T_TEXT /* several lines of text */
};

enum vivi_when {
    VIVI_WHEN_FIXED, /* at creation */
    VIVI_WHEN_NEXT_START,
    VIVI_WHEN_LIVE
};

struct vivi_field {
    const char *path; /* "cpus.count", "disks.*.path" */
    enum vivi_field_type type;
    const char *unit;    /* "bytes", "ms" or NULL */
    int64_t min, max;    /* of INT, SIZE, DURATION; both 0 = none */
    const char *choices; /* ENUM: "auto|kvm|tcg" */
    /* Default as text; NULL = none (null in a completed document). Of an OBJECT_LIST: the id of the
     * one element that is there when the list is absent. */
    const char *def;
    const char *flag; /* "--cpus", NULL = none */
    char short_flag;  /* 'c' or 0 */
    const char *arg;  /* "N", "SIZE", "FILE": in help */
    const char *help; /* one line */
    enum vivi_when when;
    const char *drivers; /* "all" or "qemu,fake" */
    /* The parent may be given as this scalar: "cpus: 2" is cpus.count. In a list: the first word of
     * the flag, "--disk PATH,ro". */
    bool shorthand;
    bool required; /* in a list: completing an element without it is an error */
};

extern const struct vivi_field vivi_fields[];
size_t vivi_fields_count(void);

/*
 * By concrete or pattern path: "disks.data.path" finds "disks.*.path", "labels.job" finds "labels".
 * NULL: no such field (a mapping like "boot" is none).
 */
const struct vivi_field *vivi_field_find(const char *path);

/* The words a value may be: "auto|kvm|tcg", "true|false" for bools; NULL = anything. Static. */
const char *vivi_field_values(const char *path);

/*
 * The path to hand to vivi_config_set (and viv_config_set) for one use of the field's flag: lists
 * and maps are added to ("disks.+", "labels.+", "nets.*.forward.+"), all others have their own.
 */
void vivi_field_flag_path(const struct vivi_field *f, char ret[128]);

/* ---- documents ---- */

#define VIVI_CONFIG_MAX_BYTES 1048576
#define VIVI_CONFIG_MAX_DEPTH 16

/*
 * Parses YAML or JSON text into a canonical document: only what is given, no defaults. null means
 * "not given". Words are typed by their field, never by YAML: "on" is true for a bool and a word
 * elsewhere. Partial documents (profiles, images) are fine: vivi_config_complete asks for the rest.
 *
 * Limits:  1 MiB, 16 levels, 100 YAML aliases, no tags, one document.
 * origin:  file name in messages; NULL: "config line 3: …".
 * base_dir: absolute; relative paths become absolute against it. ~ and $ are not expanded.
 * Errors:  INVALID "config a.yaml:3: memroy: unknown field" with field and hint, NO_MEMORY.
 */
int vivi_config_parse(const char *text, size_t len, const char *origin, const char *base_dir,
                      json_t **ret, viv_error *err);

/*
 * Changes one place, named as --set does:
 *   cpus.count  labels.job  disks.data.path   a field; for a mapping its shorthand: memory=2GiB
 *   disks.+data.path          the same, and adds the element called data if there is none
 *   disks.+                   one more element, as its flag gives it: "d.img,ro,id=data" (a comma
 *                             is written ",,"); nets.+=none empties the list
 *   nets.*.forward.+          one more value in the first element (added if there is no list)
 *   labels.+                  one more entry: "job=42"
 *   disks  labels  boot       a whole list or mapping, as YAML: "[{path: d.img}]"
 *   disks.data-  memory.size- removes; value must be NULL (which removes without the - as well)
 *
 * doc is untouched on failure. Errors: INVALID "memory.size: …" with the field, NO_MEMORY.
 */
int vivi_config_set(json_t *doc, const char *path, const char *value, const char *base_dir,
                    viv_error *err);

/*
 * Borrowed; NULL = absent or null. Elements of lists go by id, also by the id that completion would
 * give them ("nets.n0").
 */
json_t *vivi_config_get(const json_t *doc, const char *path);

/*
 * Fills what doc leaves out. Mappings merge by key, devices by id (lower's come first); an
 * explicitly empty list stays empty. doc is untouched on failure. Errors: NO_MEMORY.
 */
int vivi_config_merge_under(json_t *doc, const json_t *lower, viv_error *err);

/*
 * Every key of the table is there, in its order: given, default, or null. Devices have ids; no nets
 * is one NAT NIC "n0". auto (driver, machine, mac) is not resolved.
 * Errors: INVALID "disks.data: id is used twice", "disks.data.path: is missing", NO_MEMORY.
 */
int vivi_config_complete(const json_t *doc, json_t **ret, viv_error *err);
bool vivi_config_equal(const json_t *a, const json_t *b); /* as completed documents */

/*
 * The document as people write it ("512MiB", "2m"), without nulls. Parsing it gives the same
 * document again; parsing the canonical form does not, since a plain number of a duration is
 * seconds to people and milliseconds there. Errors: NO_MEMORY.
 */
int vivi_config_present(const json_t *doc, json_t **ret, viv_error *err);

/* JSON Schema (2020-12) of what vivi_config_parse takes; a new reference, NULL: out of memory. */
json_t *vivi_config_schema(void);
/* The table of fields as Markdown; 0, or as vivi_buf_str. */
int vivi_config_docs(struct vivi_buf *out);

/* ---- the typed form ---- */

enum vivi_driver_kind {
    VIVI_DRIVER_AUTO,
    VIVI_DRIVER_CLOUD_HYPERVISOR,
    VIVI_DRIVER_VZ,
    VIVI_DRIVER_QEMU,
    VIVI_DRIVER_FAKE,
    VIVI_DRIVER_COUNT_
};
const char *vivi_driver_name(enum vivi_driver_kind d); /* "cloud-hypervisor", … */
int vivi_driver_parse(const char *s, enum vivi_driver_kind *ret);

enum vivi_accel {
    VIVI_ACCEL_AUTO,
    VIVI_ACCEL_KVM,
    VIVI_ACCEL_TCG,
    VIVI_ACCEL_HVF,
    VIVI_ACCEL_NONE /* nothing to accelerate: the fake driver; not a value of the field */
};
const char *vivi_accel_name(enum vivi_accel a);

/* A channel to an agent in the guest; AUTO: where the driver can give one. */
enum vivi_agent_mode { VIVI_AGENT_AUTO, VIVI_AGENT_ON, VIVI_AGENT_OFF };
enum vivi_ready_by {
    VIVI_READY_AUTO,
    VIVI_READY_MARKER,
    VIVI_READY_AGENT,
    VIVI_READY_TCP,
    VIVI_READY_NONE
};

enum vivi_restart { VIVI_RESTART_NEVER, VIVI_RESTART_ON_FAILURE, VIVI_RESTART_ALWAYS };

enum vivi_net_type { VIVI_NET_NAT, VIVI_NET_TAP, VIVI_NET_FD, VIVI_NET_VHOST_USER };
enum vivi_disk_format { VIVI_DISK_RAW, VIVI_DISK_QCOW2, VIVI_DISK_VHD, VIVI_DISK_VHDX };
enum vivi_disk_cache { VIVI_CACHE_AUTO, VIVI_CACHE_NONE };
enum vivi_memory_hotplug { VIVI_MEMORY_VIRTIO, VIVI_MEMORY_ACPI };
enum vivi_offload { VIVI_OFFLOAD_ALL, VIVI_OFFLOAD_CHECKSUM, VIVI_OFFLOAD_NONE };
enum vivi_ch_mode { VIVI_CH_API, VIVI_CH_CLI };
enum vivi_switch { VIVI_SWITCH_AUTO, VIVI_SWITCH_ON, VIVI_SWITCH_OFF };

/* What a disk or a NIC may do in a second; 0 = no limit. */
struct vivi_rate {
    uint64_t bandwidth_bytes;
    uint32_t ops;
};

struct vivi_strings {
    char **items;
    size_t n;
};

struct vivi_zone {
    char *id;
    uint64_t size_bytes, max_bytes; /* max 0 = size */
    struct vivi_strings cpus, distances;
    uint32_t host_node_1; /* one more than its number; 0 = any */
};

struct vivi_disk_limit {
    char *id;
    struct vivi_rate limit;
};

struct vivi_disk {
    char *id, *path;
    bool readonly;
    uint64_t size_bytes; /* 0 = as the image is */
    uint32_t slot;       /* 1, 2, …: its place among the disks; never 0 once decoded */
    enum vivi_disk_format format;
    enum vivi_disk_cache cache;
    struct vivi_rate limit;
    char *limit_group; /* NULL = none */
    bool backing;
};

struct vivi_net {
    char *id;
    enum vivi_net_type type;
    char *tap, *socket; /* NULL = absent */
    uint32_t fd;        /* of type fd: its number where the VM is started; 0 = not by number */
    uint32_t mtu;       /* 0 = as it is */
    uint32_t queues;    /* pairs; 0 = 1 */
    enum vivi_offload offload;
    struct vivi_rate limit;
    char mac[18];  /* "" = derive */
    uint32_t slot; /* as of a disk */
    struct vivi_forward *forwards;
    size_t n_forwards;
};

struct vivi_share {
    char *id, *socket;
    char *tag; /* NULL = the id */
};

struct vivi_pmem {
    char *id, *path;
    bool discard;
};

struct vivi_vdpa {
    char *id, *path;
    uint32_t queues;
};

struct vivi_pci { /* of the host */
    char *id, *vfio;
};

struct vivi_user_device {
    char *id, *socket;
};

struct vivi_vhost_user {
    char *id, *socket;
    uint32_t device, queues, queue_size;
};

struct vivi_config {
    char *name; /* NULL = absent, as all strings here but machine */
    enum vivi_driver_kind driver;
    char *machine; /* "auto", "q35" */
    enum vivi_accel accel;
    char *vmm_path; /* absolute */
    char *kernel, *initramfs, *cmdline, *firmware;
    uint32_t cpus, cpus_max; /* max 0 = cpus */
    struct {                 /* each 0 = not given */
        uint32_t threads, cores, dies, packages;
    } topology;
    struct vivi_strings affinity; /* "0=2-3" */
    enum vivi_switch nested;
    uint64_t memory_bytes, memory_max_bytes; /* max 0 = memory_bytes */
    enum vivi_memory_hotplug memory_hotplug;
    uint64_t balloon_bytes;  /* left to the guest; 0 = all */
    struct vivi_zone *zones; /* memory_bytes and memory_max_bytes are theirs together then */
    size_t n_zones;
    struct vivi_disk_limit *disk_limits;
    size_t n_disk_limits;
    struct vivi_disk *disks;
    size_t n_disks;
    struct vivi_net *nets;
    size_t n_nets;
    uint64_t hugepage_bytes; /* 0 = none */
    enum vivi_switch shared;
    struct vivi_share *shares;
    size_t n_shares;
    struct vivi_pmem *pmem;
    size_t n_pmem;
    struct vivi_vdpa *vdpa;
    size_t n_vdpa;
    struct vivi_pci *devices;
    size_t n_devices;
    struct vivi_user_device *user_devices;
    size_t n_user_devices;
    struct vivi_vhost_user *vhost_user;
    size_t n_vhost_user;
    uint32_t vsock_cid; /* 0 = the driver's choice */
    char *tpm_socket;
    bool watchdog;
    uint64_t serial_log_limit_bytes;
    enum vivi_agent_mode agent;
    bool sync_clock;           /* agent.sync_clock */
    struct vivi_strings allow; /* sandbox.allow */
    enum vivi_switch landlock;
    enum vivi_ch_mode ch_mode;
    enum vivi_ready_by ready_by;
    uint16_t ready_port; /* of TCP */
    int64_t ready_timeout_ms, stop_timeout_ms;
    enum vivi_restart restart;
    int64_t restart_backoff_ms;
    char *fake_script; /* fake.script: what the fake VMM plays; see driver/fake */
};

/*
 * Of a completed document, which may come from a file and so is checked again. *ret is owned by the
 * caller. Errors: INVALID with the field, NO_MEMORY.
 */
int vivi_config_decode(const json_t *completed, struct vivi_config *ret, viv_error *err);
void vivi_config_done(struct vivi_config *c); /* leaves it empty; empty is fine */
#define cleanup_config VIVI_CLEANUP(vivi_config_done)
