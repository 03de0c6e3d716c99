"""Live migration with a real Cloud Hypervisor: over a unix socket, over TCP between two network namespaces, encrypted; and what a
release does to itself."""

import os
import shlex
import shutil
import subprocess

import chlab
import pytest
import vivtest

NETNS = "there"
HERE, THERE = "10.99.7.1", "10.99.7.2"


def sh(*argv):
    subprocess.run(argv, check=True, capture_output=True, text=True, timeout=chlab.STEP)


@pytest.fixture(scope="module")
def netns():
    sh("ip", "netns", "add", NETNS)
    sh("ip", "link", "add", "vhere", "type", "veth", "peer", "name", "vthere", "netns", NETNS)
    sh("ip", "addr", "add", f"{HERE}/24", "dev", "vhere")
    sh("ip", "link", "set", "vhere", "up")
    for what in (["addr", "add", f"{THERE}/24", "dev", "vthere"], ["link", "set", "vthere", "up"], ["link", "set", "lo", "up"]):
        sh("ip", "-n", NETNS, *what)
    yield NETNS
    sh("ip", "netns", "del", NETNS)


def dest(root, *before):
    env = [f"{k}={root.env[k]}" for k in ("VIV_HOME", "PATH", "VIV_UNIT_DIR", "VIV_LIBEXEC") if k in root.env]
    return "exec:exec " + shlex.join([*before, "env", *env, root.viv, "migrate", "receive", "--stdio"])


def write(console, word):
    """Into memory and onto the disk."""
    console.run(f"echo {word} > /tmp/word; echo {word} | dd of=/dev/vda bs=512 count=1 conv=sync 2>/dev/null; sync", deadline=chlab.STEP)


def read(console):
    return console.run("cat /tmp/word; head -c 20 /dev/vda | head -n 1", deadline=chlab.STEP).split()


class Wanderer:
    """One guest that goes from root to root; where a test has lost it, the next one has another."""

    def __init__(self, *roots):
        self.roots, self.vm = roots, None

    def here(self):
        if self.vm and self.vm.info()["state"] == "running":
            return self.vm
        for r in self.roots:
            r("rm", "--force", "--ignore-missing", "web", deadline=chlab.STEP)
        root = self.roots[0]
        disk = chlab.image(root, "data.img", 4 << 20)
        self.vm = chlab.ready(chlab.create(root, "web", disks=[{"id": "data", "path": disk}]))
        with chlab.shell(self.vm) as c:
            write(c, "before")
        return self.vm

    def other(self):
        """Where it is not."""
        return next(r for r in self.roots if r is not self.vm.root)


@pytest.fixture(scope="module")
def wanderer(module_root, other_root):
    chlab.binary()
    return Wanderer(module_root, other_root)


@pytest.fixture
def web(wanderer):
    return wanderer.here()


def arrives(wanderer, destination, *flags):
    """It is there with all it had and has said, it works there, and it does not run here."""
    here, there = wanderer.vm, vivtest.VM(wanderer.other(), "web")
    said, boots = here("logs").out, chlab.boots(here)
    here.root("migrate", *flags, "web", destination, deadline=2 * chlab.STEP)
    wanderer.vm = there
    info = there.info()
    assert (info["state"], info["ready"]["proof"], info["moving"]) == ("running", "inherited", None)
    assert (here.info()["state"], here.info()["reason"]["code"]) == ("stopped", "migrated")
    with chlab.shell(there) as c:
        assert read(c) == ["before", "before"]
        write(c, "after")
        assert read(c) == ["after", "after"]
        write(c, "before")
    assert there("logs").out.startswith(said), "its log has followed"
    assert chlab.boots(there) == boots, "it booted anew"
    assert "it was migrated to" in here("start", code=4, deadline=chlab.STEP).err
    here("rm", deadline=chlab.STEP)


def test_over_a_unix_socket(web, wanderer):
    arrives(wanderer, dest(wanderer.other()))


def test_over_tcp_between_namespaces(web, wanderer, netns):
    """From here to there."""
    arrives(wanderer, dest(wanderer.other(), "ip", "netns", "exec", netns), "--via", f"tcp:{THERE}", "--downtime", "500ms")


