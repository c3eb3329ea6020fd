"""Blocking. A machine of its own that systemd has booted: namespaces, and this machine's files with a layer above them.

What is installed or written there lies in memory and is gone at the end. Needs root, overlayfs, and systemd.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BOOT_S = 240.0
COMMAND_S = 180.0
POLL_S = 0.2

BOOT = """
set -e
mount --make-rprivate /
mount -t tmpfs -o size=700m tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
cp "$2" "$1/package.deb"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cp "$1/package.deb" "$1/root/root/package.deb"
cd "$1/root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs sys/fs/cgroup
mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
mount --bind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t tmpfs tmpfs srv
chroot . dpkg --install /root/package.deb
mkdir -p old
pivot_root . old
umount -l /old
exec env container=lxc /lib/systemd/systemd --unit=multi-user.target
"""
"""The control groups are those of a host with both hierarchies, as systemd 252 takes them. Folders go to /srv: in the
layers of an overlay, files and directories are on different devices, and syncd takes that for a mount in the folder."""


@dataclass(frozen=True, slots=True)
class Booted:
    """A running system. `init` is its first process, as this machine sees it."""

    init: int

    def run(self, *command: str, check: bool = True, timeout_s: float = COMMAND_S) -> str:
        """Run a program there; what it prints. Raises CalledProcessError with what it said."""
        inside = ["nsenter", "-t", str(self.init), "-m", "-p", "-u", "-i", "-C", "-n", *command]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
        done = subprocess.run(
            inside, capture_output=True, text=True, check=False, timeout=timeout_s, env=environment, cwd="/"
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def main_pid(self, unit: str) -> int:
        """The main process of a unit there; 0 while it has none."""
        return int(self.run("systemctl", "show", "--property=MainPID", "--value", unit))

    def wait_another(self, unit: str, before: int, timeout_s: float) -> int:
        """Until systemd has replaced the main process of a unit and says that the new one is ready."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            now = self.main_pid(unit)
            if now not in (0, before) and self.run("systemctl", "is-active", unit, check=False).strip() == "active":
                return now
            time.sleep(POLL_S)
        raise AssertionError(f"{unit} was not started anew within {timeout_s:g} s")


@contextmanager
def booted(package: Path, place: Path) -> Iterator[Booted]:
    """Install a .deb on a copy of this machine, boot that, and end it."""
    place.mkdir()
    log = place.with_suffix(".log")
    spaces = ["unshare", "--mount", "--pid", "--fork", "--cgroup", "--ipc", "--uts", "--net", "--mount-proc=/proc"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*spaces, "sh", "-c", BOOT, "boot", str(place), str(package)],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    init = 0
    try:
        deadline = time.monotonic() + BOOT_S
        while not (init := init or _child(process.pid)) or not _is_up(Booted(init)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the machine does not come up: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(POLL_S)
        yield Booted(init)
    finally:
        if init:
            os.kill(init, signal.SIGKILL)  # the first process of a namespace takes all others with it
        process.kill()
        process.wait()


def _child(pid: int) -> int:
    """The process that another one has started; 0 if there is none yet."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return int(text.split()[0]) if text.strip() else 0


def _is_up(machine: Booted) -> bool:
    if Path(f"/proc/{machine.init}/comm").read_text().strip() != "systemd":
        return False
    return machine.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded")


def build_package(target: Path) -> Path:
    """The .deb, as `make package` builds it."""
    target.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "release.deb", str(target)], capture_output=True, text=True, check=True, timeout=900
    )
    shutil.rmtree(target / "tree")
    return Path(done.stdout.strip().splitlines()[-1])
