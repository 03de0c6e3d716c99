/* viv completion: the scripts of completions/, embedded by the build. */
#include <string.h>

#include "cli/cli.h"
#include "cli/completion.h"

int vivi_cmd_completion(struct vivi_cli *c)
{
    const char *shell = c->args.n_words ? c->args.words[0] : NULL;

    if (c->args.n_words != 1)
        return vivi_cli_usage(c, "viv completion bash >>~/.bashrc",
                              "needs one shell: bash, zsh or fish");
    for (size_t i = 0; i < vivi_completion_scripts_count; i++) {
        if (!strcmp(vivi_completion_scripts[i].shell, shell)) {
            (void)fputs(vivi_completion_scripts[i].text, stdout);
            return 0;
        }
    }
    return vivi_cli_usage(c, NULL, "\"%s\" is none of bash, zsh, fish", shell);
}
