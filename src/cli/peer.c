#include "cli/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "cli/exe.h"

#define SCHEME_SSH  "ssh://"
#define SCHEME_EXEC "exec:"
#define SCHEME_ROOT "root:"
#define READ_BYTES  65536

/* ---- the child ---- */

/* "user@host:2222": the port, cut off; NULL: none. */
static char *cut_port(char *host)
{
    char *colon = strrchr(host, ':');

    if (!colon || strchr(colon, ']') || strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return NULL;
    *colon = '\0';
    return colon + 1;
}

static void run_ssh(const char *dest)
{
    char *host = strdup(dest + strlen(SCHEME_SSH)), *port = host ? cut_port(host) : NULL;

    if (host && port)
        (void)execlp("ssh", "ssh", "-T", "-p", port, "--", host, "viv migrate receive --stdio",
                     (char *)NULL);
    else if (host)
        (void)execlp("ssh", "ssh", "-T", "--", host, "viv migrate receive --stdio", (char *)NULL);
    (void)fprintf(stderr, "viv: migrate: ssh: %s\n", strerror(errno));
}

static void run_root(const char *dir)
{
    char here[PATH_MAX], self[PATH_MAX + 8];

    vivi_exe_dir(here);
    (void)snprintf(self, sizeof(self), "%s/viv", here);
    (void)execl(self, "viv", "migrate", "receive", "--root", dir, "--stdio", (char *)NULL);
    (void)fprintf(stderr, "viv: migrate: cannot run viv: %s\n", strerror(errno));
}

/* A group of its own: an interrupt at the terminal is for us, not for the other end. */
static void run(const char *dest)
{
    (void)setpgid(0, 0);
    (void)signal(SIGPIPE, SIG_DFL);
    if (strncmp(dest, SCHEME_EXEC, strlen(SCHEME_EXEC)) == 0)
        (void)execl("/bin/sh", "sh", "-c", dest + strlen(SCHEME_EXEC), (char *)NULL);
    else if (strncmp(dest, SCHEME_ROOT, strlen(SCHEME_ROOT)) == 0)
        run_root(dest + strlen(SCHEME_ROOT));
    else
        run_ssh(dest);
    _exit(127);
}

static int is_known(const char *dest)
{
    static const char *const schemes[] = {SCHEME_SSH, SCHEME_EXEC, SCHEME_ROOT};

    for (size_t i = 0; i < ARRAY_SIZE(schemes); i++)
        if (strncmp(dest, schemes[i], strlen(schemes[i])) == 0 && dest[strlen(schemes[i])])
            return 1;
    return 0;
}

int vivi_peer_open(struct vivi_peer *p, const char *dest, viv_error *err)
{
    int to[2] = {-1, -1}, from[2] = {-1, -1}, r;

    if (!is_known(dest))
        return vivi_fail(err, VIV_E_INVALID,
                         "\"%.100s\" is no destination (ssh://HOST, exec:COMMAND, root:DIR)", dest);
    r = vivi_pipe(to, err);
    if (r == 0)
        r = vivi_pipe(from, err);
    if (r == 0) {
        p->pid = fork();
        if (p->pid < 0)
            r = vivi_fail_errno(err, errno, "fork");
    }
    if (r == 0 && p->pid == 0) {
        if (dup2(to[0], STDIN_FILENO) >= 0 && dup2(from[1], STDOUT_FILENO) >= 0)
            run(dest);
        _exit(127);
    }
    vivi_close(&to[0]);
    vivi_close(&from[1]);
    p->in = from[0];
    p->out = to[1];
    if (r < 0)
        p->pid = 0;
    return r;
}

void vivi_peer_close(struct vivi_peer *p)
{
    vivi_close(&p->out);
    vivi_close(&p->in);
    vivi_buf_done(&p->buf);
    while (p->pid > 0 && waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    p->pid = 0;
}

/* ---- lines ---- */

int vivi_peer_say(struct vivi_peer *p, const char *word, json_t *more, viv_error *err)
{
    json_t *j = more ? more : json_object();
    char *text = NULL, *line = NULL;
    int n = -1, r = 0;

    if (j && json_object_set_new(j, "do", json_string(word)) == 0)
        text = json_dumps(j, JSON_COMPACT);
    if (text)
        n = asprintf(&line, "%s\n", text);
    json_decref(j);
    free(text);
    if (n < 0)
        return vivi_fail_oom(err);
    for (size_t at = 0; r == 0 && at < (size_t)n;) {
        ssize_t put = write(p->out, line + at, (size_t)n - at);

        if (put > 0)
            at += (size_t)put;
        else if (errno != EINTR)
            r = vivi_fail(err, VIV_E_IO, "it is gone");
    }
    free(line);
    return r;
}

int vivi_peer_next(struct vivi_peer *p, json_t **ret, viv_error *err)
{
    const char *lf = p->buf.len ? memchr(p->buf.data, '\n', p->buf.len) : NULL;
    size_t len = lf ? (size_t)(lf - p->buf.data) : 0;
    char shown[80];
    json_t *j;

    if (!lf)
        return 0;
    j = json_loadb(p->buf.data, len, JSON_REJECT_DUPLICATES, NULL);
    (void)snprintf(shown, sizeof(shown), "%.*s", (int)(len < 79 ? len : 79), p->buf.data);
    vivi_buf_consume(&p->buf, len + 1);
    if (!json_is_object(j)) {
        json_decref(j);
        return vivi_fail(err, VIV_E_PROTOCOL, "not a line of a migration: %s", shown);
    }
    *ret = j;
    return 1;
}

int vivi_peer_read(struct vivi_peer *p, json_t **ret, viv_error *err)
{
    char data[READ_BYTES];
    ssize_t n;
    int r = vivi_peer_next(p, ret, err);

    if (r != 0)
        return r;
    n = read(p->in, data, sizeof(data));
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return 0;
    if (n <= 0)
        return vivi_fail(err, VIV_E_IO, "it is gone");
    if (vivi_buf_add(&p->buf, data, (size_t)n) < 0)
        return vivi_fail(err, VIV_E_PROTOCOL, "it says too much");
    return vivi_peer_next(p, ret, err);
}

int vivi_peer_wait(struct vivi_peer *p, int ms, json_t **ret, viv_error *err)
{
    uint64_t end = vivi_mono_us() + (uint64_t)ms * 1000;
    int r = vivi_peer_next(p, ret, err);

    while (r == 0) {
        struct pollfd fd = {.fd = p->in, .events = POLLIN};
        uint64_t now = vivi_mono_us();

        if (now >= end)
            return vivi_fail(err, VIV_E_TIMEOUT, "no answer for %d s", ms / 1000);
        if (poll(&fd, 1, (int)((end - now) / 1000) + 1) > 0)
            r = vivi_peer_read(p, ret, err);
    }
    return r;
}

const char *vivi_peer_word(const json_t *j)
{
    const char *s = json_string_value(json_object_get(j, "do"));

    return s ? s : "";
}

/* ---- errors ---- */

json_t *vivi_peer_error(const viv_error *e)
{
    return json_pack("{s:{s:i, s:s, s:s, s:s}}", "error", "code", e->code, "field", e->field,
                     "message", e->message, "hint", e->hint);
}

int vivi_peer_take_error(const json_t *j, viv_error *ret)
{
    const json_t *e = json_object_get(j, "error");
    int code = (int)json_integer_value(json_object_get(e, "code"));
    const char *text = json_string_value(json_object_get(e, "message"));
    const char *field = json_string_value(json_object_get(e, "field"));
    const char *hint = json_string_value(json_object_get(e, "hint"));

    if (code < VIV_E_INTERNAL || code > VIV_E_VMM)
        code = VIV_E_PROTOCOL;
    (void)vivi_fail(ret, code, "%s", text ? text : "it says no");
    if (field) /* the message begins with it already */
        (void)snprintf(ret->field, sizeof(ret->field), "%s", field);
    if (hint && hint[0])
        vivi_hint(ret, "%s", hint);
    return -code;
}
