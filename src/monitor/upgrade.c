/*
 * Another VMM for a machine that goes on, in the same VM record and under the same keeper.
 *
 * Theory of operation. The machine stands still, its state is written to the disk, the old VMM
 * ends, and the new one goes on from what was written. A hand-over from process to process would be
 * shorter, but needs two VMMs at once for the same disks, sockets and streams, and a VMM that dies
 * of it (a release does, by its own seccomp filter) takes the guest along. Here the state is on the
 * disk before anything is ended: when the new VMM does not take it, the old one does, and a death
 * of whoever it may be is made good by the next monitor.
 *
 *   save    pause, and the driver writes; a failure lets the guest go on
 *   saved   the old VMM is ended; from here on the state on the disk is the machine
 *   start   the new VMM goes on from it
 *   back    it did not: the old one does
 *
 * Disks are not copied: nobody writes to them in between.
 */
#include "monitor/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "store/snapshots.h"

#define DIR_NAME  "upgrade.tmp" /* no snapshot's name: it has a dot */
#define PLAN_FILE "upgrade.json"
#define PLAN_MAX  (2 * VIVI_DOCUMENT_MAX_BYTES)
#define VMM_FIELD "vmm.path"

/* ---- what the next monitor has to know ---- */

static int open_dir(const struct vivi_monitor *m, int *ret, viv_error *err)
{
    cleanup_close int all = -1;
    int r = vivi_snapshots_open(&m->dir, &all, err);

    return r < 0 ? r : vivi_open_dir(all, DIR_NAME, ret, err);
}

static void remove_dir(const struct vivi_monitor *m)
{
    cleanup_close int all = -1;

    if (vivi_snapshots_open(&m->dir, &all, NULL) == 0)
        (void)vivi_remove_tree_at(all, DIR_NAME, NULL);
}

/* What both VMMs begin with; keep: the new one is to be named in config.json, too. */
static json_t *make_plan(const struct vivi_monitor *m, const json_t *new_config, const char *keep)
{
    return json_pack("{s:O, s:O, s:s, s:s*, s:s, s:s}", "config",
                     json_object_get(m->running, "config"), "new_config", new_config, "old",
                     vivi_json_text(vivi_record_vmm(m), "path"), "keep", keep, "nonce", m->nonce,
                     "ip", m->st.ready ? m->st.ip : "");
}

static int make_dir(struct vivi_monitor *m, const json_t *new_config, const char *keep,
                    viv_error *err)
{
    cleanup_close int all = -1, one = -1;
    cleanup_json json_t *j = make_plan(m, new_config, keep);
    int r = j ? vivi_snapshots_open(&m->dir, &all, err) : vivi_fail_oom(err);

    if (r == 0)
        r = vivi_remove_tree_at(all, DIR_NAME, err);
    if (r == 0 && mkdirat(all, DIR_NAME, 0700) < 0)
        r = vivi_fail_errno(err, errno, DIR_NAME);
    if (r == 0)
        r = vivi_open_dir(all, DIR_NAME, &one, err);
    if (r == 0 && mkdirat(one, VIVI_SNAPSHOT_VMM, 0700) < 0)
        r = vivi_fail_errno(err, errno, DIR_NAME "/" VIVI_SNAPSHOT_VMM);
    return r < 0 ? r : vivi_json_write(one, PLAN_FILE, j, VIVI_DURABLE, err);
}

static int read_plan(const struct vivi_monitor *m, json_t **ret, viv_error *err)
{
    cleanup_close int fd = -1;
    int r = open_dir(m, &fd, err);

    return r < 0 ? r : vivi_json_read(fd, PLAN_FILE, PLAN_MAX, ret, err);
}

/* ---- prepare ---- */

static int not_older(const struct vivi_monitor *m, const struct vivi_launch *l, viv_error *err)
{
    const char *now = vivi_json_text(vivi_record_vmm(m), "version");

    if (strtoul(l->probe.version, NULL, 10) >= strtoul(now, NULL, 10))
        return 0;
    return vivi_fail(err, VIV_E_UNSUPPORTED, "%s %s cannot take over from %s", l->driver->name,
                     l->probe.version, now);
}

/* What runs, with the VMM that was asked for, else the one that the next start would take. */
static int new_config(const struct vivi_monitor *m, const char *vmm, json_t **ret, viv_error *err)
{
    cleanup_json json_t *next = NULL;
    cleanup_json json_t *doc = json_deep_copy(json_object_get(m->running, "config"));
    int r = vivi_json_read(m->dir.fd, VIVI_CONFIG_FILE, VIVI_DOCUMENT_MAX_BYTES, &next, err);

    if (r == 0 && !doc)
        r = vivi_fail_oom(err);
    if (r == 0 && !vmm)
        vmm = json_string_value(vivi_config_get(next, VMM_FIELD));
    if (r == 0)
        r = vivi_config_set(doc, VMM_FIELD, vmm, NULL, err);
    if (r < 0)
        return r;
    *ret = doc;
    doc = NULL;
    return 0;
}

