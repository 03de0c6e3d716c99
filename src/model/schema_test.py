#!/usr/bin/python3
"""The JSON Schema and the parser agree: what one takes the other takes, and both refuse the same.

    schema_test.py VIV_MODEL_DUMP        prints TAP
"""
import json
import subprocess
import sys

try:
    import jsonschema
    import yaml
except ImportError as e:
    print(f"1..0 # SKIP needs {e.name}")
    sys.exit(0)

GOOD = [
    "{}", "name: web", "nets: []", "cpus: 3", "cpus: {count: 3}", "cpus: {count: }", "memory: 2G",
    "memory: {size: 1.5GiB}", "memory: 1048576", "driver: fake", "accel: tcg", "machine: q35",
    "disks: [{path: a, id: data, readonly: true}]", "disks: [{id: data}]", "boot: {kernel: vmlinuz}",
    "nets: [{forward: '8080:80'}]", "nets: [{forward: [':80', '[::1]:53:53/udp'], mac: auto}]",
    "nets: [{mac: '52:54:00:AB:cd:ef'}]", "labels: {a: 1, b.c/d: yes, e: x}", "name:\nboot: ~",
    "ready: {timeout: 1.5s, by: none}", "stop: {timeout: 0}", "restart: {policy: always, backoff: 1s}",
    "serial: {log: auto, log_limit: 64KiB}", "fake: {script: ready}", "disks: null",
]
BAD = [
    "- a", "memroy: 1", "memory: 1 cow", "memory: '1.5'", "memory: 1GB", "memory: 1024", "cpus: 0",
    "cpus: 1025", "cpus: two", "disks: {a: 1}", "disks: [a]", "disks: [{pth: a}]",
    "disks: [{path: ''}]", "nets: [{type: tun}]", "nets: [{mac: '01:00:00:00:00:01'}]",
    "nets: [{forward: '80'}]", "nets: [{forward: {a: b}}]", "name: a/b", "name: -a", "name: [a]",
    "driver: xen", "ready: {timeout: -1}", "ready: {timeout: 1d}", "labels: {a b: c}",
    "labels: {a: [b]}", "boot: vmlinuz", "boot: {kernel: ''}", "disks: [{path: a, readonly: maybe}]",
]


def main():
    dump = sys.argv[1]
    schema = json.loads(subprocess.run([dump, "schema"], check=True, capture_output=True).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    failed = 0
    print(f"1..{len(GOOD) + len(BAD)}")
    for number, text in enumerate(GOOD + BAD, 1):
        wanted = number <= len(GOOD)
        parsed = subprocess.run([dump, "parse"], input=text.encode(), capture_output=True,
                                check=False)
        by_parser = parsed.returncode == 0
        by_schema = validator.is_valid(yaml.safe_load(text))
        ok = by_parser == by_schema == wanted
        failed += not ok
        title = text.replace("\n", " ").replace("#", "")
        print(f"{'ok' if ok else 'not ok'} {number} - {'takes' if wanted else 'refuses'} {title}")
        if not ok:
            print(f"# parser {by_parser}, schema {by_schema} {parsed.stderr.decode().strip()}")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
