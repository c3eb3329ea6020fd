"""Pure. Block lists: which blocks, in which order, make up a file.

A list is its entries, packed one behind the other:

    pid 32 | cid 32 | length u32 big-endian | epoch 8          76 bytes; epoch: the first 8 bytes of the EpochId

A list of more than MAX_LIST_ENTRIES entries becomes a list of lists: it is cut after entries whose pid ends in eight
zero bits (never before MIN_PART_ENTRIES, always at MAX_LIST_ENTRIES), every part is sealed as a block of kind LIST, and
the record holds the packed entries of these. Where it is cut depends on the content near by, so an edit of a huge file
makes one new part and not a new list.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from ca.digest import digest
from ca.errors import RemoteProtocolError
from ca.ids import EpochId
from ca.values import dataclass
from syncd.model.cipher import MAX_BLOCK_BYTES
from syncd.model.ids import HASH_BYTES, Cid, Pid

ENTRY_BYTES: Final = 76
EPOCH_PREFIX_BYTES: Final = 8
MAX_LIST_ENTRIES: Final = 1024
"""Most entries of a list in a record, and of one part of a list of lists."""

MIN_PART_ENTRIES: Final = 64
"""Bounds the number of parts when a file repeats one block whose pid happens to end a part."""

MAX_PARTS: Final = 16_384
"""Most parts of a list of lists: 1.2 MB in the record, files of about 20 TB."""

_ENTRY: Final = struct.Struct(">32s32sI8s")
_LENGTH: Final = struct.Struct(">64xI8x")


class Entry(NamedTuple):
    """One block of a file (or one part of its list) and where its ciphertext is found: (epoch, cid)."""

    pid: Pid
    cid: Cid
    length: int
    epoch_prefix: bytes

    @classmethod
    def unpack(cls, packed: bytes) -> Entry:
        """The entry of these 76 bytes."""
        return cls._make(_ENTRY.unpack(packed))


def pack_entry(pid: Pid, cid: Cid, length: int, epoch: EpochId) -> bytes:
    """The 76 bytes of an entry."""
    return _ENTRY.pack(pid, cid, length, epoch[:EPOCH_PREFIX_BYTES])


@dataclass(frozen=True, slots=True)
class BlockList:
    """Packed entries with a list's manners. Valid by construction: whole entries, every length within the limits."""

    packed: bytes

    def __len__(self) -> int:
        return len(self.packed) // ENTRY_BYTES

    def __iter__(self) -> Iterator[Entry]:
        return map(Entry._make, _ENTRY.iter_unpack(self.packed))

    def __getitem__(self, index: int) -> Entry:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return Entry._make(_ENTRY.unpack_from(self.packed, index * ENTRY_BYTES))

    @property
    def size(self) -> int:
        """Bytes of plaintext in all blocks together."""
        return packed_size(self.packed)

    def lengths(self) -> list[int]:
        """The length of every entry, in order."""
        return [length for (length,) in _LENGTH.iter_unpack(self.packed)]

    def pids(self) -> list[Pid]:
        """The pid of every entry, in order."""
        return [Pid(self.packed[at : at + HASH_BYTES]) for at in range(0, len(self.packed), ENTRY_BYTES)]

    def cids(self) -> list[Cid]:
        """The cid of every entry, in order."""
        return [Cid(self.packed[at : at + HASH_BYTES]) for at in range(HASH_BYTES, len(self.packed), ENTRY_BYTES)]

    def digest(self) -> bytes:
        """32 bytes that name the content whatever the epochs: a hash of the pids in order."""
        return digest("list", b"".join(self.pids()))


def packed_size(packed: bytes) -> int:
    """The sum of the lengths of packed entries."""
    if len(packed) == ENTRY_BYTES:  # most files
        return int.from_bytes(packed[64:68], "big")
    return sum(length for (length,) in _LENGTH.iter_unpack(packed))


def check_packed_untrusted(packed: bytes, max_entries: int) -> int:
    """The sum of the lengths. Raises: RemoteProtocolError for torn entries, too many, or an impossible length."""
    count, rest = divmod(len(packed), ENTRY_BYTES)
    if rest or count > max_entries:
        raise RemoteProtocolError("a block list is torn or too long")
    total = 0
    for (length,) in _LENGTH.iter_unpack(packed):
        if not 0 < length <= MAX_BLOCK_BYTES:
            raise RemoteProtocolError(f"a block list names a block of {length} bytes")
        total += length
    return total


def parse_list_untrusted(packed: bytes, max_entries: int = MAX_LIST_ENTRIES) -> BlockList:
    """Packed entries from outside, such as the plaintext of a part. Raises: RemoteProtocolError."""
    check_packed_untrusted(packed, max_entries)
    return BlockList(packed)


def split_list(packed: bytes) -> list[bytes]:
    """The parts of a list, in order; one part if it needs no list of lists."""
    count = len(packed) // ENTRY_BYTES
    if count <= MAX_LIST_ENTRIES:
        return [packed]
    last_pid_bytes = packed[HASH_BYTES - 1 :: ENTRY_BYTES]
    parts = []
    start = 0
    while start < count:
        limit = min(start + MAX_LIST_ENTRIES, count)
        cut = last_pid_bytes.find(0, start + MIN_PART_ENTRIES - 1, limit)
        stop = limit if cut < 0 else cut + 1
        parts.append(packed[start * ENTRY_BYTES : stop * ENTRY_BYTES])
        start = stop
    return parts


def join_parts_untrusted(parts: Iterable[bytes], size: int, digest: bytes) -> BlockList:
    """The whole list of a file from the opened parts of its list of lists.

    Raises: RemoteProtocolError if a part is no list, or the whole is cut otherwise than `split_list` cuts it, or does
    not add up to the `size` and `digest` that the record states.
    """
    received = list(parts)
    for part in received:
        check_packed_untrusted(part, MAX_LIST_ENTRIES)
    whole = BlockList(b"".join(received))
    if len(whole) <= MAX_LIST_ENTRIES or split_list(whole.packed) != received:
        raise RemoteProtocolError("a list of lists is not cut by the rule")
    if whole.size != size or whole.digest() != digest:
        raise RemoteProtocolError("a list of lists is not the list that its record names")
    return whole
