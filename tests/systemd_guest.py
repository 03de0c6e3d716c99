"""A real Debian with systemd, as a disk image: what autostart and scopes are tested in.

The root file system comes from Debian's mirror by mmdebstrap, once, into the cache; its name there is a hash
of the recipe below. Then it works offline. The kernel is the demo guest's, whose init hands over by root=.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile

PACKAGES = "systemd-sysv dbus libpam-systemd udev libjansson4 libyaml-0-2 libuv1".split()
FILES = {  # those of a machine on which nobody waits, and whose users' processes end with their sessions
    "etc/hostname": "guest\n",
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "etc/fstab": "/dev/vdb /usr/local ext4 ro 0 0\n",
    "etc/systemd/logind.conf.d/test.conf": "[Login]\nKillUserProcesses=yes\n",
    "etc/systemd/system.conf.d/test.conf": "[Manager]\nDefaultTimeoutStartSec=300s\n",
    "etc/systemd/journald.conf.d/test.conf": "[Journal]\nStorage=volatile\n",
}
MASKED = """apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
e2scrub_reap.service systemd-pstore.service systemd-random-seed.service systemd-update-utmp.service
systemd-update-utmp-runlevel.service getty@tty1.service systemd-tmpfiles-clean.timer motd-news.timer""".split()
SIZE_MIB = 320


class Unavailable(Exception):
    """Why there is no such guest here."""


def recipe():
    text = repr((PACKAGES, sorted(FILES.items()), MASKED, SIZE_MIB, "ann", 1))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run(*argv):
    r = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False, timeout=1200,
                       stdin=subprocess.DEVNULL)
    if r.returncode != 0:
        raise Unavailable(f"{argv[0]}: {(r.stderr.strip() or r.stdout.strip())[-300:]}")


def ext4(folder, image, size_mib):
    """The tree below folder as a file system in image, owners and all."""
    run("/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d", folder, image, f"{size_mib}M")


def configure(root):
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    units = root / "etc/systemd/system"
    for name in MASKED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    run("chroot", root, "useradd", "-m", "-s", "/bin/bash", "ann")
    for user in ("root", "ann"):
        run("chroot", root, "passwd", "-d", user)
    for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/locale", "usr/share/doc", "usr/share/man"):
        shutil.rmtree(root / waste, ignore_errors=True)


def mirror():
    """Where this machine's apt gets Debian from."""
    r = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages"],
                       capture_output=True, text=True, check=False)
    found = [line.split()[0] for line in r.stdout.splitlines() if line.endswith(" bookworm")]
    return found[0] if found else "http://deb.debian.org/debian"


def image(cache):
    """The image in the cache, made if need be."""
    path = pathlib.Path(cache) / f"systemd-guest-{recipe()}.img"
    if path.exists():
        return path
    for tool in ("mmdebstrap", "/sbin/mke2fs"):
        if not shutil.which(tool):
            raise Unavailable(f"{tool} is not installed")
    if os.geteuid() != 0:
        raise Unavailable("making it needs root")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".systemd-guest-", dir=path.parent) as d:
        work = pathlib.Path(d)
        run("mmdebstrap", "--variant=minbase", "--mode=root", "--include=" + ",".join(PACKAGES), "bookworm",
            work / "root", mirror())
        configure(work / "root")
        ext4(work / "root", work / "image", SIZE_MIB)
        (work / "image").rename(path)
    return path
