"""Blocking. kill -9 at every system call by which a restore, its undo, packing and pruning change the disk.

The computer runs in a process of its own, all blocking work of the deed in one thread (`tests/helpers/alone.py`), so
that `strace` can end it on entering the n-th call of a kind, for every n. After each kill it is started again: every
promised moment must be had byte by byte, the tree must be a whole one, and an undo must lead back.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.computers import Disappointment
from tests.helpers.progress import Progress
from tests.helpers.strace import KILLED, Point, dying, kinds, points_of, spread, watching

CLAIM = (
    "kill -9 at every system call that changes the disk in a restore, packing and pruning (of the writes of a commit "
    "the first, one in the middle and the last), and at 20 of an undo: no promised version lost, no half-restored "
    "tree, and undo leads back"
)

ROOT = Path(__file__).resolve().parents[2]
DEED_S = 120.0
EVERY = 1_000_000
BEFORE = {"restore": (), "undo": ("restore",), "pack": ("litter",), "prune": ("litter", "pack", "later")}
"""What has to be done for a deed to have something to do."""
MOST = {"undo": 20}
"""Points of a deed, evenly spread, where not all: an undo is published and put in place as a restore is."""
AFTER = {
    "restore": ("check",),
    "undo": ("check",),
    "pack": ("hold", "pack"),
    "prune": ("hold", "prune"),
}
"""What is demanded after a kill in a deed: it holds at once, and once the deed has been done after all."""


def prove(place: Path) -> str:
    if shutil.which("strace") is None:
        raise Disappointment("strace is not installed")
    progress = Progress("restore_kills")
    return "; ".join(kill_everywhere(place / deed, deed, MOST.get(deed, EVERY), progress) for deed in BEFORE)


def kill_everywhere(place: Path, deed: str, most: int, progress: Progress) -> str:
    """Kill a deed at all its calls, or so many of them; what came of it. Goes on where it was interrupted."""
    place.mkdir(parents=True)
    run(place, "begin", *BEFORE[deed], deed, *AFTER[deed], "hold")
    calls = place / "calls"
    run(place, *BEFORE[deed], deed, strace=lambda whom: watching(calls, whom))
    every = points_of(calls, str(place))
    points = spread(every, most)
    for point in points:
        name = f"{deed} {point.name}"
        if name not in progress.done:
            progress.note(name, kill_once(place, deed, point))
    demand(place, deed, "at the end")
    killed = [point.name for point in points if progress.done[f"{deed} {point.name}"]]
    return f"{deed}: {len(killed)} kills at {len(points)} of {len(every)} calls ({kinds(killed)})"


def kill_once(place: Path, deed: str, point: Point) -> bool:
    """Whether the deed came to that call. What is demanded after the last kill is demanded first, in the same process,
    as starting takes most of the time."""
    try:
        return run(place, *AFTER[deed], *BEFORE[deed], deed, strace=lambda whom: dying(point, whom)) in KILLED
    except Disappointment as error:
        raise Disappointment(f"{deed}, after the kill before {point.name}: {error}") from error


def demand(place: Path, deed: str, when: str) -> None:
    try:
        run(place, *AFTER[deed], "hold")
    except Disappointment as error:
        raise Disappointment(f"{deed}, {when}: {error}") from error


def run(place: Path, *deeds: str, strace: Callable[[Sequence[str]], Sequence[str]] | None = None) -> int:
    """Do some deeds, the last of them with `strace` beside it; the exit code. Raises Disappointment if they fail in
    another way than by a kill."""
    command = [sys.executable, "-m", "tests.helpers.alone", str(place), *deeds]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            begun = process.stdout.readline().split()
            with _beside(strace, begun[1:]):
                if begun:
                    process.stdin.write("go on\n")
                    process.stdin.flush()
                _, said = process.communicate(timeout=DEED_S)
        finally:
            process.kill()
    if process.returncode != 0 and process.returncode not in KILLED:
        raise Disappointment(f"{' '.join(deeds)}: {said[-2000:]}")
    return process.returncode


@contextmanager
def _beside(strace: Callable[[Sequence[str]], Sequence[str]] | None, thread: Sequence[str]) -> Iterator[None]:
    """`strace` at work on a thread; it ends with it."""
    if strace is None or not thread:
        yield
        return
    with subprocess.Popen(strace(("-p", *thread)), stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        try:
            if "attached" not in tracer.stderr.readline():
                raise Disappointment("strace could not attach")
            yield
            tracer.wait(DEED_S)
        finally:
            tracer.kill()
