/*
 * viv __man SECTION [COMMAND…]: sections of the man pages, in scdoc's form, from the tables: so the
 * pages cannot say anything else than the program does. Used by the build.
 */
#include <string.h>

#include "cli/cli.h"
#include "model/config.h"
#include "model/model.h"

/* scdoc's own characters in running text. */
static void put_escaped(const char *s)
{
    for (; *s; s++) {
        if (strchr("_*\\[]|#~<>", *s))
            (void)putchar('\\');
        (void)putchar(*s);
    }
}

static void put_flag(char short_name, const char *name, const char *arg)
{
    if (short_name)
        (void)printf("*-%c*, ", short_name);
    (void)printf("*%s*", name);
    if (arg) {
        (void)printf(" _");
        for (const char *p = arg; *p; p++) {
            if (strchr("_*\\[]|#~<>", *p))
                (void)putchar('\\');
            (void)putchar(*p);
        }
        (void)printf("_");
    }
    (void)printf("\n\t");
}

static void put_help(const char *help, const char *choices, const char *def)
{
    put_escaped(help);
    if (choices) {
        (void)printf(" (");
        put_escaped(choices);
        (void)printf(")");
    }
    (void)printf(".");
    if (def && *def) {
        (void)printf(" Default: ");
        put_escaped(def);
        (void)printf(".");
    }
    (void)printf("\n\n");
}

static void put_flags(const struct vivi_flag *set)
{
    for (; set && set->name; set++) {
        put_flag(set->short_name, set->name, set->arg);
        put_help(set->help, set->choices, set->def);
    }
}

/* Flags of one command; those that every command takes stand in viv(1). */
static int man_flags(const struct vivi_command *cmd)
{
    for (size_t i = 0; i < VIVI_FLAG_SETS; i++) {
        if (cmd->flags.sets[i] != vivi_flags_global)
            put_flags(cmd->flags.sets[i]);
    }
    return 0;
}

static int man_field_flags(void)
{
    for (size_t i = 0; i < vivi_fields_count(); i++) {
        const struct vivi_field *f = &vivi_fields[i];

        if (!f->flag)
            continue;
        put_flag(f->short_flag, f->flag, f->arg);
        put_help(f->help, f->choices, f->def);
    }
    return 0;
}

static int man_fields(void)
{
    for (size_t i = 0; i < vivi_fields_count(); i++) {
        const struct vivi_field *f = &vivi_fields[i];

        (void)printf("*");
        put_escaped(f->path);
        (void)printf("*\n\t");
        put_help(f->help, f->choices, f->def);
    }
    return 0;
}

/* A line for each command named. */
static int man_synopsis(struct vivi_cli *c)
{
    for (size_t i = 1; i < c->args.n_words; i++) {
        const struct vivi_command *cmd = vivi_command_find(c->args.words[i]);

        if (!cmd)
            return vivi_cli_usage(c, NULL, "unknown command");
        (void)printf("%s*viv %s* ", i > 1 ? "++\n" : "", cmd->name);
        put_escaped(cmd->synopsis);
    }
    (void)printf("\n");
    return 0;
}

static int man_commands(void)
{
    for (size_t i = 0; i < vivi_commands_count(); i++) {
        const struct vivi_command *cmd = &vivi_commands[i];

        if (cmd->hidden)
            continue;
        (void)printf("*%s*", cmd->name);
        if (cmd->alias)
            (void)printf(", *%s*", cmd->alias);
        (void)printf("\n\t%s", cmd->summary);
        if (strcmp(cmd->page, "viv") != 0)
            (void)printf("; see *%s*(1)", cmd->page);
        (void)printf(".\n\n");
    }
    return 0;
}

static int man_exit_codes(void)
{
    static const char *const meaning[] = {
        "success",   "failure",     "usage or configuration error",
        "not found", "wrong state", "unsupported here",
        "timed out", "denied",      "exists already",
        "busy"};

    for (int code = 0; code < (int)ARRAY_SIZE(meaning); code++) {
        (void)printf("*%d*\n\t%s", code, meaning[code]);
        for (int e = VIV_E_INTERNAL; code && e <= VIV_E_VMM; e++) {
            if (viv_code_exit(e) == code)
                (void)printf(", %s", viv_code_name(e));
        }
        (void)printf("\n\n");
    }
    (void)printf("*%d*\n\tinterrupted, %s\n\n", viv_code_exit(VIV_E_CANCELLED),
                 viv_code_name(VIV_E_CANCELLED));
    return 0;
}

static int man_states(void)
{
    for (int s = 0; s < VIV_ST_COUNT_; s++)
        (void)printf("%s*%s*", s ? ", " : "", vivi_state_name((enum viv_state)s));
    (void)printf("\n");
    return 0;
}

int vivi_cmd_man(struct vivi_cli *c)
{
    const char *section = c->args.n_words ? c->args.words[0] : "";
    const struct vivi_command *cmd =
        c->args.n_words > 1 ? vivi_command_find(c->args.words[1]) : NULL;

    if (cmd && !strcmp(section, "flags"))
        return man_flags(cmd);
    if (cmd && !strcmp(section, "synopsis"))
        return man_synopsis(c);
    if (!strcmp(section, "global")) {
        put_flags(vivi_flags_global);
        return 0;
    }
    if (!strcmp(section, "field-flags"))
        return man_field_flags();
    if (!strcmp(section, "fields"))
        return man_fields();
    if (!strcmp(section, "commands"))
        return man_commands();
    if (!strcmp(section, "exit-codes"))
        return man_exit_codes();
    if (!strcmp(section, "states"))
        return man_states();
    return vivi_cli_usage(c, NULL, "unknown section");
}
