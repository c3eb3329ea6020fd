"""A small change of a big file moves little. Counted on the cable: every byte of TLS, TCP and multicast included."""

from __future__ import annotations

import json
import os
import random
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.helpers.computers import Computer, join_by_code, share_by_code, start_all, wait_until
from tests.helpers.namespaces import Machine, two_machines

pytestmark = [pytest.mark.needs("linux", "netns"), pytest.mark.long]

MIB = 1 << 20
SIZE_BYTES = 256 * MIB
POSITIONS = 7
SYNC_S = 120.0
NO_CONFIG = "# nothing\n"
FILE = "film"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two computers, and the machine on whose cable bytes are counted."""

    anna: Computer
    ben: Computer
    cable: Machine

    def moved_by(self, change: Callable[[Path], object]) -> int:
        """Bytes on the cable, both ways, until a change of anna's file is complete on ben's disk."""
        before = bytes_on(self.cable)
        change(self.anna.folder / FILE)
        wanted = (self.anna.folder / FILE).stat()
        wait_until(lambda: is_like(self.ben.folder / FILE, wanted), SYNC_S, "the change did not arrive")
        moved = bytes_on(self.cable) - before
        assert (self.anna.folder / FILE).read_bytes() == (self.ben.folder / FILE).read_bytes()
        return moved


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    place = tmp_path_factory.mktemp("pair")
    with two_machines("10.78.2") as (left, right):
        anna, ben = (
            Computer(name, place / name, place / name / "Big", 22067, NO_CONFIG, tuple(machine.command()))
            for name, machine in (("anna", left), ("ben", right))
        )
        try:
            start_all([anna, ben])
            write_random(anna.folder / FILE)
            join_by_code(ben, share_by_code(anna, "Big"), anna)
            ben.wait_synced(SYNC_S)
            yield Pair(anna, ben, left)
        finally:
            anna.stop()
            ben.stop()


@pytest.mark.slowest
def test_one_byte_moves_at_most_a_mebibyte(pair: Pair) -> None:
    moved = [pair.moved_by(partial(flip_a_byte, seed)) for seed in range(POSITIONS)]
    print([f"{one / MIB:.2f} MiB" for one in moved])  # noqa: T201
    assert statistics.median(moved) <= MIB, moved
    assert max(moved) <= 2 * MIB, moved


def test_insertion_at_the_front_moves_at_most_two_percent(pair: Pair) -> None:
    moved = pair.moved_by(lambda file: file.write_bytes(os.urandom(1024) + file.read_bytes()))
    print(f"{moved / SIZE_BYTES:.2%}")  # noqa: T201
    assert moved <= 0.02 * SIZE_BYTES


def test_appending_moves_what_was_appended(pair: Pair) -> None:
    def append(path: Path) -> None:
        with path.open("ab") as file:
            file.write(os.urandom(MIB))

    assert pair.moved_by(append) <= 2.5 * MIB


def write_random(path: Path) -> None:
    chance = random.Random("film")
    with path.open("wb") as file:
        for _ in range(SIZE_BYTES // MIB):
            file.write(chance.randbytes(MIB))


def flip_a_byte(seed: int, path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(random.Random(f"position {seed}").randrange(SIZE_BYTES))
        old = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([old[0] ^ 0xFF]))


def is_like(path: Path, wanted: os.stat_result) -> bool:
    found = path.stat()
    return (found.st_size, found.st_mtime_ns) == (wanted.st_size, wanted.st_mtime_ns)


def bytes_on(machine: Machine) -> int:
    """Bytes that went over its cable since it was plugged in, both ways."""
    counters = json.loads(machine.ip("-s", "-j", "link", "show", "eth0"))[0]["stats64"]
    return int(counters["rx"]["bytes"] + counters["tx"]["bytes"])
