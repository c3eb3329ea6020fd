"""Blocking. The records by which versions came to be, for who asks for many: a changeset is opened once, and not for
each of its thousand records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from syncd.model.records import Record

MOST_OPEN: Final = 8
"""Changesets that are kept at a time, of a megabyte or so each. Who asks in the order of rows asks mostly in that of
changesets."""


class Recorded:
    """Made for one errand, and gone with it."""

    def __init__(self, open_: Callable[[int], Sequence[Record]]) -> None:
        """`open_`: the records of a changeset by its arrival number."""
        self._open = open_
        self._records: dict[int, Sequence[Record]] = {}

    def of(self, cs: int, idx: int) -> Record:
        """The record at a place in a changeset. Raises what `open_` raises."""
        if cs not in self._records:
            if len(self._records) == MOST_OPEN:
                del self._records[next(iter(self._records))]
            self._records[cs] = self._open(cs)
        return self._records[cs][idx]
