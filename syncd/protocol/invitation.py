"""Pure. The bodies of `POST /v1/pair`: what a joiner and an inviter tell each other (`pairing.py` says when).

Every body is a map {0: kind, 1…: fields}, canonical like everything else. Two kinds, PROVE and OFFER, carry a box and
a MAC: in the box, under the key that both have just agreed on, lies an applicant or an offer, signed by the device
that it names.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

from ca.codec import (
    Check,
    Encodable,
    array,
    boolean,
    bytes_of,
    bytes_up_to,
    decode_untrusted,
    encode,
    fields_untrusted,
    list_of,
    text,
    uint,
)
from ca.device import KEY_BYTES, SEAL_PUBLIC_BYTES, SIGNATURE_BYTES, DeviceKeys, PublicDevice, Purpose, sign, verify
from ca.entries import MAX_ENTRY_BYTES
from ca.epochs import MAX_NAME_BYTES
from ca.errors import CodecError, RemoteProtocolError, TrustError
from ca.ids import DeviceId, EntryHash, FolderId
from ca.roles import Role
from ca.values import dataclass
from ca.wraps import MAX_WRAP_BYTES, WrapProof, wrap_proof_untrusted

MAX_REQUEST_BYTES: Final = 8 * 1024  # joiner to inviter
MAX_RESPONSE_BYTES: Final = 8 * 1024 * 1024  # inviter to joiner: the roster is in it
MAX_HOST_BYTES: Final = 64
SHARE_BYTES: Final = 33
MAC_BYTES: Final = 32

_MAX_BOX_BYTES = 4 * 1024
_MAX_ENTRIES = 50_000
_MAX_MEMBERS = 64
_MAX_ADDRESSES = 8
_MAX_ADDRESS_BYTES = 300


class Kind(IntEnum):
    """Odd from the joiner, even from the inviter."""

    SHARE = 1  # joiner's SPAKE2 share (codes only)
    COUNTERSHARE = 2  # inviter's, after the attempt is on disk
    PROVE = 3  # joiner: knows the secret; who it is
    OFFER = 4  # inviter: knows the secret too; who it is and what it shares
    COMMIT = 5  # joiner: let me in under this name
    PENDING = 6  # inviter: nobody has decided yet
    WAIT = 7  # joiner: I am still here
    ADMISSION = 8  # inviter: the roster, your wrap, the others' addresses
    RECEIVED = 9  # joiner: it is on my disk
    DONE = 10  # inviter: so the invitation is settled
    REFUSED = 12  # inviter, at any time: no, and why


class Refusal(IntEnum):
    """Why an inviter says no. The numbers are part of the protocol."""

    WRONG = 1  # the secret was not proved
    EXPIRED = 2
    BURNT = 3  # three wrong guesses
    USED = 4
    REVOKED = 5
    DENIED = 6  # by a person
    FORBIDDEN = 7  # the maker may not admit anybody (any more)
    UNAVAILABLE = 8  # the folder is stopped, or the inviter shuts down
    SUSPENDED = 9  # the device is a member's who is suspended
    UNKNOWN = 99  # a reason of a newer version


@dataclass(frozen=True, slots=True)
class Applicant:
    """Who asks. The signature has been checked; host and system are only what it says about itself."""

    device: PublicDevice
    host: str
    system: str  # "Linux", "macOS"


@dataclass(frozen=True, slots=True)
class Offer:
    """What the joiner gets to see before it decides. `head` is its first anchor against an old roster."""

    device: PublicDevice  # the inviter's
    inviter: str  # member name
    folder: FolderId
    folder_name: str
    role: Role
    head: EntryHash
    number: int  # of the head in the roster
    files: int
    size_bytes: int
    asks: bool  # whether a person at the inviter will be asked


@dataclass(frozen=True, slots=True)
class Admission:
    """Everything a new member starts with."""

    entries: tuple[bytes, ...]  # the whole roster, genesis first
    wrap: bytes  # the secrets of folder and epoch, sealed to the joiner
    proof: WrapProof  # that the wrap belongs to the epoch's entry
    addresses: tuple[tuple[DeviceId, tuple[str, ...]], ...] = ()  # where members were last seen


def one_line(name: str, maximum_bytes: int) -> str:
    """The nearest to `name` that a message may carry: no control or direction characters, short enough, not empty."""
    printable = "".join(letter for letter in name if letter.isprintable())
    return printable.encode()[:maximum_bytes].decode(errors="ignore").strip() or "unnamed"


# --- checks ----------------------------------------------------------------------------------------------------------


def _plain(maximum_bytes: int) -> Check[str]:
    """Text that a person will read in one line: not empty, without control or direction characters."""
    is_text = text(maximum_bytes, minimum_bytes=1)

    def check(value: Any) -> str:
        if not is_text(value).isprintable() or value != value.strip():
            raise CodecError("expected a name in one line")
        return str(value)

    return check


def _public_device(value: Any) -> PublicDevice:
    return PublicDevice(*array(bytes_of(KEY_BYTES), bytes_of(SEAL_PUBLIC_BYTES), bytes_of(KEY_BYTES))(value))


_DEVICE_ID = bytes_of(32)
_ADDRESSES = list_of(_plain(_MAX_ADDRESS_BYTES), _MAX_ADDRESSES)

_FIELDS: Final[Mapping[Kind, tuple[Check[Any], ...]]] = {
    Kind.SHARE: (bytes_of(SHARE_BYTES),),
    Kind.COUNTERSHARE: (bytes_of(SHARE_BYTES),),
    Kind.PROVE: (bytes_up_to(_MAX_BOX_BYTES), bytes_of(MAC_BYTES)),
    Kind.OFFER: (bytes_up_to(_MAX_BOX_BYTES), bytes_of(MAC_BYTES)),
    Kind.COMMIT: (_plain(MAX_NAME_BYTES),),
    Kind.PENDING: (),
    Kind.WAIT: (),
    Kind.ADMISSION: (
        list_of(bytes_up_to(MAX_ENTRY_BYTES), _MAX_ENTRIES, minimum=1),
        bytes_up_to(MAX_WRAP_BYTES),
        wrap_proof_untrusted,
        list_of(array(_DEVICE_ID, _ADDRESSES), _MAX_MEMBERS),
    ),
    Kind.RECEIVED: (),
    Kind.DONE: (),
    Kind.REFUSED: (uint(255),),
}

_APPLICANT: Final = {
    1: _public_device,
    2: _plain(MAX_HOST_BYTES),
    3: _plain(MAX_HOST_BYTES),
    4: bytes_of(SIGNATURE_BYTES),
}
_OFFER: Final = {
    1: _public_device,
    2: _plain(MAX_NAME_BYTES),
    3: bytes_of(32),
    4: _plain(MAX_NAME_BYTES),
    5: uint(max(Role)),
    6: bytes_of(32),
    7: uint(),
    8: uint(),
    9: uint(),
    10: boolean,
    11: bytes_of(SIGNATURE_BYTES),
}


# --- bodies ----------------------------------------------------------------------------------------------------------


def encode_body(kind: Kind, *fields: Encodable) -> bytes:
    """The body of a message."""
    return encode({0: kind, **dict(enumerate(fields, 1))})


def decode_body_untrusted(body: bytes, max_bytes: int) -> tuple[Kind, tuple[Any, ...]]:
    """Kind and fields of a body.

    Raises: RemoteProtocolError for anything malformed, and nothing else.
    """
    value = decode_untrusted(body, max_bytes=max_bytes)
    number = value.get(0) if isinstance(value, dict) else None
    if type(number) is not int or number not in _KINDS:
        raise RemoteProtocolError("a pairing message of an unknown kind")
    kind = Kind(number)
    checks = {0: uint(), **dict(enumerate(_FIELDS[kind], 1))}
    return kind, fields_untrusted(value, checks)[1:]


_KINDS: Final = frozenset(Kind)


def encode_admission(admission: Admission) -> bytes:
    """The body of an ADMISSION."""
    return encode_body(
        Kind.ADMISSION, admission.entries, admission.wrap, admission.proof.encodable(), admission.addresses
    )


def admission_of(fields: tuple[Any, ...]) -> Admission:
    """The admission in the fields of a decoded ADMISSION."""
    return Admission(*fields)


def refusal_of(number: int) -> Refusal:
    """The reason behind a number; UNKNOWN for one that is newer than this program."""
    return Refusal(number) if number in frozenset(Refusal) else Refusal.UNKNOWN


# --- what lies in the boxes ------------------------------------------------------------------------------------------


def sign_applicant(keys: DeviceKeys, binding: bytes, host: str, system: str) -> bytes:
    """The plain content of PROVE's box: who we are, signed for this one channel and exchange."""
    fields: list[Encodable] = [_keys_of(keys.public), host, system]
    return _sign(keys, "joiner", binding, fields)


