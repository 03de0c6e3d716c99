"""A PCI device of the host in the guest of a real Cloud Hypervisor: the NVMe that the lab's QEMU has behind an IOMMU."""

import os

import chlab
import pytest

PCI = "/sys/bus/pci"
WORDS = b"written by the guest\n"


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def driver(address):
    link = f"{PCI}/devices/{address}/driver"
    return os.path.basename(os.readlink(link)) if os.path.exists(link) else None


def rebind(address, to):
    """Takes the device from its driver and gives it to another."""
    write(f"{PCI}/devices/{address}/driver_override", to + "\n")
    if driver(address):
        write(f"{PCI}/devices/{address}/driver/unbind", address)
    write(f"{PCI}/drivers_probe", address)
    assert driver(address) == to


@pytest.fixture(scope="module")
def nvme():
    """Its address; vfio-pci's for these tests."""
    found = [d for d in os.listdir(PCI + "/devices") if driver(d) == "nvme"]
    if not found or not os.path.exists(f"{PCI}/devices/{found[0]}/iommu_group"):
        pytest.skip("the lab has no NVMe behind an IOMMU")
    rebind(found[0], "vfio-pci")
    yield found[0]
    if driver(found[0]) != "nvme":
        rebind(found[0], "nvme")


@pytest.fixture(scope="module")
def web(module_root, nvme):
    chlab.binary()
    return chlab.ready(chlab.create(module_root, "web", agent={"enabled": "on"}, devices=[{"id": "fast", "vfio": nvme}]))


def there(vm):
    return "nvme0n1" in chlab.run(vm, "cat /proc/partitions")


def first_words():
    try:
        with open("/dev/nvme0n1", "rb") as f:
            return f.read(len(WORDS))
    except OSError:
        return None


def test_the_guest_has_the_hosts_device(web):
    chlab.again("the guest sees the disk", lambda: there(web))
    assert chlab.run(web, "cat /sys/block/nvme0n1/device/serial") == "vivlab"
    chlab.run(web, f"echo {WORDS.decode().strip()} | dd of=/dev/nvme0n1 bs=512 count=1 conv=sync,fsync 2>/dev/null")


def test_it_goes_and_comes_while_the_guest_runs(web, nvme):
    chlab.change(web, "devices.fast-")
    assert not there(web) and web.info()["pending"] is None
    chlab.change(web, f"devices.+again.vfio={nvme}")
    chlab.again("the guest sees the disk", lambda: there(web))
    assert chlab.run(web, "head -n 1 /dev/nvme0n1") == WORDS.decode().strip()


def test_the_host_gets_it_back(web, nvme):
    web("stop", deadline=2 * chlab.STEP)
    rebind(nvme, "nvme")
    chlab.again("the host has the disk", lambda: first_words() is not None)  # its name is there a little earlier
    assert first_words() == WORDS
