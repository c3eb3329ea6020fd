"""Pure. Two versions of a file beside each other: what kind of content it is, and line by line what differs.

Everything is bounded, because the versions come from other people: so many lines, so many characters of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Final

from ca.values import dataclass

AROUND: Final = 3
"""Equal lines that are shown around a difference."""
MAX_LINES: Final = 1500
MAX_CHARACTERS: Final = 400

TEXT: Final = "text"
BINARY: Final = "binary"
_IMAGES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
"""Pictures that every browser decodes and that can hold no script."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of both sides. `change`: same, changed, left, right; or skipped, and then how many `lines` are."""

    change: str
    left: str | None
    right: str | None
    lines: int = 1


def media_of(content: bytes) -> str:
    """What a content begins with: an image by its first bytes, text if it can be read as such, else binary."""
    for beginning, media in _IMAGES:
        if content.startswith(beginning):
            return media
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return BINARY if maybe_text(content) is None else TEXT


def maybe_text(content: bytes) -> str | None:
    """UTF-8 without NUL; the last character may be cut through, because only the beginning was read."""
    if b"\0" in content:
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        cut_through = error.start >= len(content) - 3 and error.reason == "unexpected end of data"
        return content[: error.start].decode("utf-8") if cut_through else None


def side_by_side(left: str, right: str) -> list[Row]:
    """All differences with some lines around each; nothing if the texts are equal as far as they are looked at."""
    ours, theirs = _lines(left), _lines(right)
    rows: list[Row] = []
    reached = 0
    for group in SequenceMatcher(None, ours, theirs).get_grouped_opcodes(AROUND):
        if group[0][1] > reached:
            rows.append(Row("skipped", None, None, group[0][1] - reached))
        for tag, begin, end, other_begin, other_end in group:
            rows += _rows(tag, ours[begin:end], theirs[other_begin:other_end])
        reached = group[-1][2]
    if rows and reached < len(ours):
        rows.append(Row("skipped", None, None, len(ours) - reached))
    return rows


def _rows(tag: str, ours: Sequence[str], theirs: Sequence[str]) -> Iterator[Row]:
    for left, right in zip_longest(ours, theirs):
        change = "left" if right is None else "right" if left is None else "same" if tag == "equal" else "changed"
        yield Row(change, left, right)


def _lines(text: str) -> list[str]:
    lines = text.splitlines()[:MAX_LINES]
    return [line if len(line) <= MAX_CHARACTERS else line[: MAX_CHARACTERS - 1] + "…" for line in lines]
