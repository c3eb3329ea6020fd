"""Blocking. From the bytes of a file to its block list.

A block whose pid the file's previous version had keeps that version's entry, and so the epoch of its first appearance;
only new blocks are sealed, to learn their cid. That holds for the parts of a long list as well. A file that changes
while it is read gives no list: the caller looks at it again later.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Final, NamedTuple

from ca.values import dataclass
from syncd.model.cipher import BlockCipher, BlockKind
from syncd.model.cutter import MIB, CutClass, Cutter, choose_class, cut_at
from syncd.model.ids import Pid
from syncd.model.lists import ENTRY_BYTES, MAX_LIST_ENTRIES, BlockList, pack_entry, split_list
from syncd.seams import Reader
from syncd.treetypes import TooLarge, TreeError

SMALL_FILE_BYTES = CutClass.SMALL.minimum
"""Files up to this size are one block whatever they hold, so they are read whole and many at a time."""

HOLE_BYTES: Final = 16 * MIB
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


class _Stretch(NamedTuple):
    """Blocks at the front of a thread's buffer, and the place of their entries among all."""

    number: int
    lengths: list[int]


class Hasher:
    """Makes block lists for one folder in its current epoch. One object per thread."""

    def __init__(self, cipher: BlockCipher, cut_seed: bytes) -> None:
        self.cipher = cipher
        self._seed = cut_seed
        self._cutters: dict[CutClass, Cutter] = {}
        self._buffer = memoryview(b"")

    def small(self, content: bytes, known: Mapping[Pid, bytes] | None = None) -> Hashed:
        """The list of a file of at most SMALL_FILE_BYTES bytes."""
        if not content:
            return Hashed(0, CutClass.SMALL, b"", b"")
        entry = self.entry(BlockKind.DATA, content, known or {})
        return Hashed(len(content), CutClass.SMALL, entry, entry)

    def large(self, reader: Reader, size: int, previous: CutClass | None, known: Mapping[Pid, bytes]) -> Hashed:
        """The list of an open file, read once from front to end. Raises TooLarge."""
        cut_class = choose_class(size, previous)
        packed = self.entries(reader, cut_class, known)
        return self.finish(BlockList(packed).size, cut_class, packed, known)

    def finish(self, size: int, cut_class: CutClass, packed: bytes, known: Mapping[Pid, bytes]) -> Hashed:
        """A file's content from all its entries: a long list becomes a list of lists."""
        if len(packed) // ENTRY_BYTES <= MAX_LIST_ENTRIES:
            return Hashed(size, cut_class, packed, packed)
        parts = tuple((self.entry(BlockKind.LIST, part, known), part) for part in split_list(packed))
        return Hashed(size, cut_class, packed, b"".join(entry for entry, _ in parts), parts)

    def entries(self, reader: Reader, cut_class: CutClass, known: Mapping[Pid, bytes]) -> bytes:
        """The packed entries of an open file cut with a given class (to find blocks of it again)."""
        cutting = Cutting(reader, cut_class, known)
        cutting.work(self)
        return cutting.packed()

    def tools(self, cut_class: CutClass) -> tuple[Cutter, memoryview]:
        """What cuts files of a class, and where."""
        cutter = self._cutters.get(cut_class)
        if cutter is None:
            cutter = self._cutters[cut_class] = Cutter(cut_class, self._seed)
        if len(self._buffer) < cut_class.stretch:
            self._buffer = memoryview(bytearray(cut_class.stretch))
        return cutter, self._buffer[: cut_class.stretch]

    def entry(self, kind: BlockKind, plain: bytes | memoryview, known: Mapping[Pid, bytes]) -> bytes:
        """The entry of one block: that of `known` which has its pid, or a new one."""
        if known:
            entry = known.get(self.cipher.pid(kind, plain))
            if entry is not None:
                return entry
        sealed = self.cipher.seal(kind, plain)
        return pack_entry(sealed.pid, sealed.cid, len(plain), self.cipher.epoch)


class Cutting:
    """An open file on its way to its block list, by as many threads as `work` at it: while one reads and cuts, others
    seal what they have cut before."""

    def __init__(self, reader: Reader, cut_class: CutClass, known: Mapping[Pid, bytes]) -> None:
        self.cut_class = cut_class
        self._reader = reader
        self._known = known
        self._lock = threading.Lock()
        self._offset = 0
        self._packed: list[bytes] = []
        self._is_over = False
        self._error: TreeError | None = None

    def work(self, hasher: Hasher) -> None:
        """Until nothing is left to be cut. Each thread has a hasher of its own. Raises nothing: `packed` does."""
        cutter, buffer = hasher.tools(self.cut_class)
        while stretch := self._maybe_next(hasher, cutter, buffer):
            entries, start = [], 0
            for length in stretch.lengths:
                entries.append(hasher.entry(BlockKind.DATA, buffer[start : start + length], self._known))
                start += length
            self._packed[stretch.number] = b"".join(entries)

    def packed(self) -> bytes:
        """The entries, after all who worked have ended. Raises TreeError."""
        if self._error is not None:
            raise self._error
        return b"".join(self._packed)

    def _maybe_next(self, hasher: Hasher, cutter: Cutter, buffer: memoryview) -> _Stretch | None:
        with self._lock:
            if self._is_over:
                return None
            try:
                self._skip_hole(hasher, cutter)
                lengths = self._cut(cutter, buffer)
            except TreeError as error:
                self._error, lengths = error, []
            if not lengths:
                self._is_over = True
                return None
            self._packed.append(b"")
            return _Stretch(len(self._packed) - 1, lengths)

    def _cut(self, cutter: Cutter, buffer: memoryview) -> list[int]:
        """As many blocks as lie before the next hole."""
        lengths = cut_at(self._reader.read_into, self._offset, cutter, buffer)
        for count, length in enumerate(lengths, start=1):
            self._offset += length
            if self._reader.zeros_until(self._offset) - self._offset >= HOLE_BYTES:
                return lengths[:count]
        return lengths

    def _skip_hole(self, hasher: Hasher, cutter: Cutter) -> None:
        """The blocks of a hole, without reading it: zeros are cut alike wherever a block of them begins, as far as the
        most that a block can have lies in the hole."""
        room = self._reader.zeros_until(self._offset) - self._offset
        if room < HOLE_BYTES:
            return
        if self._offset + room > MOST_SPARSE_BYTES:
            raise TooLarge(f"a hole in it ends after {self._offset + room:,} bytes, and after 16 TiB no file is synced")
        most = cutter.cut_class.maximum
        content = bytes(most)
        length = cutter.cut(content, final=False)[0]
        count = (room - most) // length + 1
        self._packed.append(hasher.entry(BlockKind.DATA, content[:length], self._known) * count)
        self._offset += count * length


def entries_by_pid(packed: bytes) -> dict[Pid, bytes]:
    """Packed entries by the pid each begins with."""
    return {
        Pid(packed[start : start + 32]): packed[start : start + ENTRY_BYTES]
        for start in range(0, len(packed), ENTRY_BYTES)
    }
