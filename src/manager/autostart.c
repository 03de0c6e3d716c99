/*
 * viv_vm_autostart: a VM starts with its host.
 *
 * Theory of operation: systemd does it; we write a unit (unit.c) and the link that "systemctl
 * enable" would make. Both are plain files, so it works in a chroot or an image that is not booted,
 * too. The record in the VM's directory is written before and removed after them: whatever an
 * interruption leaves is found by the next call, or by the VM's removal.
 */
#include "manager/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "manager/unit.h"

#define SYSTEM_DIR     "/etc/systemd/system"
#define UNIT_MAX_BYTES (256u << 10)
#define LOCK_WAIT_MS   5000 /* a keeper without a VM ends after two seconds */

struct place {
    struct vivi_autostart paths;
    char dir[PATH_MAX], wants[PATH_MAX]; /* of the unit, of the link */
    bool system;
};

/* ---- where ---- */

static bool is_installed(void)
{
    static const char *const places[] = {"/run/systemd/system", "/usr/lib/systemd/systemd",
                                         "/lib/systemd/systemd"};

    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        if (access(places[i], F_OK) == 0)
            return true;
    return false;
}

/* The directory in which a manager looks for what its administrator or user wrote. */
static int usual_dir(char ret[PATH_MAX], viv_error *err)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");

    if (!is_installed()) {
        (void)vivi_fail(err, VIV_E_UNSUPPORTED, "autostart needs systemd, and there is none here");
        vivi_hint(err, "--unit-dir DIR writes the unit all the same, for another system");
        return -VIV_E_UNSUPPORTED;
    }
    if (geteuid() == 0)
        (void)snprintf(ret, PATH_MAX, SYSTEM_DIR);
    else if (config && config[0] == '/')
        (void)snprintf(ret, PATH_MAX, "%.3900s/systemd/user", config);
    else if (home && home[0] == '/')
        (void)snprintf(ret, PATH_MAX, "%.3900s/.config/systemd/user", home);
    else
        return vivi_fail(err, VIV_E_NOT_FOUND, "no place for units: HOME is not set");
    return 0;
}

static bool is_usual_root(const struct vivi_root *root)
{
    cleanup_free char *usual = NULL;

    return vivi_root_usual(&usual, NULL) == 0 && strcmp(usual, root->path) == 0;
}

static int find_place(const viv_vm *m, const viv_opts *o, struct place *p, viv_error *err)
{
    const char *given = vivi_opt_str(o, "unit_dir", getenv("VIV_UNIT_DIR"));
    char unit[128];
    int n, r = 0;

    p->system = geteuid() == 0;
    if (!given || !given[0])
        r = usual_dir(p->dir, err);
    else if (given[0] != '/')
        r = vivi_fail_field(err, VIV_E_INVALID, "unit_dir", "\"%s\" is not an absolute path",
                            given);
    else
        (void)snprintf(p->dir, sizeof(p->dir), "%s", given);
    if (r < 0)
        return r;
    vivi_unit_name(m->name, m->v->root.path, is_usual_root(&m->v->root), unit);
    (void)snprintf(p->wants, sizeof(p->wants), "%.3900s/%s.wants", p->dir,
                   vivi_unit_target(p->system));
    n = snprintf(p->paths.unit, sizeof(p->paths.unit), "%s/%s", p->dir, unit);
    if (n > 0 && n < (int)sizeof(p->paths.unit))
        n = snprintf(p->paths.link, sizeof(p->paths.link), "%s/%s", p->wants, unit);
    if (n < 0 || n >= (int)sizeof(p->paths.link))
        return vivi_fail(err, VIV_E_INVALID, "%.200s: too long a path for units", p->dir);
    return 0;
}

/* ---- on ---- */

static int make_text(const viv_vm *m, const struct vivi_vmdir *d, const viv_opts *o,
                     const struct place *p, struct vivi_buf *out, viv_error *err)
{
    cleanup_json json_t *config = NULL;
    struct vivi_unit u = {.name = m->name,
                          .uuid = m->uuid,
                          .root = m->v->root.path,
                          .program = vivi_opt_str(o, "program", ""),
                          .run = getenv("VIV_RUN"),
                          .libexec = getenv("VIV_LIBEXEC"),
                          .system = p->system};
    int r;

    if (u.program[0] != '/')
        return vivi_fail_field(err, VIV_E_INVALID, "program", "\"%s\" is not an absolute path",
                               u.program);
    r = vivi_json_read(d->fd, VIVI_CONFIG_FILE, VIVI_DOCUMENT_MAX_BYTES, &config, err);
    if (r < 0)
        return r;
    u.config = config;
    u.run = u.run && u.run[0] == '/' ? u.run : NULL;
    u.libexec = u.libexec && u.libexec[0] == '/' ? u.libexec : NULL;
    return vivi_unit_text(&u, out, err);
}

/* 1: there is exactly this file, 0: there is none or an older one of this VM. */
static int compare(const viv_vm *m, const char *path, const struct vivi_buf *text, viv_error *err)
{
    cleanup_buf struct vivi_buf there = VIVI_BUF(UNIT_MAX_BYTES);
    viv_error why = VIV_ERROR_INIT;
    int r = vivi_unit_is_of(path, m->uuid, &why);

    if (r == -VIV_E_NOT_FOUND)
        return 0;
    if (r < 0) {
        if (err)
            *err = why;
        return r;
    }
    if (r == 0) {
        (void)vivi_fail(err, VIV_E_EXISTS, "%s: exists already and is not this VM's", path);
        vivi_hint(err, "remove it, or name another directory by --unit-dir");
        return -VIV_E_EXISTS;
    }
    r = vivi_read_file_at(AT_FDCWD, path, &there, err);
    return r < 0 ? r : there.len == text->len && memcmp(there.data, text->data, text->len) == 0;
}

