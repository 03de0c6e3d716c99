#include "driver/checks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/errno_text.h"
#include "driver/disks.h"
#include "driver/kernel.h"

#define GIB             (UINT64_C(1) << 30)
#define MIB             (UINT64_C(1) << 20)
#define SERIAL_ID_BYTES 20 /* of a virtio block device, as the guest sees it */
#define TAP_NAME_BYTES  15
#define FD_ID_BYTES     40        /* of the id of a NIC of type fd, which names it to the keeper */
#define PIECE_BYTES     (2 * MIB) /* in which memory comes and goes */

/* ---- fields of other drivers ---- */

static bool knows(const struct vivi_field *f, const struct vivi_driver *d)
{
    size_t n = strlen(d->name);

    for (const char *at = f->drivers; *at; at += strcspn(at, ","), at += *at == ',')
        if (strncmp(at, "all", 4) == 0 ||
            (strncmp(at, d->name, n) == 0 && (at[n] == ',' || at[n] == '\0')))
            return true;
    return false;
}

/* Whether a value is neither absent nor what it is when nobody gives it. */
static bool is_given(const struct vivi_field *f, const json_t *v)
{
    const char *text = json_string_value(v);

    if (!v || json_is_null(v) || json_is_false(v))
        return false;
    if (json_is_array(v) || json_is_object(v))
        return json_array_size(v) + json_object_size(v) > 0;
    return !text || !f->def || strcmp(text, f->def) != 0;
}

static int check_field(const struct vivi_field *f, const char *path, const json_t *v,
                       const struct vivi_driver *d, struct vivi_problems *p)
{
    if (!is_given(f, v))
        return 0;
    return vivi_problem(p, VIV_E_UNSUPPORTED, path, NULL, "driver %s has no such thing (%s has)",
                        d->name, f->drivers);
}

/* A field of each element of a list: "disks.*.format". */
static int check_elements(const json_t *doc, const struct vivi_field *f,
                          const struct vivi_driver *d, struct vivi_problems *p)
{
    const char *star = strchr(f->path, '*');
    char list[64], path[160];
    const struct vivi_field *whole;
    const json_t *one;
    size_t i;

    (void)snprintf(list, sizeof(list), "%.*s", (int)(star - f->path) - 1, f->path);
    whole = vivi_field_find(list);
    if (whole && !knows(whole, d)) /* told once, of the list */
        return 0;
    json_array_foreach(vivi_config_get(doc, list), i, one)
    {
        const char *id = json_string_value(json_object_get(one, "id"));

        (void)snprintf(path, sizeof(path), "%s.%s.%s", list, id ? id : "", star + 2);
        VIVI_TRY(check_field(f, path, vivi_config_get(one, star + 2), d, p));
    }
    return 0;
}

/* Ports of the guest are seen by its agent: from here a guest's network may lead nowhere, and a
 * forward is answered by the VMM before the guest is asked. */
static int check_ready(const json_t *doc, struct vivi_problems *p)
{
    const char *by = json_string_value(vivi_config_get(doc, "ready.by"));
    const char *agent = json_string_value(vivi_config_get(doc, "agent.enabled"));

    if (!by || strncmp(by, "tcp:", 4) != 0 || !agent || strcmp(agent, "off") != 0)
        return 0;
    return vivi_problem(p, VIV_E_INVALID, "ready.by", "agent.enabled: auto, or ready.by: marker",
                        "%s: the guest's agent looks at the port, and agent.enabled is off", by);
}

int vivi_check_fields(const json_t *doc, const struct vivi_driver *d, struct vivi_problems *p)
{
    for (size_t i = 0; i < vivi_fields_count(); i++) {
        const struct vivi_field *f = &vivi_fields[i];

        if (knows(f, d) || strstr(f->path, ".id"))
            continue;
        VIVI_TRY(strchr(f->path, '*')
                     ? check_elements(doc, f, d, p)
                     : check_field(f, f->path, vivi_config_get(doc, f->path), d, p));
    }
    return check_ready(doc, p);
}

int vivi_check_vmm(const struct vivi_config *c, const struct vivi_facts *f, struct vivi_problems *p)
{
    const struct vivi_probe *probe = &f->probe;

    if (probe->usable)
        return 0;
    if (c->vmm_path && !*probe->exe)
        return vivi_problem(p, VIV_E_INVALID, "vmm.path", NULL, "%s: no such program", c->vmm_path);
    return vivi_problem(p, VIV_E_UNSUPPORTED, NULL, *probe->hint ? probe->hint : NULL, "%s",
                        probe->reason);
}

/* ---- files ---- */

