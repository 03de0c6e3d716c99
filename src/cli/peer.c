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
#include "cli/way.h"

#define SCHEME_SSH  "ssh://"
#define SCHEME_EXEC "exec:"
#define SCHEME_ROOT "root:"
#define READ_BYTES  65536
#define WORDS_BYTES 200 /* of what a child said last */
#define STUCK_MS    60000

/* What a shell, or ssh, says with its exit code. */
#define NOT_RUNNABLE 126
#define NOT_FOUND    127
#define SSH_FAILED   255

/* ---- the child ---- */

/* A migration takes its time, and a connection that says nothing is forgotten on the way. */
static void run_ssh(const char *dest)
{
    const char *user = dest + strlen(SCHEME_SSH), *host = vivi_peer_host(dest);
    char *target = NULL, *port = NULL;
    struct vivi_way way;

    if (!vivi_way_parse_host(host, &way) ||
        asprintf(&target, "%.*s%s", (int)(host - user), user, way.host) < 0)
        return;
    if (way.port)
        port = strndup(way.port, strcspn(way.port, "/"));
    const char *argv[] = {"ssh", "-T", "-o",   "ServerAliveInterval=30",      "-p",
                          port,  "--", target, "viv migrate receive --stdio", NULL};
    if (!port) /* the default is the user's configuration's */
        memmove(argv + 4, argv + 6, 4 * sizeof(*argv));
    (void)execvp("ssh", (char *const *)(uintptr_t)argv);
    (void)fprintf(stderr, "cannot run ssh: %s\n", strerror(errno));
    _exit(SSH_FAILED);
}

static void run_root(const char *dir)
{
    char here[PATH_MAX], self[PATH_MAX + 8];

    vivi_exe_dir(here);
    (void)snprintf(self, sizeof(self), "%s/viv", here);
    (void)execl(self, "viv", "migrate", "receive", "--root", dir, "--stdio", (char *)NULL);
    (void)fprintf(stderr, "cannot run viv: %s\n", strerror(errno));
}

/* A group of its own: an interrupt at the terminal is for us, not for the other end. But ssh has
 * questions, and only the group of the terminal may ask there. */
