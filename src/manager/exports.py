#!/usr/bin/python3
"""Writes the linker's version script: exactly the functions that the public header declares.

    exports.py HEADER OUTPUT
"""
import re
import sys


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        text = re.sub(r"/\*.*?\*/", " ", f.read(), flags=re.S)
    names = sorted(set(re.findall(r"VIV_API[^;(]*?\b(viv_\w+)\s*\(", text)))
    if not names:
        sys.exit("no function is declared")
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        f.write("VIVARIUM_1 {\n  global:\n")
        f.writelines(f"    {name};\n" for name in names)
        f.write("  local:\n    *;\n};\n")


main()