int vivi_upgrade_prepare(struct vivi_monitor *m, const char *vmm, viv_error *err)
{
    cleanup_launch struct vivi_launch l = {0};
    cleanup_json json_t *doc = NULL;
    int r = vivi_machine_may(&m->machine, "upgrade", err);

    if (r == 0 && m->machine.driver->may_move)
        r = m->machine.driver->may_move(&m->config, vivi_json_text(vivi_record_vmm(m), "version"),
                                        NULL, err);
    if (r == 0)
        r = new_config(m, vmm, &doc, err);
    if (r == 0)
        r = vivi_start_prepare_from(
            m, &(struct vivi_launch_from){.doc = doc, .snapshot = DIR_NAME, .nonce = m->nonce}, &l,
            NULL, err);
    if (r == 0)
        r = not_older(m, &l, err);
    return r < 0 ? r : make_dir(m, doc, vmm, err);
}

/* ---- save ---- */

void vivi_upgrade_drop(struct vivi_monitor *m)
{
    if (m->upgrade == VIVI_UPGRADE_SAVE)
        remove_dir(m);
    m->upgrade = VIVI_UPGRADE_NONE;
}

static void end(struct vivi_monitor *m, const viv_error *err)
{
    m->upgrade = VIVI_UPGRADE_NONE;
    remove_dir(m);
    vivi_op_end(m, err);
    vivi_waits_check(m);
}

/* Nothing was ended yet: the guest goes on. */
static void go_on(struct vivi_monitor *m, const viv_error *err)
{
    viv_error why = VIV_ERROR_INIT;

    m->upgrade_error = *err;
    if (m->st.state == VIV_ST_SAVING)
        vivi_life_set_state(m, VIV_ST_PAUSED, NULL);
    if (m->st.state != VIV_ST_PAUSED) {
        end(m, err);
        return;
    }
    if (vivi_machine_resume(&m->machine, vivi_life_dop(m, VIVI_DOP_RESUME), &why) < 0) {
        m->dop[VIVI_DOP_RESUME] = 0;
        vivi_upgrade_resumed(m, &why);
    }
}

void vivi_upgrade_resumed(struct vivi_monitor *m, const viv_error *err)
{
    (void)err; /* why there was something to go on from says more */
    end(m, &m->upgrade_error);
}

void vivi_upgrade_now(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;

    m->upgrade = VIVI_UPGRADE_SAVE;
    vivi_op_step(m, "save");
    if (vivi_machine_pause(&m->machine, vivi_life_dop(m, VIVI_DOP_PAUSE), &err) < 0) {
        m->dop[VIVI_DOP_PAUSE] = 0;
        end(m, &err);
    }
}

void vivi_upgrade_paused(struct vivi_monitor *m, const viv_error *err)
{
    viv_error why = VIV_ERROR_INIT;
    char dir[PATH_MAX];

    if (err) {
        go_on(m, err);
        return;
    }
    (void)snprintf(dir, sizeof(dir), "%s/" VIVI_SNAPSHOTS_DIR "/" DIR_NAME "/" VIVI_SNAPSHOT_VMM,
                   m->dir.path);
    vivi_life_set_state(m, VIV_ST_SAVING, NULL);
    if (vivi_machine_snapshot(&m->machine, dir, vivi_life_dop(m, VIVI_DOP_SNAPSHOT), &why) < 0) {
        m->dop[VIVI_DOP_SNAPSHOT] = 0;
        go_on(m, &why);
    }
}

/* What was written is the machine from here on. */
static void end_old(struct vivi_monitor *m)
{
    m->upgrade = VIVI_UPGRADE_SAVED;
    m->op.starting_again = true;
    vivi_op_step(m, "saved");
    vivi_life_stop(m, &(struct vivi_stop_how){.cause = VIVI_CAUSE_KILL, .may_kill = true});
}

void vivi_upgrade_saved(struct vivi_monitor *m, const viv_error *err)
{
    if (err)
        go_on(m, err);
    else
        end_old(m);
}

/* ---- go on ---- */