static void run(const char *dest)
{
    if (strncmp(dest, SCHEME_SSH, strlen(SCHEME_SSH)) != 0)
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

const char *vivi_peer_host(const char *dest)
{
    const char *at;

    if (strncmp(dest, SCHEME_SSH, strlen(SCHEME_SSH)) != 0)
        return NULL;
    at = strrchr(dest, '@');
    return at ? at + 1 : dest + strlen(SCHEME_SSH);
}

static bool is_known(const char *dest)
{
    static const char *const schemes[] = {SCHEME_EXEC, SCHEME_ROOT};
    const char *host = vivi_peer_host(dest);
    struct vivi_way way;

    if (host)
        return vivi_way_parse_host(host, &way);
    for (size_t i = 0; i < ARRAY_SIZE(schemes); i++)
        if (strncmp(dest, schemes[i], strlen(schemes[i])) == 0 && dest[strlen(schemes[i])])
            return true;
    return false;
}

int vivi_peer_check(const char *dest, viv_error *err)
{
    size_t root = strlen(SCHEME_ROOT);

    if (!is_known(dest))
        return vivi_fail(err, VIV_E_INVALID,
                         "\"%.100s\" is no destination (ssh://HOST, exec:COMMAND, root:DIR)", dest);
    /* It is recorded, and may be asked from another directory. */
    if (strncmp(dest, SCHEME_ROOT, root) == 0 && dest[root] != '/')
        return vivi_fail(err, VIV_E_INVALID, "\"%.100s\": the directory must be absolute", dest);
    return 0;
}

int vivi_peer_open(struct vivi_peer *p, const char *dest, viv_error *err)
{
    int to[2] = {-1, -1}, from[2] = {-1, -1}, r = vivi_peer_check(dest, err);

    if (r < 0)
        return r;
    p->ssh = vivi_peer_host(dest) != NULL;
    p->said = tmpfile();
    r = p->said ? vivi_pipe(to, err) : vivi_fail_errno(err, errno, "a temporary file");
    if (r == 0)
        r = vivi_fd_nonblock(to[1], true, err);
    if (r == 0)
        r = vivi_pipe(from, err);
    if (r == 0) {
        p->pid = fork();
        if (p->pid < 0)
            r = vivi_fail_errno(err, errno, "fork");
    }
    if (r == 0 && p->pid == 0) {
        if (dup2(to[0], STDIN_FILENO) >= 0 && dup2(from[1], STDOUT_FILENO) >= 0 &&
            dup2(fileno(p->said), STDERR_FILENO) >= 0)
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

/* The status; < 0: there is none. */
static int reap(struct vivi_peer *p)
{
    int status = -1;

    vivi_close(&p->out);
    vivi_close(&p->in);
    if (p->pid > 0 && p->late)
        (void)kill(p->ssh ? p->pid : -p->pid, SIGTERM);
    while (p->pid > 0 && waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
        ;
    p->pid = 0;
    return status;
}

void vivi_peer_close(struct vivi_peer *p)
{
    (void)reap(p);
    vivi_buf_done(&p->buf);
    if (p->said)
        (void)fclose(p->said);
    p->said = NULL;
}

/* The last line of what it said; "" = nothing. */
static void last_words(struct vivi_peer *p, char ret[WORDS_BYTES])
{
    char line[WORDS_BYTES];

    ret[0] = '\0';
    if (!p->said)
        return;
    (void)fseek(p->said, 0, SEEK_SET);
    while (fgets(line, sizeof(line), p->said)) {
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0])
            memcpy(ret, line, sizeof(line));
    }
}

static bool cannot_run(int code)
{
    return code == NOT_FOUND || code == NOT_RUNNABLE;
}

/* How it ended; text holds size bytes. */
static void ending(const struct vivi_peer *p, int code, char *text, size_t size)
{
    if (cannot_run(code))
        (void)snprintf(text, size, "%s cannot be run there", p->ssh ? "viv" : "its command");
    else if (p->ssh && code == SSH_FAILED)
        (void)snprintf(text, size, "ssh failed");
    else if (code >= 0)
        (void)snprintf(text, size, "it ended without an answer (exit code %d)", code);
    else
        (void)snprintf(text, size, "it was ended without an answer");
}

/* Nothing more comes from there: why, as far as its end tells. */
static int gone(struct vivi_peer *p, viv_error *err)
{
    char said[WORDS_BYTES], how[80];
    int status, code, r;

    if (p->pid <= 0)
        return vivi_fail(err, VIV_E_IO, "it is gone");
    status = reap(p);
    last_words(p, said);
    code = status >= 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    ending(p, code, how, sizeof(how));
    r = vivi_fail(err, cannot_run(code) ? VIV_E_NOT_FOUND : VIV_E_IO, "%s%s%s", how,
                  said[0] ? ": " : "", said);
    if (cannot_run(code) && p->ssh)
        vivi_hint(err, "viv must be on the PATH of what ssh starts there: ssh HOST viv version");
    return r;
}

/* ---- lines ---- */

/* It reads nothing, and what is on its way to it has a limit. */
static int wait_for_room(struct vivi_peer *p, viv_error *err)
{
    struct pollfd fd = {.fd = p->out, .events = POLLOUT};

    if (poll(&fd, 1, STUCK_MS) != 0)
        return 0;
    p->late = true;
    return vivi_fail(err, VIV_E_TIMEOUT, "it takes nothing for %d s", STUCK_MS / 1000);
}

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
        else if (errno == EAGAIN)
            r = wait_for_room(p, err);
        else if (errno != EINTR)
            r = gone(p, err);
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
        return gone(p, err);
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

        if (now >= end) {
            p->late = true;
            return vivi_fail(err, VIV_E_TIMEOUT, "no answer for %d s", ms / 1000);
        }
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
