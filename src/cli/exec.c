/* viv exec, viv shell */
#include <string.h>

#include "cli/guest.h"

static int no_terminal(struct vivi_cli *c, const char *which)
{
    (void)vivi_cli_usage(c, "without -t, programs are run over pipes",
                         "a terminal is needed, but standard %s is none", which);
    return VIVI_EXIT_OWN;
}

static int run_in(struct vivi_cli *c, struct vivi_guest_run *g)
{
    cleanup_vm viv_vm *vm = NULL;
    viv_error err = VIV_ERROR_INIT;

    if (g->tty && !isatty(STDIN_FILENO))
        return no_terminal(c, "input");
    if (g->tty && !c->out_tty)
        return no_terminal(c, "output");
    if (vivi_cli_open(c, VIV_OPEN_CREATE))
        return VIVI_EXIT_OWN;
    if (viv_lookup(c->v, c->args.words[0], &vm, &err) < 0) {
        (void)vivi_cli_fail(c, c->args.words[0], &err);
        return VIVI_EXIT_OWN;
    }
    g->vm = vm;
    g->connect_ms = -1;
    g->args = &c->args;
    return vivi_guest_run(c, g);
}

int vivi_cmd_exec(struct vivi_cli *c)
{
    struct vivi_guest_run g = {.argv = c->args.rest};

    if (c->args.n_words != 1 || c->args.n_rest == 0) {
        (void)vivi_cli_usage(c, "viv exec VM -- uname -a; viv shell VM opens a shell",
                             "needs one VM, then -- and the command");
        return VIVI_EXIT_OWN;
    }
    g.tty = vivi_args_has(&c->args, "--tty");
    g.input = g.tty || vivi_args_has(&c->args, "--interactive");
    return run_in(c, &g);
}

int vivi_cmd_shell(struct vivi_cli *c)
{
    struct vivi_guest_run g = {.input = true};

    if (c->args.n_words != 1 || c->args.n_rest != 0) {
        (void)vivi_cli_usage(c, "viv exec VM -- CMD runs one command", "needs the name of one VM");
        return VIVI_EXIT_OWN;
    }
    /* From a script the shell reads its commands from the pipe. */
    g.tty = isatty(STDIN_FILENO) && c->out_tty;
    return run_in(c, &g);
}
