#include "manager/testing.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

int64_t now_ms(void)
{
    return (int64_t)(vivi_mono_us() / 1000);
}

int fixture_open(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const char *tmp = getenv("TMPDIR");
    viv_error err = VIV_ERROR_INIT;

    if (!f)
        return -1;
    (void)unsetenv("VIV_RUN");
    f->fds_before = vivi_fd_count();
    (void)snprintf(f->dir, sizeof(f->dir), "%.40s/vivm.XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(f->dir) || viv_open(f->dir, VIV_OPEN_CREATE, &f->v, &err) < 0) {
        print_error("%s\n", err.message);
        free(f);
        return -1;
    }
    *state = f;
    return 0;
}

int fixture_close(void **state)
{
    struct fixture *f = *state;
    int leaked;

    viv_close(f->v);
    for (size_t i = 0; i < f->n_doubles; i++) {
        (void)kill(f->doubles[i], SIGKILL);
        (void)waitpid(f->doubles[i], NULL, 0);
    }
    (void)vivi_remove_tree_at(AT_FDCWD, f->dir, NULL);
    leaked = vivi_fd_count() - f->fds_before;
    if (leaked != 0)
        print_error("%d descriptors leaked\n", leaked);
    free(f);
    return leaked ? -1 : 0;
}

viv_config *some_config(const char *yaml)
{
    viv_config *c = NULL;
    viv_error err = VIV_ERROR_INIT;

    if (viv_config_parse(yaml, strlen(yaml), NULL, &c, &err) < 0)
        fail_msg("%s", err.message);
    return c;
}

viv_vm *some_vm(struct fixture *f, const char *name)
{
    char yaml[128];
    viv_vm *m = NULL;
    viv_error err = VIV_ERROR_INIT;
    viv_config *c;
    int r;

    (void)snprintf(yaml, sizeof(yaml), "name: %s\ndriver: fake\n", name);
    c = some_config(yaml);
    r = viv_create(f->v, c, 0, &m, NULL, &err);
    viv_config_free(c);
    if (r < 0)
        fail_msg("%s", err.message);
    return m;
}

struct vivi_vmdir some_dir(struct fixture *f, const char *name)
{
    struct vivi_vmdir d = VIVI_VMDIR_EMPTY;

    assert_int_equal(vivi_vmdir_open(&f->v->root, name, &d, NULL), 0);
    return d;
}

viv_opts *some_opts(const char *text)
{
    viv_opts *o = NULL;
    char *copy = strdup(text), *rest = NULL;

    assert_non_null(copy);
    assert_int_equal(viv_opts_new(&o, NULL), 0);
    for (char *t = strtok_r(copy, " ", &rest); t; t = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(t, '=');
        int r;

        assert_non_null(value);
        *value++ = '\0';
        if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0)
            r = viv_opts_set_bool(o, t, value[0] == 't', NULL);
        else if (strspn(value, "-0123456789") == strlen(value))
            r = viv_opts_set_i64(o, t, strtoll(value, NULL, 10), NULL);
        else
            r = viv_opts_set_str(o, t, value, NULL);
        assert_int_equal(r, 0);
    }
    free(copy);
    return o;
}

/* ---- the double; no assert in here: it is another process ---- */

struct double_state {
    const struct double_how *how;
    int vm_fd;
    struct vivi_vmdir *d;
    unsigned connections, requests;
};

static void say(int fd, unsigned protocol, enum vivi_control_op op, json_t *body, int with_fd)
{
    char *text = json_dumps(body, JSON_COMPACT);
    struct vivi_frame f = {.version = (uint8_t)protocol, .op = (uint8_t)op, .payload = text};

    f.len = text ? strlen(text) : 0;
    if (with_fd >= 0) {
        f.fds[0] = with_fd;
        f.n_fds = 1;
    }
    (void)vivi_frame_send(fd, &f, 1000, NULL);
    free(text);
    json_decref(body);
}

static void record(struct double_state *s, const json_t *body, bool has_fd)
{
    json_t *copy = json_deep_copy(body);
    char *text;
    char line[4096];
    int n;

    (void)json_object_set_new(copy, "has_fd", json_boolean(has_fd));
    text = json_dumps(copy, JSON_COMPACT);
    n = snprintf(line, sizeof(line), "%s\n", text ? text : "");
    (void)vivi_append_at(s->vm_fd, "seen", line, (size_t)n, NULL);
    free(text);
    json_decref(copy);
}

static json_t *with_id(const char *key, const char *json)
{
    return json_pack("{s:i,s:o}", "id", 1, key, json_loads(json, 0, NULL));
}

