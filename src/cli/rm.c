/* viv rm */
#include "cli/say.h"
#include "cli/select.h"

static void say_removed(struct vivi_cli *c, const struct vivi_job *job)
{
    (void)c;
    (void)printf("%s: removed\n", vivi_job_name(job));
}

/* Names that exist, with --ignore-missing. 0 or the exit code. */
static int present(struct vivi_cli *c, const char **ret, size_t *ret_n)
{
    viv_error err = VIV_ERROR_INIT;

    for (size_t i = 0; i < c->args.n_words; i++) {
        cleanup_vm viv_vm *vm = NULL;
        int r = viv_lookup(c->v, c->args.words[i], &vm, &err);

        if (r != -VIV_E_NOT_FOUND)
            ret[(*ret_n)++] = c->args.words[i];
    }
    return 0;
}

int vivi_cmd_rm(struct vivi_cli *c)
{
    cleanup_opts viv_opts *o = NULL;
    cleanup_free const char **words = NULL;
    viv_error err = VIV_ERROR_INIT;
    size_t n = 0;
    int code;
    struct vivi_verb verb = {.doing = "removing",
                             .states = VIVI_STATES_IDLE "|broken|" VIVI_STATES_ALIVE,
                             .begin = viv_vm_remove,
                             .say = say_removed};

    if (viv_opts_new(&o, &err) < 0 ||
        (vivi_args_has(&c->args, "--force") && viv_opts_set_bool(o, "force", 1, &err) < 0))
        return vivi_cli_fail(c, NULL, &err);
    verb.opts = o;
    if (!vivi_args_has(&c->args, "--ignore-missing") || c->args.n_words == 0)
        return vivi_verb_run(c, &verb);
    words = calloc(c->args.n_words, sizeof(*words));
    code = words ? vivi_cli_open(c, VIV_OPEN_CREATE) : vivi_cli_usage(c, NULL, "out of memory");
    if (code)
        return code;
    code = present(c, words, &n);
    return code || n == 0 ? code : vivi_verb_run_on(c, &verb, words, n);
}
