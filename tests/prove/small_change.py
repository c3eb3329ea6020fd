"""Blocking. A small change of a big file moves little: one byte inside, one KiB in front."""

from __future__ import annotations

import os
import random
import statistics
from pathlib import Path

from tests.helpers.computers import Computer, Disappointment, computers, demand_equal, join, share

CLAIM = (
    "One byte changed moves at most 1 MiB (median of 20) in a 900 MiB file and at most 2 MiB (worst 8) in a 2 GiB "
    "file; 1 KiB inserted in front of a 256 MiB file moves at most 2 %"
)

MIB = 1 << 20
SYNC_S = 900.0
POSITIONS = 20


def prove(place: Path) -> str:
    with computers(("anna", "ben"), place, "Big") as (anna, ben):
        for computer in (anna, ben):
            computer.start()
        for name, size_bytes in (("middle", 900 * MIB), ("large", 2048 * MIB), ("front", 256 * MIB)):
            write_random(anna.folder / name, size_bytes)
        join(ben, share(anna, "Big"))
        settle(anna, ben)
        middle = [change_one_byte(anna, ben, "middle", seed) for seed in range(POSITIONS)]
        large = [change_one_byte(anna, ben, "large", seed) for seed in range(POSITIONS)]
        front = insert_in_front(anna, ben, "front")
        demand_equal(anna.folder, ben.folder)
    measured = (
        f"900 MiB: median {statistics.median(middle) / MIB:.2f} MiB; "
        f"2 GiB: median {statistics.median(large) / MIB:.2f}, worst {max(large) / MIB:.2f} MiB; "
        f"insertion: {front / (256 * MIB):.2%}"
    )
    small = statistics.median(middle) <= MIB and statistics.median(large) <= 2 * MIB and max(large) <= 8 * MIB
    if not small or front > 0.02 * 256 * MIB:
        raise Disappointment(measured)
    return measured


def write_random(path: Path, size_bytes: int) -> None:
    with path.open("wb") as file:
        for _ in range(size_bytes // MIB):
            file.write(os.urandom(MIB))


def change_one_byte(writer: Computer, reader: Computer, name: str, seed: int) -> int:
    """Bytes that travelled, lists and messages included."""
    before = reader.transfer()["received_bytes"]
    path = writer.folder / name
    offset = random.Random(f"{name} {seed}").randrange(path.stat().st_size)
    with path.open("r+b") as file:
        file.seek(offset)
        old = file.read(1)
        file.seek(offset)
        file.write(bytes([old[0] ^ 0xFF]))
    settle(writer, reader)
    return reader.transfer()["received_bytes"] - before


def insert_in_front(writer: Computer, reader: Computer, name: str) -> int:
    before = reader.transfer()["received_bytes"]
    path = writer.folder / name
    content = path.read_bytes()
    path.write_bytes(os.urandom(1024) + content)
    settle(writer, reader)
    return reader.transfer()["received_bytes"] - before


def settle(writer: Computer, reader: Computer) -> None:
    """Both have looked: first the writer at its disk, then the reader at the writer."""
    writer.wait_synced(SYNC_S)
    reader.wait_synced(SYNC_S)
