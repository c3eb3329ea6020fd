"""Blocking. Lines that are no LAN: a tenth of a second there and back, loss, little or uneven bandwidth."""

from __future__ import annotations

import os
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.computers import Computer, Disappointment, demand_equal, join, share
from tests.helpers.longline import Line, far_machines
from tests.helpers.namespaces import Machine
from tests.helpers.progress import Progress

CLAIM = (
    "Over lines with 100 ms round trip (1 MB/s, 1 MB/s with one packet in 1,000 lost, 10 MB/s, 4 MB/s down and 0.5 up) "
    "one large file uses at least 85 % of the line and 10,000 files of 4 KiB at least 60 %"
)

MB = 1_000_000
LARGE, SMALL = 0.85, 0.60
SMALL_FILES, SMALL_BYTES = 10_000, 4096
LARGE_S = 40
"""How long the large file would take at the full rate."""
PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    line: Line


CASES = (
    Case("1 MB/s", Line(MB, MB)),
    Case("1 MB/s, 0.1 % lost", Line(MB, MB, loss=0.001)),
    Case("10 MB/s", Line(10 * MB, 10 * MB)),
    Case("4 MB/s down, 0.5 up", Line(4 * MB, MB / 2)),
)


def prove(place: Path) -> str:
    progress = Progress("long_lines")
    for case in CASES:
        for what in ("large", "small"):
            key = f"{case.name} {what}"
            if key not in progress.done:
                share_of_line = one(place / key.replace("/", " per "), case, what)
                print(f"  {key}: {share_of_line:.2f}", file=sys.stderr, flush=True)
                progress.note(key, share_of_line)
    figures = [
        f"{case.name}: {progress.done[f'{case.name} large']:.0%} and {progress.done[f'{case.name} small']:.0%}"
        for case in CASES
    ]
    measured = f"of the line, one file and 10,000: {'; '.join(figures)}"
    poor = [key for key, value in progress.done.items() if value < (LARGE if key.endswith("large") else SMALL)]
    if poor:
        raise Disappointment(measured)
    return measured


def one(place: Path, case: Case, what: str) -> float:
    """Which part of the line's rate the content came to, from the moment of joining to the last byte in place."""
    with far_machines(case.line) as machines:
        anna, ben = [at(place, name, machine) for name, machine in zip(("anna", "ben"), machines, strict=True)]
        try:
            for computer in (anna, ben):
                computer.start()
            size = fill(anna.folder, what, int(LARGE_S * case.line.right_rate))
            link = share(anna, "Far")
            anna.wait_synced(PATIENCE_S)
            join(ben, link)
            began = time.monotonic()
            ben.wait_synced(PATIENCE_S)
            took_s = time.monotonic() - began
            demand_equal(anna.folder, ben.folder)
        finally:
            for computer in (anna, ben):
                computer.stop()
    return size / took_s / case.line.right_rate


def at(place: Path, name: str, machine: Machine) -> Computer:
    config = f'[network]\nlisten = ["{machine.host}:22067"]\ndiscovery = false\n'
    return Computer(name, place / name, place / name / "Far", 22067, config, tuple(machine.command()))


def fill(folder: Path, what: str, size: int) -> int:
    """Content that cannot be compressed; how many bytes."""
    if what == "large":
        (folder / "film").write_bytes(os.urandom(size))
        return size
    chance = random.Random(what)
    for number in range(SMALL_FILES):
        directory = folder / f"{number // 100:03}"
        if number % 100 == 0:
            directory.mkdir()
        (directory / f"{number:05}").write_bytes(chance.randbytes(SMALL_BYTES))
    return SMALL_FILES * SMALL_BYTES
