/*
 * Theory of operation: ops.log is a text of lines "begin <op> <verb> <wall ms>", "step <op> <step>
 * <wall ms>", "end <op> <code> <wall ms>", appended by whoever owns the VM. What began and did not
 * end is what an adopting monitor has to finish or roll back. A torn last line says nothing. Ended
 * operations are forgotten when a new one finds the file longer than KEPT_BYTES.
 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define OPS_FILE       "ops.log"
#define KEPT_BYTES     (64u << 10)
#define READ_MAX_BYTES (1u << 20)
#define LINE_MAX_BYTES 160

struct line {
    char what[8], op[40], word[40]; /* word: verb, step or code */
};

/* One word up to a space; false when it is empty or too long. */
static bool word(const char **p, char *ret, size_t cap)
{
    size_t n = strcspn(*p, " ");

    if (n == 0 || n >= cap)
        return false;
    memcpy(ret, *p, n);
    ret[n] = '\0';
    *p += n;
    *p += **p == ' ';
    return true;
}

static bool parse(const char *text, struct line *ret)
{
    const char *p = text;

    return word(&p, ret->what, sizeof(ret->what)) && word(&p, ret->op, sizeof(ret->op)) &&
           word(&p, ret->word, sizeof(ret->word));
}

/* Calls each() for every whole line. */
static int scan(int vm_fd, void (*each)(const struct line *l, void *arg), void *arg, viv_error *err)
{
    cleanup_buf struct vivi_buf buf = VIVI_BUF(READ_MAX_BYTES);
    viv_error why = VIV_ERROR_INIT;
    struct line l;
    char *p, *nl;
    int r = vivi_read_file_at(vm_fd, OPS_FILE, &buf, &why);

    if (r == -VIV_E_NOT_FOUND)
        return 0;
    if (r < 0) {
        if (err)
            *err = why;
        return r;
    }
    for (p = buf.data; p && (nl = memchr(p, '\n', (size_t)(buf.data + buf.len - p))); p = nl + 1) {
        *nl = '\0';
        if (parse(p, &l))
            each(&l, arg);
    }
    return 0;
}

struct search {
    struct vivi_journal_found at; /* at.what.op "": none */
    const char *op;               /* wanted, NULL = the last one that is not ended */
};

static void look(const struct line *l, void *arg)
{
    struct search *s = arg;
    bool same = strcmp(s->at.what.op, l->op) == 0;

    if (s->op && strcmp(s->op, l->op) != 0)
        return;
    if (strcmp(l->what, "begin") == 0) {
        s->at = (struct vivi_journal_found){.ended = false};
        memcpy(s->at.what.op, l->op, sizeof(l->op));
        (void)snprintf(s->at.what.verb, sizeof(s->at.what.verb), "%.*s",
                       (int)sizeof(s->at.what.verb) - 1, l->word);
    } else if (same && strcmp(l->what, "step") == 0) {
        memcpy(s->at.what.step, l->word, sizeof(l->word));
    } else if (same && strcmp(l->what, "end") == 0) {
        s->at.ended = true;
        s->at.code = (int)strtol(l->word, NULL, 10);
    }
}

int vivi_journal_find(int vm_fd, const char *op, struct vivi_journal_found *ret, viv_error *err)
{
    struct search s = {.op = op};
    int r = scan(vm_fd, look, &s, err);

    if (r < 0 || !s.at.what.op[0])
        return r;
    *ret = s.at;
    return 1;
}

int vivi_journal_unfinished(int vm_fd, struct vivi_journal_open *ret, viv_error *err)
{
    struct search s = {.op = NULL};
    int r = scan(vm_fd, look, &s, err);

    if (r < 0 || !s.at.what.op[0] || s.at.ended)
        return r;
    *ret = s.at.what;
    return 1;
}

static int append(int vm_fd, const struct line *l, enum vivi_durability how, viv_error *err)
{
    char text[LINE_MAX_BYTES];
    cleanup_close int fd = -1;
    int n = snprintf(text, sizeof(text), "%s %s %s %" PRId64 "\n", l->what, l->op, l->word,
                     vivi_wall_ms());
    int r = vivi_append_at(vm_fd, OPS_FILE, text, (size_t)n, err);

    if (r < 0 || how == VIVI_FAST)
        return r;
    fd = openat(vm_fd, OPS_FILE, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fsync(fd) < 0)
        return vivi_fail_errno(err, errno, "cannot write " OPS_FILE);
    return 0;
}

/* Fills l; names that would not read back as they are written are our own bug, told as INVALID. */
static int fill(struct line *l, const char *what, const char *op, const char *text, viv_error *err)
{
    if (!op[0] || strlen(op) >= sizeof(l->op) || strpbrk(op, " \n") || !text[0] ||
        strlen(text) >= sizeof(l->word) || strpbrk(text, " \n"))
        return vivi_fail(err, VIV_E_INVALID, "journal: \"%s\" of \"%s\" cannot be recorded", text,
                         op);
    (void)snprintf(l->what, sizeof(l->what), "%s", what);
    (void)snprintf(l->op, sizeof(l->op), "%s", op);
    (void)snprintf(l->word, sizeof(l->word), "%s", text);
    return 0;
}

/* Ended operations have no use any more but for clients that ask again, which they do within
 * seconds. */
static int shorten(int vm_fd, viv_error *err)
{
    struct vivi_journal_open open;
    struct stat st;
    int r;

    if (fstatat(vm_fd, OPS_FILE, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_size <= KEPT_BYTES)
        return 0;
    r = vivi_journal_unfinished(vm_fd, &open, err);
    return r != 0 ? (r < 0 ? r : 0) : vivi_write_file_at(vm_fd, OPS_FILE, "", 0, VIVI_FAST, err);
}

int vivi_journal_begin(int vm_fd, const char *op, const char *verb, enum vivi_durability how,
                       viv_error *err)
{
    struct line l;
    int r = fill(&l, "begin", op, verb, err);

    if (r == 0 && strlen(verb) >= sizeof(((struct vivi_journal_open *)0)->verb))
        r = vivi_fail(err, VIV_E_INVALID, "journal: verb \"%s\" is too long", verb);
    if (r == 0)
        r = shorten(vm_fd, err);
    return r < 0 ? r : append(vm_fd, &l, how, err);
}

int vivi_journal_step(int vm_fd, const char *op, const char *step, viv_error *err)
{
    struct line l;
    int r = fill(&l, "step", op, step, err);

    return r < 0 ? r : append(vm_fd, &l, VIVI_FAST, err);
}

int vivi_journal_end(int vm_fd, const char *op, int code, viv_error *err)
{
    struct line l;
    char text[16];
    int r;

    (void)snprintf(text, sizeof(text), "%d", code < 0 ? -code : code);
    r = fill(&l, "end", op, text, err);
    return r < 0 ? r : append(vm_fd, &l, VIVI_FAST, err);
}