static void answer(struct double_state *s, int fd)
{
    const struct double_how *how = s->how;
    int fds[2] = {-1, -1};

    if (how->note) {
        json_t *note = json_loads(how->note, 0, NULL);

        (void)json_object_set_new(note, "id", json_integer(1));
        say(fd, VIVI_CONTROL_PROTOCOL, VIVI_CTL_NOTE, note, -1);
    }
    if (s->requests <= how->ignores && how->ignores)
        return;
    if (how->with_fd && vivi_pipe(fds, NULL) == 0)
        (void)vivi_write_full(fds[1], "hi", 2, -1, NULL);
    if (how->error)
        say(fd, VIVI_CONTROL_PROTOCOL, VIVI_CTL_ERROR, with_id("error", how->error), -1);
    else if (how->result)
        say(fd, VIVI_CONTROL_PROTOCOL, VIVI_CTL_REPLY, with_id("result", how->result),
            how->fd > 0 ? how->fd : fds[0]);
    if (how->fd > 0)
        (void)close(how->fd); /* the client's alone */
    vivi_close(&fds[0]);
    vivi_close(&fds[1]);
}

/* False: hang up. */
static bool on_frame(struct double_state *s, int fd, struct vivi_frame *f)
{
    cleanup_json json_t *body = NULL;
    unsigned protocol = s->how->protocol ? s->how->protocol : VIVI_CONTROL_PROTOCOL;

    if (vivi_control_parse(f, &body, NULL) < 0)
        return false;
    if (f->op == VIVI_CTL_HELLO) {
        say(fd, protocol, VIVI_CTL_HELLO,
            json_pack("{s:i,s:s,s:s}", "protocol", (int)protocol, "version", "9", "later", "x"),
            -1);
        return true;
    }
    s->requests++;
    record(s, body, f->n_fds > 0);
    if (s->how->removes) {
        int lock = -1;

        (void)vivi_lock_open(s->vm_fd, "lock", 0, &lock, NULL);
        (void)vivi_rename_noreplace(s->d->root->vms_fd, s->d->name, s->d->root->vms_fd, ".rm-x",
                                    NULL);
        return false;
    }
    if (s->connections <= s->how->drops)
        return false;
    answer(s, fd);
    return true;
}

static void serve(struct double_state *s, int fd)
{
    struct vivi_frames in;
    bool on = true;

    vivi_frames_init(&in);
    if (s->how->rubbish) {
        (void)vivi_write_full(fd, s->how->rubbish, strlen(s->how->rubbish), -1, NULL);
        on = false;
    }
    if (s->how->drop_before_hello && s->connections <= s->how->drops)
        on = false;
    while (on && vivi_frames_read(&in, fd, NULL) > 0) {
        struct vivi_frame f = {.n_fds = 0};

        while (on && vivi_frames_next(&in, &f, NULL) > 0) {
            on = on_frame(s, fd, &f);
            vivi_frame_done(&f);
        }
    }
    vivi_frames_done(&in);
}

static void double_main(struct vivi_vmdir *d, const struct double_how *how, int started)
{
    struct double_state s = {.how = how, .vm_fd = d->fd, .d = d};
    char path[200];
    int lock = -1, listener = -1;

    (void)snprintf(path, sizeof(path), "%s/control.sock", d->run_dir);
    if (vivi_lock_open(d->fd, "lock", 0, &lock, NULL) < 0 ||
        vivi_unix_listen(path, 64, &listener, NULL) < 0)
        _exit(1);
    (void)vivi_write_full(started, "x", 1, -1, NULL);
    for (;;) {
        int fd = -1;

        if (vivi_accept(listener, &fd, NULL) <= 0)
            _exit(1);
        s.connections++;
        serve(&s, fd);
        vivi_close(&fd);
    }
}

void double_start(struct fixture *f, const char *name, const struct double_how *how)
{
    struct vivi_vmdir d = some_dir(f, name);
    int fds[2];
    char byte;
    pid_t pid;

    assert_int_equal(vivi_vmdir_ensure_run(&d, NULL), 0);
    assert_int_equal(vivi_pipe(fds, NULL), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)close(fds[0]);
        double_main(&d, how, fds[1]);
    }
    vivi_close(&fds[1]);
    assert_int_equal(vivi_read_full(fds[0], &byte, 1, DEADLINE_MS, NULL), 0);
    vivi_close(&fds[0]);
    f->doubles[f->n_doubles++] = pid;
    vivi_vmdir_done(&d);
}

char *double_seen(struct fixture *f, const char *name)
{
    struct vivi_vmdir d = some_dir(f, name);
    struct vivi_buf buf = VIVI_BUF(1u << 20);

    (void)vivi_read_file_at(d.fd, "seen", &buf, NULL);
    vivi_vmdir_done(&d);
    if (!buf.data)
        (void)vivi_buf_str(&buf, "");
    return vivi_buf_take(&buf);
}

static unsigned lines(const char *text)
{
    unsigned n = 0;

    for (; *text; text++)
        n += *text == '\n';
    return n;
}

void double_wait(struct fixture *f, const char *name, unsigned n)
{
    int64_t until = now_ms() + DEADLINE_MS;

    for (;;) {
        char *seen = double_seen(f, name);
        bool enough = lines(seen) >= n;

        free(seen);
        if (enough)
            return;
        assert_true(now_ms() < until);
        (void)poll(NULL, 0, 1);
    }
}