/* A file that cannot be looked at or opened: 1 a problem was noted, 0 it is fine. */
static int check_reachable(struct vivi_problems *p, const char *field, const char *path,
                           const struct vivi_path_fact *fact)
{
    int error = !fact ? ENOENT : fact->stat_errno ? fact->stat_errno : fact->open_errno;
    int code = VIV_E_INVALID;

    if (error == 0)
        return 0;
    if (error == EACCES || error == EPERM || error == EROFS)
        code = VIV_E_DENIED;
    else if (error != ENOENT && error != ENOTDIR && error != ELOOP && error != ENAMETOOLONG)
        code = VIV_E_IO;
    VIVI_TRY(vivi_problem(p, code, field, NULL, "%s: %s", path,
                          error == ENOENT ? "no such file" : vivi_errno_text(error)));
    return 1;
}

int vivi_check_regular(struct vivi_problems *p, const char *field, const char *path,
                       const struct vivi_path_fact *fact)
{
    int r = check_reachable(p, field, path, fact);

    if (r != 0)
        return r;
    if (S_ISREG(fact->mode))
        return 0;
    VIVI_TRY(vivi_problem(p, VIV_E_INVALID, field, NULL, "%s: %s", path,
                          S_ISDIR(fact->mode) ? "is a directory" : "not a regular file"));
    return 1;
}

int vivi_check_boot(const struct vivi_config *c, const struct vivi_facts *f,
                    struct vivi_problems *p)
{
    const struct vivi_path_fact *fact = vivi_fact_of(f, c->kernel);
    const char *text;
    int r;

    if (c->kernel) {
        r = vivi_check_regular(p, "boot.kernel", c->kernel, fact);
        VIVI_TRY(r);
        if (r == 0 && vivi_kernel_kind(fact->head, fact->head_len, fact->notes, fact->notes_len,
                                       &text) == VIVI_KERNEL_NONE)
            VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "boot.kernel", NULL,
                                  "%s: not a Linux kernel (%s)", c->kernel, text));
    }
    if (c->initramfs) {
        fact = vivi_fact_of(f, c->initramfs);
        r = vivi_check_regular(p, "boot.initramfs", c->initramfs, fact);
        VIVI_TRY(r);
        if (r == 0 && fact->size_bytes == 0)
            VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "boot.initramfs", NULL, "%s: empty file",
                                  c->initramfs));
    }
    return 0;
}

static int check_shrink(const struct vivi_disk *d, uint64_t is, struct vivi_problems *p)
{
    char field[128], wanted[24], has[24];

    (void)snprintf(field, sizeof(field), "disks.%s.size", d->id);
    vivi_format_size(d->size_bytes, wanted);
    vivi_format_size(is, has);
    return vivi_problem(p, VIV_E_INVALID, field,
                        "viv resize --force cuts it: what lies behind is lost for good",
                        "%s is less than the image has (%s)", wanted, has);
}

int vivi_check_no_cut(const struct vivi_config *c, const struct vivi_facts *f,
                      struct vivi_problems *p)
{
    for (size_t i = 0; i < c->n_disks; i++) {
        const struct vivi_disk *d = &c->disks[i];
        const struct vivi_path_fact *fact = vivi_fact_of(f, d->path);

        if (fact && d->size_bytes && d->size_bytes < fact->size_bytes)
            VIVI_TRY(check_shrink(d, fact->size_bytes, p));
    }
    return 0;
}

static int check_disk(const struct vivi_disk *d, const struct vivi_facts *f,
                      struct vivi_problems *p)
{
    const struct vivi_path_fact *fact = vivi_fact_of(f, d->path);
    char field[128];
    int r;

    (void)snprintf(field, sizeof(field), "disks.%s.path", d->id);
    r = check_reachable(p, field, d->path, fact);
    if (r != 0)
        return r < 0 ? r : 0;
    if (!S_ISREG(fact->mode) && !S_ISBLK(fact->mode))
        return vivi_problem(p, VIV_E_INVALID, field, NULL, "%s: %s", d->path,
                            S_ISDIR(fact->mode) ? "is a directory"
                                                : "not a regular file or block device");
    if (fact->size_bytes == 0)
        return vivi_problem(p, VIV_E_INVALID, field, NULL, "%s: empty file", d->path);
    if (d->size_bytes && d->size_bytes < fact->size_bytes)
        return check_shrink(d, fact->size_bytes, p);
    if (d->size_bytes % VIVI_SECTOR_BYTES != 0)
        return vivi_problem(p, VIV_E_INVALID, field, NULL,
                            "its size (%" PRIu64 " bytes) is no multiple of %d", d->size_bytes,
                            VIVI_SECTOR_BYTES);
    if (d->format == VIVI_DISK_RAW && fact->size_bytes % VIVI_SECTOR_BYTES != 0)
        return vivi_problem(p, VIV_E_INVALID, field, NULL,
                            "%s: its size (%" PRIu64 " bytes) is no multiple of %d", d->path,
                            fact->size_bytes, VIVI_SECTOR_BYTES);
    return 0;
}

