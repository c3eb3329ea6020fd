"""Blocking. A file of 200 GB that holds next to nothing: its holes are neither read nor sent nor written."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.helpers.computers import Disappointment, computers, join, share
from tests.helpers.scale import MIB, use_of, wait_scanned

CLAIM = (
    "A sparse file of 200 GB with three islands of data is indexed in at most 20 s of processor time and arrives in at "
    "most 60 s more, as a sparse file, at most 64 MiB on the wire, each daemon below 200 MiB"
)

SIZE = 200_000_000_000
ISLANDS = (0, 70_000_000_123, 150_000_000_000)
ISLAND_BYTES = 3 * MIB
INDEX_S, SYNC_S = 20.0, 60.0
WIRE_BYTES, LIMIT_BYTES, DISK_BYTES = 64 * MIB, 200 * MIB, 64 * MIB
PATIENCE_S = 1200.0


def prove(place: Path) -> str:
    with computers(("anna", "ben"), place, "Big") as (anna, ben):
        for computer in (anna, ben):
            computer.start()
        islands = write_file(anna.folder / "disk.img")
        if (anna.folder / "disk.img").stat().st_blocks * 512 > DISK_BYTES:
            raise Disappointment("this file system has no holes")
        began, before = time.monotonic(), use_of(anna).cpu_s
        link = share(anna, "Big")
        wait_scanned(anna)
        index_s, indexed_s = use_of(anna).cpu_s - before, time.monotonic() - began
        began, before = time.monotonic(), sum(use_of(one).cpu_s for one in (anna, ben))
        join(ben, link)
        ben.wait_synced(PATIENCE_S)
        sync_s, synced_s = sum(use_of(one).cpu_s for one in (anna, ben)) - before, time.monotonic() - began
        wire = ben.transfer()["received_bytes"]
        arrived = ben.folder / "disk.img"
        demand_islands(arrived, islands)
        peaks = [use_of(one).peak_bytes for one in (anna, ben)]
    measured = (
        f"indexed in {index_s:.1f} s of processor time ({indexed_s:.1f} s), arrived in {sync_s:.1f} s "
        f"({synced_s:.1f} s), {wire / MIB:.1f} MiB on the wire, {arrived_bytes(arrived) / MIB:.1f} MiB on the disk; "
        f"at most {peaks[0] / MIB:.0f} and {peaks[1] / MIB:.0f} MiB of memory"
    )
    poor = index_s > INDEX_S or sync_s > SYNC_S or wire > WIRE_BYTES or max(peaks) > LIMIT_BYTES
    if poor or arrived_bytes(arrived) > DISK_BYTES:
        raise Disappointment(measured)
    return measured


def write_file(path: Path) -> dict[int, bytes]:
    """The islands, by where they begin."""
    islands = {offset: os.urandom(ISLAND_BYTES) for offset in ISLANDS}
    with path.open("wb") as file:
        file.truncate(SIZE)
        for offset, content in islands.items():
            file.seek(offset)
            file.write(content)
    return islands


def arrived_bytes(path: Path) -> int:
    return path.stat().st_blocks * 512


def demand_islands(path: Path, islands: dict[int, bytes]) -> None:
    """The size, the islands, and nothing but holes and zeros between them."""
    if path.stat().st_size != SIZE:
        raise Disappointment(f"{path} has {path.stat().st_size} bytes")
    with path.open("rb") as file:
        for offset, content in islands.items():
            file.seek(offset)
            if file.read(ISLAND_BYTES) != content:
                raise Disappointment(f"what stands at {offset} of {path} is something else")
        for begin, end in data_of(file.fileno()):
            file.seek(begin)
            expected = {offset for offset in islands if offset < end and offset + ISLAND_BYTES > begin}
            rest = file.read(end - begin)
            for offset in expected:
                start, stop = max(0, offset - begin), offset + ISLAND_BYTES - begin
                rest = rest[:start] + bytes(min(stop, len(rest)) - start) + rest[stop:]
            if rest.strip(b"\0"):
                raise Disappointment(f"there is something between the islands of {path}, after {begin}")


def data_of(fd: int) -> list[tuple[int, int]]:
    """Where the file system has something of the file."""
    found: list[tuple[int, int]] = []
    end = 0
    while True:
        try:
            begin = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:
            return found
        end = os.lseek(fd, begin, os.SEEK_HOLE)
        found.append((begin, end))
