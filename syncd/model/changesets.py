"""Pure. Changesets: signed batches of records, chained into the journal of a device and sealed like blocks.

    changeset   [1, folder 32, device 32, incarnation 16, counter, previous 32, heads, lamport, roster head 32,
                 time in ms, author name, records]
              | [2, the same fields, approves]
    heads       [[device 32, incarnation 16, counter, hash 32], …] ascending: heads that moved since `previous`
    approves    [hash 32, …] ascending, at least one: changesets that the brake is to let pass; zeros for this one

The body of a changeset is its canonical bytes, compressed (zlib) and sealed as a block of kind CHANGESET. Compression
need not be reproducible, since a body is stored once and never made again.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Final

from ca import codec
from ca.errors import RemoteProtocolError
from ca.ids import DeviceId, EntryHash, FolderId
from ca.values import dataclass
from syncd.model.cipher import BlockCipher, BlockKind, BlockRefused, Sealed
from syncd.model.ids import (
    HASH_BYTES,
    INCARNATION_BYTES,
    NO_CHANGESET,
    ChangesetHash,
    Incarnation,
    Pid,
    VersionId,
    changeset_hash,
    version_id,
)
from syncd.model.records import MAX_REPLACES, Record, encodable, record_untrusted

FORMAT: Final = 1
APPROVING: Final = 2
"""The format of a changeset that approves others, or itself."""
MAX_RECORDS: Final = 4096
MAX_HEADS: Final = 16_384
MAX_PLAIN_BYTES: Final = 4 * 1024 * 1024
MAX_COUNTER: Final = (1 << 63) - 1
MAX_TIME_MS: Final = (1 << 53) - 1
MAX_AUTHOR_BYTES: Final = 255
MAX_APPROVES: Final = 4096
ITSELF: Final = NO_CHANGESET
"""Among what a changeset approves: that very changeset."""

_MAX_DEPTH: Final = 6
_MAX_ITEMS: Final = MAX_RECORDS * 32 + MAX_HEADS * 5 + MAX_APPROVES + 64
_COMPRESSION_LEVEL: Final = 1


@dataclass(frozen=True, slots=True, order=True)
class HeadRef:
    """The newest changeset of another journal that an author had seen."""

    device: DeviceId
    incarnation: Incarnation
    counter: int
    changeset: ChangesetHash


@dataclass(frozen=True, slots=True)
class Changeset:
    """A batch of records by one device; at most MAX_RECORDS, each node once."""

    folder: FolderId
    device: DeviceId
    incarnation: Incarnation
    counter: int
    """From 1, one more than that of `previous`."""
    previous: ChangesetHash
    heads: tuple[HeadRef, ...]
    lamport: int
    """`next_lamport` of everything this changeset names."""
    roster_head: EntryHash
    time_ms: int
    """Wall clock of the author, milliseconds since 1970: a label, never an order."""
    author_name: str
    records: tuple[Record, ...]
    approves: tuple[ChangesetHash, ...] = ()


def next_lamport(seen: Iterable[int]) -> int:
    """The Lamport number of a changeset, from those of its previous one and of the heads it names.

    Exactly one more than the greatest: so a receiver can check it, and nobody can run ahead.
    """
    return 1 + max(seen, default=0)


def encode(changeset: Changeset) -> bytes:
    """The canonical bytes. Raises: ValueError if they are more than MAX_PLAIN_BYTES (make a smaller batch), for two
    records of one node, and for more than MAX_REPLACES versions replaced by one: everybody else would refuse that, and
    all that follows in its journal."""
    approves = [list(changeset.approves)] if changeset.approves else []
    encoded = codec.encode(
        [
            APPROVING if approves else FORMAT,
            changeset.folder,
            changeset.device,
            changeset.incarnation,
            changeset.counter,
            changeset.previous,
            [[head.device, head.incarnation, head.counter, head.changeset] for head in changeset.heads],
            changeset.lamport,
            changeset.roster_head,
            changeset.time_ms,
            changeset.author_name,
            [encodable(record) for record in changeset.records],
            *approves,
        ]
    )
    if len(encoded) > MAX_PLAIN_BYTES or len(changeset.records) > MAX_RECORDS:
        raise ValueError("a changeset is too large")
    if len({record.node for record in changeset.records}) != len(changeset.records):
        raise ValueError("a changeset speaks twice about one node")
    if any(len(record.replaces_content) > MAX_REPLACES for record in changeset.records):
        raise ValueError("a record replaces too many versions")
    return encoded


def decode_untrusted(encoded: bytes) -> Changeset:
    """The changeset of these canonical bytes. Raises: RemoteProtocolError, and nothing else."""
    value = codec.decode_untrusted(encoded, max_bytes=MAX_PLAIN_BYTES, max_depth=_MAX_DEPTH, max_items=_MAX_ITEMS)
    check = _CHECK_APPROVING if type(value) is list and len(value) == len(_FIELDS) + 2 else _CHECK
    _, folder, device, incarnation, counter, previous, heads, lamport, roster_head, time_ms, author, records, *more = (
        check(value)
    )
    approves = more[0] if more else ()
    if any(not earlier < later for earlier, later in pairwise(approves)):
        raise RemoteProtocolError("the approvals of a changeset are not in order")
    if any(not earlier < later for earlier, later in pairwise(heads)):
        raise RemoteProtocolError("the heads of a changeset are not in order")
    if (counter == 1) != (previous == NO_CHANGESET):
        raise RemoteProtocolError("a changeset does not begin its journal where its counter says")
    if len({record.node for record in records}) != len(records):
        raise RemoteProtocolError("a changeset speaks twice about one node")
    return Changeset(
        folder, device, incarnation, counter, previous, heads, lamport, roster_head, time_ms, author, records, approves
    )


def _head_ref_untrusted(value: Any) -> HeadRef:
    return HeadRef(*_CHECK_HEAD(value))


_HASH: Final = codec.bytes_of(HASH_BYTES)
_INCARNATION: Final = codec.bytes_of(INCARNATION_BYTES)
_COUNTER: Final = codec.uint(MAX_COUNTER, minimum=1)
_CHECK_HEAD: Final = codec.array(_HASH, _INCARNATION, _COUNTER, _HASH)
_FIELDS: Final = (
    _HASH,
    _HASH,
    _INCARNATION,
    _COUNTER,
    _HASH,
    codec.list_of(_head_ref_untrusted, MAX_HEADS),
    _COUNTER,
    _HASH,
    codec.uint(MAX_TIME_MS),
    codec.text(MAX_AUTHOR_BYTES),
    codec.list_of(record_untrusted, MAX_RECORDS),
)
_CHECK: Final = codec.array(codec.uint(FORMAT, minimum=FORMAT), *_FIELDS)
_CHECK_APPROVING: Final = codec.array(
    codec.uint(APPROVING, minimum=APPROVING), *_FIELDS, codec.list_of(_HASH, MAX_APPROVES, minimum=1)
)


def versions(changeset: ChangesetHash, count: int) -> list[VersionId]:
    """The version ids of the first `count` records of a changeset."""
    return [version_id(changeset, index) for index in range(count)]


# --- body ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SealedChangeset:
    """A changeset ready to travel: its name, and its body as a block of `length` bytes before encryption."""

    hash: ChangesetHash
    length: int
    block: Sealed
    """Its ciphertext is a view into the cipher's buffer, valid until the next seal: copy what is to be kept."""


def seal_changeset(cipher: BlockCipher, changeset: Changeset) -> SealedChangeset:
    """Encode, compress and encrypt a changeset, once and for all."""
    encoded = encode(changeset)
    body = zlib.compress(encoded, _COMPRESSION_LEVEL)
    return SealedChangeset(changeset_hash(encoded), len(body), cipher.seal(BlockKind.CHANGESET, body))


def open_changeset_untrusted(
    cipher: BlockCipher, pid: Pid, length: int, ciphertext: bytes | memoryview
) -> tuple[ChangesetHash, Changeset]:
    """The changeset in a body and its hash. Raises: RemoteProtocolError, and nothing else."""
    encoded = _inflate_untrusted(cipher.open_untrusted(BlockKind.CHANGESET, pid, length, ciphertext))
    return changeset_hash(encoded), decode_untrusted(encoded)


def _inflate_untrusted(body: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        encoded = inflater.decompress(body, MAX_PLAIN_BYTES + 1)
    except zlib.error:
        raise BlockRefused("the body of a changeset is not compressed as it should be") from None
    if not inflater.eof or inflater.unused_data:
        raise BlockRefused("the body of a changeset is too large, or not whole")
    return encoded
