/* viv cp */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "cli/ops.h"
#include "cli/signals.h"

struct place {
    char vm[80]; /* "" = here */
    const char *path;
    bool stream; /* "-" */
};

/* "web:/etc/motd"; a local name with a colon is written ./a:b. */
static void parse_place(const char *word, struct place *ret)
{
    const char *colon = strchr(word, ':'), *slash = strchr(word, '/');

    *ret = (struct place){.path = word, .stream = strcmp(word, "-") == 0};
    if (!colon || colon == word || (slash && slash < colon) ||
        (size_t)(colon - word) >= sizeof(ret->vm))
        return;
    (void)snprintf(ret->vm, sizeof(ret->vm), "%.*s", (int)(colon - word), word);
    ret->path = colon + 1;
}

static int check_places(struct vivi_cli *c, const struct place *from, const struct place *to)
{
    if (*from->vm && *to->vm)
        return vivi_cli_usage(c, "through this host: viv cp A:FILE - | viv cp - B:FILE",
                              "one side has to be on this host");
    if (!*from->vm && !*to->vm)
        return vivi_cli_usage(c, "VM:PATH is in the guest; ./a:b is a file of this host",
                              "one side has to be in a guest: VM:PATH");
    if (*(*from->vm ? from : to)->path != '\0')
        return 0;
    return vivi_cli_usage(c, NULL, "the path in the guest is empty");
}

static int make_opts(struct vivi_cli *c, const struct place *from, const struct place *to,
                     viv_opts **ret, viv_error *err)
{
    cleanup_opts viv_opts *o = NULL;
    int r = viv_opts_new(&o, err);

    if (r == 0 && (from->stream || to->stream))
        r = viv_opts_set_i64(o, "fd", from->stream ? STDIN_FILENO : STDOUT_FILENO, err);
    if (r == 0 && *to->vm && vivi_args_has(&c->args, "--mkdir"))
        r = viv_opts_set_bool(o, "mkdir", 1, err);
    if (r == 0)
        r = vivi_verb_timeout(c, o, err);
    if (r < 0)
        return r;
    *ret = take_ptr(o);
    return 0;
}

static int attend(struct vivi_cli *c, viv_op *op, viv_error *err)
{
    int signal_fd = -1, r = vivi_signals_catch(&signal_fd, err);

    while (r >= 0 && !viv_op_done(op)) {
        struct pollfd fds[2] = {{.fd = viv_fd(c->v), .events = POLLIN},
                                {.fd = signal_fd, .events = POLLIN}};

        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return vivi_fail_errno(err, errno, "poll");
        if (vivi_signals_next())
            return vivi_fail(err, VIV_E_CANCELLED, "interrupted: what was begun is undone");
        r = viv_dispatch(c->v, err);
    }
    return r < 0 ? r : 0;
}

static int tell(struct vivi_cli *c, const char *vm, const viv_rec *result)
{
    const char *skipped = viv_rec_str(result, "first_skipped");
    int64_t n = 0;

    if (vivi_cli_structured(c))
        return vivi_cli_rec(c, result);
    if (skipped && viv_rec_i64(result, "skipped", &n) == 0)
        vivi_cli_note(c, "%s: %" PRId64 " left out; the first: %s", vm, n, skipped);
    return 0;
}

static int copy(struct vivi_cli *c, const struct place *from, const struct place *to)
{
    const char *name = *from->vm ? from->vm : to->vm;
    cleanup_vm viv_vm *vm = NULL;
    cleanup_opts viv_opts *o = NULL;
    cleanup_rec viv_rec *result = NULL;
    viv_error err = VIV_ERROR_INIT;
    viv_op *op = NULL;
    int r = viv_lookup(c->v, name, &vm, &err);

    if (r == 0)
        r = make_opts(c, from, to, &o, &err);
    if (r == 0 && *to->vm)
        r = viv_vm_copy_to(vm, from->stream ? NULL : from->path, to->path, o, &op, NULL, &err);
    else if (r == 0)
        r = viv_vm_copy_from(vm, from->path, to->stream ? NULL : to->path, o, &op, NULL, &err);
    if (r == 0)
        r = attend(c, op, &err);
    if (r == 0)
        r = viv_op_wait(op, 0, &result, &err);
    viv_op_free(op);
    return r < 0 ? vivi_cli_fail(c, name, &err) : tell(c, name, result);
}

int vivi_cmd_cp(struct vivi_cli *c)
{
    struct place from, to;
    int code;

    if (c->args.n_words != 2)
        return vivi_cli_usage(c, "viv cp file web:/tmp; viv cp web:/etc .",
                              "needs what is copied and where to");
    parse_place(c->args.words[0], &from);
    parse_place(c->args.words[1], &to);
    code = check_places(c, &from, &to);
    if (code == 0)
        code = vivi_cli_open(c, VIV_OPEN_CREATE);
    return code ? code : copy(c, &from, &to);
}
