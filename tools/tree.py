"""The files of this source tree, for the checks in this folder."""
import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
C_FOLDERS = ("include", "src", "guest", "tests", "bench")
SKIPPED_DIRS = {".git", "__pycache__", ".pytest_cache"}


def files(root=ROOT):
    """Paths relative to root, sorted: what git tracks or would track, or all files without git."""
    if os.path.exists(os.path.join(root, ".git")):
        out = subprocess.run(
            ["git", "-c", "safe.directory=*", "-C", root, "ls-files", "-z", "--cached", "--others",
             "--exclude-standard"], capture_output=True, check=False)
        if out.returncode == 0:
            names = {n for n in out.stdout.decode().split("\0") if n}
            return sorted(n for n in names if os.path.isfile(os.path.join(root, n)))
    found = []
    for folder, dirs, names in os.walk(root):
        dirs[:] = [d for d in dirs if d not in SKIPPED_DIRS and not is_build(d)]
        found += [os.path.relpath(os.path.join(folder, n), root) for n in names]
    return sorted(found)


def is_build(name):
    return name == "build" or name.startswith("build-")


def c_files(root=ROOT, suffixes=(".c", ".h")):
    return [f for f in files(root)
            if f.split("/", 1)[0] in C_FOLDERS and f.endswith(suffixes)]


def read(path, root=ROOT):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as f:
        return f.read()


def strip_comments(text, line_comments=True):
    """C text with comments and string contents blanked; line numbers stay true."""
    out, i, n = [], 0, len(text)
    while i < n:
        if text.startswith("/*", i):
            end = text.find("*/", i + 2)
            end = n if end < 0 else end + 2
            out.append("".join(c if c == "\n" else " " for c in text[i:end]))
            i = end
        elif line_comments and text.startswith("//", i):
            end = text.find("\n", i)
            i = n if end < 0 else end
        elif text[i] in "\"'":
            quote, start = text[i], i
            i += 1
            while i < n and text[i] != quote and text[i] != "\n":
                i += 2 if text[i] == "\\" else 1
            i = min(i + 1, n)
            out.append(quote + " " * max(i - start - 2, 0) + quote)
        else:
            out.append(text[i])
            i += 1
    return "".join(out)
