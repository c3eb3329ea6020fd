"""Pure. The bodies of requests and answers: values, their canonical encoding, and a limit on every field.

Each message is one map in the sense of `ca.codec`, with exactly the keys shown here. Hashes of many blocks travel
packed (one byte string), because a poll asks for thousands.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, TypeAlias

from ca.codec import (
    Check,
    array,
    boolean,
    bytes_of,
    bytes_up_to,
    decode_untrusted,
    encode,
    fields_untrusted,
    list_of,
    optional,
    text,
    uint,
)
from ca.device import KEY_BYTES, SEAL_PUBLIC_BYTES, SIGNATURE_BYTES, PublicDevice
from ca.entries import MAX_ENTRIES, MAX_ENTRY_BYTES
from ca.ids import DeviceId, EntryHash
from ca.values import dataclass
from ca.wraps import MAX_WRAP_BYTES, WrapProof, wrap_proof_untrusted
from syncd.errors import CodecError
from syncd.model.heads import MAX_HEAD_BYTES
from syncd.model.ids import HASH_BYTES, Cid
from syncd.protocol.requests import LOG_ID_BYTES, Route
from syncd.protocol.twins import NO_RUN, RUN_BYTES

FORMAT: Final = 1

MAX_ADDRESSES: Final = 16
MAX_OTHERS: Final = 32  # other members whose addresses one hello tells
MAX_NEAR: Final = 64  # other members who are connected to the answerer of a heads page
MAX_ADDRESSES_OF_OTHER: Final = 2
MAX_ADDRESS_BYTES: Final = 255 + 8  # a host name, brackets, a port

MAX_CIDS_IN_HAVE: Final = 16_384
MAX_CIDS_IN_BLOCKS: Final = 4_096
MAX_HEADS_IN_PAGE: Final = 4_096
MAX_BODY_BYTES: Final = 16 << 10  # of a changeset that travels with its head
MAX_BODIES_BYTES: Final = 64 << 10  # of all those in one page
MAX_TOLD: Final = 256  # devices that a page says to be told as well
MAX_ENTRIES_IN_PAGE: Final = 1_024
MAX_WRAPS: Final = 4_096  # devices that get an epoch's secret; bounds what one message can make us hold
MAX_COUNT: Final = (1 << 63) - 1

MAX_PAGE_BYTES: Final = 16 << 20
"""A page of roster entries stops before it, but holds at least one entry: an entry is at most 4 MiB."""


Near: TypeAlias = tuple[tuple[DeviceId, tuple[str, ...]], ...]
"""Devices and where they were seen, ascending by id."""


# --- hello -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """What each side says first: the client in the request, the server in the answer."""

    device: PublicDevice
    proof: bytes  # see `protocol.hello`
    roster_head: EntryHash
    roster_number: int  # how far along the roster that head is
    log_id: bytes  # of this device's count of heads
    digest: bytes  # over all journal heads this device has: equal means nothing to fetch
    newest: bytes | None  # the newest signed head this device has of the *other's* journal, encoded
    addresses: tuple[str, ...]  # `host:port` where this device listens, as far as it knows
    swap: bool  # request: "I cannot listen, ask me on this connection"; answer: agreed, and the roles change now
    others: tuple[tuple[DeviceId, tuple[str, ...]], ...] = ()  # where other members were seen lately, ascending by id
    run: bytes = NO_RUN  # of this device's daemon, from its start to its end (`twins`)

    def encode(self) -> bytes:
        return encode(
            {
                1: FORMAT,
                2: (self.device.sign, self.device.seal, self.device.tls),
                3: self.proof,
                4: self.roster_head,
                5: self.roster_number,
                6: self.log_id,
                7: self.digest,
                8: self.newest,
                9: self.addresses,
                10: self.swap,
                11: self.others,
                12: self.run,
            }
        )

    @classmethod
    def decode_untrusted(cls, data: bytes) -> Hello:
        """Raises CodecError. The proof has not been checked."""
        (_, keys, proof, head, number, log_id, digest, newest, addresses, swap, others, run) = _fields(
            data, Route.HELLO.max_body_bytes, _HELLO
        )
        device = PublicDevice(*keys)
        return cls(device, proof, EntryHash(head), number, log_id, digest, newest, addresses, swap, others, run)


_hash: Final = bytes_of(HASH_BYTES)
_ADDRESS: Final = re.compile(r"[!-~]+:[0-9]{1,5}")
_ADDRESS_TEXT: Final = text(MAX_ADDRESS_BYTES, minimum_bytes=3)


def _address(value: Any) -> str:
    """`host:port` in visible ASCII: it is shown and written to logs. Whether anybody is there is another question."""
    address = _ADDRESS_TEXT(value)
    if _ADDRESS.fullmatch(address) is None:
        raise CodecError("not an address")
    return address


_HELLO: Final[dict[int, Check[Any]]] = {
    1: uint(FORMAT, minimum=FORMAT),
    2: array(bytes_of(KEY_BYTES), bytes_of(SEAL_PUBLIC_BYTES), bytes_of(KEY_BYTES)),
    3: bytes_of(SIGNATURE_BYTES),
    4: _hash,
    5: uint(MAX_ENTRIES),
    6: bytes_of(LOG_ID_BYTES),
    7: _hash,
    8: optional(bytes_up_to(MAX_HEAD_BYTES, minimum=1)),
    9: list_of(_address, MAX_ADDRESSES),
    10: boolean,
    11: list_of(array(_hash, list_of(_address, MAX_ADDRESSES_OF_OTHER)), MAX_OTHERS),
    12: bytes_of(RUN_BYTES),
}


# --- heads -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HeadsPage:
    """What a device accepted after a number of its log: encoded heads in causal order.

    Numbers of another log mean nothing. `last` is the number to ask from next, `newest` the newest there is.
    """

    log: bytes
    last: int
    newest: int
    heads: tuple[bytes, ...]
    roster_head: EntryHash
    twin: str | None = None
    """Where another daemon is heard that is the asker's device as well."""
    bodies: tuple[bytes, ...] = ()
    """Of each head the changeset as it is sealed, empty where it has to be asked for; none at all if all have to."""
    told: tuple[DeviceId, ...] = ()
    """Other devices that are told these heads as well, just now, or know them already."""

    near: Near | None = None
    """Other members who are connected to this device, and where they were seen, ascending by id; None: as it said last
    on this connection."""

    def encode(self) -> bytes:
        return encode(
            {
                1: self.log,
                2: self.last,
                3: self.newest,
                4: self.heads,
                5: self.roster_head,
                6: self.twin,
                7: self.bodies,
                8: b"".join(self.told),
                9: self.near,
            }
        )

    @classmethod
    def decode_untrusted(cls, data: bytes) -> HeadsPage:
        """Raises CodecError. No head in it has been checked, and no body."""
        log, last, newest, heads, roster_head, twin, bodies, packed, near = _fields(
            data, MAX_HEADS_PAGE_BYTES, _HEADS_PAGE
        )
        if last > newest:
            raise CodecError("a page of heads that ends behind the newest")
        if bodies and len(bodies) != len(heads):
            raise CodecError("not one body for each head")
        if sum(map(len, bodies)) > MAX_BODIES_BYTES:
            raise CodecError("more bodies than a page takes")
        told = _devices_untrusted(packed)
        return cls(log, last, newest, heads, EntryHash(roster_head), twin, bodies, told, near)


