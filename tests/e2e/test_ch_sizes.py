"""Sizes of a VM that runs under the double of Cloud Hypervisor: what the guest has done is waited for, and what waits is told."""

import json
import os

import pytest
from test_ch_double import Lab

MIB = 1 << 20
GIVE_UP = ("-t", "1")


@pytest.fixture
def lab(root):
    lab = Lab(root)
    lab.journal = os.path.join(lab.base, "journal")
    return lab


def asked(lab, verb="vm.resize"):
    """The bodies that the VMM got."""
    with open(lab.journal, encoding="utf-8") as f:
        entries = [json.loads(line) for line in f]
    return [e["body"] for e in entries if e["path"].endswith("/" + verb)]


def booted(lab, conf=None, **fields):
    lab.does(journal=lab.journal, **(conf or {}))
    return lab.vm(**fields).boot()


def change(vm, *words):
    """path → (what became of it, why)."""
    return {c["path"]: (c["applied"], c["reason"]) for c in vm("set", *words, "-o", "json").json()["changes"]}


def run_config(vm):
    with open(os.path.join(vm.dir, "running.json"), encoding="utf-8") as f:
        return json.load(f)["config"]


@pytest.mark.parametrize("version", ["52.0", "53.0", "head"])
def test_cpus_come_and_go(lab, version):
    vm = booted(lab, {"version": version, "online": 300}, cpus={"count": 2, "max": 4})
    assert change(vm, "cpus=4") == {"cpus.count": ("now", None)}
    assert change(vm, "cpus=1") == {"cpus.count": ("now", None)}
    assert len(asked(lab)) > 4  # asked until they had left
    assert run_config(vm)["cpus"]["count"] == 1 and vm.info()["pending"] is None
    vm("set", "cpus.max=8")
    assert change(vm, "cpus=5") == {"cpus.count": ("next-start", "5 is more than cpus.max of this run (4)")}


def test_without_a_most_cpus_can_leave_and_come_back(lab):
    vm = booted(lab, cpus=2)
    assert change(vm, "cpus=1") == {"cpus.count": ("now", None)}
    assert change(vm, "cpus=2") == {"cpus.count": ("now", None)}
    assert change(vm, "cpus=3") == {"cpus.count": ("next-start", "3 is more than cpus.max of this run (2)")}


def test_cpus_that_do_not_leave_are_told_and_still_may(lab):
    vm = booted(lab, {"online": 2500}, cpus={"count": 2, "max": 4})
    what, why = change(vm, "cpus=1", *GIVE_UP)["cpus.count"]
    assert what == "next-start" and "the guest has not done its part for 1 s" in why
    assert [p["path"] for p in vm.info()["pending"]] == ["cpus.count"]
    vm.until("the guest came round", lambda: vm.info()["pending"] is None)
    assert run_config(vm)["cpus"]["count"] == 1


def test_cpus_come_back_only_when_the_others_have_left(lab):
    """While they leave, the old number would be accepted, and would not be what is there."""
    vm = booted(lab, {"online": 1500}, cpus={"count": 2, "max": 4})
    assert change(vm, "cpus=1", *GIVE_UP)["cpus.count"][0] == "next-start"
    assert change(vm, "cpus=2") == {} or run_config(vm)["cpus"]["count"] == 2
    assert change(vm, "cpus=3") == {"cpus.count": ("now", None)}
    counts = [b["desired_vcpus"] for b in asked(lab)]
    assert counts[-2:] == [3, 3] and 1 in counts


def test_memory_comes_and_goes_by_virtio_mem(lab):
    vm = booted(lab, {"plug": 200}, memory={"size": "256MiB", "max": "1GiB"})
    assert change(vm, "memory=512MiB") == {"memory.size": ("now", None)}
    assert change(vm, "memory=384MiB") == {"memory.size": ("now", None)}
    assert [b["desired_ram"] for b in asked(lab)] == [512 * MIB, 384 * MIB]
    assert change(vm, "memory=128MiB") == {
        "memory.size": ("next-start", "the 256MiB that it started with stay while it runs (take memory by balloon)")}
    assert "2MiB above memory.size" in vm("set", "memory=257MiB", code=2).err
    assert run_config(vm)["memory"]["size"] == 384 * MIB
    create = asked(lab, "vm.create")[0]["memory"]
    assert (create["hotplug_method"], create["hotplug_size"]) == ("VirtioMem", 768 * MIB)


def test_memory_that_the_guest_does_not_take_is_told_with_how_far_it_got(lab):
    vm = booted(lab, {"plug_most": 64 * MIB}, memory={"size": "256MiB", "max": "1GiB"})
    what, why = change(vm, "memory=512MiB", *GIVE_UP)["memory.size"]
    assert what == "next-start" and "1 s (320MiB so far, 512MiB asked for)" in why
    again = change(vm, "memory=512MiB", *GIVE_UP)["memory.size"]  # the VMM's device says: that is so already
    assert again == (what, why)


def test_more_memory_than_there_can_be_is_refused(lab):
    vm = booted(lab, memory={"size": "256MiB"})
    assert change(vm, "memory=512MiB") == {
        "memory.size": ("next-start", "512MiB is more than memory.max of this run (256MiB)")}
    assert asked(lab) == []


