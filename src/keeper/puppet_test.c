#include "keeper/puppet_test.h"

#include <poll.h>
#include <string.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/frame.h"
#include "keeper/protocol.h"

static struct {
    const char *self, *vm_dir, *run_dir, *keeper_exe;
    int keeper_fd, lock_fd, listener_fd;
    struct vivi_buf fds; /* VIV_FDS for the next keeper */
} me = {.keeper_fd = -1, .lock_fd = -1, .listener_fd = -1, .fds = {.max_bytes = 65536}};

static void take_fds(const char *text)
{
    for (const char *p = text; *p != '\0'; p += strcspn(p, ","), p += *p == ',') {
        const char *equals = strchr(p, '=');
        int fd = equals == NULL ? -1 : (int)strtol(equals + 1, NULL, 10);

        if (strncmp(p, "lock=", 5) == 0)
            me.lock_fd = fd;
        else if (strncmp(p, "listener=", 9) == 0)
            me.listener_fd = fd;
        else if (strncmp(p, "keeper=", 7) == 0)
            me.keeper_fd = fd;
    }
}

static int connect_to_test(void)
{
    char path[256];
    int fd = -1;

    (void)snprintf(path, sizeof(path), "%s/%s", me.run_dir, PUPPET_SOCKET);
    return vivi_unix_connect(path, &fd, NULL) < 0 ? -1 : fd;
}

static int say_hello(int conn, const char *fds)
{
    struct vivi_frame f = {.version = 1, .op = PUPPET_HELLO, .n_fds = 3};
    struct vivi_buf b = VIVI_BUF(65536);
    int r;

    (void)vivi_buf_printf(&b, "%d", (int)getpid());
    (void)vivi_buf_add(&b, "", 1);
    (void)vivi_buf_add(&b, fds, strlen(fds) + 1);
    f.payload = b.data;
    f.len = b.len;
    f.fds[0] = me.keeper_fd;
    f.fds[1] = me.lock_fd;
    f.fds[2] = me.listener_fd;
    r = vivi_frame_send(conn, &f, 5000, NULL);
    vivi_buf_done(&b);
    return r;
}

static void become_keeper(void)
{
    char *argv[] = {(char *)(uintptr_t)me.keeper_exe,
                    (char *)(uintptr_t)"--vm-dir",
                    (char *)(uintptr_t)me.vm_dir,
                    (char *)(uintptr_t)"--run-dir",
                    (char *)(uintptr_t)me.run_dir,
                    (char *)(uintptr_t)"--monitor",
                    (char *)(uintptr_t)me.self,
                    (char *)(uintptr_t)"--adopt",
                    NULL};

    (void)setenv(VIVI_FDS_ENV, me.fds.data, 1);
    (void)execv(me.keeper_exe, argv);
    _exit(8);
}

static void obey(struct vivi_frame *f)
{
    if (f->op == PUPPET_EXIT)
        _exit((int)strtol(f->payload, NULL, 10));
    if (f->op == PUPPET_INHERIT && f->n_fds == 1) {
        int fd = take_fd(&f->fds[0]);

        (void)vivi_fd_cloexec(fd, false, NULL);
        (void)vivi_buf_printf(&me.fds, ",%s=%d", f->payload, fd);
    }
}

static void serve(int conn, struct vivi_frames *r)
{
    int got = vivi_frames_read(r, conn, NULL);

    for (;;) {
        cleanup_frame struct vivi_frame f = {0};

        if (vivi_frames_next(r, &f, NULL) <= 0)
            break;
        obey(&f);
    }
    if (got <= 0) { /* the test is done with us; did it kill the keeper, too? */
        struct pollfd keeper = {.fd = me.keeper_fd};

        if (poll(&keeper, 1, 0) == 1)
            become_keeper();
        _exit(9);
    }
}

int main(int argc, char **argv)
{
    const char *fds = getenv(VIVI_FDS_ENV);
    struct vivi_frames r;
    int conn;

    me.self = argv[0];
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--vm-dir") == 0)
            me.vm_dir = argv[i + 1];
        else if (strcmp(argv[i], "--run-dir") == 0)
            me.run_dir = argv[i + 1];
        else if (strcmp(argv[i], "--keeper") == 0)
            me.keeper_exe = argv[i + 1];
    }
    if (fds == NULL || me.vm_dir == NULL || me.run_dir == NULL || me.keeper_exe == NULL)
        return 7;
    take_fds(fds);
    (void)vivi_buf_str(&me.fds, fds);
    conn = connect_to_test();
    if (conn < 0 || say_hello(conn, fds) < 0)
        return 9;
    vivi_frames_init(&r);
    for (;;) {
        struct pollfd p[] = {{.fd = conn, .events = POLLIN}, {.fd = me.keeper_fd}};

        if (poll(p, 2, -1) < 0)
            continue;
        if (p[0].revents != 0)
            serve(conn, &r); /* first what the test said before it killed the keeper */
        else if (p[1].revents != 0)
            become_keeper();
    }
}
