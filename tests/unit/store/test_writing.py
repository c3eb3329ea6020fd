"""What is gathered and written past the page cache is what a plain write would have left."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from syncd.store import files
from syncd.store.files import FileWriter
from syncd.store.writing import GATHERED_BYTES, Gathered, Memory
from syncd.treetypes import TreeError

KIB, MIB = 1 << 10, 1 << 20
SIZE = 12 * MIB + 77


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileWriter:
    monkeypatch.setattr(files, "PAST_CACHE_BYTES", MIB)
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT, 0o600)
    writer = FileWriter(fd, (b"file",), frozenset({os.getuid()}), with_modes=True)
    writer.set_size(SIZE)
    return writer


def blocks(content: bytes, chance: random.Random) -> list[tuple[int, bytes]]:
    found, offset = [], 0
    while offset < len(content):
        length = chance.randrange(1, 700 * KIB)
        found.append((offset, content[offset : offset + length]))
        offset += length
    return found


@pytest.mark.parametrize("seed", range(4))
def test_blocks_in_any_order_make_the_file(writer: FileWriter, seed: int) -> None:
    chance, memory = random.Random(seed), Memory(2)
    content = chance.randbytes(SIZE)
    pieces = blocks(content, chance)
    at = chance.randrange(len(pieces))
    pieces = pieces[at:] + pieces[:at]
    if seed % 2:
        chance.shuffle(pieces)
    written: list[int] = []

    def write(file: FileWriter, offsets: Sequence[int], plain: memoryview) -> None:
        written.extend(offsets)
        file.write_at(offsets[0], plain)

    for part in (pieces[: len(pieces) // 2], pieces[len(pieces) // 2 :]):
        with memory.lend(0) as place:
            gathered = Gathered(place, write)
            for offset, block in part:
                gathered.room(writer, offset, 1)[:] = b"!"  # one that was refused
                gathered.room(writer, offset, len(block))[:] = block
                gathered.keep(len(block))
            gathered.flush()
            gathered.flush()
    got = bytearray(SIZE)
    assert writer.read_into(0, got) == SIZE
    assert got == content
    assert sorted(written) == sorted(offset for offset, _ in pieces)
    writer.close()


def test_memory_is_lent_again_and_large_enough() -> None:
    memory = Memory(1)
    with memory.lend(1) as first, memory.lend(1) as second:
        assert min(len(first), len(second)) >= GATHERED_BYTES
    with memory.lend(1) as again:
        assert again is second or again is first
    with memory.lend(8 * MIB) as larger:
        assert len(larger) >= 8 * MIB
    memory.clear()


@pytest.mark.parametrize("shift", [0, 1, 512])
def test_memory_that_lies_otherwise_is_written_all_the_same(writer: FileWriter, shift: int) -> None:
    content = random.Random(shift).randbytes(MIB)
    with Memory(0).lend(0) as place:
        place[shift : shift + MIB] = content
        writer.write_at(4096 * 3 + 100, place[shift : shift + MIB])
    writer.write_at(4 * MIB, content)  # memory that cannot be written to
    for offset in (4096 * 3 + 100, 4 * MIB):
        got = bytearray(MIB)
        writer.read_into(offset, got)
        assert got == content
    writer.close()


def failing(monkeypatch: pytest.MonkeyPatch, number: int) -> list[int]:
    """A disk that refuses what does not go through its cache; the offsets at which it did."""
    plain, refused = files.write_fully, []

    def write(fd: int, offset: int, data: memoryview) -> None:
        if _is_past_cache(fd):
            refused.append(offset)
            raise OSError(number, os.strerror(number))
        plain(fd, offset, data)

    monkeypatch.setattr(files, "write_fully", write)
    return refused


def _is_past_cache(fd: int) -> bool:
    with open(f"/proc/self/fdinfo/{fd}") as info:
        flags = next(line for line in info if line.startswith("flags:"))
    return bool(int(flags.split()[1], 8) & os.O_DIRECT)


def test_disk_that_wants_it_otherwise_is_not_tried_again(writer: FileWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = failing(monkeypatch, errno.EINVAL)
    content = random.Random(1).randbytes(2 * MIB)
    with Memory(0).lend(0) as place:
        place[: 2 * MIB] = content
        writer.write_at(0, place[:MIB])
        if not refused:
            pytest.skip("this file system is always written through its cache")
        writer.write_at(MIB, place[MIB : 2 * MIB])
    got = bytearray(2 * MIB)
    writer.read_into(0, got)
    assert got == content
    assert refused == [0]
    writer.close()


def test_full_disk_is_an_error_past_the_cache_too(writer: FileWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = failing(monkeypatch, errno.ENOSPC)
    with Memory(0).lend(0) as place:
        try:
            writer.write_at(0, place[:MIB])
        except TreeError as error:
            assert refused == [0], error
        else:
            assert refused == []
            pytest.skip("this file system is always written through its cache")
    writer.close()