@pytest.fixture(scope="module")
def keys(module_root):
    """A certificate authority, and what it has signed for both ends."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    where = os.path.join(os.path.dirname(module_root.home), "keys")
    os.mkdir(where)

    def make(name, *more):
        sh("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
           "-keyout", f"{where}/{name}-key.pem", *more)

    make("ca", "-x509", "-days", "2", "-out", f"{where}/ca-cert.pem", "-addext", "basicConstraints=critical,CA:TRUE")
    for name in ("server", "client"):
        make(name, "-out", f"{where}/{name}.csr")
        with open(f"{where}/{name}.ext", "w", encoding="utf-8") as f:
            f.write(f"subjectAltName=IP:{THERE},IP:{HERE}\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n")
        sh("openssl", "x509", "-req", "-in", f"{where}/{name}.csr", "-CA", f"{where}/ca-cert.pem", "-CAkey", f"{where}/ca-key.pem",
           "-CAcreateserial", "-days", "2", "-extfile", f"{where}/{name}.ext", "-out", f"{where}/{name}-cert.pem")
    return where


def test_encrypted(web, wanderer, netns, keys):
    """And back."""
    arrives(wanderer, dest(wanderer.other()), "--via", f"tcp:{HERE}", "--tls", keys)


def test_without_the_keys_it_stays(web, wanderer, netns, keys):
    there = wanderer.other()
    r = web.root("migrate", "web", dest(there, "ip", "netns", "exec", netns), "--via", f"tcp:{THERE}", "--tls", keys,
                 "--remote-tls", "/nowhere", code=None, deadline=2 * chlab.STEP)
    assert r.code != 0
    assert web.info()["state"] == "running" and web.info()["moving"] is None
    assert there("ps", "-q").out == ""
    with chlab.shell(web) as c:
        assert read(c) == ["before", "before"]


def test_local_is_refused_because_the_filter_kills(module_root):
    """What would happen is seen with the VMM's own tool: SIGSYS. We refuse it before anything is sent."""
    chlab.binary()
    remote = shutil.which("ch-remote")
    chlab.need(remote, "ch-remote is not on PATH")
    vm = chlab.ready(chlab.create(module_root, "shared", memory={"size": "256MiB", "shared": "on"}))
    r = vm.root("migrate", "--local", "shared", "exec:true", code=5, deadline=chlab.STEP)
    assert "SIGSYS" in r.err and vm.info()["state"] == "running"
    base = os.path.dirname(module_root.home)
    api, url = os.path.join(base, "r.sock"), "unix:" + os.path.join(base, "m.sock")
    mine = os.path.join(module_root.home, "run", vm.info()["uuid"][:8], "api")
    with subprocess.Popen([chlab.binary(), "--api-socket", api], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as receiver:
        try:
            vivtest.until("it is there", lambda: os.path.exists(api), base, deadline=chlab.STEP)
            with subprocess.Popen([remote, "--api-socket", api, "receive-migration", "receiver_url=" + url],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as waiting:
                vivtest.until("it listens", lambda: os.path.exists(url[5:]), base, deadline=chlab.STEP)
                subprocess.run([remote, "--api-socket", mine, "send-migration", f"destination_url={url},local=on"],
                               capture_output=True, timeout=chlab.STEP, check=False)
                state, reason = vm.ended()
                receiver.kill()
                waiting.kill()
        finally:
            receiver.kill()
    assert (state, reason) == ("failed", "vmm-signal")
    assert "seccomp" in vm.info()["reason"]["text"]


# ---- another VMM in place ----

def goes_on(vm, *flags):
    with chlab.shell(vm) as c:
        c.run("echo kept > /tmp/word", deadline=chlab.STEP)
    before, boots = vm.info(), chlab.boots(vm)  # a nested guest may have reset itself early
    vm("upgrade", *flags, deadline=3 * chlab.STEP)
    info = vm.info()
    assert (info["state"], info["ready"]["proof"], info["keeper"]) == ("running", "inherited", before["keeper"])
    assert info["vmm"]["pid"] != before["vmm"]["pid"]
    with chlab.shell(vm) as c:
        assert c.run("cat /tmp/word", deadline=chlab.STEP).split() == ["kept"]
    assert chlab.boots(vm) == boots, "it booted anew"
    return info


def test_upgrade_in_place(web):
    assert goes_on(web)["run"] == 2
    with chlab.shell(web) as c:
        assert read(c) == ["kept", "before"]
    r = web("stop", "-o", "json", deadline=2 * chlab.STEP).json()
    assert (r["state"], r["rung"]) == ("stopped", "acpi")


def test_from_an_older_release(module_root):
    """Where the newer release does not take what the older one wrote, the older one goes on."""
    where = os.path.join(os.path.dirname(module_root.home), "old")
    os.mkdir(where)
    os.symlink(chlab.old_binary(), os.path.join(where, "cloud-hypervisor"))
    path, new = module_root.env["PATH"], chlab.binary()
    module_root.env["PATH"] = where + ":" + path
    try:
        vm = chlab.ready(chlab.create(module_root, "older"))
    finally:
        module_root.env["PATH"] = path
    with chlab.shell(vm) as c:
        c.run("echo kept > /tmp/word", deadline=chlab.STEP)
    r = vm("upgrade", "--vmm", new, code=None, deadline=3 * chlab.STEP)
    info = vm.info()
    assert info["state"] == "running" and (r.code == 0 or "the old one goes on" in r.err), r
    assert (info["vmm"]["path"] == new) == (r.code == 0)
    print(f"upgrade from an older release: {r}")
    with chlab.shell(vm) as c:
        assert c.run("cat /tmp/word", deadline=chlab.STEP).split() == ["kept"]
    module_root("rm", "--force", "older", deadline=chlab.STEP)
