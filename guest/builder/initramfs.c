/*
 * initramfs.c: the guest's files.
 *
 * Modules come in three lists that init reads: "early" is loaded before the guest can be ready,
 * "late" after it, and "index" says for each further module which files to load, for what a command
 * line asks for by name. All three are in load order, so the guest needs no modprobe and no
 * modules.dep.
 */
#include "initramfs.h"

#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "modules.h"

#define LIST_MAX_BYTES 65536

struct recipe {
    const char *name;
    const char *const *early;
    const char *const *late;
    const char *const *index;
};

static const char *const no_modules[] = {NULL};

/* What readiness, disks, the power button and a panic notice need; then what nobody waits for. */
static const char *const demo_early[] = {
    "virtio_pci", "virtio_blk", "virtio_net",  "virtio_console", "evdev",
    "button",     "pvpanic",    "pvpanic-pci", "pvpanic-mmio",   NULL,
};
static const char *const demo_late[] = {
    "virtio-rng", "virtio_balloon", "virtio_mem", "vmw_vsock_virtio_transport",
    "virtiofs",   "virtio_pmem",    "nd_pmem",    NULL,
};

static const char *const lab_early[] = {
    "virtio_pci",  "virtio_blk", "virtio_net", "virtio_console", "virtio-rng", "virtiofs",
    "overlay",     "evdev",      "button",     "kvm-amd",        "tun",        "vhost_net",
    "vhost_vsock", NULL,
};
static const char *const lab_index[] = {
    "vfio-pci",
    "vfio_iommu_type1",
    "bridge",
    "veth",
    "macvtap",
    "nf_tables",
    "nft_nat",
    "nft_chain_nat",
    "nft_masq",
    "nft_ct",
    "nft_reject_inet",
    "loop",
    "xfs",
    "btrfs",
    "nvme",
    NULL,
};

static const struct recipe recipes[] = {
    [VIVI_GUEST_DEMO] = {"demo", demo_early, demo_late, no_modules},
    [VIVI_GUEST_LAB] = {"lab", lab_early, no_modules, lab_index},
};

static const char profile[] =
    "export PS1='demo:\\w\\$ '\n"
    "echo\n"
    "echo \"Vivarium demo guest, Linux $(uname -r). It ends with: poweroff\"\n";

const char *vivi_guest_kind_name(enum vivi_guest_kind kind)
{
    return recipes[kind].name;
}

static int add_dirs(struct vivi_members *m, viv_error *err)
{
    static const char *const dirs[] = {"bin", "dev",  "etc", "lib", "lib/modules", "proc", "root",
                                       "run", "sbin", "sys", "tmp", "usr",         "var"};
    int r = 0;

    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(dirs); i++)
        r = vivi_members_add_dir(m, dirs[i], err);
    return r;
}

static int add_text(struct vivi_members *m, const char *path, const char *text, viv_error *err)
{
    return vivi_members_add(m, path, S_IFREG | 0644, text, strlen(text), err);
}

static int add_programs(const struct vivi_initramfs *in, struct vivi_members *m, viv_error *err)
{
    int r = vivi_members_add(m, "init", S_IFREG | 0755, in->init, in->init_len, err);

    if (r == 0)
        r = vivi_members_add(m, "bin/busybox", S_IFREG | 0755, in->busybox, in->busybox_len, err);
    if (r == 0 && in->agent != NULL)
        r = vivi_members_add(m, "sbin/viv-agent", S_IFREG | 0755, in->agent, in->agent_len, err);
    if (r == 0)
        r = vivi_members_add_link(m, "bin/sh", "busybox", err);
    if (r == 0)
        r = vivi_members_add_link(m, "sbin/dhcp-event", "/init", err);
    if (r == 0)
        r = add_text(m, "etc/passwd", "root::0:0:root:/root:/bin/sh\n", err);
    if (r == 0)
        r = add_text(m, "etc/group", "root:x:0:\n", err);
    if (r == 0)
        r = add_text(m, "etc/hosts", "127.0.0.1 localhost demo\n", err);
    if (r == 0)
        r = add_text(m, "etc/profile", profile, err);
    return r;
}

