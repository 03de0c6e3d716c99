#include "monitor/reason.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/* "qemu ended at once with exit code 1: its last line" */
static void status_text(const struct vivi_end_facts *f, char ret[VIVI_END_TEXT_MAX])
{
    const char *when = f->ran ? "" : " at once";
    const char *colon = f->last_line[0] ? ": " : "";

    if (!f->status_known)
        (void)snprintf(ret, VIVI_END_TEXT_MAX, "nobody could see how %s ended", f->vmm);
    else if (WIFSIGNALED(f->wstatus))
        (void)snprintf(ret, VIVI_END_TEXT_MAX, "%s ended%s by signal %d (%s)%s%s", f->vmm, when,
                       WTERMSIG(f->wstatus),
                       WTERMSIG(f->wstatus) == SIGSYS ? "its seccomp filter forbids what it did"
                                                      : strsignal(WTERMSIG(f->wstatus)),
                       colon, f->last_line);
    else
        (void)snprintf(ret, VIVI_END_TEXT_MAX, "%s ended%s with exit code %d%s%s", f->vmm, when,
                       WEXITSTATUS(f->wstatus), colon, f->last_line);
}

static enum vivi_reason by_status(const struct vivi_end_facts *f)
{
    if (!f->status_known)
        return VIVI_REASON_UNOBSERVED;
    return WIFSIGNALED(f->wstatus) ? VIVI_REASON_VMM_SIGNAL : VIVI_REASON_VMM_EXIT;
}

/* A stop in flight explains the end, unless the VMM died of a signal that no rung had sent yet. */
static bool crashed_while_stopping(const struct vivi_end_facts *f)
{
    return f->cause == VIVI_CAUSE_STOP && f->rung != VIVI_RUNG_SIGTERM &&
           f->rung != VIVI_RUNG_SIGKILL && f->status_known && WIFSIGNALED(f->wstatus) &&
           f->ending == VIVI_REASON_NONE;
}

static void set(enum vivi_reason reason, const char *text, enum vivi_reason *ret,
                char ret_text[VIVI_END_TEXT_MAX])
{
    *ret = reason;
    (void)snprintf(ret_text, VIVI_END_TEXT_MAX, "%s", text ? text : "");
}

void vivi_end_reason(const struct vivi_end_facts *f, enum vivi_reason *ret,
                     char ret_text[VIVI_END_TEXT_MAX])
{
    if (!crashed_while_stopping(f)) {
        switch (f->cause) {
        case VIVI_CAUSE_STOP: set(VIVI_REASON_STOP, "", ret, ret_text); return;
        case VIVI_CAUSE_KILL: set(VIVI_REASON_KILL, "", ret, ret_text); return;
        case VIVI_CAUSE_START_TIMEOUT:
            set(VIVI_REASON_START_TIMEOUT, "it was not running in time", ret, ret_text);
            return;
        case VIVI_CAUSE_START_FAILED:
            set(VIVI_REASON_SPAWN_FAILED, f->start_error, ret, ret_text);
            return;
        case VIVI_CAUSE_NONE: break;
        }
    }
    if (f->ending != VIVI_REASON_NONE) {
        set(f->ending, f->ending_text, ret, ret_text);
        return;
    }
    *ret = by_status(f);
    status_text(f, ret_text);
}

bool vivi_ending_counts(enum vivi_reason told, enum vivi_reason now)
{
    return told == VIVI_REASON_NONE ||
           (now == VIVI_REASON_VMM_EXIT &&
            (told == VIVI_REASON_GUEST_POWEROFF || told == VIVI_REASON_VMM_EXIT));
}
