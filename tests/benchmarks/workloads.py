"""Blocking. What the programs are given to do, and how it is timed.

A first sync counts from the first process to the last file being there in full; a change from the moment it is made. A
program that is run once for each sync must have ended, too. Then the clock stops and the folders are compared byte for
byte.
"""

from __future__ import annotations

import math
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.benchmarks.laboratory import Lab
from tests.benchmarks.programs import Program
from tests.helpers.computers import wait_until

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
PATIENCE_S = 170.0
TICK_S = 0.01
QUIET_S = 2.0
"""Between a sync and a change: what both ends have to say about it is said by then."""
QUIET_BYTES, QUIET_SHARE = 3000, 0.04
SAMPLES = 12
RESCANS = 3
IDLE_S = 60.0
KILL_AT = 0.5
DEAD_S = 0.5


@dataclass(frozen=True, slots=True)
class Figures:
    """What one phase took."""

    phase: str
    wall_s: float
    cpu_s: float
    wire_bytes: int
    peak_bytes: tuple[int, int]
    state_bytes: tuple[int, int]
    samples_s: tuple[float, ...] = ()
    copies: tuple[float, ...] = ()
    """Where several fetch the same: how many copies went over the wire in all, and how many the source sent."""


@dataclass(slots=True)
class Trial:
    """One program with one workload."""

    program: Program
    lab: Lab
    chance: random.Random
    rows: list[Figures] = field(default_factory=list)

    @property
    def source(self) -> Path:
        return self.lab.source.folder

    @property
    def target(self) -> Path:
        return self.lab.target.folder

    def first_sync(self, phase: str) -> None:
        sizes = {path.relative_to(self.source): path.stat().st_size for path in self.files(self.source)}
        self.program.prepare(self.lab)
        os.sync()
        with self.timed(phase) as until:
            self.program.begin(self.lab)
            until(all_there(self.target, sizes))
        time.sleep(QUIET_S)

    def first_index(self, phase: str) -> None:
        """The source alone, from its process to an index of everything."""
        files = len(self.files(self.source))
        self.program.prepare(self.lab)
        os.sync()
        with self.timed(phase, compares=False) as until:
            self.program.open(self.lab)
            until(lambda: self.program.is_indexed(self.lab, files))

    def change(self, phase: str, make: Callable[[], None], done: Callable[[], bool]) -> None:
        os.sync()
        with self.timed(phase) as until:
            make()
            self.program.changed(self.lab)
            until(done)

    @contextmanager
    def timed(self, phase: str, *, compares: bool = True) -> Iterator[Callable[[Callable[[], bool]], None]]:
        """Gives what waits for the end of the phase, and notes the figures when it came."""
        began, wire, cpu_s = time.monotonic(), self.lab.wire_bytes(), self.lab.cpu_s()
        stopped: list[tuple[float, float, int]] = []

        def until(done: Callable[[], bool]) -> None:
            while not done() or self.program.is_busy(self.lab):
                if time.monotonic() > began + PATIENCE_S:
                    raise TimeoutError(f"{self.program.name}: {phase} is not done")
                time.sleep(TICK_S)
            stopped.append((time.monotonic() - began, self.lab.cpu_s() - cpu_s, self.lab.wire_bytes() - wire))

        yield until
        if compares:
            for target in self.lab.targets:
                self.compare(target.folder)
        peaks = self.lab.source.peak_bytes, max(target.peak_bytes for target in self.lab.targets)
        states = self.lab.source.state_bytes(), max(target.state_bytes() for target in self.lab.targets)
        self.rows.append(Figures(phase, *stopped[0], peaks, states))

    def compare(self, folder: Path) -> None:
        """Raises AssertionError when this one differs from the source's."""
        ours, theirs = self.files(self.source), self.files(folder)
        assert [p.relative_to(self.source) for p in ours] == [p.relative_to(folder) for p in theirs], "other names"
        for one, other in zip(ours, theirs, strict=True):
            assert same_bytes(one, other), f"{other} has other bytes"

    def wait_quiet(self) -> None:
        """Until next to nothing happens any more: what follows a sync is over."""
        wire, cpu_s = -1, -1.0
        for _ in range(int(PATIENCE_S / QUIET_S)):
            if self.lab.wire_bytes() - wire < QUIET_BYTES and self.lab.cpu_s() - cpu_s < QUIET_SHARE * QUIET_S:
                return
            wire, cpu_s = self.lab.wire_bytes(), self.lab.cpu_s()
            time.sleep(QUIET_S)
        raise TimeoutError(f"{self.program.name} does not come to rest")

    def files(self, folder: Path) -> list[Path]:
        found = (path for path in folder.rglob("*") if path.relative_to(folder).parts[0] not in self.program.own_names)
        return sorted(path for path in found if path.is_file())