def test_memory_by_acpi_only_comes_and_in_its_pieces(lab):
    vm = booted(lab, memory={"size": "256MiB", "max": "2560MiB", "hotplug": "acpi"})
    assert "by ACPI memory comes in multiples of 128MiB" in vm("set", "memory=300MiB", code=2).err
    assert change(vm, "memory=384MiB") == {"memory.size": ("now", None)}
    assert change(vm, "memory=256MiB") == {
        "memory.size": ("next-start", "memory that came by ACPI stays while it runs (384MiB; take memory by balloon)")}
    for n in range(2, 9):
        assert change(vm, f"memory={256 + 128 * n}MiB") == {"memory.size": ("now", None)}
    what, why = change(vm, "memory=1408MiB")["memory.size"]
    assert what == "next-start" and "No more space" in why  # eight times a boot
    vm("stop")
    vm.boot()
    assert asked(lab, "vm.create")[1]["memory"]["size"] == 1408 * MIB


def test_pieces_of_acpi_are_checked_before_the_start(lab):
    r = lab.root("create", "-f", lab.root.config("odd", driver="cloud-hypervisor", boot={"kernel": lab.kernel}, nets=[],
                                                 memory={"size": "256MiB", "max": "300MiB", "hotplug": "acpi"}), code=2)
    assert "memory.max: by ACPI memory comes in multiples of 128MiB above memory.size" in r.err


def test_the_balloon_means_what_is_left(lab):
    vm = booted(lab, {"balloon": 200}, memory={"size": "512MiB", "max": "1GiB", "balloon": "384MiB"})
    assert asked(lab, "vm.create")[0]["balloon"]["size"] == 128 * MIB
    assert change(vm, "memory.balloon=256MiB") == {"memory.balloon": ("now", None)}
    assert asked(lab)[-1] == {"desired_balloon": 256 * MIB}
    assert change(vm, "memory=768MiB") == {"memory.size": ("now", None)}  # and 256 MiB of it are left as before
    assert asked(lab)[-1] == {"desired_ram": 768 * MIB, "desired_balloon": 512 * MIB}
    vm("set", "memory.balloon-")
    assert asked(lab)[-1] == {"desired_balloon": 0}


def test_a_balloon_that_does_not_move_is_told(lab):
    vm = booted(lab, {"balloon": None}, memory="512MiB")
    what, why = change(vm, "memory.balloon=256MiB", *GIVE_UP)["memory.balloon"]
    assert what == "next-start" and "(512MiB so far, 256MiB asked for)" in why


def test_zones_are_nodes_that_grow_and_shrink_each_for_itself(lab):
    zones = [{"id": "a", "size": "256MiB", "max": "512MiB", "cpus": ["0"], "distances": ["b=20"]},
             {"id": "b", "size": "128MiB", "cpus": ["1"]}]
    vm = booted(lab, {"plug": 200}, cpus=2, memory={"zones": zones})
    create = asked(lab, "vm.create")[0]
    assert create["memory"]["size"] == 0 and [z["size"] for z in create["memory"]["zones"]] == [256 * MIB, 128 * MIB]
    assert create["numa"] == [{"guest_numa_id": 0, "memory_zones": ["zone-a"], "cpus": [0],
                               "distances": [{"destination": 1, "distance": 20}]},
                              {"guest_numa_id": 1, "memory_zones": ["zone-b"], "cpus": [1]}]
    assert vm.info()["state"] == "running" and vm.root("ps", "-o", "json").json()[0]["memory_bytes"] == 384 * MIB
    assert change(vm, "memory.zones.a.size=384MiB") == {"memory.zones.a.size": ("now", None)}
    assert asked(lab, "vm.resize-zone") == [{"id": "zone-a", "desired_ram": 384 * MIB}]
    assert change(vm, "memory.zones.a.size=256MiB") == {"memory.zones.a.size": ("now", None)}
    limit = "this run can give it 128MiB to 128MiB, in multiples of 2MiB (memory.zones.b.max)"
    assert change(vm, "memory.zones.b.size=256MiB") == {"memory.zones.b.size": ("next-start", limit)}
    assert change(vm, "memory=1GiB") == {"memory.size": ("next-start", "the memory has zones: their sizes can change")}
    assert "memory.zones.a.size: 256MiB → 320MiB" in vm.root("resize", vm.name, "--zone", "a=320MiB").out
    assert asked(lab, "vm.resize-zone")[-1] == {"id": "zone-a", "desired_ram": 320 * MIB}
    assert 'memory.zones: there is no "c"' in vm.root("resize", vm.name, "--zone", "c=1GiB", code=2).err


def test_a_zone_that_the_guest_does_not_fill_is_told(lab):
    vm = booted(lab, {"plug_most": 32 * MIB}, memory={"zones": [{"id": "a", "size": "256MiB", "max": "512MiB"}]})
    what, why = change(vm, "memory.zones.a.size=384MiB", *GIVE_UP)["memory.zones.a.size"]
    assert what == "next-start" and "(288MiB so far, 384MiB asked for)" in why


def test_a_disk_is_cut_by_force_only(lab):
    image = os.path.join(lab.base, "data.img")
    with open(image, "wb") as f:
        f.truncate(8 * MIB)
    vm = booted(lab, disks=[{"id": "data", "path": image}])
    cut = ["resize", vm.name, "--disk", "data=4MiB"]
    assert "disks.data.size: 4MiB is less than the image has (8MiB)" in vm.root(*cut, code=2).err
    assert asked(lab, "vm.resize-disk") == [] and os.path.getsize(image) == 8 * MIB
    vm.root(*cut, "--force")
    assert asked(lab, "vm.resize-disk") == [{"id": "disk-data", "desired_size": 4 * MIB}]
    assert os.path.getsize(image) == 4 * MIB and vm.info()["pending"] is None
