"""Blocking. Ten thousand changes a minute in a large folder: does the other computer keep up, and at what cost?"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from tests.helpers.computers import Disappointment, sharing_computers, wait_equal
from tests.helpers.scale import MIB, STATUS_S, status_s, use_of

CLAIM = (
    "With 10,000 changes a minute for two minutes in a folder of 20,000 files (new files, new contents, names and "
    "deletions) the other computer is at most 5 s behind, half of the time at most 2 s, has everything 10 s after the "
    "last of them, and neither daemon takes more than 200 MiB; `status` takes at most 0.2 s"
)

FILES, EACH = 20_000, 200
RATE, LASTS_S = 10_000 / 60, 120.0
STEP_S = 0.25
SIZE = 1024
MEDIAN_S, WORST_S, END_S = 2.0, 5.0, 10.0
MEMORY_BYTES = 200 * MIB
PATIENCE_S = 120.0


def prove(place: Path) -> str:
    with sharing_computers(("anna", "ben"), place, "Busy", fill) as (anna, ben):
        before = sum(use_of(one).cpu_s for one in (anna, ben))
        delays, made, answer_s = work(anna.folder, ben.folder, lambda: status_s(ben))
        began = time.monotonic()
        wait_equal((anna.folder, ben.folder), PATIENCE_S)
        end_s = time.monotonic() - began
        uses = [use_of(one) for one in (anna, ben)]
        used = sum(use.cpu_s for use in uses) - before
    measured = (
        f"{made} changes in {LASTS_S:.0f} s: behind {statistics.median(delays):.1f} s in the median, "
        f"{max(delays):.1f} s at most, equal after {end_s:.1f} s; {used / made * 1000:.1f} ms of processor each, "
        f"both ends; at most {max(use.peak_bytes for use in uses) / MIB:.0f} MiB; status {answer_s * 1000:.0f} ms"
    )
    late = statistics.median(delays) > MEDIAN_S or max(delays) > WORST_S or end_s > END_S
    if late or max(use.peak_bytes for use in uses) > MEMORY_BYTES or answer_s > STATUS_S:
        raise Disappointment(measured)
    return measured


def fill(folder: Path) -> None:
    for number in range(FILES):
        directory = folder / f"old {number // EACH:03}"
        directory.mkdir(exist_ok=True)
        (directory / f"{number:05}").write_bytes(b"%d" % number * 50)


def work(here: Path, there: Path, ask: Callable[[], float]) -> tuple[list[float], int, float]:
    """How far behind the other one was, by one mark in every step; how many changes; the longest answer."""
    marks: dict[Path, float] = {}
    delays: list[float] = []
    began, made, answer_s = time.monotonic(), 0, 0.0
    (here / "work").mkdir()
    while (passed := time.monotonic() - began) < LASTS_S:
        while made < passed * RATE:
            change(here / "work", made)
            made += 1
        mark = f"mark {made}"
        (here / mark).write_bytes(b"")
        marks[there / mark] = time.monotonic()
        if made % 100 < RATE * STEP_S:
            answer_s = max(answer_s, ask())
        until = time.monotonic() + STEP_S
        while time.monotonic() < until:
            look(marks, delays)
            time.sleep(0.02)
    deadline = time.monotonic() + PATIENCE_S
    while marks and time.monotonic() < deadline:
        look(marks, delays)
        time.sleep(0.02)
    if marks:
        raise Disappointment(f"{len(marks)} marks never came")
    return delays, made, answer_s


def look(marks: dict[Path, float], delays: list[float]) -> None:
    """Which marks have arrived meanwhile."""
    for mark, written in list(marks.items()):
        if mark.exists():
            delays.append(time.monotonic() - written)
            del marks[mark]


def change(folder: Path, number: int) -> None:
    """Of five changes two are new files, and one each new content, a new name, and a deletion of what came before."""
    match number % 5:
        case 0 | 1:
            (folder / f"{number}").write_bytes(os.urandom(SIZE))
        case 2:
            (folder / f"{number - 2}").write_bytes(os.urandom(SIZE))
        case 3:
            (folder / f"{number - 3}").rename(folder / f"{number - 3} named")
        case _:
            (folder / f"{number - 3}").unlink()