static int add_module_file(struct vivi_members *m, const struct vivi_module *module, viv_error *err)
{
    char path[VIVI_MODULE_NAME_SIZE + 32];

    (void)snprintf(path, sizeof(path), "lib/modules/%s.ko", module->name);
    if (vivi_members_find(m, path) != NULL)
        return 0;
    return vivi_members_add(m, path, S_IFREG | 0644, module->file->data, module->file->len, err);
}

static int add_module_files(struct vivi_members *m, const struct vivi_module_list *list,
                            size_t from, struct vivi_buf *text, char end, viv_error *err)
{
    for (size_t i = from; i < list->n; i++) {
        int r = add_module_file(m, list->at[i], err);

        if (r < 0)
            return r;
        (void)vivi_buf_printf(text, "/lib/modules/%s.ko%c", list->at[i]->name, end);
    }
    return vivi_buf_check(text, err);
}

static int add_list(struct vivi_members *m, const char *path, const struct vivi_buf *text,
                    viv_error *err)
{
    return vivi_members_add(m, path, S_IFREG | 0644, text->data, text->len, err);
}

/* One line for each module: its name, then the files to load, in order. */
static int add_index(struct vivi_members *m, const struct vivi_modules *modules,
                     const char *const names[], viv_error *err)
{
    cleanup_buf struct vivi_buf text = VIVI_BUF(LIST_MAX_BYTES);

    for (size_t i = 0; names[i] != NULL; i++) {
        cleanup_module_list struct vivi_module_list list = {0};
        const char *const wanted[] = {names[i], NULL};
        int r = vivi_modules_resolve(modules, wanted, &list, err);

        if (r < 0)
            return r;
        (void)vivi_buf_printf(&text, "%s ", names[i]);
        r = add_module_files(m, &list, 0, &text, ' ', err);
        if (r < 0)
            return r;
        (void)vivi_buf_str(&text, "\n");
    }
    return add_list(m, "etc/modules.index", &text, err);
}

static int add_modules(const struct vivi_initramfs *in, struct vivi_members *m, viv_error *err)
{
    cleanup_modules struct vivi_modules modules = {0};
    cleanup_module_list struct vivi_module_list list = {0};
    cleanup_buf struct vivi_buf early = VIVI_BUF(LIST_MAX_BYTES);
    cleanup_buf struct vivi_buf late = VIVI_BUF(LIST_MAX_BYTES);
    const struct recipe *recipe = &recipes[in->kind];
    size_t early_n;
    int r = vivi_modules_index(in->kernel, &modules, err);

    if (r == 0)
        r = vivi_modules_resolve(&modules, recipe->early, &list, err);
    if (r == 0)
        r = add_module_files(m, &list, 0, &early, '\n', err);
    early_n = list.n;
    if (r == 0)
        r = vivi_modules_resolve(&modules, recipe->late, &list, err);
    if (r == 0)
        r = add_module_files(m, &list, early_n, &late, '\n', err);
    if (r == 0)
        r = add_list(m, "etc/modules.early", &early, err);
    if (r == 0)
        r = add_list(m, "etc/modules.late", &late, err);
    return r == 0 ? add_index(m, &modules, recipe->index, err) : r;
}

int vivi_initramfs_members(const struct vivi_initramfs *in, struct vivi_members *ret_members,
                           viv_error *err)
{
    cleanup_members struct vivi_members m = {0};
    int r = add_dirs(&m, err);

    if (r == 0)
        r = add_programs(in, &m, err);
    if (r == 0)
        r = add_modules(in, &m, err);
    if (r < 0)
        return r;
    *ret_members = m;
    m = (struct vivi_members){0};
    return 0;
}
