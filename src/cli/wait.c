/* viv wait */
#include <string.h>

#include "cli/say.h"
#include "cli/start.h"
#include "model/model.h"
#include "model/parse.h"

static void say_ready(struct vivi_cli *c, const struct vivi_job *job)
{
    vivi_say_ready(c, stdout, job);
}

static void say_state(struct vivi_cli *c, const struct vivi_job *job)
{
    const char *state = viv_rec_str(job->result, "state");

    (void)c;
    (void)printf("%s: %s\n", vivi_job_name(job), state ? state : "reached");
}

static bool is_condition(const char *word)
{
    enum viv_state state;

    return !strcmp(word, "ready") || !strcmp(word, "exit") || vivi_state_parse(word, &state) == 0;
}

/* The last word is what to wait for when it can be nothing else than that. */
static const char *take_condition(struct vivi_cli *c, size_t *ret_n)
{
    size_t n = c->args.n_words;

    *ret_n = n;
    if (n < 2 || !is_condition(c->args.words[n - 1]))
        return "ready";
    *ret_n = n - 1;
    return c->args.words[n - 1];
}

/* Without a time of the command line, each VM has that of its configuration. */
static int begin_ready(viv_vm *m, const viv_opts *o, viv_op **ret_op, viv_rec **ret_result,
                       viv_error *err)
{
    const struct vivi_start as_configured = {.wait = true};

    (void)o;
    (void)ret_result; /* never asked for */
    return vivi_start_await(&as_configured, m, ret_op, err);
}

int vivi_cmd_wait(struct vivi_cli *c)
{
    cleanup_opts viv_opts *o = NULL;
    viv_error err = VIV_ERROR_INIT;
    size_t n;
    const char *until = take_condition(c, &n);
    bool ready = !strcmp(until, "ready");
    int64_t ms;
    int given = vivi_args_duration(&c->args, "--timeout", &ms, &err);
    struct vivi_verb verb = {.doing = "waiting for",
                             .begin = ready && !given ? begin_ready : viv_vm_wait,
                             .say = ready ? say_ready : say_state,
                             .explain = ready ? vivi_explain_wait : NULL,
                             .starts = true};

    if (given < 0 || viv_opts_new(&o, &err) < 0 ||
        (given && viv_opts_set_i64(o, "timeout_ms", ms, &err) < 0) ||
        viv_opts_set_str(o, "until", until, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    verb.opts = o;
    return vivi_verb_run_on(c, &verb, c->args.words, n);
}
