"""Blocking. Three who send slowly are nearly three times as fast as one; who is slow sends what nobody else has."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.helpers.computers import Computer, Disappointment, free_ports, join, share, sharing_computers

CLAIM = (
    "Three sources that may send 4 MB/s each are at least 2.7 times as fast as one; no block comes twice; and a slow "
    "source of everything is asked for little more than what a fast source of a part does not have"
)

SYNC_S = 300.0
RATE = 4_000_000
FILM_BYTES = 96_000_000
GAIN = 2.7
PART_BYTES = 32_000_000
SLOW, FAST = 1_000_000, 8_000_000
SLACK = 1.15


def prove(place: Path) -> str:
    one_s, _ = gathered(place / "one", ("anna",))
    three_s, sent = gathered(place / "three", ("anna", "ben", "carla"))
    shares = ", ".join(f"{part / FILM_BYTES:.0%}" for part in sent)
    from_slow = slow_beside_fast(place / "uneven")
    measured = (
        f"one source {one_s:.1f} s, three {three_s:.1f} s: {one_s / three_s:.2f} times as fast ({shares}); the slow "
        f"source of everything sent {from_slow / PART_BYTES:.2f} of what only it had"
    )
    if one_s / three_s < GAIN or from_slow > SLACK * PART_BYTES:
        raise Disappointment(measured)
    return measured


def gathered(place: Path, names: Sequence[str]) -> tuple[float, list[int]]:
    """Seconds in which a newcomer has the film of those who have it, and how many bytes each of them sent."""

    def write(folder: Path) -> None:
        (folder / "film").write_bytes(os.urandom(FILM_BYTES))

    with sharing_computers(names, place, "Films", write) as holders, newcomer(place) as dora:
        before = [holder.transfer()["sent_bytes"] for holder in holders]
        for holder in holders:
            holder.ask("limits", "--up", f"{RATE // 1000} kB/s")
        took_s = joined(dora, holders[0])
        sent = [holder.transfer()["sent_bytes"] - then for holder, then in zip(holders, before, strict=True)]
    return took_s, sent


def slow_beside_fast(place: Path) -> int:
    """Bytes that a slow source of two files sent, of which a fast source has one."""
    both, only_slow = "seen by both.bin", "seen by one.bin"

    def write(folder: Path) -> None:
        for name in (both, only_slow):
            (folder / name).write_bytes(os.urandom(PART_BYTES))

    with newcomer(place, "ben") as ben, sharing_computers(("anna",), place, "Films", write) as (anna,):
        (ben.folder / ".syncd").mkdir(parents=True)
        (ben.folder / ".syncd" / "ignore").write_text(f"/{only_slow}\n")
        joined(ben, anna)
        if (ben.folder / only_slow).exists():
            raise Disappointment("what a rule leaves out came nevertheless")
        before = anna.transfer()["sent_bytes"]
        anna.ask("limits", "--up", f"{SLOW // 1000} kB/s")
        ben.ask("limits", "--up", f"{FAST // 1000} kB/s")
        with newcomer(place) as dora:
            joined(dora, anna)
        return anna.transfer()["sent_bytes"] - before


def joined(dora: Computer, by: Computer) -> float:
    """Seconds from joining to the last byte in place."""
    link = share(by, "Films")
    join(dora, link)
    began = time.monotonic()
    dora.wait_synced(SYNC_S)
    took_s = time.monotonic() - began
    fetched = dora.transfer()
    if fetched["duplicate_bytes"]:
        raise Disappointment(f"{fetched['duplicate_bytes']} bytes came twice")
    for path in dora.folder.iterdir():
        if path.is_file() and path.read_bytes() != (by.folder / path.name).read_bytes():
            raise Disappointment(f"{path.name} is not what it was")
    return took_s


@contextmanager
def newcomer(place: Path, name: str = "dora") -> Iterator[Computer]:
    """A running computer that has joined nothing yet."""
    computer = Computer(name, place / name, place / name / "Films", free_ports(1)[0])
    try:
        computer.start()
        yield computer
    finally:
        computer.stop()
