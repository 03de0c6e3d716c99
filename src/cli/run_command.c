/*
 * viv run … -- COMMAND: the VM lives for one command. It is started, the command runs when the
 * guest is ready, and the VM is stopped again, whatever the command said; the monitor does that if
 * we are gone before (the other end of a pipe tells).
 */
#include "base/fd.h"
#include "cli/foreground.h"
#include "cli/guest.h"
#include "cli/ops.h"
#include "cli/say.h"
#include "cli/start.h"

static int start(struct vivi_cli *c, viv_vm *vm, const struct vivi_foreground *how, int pipe_read)
{
    cleanup_opts viv_opts *o = NULL;
    viv_error err = VIV_ERROR_INIT;
    struct vivi_start s = {.wait = true, .timeout_ms = how->timeout_ms};
    struct vivi_verb verb = {.doing = "starting",
                             .begin = viv_vm_start,
                             .next = vivi_start_next,
                             .explain = vivi_explain_wait,
                             .starts = true,
                             .ctx = &s};

    if (vivi_foreground_opts(how, pipe_read, &o, &err) < 0)
        return vivi_cli_fail(c, viv_vm_name(vm), &err);
    verb.opts = o;
    return vivi_verb_run_vm(c, &verb, vm, false);
}

/* The command, from the VM's start to its stop: what viv exits with. */
static int run_to_end(struct vivi_cli *c, viv_vm *vm, const struct vivi_foreground *how, int caller)
{
    const struct vivi_verb stop = {.doing = "stopping", .begin = viv_vm_stop};
    bool terminal = isatty(STDIN_FILENO) && c->out_tty;
    struct vivi_guest_run g = {.vm = vm,
                               .argv = c->args.rest,
                               .input = terminal || !isatty(STDIN_FILENO),
                               .tty = terminal,
                               .connect_ms = -1};
    int code = start(c, vm, how, caller);

    if (code) { /* one that was not ready in time would go on: not without its command */
        viv_rec *gone = NULL;

        (void)viv_vm_kill(vm, NULL, NULL, &gone, NULL);
        viv_rec_free(gone);
        if (how->remove)
            (void)viv_vm_remove(vm, NULL, NULL, NULL, NULL);
        return code == 130 ? code : VIVI_EXIT_OWN;
    }
    code = vivi_guest_run(c, &g);
    c->code = 0;
    if (vivi_verb_run_vm(c, &stop, vm, false) != 0 && code == 0)
        code = VIVI_EXIT_OWN;
    /* Its monitor does so; whoever runs the same again does not meet it any more. */
    if (how->remove)
        (void)viv_vm_remove(vm, NULL, NULL, NULL, NULL);
    return code;
}

int vivi_run_command(struct vivi_cli *c, viv_vm *vm, const struct vivi_foreground *how)
{
    viv_error err = VIV_ERROR_INIT;
    int caller[2], code;

    if (vivi_pipe(caller, &err) < 0) {
        (void)vivi_cli_fail(c, viv_vm_name(vm), &err);
        return VIVI_EXIT_OWN;
    }
    code = run_to_end(c, vm, how, caller[0]);
    vivi_close(&caller[0]);
    vivi_close(&caller[1]); /* until here the caller lives */
    return code;
}