def _devices_untrusted(packed: bytes) -> tuple[DeviceId, ...]:
    if len(packed) % HASH_BYTES:
        raise CodecError("packed devices of a wrong length")
    return tuple(DeviceId(packed[at : at + HASH_BYTES]) for at in range(0, len(packed), HASH_BYTES))


_NEAR_BYTES: Final = HASH_BYTES + MAX_ADDRESSES_OF_OTHER * (MAX_ADDRESS_BYTES + 3) + 8
MAX_HEADS_PAGE_BYTES: Final = (
    MAX_HEADS_IN_PAGE * (MAX_HEAD_BYTES + 6)
    + MAX_BODIES_BYTES
    + MAX_TOLD * HASH_BYTES
    + MAX_NEAR * _NEAR_BYTES
    + MAX_ADDRESS_BYTES
    + 256
)

_HEADS_PAGE: Final[dict[int, Check[Any]]] = {
    1: bytes_of(LOG_ID_BYTES),
    2: uint(MAX_COUNT),
    3: uint(MAX_COUNT),
    4: list_of(bytes_up_to(MAX_HEAD_BYTES, minimum=1), MAX_HEADS_IN_PAGE),
    5: _hash,
    6: optional(_address),
    7: list_of(bytes_up_to(MAX_BODY_BYTES), MAX_HEADS_IN_PAGE),
    8: bytes_up_to(MAX_TOLD * HASH_BYTES),
    9: optional(list_of(array(_hash, list_of(_address, MAX_ADDRESSES_OF_OTHER)), MAX_NEAR)),
}


