"""A file has the same list however many threads work at it, and one that cannot be read has none."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from ca.ids import EpochId
from syncd.model.cutter import MIB, CutClass
from syncd.model.ids import Cid, Pid
from syncd.model.lists import BlockList, pack_entry, split_list
from syncd.store.hashing import Cutting, entries_by_pid
from syncd.treetypes import LocallyChanged
from tests.helpers.tasks import EPOCH, keyring
from tests.unit.store.test_holes import Counting


def cut_together(path: Path, cut_class: CutClass, threads: int, known: dict[Pid, bytes] | None = None) -> bytes:
    reader, keys = Counting(path, holes=True), keyring()
    cutting = Cutting(reader, cut_class, known or {})
    workers = [threading.Thread(target=lambda: cutting.work(keys.hasher())) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    reader.close()
    return cutting.packed()


@pytest.mark.parametrize("cut_class", [CutClass.SMALL, CutClass.MEDIUM])
def test_list_does_not_depend_on_how_many_threads_made_it(tmp_path: Path, cut_class: CutClass) -> None:
    path, size = tmp_path / "file", 50 * MIB + 4321
    chance = random.Random(7)
    with path.open("wb") as file:
        file.write(chance.randbytes(9 * MIB))
        file.truncate(40 * MIB)
        file.seek(40 * MIB)
        file.write(chance.randbytes(size - 40 * MIB))
    alone = cut_together(path, cut_class, 1)
    assert BlockList(alone).size == size
    assert {cut_together(path, cut_class, threads) for threads in (2, 3)} == {alone}
    assert cut_together(path, cut_class, 2, entries_by_pid(alone)) == alone


def test_unchanged_parts_of_a_long_list_keep_their_entries_in_another_epoch() -> None:
    old, new = keyring(), keyring(EpochId(b"n" * 32))
    entries = [pack_entry(Pid(random.Random(n).randbytes(32)), Cid(bytes(32)), 1000, EPOCH) for n in range(6000)]
    first = old.hasher().finish(6_000_000, CutClass.SMALL, b"".join(entries), {})
    entries[3000] = pack_entry(Pid(b"p" * 32), Cid(bytes(32)), 1000, new.current)
    second = new.hasher().finish(6_000_000, CutClass.SMALL, b"".join(entries), entries_by_pid(first.payload))
    before, after = ({entry for entry, _ in made.parts} for made in (first, second))
    assert len(before) > 8
    assert len(before - after) == len(after - before) == 1
    assert {plain for _, plain in second.parts} == set(split_list(b"".join(entries)))


class Torn(Counting):
    """A disk that gives up behind the first megabytes."""

    __slots__ = ()

    def read_into(self, offset: int, buffer: bytearray | memoryview) -> int:
        if offset > 10 * MIB:
            raise LocallyChanged("torn", (b"file",))
        return super().read_into(offset, buffer)


def test_what_one_thread_cannot_read_ends_the_work_of_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(random.Random(8).randbytes(20 * MIB))
    reader, hasher = Torn(path, holes=True), keyring().hasher()
    cutting = Cutting(reader, CutClass.SMALL, {})
    cutting.work(hasher)
    cutting.work(hasher)
    with pytest.raises(LocallyChanged, match="torn"):
        cutting.packed()
    reader.close()
