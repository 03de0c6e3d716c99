"""Snapshots with a real Cloud Hypervisor: memory, devices and disks go back to one moment together."""

import os

import chlab
import pytest
import vivtest


@pytest.fixture(scope="module")
def web(module_root):
    chlab.binary()
    disk = os.path.join(os.path.dirname(module_root.home), "data.img")
    with open(disk, "wb") as f:
        f.truncate(4 << 20)
    return chlab.ready(chlab.create(module_root, "web", disks=[{"id": "data", "path": disk}]))


def write(console, word):
    """Into memory and onto the disk."""
    console.run(f"echo {word} > /tmp/word; echo {word} | dd of=/dev/vda bs=512 count=1 conv=sync 2>/dev/null; sync", deadline=chlab.STEP)


def read(console):
    return console.run("cat /tmp/word; head -c 20 /dev/vda | head -n 1", deadline=chlab.STEP).split()


def test_a_snapshot_and_the_guest_goes_on(web):
    with chlab.shell(web) as c:
        write(c, "before")
        r = web.root("snapshot", "create", "--allow-long-pause", "web", "one", deadline=2 * chlab.STEP)
        assert r.out == "web: snapshot one\n"
        assert web.info()["state"] == "running"
        write(c, "after")
        assert read(c) == ["after", "after"]
    listed = web.root("snapshot", "ls", "web", "-o", "json").json()
    assert [(s["name"], s["driver"], s["disks"]) for s in listed] == [("one", "cloud-hypervisor", 1)]


def test_restore_goes_back_with_memory_and_disk(web):
    boots = web.serial().count(b"Linux version")
    web("kill", deadline=chlab.STEP)
    web.root("restore", "web", "one", deadline=2 * chlab.STEP)
    info = web.info()
    assert (info["state"], info["ready"]["proof"], info["run"]) == ("running", "inherited", 2)
    with chlab.shell(web) as c:
        assert read(c) == ["before", "before"]
    assert web.serial().count(b"Linux version") == boots, "it booted anew"


def test_it_can_be_adopted_and_stopped_like_any_other(web):
    now = web.processes()
    vivtest.kill(now["monitor"])
    web.until("the next monitor", lambda: web.processes().get("monitor", now["monitor"]) != now["monitor"], deadline=chlab.STEP)
    assert web.info()["state"] == "running"
    r = web("stop", "-o", "json", deadline=2 * chlab.STEP).json()
    assert (r["state"], r["rung"]) == ("stopped", "acpi")


def test_another_release_is_refused(web):
    where = os.path.join(os.path.dirname(web.root.home), "bin")
    os.mkdir(where)
    os.symlink(chlab.old_binary(), os.path.join(where, "cloud-hypervisor"))
    path = web.root.env["PATH"]
    web.root.env["PATH"] = where + ":" + path
    try:
        r = web.root("restore", "web", "one", code=5, deadline=chlab.STEP)
    finally:
        web.root.env["PATH"] = path
    assert "its state is not understood" in r.err
    assert web.info()["state"] == "stopped"
