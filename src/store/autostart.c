/*
 * What a VM's directory knows about the host's next boot: which unit starts it, and whether it is
 * to be started at all.
 *
 * Theory of operation. The unit and the link that enables it stand outside of the state root, where
 * the service manager looks; autostart.json names both, so that whoever removes the VM, be it a
 * monitor, a verb or the repair of an interrupted removal, can take them along. A unit is only ever
 * touched when it carries this VM's uuid: its file may have been replaced by somebody else's.
 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

#define UNIT_MAX_BYTES (64u << 10)

int vivi_vm_desire(const struct vivi_vmdir *d, const char *what, int wait_ms, viv_error *err)
{
    cleanup_state struct vivi_state s = {.extra = NULL};
    cleanup_close int lock = -1;
    int r = vivi_lock_open(d->fd, VIVI_LOCK_FILE, wait_ms, &lock, err);

    if (r == 0)
        r = vivi_vmdir_is_current(d, err);
    if (r == 0)
        return vivi_fail(err, VIV_E_NOT_FOUND, "no such VM");
    if (r > 0)
        r = vivi_state_read(d->fd, &s, err);
    if (r < 0)
        return r;
    (void)snprintf(s.desired, sizeof(s.desired), "%s", what);
    return vivi_state_write(d->fd, &s, VIVI_DURABLE, err);
}

/* ---- autostart.json ---- */

static int take_path(const json_t *doc, const char *key, char *ret, size_t size, viv_error *err)
{
    const char *s = json_string_value(json_object_get(doc, key));

    if (!s || s[0] != '/' || strlen(s) >= size)
        return vivi_fail(err, VIV_E_PROTOCOL, VIVI_AUTOSTART_FILE ": %s: not an absolute path",
                         key);
    (void)snprintf(ret, size, "%s", s);
    return 0;
}

int vivi_autostart_read(int vm_fd, struct vivi_autostart *ret, viv_error *err)
{
    cleanup_json json_t *doc = NULL;
    viv_error why = VIV_ERROR_INIT;
    struct vivi_autostart a = {.unit = ""};
    int r = vivi_json_read(vm_fd, VIVI_AUTOSTART_FILE, UNIT_MAX_BYTES, &doc, &why);

    if (r == -VIV_E_NOT_FOUND)
        return 0;
    if (r == 0)
        r = take_path(doc, "unit", a.unit, sizeof(a.unit), &why);
    if (r == 0)
        r = take_path(doc, "link", a.link, sizeof(a.link), &why);
    if (r < 0) {
        if (err)
            *err = why;
        return r;
    }
    *ret = a;
    return 1;
}

int vivi_autostart_write(int vm_fd, const struct vivi_autostart *a, viv_error *err)
{
    cleanup_json json_t *doc = json_pack("{s:s,s:s}", "unit", a->unit, "link", a->link);

    if (!doc)
        return vivi_fail(err, VIV_E_INVALID, "%s: not UTF-8", a->unit);
    return vivi_json_write(vm_fd, VIVI_AUTOSTART_FILE, doc, VIVI_DURABLE, err);
}

int vivi_unit_is_of(const char *path, const char *uuid, viv_error *err)
{
    cleanup_buf struct vivi_buf text = VIVI_BUF(UNIT_MAX_BYTES);
    char line[sizeof("\nUUID=\n") + VIVI_UUID_SIZE];
    int r = vivi_read_file_at(AT_FDCWD, path, &text, err);

    if (r < 0)
        return r;
    (void)snprintf(line, sizeof(line), "\nUUID=%s\n", uuid);
    return text.data && strstr(text.data, line) ? 1 : 0;
}

/* The link is ours when it leads to our unit. */
static int remove_link(const struct vivi_autostart *a, viv_error *err)
{
    char target[sizeof(a->unit)];
    ssize_t n = readlink(a->link, target, sizeof(target) - 1);

    if (n < 0)
        return errno == ENOENT || errno == EINVAL || errno == ENOTDIR
                   ? 0
                   : vivi_fail_errno(err, errno, "%s", a->link);
    target[n] = '\0';
    if (strcmp(target, a->unit) == 0 && unlink(a->link) < 0 && errno != ENOENT)
        return vivi_fail_errno(err, errno, "cannot remove %s", a->link);
    return 0;
}

int vivi_autostart_remove(int vm_fd, const char *uuid, viv_error *err)
{
    struct vivi_autostart a;
    int r = vivi_autostart_read(vm_fd, &a, err);

    if (r <= 0)
        return r;
    r = vivi_unit_is_of(a.unit, uuid, err);
    if (r == -VIV_E_NOT_FOUND) {
        r = remove_link(&a, err); /* it would dangle */
    } else if (r > 0) {
        r = remove_link(&a, err);
        if (r == 0 && unlink(a.unit) < 0 && errno != ENOENT)
            r = vivi_fail_errno(err, errno, "cannot remove %s", a.unit);
    }
    if (r < 0)
        return r;
    if (unlinkat(vm_fd, VIVI_AUTOSTART_FILE, 0) < 0 && errno != ENOENT)
        return vivi_fail_errno(err, errno, "cannot remove " VIVI_AUTOSTART_FILE);
    return 1;
}

bool vivi_autostart_is_on(const struct vivi_autostart *a)
{
    return access(a->unit, R_OK) == 0 && access(a->link, R_OK) == 0;
}
