"""Blocking. From the bytes of a file to its block list.

A block whose pid the file's previous version had keeps that version's entry, and so the epoch of its first appearance;
only new blocks are sealed, to learn their cid. A file that changes while it is read gives no list: the caller looks at
it again later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from ca.values import dataclass
from syncd.model.cipher import BlockCipher, BlockKind
from syncd.model.cutter import CUT_BUFFER_BYTES, CutClass, Cutter, blocks_of, choose_class
from syncd.model.ids import Pid
from syncd.model.lists import ENTRY_BYTES, MAX_LIST_ENTRIES, BlockList, pack_entry, split_list
from syncd.seams import Reader
from syncd.treetypes import Stat, TooLarge

SMALL_FILE_BYTES = CutClass.SMALL.minimum
"""Files up to this size are one block whatever they hold, so they are read whole and many at a time."""

HOLE_BYTES: Final = 2 * CUT_BUFFER_BYTES
"""Smaller holes are read: a hole of this size holds at least one whole block of every class."""

MOST_SPARSE_BYTES: Final = 16 << 40
"""Where holes end at the latest: bytes that are not there cost nothing, but an entry for each 8 MiB of them does.
Listing so many took 550 MB of memory; what file systems allow, 8 EiB, would take a million times that."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """The content of a file: `packed` are the entries of all its blocks, `payload` is what the record holds."""

    size: int
    cut_class: CutClass
    packed: bytes
    payload: bytes
    parts: tuple[tuple[bytes, bytes], ...] = ()  # for a list of lists: (entry, plain) of each part

    @property
    def listed(self) -> bool:
        return bool(self.parts)

    def digest(self) -> bytes:
        return BlockList(self.packed).digest()


class _Zeros(NamedTuple):
    packed: bytes
    size: int


class Hasher:
    """Makes block lists for one folder in its current epoch. One object per thread."""

    def __init__(self, cipher: BlockCipher, cut_seed: bytes) -> None:
        self.cipher = cipher
        self._seed = cut_seed
        self._cutters: dict[CutClass, Cutter] = {}
        self._buffer: memoryview | None = None

    def small(self, content: bytes, known: Mapping[Pid, bytes] | None = None) -> Hashed:
        """The list of a file of at most SMALL_FILE_BYTES bytes."""
        if not content:
            return Hashed(0, CutClass.SMALL, b"", b"")
        entry = self._entry(BlockKind.DATA, content, known or {})
        return Hashed(len(content), CutClass.SMALL, entry, entry)

    def large(self, reader: Reader, size: int, previous: CutClass | None, known: Mapping[Pid, bytes]) -> Hashed:
        """The list of an open file, read once from front to end. Raises TooLarge."""
        cut_class = choose_class(size, previous)
        packed = self._cut(reader, cut_class, known)
        return self.finish(BlockList(packed).size, cut_class, packed)

    def finish(self, size: int, cut_class: CutClass, packed: bytes) -> Hashed:
        """A file's content from all its entries: a long list becomes a list of lists."""
        if len(packed) // ENTRY_BYTES <= MAX_LIST_ENTRIES:
            return Hashed(size, cut_class, packed, packed)
        parts = tuple((self._entry(BlockKind.LIST, part, {}), part) for part in split_list(packed))
        return Hashed(size, cut_class, packed, b"".join(entry for entry, _ in parts), parts)

    def entries(self, reader: Reader, cut_class: CutClass, known: Mapping[Pid, bytes]) -> bytes:
        """The packed entries of an open file cut with a given class (to find blocks of it again)."""
        return self._cut(reader, cut_class, known)

    def _cut(self, reader: Reader, cut_class: CutClass, known: Mapping[Pid, bytes]) -> bytes:
        cutter = self._cutters.get(cut_class)
        if cutter is None:
            cutter = self._cutters[cut_class] = Cutter(cut_class, self._seed)
        packed = bytearray()
        offset = 0
        while True:
            zeros = self._zeros(reader, offset, cutter, known)
            packed += zeros.packed
            offset += zeros.size
            for block in self._blocks(reader, offset, cutter):
                packed += self._entry(BlockKind.DATA, block, known)
                offset += len(block)
                if reader.zeros_until(offset) - offset >= HOLE_BYTES:
                    break
            else:
                return bytes(packed)

    def _blocks(self, reader: Reader, offset: int, cutter: Cutter) -> Iterator[memoryview]:
        """The blocks of a file from a place where one begins."""
        if self._buffer is None:
            self._buffer = memoryview(bytearray(CUT_BUFFER_BYTES))

        def read_into(view: memoryview) -> int:
            nonlocal offset
            count = reader.read_into(offset, view)
            offset += count
            return count

        return blocks_of(read_into, cutter, self._buffer)

    def _zeros(self, reader: Reader, offset: int, cutter: Cutter, known: Mapping[Pid, bytes]) -> _Zeros:
        """The blocks of a hole, without reading it: zeros are cut alike wherever a block of them begins, as far as the
        most that a block can have lies in the hole."""
        room = reader.zeros_until(offset) - offset
        if room < HOLE_BYTES:
            return _Zeros(b"", 0)
        if offset + room > MOST_SPARSE_BYTES:
            raise TooLarge(f"a hole in it ends after {offset + room:,} bytes, and after 16 TiB no file is synced")
        most = cutter.cut_class.maximum
        content = bytes(most)
        length = cutter.cut(content, final=False)[0]
        count = (room - most) // length + 1
        return _Zeros(self._entry(BlockKind.DATA, content[:length], known) * count, count * length)

    def _entry(self, kind: BlockKind, plain: bytes | memoryview, known: Mapping[Pid, bytes]) -> bytes:
        if known:
            entry = known.get(self.cipher.pid(kind, plain))
            if entry is not None:
                return entry
        sealed = self.cipher.seal(kind, plain)
        return pack_entry(sealed.pid, sealed.cid, len(plain), self.cipher.epoch)


def entries_by_pid(packed: bytes) -> dict[Pid, bytes]:
    """Packed entries by the pid each begins with."""
    return {
        Pid(packed[start : start + 32]): packed[start : start + ENTRY_BYTES]
        for start in range(0, len(packed), ENTRY_BYTES)
    }


def unchanged(before: Stat, after: Stat) -> bool:
    """Nobody wrote to the file while it was read."""
    return before.same(after)
