/*
 * Theory of operation: a state.json that cannot be read is kept (somebody may want to know) and
 * made anew from what is still there: config.json, the lock file's uuid and the keeper's exits.log,
 * which finds a VMM that still runs. Only verbs that change the VM come here, with its lock held.
 */
#include "store/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"

#define MOST_ASIDE 99

static int set_aside(int vm_fd, viv_error *err)
{
    char name[40];
    int r = -VIV_E_EXISTS;

    for (int n = 1; n <= MOST_ASIDE && r == -VIV_E_EXISTS; n++) {
        (void)snprintf(name, sizeof(name), VIVI_STATE_FILE ".broken-%d", n);
        r = vivi_rename_noreplace(vm_fd, VIVI_STATE_FILE, vm_fd, name, err);
    }
    return r == -VIV_E_NOT_FOUND ? 0 : r; /* it was missing */
}

static void from_config(const struct vivi_vmdir *d, struct vivi_state *s)
{
    cleanup_json json_t *config = NULL;
    struct stat st;
    json_int_t n;

    if (vivi_json_read(d->fd, VIVI_CONFIG_FILE, VIVI_DOCUMENT_MAX_BYTES, &config, NULL) < 0)
        return;
    (void)snprintf(s->driver, sizeof(s->driver), "%s", vivi_json_text(config, "driver"));
    n = json_integer_value(json_object_get(json_object_get(config, "cpus"), "count"));
    s->cpus = n > 0 && n <= UINT32_MAX ? (uint32_t)n : 0;
    n = json_integer_value(json_object_get(json_object_get(config, "memory"), "size"));
    s->memory_bytes = n > 0 ? (uint64_t)n : 0;
    vivi_config_stamp(d->fd, VIVI_CONFIG_FILE, s->config_stamp);
    if (fstatat(d->fd, VIVI_CONFIG_FILE, &st, 0) == 0) /* as good a date of birth as any */
        s->created_at_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
}

/* The last run as the keeper saw it; vivi_state_derive then says what became of it. */
static int from_exits(const struct vivi_vmdir *d, struct vivi_state *s, viv_error *err)
{
    struct vivi_host_now now;
    struct vivi_exit_rec rec = {0};
    int r = vivi_exits_last(d->fd, "vmm", &rec, err);

    if (r <= 0)
        return r;
    s->state = VIV_ST_RUNNING;
    s->run = rec.run;
    s->boot = rec.run;
    s->vmm = rec.proc;
    s->started_at_ms = rec.spawned_at_ms;
    s->pid_ns = rec.pid_ns;
    (void)snprintf(s->host_boot_id, sizeof(s->host_boot_id), "%s", rec.host_boot_id);
    r = vivi_host_now(&now, err);
    if (r < 0)
        return r;
    if (strcmp(s->host_boot_id, now.boot_id) != 0 || s->pid_ns != now.pid_ns ||
        vivi_proc_alive(&s->vmm))
        return vivi_state_derive(d->fd, &now, s, err);
    /* The caller holds the lock, so derive would think that a monitor is about to write. */
    s->state = VIV_ST_FAILED;
    s->vmm = (struct vivi_proc_id){0};
    s->ended_at_ms = rec.exited_at_ms;
    (void)snprintf(s->reason, sizeof(s->reason), "%s", vivi_reason_name(VIVI_REASON_UNOBSERVED));
    (void)snprintf(s->reason_text, sizeof(s->reason_text), "its record was broken");
    return 0;
}

int vivi_state_repair(const struct vivi_vmdir *d, viv_error *err)
{
    cleanup_state struct vivi_state s = {.extra = NULL};
    viv_error why = VIV_ERROR_INIT;
    int r = vivi_state_read(d->fd, &s, &why);

    if (r == 0)
        return 0;
    if (r != -VIV_E_PROTOCOL && r != -VIV_E_NOT_FOUND) { /* unreadable is not broken */
        if (err)
            *err = why;
        return r;
    }
    if (!d->uuid[0])
        return vivi_fail(err, VIV_E_PROTOCOL, "broken record (%s) and its uuid is lost too: rm it",
                         why.message);
    vivi_state_init(&s);
    (void)snprintf(s.name, sizeof(s.name), "%s", d->name);
    (void)snprintf(s.uuid, sizeof(s.uuid), "%s", d->uuid);
    s.state = VIV_ST_STOPPED;
    s.created_at_ms = vivi_wall_ms();
    from_config(d, &s);
    r = from_exits(d, &s, err);
    if (r >= 0)
        r = set_aside(d->fd, err);
    if (r >= 0)
        r = vivi_state_write(d->fd, &s, VIVI_DURABLE, err);
    return r < 0 ? r : 1;
}