static int launch(struct vivi_monitor *m, bool new, viv_error *err)
{
    cleanup_launch struct vivi_launch l = {0};
    cleanup_json json_t *j = NULL;
    int r = read_plan(m, &j, err);

    if (r == 0)
        r = vivi_start_prepare_from(
            m,
            &(struct vivi_launch_from){.doc = json_object_get(j, new ? "new_config" : "config"),
                                       .snapshot = DIR_NAME,
                                       .nonce = vivi_json_text(j, "nonce"),
                                       .vmm = new ? NULL : vivi_json_text(j, "old")},
            &l, NULL, err);
    if (r < 0)
        return r;
    (void)snprintf(l.ip, sizeof(l.ip), "%s", vivi_json_text(j, "ip"));
    vivi_start_install(m, &l);
    m->op.starting_again = true;
    m->op.timeout_ms = VIVI_START_DEADLINE_MS;
    vivi_start_commit(
        m, &(struct vivi_start_how){.how = VIVI_HOW_RESTORE, .timeout_ms = VIVI_NO_TIMEOUT});
    return 0;
}

static void go_back(struct vivi_monitor *m, const char *text)
{
    viv_error err = VIV_ERROR_INIT;

    (void)vivi_fail(&m->upgrade_error, VIV_E_VMM,
                    "the new VMM does not take it (%.200s); the old one goes on", text);
    m->upgrade = VIVI_UPGRADE_BACK;
    vivi_op_step(m, "back");
    if (launch(m, false, &err) == 0)
        return;
    m->upgrade = VIVI_UPGRADE_NONE; /* what was written stays */
    vivi_op_end(m, &err);
    vivi_waits_check(m);
}

static void go_forth(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;

    m->upgrade = VIVI_UPGRADE_START;
    vivi_op_step(m, "start");
    if (launch(m, true, &err) < 0)
        go_back(m, err.message);
}

/* The next start takes the VMM that was asked for, too. */
static int keep_vmm(struct vivi_monitor *m, viv_error *err)
{
    cleanup_json json_t *plan = NULL;
    cleanup_json json_t *doc = NULL;
    const char *vmm;
    int r = read_plan(m, &plan, err);

    vmm = json_string_value(json_object_get(plan, "keep"));
    if (r < 0 || !vmm)
        return r;
    r = vivi_json_read(m->dir.fd, VIVI_CONFIG_FILE, VIVI_DOCUMENT_MAX_BYTES, &doc, err);
    if (r == 0)
        r = vivi_config_set(doc, VMM_FIELD, vmm, NULL, err);
    if (r == 0)
        r = vivi_config_store(m->dir.fd, doc, &m->st, err);
    if (r == 0)
        vivi_record_state(m);
    return r < 0 ? vivi_wrap(err, r, "it goes on under the new VMM, but the next start will not")
                 : 0;
}

void vivi_upgrade_runs(struct vivi_monitor *m)
{
    viv_error err = VIV_ERROR_INIT;

    if (m->upgrade == VIVI_UPGRADE_BACK)
        end(m, &m->upgrade_error);
    else
        end(m, keep_vmm(m, &err) < 0 ? &err : NULL);
}

void vivi_upgrade_ended(struct vivi_monitor *m, const char *text)
{
    viv_error err = VIV_ERROR_INIT;

    switch (m->upgrade) {
    case VIVI_UPGRADE_SAVED: go_forth(m); return;
    case VIVI_UPGRADE_START: go_back(m, text[0] ? text : m->st.reason); return;
    case VIVI_UPGRADE_NONE:
    case VIVI_UPGRADE_SAVE:
    case VIVI_UPGRADE_BACK: break;
    }
    if (m->upgrade != VIVI_UPGRADE_BACK)
        remove_dir(m);
    m->upgrade = VIVI_UPGRADE_NONE;
    (void)vivi_fail(&err, VIV_E_VMM, "its VMM ended meanwhile (%s)%s%s", m->st.reason,
                    text[0] ? ": " : "", text);
    vivi_op_end(m, &err);
}

/* ---- a former monitor ---- */

void vivi_upgrade_resume(struct vivi_monitor *m)
{
    bool lives = vivi_state_has_vmm(m->st.state);
    viv_error err = VIV_ERROR_INIT;

    (void)vivi_fail(&err, VIV_E_CANCELLED, "it was interrupted; the old VMM goes on");
    if (strcmp(m->op.step, "saved") == 0) {
        if (lives)
            end_old(m);
        else
            go_forth(m);
    } else if (strcmp(m->op.step, "start") == 0) {
        m->upgrade = VIVI_UPGRADE_START;
        if (lives)
            vivi_upgrade_runs(m);
        else
            go_back(m, m->st.reason_text);
    } else if (strcmp(m->op.step, "back") == 0) {
        m->upgrade = VIVI_UPGRADE_BACK;
        m->upgrade_error = err;
        if (lives)
            vivi_upgrade_runs(m);
        else
            vivi_upgrade_ended(m, m->st.reason_text);
    } else if (lives) {
        m->upgrade = VIVI_UPGRADE_SAVE;
        go_on(m, &err);
    } else {
        vivi_upgrade_ended(m, m->st.reason_text);
    }
}
