/*
 * Theory of operation: state.json is written by a monitor while there is one. When keeper and
 * monitor are gone, or the host has booted anew, the file may be older than the truth. Reading
 * verbs must tell the truth without starting anybody, so it is derived here: from the host's boot
 * id, the recorded process, the lock (held: a keeper or monitor is about to write) and the keeper's
 * exits.log. A status nobody saw is never guessed.
 */
#include "store/store.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

int vivi_host_now(struct vivi_host_now *ret, viv_error *err)
{
    struct vivi_host_now now = {.pid_ns = 0};
    int r = vivi_host_boot_id(now.boot_id, err);

    if (r == 0)
        r = vivi_pid_namespace(&now.pid_ns, err);
    if (r < 0)
        return r;
    *ret = now;
    return 0;
}

static void ended(struct vivi_state *s, enum vivi_reason reason, const char *text)
{
    s->state = vivi_reason_is_failure(reason) ? VIV_ST_FAILED : VIV_ST_STOPPED;
    s->ready = false;
    s->ready_proof[0] = '\0';
    s->ready_at_ms = s->ready_after_ms = 0;
    s->ip[0] = '\0';
    s->ip_reachable = false;
    s->vmm = s->keeper = s->monitor = (struct vivi_proc_id){0};
    (void)snprintf(s->reason, sizeof(s->reason), "%s", vivi_reason_name(reason));
    (void)snprintf(s->reason_text, sizeof(s->reason_text), "%s", text);
}

/* What the keeper saw of the end of this run. */
static void ended_by_record(struct vivi_state *s, const struct vivi_exit_rec *rec)
{
    char text[80];

    if (!rec->exited || !rec->status_known) {
        ended(s, VIVI_REASON_UNOBSERVED, "the VMM is gone and nobody could see how it ended");
    } else if (WIFSIGNALED(rec->wstatus)) {
        (void)snprintf(text, sizeof(text), "the VMM was ended by signal %d",
                       WTERMSIG(rec->wstatus));
        ended(s, VIVI_REASON_VMM_SIGNAL, text);
    } else {
        (void)snprintf(text, sizeof(text), "the VMM ended with exit code %d",
                       WEXITSTATUS(rec->wstatus));
        ended(s, VIVI_REASON_VMM_EXIT, text);
    }
    s->ended_at_ms = rec->exited_at_ms;
}

/* A VMM of this host boot and pid namespace is recorded or expected, and it is not alive. */
static int derive_gone(int vm_fd, struct vivi_state *s, viv_error *err)
{
    struct vivi_exit_rec rec = {0};
    int r = vivi_lock_test(vm_fd, VIVI_LOCK_FILE, err);

    if (r != 0)
        return r < 0 ? r : 0; /* held: whoever holds it is about to find out */
    r = vivi_exits_find(vm_fd, "vmm", s->run, &rec, err);
    if (r < 0)
        return r;
    if (r == 0) {
        ended(s, VIVI_REASON_SPAWN_FAILED, "the start was interrupted before the VMM ran");
        return 1;
    }
    if (!rec.exited && vivi_proc_alive(&rec.proc)) {
        s->vmm = rec.proc; /* spawned, but the monitor died before it recorded it */
        return 1;
    }
    ended_by_record(s, &rec);
    return 1;
}

int vivi_state_derive(int vm_fd, const struct vivi_host_now *now, struct vivi_state *s,
                      viv_error *err)
{
    if (!vivi_state_has_vmm(s->state))
        return 0;
    if (s->host_boot_id[0] && strcmp(s->host_boot_id, now->boot_id) != 0) {
        ended(s, VIVI_REASON_HOST_REBOOT, "the host has booted since");
        return 1;
    }
    if (s->pid_ns != 0 && s->pid_ns != now->pid_ns)
        return 0; /* its pids mean nothing here */
    if (s->vmm.pid != 0 && vivi_proc_alive(&s->vmm))
        return 0;
    return derive_gone(vm_fd, s, err);
}

int vivi_state_read_truth(const struct vivi_vmdir *d, struct vivi_state *ret, bool *ret_derived,
                          viv_error *err)
{
    cleanup_state struct vivi_state s = {.extra = NULL};
    struct vivi_host_now now;
    int r = vivi_state_read(d->fd, &s, err);

    if (r < 0)
        return r;
    r = vivi_host_now(&now, err);
    if (r == 0)
        r = vivi_state_derive(d->fd, &now, &s, err);
    if (r < 0)
        return r;
    if (ret_derived)
        *ret_derived = r > 0;
    *ret = s;
    s.extra = NULL;
    return 0;
}
