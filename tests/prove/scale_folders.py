"""Blocking. A thousand folders on one device: what each costs, how soon all are there after a start."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tests.helpers.computers import Computer, Disappointment, computers
from tests.helpers.scale import MIB, STATUS_S, status_s, use_of, wait_scanned
from tests.helpers.unixhttp import call

CLAIM = (
    "With 1,000 folders on one device each costs at most 0.4 MiB of memory and no more than among 250, a start takes "
    "at most 30 s of processor time, `status` at most 0.2 s, and a minute in which nothing happens at most 6 s of "
    "processor time"
)

STEPS = (250, 500, 1000)
FILES = 3
EACH_BYTES = 0.4 * MIB
GROWTH = 4 / 3
START_S, IDLE_S, IDLE_CPU_S = 30.0, 60.0, 6.0


def prove(place: Path) -> str:
    with computers(("anna",), place, "Home") as (anna,):
        anna.start()
        empty = use_of(anna).memory_bytes
        made = 0
        each: dict[int, tuple[float, float]] = {}
        for step in STEPS:
            before = use_of(anna).cpu_s
            for number in range(made, step):
                make(anna, number)
            wait_scanned(anna)
            use = use_of(anna)
            each[step] = (use.memory_bytes - empty) / step, (use.cpu_s - before) / (step - made)
            made = step
            print(f"  {step}: {each[step]}", file=sys.stderr, flush=True)
        anna.stop()
        began = time.monotonic()
        anna.start()
        answers_s = time.monotonic() - began
        wait_scanned(anna)
        started_s, start = time.monotonic() - began, use_of(anna)
        status = status_s(anna)
        time.sleep(IDLE_S / 6)  # what follows a start is over
        idle = use_of(anna).cpu_s
        time.sleep(IDLE_S)
        idle = use_of(anna).cpu_s - idle
    measured = (
        "; ".join(
            f"{step:,} folders: {memory / 1024:.0f} KiB and {cpu * 1000:.0f} ms of processor time each"
            for step, (memory, cpu) in each.items()
        )
        + f"; a start answers after {answers_s:.1f} s, has looked at all after {started_s:.1f} s ({start.cpu_s:.1f} s "
        f"of processor time, {start.peak_bytes / MIB:.0f} MiB); status {status * 1000:.0f} ms; an idle minute "
        f"{idle:.2f} s of processor time"
    )
    largest = each[STEPS[-1]]
    grows = largest[0] > GROWTH * each[STEPS[0]][0] or largest[1] > GROWTH * each[STEPS[0]][1]
    if grows or largest[0] > EACH_BYTES or start.cpu_s > START_S or status > STATUS_S or idle > IDLE_CPU_S:
        raise Disappointment(measured)
    return measured


def make(computer: Computer, number: int) -> None:
    """One more folder, with a few files."""
    folder = computer.place / "folders" / f"{number:04}"
    folder.mkdir(parents=True)
    for file in range(FILES):
        (folder / f"{file}.txt").write_text(f"file {file} of {number}\n")
    params = {
        "target": str(folder), "path": str(folder), "name": f"Folder {number}", "role": "editor", "expires_s": None,
        "uses": 1, "link": True, "yes": True, "wait": False, "dry_run": False,
    }  # fmt: skip
    call(computer.home, "share", params)
