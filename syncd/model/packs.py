"""Pure. Packs: encrypted blocks of one kind, many to a file, with an index of their own.

A pack says of itself what is in it, so that a store can be read without any database:

    header    "syncd pack" and six zeros | folder 32 | format u8 = 1 | kind u8 | zeros 14            64 bytes
    blocks    ciphertexts, one behind the other, in the order of the index
    index     packed entries (`lists`) of the blocks, 1,024 at a time, each sealed as a block of kind LIST
    trailer   one packed entry for each block of the index | number of these u32 | "syncdend"

All numbers are big-endian. Where a block begins follows from the lengths before it (`BlockCipher.sealed_length`). A
pack is named by the BLAKE3 of all its bytes in hex. It is written once and never changed; what an older pack has that
is still wanted goes to a new one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from blake3 import blake3

from ca.errors import RemoteProtocolError
from ca.ids import FolderId
from ca.values import dataclass
from syncd.model.cipher import BlockCipher, BlockKind, Buffer
from syncd.model.ids import cid_of
from syncd.model.lists import ENTRY_BYTES, MAX_LIST_ENTRIES, BlockList, Entry, pack_entry, parse_list_untrusted

FORMAT: Final = 1
HEADER_BYTES: Final = 64
PACK_BYTES: Final = 16 * 1024 * 1024
"""A pack is closed once it holds that much; the last block may lead beyond."""

MAX_INDEX_BLOCKS: Final = 4096
NAME_LENGTH: Final = 64

_HEADER: Final = struct.Struct(">16s32sBB14x")
_TRAILER: Final = struct.Struct(">I8s")
_MAGIC: Final = b"syncd pack".ljust(16, b"\0")
_END: Final = b"syncdend"

CipherOf = Callable[[bytes], BlockCipher]
"""The cipher of the epoch whose id begins with these bytes; may raise what it likes."""

ReadAt = Callable[[int, int], bytes]
"""`length` bytes from an offset; fewer at the end."""


@dataclass(frozen=True, slots=True)
class Pack:
    """A finished pack. `blocks`: (offset of its ciphertext, packed entry) of each."""

    name: str
    kind: BlockKind
    content: bytes
    blocks: tuple[tuple[int, bytes], ...]
    size: int

    def without_content(self) -> Pack:
        """For those who only want to know what is in it: its bytes are on disk already."""
        return replace(self, content=b"")


class PackBuilder:
    """Gathers sealed blocks of one kind until there are enough for a pack."""

    def __init__(self, folder: FolderId, kind: BlockKind) -> None:
        self._folder = folder
        self._kind = kind
        self._begin()

    def _begin(self) -> None:
        self._content = bytearray(_HEADER.pack(_MAGIC, self._folder, FORMAT, self._kind))
        self._blocks: list[tuple[int, bytes]] = []

    @property
    def is_empty(self) -> bool:
        return not self._blocks

    @property
    def is_full(self) -> bool:
        return len(self._content) >= PACK_BYTES

    def add(self, entry: bytes, ciphertext: Buffer) -> None:
        """One more block: its packed entry and its ciphertext."""
        self._blocks.append((len(self._content), entry))
        self._content += ciphertext

    def finish(self, cipher: BlockCipher) -> Pack:
        """The pack of all that was added, its index sealed by `cipher`; the builder is empty then."""
        entries = b"".join(entry for _, entry in self._blocks)
        trailer = b""
        for start in range(0, len(entries), MAX_LIST_ENTRIES * ENTRY_BYTES):
            part = entries[start : start + MAX_LIST_ENTRIES * ENTRY_BYTES]
            sealed = cipher.seal(BlockKind.LIST, part)
            self._content += sealed.ciphertext
            trailer += pack_entry(sealed.pid, sealed.cid, len(part), cipher.epoch)
        self._content += trailer + _TRAILER.pack(len(trailer) // ENTRY_BYTES, _END)
        content = bytes(self._content)
        pack = Pack(name_of(content), self._kind, content, tuple(self._blocks), len(content))
        self._begin()
        return pack


def name_of(content: Buffer) -> str:
    """The name of a pack with these bytes."""
    return blake3(content).hexdigest()


def is_name(name: str) -> bool:
    """Whether a file of that name can be a pack."""
    return len(name) == NAME_LENGTH and all(char in "0123456789abcdef" for char in name)


@dataclass(frozen=True, slots=True)
class Index:
    """What a pack holds: its kind, and (offset of its ciphertext, packed entry) of each block."""

    kind: BlockKind
    blocks: tuple[tuple[int, bytes], ...]


def read_index_untrusted(folder: FolderId, size: int, read: ReadAt, cipher_of: CipherOf) -> Index:
    """The index of a pack of `size` bytes. Raises: RemoteProtocolError, and what `read` and `cipher_of` raise."""
    kind = _kind_untrusted(folder, read(0, HEADER_BYTES))
    parts = _trailer_untrusted(size, read)
    end = size - _TRAILER.size - len(parts) * ENTRY_BYTES
    lengths = [cipher_of(part.epoch_prefix).sealed_length(part.length) for part in parts]
    at = end - sum(lengths)
    _require(at >= HEADER_BYTES)
    packed = b""
    for part, length in zip(parts, lengths, strict=True):
        sealed = read(at, length)
        _require(cid_of(sealed) == part.cid)
        plain = cipher_of(part.epoch_prefix).open_untrusted(BlockKind.LIST, part.pid, part.length, sealed)
        packed += parse_list_untrusted(plain).packed
        at += length
    blocks = tuple(_offsets(packed, cipher_of))
    _require(not blocks or blocks[-1][0] + _length_of(blocks[-1][1], cipher_of) == end - sum(lengths))
    return Index(kind, blocks)


def _kind_untrusted(folder: FolderId, header: bytes) -> BlockKind:
    _require(len(header) == HEADER_BYTES)
    magic, of_folder, format_, kind = _HEADER.unpack(header)
    _require(magic == _MAGIC and of_folder == folder and format_ == FORMAT and kind in set(BlockKind))
    return BlockKind(kind)


def _trailer_untrusted(size: int, read: ReadAt) -> list[Entry]:
    _require(size >= HEADER_BYTES + _TRAILER.size)
    tail = read(size - _TRAILER.size, _TRAILER.size)
    _require(len(tail) == _TRAILER.size)
    count, end = _TRAILER.unpack(tail)
    _require(end == _END and count <= MAX_INDEX_BLOCKS)
    start = size - _TRAILER.size - count * ENTRY_BYTES
    _require(start >= HEADER_BYTES)
    return list(parse_list_untrusted(read(start, count * ENTRY_BYTES), MAX_INDEX_BLOCKS))


def _offsets(packed: bytes, cipher_of: CipherOf) -> Iterator[tuple[int, bytes]]:
    at = HEADER_BYTES
    for start in range(0, len(packed), ENTRY_BYTES):
        entry = packed[start : start + ENTRY_BYTES]
        yield at, entry
        at += _length_of(entry, cipher_of)


def _length_of(packed_entry: bytes, cipher_of: CipherOf) -> int:
    entry = BlockList(packed_entry)[0]
    return cipher_of(entry.epoch_prefix).sealed_length(entry.length)


def _require(condition: bool) -> None:
    if not condition:
        raise RemoteProtocolError("a file is no whole pack of this folder", id="SY-DATA-01")
