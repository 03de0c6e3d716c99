/* The monitor as an object: made from the keeper's table and the VM's directory, and unmade. */
#include "monitor/copying.h"
#include "monitor/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

/* vm_dir is ROOT/vms/NAME. */
static int split_vm_dir(const char *vm_dir, char **ret_root, const char **ret_name, viv_error *err)
{
    const char *slash = strrchr(vm_dir, '/'), *vms;

    if (!slash || slash == vm_dir || !slash[1])
        return vivi_fail(err, VIV_E_INVALID, "%s: not a VM's directory", vm_dir);
    vms = memrchr(vm_dir, '/', (size_t)(slash - vm_dir));
    if (!vms || strncmp(vms, "/vms/", 5) != 0)
        return vivi_fail(err, VIV_E_INVALID, "%s: not a VM's directory", vm_dir);
    *ret_root = strndup(vm_dir, (size_t)(vms - vm_dir));
    if (!*ret_root)
        return vivi_fail_oom(err);
    *ret_name = slash + 1;
    return 0;
}

static int open_dir(struct vivi_monitor *m, const struct vivi_monitor_setup *s, viv_error *err)
{
    cleanup_free char *root = NULL;
    const char *name = NULL;
    char *run_dir;
    int r = split_vm_dir(s->vm_dir, &root, &name, err);

    if (r >= 0)
        r = vivi_root_open(root, false, false, &m->root, err);
    if (r >= 0)
        r = vivi_vmdir_open(&m->root, name, &m->dir, err);
    if (r < 0)
        return r;
    run_dir = strdup(s->run_dir);
    if (!run_dir)
        return vivi_fail_oom(err);
    free(m->dir.run_dir);
    m->dir.run_dir = run_dir; /* the keeper's, whatever the environment says by now */
    r = vivi_lock_is_current(vivi_fds_get(&m->fds, "lock"), m->dir.fd, VIVI_LOCK_FILE, err);
    if (r == 0)
        return vivi_fail(err, VIV_E_NOT_FOUND, "%s is another VM by now", name);
    return r < 0 ? r : 0;
}

static int connect_all(struct vivi_monitor *m, viv_error *err)
{
    int keeper = vivi_fds_get(&m->fds, "keeper"), listener = vivi_fds_get(&m->fds, "listener");
    int r;

    if (keeper < 0 || listener < 0 || vivi_fds_get(&m->fds, "lock") < 0)
        return vivi_fail(err, VIV_E_PROTOCOL, "%s: no keeper, listener or lock", VIVI_FDS_ENV);
    r = vivi_keeper_open(&m->keeper, m->loop, keeper, &vivi_life_keeper, m, err);
    return r < 0 ? r : vivi_serve_open(m, listener, err);
}

static void prepare(struct vivi_monitor *m, const struct vivi_monitor_setup *s)
{
    *m = (struct vivi_monitor){.loop = s->loop,
                               .env = s->env,
                               .env_ctx = s->env_ctx,
                               .root = VIVI_ROOT_EMPTY,
                               .dir = VIVI_VMDIR_EMPTY,
                               .fds = s->fds,
                               .pidfd = -1,
                               .adopted_since_us = vivi_mono_us()};
    vivi_state_init(&m->st);
    vivi_streams_init(&m->streams);
    vivi_consoles_init(&m->consoles, s->loop);
    m->host = (struct vivi_driver_host){.ctx = m,
                                        .loop = s->loop,
                                        .event = vivi_life_event,
                                        .drain = vivi_life_drain,
                                        .fd = vivi_nics_fd};
    m->ladder = (struct vivi_ladder){.loop = s->loop, .ops = &vivi_ladder_rungs, .ctx = m};
}

int vivi_monitor_open(struct vivi_monitor *m, const struct vivi_monitor_setup *s, viv_error *err)
{
    int r;

    prepare(m, s);
    if (s->cache_dir) {
        m->cache_dir = strdup(s->cache_dir);
        if (!m->cache_dir)
            return vivi_fail_oom(err);
    }
    r = connect_all(m, err);
    if (r >= 0)
        r = vivi_host_now(&m->now, err);
    if (r < 0)
        return r;
    r = open_dir(m, s, err);
    if (r == -VIV_E_NOT_FOUND) { /* removed: finish what may be half done, and go */
        (void)vivi_vm_remove_rest(&m->root, vivi_fds_get(&m->fds, "lock"), NULL);
        (void)vivi_keeper_quit(&m->keeper, NULL);
    }
    return r < 0 ? r : vivi_adopt(m, err);
}

void vivi_monitor_close(struct vivi_monitor *m)
{
    struct vivi_timer **timers[] = {&m->migrate_tell, &m->migrate_late,   &m->incoming_wait,
                                    &m->record_retry, &m->record_soon,    &m->start_deadline,
                                    &m->settle,       &m->adopt_deadline, &m->unobserved,
                                    &m->scan_more,    &m->op.deadline,    &m->restart,
                                    &m->idle,         &m->ladder.timer,   &m->serve_early};

    vivi_change_forget(m);
    vivi_agent_done(m);
    vivi_serve_close(m);
    vivi_restore_drop(m);
    vivi_copying_stop(m);
    for (size_t i = 0; i < ARRAY_SIZE(timers); i++)
        vivi_disarm(m, timers[i]);
    vivi_machine_done(&m->machine);
    vivi_consoles_done(&m->consoles);
    vivi_keeper_close(&m->keeper);
    vivi_streams_done(&m->streams);
    vivi_close(&m->pidfd);
    for (size_t i = 0; i < VIVI_OPS_KEPT; i++) {
        json_decref(m->results[i].error);
        json_decref(m->results[i].more);
    }
    vivi_apply_done(&m->apply);
    if (m->config_valid)
        vivi_config_done(&m->config);
    vivi_plan_done(&m->plan);
    free(m->probe);
    free(m->input_path);
    free(m->cache_dir);
    json_decref(m->doc);
    json_decref(m->running);
    vivi_state_done(&m->st);
    vivi_fds_done(&m->fds);
    vivi_vmdir_done(&m->dir);
    vivi_root_done(&m->root);
}
