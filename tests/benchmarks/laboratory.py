"""Blocking. Where a trial happens: a network of its own, a file system made anew, and meters.

Two ends share a network namespace that has only a loopback, so what that counts as sent is exactly what both ends sent,
headers included. More ends have a namespace each, on one switch, so that it is known what each of them sent. The file
system is fresh, because ext4 is slow to create files on a disk from which many were just deleted. Needs root on Linux.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.namespaces import switched_machines

DISK_BYTES = 6 << 30
STOP_S = 15.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class End:
    """One computer: what it syncs, what it keeps for itself, and its processes."""

    name: str
    place: Path
    host: str
    port: int
    holder: int
    """A process that lives in its namespace."""
    cable: str
    """The network device that counts what it sends; ends in one namespace share it."""
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    ended_cpu_s: float = 0.0
    peak_bytes: int = 0
    """The most that one of its processes had in memory, as far as `collect` saw it."""

    @property
    def folder(self) -> Path:
        return self.place / "folder"

    @property
    def home(self) -> Path:
        return self.place / "home"

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def inside(self) -> tuple[str, ...]:
        """The command that runs another one in its namespace."""
        return ("nsenter", f"--net=/proc/{self.holder}/ns/net", "--")

    def sent_bytes(self) -> int:
        """What went into its cable so far."""
        for line in Path(f"/proc/{self.holder}/net/dev").read_text().splitlines():
            name, _, counters = line.partition(":")
            if name.strip() == self.cable:
                return int(counters.split()[8])
        raise RuntimeError(f"the namespace has no {self.cable}")

    def spawn(self, *command: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a process whose time and memory count for this end."""
        with (self.place / "log").open("ab") as log:
            process = subprocess.Popen(
                [*self.inside, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "HOME": str(self.home), **(environment or {})},
                start_new_session=True,
            )
        self.running.append(process)
        return process

    def ask(self, *command: str) -> str:
        """Run a short command in the namespace and return what it prints. Its time counts as well."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([*self.inside, *command], capture_output=True, text=True, timeout=120, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.ended_cpu_s += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if done.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(command)}: {done.stderr.strip()}\n{self.last_words()}")
        return done.stdout

    def collect(self) -> None:
        """Look at the memory of what runs, and take the account of what has ended. Raises RuntimeError for a process
        that failed."""
        for process in list(self.running):
            self.peak_bytes = max(self.peak_bytes, *map(_peak_bytes, _family(process.pid)))
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if not pid:
                continue
            self.running.remove(process)
            process.returncode = os.waitstatus_to_exitcode(status)
            self.ended_cpu_s += used.ru_utime + used.ru_stime
            if process.returncode > 0:
                raise RuntimeError(f"{self.name}: a process ended with {process.returncode}\n{self.last_words()}")

    def cpu_s(self) -> float:
        """Processor seconds so far, of what runs and of what has ended."""
        self.collect()
        return self.ended_cpu_s + sum(_cpu_s(pid) for process in self.running for pid in _family(process.pid))

    def memory_bytes(self) -> int:
        """What its processes have in memory now, the largest of them."""
        family = (pid for process in self.running for pid in _family(process.pid))
        return max((_memory_bytes(pid, "VmRSS:") for pid in family), default=0)

    def state_bytes(self) -> int:
        """Disk blocks of what the program keeps for itself."""
        return sum(path.lstat().st_blocks * 512 for path in self.home.rglob("*"))

    def last_words(self) -> str:
        log = self.place / "log"
        return log.read_text(errors="replace")[-600:] if log.exists() else ""

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End every process: politely, and after a while not."""
        self.ended_cpu_s = self.cpu_s()
        family = [pid for process in self.running for pid in _family(process.pid)]
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        for process in self.running:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()


@dataclass(frozen=True, slots=True)
class Lab:
    """Ends on one network: where changes are made, and where they have to arrive."""

    source: End
    targets: tuple[End, ...]

    @property
    def target(self) -> End:
        return self.targets[0]

    @property
    def ends(self) -> tuple[End, ...]:
        return self.source, *self.targets

    def wire_bytes(self) -> int:
        """Bytes sent so far, each counted once."""
        return sum({end.holder: end.sent_bytes() for end in self.ends}.values())

    def cpu_s(self) -> float:
        return sum(end.cpu_s() for end in self.ends)


