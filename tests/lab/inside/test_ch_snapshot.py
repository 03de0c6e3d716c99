"""
Snapshots with a real Cloud Hypervisor: memory, devices and disks go back to one moment together. They lie on a file system
whose files can share data, as they should.
"""

import os
import shutil
import tempfile

import chlab
import pytest
import vivtest


@pytest.fixture(scope="module")
def folder():
    if not shutil.which("mkfs.xfs"):
        pytest.skip("needs mkfs.xfs: not installed")
    with tempfile.TemporaryDirectory() as base, \
            vivtest.mounted(base + "/x", 640 << 20, "mkfs.xfs", "-q", "-m", "reflink=1") as where:
        yield where


@pytest.fixture(scope="module")
def web(module_root):
    chlab.binary()
    disk = os.path.join(os.path.dirname(module_root.home), "data.img")
    with open(disk, "wb") as f:
        f.truncate(4 << 20)
    return chlab.ready(chlab.create(module_root, "web", agent={"enabled": "on"}, disks=[{"id": "data", "path": disk}]))


@pytest.fixture(scope="module")
def counts():
    """What the guest's counter said: before the snapshot, and when the guest that went on was ended."""
    return {}


def count(vm):
    return int(chlab.run(vm, "cat /tmp/count"))


def goes_on(vm, above):
    """Waits until the guest's counter is above that."""
    chlab.run(vm, f"while [ $(cat /tmp/count) -le {above} ]; do usleep 50000; done")


def write(console, word):
    """Into memory and onto the disk."""
    console.run(f"echo {word} > /tmp/word; echo {word} | dd of=/dev/vda bs=512 count=1 conv=sync 2>/dev/null; sync", deadline=chlab.STEP)


def read(console):
    return console.run("cat /tmp/word; head -c 20 /dev/vda | head -n 1", deadline=chlab.STEP).split()


def test_a_snapshot_and_the_guest_goes_on(web, counts):
    with chlab.shell(web) as c:
        c.line("echo 0 > /tmp/count; n=0; while usleep 50000; do n=$((n+1)); echo $n > /tmp/new; mv /tmp/new /tmp/count; done &")
        write(c, "before")
        goes_on(web, 10)
        counts["before"] = count(web)
        r = web.root("snapshot", "create", "web", "one", deadline=2 * chlab.STEP)
        assert r.out == "web: snapshot one\n"
        kept = vivtest.extents(os.path.join(web.dir, "snapshots/one/disks/data.img"))
        assert kept and all("shared" in flags for _, flags in kept), "its data are the disk's own until one is written"
        assert web.info()["state"] == "running"
        write(c, "after")
        assert read(c) == ["after", "after"]
        goes_on(web, counts["before"] + 200)
        counts["ended"], counts["run"] = count(web), web.info()["run"]
    listed = web.root("snapshot", "ls", "web", "-o", "json").json()
    assert [(s["name"], s["driver"], s["disks"]) for s in listed] == [("one", "cloud-hypervisor", 1)]


def test_restore_goes_back_with_memory_and_disk(web, counts):
    boots = chlab.boots(web)
    web("kill", deadline=chlab.STEP)
    web.root("restore", "web", "one", deadline=2 * chlab.STEP)
    info = web.info()
    assert (info["state"], info["ready"]["proof"], info["run"]) == ("running", "inherited", counts["run"] + 1)
    with chlab.shell(web) as c:
        assert read(c) == ["before", "before"]
    first = count(web)
    assert counts["before"] <= first < counts["ended"], (counts, first)
    goes_on(web, first)
    assert chlab.boots(web) == boots, "it booted anew"


def test_it_can_be_adopted_and_stopped_like_any_other(web):
    now = web.processes()
    vivtest.kill(now["monitor"])
    web.until("the next monitor", lambda: web.processes().get("monitor", now["monitor"]) != now["monitor"], deadline=chlab.STEP)
    assert web.info()["state"] == "running"
    now = web.processes()
    r = web("stop", "-o", "json", deadline=2 * chlab.STEP).json()
    assert (r["state"], r["rung"]) == ("stopped", "agent")
    for who in ("monitor", "keeper"):  # the next ones look for the VMM on another PATH
        vivtest.wait_gone(now[who], chlab.STEP)


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
