/*
 * Theory of operation: a state root is one directory of one user. Everything that could go wrong
 * with it for every VM (owner, access, socket paths that would not fit) is found here, once, when
 * it is opened, so that no verb fails for such a reason halfway.
 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"

/* The longest name of a socket in a run directory; FIFOs have no such limit. */
#define LONGEST_SOCKET "/12345678/control.sock"

void vivi_json_decref_ptr(json_t **j)
{
    json_decref(*j);
    *j = NULL;
}

/* Length of the valid UTF-8 sequence at s, 0 if there is none. Overlong forms and surrogates are
 * none. */
static size_t sequence_len(const unsigned char *s)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : s[0] >= 0xC0 ? 2 : 0;
    uint32_t c;

    if (n <= 1)
        return n;
    c = s[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80) /* also the end of the string */
            return 0;
        c = c << 6 | (s[i] & 0x3Fu);
    }
    return c < least[n] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF) || s[0] > 0xF4 ? 0 : n;
}

json_t *vivi_json_str(const char *s)
{
    cleanup_free char *copy = NULL;
    json_t *j;
    unsigned char *p;

    if (!s)
        return json_null();
    j = json_string(s);
    if (j)
        return j;
    copy = strdup(s);
    if (!copy)
        return NULL;
    for (p = (unsigned char *)copy; *p;) {
        size_t n = sequence_len(p);

        if (n == 0)
            *p = '?';
        p += n ? n : 1;
    }
    return json_string(copy);
}

json_t *vivi_json_str_or_null(const char *s)
{
    return s && s[0] ? vivi_json_str(s) : json_null();
}

const char *vivi_json_text(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));

    return s ? s : "";
}

static int join(char **ret, const char *a, const char *b, viv_error *err)
{
    size_t n = strlen(a) + strlen(b) + 1;
    char *s = malloc(n);

    if (!s) {
        (void)vivi_fail_oom(err);
        return -VIV_E_NO_MEMORY;
    }
    (void)snprintf(s, n, "%s%s", a, b);
    *ret = s;
    return 0;
}

/* Absolute without resolving links: sockets are bound by this text. */
static int absolute(const char *path, char **ret, viv_error *err)
{
    char cwd[PATH_MAX];
    cleanup_free char *with_slash = NULL;
    size_t n;
    int r;

    if (path[0] == '\0')
        return vivi_fail(err, VIV_E_INVALID, "the state root's path is empty");
    if (path[0] == '/') {
        r = join(ret, path, "", err);
    } else {
        if (!getcwd(cwd, sizeof(cwd)))
            return vivi_fail_errno(err, errno, "cannot tell the working directory");
        r = join(&with_slash, cwd, "/", err);
        if (r == 0)
            r = join(ret, with_slash, path, err);
    }
    if (r < 0)
        return r;
    for (n = strlen(*ret); n > 1 && (*ret)[n - 1] == '/'; n--)
        (*ret)[n - 1] = '\0';
    return 0;
}

int vivi_root_default(char **ret_path, viv_error *err)
{
    const char *s = getenv("VIV_HOME");

    return s && s[0] ? absolute(s, ret_path, err) : vivi_root_usual(ret_path, err);
}

int vivi_root_usual(char **ret_path, viv_error *err)
{
    const char *s;

    if (geteuid() == 0)
        return join(ret_path, "/var/lib/vivarium", "", err);
    s = getenv("XDG_STATE_HOME");
    if (s && s[0] == '/')
        return join(ret_path, s, "/vivarium", err);
    s = getenv("HOME");
    if (s && s[0] == '/')
        return join(ret_path, s, "/.local/state/vivarium", err);
    (void)vivi_fail(err, VIV_E_NOT_FOUND, "no state root: neither VIV_HOME nor HOME is set");
    vivi_hint(err, "name a state root by VIV_HOME");
    return -VIV_E_NOT_FOUND;
}

char *vivi_cache_dir(void)
{
    const char *base = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    char *path = NULL;

    if (base && base[0] == '/')
        (void)join(&path, base, "/vivarium", NULL);
    else if (geteuid() == 0)
        (void)join(&path, "/var/cache/vivarium", "", NULL);
    else if (home && home[0] == '/')
        (void)join(&path, home, "/.cache/vivarium", NULL);
    return path;
}

