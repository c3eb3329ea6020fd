"""Blocking. A folder of a million files: how long the first index takes, as the folder grows, and what it leaves."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from tests.helpers.computers import Computer, Disappointment, computers, share
from tests.helpers.progress import Progress
from tests.helpers.scale import LOOKED_S, MIB, STATUS_S, status_s, use_of, wait_scanned
from tests.helpers.unixhttp import call

CLAIM = (
    "The processor time of a first index grows no faster than the folder (of 50,000, 100,000, 200,000 and 1,000,000 "
    "files: per file at most a third more than for the smallest); with a million files `status` takes at most 0.2 s, "
    "the daemon at most 300 MiB, and its database at most 1.5 KiB for each"
)

SIZES = (50_000, 100_000, 200_000, 1_000_000)
EACH = 1000
"""Files in a directory."""
GROWTH = 4 / 3
MEMORY_BYTES = 300 * MIB
STATE_BYTES = 1536


def prove(place: Path) -> str:
    progress = Progress("scale_files")
    for size in SIZES:
        if str(size) not in progress.done:
            progress.note(str(size), one(place / str(size), size))
            print(f"  {size}: {progress.done[str(size)]}", file=sys.stderr, flush=True)
    each = {size: progress.done[str(size)] for size in SIZES}
    last = each[SIZES[-1]]
    measured = "; ".join(
        f"{size:,} files: {found['index_s'] / size * 1e6:.0f} us of processor time each, {found['wall_s']:.0f} s, "
        f"{found['peak'] / MIB:.0f} MiB, {found['state'] / size:.0f} B of database each, "
        f"status {found['status_s'] * 1000:.0f} ms, looked at again in {found['rescan_s']:.1f} s of processor time"
        for size, found in each.items()
    )
    grows = max(found["index_s"] / size for size, found in each.items()) > GROWTH * each[SIZES[0]]["index_s"] / SIZES[0]
    heavy = last["peak"] > MEMORY_BYTES or last["state"] > STATE_BYTES * SIZES[-1]
    if grows or heavy or last["status_s"] > STATUS_S:
        raise Disappointment(measured)
    return measured


def one(place: Path, size: int) -> dict[str, float]:
    """A folder of that many files, from its beginning to a second look at all of it."""
    with computers(("anna",), place, "Many") as (anna,):
        fill(anna.folder, size)
        anna.start()
        began, before = time.monotonic(), use_of(anna).cpu_s
        share(anna, "Many")
        wait_scanned(anna)
        wall_s, after = time.monotonic() - began, use_of(anna)
        status = status_s(anna)
        rescan_s = rescanned(anna)
        found = {
            "index_s": after.cpu_s - before,
            "wall_s": wall_s,
            "peak": use_of(anna).peak_bytes,
            "state": after.state_bytes,
            "status_s": status,
            "rescan_s": rescan_s,
        }
    shutil.rmtree(place)
    return found


def fill(folder: Path, size: int) -> None:
    for number in range(size):
        directory = folder / f"{number // EACH:04}"
        if number % EACH == 0:
            directory.mkdir(parents=True)
        (directory / f"{number:07}.txt").write_text(f"file {number}\n")


def rescanned(computer: Computer) -> float:
    before = use_of(computer).cpu_s
    call(computer.home, "folder.rescan", {"folder": "Many", "cwd": None, "wait": True}, LOOKED_S)
    return use_of(computer).cpu_s - before
