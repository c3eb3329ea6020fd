"""Blocking. Two real daemons on this machine, workload by workload: how long, how much CPU, how much memory.

    make bench                       all workloads, three runs of each
    make bench W=many10k RUNS=5      one of them

Everything goes through the command line that people use. Runs of different workloads take turns, so that an hour in
which the machine is slow is not blamed on one of them; what is printed are medians. The clock of a first sync starts
with the first process. What a wire carried is what the daemons say they sent, so framing is not in it.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.computers import Computer, computers, demand_equal, fresh_place, join, share, wait_until

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
PATIENCE_S = 180.0
REST_S = 1.5
"""Between the first sync and a change: both ends have said and heard everything by then."""
SAMPLES = 12
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Figures:
    """What one run of one workload took."""

    wall_s: float
    cpu_s: float = 0.0
    sent_bytes: int = 0
    peak_mib: tuple[float, ...] = ()
    samples_s: list[float] = field(default_factory=list)


class Pair:
    """Two computers and what they have used since `begin`."""

    def __init__(self, anna: Computer, ben: Computer) -> None:
        self.anna, self.ben = anna, ben
        self._began = time.monotonic()
        self._cpu_s = 0.0
        self._sent = 0

    def begin(self, *, running: bool) -> None:
        """Start the clock; `running`: the daemons have worked before."""
        self._cpu_s = self._cpu_now() if running else 0.0
        self._sent = self._sent_now() if running else 0
        self._began = time.monotonic()

    def first_sync(self) -> None:
        """From the first process to everything being there."""
        self.anna.start()
        link = share(self.anna, "Bench")
        self.ben.start()
        join(self.ben, link)

    def until(self, done: Callable[[], bool]) -> float:
        wait_until(done, PATIENCE_S, "the change did not arrive")
        return time.monotonic() - self._began

    def figures(self, wall_s: float, samples_s: Sequence[float] = ()) -> Figures:
        """Everything measured since `begin`; fails if the folders differ."""
        cpu_s, sent = self._cpu_now() - self._cpu_s, self._sent_now() - self._sent
        self.ben.wait_synced(PATIENCE_S)
        demand_equal(self.anna.folder, self.ben.folder)
        peaks = tuple(one.peak_memory_bytes() / MIB for one in (self.anna, self.ben))
        return Figures(wall_s, cpu_s, sent, peaks, list(samples_s))

    def _cpu_now(self) -> float:
        """Seconds of processor time of both daemons so far."""
        total = 0
        for computer in (self.anna, self.ben):
            computer.demand_alive()
            assert computer.daemon is not None
            fields = Path(f"/proc/{computer.daemon.pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / _TICKS

    def _sent_now(self) -> int:
        return sum(computer.transfer()["sent_bytes"] for computer in (self.anna, self.ben))


# --- workloads -------------------------------------------------------------------------------------------------------


def many10k(pair: Pair) -> Figures:
    """10,000 files of 4 KiB in 100 directories, first sync."""
    write_small_files(pair.anna.folder, 10_000, 4 * KIB, 100)
    return first_sync(pair)


def large1(pair: Pair) -> Figures:
    """One random file of 1 GiB, first sync."""
    write_large_file(pair.anna.folder, GIB)
    return first_sync(pair)


def edit1(pair: Pair) -> Figures:
    """4 KiB overwritten in the middle of 1 GiB."""
    large1(pair)
    time.sleep(REST_S)
    new = os.urandom(4 * KIB)
    pair.begin(running=True)
    with (pair.anna.folder / "big").open("r+b") as file:
        file.seek(GIB // 2)
        file.write(new)
    return pair.figures(pair.until(lambda: read_at(pair.ben.folder / "big", GIB // 2, len(new)) == new))


def rename(pair: Pair) -> Figures:
    """A directory with 1,000 files of 256 KiB gets another name."""
    write_small_files(pair.anna.folder, 1000, 256 * KIB, 1)
    first_sync(pair)
    time.sleep(REST_S)
    pair.begin(running=True)
    (pair.anna.folder / "d000").rename(pair.anna.folder / "renamed")
    new, old = pair.ben.folder / "renamed", pair.ben.folder / "d000"
    return pair.figures(pair.until(lambda: not old.exists() and new.exists() and len(os.listdir(new)) == 1000))


def latency(pair: Pair) -> Figures:
    """1 KiB written on an idle pair; the time is the median of the samples."""
    write_small_files(pair.anna.folder, 1000, 4 * KIB, 10)
    first_sync(pair)
    time.sleep(REST_S)
    pair.begin(running=True)
    samples_s = []
    for number in range(SAMPLES):
        time.sleep(0.5 + random.random())
        written = time.monotonic()
        (pair.anna.folder / f"new {number}").write_bytes(os.urandom(KIB))
        target = pair.ben.folder / f"new {number}"
        while not target.exists():
            if time.monotonic() - written > PATIENCE_S:
                raise TimeoutError(f"{target} did not arrive")
            time.sleep(0.001)
        samples_s.append(time.monotonic() - written)
    return pair.figures(statistics.median(samples_s), samples_s)


WORKLOADS = {work.__name__: work for work in (many10k, large1, edit1, rename, latency)}


def first_sync(pair: Pair) -> Figures:
    names = {path.relative_to(pair.anna.folder): path.stat().st_size for path in files_in(pair.anna.folder)}
    os.sync()
    pair.begin(running=False)
    pair.first_sync()
    missing = list(names.items())

    def arrived() -> bool:
        while missing:
            name, size = missing[-1]
            try:
                if (pair.ben.folder / name).stat().st_size != size:
                    return False
            except FileNotFoundError:
                return False
            missing.pop()
        return True

    return pair.figures(pair.until(arrived))


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def write_small_files(folder: Path, count: int, size: int, directories: int) -> None:
    for number in range(count):
        directory = folder / f"d{number % directories:03}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"f{number:06}").write_bytes(os.urandom(size))


def write_large_file(folder: Path, size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "big").open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))


def read_at(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


# --- running ---------------------------------------------------------------------------------------------------------


def run(name: str, parent: Path) -> Figures:
    with fresh_place(parent) as place, computers(("anna", "ben"), place, "Bench") as (anna, ben):
        return WORKLOADS[name](Pair(anna, ben))


def line(name: str, runs: Sequence[Figures]) -> str:
    walls = sorted(one.wall_s for one in runs)
    middle = statistics.median(walls)
    peak = max(max(one.peak_mib) for one in runs)
    sent = statistics.median(one.sent_bytes for one in runs)
    cpu_s = statistics.median(one.cpu_s for one in runs)
    text = f"{name:10} {middle:7.2f} s ({walls[0]:.2f} to {walls[-1]:.2f})  cpu {cpu_s:6.2f} s  sent {sent:14,.0f} B"
    text += f"  peak {peak:4.0f} MiB"
    samples = sorted(sample for one in runs for sample in one.samples_s)
    if samples:
        text += f"  p95 {samples[int(0.95 * (len(samples) - 1))]:.2f} s"
    return text


def commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "no commit"


def main() -> None:
    parser = argparse.ArgumentParser(description="Two real daemons, workload by workload.")
    parser.add_argument("workload", nargs="*", help="default: all, that is " + ", ".join(WORKLOADS))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--place", type=Path, default=Path(".bench"), help="where the folders are made")
    options = parser.parse_args()
    names = options.workload or list(WORKLOADS)
    if unknown := set(names) - WORKLOADS.keys():
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")
    print(f"{time.strftime('%Y-%m-%d %H:%M')}  commit {commit()}  {os.cpu_count()} cores  {options.runs} runs, medians")
    runs: dict[str, list[Figures]] = {name: [] for name in names}
    for _ in range(options.runs):
        for name in names:
            runs[name].append(run(name, options.place))
            print(f"  {name} {runs[name][-1].wall_s:.2f} s", flush=True)
    for name in names:
        print(line(name, runs[name]))


if __name__ == "__main__":
    main()