static int write_unit(const struct place *p, const struct vivi_buf *text, viv_error *err)
{
    int r = vivi_mkdir_path(p->wants, 0755, err); /* is below dir */

    if (r == 0)
        r = vivi_write_file_at(AT_FDCWD, p->paths.unit, text->data, text->len, VIVI_DURABLE, err);
    if (r == 0 && chmod(p->paths.unit, 0644) < 0)
        r = vivi_fail_errno(err, errno, "%s", p->paths.unit);
    return r;
}

/* 1 made or changed, 0 there already. */
static int write_link(const struct place *p, viv_error *err)
{
    char target[PATH_MAX];
    ssize_t n = readlink(p->paths.link, target, sizeof(target) - 1);

    if (n >= 0) {
        target[n] = '\0';
        if (strcmp(target, p->paths.unit) == 0)
            return 0;
        (void)unlink(p->paths.link);
    }
    if (symlink(p->paths.unit, p->paths.link) < 0)
        return vivi_fail_errno(err, errno, "cannot make %s", p->paths.link);
    return 1;
}

/* A VM that was stopped by hand is asked for again. */
static int desire(const struct vivi_vmdir *d, viv_error *err)
{
    cleanup_state struct vivi_state s = {.extra = NULL};
    int r = vivi_state_read_truth(d, &s, NULL, err);

    if (r < 0 || vivi_state_has_vmm(s.state) || strcmp(s.desired, VIVI_DESIRED_STOPPED) != 0)
        return r < 0 ? r : 0;
    r = vivi_vm_desire(d, VIVI_DESIRED_RUNNING, LOCK_WAIT_MS, err);
    return r < 0 ? r : 1;
}

/* 1 changed, 0 all of it was so already. */
static int turn_on(const viv_vm *m, const struct vivi_vmdir *d, const viv_opts *o, struct place *p,
                   viv_error *err)
{
    cleanup_buf struct vivi_buf text = VIVI_BUF(UNIT_MAX_BYTES);
    struct vivi_autostart old = {.unit = ""};
    int same, had, r = make_text(m, d, o, p, &text, err);

    if (r < 0)
        return r;
    same = compare(m, p->paths.unit, &text, err);
    had = same < 0 ? same : vivi_autostart_read(d->fd, &old, NULL);
    if (same < 0)
        return same;
    if (had > 0 && strcmp(old.unit, p->paths.unit) != 0)
        r = vivi_autostart_remove(d->fd, m->uuid, err); /* it stood elsewhere */
    if (r >= 0)
        r = vivi_autostart_write(d->fd, &p->paths, err);
    if (r >= 0 && !same)
        r = write_unit(p, &text, err);
    if (r >= 0)
        r = vivi_mkdir_path(p->wants, 0755, err);
    if (r >= 0)
        r = write_link(p, err);
    if (r < 0)
        return r;
    had = r > 0 || !same;
    r = desire(d, err);
    return r < 0 ? r : r > 0 || had;
}

/* ---- the verb ---- */

static json_t *result_json(const struct vivi_vmdir *d, int changed)
{
    struct vivi_autostart a;
    bool is = vivi_autostart_read(d->fd, &a, NULL) > 0;

    return json_pack("{s:b,s:b,s:o}", "changed", changed, "on", is && vivi_autostart_is_on(&a),
                     "unit", is ? vivi_json_str(a.unit) : json_null());
}

static int run(viv_vm *m, const viv_opts *o, struct vivi_vmdir *d, json_t **ret, viv_error *err)
{
    struct place p = {.system = false};
    int r = vivi_vm_dir(m, d, err);

    if (r == 0 && m->v->root.readonly)
        r = vivi_fail(err, VIV_E_DENIED, "state root %s: opened for reading only", m->v->root.path);
    if (r == 0 && !m->uuid[0])
        r = vivi_fail(err, VIV_E_WRONG_STATE, "broken record: its uuid is lost");
    if (r < 0)
        return r;
    if (!vivi_opt_bool(o, "on", true)) {
        r = vivi_autostart_remove(d->fd, m->uuid, err);
    } else {
        r = find_place(m, o, &p, err);
        if (r == 0)
            r = turn_on(m, d, o, &p, err);
    }
    if (r < 0)
        return r;
    *ret = result_json(d, r);
    return *ret ? 0 : vivi_fail_oom(err);
}

int viv_vm_autostart(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                     viv_error *err)
{
    cleanup_vmdir struct vivi_vmdir d = VIVI_VMDIR_EMPTY;
    json_t *result = NULL;
    viv_op *op = NULL;
    int r = vivi_opts_only(o, "autostart", "on program unit_dir", err);

    if (r == 0)
        r = run(m, o, &d, &result, err);
    if (r == 0)
        r = vivi_op_finished(m, result, &op, err);
    if (r < 0) {
        vivi_error_vm(err, m->name);
        return r;
    }
    return vivi_op_deliver(op, ret_op, ret_result, NULL, err);
}
