/*
 * viv agent install: puts viv-agent into a root directory, or prints what makes cloud-init do it.
 *
 * The directory is somebody else's system, mounted or unpacked: it is walked component by component
 * without following links, so that a link in it cannot lead the write out of it. Everything that is
 * written has one fixed place in every system of its kind; doing it again changes nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/file.h"
#include "cli/cli.h"
#include "cli/exe.h"
#include "cli/say.h"

#define PROGRAM       "/usr/local/sbin/viv-agent"
#define PROGRAM_BYTES ((size_t)16 << 20)
#define TEXT_BYTES    ((size_t)1 << 20)

static const char unit[] = "[Unit]\n"
                           "Description=Vivarium guest agent\n"
                           "StartLimitIntervalSec=0\n"
                           "\n"
                           "[Service]\n"
                           "ExecStart=" PROGRAM " --quiet\n"
                           "Restart=always\n"
                           "RestartSec=1\n"
                           "OOMScoreAdjust=-500\n"
                           "\n"
                           "[Install]\n"
                           "WantedBy=multi-user.target\n";

static const char openrc[] = "#!/sbin/openrc-run\n"
                             "description=\"Vivarium guest agent\"\n"
                             "supervisor=supervise-daemon\n"
                             "command=" PROGRAM "\n"
                             "command_args=--quiet\n";

static const char inittab_line[] = "::respawn:" PROGRAM " --quiet\n";

enum init { SYSTEMD, OPENRC, BUSYBOX, N_INITS };
static const char *const init_names[] = {"systemd", "openrc", "busybox"};

/* ---- the directory ---- */

/* Opens a directory below root, making what is missing; a link on the way is refused. */
static int open_below(int root, const char *path, bool make, int *ret, viv_error *err)
{
    cleanup_close int at = fcntl(root, F_DUPFD_CLOEXEC, 3);
    char copy[256], *part, *rest = copy;

    (void)snprintf(copy, sizeof(copy), "%s", path);
    while (at >= 0 && (part = strsep(&rest, "/"))) {
        int next;

        if (make && mkdirat(at, part, 0755) < 0 && errno != EEXIST)
            return vivi_fail_errno(err, errno, "cannot make %s", path);
        next = openat(at, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0 && (errno == ELOOP || errno == ENOTDIR))
            return vivi_fail(err, VIV_E_DENIED, "%s in it is no plain directory", path);
        if (next < 0)
            return vivi_fail_errno(err, errno, "%s", path);
        vivi_close(&at);
        at = next;
    }
    *ret = take_fd(&at);
    return 0;
}

static int put_file(int root, const char *dir, const char *name, const void *data, size_t len,
                    mode_t mode, viv_error *err)
{
    cleanup_close int fd = -1;
    int r = open_below(root, dir, true, &fd, err);

    if (r == 0)
        r = vivi_write_file_at(fd, name, data, len, VIVI_FAST, err);
    if (r == 0 && fchmodat(fd, name, mode, 0) < 0)
        r = vivi_fail_errno(err, errno, "cannot give %s its mode", name);
    return r;
}

static int put_link(int root, const char *dir, const char *target, viv_error *err)
{
    cleanup_close int fd = -1;
    const char *name = strrchr(target, '/') + 1;
    int r = open_below(root, dir, true, &fd, err);

    if (r == 0 && symlinkat(target, fd, name) < 0 && errno != EEXIST)
        r = vivi_fail_errno(err, errno, "cannot make the link %s/%s", dir, name);
    return r;
}

/* Adds the line to an inittab that lacks it. */
static int put_inittab(int root, viv_error *err)
{
    cleanup_buf struct vivi_buf text = VIVI_BUF(TEXT_BYTES);
    cleanup_close int etc = -1;
    int r = open_below(root, "etc", false, &etc, err);

    if (r == 0)
        r = vivi_read_file_at(etc, "inittab", &text, err);
    if (r < 0)
        return vivi_wrap(err, r, "etc/inittab");
    if (text.len && strstr(text.data, PROGRAM))
        return 0;
    if (text.len && text.data[text.len - 1] != '\n')
        (void)vivi_buf_str(&text, "\n");
    (void)vivi_buf_str(&text, inittab_line);
    r = vivi_buf_check(&text, err);
    return r < 0 ? r : put_file(root, "etc", "inittab", text.data, text.len, 0644, err);
}

static int put_service(int root, enum init init, viv_error *err)
{
    int r = 0;

    switch (init) {
    case SYSTEMD:
        r = put_file(root, "etc/systemd/system", "viv-agent.service", unit, strlen(unit), 0644,
                     err);
        return r < 0 ? r
                     : put_link(root, "etc/systemd/system/multi-user.target.wants",
                                "/etc/systemd/system/viv-agent.service", err);
    case OPENRC:
        r = put_file(root, "etc/init.d", "viv-agent", openrc, strlen(openrc), 0755, err);
        return r < 0 ? r : put_link(root, "etc/runlevels/default", "/etc/init.d/viv-agent", err);
    case BUSYBOX:
    case N_INITS: break;
    }
    return put_inittab(root, err);
}

