"""Two versions beside each other: every line of both is accounted for, and hostile content costs little."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.sidebyside import AROUND, MAX_CHARACTERS, MAX_LINES, Row, maybe_text, media_of, side_by_side

LINES = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=40)


def test_differences_stand_between_equal_lines() -> None:
    common = [f"line {number}" for number in range(20)]
    left, right = [*common[:10], "old", *common[10:]], [*common[:10], "new", "more", *common[10:]]
    rows = side_by_side("\n".join(left), "\n".join(right))
    assert rows[0] == Row("skipped", None, None, 10 - AROUND)
    assert [row for row in rows if row.change not in ("same", "skipped")] == [
        Row("changed", "old", "new"),
        Row("right", None, "more"),
    ]
    assert rows[-1] == Row("skipped", None, None, 10 - AROUND)


def test_equal_texts_have_no_rows() -> None:
    assert side_by_side("a\nb", "a\nb") == []


@given(LINES, LINES)
def test_every_line_of_both_is_shown_or_counted(left: list[str], right: list[str]) -> None:
    rows = side_by_side("\n".join(left), "\n".join(right))
    if not rows:
        assert "\n".join(left).splitlines() == "\n".join(right).splitlines()
        return
    skipped = sum(row.lines for row in rows if row.change == "skipped")
    assert skipped + sum(row.left is not None for row in rows) == len("\n".join(left).splitlines())
    assert skipped + sum(row.right is not None for row in rows) == len("\n".join(right).splitlines())


def test_what_is_shown_is_bounded() -> None:
    rows = side_by_side("x" * 1_000_000, "\n".join("y" * 1000 for _ in range(10_000)))
    assert len(rows) <= MAX_LINES + 1
    assert max(len(row.left or row.right or "") for row in rows) == MAX_CHARACTERS


@pytest.mark.parametrize(
    ("content", "media"),
    [
        (b"plain words", "text"),
        (b"", "text"),
        ("cut through é".encode()[:-1], "text"),
        (b"\xff\xfe", "binary"),
        (b"with\0nul", "binary"),
        (b"\x89PNG\r\n\x1a\n....", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "text"),
        (b"<html>", "text"),
    ],
)
def test_kind_is_told_by_the_first_bytes_alone(content: bytes, media: str) -> None:
    assert media_of(content) == media


@given(st.binary(max_size=64))
def test_anything_is_of_some_kind(content: bytes) -> None:
    assert media_of(content)
    assert (maybe_text(content) is None) <= (media_of(content) != "text")
