"""Blocking. A sparse file of 10 GiB and a random one of 2 GiB travel, and no daemon is ever above 200 MiB."""

from __future__ import annotations

import os
from pathlib import Path

from tests.helpers.computers import Disappointment, computers, demand_equal, join, share

CLAIM = "A 10 GiB sparse and a 2 GiB random file sync with each daemon below 200 MiB resident"

GIB, MIB = 1 << 30, 1 << 20
LIMIT_BYTES = 200 * MIB
SYNC_S = 1800.0


def prove(place: Path) -> str:
    with computers(("anna", "ben"), place, "Big") as (anna, ben):
        for computer in (anna, ben):
            computer.start()
        write_files(anna.folder)
        join(ben, share(anna, "Big"))
        anna.wait_synced(SYNC_S)  # first everything is published, then ben can have it
        ben.wait_synced(SYNC_S)
        demand_equal(anna.folder, ben.folder)
        peaks = {computer.name: computer.peak_memory_bytes() for computer in (anna, ben)}
    measured = ", ".join(f"{name} at most {peak / MIB:.0f} MiB" for name, peak in peaks.items())
    if max(peaks.values()) >= LIMIT_BYTES:
        raise Disappointment(measured)
    return measured


def write_files(folder: Path) -> None:
    with (folder / "sparse.bin").open("wb") as sparse:
        sparse.truncate(10 * GIB)
    with (folder / "random.bin").open("wb") as file:
        for _ in range(2 * GIB // MIB):
            file.write(os.urandom(MIB))