def _family(pid: int) -> list[int]:
    """A process and all that descend from it and run."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:  # ended in this moment
                continue
    return found


def _cpu_s(pid: int) -> float:
    """Of a process and its children that have ended; 0 for one that has ended itself."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


def _peak_bytes(pid: int) -> int:
    return _memory_bytes(pid, "VmHWM:")


def _memory_bytes(pid: int, line_name: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return max((int(line.split()[1]) * 1024 for line in lines if line.startswith(line_name)), default=0)


@contextmanager
def pair() -> Iterator[Lab]:
    """A fresh disk and a loopback, with two ends that have empty folders."""
    with _disk() as place, _namespace() as holder:
        names = enumerate(("source", "target"))
        ends = [End(name, place / name, "127.0.0.1", 22100 + number, holder, "lo") for number, name in names]
        with _ready(ends) as lab:
            yield lab


@contextmanager
def crowd(count: int) -> Iterator[Lab]:
    """A fresh disk, and ends on a switch: a source, and targets beside it."""
    with _disk() as place, switched_machines(count) as machines, ExitStack() as holders:
        ends = []
        for number, machine in enumerate(machines):
            command = machine.command("sleep", "100000")
            holder = holders.enter_context(_killed_at_end(subprocess.Popen(command, stdin=subprocess.DEVNULL)))
            name = f"target{number}" if number else "source"
            ends.append(End(name, place / name, machine.host, 22100, holder, "eth0"))
            _wait_until_inside(holder)
        with _ready(ends) as lab:
            yield lab


@contextmanager
def _ready(ends: Sequence[End]) -> Iterator[Lab]:
    for end in ends:
        end.folder.mkdir(parents=True)
        end.home.mkdir(mode=0o700)
    try:
        yield Lab(ends[0], tuple(ends[1:]))
    finally:
        for end in ends:
            end.stop(signal.SIGKILL)


@contextmanager
def _killed_at_end(process: subprocess.Popen[bytes]) -> Iterator[int]:
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def _wait_until_inside(pid: int) -> None:
    """A process begins in our namespace, and moves."""
    ours = os.readlink("/proc/self/ns/net")
    for _ in range(1000):
        if os.readlink(f"/proc/{pid}/ns/net") != ours:
            return
        time.sleep(0.01)
    raise RuntimeError("no network namespace: root on Linux is needed")


@contextmanager
def _namespace() -> Iterator[int]:
    script = "ip link set lo up && echo up && exec sleep 100000"
    command: Sequence[str] = ("unshare", "--net", "sh", "-c", script)
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != b"up\n":
            raise RuntimeError("no network namespace: root on Linux is needed")
        yield holder.pid
    finally:
        holder.kill()
        holder.wait()


@contextmanager
def _disk() -> Iterator[Path]:
    """An ext4 made anew in a file, mounted past the page cache: else everything would be written twice, the second time
    as slowly as the kernel holds back what it takes for work of no hurry (a tenth of the disk's speed, measured)."""
    with tempfile.TemporaryDirectory(prefix="syncd-bench-") as place:
        image, mounted = Path(place, "image"), Path(place, "disk")
        mounted.mkdir()
        with image.open("wb") as file:
            file.truncate(DISK_BYTES)
        options = "lazy_itable_init=0,lazy_journal_init=0"
        _run("mkfs.ext4", "-q", "-F", "-E", options, str(image))
        device = _run("losetup", "--direct-io=on", "--find", "--show", str(image)).strip()
        try:
            _run("mount", device, str(mounted))
            try:
                yield mounted
            finally:
                _unmount(mounted)
        finally:
            _run("losetup", "--detach", device)


def _unmount(mounted: Path) -> None:
    for _ in range(20):  # what was killed a moment ago may hold it still
        if subprocess.run(["umount", str(mounted)], capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.25)
    _run("umount", "--lazy", str(mounted))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
