/*
 * viv edit VM: the configuration in an editor.
 *
 * Theory of operation: a temporary file, the editor, and again until the text is taken or given up.
 * The file begins with a fixed number of comment lines, so that line numbers in messages are those
 * of the file although the message of the last round stands on top. Whoever changes nothing,
 * empties the file, or leaves the editor with an error has changed nothing. A text that cannot be
 * taken for a reason that no editing mends (somebody else was faster) is kept, and said where.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "cli/change.h"
#include "cli/escape.h"
#include "cli/out.h"

#define TEXT_MAX   (2u << 20)
#define WORDS_MAX  16
#define HEAD_LINES 4

struct edit {
    struct vivi_cli *c;
    viv_vm *vm;
    viv_config *base; /* owned; as it was when the editor was opened */
    char path[256];   /* of the temporary file; "" none */
    struct vivi_buf text, before;
};

static void edit_done(struct edit *e)
{
    if (e->path[0])
        (void)unlink(e->path);
    viv_config_free(e->base);
    vivi_buf_done(&e->text);
    vivi_buf_done(&e->before);
}
#define cleanup_edit VIVI_CLEANUP(edit_done)

/* ---- the file ---- */

/* One comment line; what would end it does not. */
static int comment(struct vivi_buf *out, const char *what, const char *text)
{
    char shown[1024];

    vivi_escape_line(text, shown, sizeof(shown));
    return vivi_buf_printf(out, "#%s%s%s%s\n", *what || *shown ? " " : "", what,
                           *what && *shown ? ": " : "", shown);
}

/* The lines on top: HEAD_LINES of them, whatever there is to say. */
static void put_head(const struct edit *e, const viv_error *why, struct vivi_buf *out)
{
    (void)comment(out, viv_vm_name(e->vm), "save and leave the editor to change the VM");
    (void)comment(out, "", "nothing happens when the text is unchanged or empty");
    (void)comment(out, why ? "not taken" : "", why ? why->message : "");
    (void)comment(out, why && why->hint[0] ? "hint" : "", why ? why->hint : "");
}

/* What stands behind the head (of which people may have deleted lines). */
static const char *body_of(const struct vivi_buf *text)
{
    const char *p = text->data ? text->data : "";

    while (*p == '#')
        p += strcspn(p, "\n") + (p[strcspn(p, "\n")] != '\0');
    return p;
}

static int show(const struct edit *e, struct vivi_buf *out, viv_error *err)
{
    cleanup_rec viv_rec *rec = NULL;
    cleanup_json json_t *doc = NULL;
    cleanup_json json_t *shown = NULL;
    int r = viv_config_show(e->base, &rec, err);

    if (r < 0)
        return r;
    doc = vivi_rec_to_json(rec);
    if (!doc)
        return vivi_fail_oom(err);
    r = vivi_config_present(doc, &shown, err);
    return r < 0 ? r : vivi_out_yaml(shown, out, err);
}

static int write_file(struct edit *e, const viv_error *why, viv_error *err)
{
    cleanup_buf struct vivi_buf whole = VIVI_BUF(TEXT_MAX);
    cleanup_close int fd = -1;
    const char *tmp = getenv("TMPDIR");

    put_head(e, why, &whole);
    (void)vivi_buf_str(&whole, body_of(&e->text));
    if (vivi_buf_check(&whole, err) < 0)
        return -err->code;
    if (!e->path[0]) {
        (void)snprintf(e->path, sizeof(e->path), "%s/viv-%.40s-XXXXXX.yaml",
                       tmp && *tmp ? tmp : "/tmp", viv_vm_name(e->vm));
        fd = mkstemps(e->path, 5);
        if (fd < 0) {
            int saved = errno;

            e->path[0] = '\0';
            return vivi_fail_errno(err, saved, "cannot make a temporary file");
        }
    } else {
        fd = open(e->path, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOFOLLOW);
    }
    if (fd < 0 || write(fd, whole.data, whole.len) != (ssize_t)whole.len)
        return vivi_fail_errno(err, errno, "%s", e->path);
    return 0;
}

static int read_file(struct edit *e, viv_error *err)
{
    vivi_buf_reset(&e->text);
    return vivi_read_file_at(AT_FDCWD, e->path, &e->text, err);
}

/* ---- the editor ---- */

/* Keys that interrupt are the editor's meanwhile: it may have its own use for them. 0 or an errno.
 */
static int spawn_and_wait(char *const words[], int *ret_status)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct sigaction before[2];
    posix_spawnattr_t attr;
    sigset_t keys;
    pid_t pid;
    int r = posix_spawnattr_init(&attr);

    if (r != 0)
        return r;
    (void)sigemptyset(&keys);
    (void)sigaddset(&keys, SIGINT);
    (void)sigaddset(&keys, SIGQUIT);
    (void)posix_spawnattr_setsigdefault(&attr, &keys);
    (void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
    (void)sigaction(SIGINT, &ignore, &before[0]);
    (void)sigaction(SIGQUIT, &ignore, &before[1]);
    r = posix_spawnp(&pid, words[0], NULL, &attr, words, environ);
    while (r == 0 && waitpid(pid, ret_status, 0) < 0)
        r = errno == EINTR ? 0 : errno;
    (void)sigaction(SIGINT, &before[0], NULL);
    (void)sigaction(SIGQUIT, &before[1], NULL);
    (void)posix_spawnattr_destroy(&attr);
    return r;
}