int vivi_check_disks(const struct vivi_config *c, const struct vivi_facts *f,
                     const struct vivi_limits *l, struct vivi_problems *p)
{
    char field[128];

    if (c->n_disks > l->max_disks)
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "disks", NULL, "%s takes at most %zu disks", l->vmm,
                              l->max_disks));
    for (size_t i = 0; i < c->n_disks; i++) {
        const struct vivi_disk *d = &c->disks[i];

        (void)snprintf(field, sizeof(field), "disks.%s", d->id);
        if (d->slot > l->max_disks && c->n_disks <= l->max_disks)
            VIVI_TRY(vivi_problem(p, VIV_E_INVALID, field, NULL, "slot %" PRIu32 ": %s has %zu",
                                  d->slot, l->vmm, l->max_disks));
        if (strlen(d->id) > SERIAL_ID_BYTES)
            VIVI_TRY(vivi_problem(p, VIV_E_INVALID, field, NULL,
                                  "the id is longer than the %d characters that a guest sees",
                                  SERIAL_ID_BYTES));
        VIVI_TRY(check_disk(d, f, p));
        for (size_t j = 0; j < i; j++) {
            if (strcmp(c->disks[j].path, d->path) != 0 || (c->disks[j].readonly && d->readonly))
                continue;
            (void)snprintf(field, sizeof(field), "disks.%s.path", d->id);
            VIVI_TRY(vivi_problem(p, VIV_E_INVALID, field, NULL, "%s: is used by disk %s already",
                                  d->path, c->disks[j].id));
            break;
        }
    }
    return 0;
}

/* ---- CPUs and memory ---- */

/* Of the host, for people: whole GiB or MiB, rounded down. */
static void format_host_size(uint64_t bytes, char ret[24])
{
    vivi_format_size(bytes >= GIB ? bytes / GIB * GIB : bytes / MIB * MIB, ret);
}

/* What it may have while it runs, as far as that is no matter of the host. */
static int check_cpus_max(const struct vivi_config *c, struct vivi_problems *p)
{
    char hint[64];

    if (!c->cpus_max || c->cpus_max >= c->cpus)
        return 0;
    (void)snprintf(hint, sizeof(hint), "set cpus.max=%" PRIu32 " as well", c->cpus);
    return vivi_problem(p, VIV_E_INVALID, "cpus.max", hint,
                        "%" PRIu32 " is less than cpus.count (%" PRIu32 ")", c->cpus_max, c->cpus);
}

static int check_memory_max(const struct vivi_config *c, struct vivi_problems *p)
{
    char wanted[24], size[24], hint[64];

    if (!c->memory_max_bytes || c->n_zones > 0) /* theirs are told by zone */
        return 0;
    vivi_format_size(c->memory_max_bytes, wanted);
    vivi_format_size(c->memory_bytes, size);
    (void)snprintf(hint, sizeof(hint), "set memory.max=%s as well", size);
    if (c->memory_max_bytes < c->memory_bytes)
        return vivi_problem(p, VIV_E_INVALID, "memory.max", hint,
                            "%s is less than memory.size (%s)", wanted, size);
    if ((c->memory_max_bytes - c->memory_bytes) % PIECE_BYTES != 0)
        return vivi_problem(p, VIV_E_INVALID, "memory.max", NULL,
                            "%s is not a multiple of 2MiB above memory.size (%s)", wanted, size);
    return 0;
}

static int check_balloon(const struct vivi_config *c, struct vivi_problems *p)
{
    char wanted[24], size[24];

    if (c->balloon_bytes <= c->memory_bytes)
        return 0;
    vivi_format_size(c->balloon_bytes, wanted);
    vivi_format_size(c->memory_bytes, size);
    return vivi_problem(p, VIV_E_INVALID, "memory.balloon", NULL,
                        "%s is more than memory.size (%s)", wanted, size);
}

int vivi_check_size_order(const struct vivi_config *c, struct vivi_problems *p)
{
    VIVI_TRY(check_cpus_max(c, p));
    VIVI_TRY(check_memory_max(c, p));
    return check_balloon(c, p);
}

static int check_most(const struct vivi_config *c, const struct vivi_facts *f,
                      const struct vivi_limits *l, struct vivi_problems *p)
{
    char wanted[24], host[24];

    VIVI_TRY(check_cpus_max(c, p));
    if (c->cpus_max > l->max_cpus)
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "cpus.max", NULL,
                              "%" PRIu32 " is more than %s can give (%" PRIu32 ")", c->cpus_max,
                              l->vmm, l->max_cpus));
    VIVI_TRY(check_memory_max(c, p));
    if (c->n_zones > 0 || c->memory_max_bytes <= f->host_memory_bytes)
        return 0;
    vivi_format_size(c->memory_max_bytes, wanted);
    format_host_size(f->host_memory_bytes, host);
    return vivi_problem(p, VIV_E_INVALID, "memory.max", NULL, "%s is more than this host has (%s)",
                        wanted, host);
}

