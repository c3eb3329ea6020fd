"""Blocking. Bringing back 1 GiB in place, beside `cp` and a flush of the same files in the same run."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from tests.helpers.computers import Computer, Disappointment, demand_equal, sharing_computers, snapshot

CLAIM = (
    "1 GiB restored in place, its blocks on this disk, takes at most twice as long as a copy of the same files and a "
    "flush in the same run"
)

MIB = 1 << 20
FILES, FILE_BYTES = 256, 4 * MIB
SYNC_S = 900.0


def prove(place: Path) -> str:
    with sharing_computers(("anna", "ben"), place, "Big", write) as (anna, ben):
        before = snapshot(ben.folder)
        time.sleep(1.1)
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        time.sleep(1.1)
        write(anna.folder)
        settle(anna, ben)
        anna.stop()  # what is measured is this computer's work, not the other one's
        copied_s = copy(ben.folder, place / "copy")
        shutil.rmtree(place / "copy")
        began = time.monotonic()
        ben.ask("restore", str(ben.folder), "--at", moment, "--yes", timeout_s=SYNC_S)
        ben.wait_synced(SYNC_S)
        os.sync()
        restored_s = time.monotonic() - began
        if snapshot(ben.folder) != before:
            raise Disappointment("what came back is not what was there")
        copied_s = (copied_s + copy(ben.folder, place / "copy")) / 2
    ratio = copied_s / restored_s
    measured = f"restored in {restored_s:.1f} s, copied and flushed in {copied_s:.1f} s: {ratio:.2f} of that speed"
    if ratio < 0.5:
        raise Disappointment(measured)
    return measured


def write(folder: Path) -> None:
    for number in range(FILES):
        (folder / f"file-{number:04d}").write_bytes(os.urandom(FILE_BYTES))


def settle(anna: Computer, ben: Computer) -> None:
    anna.wait_synced(SYNC_S)
    ben.wait_synced(SYNC_S)
    demand_equal(anna.folder, ben.folder)


def copy(source: Path, target: Path) -> float:
    began = time.monotonic()
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".syncd"))
    os.sync()
    return time.monotonic() - began
