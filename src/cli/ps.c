/* viv ps */
#include "cli/ps.h"

#include <dirent.h>
#include <pwd.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/out.h"
#include "cli/select.h"
#include "model/parse.h"

static const char *const head[] = {"NAME", "STATE", "READY", "IP", "CPUS", "MEM", "DRIVER", "AGE"};

static const char *color_of(size_t column, const char *text)
{
    if (column != 1)
        return NULL;
    if (!strcmp(text, "ready"))
        return "32";
    if (!strcmp(text, "failed") || !strcmp(text, "broken"))
        return "31";
    return !strcmp(text, "paused") ? "33" : NULL;
}

/* Running and ready is shown as one word. */
const char *vivi_shown_state(const viv_rec *rec)
{
    const char *state = viv_rec_str(rec, "state");

    if (!state)
        return "?";
    return !strcmp(state, "running") && !viv_rec_is_null(rec, "ready") ? "ready" : state;
}

static void ready_text(const viv_rec *rec, char ret[24])
{
    int64_t ms;

    ret[0] = '\0';
    if (!viv_rec_is_null(rec, "ready") && viv_rec_i64(rec, "ready.after_ms", &ms) == 0)
        (void)snprintf(ret, 24, "%d.%02ds", (int)(ms / 1000), (int)(ms % 1000 / 10));
}

/* An address that this host cannot reach stands in parentheses. */
static void ip_text(const viv_rec *rec, char ret[64])
{
    const char *ip = viv_rec_str(rec, "ip");
    int reachable = 1;

    (void)viv_rec_bool(rec, "ip_reachable", &reachable);
    (void)snprintf(ret, 64, reachable || !ip ? "%s" : "(%s)", ip ? ip : "");
}

static void add_row(struct vivi_table *t, const viv_rec *rec, int64_t now_ms)
{
    char ready[24], ip[64], cpus[24] = "", mem[24] = "", age[24] = "";
    const char *created = viv_rec_str(rec, "created_at");
    int64_t n, created_ms;

    ready_text(rec, ready);
    ip_text(rec, ip);
    if (viv_rec_i64(rec, "cpus", &n) == 0)
        (void)snprintf(cpus, sizeof(cpus), "%d", (int)n);
    if (viv_rec_i64(rec, "memory_bytes", &n) == 0)
        vivi_format_size((uint64_t)n, mem);
    if (created && vivi_time_parse(created, &created_ms) == 0)
        vivi_text_age(now_ms - created_ms, age);
    vivi_table_cell(t, viv_rec_str(rec, "name"));
    vivi_table_cell(t, vivi_shown_state(rec));
    vivi_table_cell(t, ready);
    vivi_table_cell(t, ip);
    vivi_table_cell(t, cpus);
    vivi_table_cell(t, mem);
    vivi_table_cell(t, viv_rec_str(rec, "driver"));
    vivi_table_cell(t, age);
}

static void warn_if_broken(struct vivi_cli *c, const viv_rec *rec)
{
    const char *state = viv_rec_str(rec, "state"), *why = viv_rec_str(rec, "reason.text");
    const char *name = viv_rec_str(rec, "name");

    if (state && !strcmp(state, "broken"))
        vivi_cli_note(c, "viv: ps: %s: broken record (%s); nothing deleted", name ? name : "?",
                      why ? why : "?");
}

/* ---- nothing here, but somebody else has some ---- */

static size_t count_vms(const char *root)
{
    char path[4200];
    cleanup_closedir DIR *d = NULL;
    size_t n = 0;

    (void)snprintf(path, sizeof(path), "%s/vms", root);
    d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    return n;
}

/* Under sudo people look for VMs that they made as themselves. */
static void hint_sudo(struct vivi_cli *c)
{
    const char *user = getenv("SUDO_USER");
    const struct passwd *pw = geteuid() == 0 && user ? getpwnam(user) : NULL;
    char theirs[4096];
    size_t n;

    if (!pw || pw->pw_uid == 0 || c->root || getenv("VIV_HOME"))
        return;
    (void)snprintf(theirs, sizeof(theirs), "%s/.local/state/vivarium", pw->pw_dir);
    n = count_vms(theirs);
    if (n)
        vivi_cli_note(c, "hint: none here (%s); %zu in %s", viv_root(c->v), n, theirs);
}

/* ---- printing ---- */

static bool wanted(struct vivi_cli *c, const viv_rec *rec)
{
    const char *state = viv_rec_str(rec, "state");

    return !vivi_args_has(&c->args, "--running") ||
           (state && vivi_select_state(VIVI_STATES_ALIVE, state));
}

static int print_table(struct vivi_cli *c, const viv_list *list)
{
    cleanup_table struct vivi_table t = {0};
    int64_t now_ms = vivi_wall_ms();

    vivi_table_init(&t, head, ARRAY_SIZE(head));
    for (size_t i = 0; i < viv_list_len(list); i++) {
        if (wanted(c, viv_list_at(list, i)))
            add_row(&t, viv_list_at(list, i), now_ms);
    }
    return vivi_table_print(c, &t, color_of);
}

static int print_records(struct vivi_cli *c, const viv_list *list)
{
    vivi_cli_records(c, true);
    for (size_t i = 0; i < viv_list_len(list); i++) {
        const viv_rec *rec = viv_list_at(list, i);
        const char *name = viv_rec_str(rec, "name");

        if (!wanted(c, rec))
            continue;
        if (c->quiet)
            (void)printf("%s\n", name ? name : "?");
        else if (vivi_cli_rec(c, rec))
            return c->code;
    }
    return c->quiet ? 0 : vivi_cli_records_end(c);
}

int vivi_cmd_ps(struct vivi_cli *c)
{
    cleanup_list viv_list *list = NULL;
    cleanup_buf struct vivi_buf text = VIVI_BUF(VIVI_FILTER_TEXT_MAX);
    viv_error err = VIV_ERROR_INIT;
    const char *filter;
    int code;

    if (c->args.n_words)
        return vivi_cli_usage(c, "viv inspect shows single VMs", "takes no words");
    code = vivi_cli_open(c, VIV_OPEN_READONLY);
    if (code == 0)
        code = vivi_select_filter(c, &text, &filter);
    if (code)
        return code;
    if (viv_ls(c->v, filter, &list, &err) < 0)
        return vivi_cli_fail(c, NULL, &err);
    code = c->quiet || vivi_cli_structured(c) ? print_records(c, list) : print_table(c, list);
    for (size_t i = 0; i < viv_list_len(list); i++)
        warn_if_broken(c, viv_list_at(list, i));
    if (viv_list_len(list) == 0)
        hint_sudo(c);
    return code;
}
