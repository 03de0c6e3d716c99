"""Makes a man page: build.py VIV SCDOC INPUT OUTPUT

Lines "@section [command…]@" of the input are replaced by what `viv __man section command` prints, so
flags, defaults, fields and exit codes are those of the program.
"""
import re
import subprocess
import sys

viv, scdoc, source, output = sys.argv[1:]


def section(match):
    made = subprocess.run([viv, "__man", *match[1].split()], check=True, capture_output=True)
    return made.stdout.decode()


with open(source, encoding="utf-8") as f:
    text = re.sub(r"^@([a-z-]+(?: [a-z]+)*)@\n", section, f.read(), flags=re.M)
page = subprocess.run([scdoc], input=text.encode(), check=True, capture_output=True,
                      env={"SOURCE_DATE_EPOCH": "0"})
with open(output, "wb") as f:
    f.write(page.stdout)