/* Owner and mode of the root: what stands in it decides which programs run as its owner. */
static int check_owner(struct vivi_root *r, viv_error *err)
{
    struct stat st;

    if (fstat(r->fd, &st) < 0)
        return vivi_fail_errno(err, errno, "state root %s", r->path);
    if (st.st_uid != geteuid()) {
        int code = vivi_fail(err, VIV_E_DENIED, "state root %s: owned by user %u, not by you (%u)",
                             r->path, (unsigned)st.st_uid, (unsigned)geteuid());

        vivi_hint(err, "be that user, or name another root by VIV_HOME");
        return code;
    }
    if (r->readonly)
        return 0;
    if (faccessat(r->fd, ".", W_OK, AT_EACCESS) < 0)
        return vivi_fail_errno(err, errno, "state root %s: not writable", r->path);
    if ((st.st_mode & 0077) != 0 && fchmod(r->fd, 0700) < 0)
        return vivi_fail_errno(err, errno, "state root %s: cannot set mode 0700", r->path);
    return 0;
}

static int check_socket_length(const struct vivi_root *r, viv_error *err)
{
    size_t n = strlen(r->run) + sizeof(LONGEST_SOCKET); /* with the NUL */
    int code;

    if (n <= VIVI_SUN_PATH_MAX)
        return 0;
    code = vivi_fail(err, VIV_E_INVALID,
                     "sockets below %s would have paths of %zu bytes, the limit is %d", r->run,
                     n - 1, VIVI_SUN_PATH_MAX - 1);
    vivi_hint(err, "name a shorter directory for them: VIV_RUN=/run/user/%u/viv",
              (unsigned)geteuid());
    return code;
}

static int find_run(struct vivi_root *r, viv_error *err)
{
    const char *run = getenv("VIV_RUN");
    int code = run && run[0] ? absolute(run, &r->run, err) : join(&r->run, r->path, "/run", err);

    return code < 0 ? code : check_socket_length(r, err);
}

/* vms/ of a root whose descriptor is open. */
static int open_vms(struct vivi_root *r, viv_error *err)
{
    if (!r->readonly && mkdirat(r->fd, "vms", 0700) < 0 && errno != EEXIST)
        return vivi_fail_errno(err, errno, "cannot make %s/vms", r->path);
    r->vms_fd = openat(r->fd, "vms", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->vms_fd < 0 && !(r->readonly && errno == ENOENT))
        return vivi_fail_errno(err, errno, "cannot open %s/vms", r->path);
    if (r->vms_fd >= 0 && r->vms_fd < 3) {
        r->vms_fd = vivi_fd_above_stdio(r->vms_fd, err);
        return r->vms_fd < 0 ? r->vms_fd : 0;
    }
    return 0;
}

static int open_root(struct vivi_root *r, bool create, viv_error *err)
{
    int code = find_run(r, err);

    if (code < 0)
        return code;
    if (create && !r->readonly) {
        code = vivi_mkdir_path(r->path, 0700, err);
        if (code < 0)
            return vivi_wrap(err, code, "state root");
    }
    r->fd = open(r->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->fd < 0 && errno == ENOENT && r->readonly)
        return 0;
    if (r->fd < 0)
        return vivi_fail_errno(err, errno, "state root %s", r->path);
    if (r->fd < 3) {
        r->fd = vivi_fd_above_stdio(r->fd, err);
        if (r->fd < 0)
            return r->fd;
    }
    code = check_owner(r, err);
    return code < 0 ? code : open_vms(r, err);
}

int vivi_root_open(const char *path, bool create, bool readonly, struct vivi_root *ret,
                   viv_error *err)
{
    cleanup_root struct vivi_root r = {.fd = -1, .vms_fd = -1, .readonly = readonly};
    int code = absolute(path, &r.path, err);

    if (code == 0)
        code = open_root(&r, create, err);
    if (code < 0)
        return code;
    *ret = r;
    r = (struct vivi_root)VIVI_ROOT_EMPTY;
    return 0;
}

void vivi_root_done(struct vivi_root *r)
{
    vivi_close(&r->fd);
    vivi_close(&r->vms_fd);
    free(r->path);
    free(r->run);
    r->path = NULL;
    r->run = NULL;
}
