"""What share links give out: names in a zip file, and which blocks of a file."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.ids import EpochId
from syncd.methods.handingout import BATCH_BYTES, _batches, zip_names, zip_top
from syncd.model.ids import Cid, Pid
from syncd.model.lists import pack_entry


@pytest.mark.parametrize(
    "name", ["../../etc", "/etc", "..", ".", "", " .. ", "a/../..", "..\\..\\x", "a\0b", "\udcff/..", "/", "\\"]
)
def test_w9_folder_of_any_name_stays_where_its_zip_file_is_opened(name: str) -> None:
    """Whoever makes a folder calls it as they like, and who joins takes the name over."""
    top = zip_top(name.encode("utf-8", "surrogateescape"))
    assert top.strip(" ") not in ("", ".", "..") and not set(top) & set("/\\\0")


@pytest.mark.parametrize("name", ["Notes", "Fotos 2026", "..hidden", ".config", "a.b"])
def test_harmless_name_stays(name: str) -> None:
    assert zip_top(name.encode()) == name


@pytest.mark.parametrize("seed", range(20))
def test_batches_are_the_blocks_of_the_bytes_that_were_asked_for(seed: int) -> None:
    random = Random(seed)
    lengths = [random.choice([1, 7, 4_096, BATCH_BYTES // 3, BATCH_BYTES, 3 * BATCH_BYTES]) for _ in range(30)]
    packed = b"".join(pack_entry(Pid(bytes(32)), Cid(bytes(32)), length, EpochId(bytes(32))) for length in lengths)
    size = sum(lengths)
    for _ in range(50):
        start = random.randrange(size)
        length = random.choice([1, random.randrange(1, size - start + 1), size - start])
        at = start
        for batch in _batches(packed, start, length):
            assert sum(lengths[: batch.first]) + batch.skip == at, "one goes on where the one before ended"
            inside = lengths[batch.first : batch.first + batch.count]
            assert 0 <= batch.skip < inside[0] and 0 < batch.length <= sum(inside) - batch.skip
            assert sum(inside[:-1]) < BATCH_BYTES, "no more is read than there is need for"
            at += batch.length
        assert at == start + length
    assert _batches(packed, size, 0) == [] == _batches(b"", 0, 0)


def test_names_that_a_zip_file_would_make_one_stay_two() -> None:
    paths = [(b"a\\b.txt",), (b"a_b.txt",), (b"a_b (2).txt",), (b"d\\",), (b"d\\", b"x"), (b"d_",), (b"d_", b"x")]
    names = zip_names("top", paths)
    assert names == {
        (b"a\\b.txt",): "top/a_b (3).txt",
        (b"a_b.txt",): "top/a_b.txt",
        (b"a_b (2).txt",): "top/a_b (2).txt",
        (b"d\\",): "top/d_ (2)",
        (b"d\\", b"x"): "top/d_ (2)/x",
        (b"d_",): "top/d_",
        (b"d_", b"x"): "top/d_/x",
    }


@given(st.lists(st.lists(st.sampled_from([b"a", b"\\", b"_", b"\xff", b"_xff", b". (2)"]), min_size=1, max_size=3)))
def test_whatever_the_names_a_zip_file_has_each_once(nested: list[list[bytes]]) -> None:
    paths = sorted({tuple(path[:depth]) for path in nested for depth in range(1, len(path) + 1)})
    names = zip_names("top", paths)
    assert len(set(names.values())) == len(paths)
    assert all(name.count("/") == len(path) and "\\" not in name for path, name in names.items())