# --- blocks ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HaveRequest:
    """Which of these blocks do you have? With `hold`, a vault also keeps them from being deleted for a while."""

    cids: tuple[Cid, ...]
    hold: bool = False

    def encode(self) -> bytes:
        return encode({1: b"".join(self.cids), 2: self.hold})

    @classmethod
    def decode_untrusted(cls, data: bytes) -> HaveRequest:
        """Raises CodecError."""
        packed, hold = _fields(data, Route.HAVE.max_body_bytes, _HAVE)
        return cls(_unpack_untrusted(packed), hold)


@dataclass(frozen=True, slots=True)
class Bitmap:
    """The answer to `HaveRequest`: bit i (from the highest of the first byte) is set when block i is here."""

    bits: bytes

    @classmethod
    def of(cls, answers: Sequence[bool]) -> Bitmap:
        bits = bytearray(-(-len(answers) // 8))
        for index, answer in enumerate(answers):
            if answer:
                bits[index >> 3] |= 0x80 >> (index & 7)
        return cls(bytes(bits))

    def __getitem__(self, index: int) -> bool:
        return bool(self.bits[index >> 3] & 0x80 >> (index & 7))

    def encode(self) -> bytes:
        return encode({1: self.bits})

    @classmethod
    def decode_untrusted(cls, data: bytes, count: int) -> Bitmap:
        """The answer about `count` blocks; the bits that fill its last byte are zero. Raises CodecError."""
        size = -(-count // 8)
        (bits,) = _fields(data, size + 16, {1: bytes_of(size)})
        if count % 8 and bits[-1] & 0xFF >> count % 8:
            raise CodecError("a bitmap with bits behind its end")
        return cls(bits)


@dataclass(frozen=True, slots=True)
class BlocksRequest:
    """Send me these blocks, each once."""

    cids: tuple[Cid, ...]

    def encode(self) -> bytes:
        return encode({1: b"".join(self.cids)})

    @classmethod
    def decode_untrusted(cls, data: bytes) -> BlocksRequest:
        """Raises CodecError."""
        (packed,) = _fields(data, Route.BLOCKS.max_body_bytes, _BLOCKS)
        return cls(_unpack_untrusted(packed))


@dataclass(frozen=True, slots=True)
class Needs:
    """What the sender still lacks of the folder: for `status` and `wait`, never for a decision."""

    files: int
    size_bytes: int
    word: int
    """Number of this word among all that the sender says of it: they may arrive in another order."""

    def encode(self) -> bytes:
        return encode({1: self.files, 2: self.size_bytes, 3: self.word})

    @classmethod
    def decode_untrusted(cls, data: bytes) -> Needs:
        """Raises CodecError."""
        return cls(*_fields(data, Route.NEEDS.max_body_bytes, dict.fromkeys((1, 2, 3), uint(MAX_COUNT))))


_HAVE: Final[dict[int, Check[Any]]] = {1: bytes_up_to(MAX_CIDS_IN_HAVE * HASH_BYTES), 2: boolean}
_BLOCKS: Final[dict[int, Check[Any]]] = {1: bytes_up_to(MAX_CIDS_IN_BLOCKS * HASH_BYTES, minimum=HASH_BYTES)}


def _unpack_untrusted(packed: bytes) -> tuple[Cid, ...]:
    if len(packed) % HASH_BYTES:
        raise CodecError("packed cids of a wrong length")
    return tuple(Cid(packed[at : at + HASH_BYTES]) for at in range(0, len(packed), HASH_BYTES))


# --- roster ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RosterPage:
    """Roster entries after the number asked for, exactly as signed, and the asker's own sealed secret.

    `wraps` are all sealed secrets of the current epoch, for those who keep and serve them: members. A device that was
    removed gets the entry that removed it, and nothing else.
    """

    entries: tuple[bytes, ...]
    newest: int  # number of the newest entry there is; ask again while it is greater than what one has
    wrap: bytes | None = None
    proof: WrapProof | None = None
    wraps: tuple[tuple[DeviceId, bytes], ...] = ()

    def encode(self) -> bytes:
        proof = None if self.proof is None else self.proof.encodable()
        return encode({1: self.entries, 2: self.newest, 3: self.wrap, 4: proof, 5: self.wraps})

    @classmethod
    def decode_untrusted(cls, data: bytes) -> RosterPage:
        """Raises CodecError. No entry and no proof has been checked."""
        entries, newest, wrap, proof, wraps = _fields(data, MAX_ROSTER_PAGE_BYTES, _ROSTER_PAGE)
        if (wrap is None) is not (proof is None):
            raise CodecError("a sealed secret without its proof, or a proof without its secret")
        return cls(entries, newest, wrap, proof, wraps)


@dataclass(frozen=True, slots=True)
class RosterSubmit:
    """A new entry, and all sealed secrets of the epoch that it opens (none if it opens none)."""

    entry: bytes
    wraps: tuple[tuple[DeviceId, bytes], ...] = ()

    def encode(self) -> bytes:
        return encode({1: self.entry, 2: self.wraps})

    @classmethod
    def decode_untrusted(cls, data: bytes) -> RosterSubmit:
        """Raises CodecError. The entry has not been checked."""
        return cls(*_fields(data, Route.SUBMIT_ENTRY.max_body_bytes, _ROSTER_SUBMIT))


MAX_WRAPS_BYTES: Final = MAX_WRAPS * (MAX_WRAP_BYTES + HASH_BYTES + 8)
MAX_ROSTER_PAGE_BYTES: Final = MAX_PAGE_BYTES + MAX_ENTRY_BYTES + MAX_WRAPS_BYTES

_entry: Final = bytes_up_to(MAX_ENTRY_BYTES, minimum=SIGNATURE_BYTES + 1)
_wrap: Final = bytes_up_to(MAX_WRAP_BYTES, minimum=1)


def _wraps_untrusted(value: Any) -> tuple[tuple[DeviceId, bytes], ...]:
    """Sorted by recipient, each once: one form per meaning."""
    pairs = _WRAPS(value)
    recipients = [recipient for recipient, _ in pairs]
    if any(one >= other for one, other in pairwise(recipients)):
        raise CodecError("sealed secrets out of order")
    return pairs


_WRAPS: Final[Check[tuple[Any, ...]]] = list_of(array(_hash, _wrap), MAX_WRAPS)

_ROSTER_PAGE: Final[dict[int, Check[Any]]] = {
    1: list_of(_entry, MAX_ENTRIES_IN_PAGE),
    2: uint(MAX_ENTRIES),
    3: optional(_wrap),
    4: optional(wrap_proof_untrusted),
    5: _wraps_untrusted,
}
_ROSTER_SUBMIT: Final[dict[int, Check[Any]]] = {1: _entry, 2: _wraps_untrusted}


def _fields(data: bytes, max_bytes: int, checks: dict[int, Check[Any]]) -> tuple[Any, ...]:
    return fields_untrusted(decode_untrusted(data, max_bytes=max_bytes), checks)
