"""A hole is cut into the blocks that its zeros would give, without being read, and arrives as one."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from syncd.model.cipher import BlockKind
from syncd.model.cutter import CutClass
from syncd.model.lists import BlockList
from syncd.store.files import FileReader
from syncd.store.hashing import HOLE_BYTES
from syncd.store.packs import Packs
from syncd.store.staging import Delivery, Stager, Staging
from syncd.treetypes import TooLarge
from tests.helpers.simdisk import SimDisk
from tests.helpers.simtree import SimDatabases, SimTree
from tests.helpers.tasks import FOLDER_ID, device_keys, keyring, marker_of
from tests.unit.store.test_staging import placed, wanted

MIB = 1 << 20


class Counting(FileReader):
    """Counts what is read; without holes it says of none."""

    __slots__ = ("holes", "read_bytes")

    def __init__(self, path: Path, *, holes: bool) -> None:
        super().__init__(os.open(path, os.O_RDONLY), (os.fsencode(path.name),), frozenset({os.getuid()}))
        self.holes, self.read_bytes = holes, 0

    def read_into(self, offset: int, buffer: bytearray | memoryview) -> int:
        count = super().read_into(offset, buffer)
        self.read_bytes += count
        return count

    def zeros_until(self, offset: int) -> int:
        return super().zeros_until(offset) if self.holes else offset


def entries(path: Path, cut_class: CutClass, *, holes: bool) -> tuple[bytes, int]:
    reader = Counting(path, holes=holes)
    try:
        return keyring().hasher().entries(reader, cut_class, {}), reader.read_bytes
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("cut_class", "islands"),
    [
        (CutClass.SMALL, ()),
        (CutClass.SMALL, (17 * MIB + 5, 30 * MIB + 1)),
        (CutClass.MEDIUM, (0,)),
        (CutClass.LARGE, (35 * MIB,)),
    ],
)
def test_file_with_holes_has_the_blocks_of_its_bytes(
    tmp_path: Path, cut_class: CutClass, islands: tuple[int, ...]
) -> None:
    path, size = tmp_path / "sparse", 36 * MIB
    chance = random.Random(str(islands))
    with path.open("wb") as file:
        file.truncate(size)
        for offset in islands:
            file.seek(offset)
            file.write(chance.randbytes(MIB))
    if path.stat().st_blocks * 512 > size // 2:
        pytest.skip("this file system has no holes")
    read, all_of_it = entries(path, cut_class, holes=False)
    skipped, less = entries(path, cut_class, holes=True)
    assert skipped == read
    assert BlockList(skipped).size == size
    assert all_of_it >= size
    assert less < all_of_it - HOLE_BYTES // 2


class Endless(Counting):
    """A file with a hole as large as file systems allow, which not every one does."""

    __slots__ = ()

    def zeros_until(self, offset: int) -> int:
        return max(offset, (1 << 63) - 1)


def test_hole_without_measure_is_refused_and_not_counted_out(tmp_path: Path) -> None:
    path = tmp_path / "endless"
    path.write_bytes(b"")
    reader = Endless(path, holes=True)
    with pytest.raises(TooLarge, match="16 TiB"):
        keyring().hasher().large(reader, (1 << 63) - 1, None, {})
    reader.close()


def test_file_that_is_full_has_no_holes(tmp_path: Path) -> None:
    path = tmp_path / "full"
    path.write_bytes(bytes(MIB))
    reader = Counting(path, holes=True)
    assert [reader.zeros_until(offset) for offset in (0, 100, MIB)] == [0, 100, MIB]
    reader.close()


def test_block_that_goes_to_many_places_is_opened_once_and_others_between_them_are_kept_apart() -> None:
    zeros, other = bytes(300_000), random.Random(1).randbytes(300_000)
    contents = [zeros, other, zeros, other, other, zeros]
    tree = SimTree(SimDisk(), SimDatabases())
    marker = marker_of(device_keys("x"))
    tree.check_root(marker)
    tree.write_marker(marker)
    want = wanted(contents)
    staging = Staging(want)
    staging.writer, staging.is_fresh = tree.stage_file(want.token), True
    staging.writer.set_size(want.size)
    sealed = {content: bytes(keyring().cipher().seal(BlockKind.DATA, content).ciphertext) for content in contents}
    deliveries = [
        Delivery(staging, offset, entry, sealed[content])
        for (offset, entry), content in zip(placed(want), contents, strict=True)
    ]
    damaged = bytes(len(sealed[other]))
    refused = Delivery(staging, 0, deliveries[1].entry, damaged)
    packs = Packs(tree.open_database("folder.db"), tree.open_shelf("shelf"), FOLDER_ID)
    delivered = Stager(tree, keyring(), packs).deliver([*deliveries[:3], refused, *deliveries[3:]])
    assert delivered.good == deliveries
    assert delivered.refused == [deliveries[1].entry.cid]
    got = bytearray(want.size)
    staging.writer.read_into(0, got)
    assert bytes(got) == b"".join(contents)
