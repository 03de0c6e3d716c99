"""A guest of a real Cloud Hypervisor that firmware boots from a disk: VIV_TEST_CH_FIRMWARE names an image of rust-hypervisor-firmware."""

import os
import shutil
import subprocess

import chlab
import pytest

MIB = 1 << 20
START = 1  # MiB in front of the EFI system partition
FILES = {"loader/loader.conf": "default demo.conf\n",
         "loader/entries/demo.conf": "title demo\nlinux /vmlinuz\ninitrd /initramfs\n"
                                     "options console=ttyS0 cryptomgr.notests quiet by=firmware\n"}


@pytest.fixture(scope="module")
def firmware():
    path = os.environ.get("VIV_TEST_CH_FIRMWARE")
    if not path or not os.access(path, os.R_OK):
        (pytest.fail if "firmware" in chlab.REQUIRED else pytest.skip)("needs firmware: VIV_TEST_CH_FIRMWARE names none")
    return path


@pytest.fixture(scope="module")
def disk(module_root, firmware):
    """A GPT disk whose EFI system partition holds the demo guest and a boot loader's entry for it."""
    missing = [p for p in ("sfdisk", "mkfs.vfat", "mmd", "mcopy") if not shutil.which(p)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: not installed")
    images = os.environ["VIV_IMAGES"] + "/demo"
    size = sum(os.path.getsize(f"{images}/{name}") for name in ("vmlinuz", "initramfs")) // MIB + 40
    path = chlab.image(module_root, "esp.img", (size + 2 * START) * MIB)
    subprocess.run(["sfdisk", "-q", path], input=f"label: gpt\nstart={START}MiB, size={size}MiB, type=U\n", text=True, check=True)
    subprocess.run(["mkfs.vfat", "-F", "32", f"--offset={START * MIB // 512}", path, str(size << 10)], check=True,
                   stdout=subprocess.DEVNULL)
    into = ["-i", f"{path}@@{START}M"]
    subprocess.run(["mmd", *into, "::loader", "::loader/entries"], check=True)
    for name in ("vmlinuz", "initramfs"):
        subprocess.run(["mcopy", *into, f"{images}/{name}", f"::{name}"], check=True)
    for name, text in FILES.items():
        subprocess.run(["mcopy", *into, "-", f"::{name}"], input=text, text=True, check=True)
    return path


@pytest.fixture(scope="module")
def web(module_root, firmware, disk):
    chlab.binary()
    return chlab.ready(chlab.create(module_root, "web", boot={"firmware": firmware}, disks=[{"id": "esp", "path": disk}]))


def test_it_boots_what_the_disk_holds(web):
    """The command line is that of the disk; nothing in the configuration names a kernel."""
    info = web.info()
    assert (info["state"], info["ready"]["proof"]) == ("running", "marker")
    assert info["config"]["boot"]["kernel"] is None
    with chlab.shell(web) as c:
        assert "by=firmware" in c.run("cat /proc/cmdline").split()
        assert c.run("cat /sys/class/dmi/id/sys_vendor").strip() == "Cloud Hypervisor"


def test_a_reset_goes_through_it_again(web):
    boot, said = web.info()["boot"], web.serial().count(b"Jumping to kernel")
    assert said == 1
    web("reboot", "--hard", deadline=chlab.STEP)
    chlab.ready_again(web, boot + 1)
    assert web.serial().count(b"Jumping to kernel") == said + 1


def test_its_power_button(web):
    r = web("stop", "-o", "json", deadline=2 * chlab.STEP).json()
    assert (r["state"], r["rung"]) == ("stopped", "acpi")
