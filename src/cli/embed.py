"""Makes a C file of the completion scripts: embed.py OUTPUT SHELL=FILE…"""
import sys


def quoted(line):
    text = line.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t")
    return f'     "{text}\\n"'


def main():
    out = ["/* Made from completions/ by embed.py. */", '#include "cli/completion.h"', "",
           "const struct vivi_completion_script vivi_completion_scripts[] = {"]
    for argument in sys.argv[2:]:
        shell, path = argument.split("=", 1)
        with open(path, encoding="utf-8") as f:
            lines = f.read().splitlines()
        out += [f'    {{"{shell}",'] + [quoted(line) for line in lines] + ["    },"]
    out += ["};", f"const size_t vivi_completion_scripts_count = {len(sys.argv) - 2};"]
    with open(sys.argv[1], "w", encoding="utf-8") as f:
        f.write("\n".join(out) + "\n")


main()