def all_there(folder: Path, sizes: dict[Path, int]) -> Callable[[], bool]:
    missing = sorted(sizes.items(), reverse=True)

    def done() -> bool:
        while missing:
            name, size = missing[-1]
            try:
                if (folder / name).stat().st_size != size:
                    return False
            except FileNotFoundError:
                return False
            missing.pop()
        return True

    return done


def same_bytes(one: Path, other: Path) -> bool:
    with one.open("rb") as first, other.open("rb") as second:
        while (piece := first.read(MIB)) == second.read(MIB):
            if not piece:
                return True
    return False


# --- data ------------------------------------------------------------------------------------------------------------


def write_file(path: Path, size: int, chance: random.Random) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            file.write(chance.randbytes(min(MIB, size - start)))


def write_many(folder: Path, count: int, size: int, directories: int, chance: random.Random) -> None:
    for number in range(count):
        write_file(folder / f"d{number % directories:03}" / f"f{number:06}", size, chance)


def write_tree(folder: Path, count: int, chance: random.Random) -> None:
    """Sizes as in a home: most below 10 KB, some above 1 MB, about 20 KB in the mean; up to six directories deep."""
    directories = [folder]
    for number in range(count // 20):
        above = chance.choice(directories)
        if len(above.relative_to(folder).parts) < 6:
            directories.append(above / f"d{number:05}")
    for number in range(count):
        size = min(64 * MIB, int(math.exp(chance.gauss(8.3, 1.8))))
        write_file(chance.choice(directories) / f"f{number:06}", size, chance)


# --- workloads -------------------------------------------------------------------------------------------------------


def large1(trial: Trial) -> None:
    """One random file of 1 GiB."""
    write_file(trial.source / "big", GIB, trial.chance)
    trial.first_sync("large1")


def many10k(trial: Trial) -> None:
    """10,000 files of 4 KiB in 100 directories."""
    write_many(trial.source, 10_000, 4 * KIB, 100, trial.chance)
    trial.first_sync("many10k")


def tree(trial: Trial) -> None:
    """20,000 files, about 400 MB."""
    write_tree(trial.source, 20_000, trial.chance)
    trial.first_sync("tree")


def edit1(trial: Trial) -> None:
    """4 KiB overwritten in the middle of 1 GiB."""
    large1(trial)
    new = trial.chance.randbytes(4 * KIB)

    def make() -> None:
        with (trial.source / "big").open("r+b") as file:
            file.seek(GIB // 2)
            file.write(new)

    def done() -> bool:
        try:
            with (trial.target / "big").open("rb") as file:
                file.seek(GIB // 2)
                return file.read(len(new)) == new
        except FileNotFoundError:  # some take the old one away first
            return False

    trial.change("edit1", make, done)


def insert1(trial: Trial) -> None:
    """1 KiB put in front of 256 MiB, by way of a new file that takes the old one's name."""
    write_file(trial.source / "big", 256 * MIB, trial.chance)
    trial.first_sync("one256")
    aside = trial.lab.source.place / "aside"
    aside.write_bytes(trial.chance.randbytes(KIB) + (trial.source / "big").read_bytes())
    size = aside.stat().st_size

    def make() -> None:
        aside.replace(trial.source / "big")

    trial.change("insert1", make, all_there(trial.target, {Path("big"): size}))


def rename(trial: Trial) -> None:
    """A directory with 1,000 files of 256 KiB gets another name."""
    write_many(trial.source, 1000, 256 * KIB, 1, trial.chance)
    trial.first_sync("dir1000")
    old, new = trial.target / "d000", trial.target / "renamed"

    def make() -> None:
        (trial.source / "d000").rename(trial.source / "renamed")

    trial.change("rename", make, lambda: not old.exists() and new.exists() and len(os.listdir(new)) == 1000)


def delete(trial: Trial) -> None:
    """5,000 of 10,000 files are deleted. syncd takes that for an accident and asks; answers come at once."""
    many10k(trial)
    gone = [path.relative_to(trial.source) for path in trial.files(trial.source)][::2]

    def make() -> None:
        for name in gone:
            (trial.source / name).unlink()
        trial.program.permit(trial.lab)

    left = [trial.target / name for name in gone]

    def done() -> bool:
        while left and not left[-1].exists():
            left.pop()
        return not left

    trial.change("delete", make, done)


def latency(trial: Trial) -> None:
    """1 KiB written on an idle pair, again and again; the time is the median."""
    write_many(trial.source, 1000, 4 * KIB, 10, trial.chance)
    trial.first_sync("small1000")
    samples = []
    for number in range(SAMPLES):
        time.sleep(0.5 + trial.chance.random())
        name = f"new {number}"
        target = trial.target / name

        def make(name: str = name) -> None:
            (trial.source / name).write_bytes(trial.chance.randbytes(KIB))

        trial.change("latency", make, target.exists)
        samples.append(trial.rows.pop().wall_s)
    samples.sort()
    last = Figures("latency", samples[len(samples) // 2], 0.0, 0, (0, 0), (0, 0), tuple(samples))
    trial.rows.append(last)


def index(trial: Trial) -> None:
    """The source alone: from its process to an index of the tree; then it looks at everything again."""
    write_tree(trial.source, 20_000, trial.chance)
    if trial.program.stays:
        trial.first_index("index tree")
    else:
        trial.first_sync("tree")
        trial.rows.clear()
    trial.wait_quiet()
    for _ in range(RESCANS):
        with trial.timed("rescan tree", compares=False) as until:
            trial.program.rescan(trial.lab)
            until(lambda: True)


def index1(trial: Trial) -> None:
    """The source alone: from its process to an index of one file of 1 GiB."""
    if trial.program.stays:
        write_file(trial.source / "big", GIB, trial.chance)
        trial.first_index("index 1 GiB")


def idle(trial: Trial) -> None:
    """A minute in which nothing happens, with the tree in sync. Memory is that of its end."""
    if not trial.program.stays:
        return
    tree(trial)
    trial.wait_quiet()
    began, wire, cpu_s = time.monotonic(), trial.lab.wire_bytes(), trial.lab.cpu_s()
    time.sleep(IDLE_S)
    took = time.monotonic() - began, trial.lab.cpu_s() - cpu_s, trial.lab.wire_bytes() - wire
    memory = trial.lab.source.memory_bytes(), trial.lab.target.memory_bytes()
    trial.rows.append(Figures("idle", *took, memory, trial.rows[-1].state_bytes))


def fan4(trial: Trial) -> None:
    """One source that is up and has its index; three others come at once, for 256 MiB and 1,000 small files."""
    write_file(trial.source / "big", 256 * MIB, trial.chance)
    write_many(trial.source, 1000, 4 * KIB, 10, trial.chance)
    files = trial.files(trial.source)
    sizes = {path.relative_to(trial.source): path.stat().st_size for path in files}
    trial.program.prepare(trial.lab)
    trial.program.open(trial.lab)
    wait_until(lambda: trial.program.is_indexed(trial.lab, len(files)), PATIENCE_S, "the source has no index")
    trial.wait_quiet()
    os.sync()
    sent = trial.lab.source.sent_bytes()
    waits = [all_there(target.folder, dict(sizes)) for target in trial.lab.targets]
    sent_at_end = []

    def done() -> bool:
        if not all(wait() for wait in waits):
            return False
        sent_at_end.append(trial.lab.source.sent_bytes() - sent)
        return True

    with trial.timed("fan4") as until:
        trial.program.join(trial.lab)
        until(done)
    total = sum(sizes.values())
    row = trial.rows.pop()
    trial.rows.append(replace(row, copies=(row.wire_bytes / total, sent_at_end[-1] / total)))


def resume(trial: Trial) -> None:
    """The target is killed in the middle of 1 GiB. Time counts from its return, wire and processor from the start."""
    write_file(trial.source / "big", GIB, trial.chance)
    trial.program.prepare(trial.lab)
    os.sync()
    wire, cpu_s = trial.lab.wire_bytes(), trial.lab.cpu_s()
    trial.program.begin(trial.lab)
    wait_until(lambda: trial.lab.wire_bytes() - wire > KILL_AT * GIB, PATIENCE_S, "half of it never came")
    trial.lab.target.stop(signal.SIGKILL)
    time.sleep(DEAD_S)
    with trial.timed("resume") as until:
        trial.program.restart(trial.lab)
        until(all_there(trial.target, {Path("big"): GIB}))
        whole = trial.lab.cpu_s() - cpu_s, trial.lab.wire_bytes() - wire
    row = trial.rows.pop()
    trial.rows.append(replace(row, cpu_s=whole[0], wire_bytes=whole[1], copies=(whole[1] / GIB,)))


ENDS = {"fan4": 4}
"""Of workloads for more than a pair."""
WORKLOADS: dict[str, Callable[[Trial], None]] = {
    work.__name__: work
    for work in (
        *(large1, many10k, tree, edit1, insert1, rename, delete, latency),
        *(index, index1, idle, fan4, resume),
    )
}
