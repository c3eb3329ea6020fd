"""Pure. How a bare machine gets its folders back: the bodies of `POST /v1/recover` and `POST /v1/keep`.

Whoever holds the recovery key of a folder can ask any member for the folder's roster and the secret that was sealed to
that key. It proves to hold the key on the channel itself, so what was said cannot be used on another one. A *keepsake*
is what a device wants to find again then: its settings, sealed to the recovery key, kept by the other members.

    request     {1: recovery sign key 32, 2: folder or null, 3: entries held, 4: signature 64}
                the signature, by the recovery key, purpose "request", covers [exporter 32, folder, entries held]
    folders     {1: [folder, …]}                                                     answers a request without a folder
    page        {1: roster page (bytes), 2: device that answers, 3: its addresses, 4: [[device, unix ms, sealed], …],
                 5: the newest epoch's secret, sealed to the key, or null}
    keepsake    {1: unix ms, 2: sealed}                                              the body of `POST /v1/keep`
"""

from __future__ import annotations

from typing import Any, Final

from ca.codec import (
    Check,
    array,
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
from ca.device import KEY_BYTES, SIGNATURE_BYTES, Purpose, sign, verify
from ca.entries import MAX_ENTRIES
from ca.ids import DeviceId, FolderId
from ca.recovery import RecoveryKey
from ca.values import dataclass
from ca.wraps import MAX_WRAP_BYTES
from syncd.protocol.messages import MAX_ADDRESS_BYTES, MAX_ADDRESSES, MAX_ROSTER_PAGE_BYTES
from syncd.protocol.requests import Route

EXPORTER_LABEL: Final = b"EXPORTER-syncd-1-recover"
EXPORTER_BYTES: Final = 32
MAX_FOLDERS: Final = 1024
MAX_KEEPSAKE_BYTES: Final = 256 << 10
MAX_KEEPSAKES: Final = 16
MAX_PAGE_BYTES: Final = MAX_ROSTER_PAGE_BYTES + MAX_KEEPSAKES * (MAX_KEEPSAKE_BYTES + 64) + 65536
_MAX_MS: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class RecoverRequest:
    """Which folders are there for this key (`folder` None), or what is there of one."""

    sign_key: bytes
    folder: FolderId | None
    held: int
    signature: bytes

    def encode(self) -> bytes:
        return encode({1: self.sign_key, 2: self.folder, 3: self.held, 4: self.signature})

    @classmethod
    def decode_untrusted(cls, data: bytes) -> RecoverRequest:
        """Raises CodecError. The signature has not been checked."""
        sign_key, folder, held, signature = _fields(data, Route.RECOVER.max_body_bytes, _REQUEST)
        return cls(sign_key, None if folder is None else FolderId(folder), held, signature)

    def check(self, exporter: bytes) -> None:
        """Raises TrustError unless the key's holder is at the other end of this very channel."""
        verify(self.sign_key, Purpose.REQUEST, None, _signed(exporter, self.folder, self.held), self.signature)


def ask(key: RecoveryKey, exporter: bytes, folder: FolderId | None, held: int = 0) -> RecoverRequest:
    """A request on the channel with this exporter."""
    signature = sign(key, Purpose.REQUEST, None, _signed(exporter, folder, held))
    return RecoverRequest(key.public.sign, folder, held, signature)


def _signed(exporter: bytes, folder: FolderId | None, held: int) -> bytes:
    return encode((exporter, folder, held))


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders whose genesis lists the key."""

    folders: tuple[FolderId, ...]

    def encode(self) -> bytes:
        return encode({1: self.folders})

    @classmethod
    def decode_untrusted(cls, data: bytes) -> Folders:
        """Raises CodecError."""
        (folders,) = _fields(data, MAX_FOLDERS * 40, {1: list_of(_hash, MAX_FOLDERS)})
        return cls(tuple(FolderId(one) for one in folders))


@dataclass(frozen=True, slots=True)
class KeptFor:
    """A keepsake as it is handed out: whose, of when, and what, sealed to the recovery key."""

    device: DeviceId
    time_ms: int
    sealed: bytes


@dataclass(frozen=True, slots=True)
class RecoverPage:
    """What a member has of a folder: roster entries with the key's sealed secret, where it is, and what others left
    with it."""

    roster: bytes
    device: DeviceId
    addresses: tuple[str, ...]
    keepsakes: tuple[KeptFor, ...]
    wrap: bytes | None

    def encode(self) -> bytes:
        kept = tuple((one.device, one.time_ms, one.sealed) for one in self.keepsakes)
        return encode({1: self.roster, 2: self.device, 3: self.addresses, 4: kept, 5: self.wrap})

    @classmethod
    def decode_untrusted(cls, data: bytes) -> RecoverPage:
        """Raises CodecError."""
        roster, device, addresses, kept, wrap = _fields(data, MAX_PAGE_BYTES, _PAGE)
        keepsakes = tuple(KeptFor(DeviceId(one), time_ms, sealed) for one, time_ms, sealed in kept)
        return cls(roster, DeviceId(device), addresses, keepsakes, wrap)


@dataclass(frozen=True, slots=True)
class Keepsake:
    """What a device leaves with another one."""

    time_ms: int
    sealed: bytes

    def encode(self) -> bytes:
        return encode({1: self.time_ms, 2: self.sealed})

    @classmethod
    def decode_untrusted(cls, data: bytes) -> Keepsake:
        """Raises CodecError."""
        return cls(*_fields(data, Route.KEEP.max_body_bytes, {1: uint(_MAX_MS), 2: _sealed}))


_hash: Final = bytes_of(32)
_sealed: Final = bytes_up_to(MAX_KEEPSAKE_BYTES, minimum=1)
_REQUEST: Final[dict[int, Check[Any]]] = {
    1: bytes_of(KEY_BYTES),
    2: optional(_hash),
    3: uint(MAX_ENTRIES),
    4: bytes_of(SIGNATURE_BYTES),
}
_PAGE: Final[dict[int, Check[Any]]] = {
    1: bytes_up_to(MAX_ROSTER_PAGE_BYTES),
    2: _hash,
    3: list_of(text(MAX_ADDRESS_BYTES, minimum_bytes=3), MAX_ADDRESSES),
    4: list_of(array(_hash, uint(_MAX_MS), _sealed), MAX_KEEPSAKES),
    5: optional(bytes_up_to(MAX_WRAP_BYTES, minimum=1)),
}


def _fields(data: bytes, max_bytes: int, checks: dict[int, Check[Any]]) -> tuple[Any, ...]:
    return fields_untrusted(decode_untrusted(data, max_bytes=max_bytes), checks)
