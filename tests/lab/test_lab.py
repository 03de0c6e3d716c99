"""What the tests of inside/ found, one by one."""

import ast
import glob
import os

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))


def names():
    found = []
    for path in sorted(glob.glob(os.path.join(HERE, "inside", "test_*.py"))):
        with open(path, encoding="utf-8") as f:
            found += [n.name for n in ast.parse(f.read()).body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")]
    return found


@pytest.mark.parametrize("name", names())
def test_inside(lab, name):
    kind, text = lab.get(name, ("missing", "it did not run"))
    if kind == "skipped":
        pytest.skip(text.strip())
    assert kind == "passed", f"{kind}: {text}\n{lab[None][1]}"
