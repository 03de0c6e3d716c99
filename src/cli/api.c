/*
 * viv api: one call of the VMM's own API. What it answers is printed as it came; for people it is
 * laid out, and what could move their cursor is made visible.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/escape.h"
#include "cli/out.h"
#include "cli/say.h"

#define BODY_MAX  (1u << 20)
#define READ_SIZE 65536

struct call {
    const char *method, *endpoint, *body; /* body NULL: none */
    const viv_opts *opts;
};

static int begin_call(struct vivi_job *job, const void *ctx)
{
    const struct call *a = ctx;

    return viv_vm_api(job->vm, a->method, a->endpoint, a->body, a->opts, &job->op, NULL, &job->err);
}

/* ---- the answer ---- */

static void print_visible(const char *text)
{
    struct vivi_buf out = VIVI_BUF(VIVI_OUT_MAX);
    struct vivi_escape escape = {.n_held = 0};

    vivi_escape_feed(&escape, text, strlen(text), &out);
    vivi_escape_end(&escape, &out);
    (void)printf("%s\n", out.data && !out.failed ? out.data : text);
    vivi_buf_done(&out);
}

static void print_for_people(const char *body, const json_t *doc)
{
    cleanup_free char *text =
        doc ? json_dumps(doc, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_PRESERVE_ORDER) : NULL;

    print_visible(text ? text : body);
}

static void say_answer(struct vivi_cli *c, const struct vivi_job *job)
{
    const char *body = viv_rec_str(job->result, "body");
    cleanup_json json_t *doc = body ? json_loads(body, JSON_DECODE_ANY, NULL) : NULL;

    if (!body || !*body)
        return;
    if (json_is_object(doc) && (c->template || c->format == VIVI_FORMAT_YAML))
        (void)vivi_cli_record(c, json_incref(doc));
    else if (c->out_tty && c->format == VIVI_FORMAT_TABLE)
        print_for_people(body, doc);
    else
        (void)printf("%s\n", body);
}

/* ---- the body ---- */

static int read_all(int fd, const char *what, struct vivi_buf *buf, viv_error *err)
{
    for (;;) {
        ssize_t n;

        if (vivi_buf_reserve(buf, READ_SIZE) < 0)
            return vivi_fail(err, VIV_E_INVALID, "%s: larger than %u bytes", what, BODY_MAX);
        n = read(fd, buf->data + buf->len, READ_SIZE);
        if (n < 0)
            return vivi_fail_errno(err, errno, "%s", what);
        buf->data[buf->len + (size_t)n] = '\0';
        if (n == 0)
            return 0;
        buf->len += (size_t)n;
    }
}

/* "-" is standard input, "@FILE" a file, anything else the body itself. */
static int read_body(const char *word, struct vivi_buf *buf, const char **ret, viv_error *err)
{
    bool std = strcmp(word, "-") == 0;
    cleanup_close int fd = -1;
    int r;

    *ret = word;
    if (!std && word[0] != '@')
        return 0;
    fd = std ? -1 : open(word + 1, O_RDONLY | O_CLOEXEC);
    if (!std && fd < 0)
        return vivi_fail_errno(err, errno, "%s", word + 1);
    r = read_all(std ? STDIN_FILENO : fd, std ? "(standard input)" : word + 1, buf, err);
    *ret = buf->data;
    return r;
}

int vivi_cmd_api(struct vivi_cli *c)
{
    cleanup_opts viv_opts *o = NULL;
    cleanup_buf struct vivi_buf buf = VIVI_BUF(BODY_MAX + READ_SIZE);
    const char *const *w = c->args.words;
    viv_error err = VIV_ERROR_INIT;
    struct call call = {.body = NULL};
    const struct vivi_verb verb = {.doing = "asking the VMM of",
                                   .begin_with = begin_call,
                                   .say = say_answer,
                                   .own_form = true,
                                   .ctx = &call};

    if (c->args.n_words < 3 || c->args.n_words > 4)
        return vivi_cli_usage(c, "viv help api",
                              "needs a VM, GET or PUT, and an endpoint: viv api web GET vm.info");
    if (viv_opts_new(&o, &err) < 0 || vivi_verb_timeout(c, o, &err) < 0 ||
        (c->args.n_words == 4 && read_body(w[3], &buf, &call.body, &err) < 0))
        return vivi_cli_fail(c, NULL, &err);
    call.method = w[1];
    call.endpoint = w[2];
    call.opts = o;
    return vivi_verb_run_on(c, &verb, w, 1);
}
