"""Pure. What stands in a roster entry, and its bytes.

An entry is one atomic step: a list of changes, the epoch that they open (if they open one), and one signature over all.
An entry that admits five hundred people is no different from one that admits one. In the clear stand only keys, ids,
roles, capabilities and hashes; names are sealed under the folder's name key, which vaults do not get.

Shape:  canonical body, then the signer's 64-byte signature over it (purpose "entry", folder id; zeros in genesis).
        body = {1: format, 2: number, 3: previous hash, 4: signer, 5: time, 6: [change, …], 7: epoch or null}
        change = [kind, field, …] in the order of the fields of its class below
        epoch = [number, member certificate, vault certificate, previous secret sealed or null, root and count of wraps]
Units:  time in unix seconds, as the signer's clock showed it.
"""

from __future__ import annotations

from enum import IntEnum
from itertools import pairwise
from typing import Any, Final, TypeAlias

from ca.addresses import AddressRule, AddressRules, rules_untrusted
from ca.certs import MAX_CERTIFICATE_BYTES, MAX_TIME
from ca.codec import (
    Check,
    Encodable,
    array,
    bytes_of,
    bytes_up_to,
    decode_untrusted,
    encode,
    fields_untrusted,
    list_of,
    optional,
    uint,
)
from ca.device import KEY_BYTES, SEAL_PUBLIC_BYTES, SIGNATURE_BYTES, PublicDevice
from ca.digest import digest
from ca.epochs import MAX_SEALED_NAME_BYTES, SEALED_SECRET_BYTES
from ca.errors import CodecError
from ca.ids import DeviceId, EntryHash, EpochId, MemberId
from ca.recovery import PublicRecovery
from ca.roles import Capability, Role
from ca.values import dataclass
from ca.wraps import MAX_RECIPIENTS

FORMAT: Final = 1
MAX_ENTRY_BYTES: Final = 4 << 20
MAX_CHANGES: Final = 1024
MAX_DEVICES_AT_ONCE: Final = 64
MAX_JOURNALS: Final = 1024
MAX_SETTINGS: Final = 64
MAX_ENTRIES: Final = 1 << 32
MAX_LOST: Final = 1024
MAX_LINKS: Final = 64


class Kind(IntEnum):
    """What a change does; the value is its code."""

    GENESIS = 0
    ADMIT = 1
    REMOVE = 2
    SUSPEND = 3
    REACTIVATE = 4
    ROLE = 5
    CAPABILITY = 6
    POLICY = 7
    ROTATE = 8
    LEAVE = 9
    DEVICE_LOST = 10
    LINK = 11
    MERGE = 12
    RECOVER = 13
    EXPIRE = 14


class Padding(IntEnum):
    """How blocks of the folder are padded, for ever."""

    NONE = 0
    PADME = 1


# --- the changes -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EntryDevice:
    """A device as it is admitted."""

    public: PublicDevice
    name_sealed: bytes

    def encodable(self) -> Encodable:
        return (self.public.sign, self.public.seal, self.public.tls, self.name_sealed)


@dataclass(frozen=True, slots=True)
class JournalSeal:
    """The last changeset of a journal that the signer knew: what comes later does not count under the old rights."""

    device: DeviceId
    incarnation: bytes
    counter: int
    changeset: bytes

    def encodable(self) -> Encodable:
        return (self.device, self.incarnation, self.counter, self.changeset)


@dataclass(frozen=True, slots=True)
class Genesis:
    """The constants of the folder. Entry 0 is this and one Admit: the first owner, who signs it."""

    nonce: bytes
    secret_commitment: bytes
    padding: Padding
    cut_version: int
    name_sealed: bytes
    recovery: tuple[PublicRecovery, ...]


@dataclass(frozen=True, slots=True)
class Admit:
    """A new member with its devices; or more devices of a member, with the role it has."""

    member: MemberId
    name_sealed: bytes
    role: Role
    capabilities: Capability
    devices: tuple[EntryDevice, ...]


@dataclass(frozen=True, slots=True)
class Remove:
    """For good: the member id is never used again (the person can be admitted as a new member)."""

    member: MemberId
    journals: tuple[JournalSeal, ...]


@dataclass(frozen=True, slots=True)
class Suspend:
    """Until Reactivate."""

    member: MemberId
    journals: tuple[JournalSeal, ...]


@dataclass(frozen=True, slots=True)
class Reactivate:
    """Ends a Suspend."""

    member: MemberId


@dataclass(frozen=True, slots=True)
class ChangeRole:
    """Another role, with the capabilities that go with it."""

    member: MemberId
    role: Role
    capabilities: Capability
    journals: tuple[JournalSeal, ...]


@dataclass(frozen=True, slots=True)
class ChangeCapabilities:
    """Other capabilities within the same role."""

    member: MemberId
    capabilities: Capability
    journals: tuple[JournalSeal, ...]


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """A new folder name, settings by number, and all address rules; what is not named stays."""

    name_sealed: bytes | None
    settings: tuple[tuple[int, int], ...]
    addresses: AddressRules | None = None