def open_applicant_untrusted(binding: bytes, content: bytes) -> Applicant:
    """Raises: RemoteProtocolError for anything malformed or signed by somebody else, and nothing else."""
    value = decode_untrusted(content, max_bytes=_MAX_BOX_BYTES)
    device, host, system, signature = fields_untrusted(value, _APPLICANT)
    _verify_untrusted(device, "joiner", binding, [_keys_of(device), host, system], signature)
    return Applicant(device, host, system)


def sign_offer(keys: DeviceKeys, binding: bytes, offer: Offer) -> bytes:
    """The plain content of OFFER's box."""
    return _sign(keys, "inviter", binding, _offer_fields(offer))


def open_offer_untrusted(binding: bytes, content: bytes) -> Offer:
    """Raises: RemoteProtocolError for anything malformed or signed by somebody else, and nothing else."""
    values = fields_untrusted(decode_untrusted(content, max_bytes=_MAX_BOX_BYTES), _OFFER)
    device, inviter, folder, folder_name, role, head, number, files, size_bytes, asks, signature = values
    offer = Offer(device, inviter, folder, folder_name, Role(role), head, number, files, size_bytes, asks)
    _verify_untrusted(device, "inviter", binding, _offer_fields(offer), signature)
    return offer


def _offer_fields(offer: Offer) -> list[Encodable]:
    return [
        _keys_of(offer.device),
        offer.inviter,
        offer.folder,
        offer.folder_name,
        offer.role,
        offer.head,
        offer.number,
        offer.files,
        offer.size_bytes,
        offer.asks,
    ]


def _keys_of(device: PublicDevice) -> list[bytes]:
    return [device.sign, device.seal, device.tls]


def _sign(keys: DeviceKeys, side: str, binding: bytes, fields: list[Encodable]) -> bytes:
    signature = sign(keys, Purpose.PAIRING, None, encode([side, binding, fields]))
    return encode(dict(enumerate([*fields, signature], 1)))


def _verify_untrusted(
    device: PublicDevice, side: str, binding: bytes, fields: list[Encodable], signature: bytes
) -> None:
    try:
        verify(device.sign, Purpose.PAIRING, None, encode([side, binding, fields]), signature)
    except TrustError as error:
        raise RemoteProtocolError(error.what) from None
