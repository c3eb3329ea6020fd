from __future__ import annotations

import random
import statistics

import pytest

from syncd.model.cipher import MAX_BLOCK_BYTES
from syncd.model.cutter import GIB, KIB, MIB, CutClass, Cutter, choose_class, cut_at

SEED = b"a seed of this folder"
DATA = random.Random(1).randbytes(6 * MIB)
SMALL = Cutter(CutClass.SMALL, SEED)


def read(data: bytes, buffer_bytes: int) -> list[bytes]:
    """The blocks of a file, read through a buffer of that size."""
    buffer, offset, found = memoryview(bytearray(buffer_bytes)), 0, []

    def read_into(at: int, view: memoryview) -> int:
        part = data[at : at + len(view)]
        view[: len(part)] = part
        return len(part)

    while lengths := cut_at(read_into, offset, SMALL, buffer):
        start = 0
        for length in lengths:
            found.append(bytes(buffer[start : start + length]))
            start += length
        offset += start
    return found


def read_lengths(data: bytes, buffer_bytes: int) -> list[int]:
    return [len(block) for block in read(data, buffer_bytes)]


def test_blocks_add_up_and_keep_to_the_limits() -> None:
    lengths = SMALL.cut(DATA, final=True)
    assert sum(lengths) == len(DATA)
    assert all(CutClass.SMALL.minimum <= length <= CutClass.SMALL.maximum for length in lengths[:-1])


def test_sizes_gather_around_the_average() -> None:
    mean = statistics.mean(SMALL.cut(DATA, final=True))
    assert 0.9 * CutClass.SMALL.average < mean < 1.4 * CutClass.SMALL.average


@pytest.mark.parametrize("buffer_bytes", [512 * KIB, 512 * KIB + 1, 700_001, MIB, 5 * MIB])
def test_cuts_do_not_depend_on_the_size_of_the_buffer(buffer_bytes: int) -> None:
    assert read_lengths(DATA, buffer_bytes) == SMALL.cut(DATA, final=True)


@pytest.mark.parametrize("filler", [b"\0", b"\xff", b"ab"])
def test_repeating_content_is_cut_without_regard_to_buffers(filler: bytes) -> None:
    data = filler * (3 * MIB // len(filler)) + b"end"
    assert read_lengths(data, 512 * KIB) == SMALL.cut(data, final=True)
    assert sum(SMALL.cut(data, final=True)) == len(data)


def test_every_prefix_decides_the_cuts_that_it_contains() -> None:
    whole = SMALL.cut(DATA, final=True)
    for size in range(1, 2 * MIB, 50_021):
        decided = SMALL.cut(DATA[:size], final=False)
        assert decided == whole[: len(decided)]


def test_a_buffer_of_the_maximum_always_yields_a_block() -> None:
    for start in range(0, 4 * MIB, 300_007):
        assert SMALL.cut(DATA[start : start + CutClass.SMALL.maximum], final=False)


def test_a_reused_buffer_yields_the_right_bytes() -> None:
    assert b"".join(read(DATA, 600 * KIB)) == DATA


@pytest.mark.parametrize("size", [0, 1, 160 * KIB - 1, 160 * KIB])
def test_small_files_are_at_most_one_block(size: int) -> None:
    assert SMALL.cut(DATA[:size], final=True) == ([size] if size else [])
    assert read_lengths(DATA[:size], 512 * KIB) == ([size] if size else [])
    assert SMALL.cut(DATA[:size], final=False) == []


def test_a_changed_byte_moves_few_blocks() -> None:
    changed = bytearray(DATA)
    changed[3 * MIB] ^= 1
    assert sum(map(len, blocks_only_in(bytes(changed), DATA))) <= 2 * CutClass.SMALL.maximum


def test_an_insertion_at_the_front_moves_few_blocks() -> None:
    assert sum(map(len, blocks_only_in(bytes(1024) + DATA, DATA))) <= 3 * CutClass.SMALL.maximum


def blocks_only_in(data: bytes, old: bytes) -> set[bytes]:
    return set(pieces(data)) - set(pieces(old))


def pieces(data: bytes) -> list[bytes]:
    start, found = 0, []
    for length in SMALL.cut(data, final=True):
        found.append(data[start : start + length])
        start += length
    return found


def test_another_seed_cuts_elsewhere() -> None:
    assert Cutter(CutClass.SMALL, b"the other seed").cut(DATA, final=True) != SMALL.cut(DATA, final=True)


def test_every_seed_of_eight_bytes_is_taken() -> None:
    assert Cutter(CutClass.SMALL, b"\xff" * 32).cut(DATA[:100], final=True) == [100]
    assert Cutter(CutClass.SMALL, bytes(32)).cut(DATA[:100], final=True) == [100]


def test_the_coarsest_block_fits_buffers_and_ciphers() -> None:
    assert max(cut_class.maximum for cut_class in CutClass) == MAX_BLOCK_BYTES
    assert all(2 * cut_class.maximum <= cut_class.stretch for cut_class in CutClass)


def test_a_buffer_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="smaller than the largest block"):
        read(b"x", KIB)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, CutClass.SMALL),
        (4 * GIB - 1, CutClass.SMALL),
        (4 * GIB, CutClass.MEDIUM),
        (16 * GIB - 1, CutClass.MEDIUM),
        (16 * GIB, CutClass.LARGE),
    ],
)
def test_new_files_are_classed_by_size(size: int, expected: CutClass) -> None:
    assert choose_class(size) is expected


@pytest.mark.parametrize(
    ("previous", "size", "expected"),
    [
        (CutClass.SMALL, 16 * GIB - 1, CutClass.SMALL),
        (CutClass.SMALL, 16 * GIB, CutClass.LARGE),
        (CutClass.MEDIUM, GIB, CutClass.MEDIUM),
        (CutClass.MEDIUM, GIB - 1, CutClass.SMALL),
        (CutClass.LARGE, 4 * GIB, CutClass.LARGE),
        (CutClass.LARGE, 4 * GIB - 1, CutClass.SMALL),
        (CutClass.LARGE, 1 << 60, CutClass.LARGE),
    ],
)
def test_a_version_keeps_its_class_within_a_factor_of_four(previous: CutClass, size: int, expected: CutClass) -> None:
    assert choose_class(size, previous) is expected
