"""Blocking. Neighbouring blocks of a file, gathered and written together, from memory that lies as the disk wants it.

Very large files are written past the page cache (`files.FileWriter`). The disk then takes whole pages out of memory
that begins, within a page, where they begin in the file.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, Generic, TypeVar

from syncd.store.files import PAGE_BYTES

GATHERED_BYTES: Final = 4 << 20
"""So much is written in one call."""

File = TypeVar("File")


class Memory:
    """Pieces of memory that begin on a page and are used again, `idle` of them at most kept. For several threads."""

    def __init__(self, idle: int) -> None:
        self._most = idle
        self._idle: list[memoryview] = []

    @contextmanager
    def lend(self, size_bytes: int) -> Iterator[memoryview]:
        """Lend at least so many bytes, and a page, with old content in them."""
        piece = memoryview(b"")
        with suppress(IndexError):  # another thread may have been faster
            piece = self._idle.pop()
        wanted = max(size_bytes, GATHERED_BYTES) + PAGE_BYTES
        if len(piece) < wanted:
            piece = memoryview(mmap.mmap(-1, wanted))
        try:
            yield piece
        finally:
            if len(self._idle) < self._most:
                self._idle.append(piece)

    def clear(self) -> None:
        """Give back to the system what nobody needs now."""
        self._idle.clear()


class Gathered(Generic[File]):
    """Blocks that follow one another in one file, until one does not."""

    def __init__(self, memory: memoryview, write: Callable[[File, Sequence[int], memoryview], None]) -> None:
        """`memory`: as `Memory` lends it. `write` gets a file, the offsets of blocks in it, and their content."""
        self._memory = memory
        self._write = write
        self._file: File | None = None
        self._next = 0
        """Where in the file the next block has to begin."""
        self._offsets: list[int] = []
        self._begin = self._end = 0
        """Where in memory it lies."""

    def room(self, file: File, offset: int, length: int) -> memoryview:
        """Where the block that belongs there is to be put. What it does not follow is written first."""
        if file is not self._file or offset != self._next or self._end + length > len(self._memory):
            self.flush()
            self._file, self._next = file, offset
            self._begin = self._end = offset % PAGE_BYTES
        return self._memory[self._end : self._end + length]

    def keep(self, length: int) -> None:
        """What was put into the last `room` is to be written."""
        self._offsets.append(self._next)
        self._next += length
        self._end += length

    def flush(self) -> None:
        """Write what was gathered. It stays where it lies until the next `room`."""
        file, offsets = self._file, self._offsets
        self._file, self._offsets = None, []
        if file is not None and offsets:
            self._write(file, offsets, self._memory[self._begin : self._end])