static bool there(int root, const char *path)
{
    struct stat st;

    return fstatat(root, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static int find_init(const struct vivi_cli *c, int root, enum init *ret, viv_error *err)
{
    const char *said = vivi_args_str(&c->args, "--init");

    for (int i = 0; said && i < N_INITS; i++) {
        if (!strcmp(said, init_names[i])) {
            *ret = (enum init)i;
            return 0;
        }
    }
    if (there(root, "usr/lib/systemd/systemd") || there(root, "lib/systemd/systemd")) {
        *ret = SYSTEMD;
    } else if (there(root, "sbin/openrc-run") || there(root, "usr/sbin/openrc-run")) {
        *ret = OPENRC;
    } else if (there(root, "etc/inittab")) {
        *ret = BUSYBOX;
    } else {
        (void)vivi_fail(err, VIV_E_NOT_FOUND, "no init system that is known is in it");
        vivi_hint(err, "--init systemd|openrc|busybox");
        return -VIV_E_NOT_FOUND;
    }
    return 0;
}

/* ---- the program ---- */

/* The agent for guests of this host's architecture, as it is installed. */
static int read_program(const struct vivi_cli *c, struct vivi_buf *b, viv_error *err)
{
    const char *said = vivi_args_str(&c->args, "--agent"), *own = getenv("VIV_LIBEXEC");
    char path[2 * PATH_MAX], here[PATH_MAX];
    struct utsname u = {0};

    (void)uname(&u);
    if (own)
        (void)snprintf(here, sizeof(here), "%s", own);
    else
        vivi_exe_dir(here);
    (void)snprintf(path, sizeof(path), "%s%s/agent/%s/viv-agent", here,
                   own ? "" : "/../libexec/vivarium", u.machine);
    return vivi_read_file_at(AT_FDCWD, said ? said : path, b, err);
}

static int into_directory(struct vivi_cli *c, const char *dir)
{
    cleanup_buf struct vivi_buf program = VIVI_BUF(PROGRAM_BYTES);
    cleanup_close int root = -1;
    viv_error err = VIV_ERROR_INIT;
    enum init init = SYSTEMD;
    int r = vivi_open_dir(AT_FDCWD, dir, &root, &err);

    if (r < 0) /* it names the directory */
        return vivi_cli_fail(c, NULL, &err);
    r = find_init(c, root, &init, &err);
    if (r == 0)
        r = read_program(c, &program, &err);
    if (r == 0)
        r = put_file(root, "usr/local/sbin", "viv-agent", program.data, program.len, 0755, &err);
    if (r == 0)
        r = put_service(root, init, &err);
    if (r < 0) {
        (void)vivi_wrap(&err, r, "%s", dir);
        return vivi_cli_fail(c, NULL, &err);
    }
    if (vivi_cli_structured(c))
        return vivi_cli_record(c, json_pack("{s:s, s:s, s:s}", "directory", dir, "program", PROGRAM,
                                            "init", init_names[init]));
    (void)printf("%s: viv-agent is installed, for %s\n", dir, init_names[init]);
    return 0;
}

/* ---- cloud-init ---- */

/* 57 bytes a line, as mail has it. */
static void print_base64(const unsigned char *p, size_t len)
{
    char line[VIVI_BASE64_LEN(57) + 1];

    for (size_t i = 0; i < len; i += 57) {
        vivi_base64_encode(p + i, len - i < 57 ? len - i : 57, line);
        (void)printf("%s    %s", i ? "\n" : "", line);
    }
    (void)putchar('\n');
}

static void print_indented(const char *text)
{
    while (*text) {
        size_t n = strcspn(text, "\n");

        (void)printf("    %.*s\n", (int)n, text);
        text += n + (text[n] == '\n');
    }
}

static int for_cloud_init(struct vivi_cli *c, const char *name)
{
    cleanup_buf struct vivi_buf program = VIVI_BUF(PROGRAM_BYTES);
    cleanup_vm viv_vm *vm = NULL;
    viv_error err = VIV_ERROR_INIT;
    int code = vivi_cli_open_vm(c, name, VIV_OPEN_READONLY, &vm);

    if (code)
        return code;
    if (read_program(c, &program, &err) < 0)
        return vivi_cli_fail(c, name, &err);
    (void)printf("#cloud-config\nwrite_files:\n"
                 "- path: " PROGRAM "\n  permissions: '0755'\n  encoding: b64\n  content: |\n");
    print_base64((const unsigned char *)program.data, program.len);
    (void)printf("- path: /etc/systemd/system/viv-agent.service\n  content: |\n");
    print_indented(unit);
    (void)printf("runcmd:\n- [systemctl, enable, --now, viv-agent.service]\n");
    return 0;
}

int vivi_cmd_agent(struct vivi_cli *c)
{
    const char *what = c->args.n_words > 1 ? c->args.words[1] : NULL;

    if (!c->args.n_words || strcmp(c->args.words[0], "install") != 0)
        return vivi_cli_usage(c, "viv help agent", "needs the word install");
    if (!what || c->args.n_words > 2)
        return vivi_cli_usage(c, "viv help agent", "needs one directory or one VM");
    return strchr(what, '/') || !strcmp(what, ".") || !strcmp(what, "..") ? into_directory(c, what)
                                                                          : for_cloud_init(c, what);
}
