"""viv stats: counters of running VMs, for people, programs and Prometheus."""

import os
import re

import vivtest

from test_schemas import conforms

DEADLINE = vivtest.BOOT_DEADLINE


def stats(root, *words):
    found = root("stats", *words, "-o", "json").json()
    conforms(found, "stats")
    return found


def test_counters_move_and_every_key_is_there(root, tmp_path):
    image = tmp_path / "d.img"
    image.write_bytes(bytes(1 << 20))
    vm = root.fake("web", "ready after=1ms", disks=[{"id": "data", "path": str(image)}], cpus=2, memory="64MiB")
    vm("start", "--wait")
    first, second = stats(root, "web"), stats(root, "web")
    assert (first["state"], first["run"], first["cpus"], first["memory_bytes"]) == ("running", 1, 2, 64 << 20)
    assert first["rss_bytes"] > 0 and first["cpu_ms"] >= 0 and second["uptime_ms"] >= first["uptime_ms"]
    for key in ("read_bytes", "written_bytes", "reads", "writes"):
        assert second["disks"]["data"][key] > first["disks"]["data"][key]
    for key in ("rx_bytes", "tx_bytes", "rx_packets", "tx_packets"):
        assert second["nets"]["n0"][key] > first["nets"]["n0"][key]
    root("resize", "web", "--balloon", "32MiB")
    assert stats(root, "web")["balloon_bytes"] == 32 << 20
    root("device", "rm", "web", "disk", "data")
    assert stats(root, "web")["disks"] == {}
    vm("pause")
    assert stats(root, "web")["state"] == "paused"
    vm("rm", "-f")


def test_several_by_name_by_label_and_all(root):
    for name in ("web", "db"):
        root.fake(name, labels={"job": name})("start", "--wait")
    root.fake("off")
    assert [s["name"] for s in stats(root, "web", "db")] == ["web", "db"]
    assert [s["name"] for s in stats(root, "--all")] == ["db", "web"]
    assert [s["name"] for s in stats(root, "--label", "job=db")] == ["db"]
    table = root("stats", "-a").out.splitlines()
    assert table[0].split() == ["NAME", "CPU", "TIME", "RSS", "BALLOON", "READ", "WRITTEN", "RECEIVED", "SENT"]
    assert [line.split()[0] for line in table[1:]] == ["db", "web"] and all(len(t.split()) == 8 for t in table[1:])
    assert root("stats", "-q", "-a").out == "db\nweb\n"
    r = root("stats", "off", code=4)
    assert r.err == "viv: stats off: only a running VM has counters (it is created)\n" and r.out == ""
    r = root("stats", "web", "nobody", "off", code=3)
    assert "no such VM" in r.err and "it is created" in r.err and len(r.out.splitlines()) == 2
    root("rm", "-f", "web", "db")


def test_prometheus_text(root):
    for name in ("web", "db"):
        root.fake(name)("start", "--wait")
    text = root("stats", "--all", "--prometheus").out
    seen = set()
    kind = None
    for line in text.splitlines():
        m = re.fullmatch(r"# (HELP|TYPE) (\w+) (.+)", line)
        if m:
            if m[1] == "HELP":
                assert m[2] not in seen, "all samples of a metric stand together"
                seen.add(m[2])
            else:
                kind = m[2]
                assert m[3] in ("counter", "gauge")
            continue
        m = re.fullmatch(r'(\w+)\{vm="(web|db)",uuid="[0-9a-f-]{36}"(?:,(?:disk|net)="[a-z0-9-]+")?\} [0-9.]+', line)
        assert m and m[1] == kind, line
    assert re.search(r'^vivarium_net_receive_bytes_total\{vm="web",uuid="[^"]+",net="n0"\} \d+$', text, re.M)
    assert "vivarium_vm_balloon_bytes{" not in text  # nobody counts it: not zero
    root("rm", "-f", "web", "db")


def test_ten_at_once_get_their_answers(root):
    vm = root.fake("web", "ready after=1ms; slow verb=counters by=100ms")
    vm("start", "--wait")
    many = [root.popen("stats", "web", "-o", "json") for _ in range(10)]
    for p in many:
        assert p.wait(vivtest.DEADLINE) == 0
    vm("rm", "-f")


def test_a_vmm_that_does_not_count_is_told_of(root):
    vm = root.fake("web", "ready after=1ms; fail verb=counters text=\"no numbers\"")
    vm("start", "--wait")
    assert "no numbers" in vm("stats", code=1).err
    assert vm.info()["state"] == "running"
    vm("rm", "-f")


def test_a_real_guest_moves_the_counters_of_its_disk(root, guest, tmp_path):
    image = tmp_path / "d.img"
    image.write_bytes(os.urandom(8 << 20))
    vm = root.qemu("web", guest, disks=[{"id": "data", "path": str(image)}], agent={"enabled": "on"}).boot()
    before = stats(root, "web")
    vm("exec", "--", "sh", "-c", "dd if=/dev/vda of=/dev/null bs=1M count=8 && "
       "dd if=/dev/zero of=/dev/vda bs=64k count=16 && sync", deadline=DEADLINE)
    after = stats(root, "web")
    disk = {k: after["disks"]["data"][k] - before["disks"]["data"][k] for k in after["disks"]["data"]}
    assert disk["read_bytes"] >= 7 << 20 and disk["written_bytes"] >= 1 << 20 and disk["writes"] > 0
    assert after["cpu_ms"] > before["cpu_ms"] and after["rss_bytes"] > 32 << 20
    assert after["nets"]["n0"] == {k: None for k in ("rx_bytes", "tx_bytes", "rx_packets", "tx_packets")}