int vivi_check_size(const struct vivi_config *c, const struct vivi_facts *f,
                    const struct vivi_limits *l, struct vivi_problems *p)
{
    char wanted[24], host[24];

    if (c->cpus > l->max_cpus)
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "cpus.count", NULL,
                              "%" PRIu32 " is more than %s can give (%" PRIu32 ")", c->cpus, l->vmm,
                              l->max_cpus));
    if (c->memory_bytes > f->host_memory_bytes) {
        vivi_format_size(c->memory_bytes, wanted);
        format_host_size(f->host_memory_bytes, host);
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "memory.size", NULL,
                              "%s is more than this host has (%s)", wanted, host));
    } else if (c->memory_bytes % MIB != 0) {
        vivi_format_size(c->memory_bytes, wanted);
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "memory.size", NULL, "%s is no multiple of 1MiB",
                              wanted));
    }
    VIVI_TRY(check_most(c, f, l, p));
    return check_balloon(c, p);
}

/* ---- networks ---- */

static int check_slot(const struct vivi_config *c, const struct vivi_net *n,
                      const struct vivi_limits *l, struct vivi_problems *p)
{
    char field[128];

    if (n->slot <= l->max_nets || c->n_nets > l->max_nets)
        return 0;
    (void)snprintf(field, sizeof(field), "nets.%s.slot", n->id);
    return vivi_problem(p, VIV_E_INVALID, field, NULL, "%" PRIu32 ": %s has %zu places", n->slot,
                        l->vmm, l->max_nets);
}

static int net_problem(const struct vivi_net *n, const char *key, struct vivi_problems *p,
                       const char *text)
{
    char field[128];

    (void)snprintf(field, sizeof(field), "nets.%s.%s", n->id, key);
    return vivi_problem(p, VIV_E_INVALID, field, NULL, "%s", text);
}

static int check_tap(const struct vivi_net *n, struct vivi_problems *p)
{
    char field[128];

    if (!n->tap || !*n->tap)
        return net_problem(n, "tap", p, "is missing: the name of a TAP device");
    (void)snprintf(field, sizeof(field), "nets.%s.tap", n->id);
    if (strlen(n->tap) > TAP_NAME_BYTES || strpbrk(n->tap, "/ \t:%"))
        return vivi_problem(p, VIV_E_INVALID, field, NULL,
                            "\"%s\" is not the name of a network device", n->tap);
    return 0;
}

static int check_fd(const struct vivi_net *n, struct vivi_problems *p)
{
    if (n->queues > 1)
        return net_problem(n, "queues", p, "one descriptor is one pair of queues");
    if (strlen(n->id) > FD_ID_BYTES)
        return net_problem(n, "id", p, "is too long for a NIC of type fd (at most 40 characters)");
    return 0;
}

/* What belongs to one type of NIC stands at no other. */
static int check_type(const struct vivi_net *n, struct vivi_problems *p)
{
    if (n->socket && n->type != VIVI_NET_VHOST_USER)
        return net_problem(n, "socket", p, "is only for a NIC of type vhost-user");
    if (n->tap && n->type != VIVI_NET_TAP)
        return net_problem(n, "tap", p, "is only for a NIC of type tap");
    if (n->fd > 0 && n->type != VIVI_NET_FD)
        return net_problem(n, "fd", p, "is only for a NIC of type fd");
    if (n->n_forwards > 0 && (n->type == VIVI_NET_TAP || n->type == VIVI_NET_FD))
        return net_problem(n, "forward", p, "is only for a NIC of type nat");
    if (n->type == VIVI_NET_TAP)
        return check_tap(n, p);
    return n->type == VIVI_NET_FD ? check_fd(n, p) : 0;
}

int vivi_check_nets(const struct vivi_config *c, const struct vivi_limits *l,
                    struct vivi_problems *p)
{
    if (c->n_nets > l->max_nets)
        VIVI_TRY(vivi_problem(p, VIV_E_INVALID, "nets", NULL, "%s takes at most %zu networks",
                              l->vmm, l->max_nets));
    for (size_t i = 0; i < c->n_nets; i++)
        VIVI_TRY(check_type(&c->nets[i], p));
    for (size_t i = 0; i < c->n_nets; i++)
        VIVI_TRY(check_slot(c, &c->nets[i], l, p));
    return 0;
}
