"""Every JSON output against its installed schema: a key that is gone or has another type fails."""

import glob
import json
import os

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(os.environ["VIV_PREFIX"], "share/vivarium/schemas") \
    if "VIV_PREFIX" in os.environ else TOP + "/src/cli/schemas"

TYPES = {"string": str, "integer": int, "object": dict, "array": list, "boolean": bool,
         "null": type(None)}
KNOWN = {"$schema", "title", "type", "required", "properties", "additionalProperties", "items", "enum",
         "const", "format"}


def problems(value, schema, where="$"):
    """The part of JSON Schema that ours use; an unknown keyword is an error of the test."""
    assert set(schema) <= KNOWN, set(schema) - KNOWN
    if "const" in schema and value != schema["const"]:
        yield f"{where}: {value!r} is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r} is none of {schema['enum']}"
    if "type" in schema:
        names = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        if not any(type(value) is TYPES[n] for n in names):
            yield f"{where}: {value!r} is no {' or '.join(names)}"
            return
    if isinstance(value, dict):
        for key in schema.get("required", []):
            if key not in value:
                yield f"{where}.{key}: is missing"
        for key, inner in value.items():
            rule = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if rule:
                yield from problems(inner, rule, f"{where}.{key}")
    if isinstance(value, list) and "items" in schema:
        for n, inner in enumerate(value):
            yield from problems(inner, schema["items"], f"{where}[{n}]")


def load(name):
    with open(f"{FOLDER}/{name}.schema.json", encoding="utf-8") as f:
        return json.load(f)


def conforms(value, name):
    schema = load(name)
    rows = value if isinstance(value, list) else [value]
    for row in rows:
        assert list(problems(row, schema)) == [], name
        extra = set(row) - set(schema["properties"])
        assert name == "event" or not extra, f"{name}: {extra} should be in the schema"


def test_the_checker_finds_what_is_planted():
    schema = load("inspect")
    good = {"schema": 1}
    assert any("$.name: is missing" in p for p in problems(good, schema))
    assert list(problems({"schema": 2, "version": 7}, load("version"))) == \
        ["$.schema: 2 is not 1", "$.version: 7 is no string"]
    assert list(problems(True, {"type": "integer"})) == ["$: True is no integer"]


@pytest.fixture
def life(root):
    """VMs in as many states as there are without a guest."""
    root.env["VIV_FAKE"] = "1"
    root.fake("created", labels={"job": "42"})
    root.fake("running", "no-ready")("start")
    root.fake("ready", nets=[{"id": "n0", "forward": ["0:80"]}])("start", "--wait")
    root.fake("stopped")("start", "--wait")
    root("stop", "stopped")
    root.fake("failed", "crash after=10ms")("start")
    root("wait", "failed", "exit")
    root.fake("broken")
    with open(root.home + "/vms/broken/config.json", "w", encoding="utf-8") as f:
        f.write("{")
    return root


def test_lists_and_single_vms(life):
    rows = life("ps", "-o", "json").json()
    assert {r["state"] for r in rows} == {"created", "running", "stopped", "failed", "broken"}
    conforms(rows, "ps")
    for row in rows:
        conforms(life("inspect", row["name"], "-o", "json", code=None).json(), "inspect")


def test_results(life):
    conforms(life("start", "stopped", "-o", "json").json(), "result")
    conforms(life("start", "stopped", "-o", "json").json(), "result")
    for argv in (["pause", "running"], ["resume", "running"], ["reboot", "running"],
                 ["wait", "running", "running"], ["stop", "-a"], ["kill", "ready"], ["rm", "created"]):
        conforms(life(*argv, "-o", "json").json(), "result")
    conforms(life("run", "-d", "-o", "json", "--driver", "fake").json(), "result")
    for _ in range(2):
        conforms(life("create", "-o", "json", "--driver", "fake", "--name", "new").json(), "create")


def test_events(life):
    events = life.events()
    assert {"created", "state", "ready", "op"} <= {e["type"] for e in events}
    conforms(events, "event")


def test_errors(life):
    for argv in (["start", "nobody"], ["run", "--driver", "qemu", "--kernel", "/x"], ["strat"],
                 ["wait", "running", "-t", "10ms"], ["run", "nowhere.yaml"]):
        conforms(json.loads(life(*argv, "-o", "json", code=None).err), "error")


def test_the_rest(life):
    conforms(life("caps", "-o", "json").json(), "caps")
    conforms(life("doctor", "-o", "json", code=None).json(), "doctor")
    conforms(life("version", "-o", "json").json(), "version")
    life("autostart", "on", "ready")
    conforms(life("autostart", "status", "-o", "json").json(), "autostart")
    conforms(life("ip", "ready", "-o", "json").json(), "ip")
    conforms(life("port", "ready", "created", "-o", "json").json(), "port")
    conforms(life("run", "--driver", "fake", "--dry-run", "-o", "json").json(), "plan")
    found = life("config", "check", "--driver", "qemu", "--kernel", "/x", "-o", "json", code=2)
    assert found.json()
    conforms(found.json(), "problem")


def test_changes_and_what_waits_conform(root):
    root.fake("web", "ready after=1ms")
    conforms(root("set", "web", "-o", "json", "labels.a=b").json(), "apply")
    conforms(root("config", "show", "--pending", "web", "-o", "json").json(), "pending")
    root("start", "web")
    conforms(root("set", "web", "-o", "json", "cpus=2", "disks.+d.path=/dev/null").json(), "apply")
    conforms(root("config", "show", "--pending", "web", "-o", "json").json(), "pending")
    conforms(root("inspect", "web", "-o", "json").json(), "inspect")
    conforms(root("device", "ls", "web", "-o", "json").json(), "device")
    conforms(root("device", "add", "web", "net", "id=n7", "-o", "json").json(), "apply")
    conforms(root("device", "rm", "web", "net", "n7", "--async", "-o", "json").json(), "apply")
    conforms(root("stats", "web", "-o", "json").json(), "stats")
    root("kill", "web")  # whatever it was doing
    root("start", "web")
    conforms(root("pause", "web", "--async", "-o", "json").json(), "result")


def test_every_schema_is_used():
    text = ""
    for name in (__file__, os.path.join(os.path.dirname(__file__), "test_migrate.py")):
        with open(name, encoding="utf-8") as f:
            text += f.read()
    for path in glob.glob(FOLDER + "/*.schema.json"):
        assert f'"{os.path.basename(path)[:-len(".schema.json")]}")' in text, path
