"""What the tests that run in the lab found, one by one."""

import ast
import glob
import os

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
DOUBLE = os.path.join(os.path.dirname(HERE), "stub", "test_double.py")


def functions(path):
    with open(path, encoding="utf-8") as f:
        return [n for n in ast.parse(f.read()).body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")]


def rows():
    """(file, function) of all that runs inside: the tests of inside/, and those of the double that real ones pass."""
    found = [(os.path.basename(p), n.name) for p in sorted(glob.glob(os.path.join(HERE, "inside", "test_*.py"))) for n in functions(p)]
    found += [(os.path.basename(DOUBLE), n.name) for n in functions(DOUBLE) if "vmm" in [a.arg for a in n.args.args]]
    return found


@pytest.mark.parametrize("file, name", rows(), ids=lambda v: v.removeprefix("test_").removesuffix(".py"))
def test_inside(lab, file, name):
    """A test with parameters passes when each of them did."""
    verdicts = lab.of(file, name)
    assert verdicts, f"it did not run\n{lab.log()}"
    for v in verdicts:
        assert v["outcome"] != "failed", f"{v['test']}: {v['text']}\n{lab.log()}"
    if all(v["outcome"] == "skipped" for v in verdicts):
        pytest.skip(verdicts[0]["text"].strip().removeprefix("Skipped: "))
