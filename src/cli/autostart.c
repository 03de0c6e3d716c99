/* viv autostart on | off | status */
#include <errno.h>
#include <pwd.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/exe.h"
#include "cli/look.h"
#include "cli/out.h"
#include "cli/say.h"
#include "cli/select.h"

#define SYSTEMD_RUNS "/run/systemd/system"

/* ---- on, off ---- */

static void say_done(struct vivi_cli *c, const struct vivi_job *job)
{
    const char *unit = viv_rec_str(job->result, "unit");

    (void)c;
    if (unit)
        (void)printf("%s: starts with its host (%s)\n", vivi_job_name(job), unit);
    else
        (void)printf("%s: does not start with its host\n", vivi_job_name(job));
}

/* systemd reads units by itself when it boots; a running one is asked to look again. */
static void reload(struct vivi_cli *c)
{
    char *argv[] = {(char *)(uintptr_t)"systemctl", (char *)(uintptr_t)"--quiet",
                    (char *)(uintptr_t)(geteuid() == 0 ? "--system" : "--user"),
                    (char *)(uintptr_t)"daemon-reload", NULL};
    int status = -1, r;
    pid_t pid;

    r = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
    while (r == 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (r != 0 || status != 0)
        vivi_cli_note(c, "hint: systemd could not be told: systemctl %s daemon-reload", argv[2]);
}

/* A user's manager, and with it the unit, starts at the first log-in unless the user lingers. */
static void hint_linger(struct vivi_cli *c)
{
    const struct passwd *pw = geteuid() == 0 ? NULL : getpwuid(geteuid());
    char path[300];

    if (!pw)
        return;
    (void)snprintf(path, sizeof(path), "/var/lib/systemd/linger/%.200s", pw->pw_name);
    if (access(path, F_OK) < 0)
        vivi_cli_note(c,
                      "hint: it starts when %s logs in; with the host: loginctl enable-linger %s",
                      pw->pw_name, pw->pw_name);
}

/* What the library is told: an absolute directory, and which program the unit is to run. */
static int options(const char *dir, bool on, viv_opts *o, viv_error *err)
{
    char here[PATH_MAX], text[2 * PATH_MAX];
    int r = viv_opts_set_bool(o, "on", on, err);

    vivi_exe_dir(here);
    (void)snprintf(text, sizeof(text), "%s/viv", here);
    if (r >= 0)
        r = viv_opts_set_str(o, "program", text, err);
    if (r < 0 || !dir)
        return r;
    if (dir[0] == '/')
        return viv_opts_set_str(o, "unit_dir", dir, err);
    if (!getcwd(here, sizeof(here)))
        return vivi_fail_errno(err, errno, "cannot tell the working directory");
    (void)snprintf(text, sizeof(text), "%s/%s", here, dir);
    return viv_opts_set_str(o, "unit_dir", text, err);
}

static int turn(struct vivi_cli *c, bool on)
{
    cleanup_opts viv_opts *o = NULL;
    viv_error err = VIV_ERROR_INIT;
    const char *dir = vivi_args_str(&c->args, "--unit-dir");
    struct vivi_verb verb = {.doing = "changing", .begin = viv_vm_autostart, .say = say_done};
    int code;

    if (dir && !on)
        return vivi_cli_usage(c, NULL, "off: takes no --unit-dir: it is known where the unit is");
    if (viv_opts_new(&o, &err) < 0 || options(dir, on, o, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    verb.opts = o;
    code = vivi_verb_run_on(c, &verb, c->args.words + 1, c->args.n_words - 1);
    if (dir || getenv("VIV_UNIT_DIR") || code)
        return code;
    if (access(SYSTEMD_RUNS, F_OK) == 0)
        reload(c);
    else if (on)
        vivi_cli_note(c, "hint: systemd does not run here; it starts VMs where it boots the host");
    if (on)
        hint_linger(c);
    return 0;
}

/* ---- status ---- */

static int show(struct vivi_cli *c, const char *name, const viv_rec *info)
{
    const char *unit = viv_rec_str(info, "autostart.unit"), *desired = viv_rec_str(info, "desired");
    int on = 0;

    (void)viv_rec_bool(info, "autostart.on", &on);
    if (vivi_cli_structured(c))
        return vivi_cli_record(c, json_pack("{s:s, s:b, s:s?, s:s?}", "name", name, "on", on,
                                            "unit", unit, "desired", desired));
    if (on && desired && !strcmp(desired, "stopped"))
        (void)printf("%s: on, but it was stopped and stays so\n", name);
    else
        (void)printf("%s: %s%s\n", name, on ? "on" : "off",
                     unit && !on ? " (its unit was disabled or removed by somebody else)" : "");
    return 0;
}

/* Without a word all of them, as ps does. */
static int status(struct vivi_cli *c)
{
    cleanup_selection struct vivi_selection sel = {0};
    const char *const *words = c->args.words + 1;
    size_t n = c->args.n_words - 1;
    cleanup_list viv_list *list = NULL;
    bool all = n == 0 && !vivi_args_has(&c->args, "--all") && !vivi_args_str(&c->args, "--filter");
    viv_error err = VIV_ERROR_INIT;
    int code = vivi_cli_open(c, VIV_OPEN_READONLY);

    if (code)
        return code;
    if (all && viv_ls(c->v, NULL, &list, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    if (!all)
        code = vivi_select(c, words, n, NULL, &sel);
    if (code)
        return code;
    vivi_cli_records(c, all || sel.several);
    for (size_t i = 0; i < viv_list_len(list); i++)
        (void)vivi_cli_code(c, vivi_look_at(c, viv_rec_str(viv_list_at(list, i), "name"), show));
    for (size_t i = 0; i < sel.n; i++)
        (void)vivi_cli_code(c, vivi_look_at(c, sel.names[i], show));
    (void)vivi_cli_records_end(c);
    return c->code;
}

int vivi_cmd_autostart(struct vivi_cli *c)
{
    static const char *const names[] = {"on", "off", "status"};
    const char *word = c->args.n_words ? c->args.words[0] : "", *near;
    char hint[64];

    if (!strcmp(word, "status"))
        return status(c);
    if (!strcmp(word, "on") || !strcmp(word, "off"))
        return turn(c, word[1] == 'n');
    near = vivi_nearest(word, names, ARRAY_SIZE(names));
    (void)snprintf(hint, sizeof(hint), "did you mean \"%s\"?", near ? near : "");
    return vivi_cli_usage(c, *word && near ? hint : "viv help autostart",
                          "needs one of on, off, status");
}
