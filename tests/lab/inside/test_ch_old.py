"""The life of a VM under an older release of Cloud Hypervisor, the one that VIV_TEST_CH_OLD names."""

import os

import chlab
from test_ch_life import still, storm


def test_an_older_release(root):
    old = chlab.old_binary()
    where = os.path.join(os.path.dirname(root.home), "bin")
    os.mkdir(where)
    os.symlink(old, os.path.join(where, "cloud-hypervisor"))
    root.env["PATH"] = where + ":" + root.env["PATH"]
    vm = chlab.ready(chlab.create(root, "old"))
    info = vm.info()
    assert os.path.realpath(info["vmm"]["path"]) == os.path.realpath(old)
    chlab.steady(vm, still)
    chlab.steady(vm, storm, ("keeper", "monitor"), 3)
    boot = vm.info()["boot"]
    vm("reboot", "--hard", deadline=chlab.STEP)
    chlab.ready_again(vm, boot + 1)
    r = vm("stop", "-o", "json", deadline=2 * chlab.STEP).json()
    assert (r["state"], r["rung"]) == ("stopped", "acpi")
