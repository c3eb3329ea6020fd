"""Pure. What follows from the entries of a roster: members, their rights, epochs, and whom an epoch is sealed to.

Values only. `ca.membership` has the rules by which an entry leads from one state to the next.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from enum import Enum
from typing import Final

from ca.addresses import AddressRules
from ca.certs import VALID_AFTER_S, VALID_BEFORE_S
from ca.device import PublicDevice
from ca.entries import Genesis, JournalSeal, Link, SignedEntry
from ca.ids import DeviceId, EntryHash, EpochId, FolderId, MemberId
from ca.recovery import PublicRecovery
from ca.roles import Action, Capability, Role, may, reads
from ca.values import dataclass
from ca.wraps import Share, wrap_info

NOBODY: Final = MemberId(b"")


# --- the state -------------------------------------------------------------------------------------------------------


class Status(Enum):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    REMOVED = "removed"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Rights:
    """What a device could do at some point of the roster."""

    role: Role
    capabilities: Capability

    def allow(self, action: Action) -> bool:
        return may(self.role, self.capabilities, action)


@dataclass(frozen=True, slots=True)
class Member:
    """A person or service. `devices` are those that count; names are sealed under the folder's name key."""

    id: MemberId
    name_sealed: bytes
    role: Role
    capabilities: Capability
    status: Status
    since: int
    devices: Mapping[DeviceId, PublicDevice]
    device_names: Mapping[DeviceId, bytes]
    until: int | None = None
    """When the membership ends (unix seconds). From then on nothing that it signs counts."""

    def has_expired(self, now: int) -> bool:
        return self.until is not None and now >= self.until

    @property
    def rights(self) -> Rights:
        return Rights(self.role, self.capabilities)


@dataclass(frozen=True, slots=True)
class EpochInfo:
    """An epoch as the roster tells it; `previous_entry` and `folder` are what its wraps are bound to."""

    id: EpochId
    number: int
    opened_at: int
    member_certificate: bytes
    vault_certificate: bytes
    previous_sealed: bytes | None
    wraps_root: bytes
    wraps_count: int
    folder: FolderId
    previous_entry: EntryHash

    @property
    def valid_from(self) -> int:
        return self.opened_at - VALID_BEFORE_S

    @property
    def valid_until(self) -> int:
        return self.opened_at + VALID_AFTER_S

    def wrap_info(self, recipient: DeviceId) -> bytes:
        return wrap_info(self.folder, self.previous_entry, recipient, self.member_certificate, self.vault_certificate)


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who gets how much of an epoch."""

    id: DeviceId
    seal: bytes
    share: Share


@dataclass(frozen=True, slots=True)
class Settled:
    """An entry of a branch that a merge ended: where it parted from the chain, and the rank of who ended it."""

    parent: int
    rank: Role


@dataclass(frozen=True, slots=True)
class LinkedEpoch:
    """An epoch that a fork left behind; its secret is sealed under that of the epoch `under`."""

    link: Link
    under: EpochId


@dataclass(slots=True)
class State:
    """Everything that follows from the entries. Changed only inside `Fold`, on a copy of its own."""

    genesis: Genesis
    members: dict[MemberId, Member]
    owner_of: dict[DeviceId, MemberId]  # every device ever admitted -> its latest member
    publics: dict[DeviceId, PublicDevice]  # every device ever admitted, for what it signed while it counted
    keys: dict[bytes, DeviceId]  # every public key ever admitted -> the one device that has it
    lost: set[DeviceId]
    rights: dict[DeviceId, tuple[tuple[int, Rights | None], ...]]  # (entry number, rights from it on), ascending
    journals: dict[DeviceId, tuple[tuple[int, JournalSeal], ...]]
    settings: dict[int, int]
    addresses: AddressRules
    name_sealed: bytes
    recovery: tuple[PublicRecovery, ...]
    epochs: list[EpochInfo]
    points: set[bytes]  # every P-256 key of a certificate so far
    rotation_pending: bool
    entries: list[SignedEntry]
    numbers: dict[EntryHash, int]
    settled: dict[EntryHash, Settled]  # entries of branches that lost and were merged
    links: dict[EpochId, LinkedEpoch]

    def copy(self) -> State:
        return State(
            self.genesis,
            dict(self.members),
            dict(self.owner_of),
            dict(self.publics),
            dict(self.keys),
            set(self.lost),
            dict(self.rights),
            dict(self.journals),
            dict(self.settings),
            self.addresses,
            self.name_sealed,
            self.recovery,
            list(self.epochs),
            set(self.points),
            self.rotation_pending,
            list(self.entries),
            dict(self.numbers),
            dict(self.settled),
            dict(self.links),
        )

    def active(self, device: DeviceId) -> tuple[Member, PublicDevice] | None:
        member = self.members.get(self.owner_of.get(device, NOBODY))
        if member is None or member.status is not Status.ACTIVE or device not in member.devices:
            return None
        return member, member.devices[device]

    def rights_at(self, number: int, device: DeviceId) -> Rights | None:
        """What the device could do once the entry of this number stood; None if nothing."""
        history = self.rights.get(device, ())
        place = bisect_right(history, number, key=_since)
        return history[place - 1][1] if place else None

    def recipients(self) -> list[Recipient]:
        """Every active device and every recovery key, each with its share, ordered by id."""
        found = [Recipient(key.id, key.seal, Share.MEMBER) for key in self.recovery]
        for member in self.members.values():
            if member.status is Status.ACTIVE:
                share = share_of(member.rights)
                found += [Recipient(device, public.seal, share) for device, public in member.devices.items()]
        return sorted(found, key=lambda recipient: recipient.id)


def _since(change: tuple[int, Rights | None]) -> int:
    return change[0]


def share_of(rights: Rights) -> Share:
    if rights.role is Role.VAULT:
        return Share.VAULT
    return Share.MEMBER if reads(rights.role, rights.capabilities) else Share.CONTACT
