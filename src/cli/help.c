/* viv help: from the tables. */
#include "cli/cli.h"

#include <string.h>

#include "model/parse.h"

#define FLAG_COLUMN 30

static void print_overview(FILE *to)
{
    const char *group = NULL;

    (void)fputs("viv keeps virtual machines.\n\nUsage: viv COMMAND [FLAGS] [WORDS]\n", to);
    for (size_t i = 0; i < vivi_commands_count(); i++) {
        const struct vivi_command *cmd = &vivi_commands[i];
        char name[40];

        if (cmd->hidden)
            continue;
        if (!group || strcmp(group, cmd->group)) {
            group = cmd->group;
            (void)fprintf(to, "\n%s\n", group);
        }
        (void)snprintf(name, sizeof(name), "%s%s%s", cmd->name, cmd->alias ? ", " : "",
                       cmd->alias ? cmd->alias : "");
        (void)fprintf(to, "  %-12s %s\n", name, cmd->summary);
    }
    (void)fputs("\n`viv help COMMAND` explains one; `man viv` has everything.\n", to);
}

static void print_flag(FILE *to, char short_name, const char *name, const char *arg)
{
    char left[80];

    if (short_name)
        (void)snprintf(left, sizeof(left), "-%c, %s%s%s", short_name, name, arg ? " " : "",
                       arg ? arg : "");
    else
        (void)snprintf(left, sizeof(left), "    %s%s%s", name, arg ? " " : "", arg ? arg : "");
    (void)fprintf(to, "  %-*s ", FLAG_COLUMN, left);
    if (strlen(left) > FLAG_COLUMN)
        (void)fprintf(to, "\n  %-*s ", FLAG_COLUMN, "");
}

static void print_fields(FILE *to)
{
    (void)fputs("\nConfiguration (fields without a flag: --set; `viv config docs` has all)\n", to);
    for (size_t i = 0; i < vivi_fields_count(); i++) {
        const struct vivi_field *f = &vivi_fields[i];

        if (!f->flag)
            continue;
        print_flag(to, f->short_flag, f->flag, f->type == VIVI_T_BOOL ? NULL : f->arg);
        (void)fprintf(to, "%s", f->help);
        if (f->def && *f->def)
            (void)fprintf(to, " (default: %s)", f->def);
        (void)fputs("\n", to);
    }
}

static void print_command(FILE *to, const struct vivi_command *cmd)
{
    const struct vivi_flag *f;

    (void)fprintf(to, "viv %s: %s\n\nUsage: viv %s %s\n\nFlags\n", cmd->name, cmd->summary,
                  cmd->name, cmd->synopsis);
    for (size_t i = 0; (f = vivi_flag_at(&cmd->flags, i)); i++) {
        print_flag(to, f->short_name, f->name, f->arg);
        (void)fprintf(to, "%s", f->help);
        if (f->choices)
            (void)fprintf(to, " (%s)", f->choices);
        if (f->def)
            (void)fprintf(to, " (default: %s)", f->def);
        (void)fputs("\n", to);
    }
    if (cmd->flags.fields)
        print_fields(to);
    (void)fprintf(to, "\nMore: man %s\n", cmd->page);
}

void vivi_help_print(FILE *to, const struct vivi_command *cmd)
{
    if (cmd)
        print_command(to, cmd);
    else
        print_overview(to);
}

int vivi_cmd_help(struct vivi_cli *c)
{
    const char *names[96], *near, *word;
    const struct vivi_command *cmd = NULL;
    char hint[100];
    size_t n = 0;

    if (c->args.n_words > 1)
        return vivi_cli_usage(c, NULL, "takes one command");
    word = c->args.n_words ? c->args.words[0] : NULL;
    if (word) {
        cmd = vivi_command_find(word);
        if (!cmd) {
            for (size_t i = 0; i < vivi_commands_count() && n < ARRAY_SIZE(names); i++) {
                if (!vivi_commands[i].hidden)
                    names[n++] = vivi_commands[i].name;
            }
            near = vivi_nearest(word, names, n);
            (void)snprintf(hint, sizeof(hint), "did you mean \"%s\"?", near ? near : "");
            return vivi_cli_usage(c, near ? hint : "viv help", "%s: unknown command", word);
        }
    }
    vivi_help_print(stdout, cmd);
    return 0;
}