/* $VISUAL, $EDITOR or vi, possibly with arguments, and the file. No shell looks at it. */
static int run_editor(const struct edit *e, viv_error *err)
{
    const char *wanted = getenv("VISUAL");
    cleanup_free char *copy = NULL;
    char *words[WORDS_MAX + 2], *rest = NULL, path[sizeof(e->path)];
    size_t n = 0;
    int r, status = 0;

    if (!wanted || !*wanted)
        wanted = getenv("EDITOR");
    copy = strdup(wanted && *wanted ? wanted : "vi");
    if (!copy)
        return vivi_fail_oom(err);
    for (char *w = strtok_r(copy, " \t", &rest); w && n < WORDS_MAX;
         w = strtok_r(NULL, " \t", &rest))
        words[n++] = w;
    if (n == 0)
        return vivi_fail(err, VIV_E_INVALID, "$EDITOR is empty");
    memcpy(path, e->path, sizeof(path));
    words[n++] = path;
    words[n] = NULL;
    r = spawn_and_wait(words, &status);
    if (r != 0)
        return vivi_fail_errno(err, r, "cannot run the editor \"%s\"", words[0]);
    if (status != 0)
        return vivi_fail(err, VIV_E_CANCELLED, "the editor failed; nothing was changed");
    return 0;
}

/* ---- taking it ---- */

static int from_text(viv_vm *vm, const struct vivi_changing *how, viv_config **ret, viv_error *err)
{
    const struct edit *e = how->ctx;
    cleanup_doc viv_config *config = NULL;
    int r = viv_config_parse(e->text.data, e->text.len, NULL, &config, err);

    (void)vm;
    if (r >= 0)
        r = viv_config_set_base(config, e->base, err);
    if (r < 0)
        return r;
    *ret = take_ptr(config);
    return 0;
}

/* The reader of the file can mend it. */
static bool can_be_edited(int r)
{
    return r == -VIV_E_INVALID || r == -VIV_E_NOT_FOUND || r == -VIV_E_DENIED ||
           r == -VIV_E_UNSUPPORTED;
}

static int give_up(struct edit *e, const viv_error *err)
{
    int code = vivi_cli_fail(e->c, viv_vm_name(e->vm), err);

    vivi_cli_note(e->c, "hint: your text is kept in %s", e->path);
    e->path[0] = '\0';
    return code;
}

static int tell(struct edit *e, const viv_rec *result)
{
    cleanup_json json_t *j = vivi_rec_to_json(result);

    if (!j)
        return vivi_cli_oom(e->c);
    return vivi_changing_say(e->c, viv_vm_name(e->vm), j, false);
}

static int unchanged(struct edit *e)
{
    (void)printf("%s: unchanged\n", viv_vm_name(e->vm));
    return 0;
}

/* One look into the editor. > 0: done, *ret_code. */
static int round_of(struct edit *e, struct vivi_changing *how, viv_error *why, int *ret_code)
{
    cleanup_rec viv_rec *result = NULL;
    viv_error err = VIV_ERROR_INIT;
    const char *body;
    int r = write_file(e, why->code ? why : NULL, &err);

    vivi_buf_reset(&e->before);
    if (r >= 0)
        r = vivi_buf_str(&e->before, body_of(&e->text)) < 0 ? vivi_fail_oom(&err) : 0;
    if (r >= 0)
        r = run_editor(e, &err);
    if (r >= 0)
        r = read_file(e, &err);
    if (r < 0) {
        *ret_code = vivi_cli_fail(e->c, viv_vm_name(e->vm), &err);
        return 1;
    }
    body = body_of(&e->text);
    if (!body[strspn(body, " \n\r\t")] || !strcmp(body, e->before.data ? e->before.data : "")) {
        *ret_code = why->code ? vivi_cli_fail(e->c, viv_vm_name(e->vm), why) : unchanged(e);
        return 1;
    }
    r = vivi_changing_call(e->vm, how, &result, &err);
    if (r < 0 && can_be_edited(r)) {
        *why = err;
        return 0;
    }
    *ret_code = r < 0 ? give_up(e, &err) : tell(e, result);
    return 1;
}

int vivi_cmd_edit(struct vivi_cli *c)
{
    cleanup_vm viv_vm *vm = NULL;
    cleanup_edit struct edit e = {.c = c, .text = VIVI_BUF(TEXT_MAX), .before = VIVI_BUF(TEXT_MAX)};
    struct vivi_changing how = {.make = from_text, .ctx = &e};
    viv_error err = VIV_ERROR_INIT, why = VIV_ERROR_INIT;
    int code = vivi_changing_flags(c, &how);

    if (code)
        return code;
    if (c->args.n_words != 1)
        return vivi_cli_usage(c, NULL, "needs the name of one VM");
    code = vivi_cli_open_vm(c, c->args.words[0], VIV_OPEN_CREATE, &vm);
    if (code)
        return code;
    e.vm = vm;
    if (viv_vm_config(vm, how.live ? VIV_CONFIG_RUNNING : 0, &e.base, &err) < 0 ||
        show(&e, &e.text, &err) < 0)
        return vivi_cli_fail(c, viv_vm_name(vm), &err);
    while (round_of(&e, &how, &why, &code) == 0)
        ;
    return code;
}
