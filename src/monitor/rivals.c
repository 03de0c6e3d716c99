#include "monitor/rivals.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "monitor/monitor.h"

static bool same(const char *a, const json_t *b)
{
    const char *text = json_string_value(b);

    return a && text && strcmp(a, text) == 0;
}

/* What of ours stands in the other one's configuration too; false: nothing. */
static bool shares_disk(const struct vivi_config *c, const json_t *other, char ret[256])
{
    const json_t *one;
    size_t k;

    for (size_t i = 0; i < c->n_disks; i++)
        json_array_foreach(json_object_get(other, "disks"), k, one)
        {
            const struct vivi_disk *d = &c->disks[i];

            if (!same(d->path, json_object_get(one, "path")) ||
                (d->readonly && json_is_true(json_object_get(one, "readonly"))))
                continue;
            (void)snprintf(ret, 256, "disks.%s.path: %.180s", d->id, d->path);
            return true;
        }
    return false;
}

static bool shares_tap(const struct vivi_config *c, const json_t *other, char ret[256])
{
    const json_t *one;
    size_t k;

    for (size_t i = 0; i < c->n_nets; i++)
        json_array_foreach(json_object_get(other, "nets"), k, one)
        {
            if (!same(c->nets[i].tap, json_object_get(one, "tap")))
                continue;
            (void)snprintf(ret, 256, "nets.%s.tap: %s", c->nets[i].id, c->nets[i].tap);
            return true;
        }
    return false;
}

/* Of the VM in that directory, if it runs. */
static bool has_ours(const struct vivi_monitor *m, int vms_fd, const char *name, char ret[256])
{
    struct vivi_state_text text;
    struct vivi_state st;
    char path[NAME_MAX + 16];
    json_t *running = NULL;
    const json_t *config;
    bool found = false;

    (void)snprintf(path, sizeof(path), "%s/" VIVI_STATE_FILE, name);
    if (vivi_state_read_quick(vms_fd, path, &text, &st) != 1 || !vivi_state_has_vmm(st.state))
        return false;
    (void)snprintf(path, sizeof(path), "%s/" VIVI_RUNNING_FILE, name);
    if (vivi_json_read(vms_fd, path, VIVI_DOCUMENT_MAX_BYTES, &running, NULL) < 0)
        return false;
    config = json_object_get(running, "config");
    found = shares_disk(&m->config, config, ret) || shares_tap(&m->config, config, ret);
    json_decref(running);
    return found;
}

void vivi_rivals_hint(const struct vivi_monitor *m, viv_error *err)
{
    cleanup_close int fd = openat(m->dir.fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int again = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
    DIR *all = again < 0 ? NULL : fdopendir(again);
    const struct dirent *e;
    char what[256];

    if (!all) {
        vivi_close(&again);
        return;
    }
    while (m->config_valid && err->hint[0] == '\0' && (e = readdir(all)))
        if (e->d_name[0] != '.' && strcmp(e->d_name, m->dir.name) != 0 &&
            has_ours(m, fd, e->d_name, what))
            vivi_hint(err, "%s, which runs, has it too (%s)", e->d_name, what);
    (void)closedir(all);
}