@dataclass(frozen=True, slots=True)
class Rotate:
    """Nothing but a new epoch."""


@dataclass(frozen=True, slots=True)
class Leave:
    """The signer's own member goes."""

    member: MemberId
    journals: tuple[JournalSeal, ...]


@dataclass(frozen=True, slots=True)
class DeviceLost:
    """One device is in other hands: it is out at once, and its keys are never admitted again."""

    device: DeviceId
    journals: tuple[JournalSeal, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """The secret of an epoch that a fork left behind, sealed under the present one."""

    epoch: EpochId
    member_certificate: bytes
    secret_sealed: bytes


@dataclass(frozen=True, slots=True)
class Merge:
    """Ends a fork: the last entry that both branches share, the entries of the one that lost, and links to its epochs.

    What the lost branch did that is to stand is said again by the other changes of the same entry.
    """

    parent: EntryHash
    lost: tuple[EntryHash, ...]
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Recover:
    """By the recovery key: the devices that stay, and the recovery keys from now on."""

    devices: tuple[DeviceId, ...]
    recovery: tuple[PublicRecovery, ...]
    journals: tuple[JournalSeal, ...]


@dataclass(frozen=True, slots=True)
class Expire:
    """When a membership ends: unix seconds, or 0 for never."""

    member: MemberId
    until: int


Change: TypeAlias = (
    Genesis
    | Admit
    | Remove
    | Suspend
    | Reactivate
    | ChangeRole
    | ChangeCapabilities
    | SetPolicy
    | Rotate
    | Leave
    | DeviceLost
    | Link
    | Merge
    | Recover
    | Expire
)


# --- their checks ----------------------------------------------------------------------------------------------------

_hash: Final = bytes_of(32)
_member: Final = bytes_of(16)
_name: Final = bytes_up_to(MAX_SEALED_NAME_BYTES, minimum=48)
_certificate: Final = bytes_up_to(MAX_CERTIFICATE_BYTES, minimum=1)
_device_fields: Final = array(bytes_of(KEY_BYTES), bytes_of(SEAL_PUBLIC_BYTES), bytes_of(KEY_BYTES), _name)
_recovery_fields: Final = array(bytes_of(KEY_BYTES), bytes_of(SEAL_PUBLIC_BYTES))
_journal_fields: Final = array(_hash, bytes_of(16), uint(), _hash)
_link_fields: Final = array(_hash, _certificate, bytes_of(SEALED_SECRET_BYTES))
_role_code: Final = uint(max(Role))
_capability_code: Final = uint((1 << len(Capability)) - 1)
_padding_code: Final = uint(max(Padding))


def _entry_device(value: Any) -> EntryDevice:
    sign, seal, tls, name_sealed = _device_fields(value)
    if sign == tls:
        raise CodecError("a device uses one key for two purposes")
    return EntryDevice(PublicDevice(sign, seal, tls), name_sealed)


def _recovery(value: Any) -> PublicRecovery:
    return PublicRecovery(*_recovery_fields(value))


def _journal(value: Any) -> JournalSeal:
    return JournalSeal(*_journal_fields(value))


def _link(value: Any) -> Link:
    return Link(*_link_fields(value))


def _role(value: Any) -> Role:
    return Role(_role_code(value))


def _capabilities(value: Any) -> Capability:
    return Capability(_capability_code(value))


def _padding(value: Any) -> Padding:
    return Padding(_padding_code(value))


def _settings(value: Any) -> tuple[tuple[int, int], ...]:
    """Pairs of number and value, ascending by number, so that a policy has one spelling."""
    pairs: tuple[tuple[int, int], ...] = _setting_pairs(value)
    if any(before[0] >= after[0] for before, after in pairwise(pairs)):
        raise CodecError("settings must ascend")
    return pairs


_setting_pairs: Final[Check[Any]] = list_of(array(uint(), uint()), MAX_SETTINGS)
_journals: Final = list_of(_journal, MAX_JOURNALS)

_CHANGES: Final[dict[int, tuple[type[Change], tuple[Check[Any], ...]]]] = {
    Kind.GENESIS: (Genesis, (_hash, _hash, _padding, uint(255), _name, list_of(_recovery, 8, minimum=1))),
    Kind.ADMIT: (
        Admit,
        (_member, _name, _role, _capabilities, list_of(_entry_device, MAX_DEVICES_AT_ONCE, minimum=1)),
    ),
    Kind.REMOVE: (Remove, (_member, _journals)),
    Kind.SUSPEND: (Suspend, (_member, _journals)),
    Kind.REACTIVATE: (Reactivate, (_member,)),
    Kind.ROLE: (ChangeRole, (_member, _role, _capabilities, _journals)),
    Kind.CAPABILITY: (ChangeCapabilities, (_member, _capabilities, _journals)),
    Kind.POLICY: (SetPolicy, (optional(_name), _settings, optional(rules_untrusted))),
    Kind.ROTATE: (Rotate, ()),
    Kind.LEAVE: (Leave, (_member, _journals)),
    Kind.DEVICE_LOST: (DeviceLost, (_hash, _journals)),
    Kind.LINK: (Link, (_hash, _certificate, bytes_of(SEALED_SECRET_BYTES))),
    Kind.MERGE: (Merge, (_hash, list_of(_hash, MAX_LOST, minimum=1), list_of(_link, MAX_LINKS))),
    Kind.RECOVER: (Recover, (list_of(_hash, MAX_RECIPIENTS), list_of(_recovery, 8, minimum=1), _journals)),
    Kind.EXPIRE: (Expire, (_member, uint(MAX_TIME))),
}
_KIND_OF: Final = {made: Kind(kind) for kind, (made, _) in _CHANGES.items()}


def _change(value: Any) -> Change:
    if type(value) is not list or not value or type(value[0]) is not int or value[0] not in _CHANGES:
        raise CodecError("unknown kind of change", why="it may need a newer version of this program")
    made, checks = _CHANGES[value[0]]
    if len(value) != len(checks) + 1:
        raise CodecError("a change has too few or too many fields")
    return made(*[check(field) for check, field in zip(checks, value[1:], strict=True)])


def _encodable_change(change: Change) -> Encodable:
    fields = [getattr(change, name) for name in change.__dataclass_fields__]
    return (_KIND_OF[type(change)], *[_encodable_field(field) for field in fields])


def _encodable_field(field: Any) -> Encodable:
    if isinstance(field, tuple):
        return [_encodable_field(item) for item in field]
    if isinstance(field, EntryDevice | JournalSeal | AddressRule):
        return field.encodable()
    if isinstance(field, PublicRecovery):
        return (field.sign, field.seal)
    if isinstance(field, Link):
        return (field.epoch, field.member_certificate, field.secret_sealed)
    return field  # type: ignore[no-any-return]


def kind_of(change: Change) -> Kind:
    return _KIND_OF[type(change)]


# --- the entry -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EntryEpoch:
    """The epoch that an entry opens. The certificates' exact bytes stand here and are the authority."""

    number: int
    member_certificate: bytes
    vault_certificate: bytes
    previous_sealed: bytes | None
    wraps_root: bytes
    wraps_count: int

    def encodable(self) -> Encodable:
        return (
            self.number,
            self.member_certificate,
            self.vault_certificate,
            self.previous_sealed,
            self.wraps_root,
            self.wraps_count,
        )


_epoch_fields: Final = array(
    uint(minimum=1),
    _certificate,
    _certificate,
    optional(bytes_of(SEALED_SECRET_BYTES)),
    _hash,
    uint(MAX_RECIPIENTS, minimum=1),
)


def _epoch(value: Any) -> EntryEpoch:
    return EntryEpoch(*_epoch_fields(value))


_BODY: Final[dict[int, Check[Any]]] = {
    1: uint(FORMAT, minimum=FORMAT),
    2: uint(MAX_ENTRIES),
    3: _hash,
    4: _hash,
    5: uint(MAX_TIME),
    6: list_of(_change, MAX_CHANGES, minimum=1),
    7: optional(_epoch),
}


@dataclass(frozen=True, slots=True)
class SignedEntry:
    """An entry as it travels (`raw`) and what it says. That it is *right* only a Roster can tell."""

    raw: bytes
    hash: EntryHash
    number: int
    previous: EntryHash
    signer: DeviceId
    time: int
    changes: tuple[Change, ...]
    epoch: EntryEpoch | None

    @property
    def body(self) -> bytes:
        return self.raw[:-SIGNATURE_BYTES]

    @property
    def signature(self) -> bytes:
        return self.raw[-SIGNATURE_BYTES:]


def entry_hash(raw: bytes) -> EntryHash:
    """The name of an entry: hash of all its bytes, signature included."""
    return EntryHash(digest("roster entry", raw))


def encode_body(
    number: int,
    previous: EntryHash,
    signer: DeviceId,
    time: int,
    changes: tuple[Change, ...],
    epoch: EntryEpoch | None,
) -> bytes:
    """What the signer signs."""
    return encode(
        {
            1: FORMAT,
            2: number,
            3: previous,
            4: signer,
            5: time,
            6: [_encodable_change(change) for change in changes],
            7: None if epoch is None else epoch.encodable(),
        }
    )


def decode_entry_untrusted(raw: bytes) -> SignedEntry:
    """Read an entry. Nothing is verified yet but its form. Raises CodecError."""
    if len(raw) > MAX_ENTRY_BYTES:
        raise CodecError("roster entry is too long")
    body = decode_untrusted(raw[:-SIGNATURE_BYTES], max_bytes=MAX_ENTRY_BYTES)
    _, number, previous, signer, time, changes, epoch = fields_untrusted(body, _BODY)
    return SignedEntry(raw, entry_hash(raw), number, previous, signer, time, changes, epoch)
