/* viv: finds the command, parses its flags, runs its handler. */
#include <locale.h>
#include <signal.h>
#include <string.h>

#include "cli/cli.h"
#include "model/parse.h"

/* Flags that may also stand before the command, so that `viv --root DIR ps` works. */
static int leading_flags(int argc, char **argv)
{
    int at = 1;

    while (at < argc && argv[at][0] == '-' && argv[at][1]) {
        const char *word = argv[at];
        const struct vivi_flags global = {.sets = {vivi_flags_global}};
        const struct vivi_flag *f =
            word[1] == '-' ? vivi_flag_find(&global, word) : vivi_flag_short(&global, word[1]);
        bool value_follows = f && f->value != VIVI_V_NONE && (word[1] == '-' || !word[2]);

        if (!f && strncmp(word, "--root=", 7) && strncmp(word, "--output=", 9) &&
            strncmp(word, "--format=", 9))
            break;
        at += value_follows ? 2 : 1;
    }
    return at < argc ? at : argc;
}

/* Whether errors are to be JSON must be known before the flags are parsed. */
static bool wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
        if (!strcmp(argv[i], "-ojson") || !strcmp(argv[i], "--output=json") ||
            ((!strcmp(argv[i], "-o") || !strcmp(argv[i], "--output")) && i + 1 < argc &&
             !strcmp(argv[i + 1], "json")))
            return true;
    }
    return false;
}

static int unknown_command(const char *name, bool json)
{
    const char *names[96];
    const char *near;
    viv_error err = VIV_ERROR_INIT;
    size_t n = 0;

    for (size_t i = 0; i < vivi_commands_count() && n + 2 <= ARRAY_SIZE(names); i++) {
        if (vivi_commands[i].hidden)
            continue;
        names[n++] = vivi_commands[i].name;
        if (vivi_commands[i].alias)
            names[n++] = vivi_commands[i].alias;
    }
    near = vivi_nearest(name, names, n);
    (void)vivi_fail(&err, VIV_E_INVALID, "%s: unknown %s", name,
                    name[0] == '-' ? "flag" : "command");
    if (near)
        vivi_hint(&err, "did you mean \"%s\"?", near);
    else
        vivi_hint(&err, "viv help");
    return vivi_error_print(stderr, json, NULL, &err);
}

static void read_global_flags(struct vivi_cli *c)
{
    const char *format = vivi_args_str(&c->args, "--output");
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

    c->format_given = format;
    if (format && !strcmp(format, "json"))
        c->format = VIVI_FORMAT_JSON;
    else if (format && !strcmp(format, "yaml"))
        c->format = VIVI_FORMAT_YAML;
    c->template = vivi_args_str(&c->args, "--format");
    c->quiet = vivi_args_has(&c->args, "--quiet");
    c->raw = vivi_args_has(&c->args, "--raw");
    c->root = vivi_args_str(&c->args, "--root");
    c->out_tty = isatty(STDOUT_FILENO);
    c->err_tty = isatty(STDERR_FILENO);
    c->color = c->out_tty && !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;
}

/* The words of a command line without its command: leading flags, then what follows it. */
static const char **join_words(int argc, char **argv, int at, int *ret_n)
{
    const char **words = calloc((size_t)argc + 1, sizeof(*words));
    int n = 0;

    for (int i = 1; words && i < argc; i++) {
        if (i != at)
            words[n++] = argv[i];
    }
    *ret_n = n;
    return words;
}

/* Output that could not be written is a failure, whatever the command says. */
static int finish(struct vivi_cli *c, int code)
{
    viv_error err = VIV_ERROR_INIT;

    viv_close(c->v);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    (void)vivi_fail(&err, VIV_E_IO, "cannot write the output");
    return vivi_cli_fail(c, NULL, &err);
}

static int run_command(const struct vivi_command *cmd, int argc, char **argv, int at)
{
    struct vivi_cli c = {.cmd = cmd};
    viv_error err = VIV_ERROR_INIT;
    cleanup_free const char **words = NULL;
    int n, code;

    if (wants_json(argc, argv))
        c.format = VIVI_FORMAT_JSON;
    words = join_words(argc, argv, at, &n);
    if (!words)
        return vivi_cli_oom(&c);
    /* Completion and the man page's source take words as they are: most of them look like flags. */
    if (cmd->hidden) {
        c.args.words = words;
        c.args.n_words = (size_t)n;
        return finish(&c, cmd->run(&c));
    }
    if (vivi_args_parse(&cmd->flags, n, words, &c.args, &err) < 0)
        return vivi_cli_fail(&c, NULL, &err);
    c.format = VIVI_FORMAT_TABLE;
    read_global_flags(&c);
    if (vivi_args_has(&c.args, "--help")) {
        vivi_help_print(stdout, cmd);
        code = 0;
    } else {
        code = cmd->run(&c);
    }
    code = finish(&c, code);
    vivi_args_done(&c.args);
    return code;
}

int main(int argc, char **argv)
{
    const struct vivi_command *cmd;
    int at;

    /* A reader that goes away ends us quietly, even if whoever started us ignored the signal. */
    (void)signal(SIGPIPE, SIG_DFL);
    at = leading_flags(argc, argv);
    if (argc == 2 && (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")))
        cmd = vivi_command_find("version");
    else if (at < argc)
        cmd = vivi_command_find(argv[at]);
    else
        cmd = NULL;
    if (!cmd && at < argc)
        return unknown_command(argv[at], wants_json(argc, argv));
    if (!cmd) {
        bool asked =
            argc > 1 && (!strcmp(argv[argc - 1], "--help") || !strcmp(argv[argc - 1], "-h"));

        vivi_help_print(asked ? stdout : stderr, NULL);
        return asked ? 0 : 2;
    }
    if (argc == 2 && argv[1][0] == '-')
        at = 1;
    return run_command(cmd, argc, argv, at);
}
