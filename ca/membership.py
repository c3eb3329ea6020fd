"""Pure. The rules by which an entry changes who is a member with which rights.

A `Fold` applies entries to a state of its own (`ca.state`): each kind of change has one rule, found in one table, which
looks at the signer as they were *before* the entry. `ca.roster` keeps the chain around it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from ca.certs import folder_point_untrusted
from ca.device import PublicDevice, Purpose, verify
from ca.entries import (
    Admit,
    Change,
    ChangeCapabilities,
    ChangeRole,
    DeviceLost,
    EntryEpoch,
    Expire,
    Genesis,
    JournalSeal,
    Leave,
    Link,
    Merge,
    Reactivate,
    Recover,
    Remove,
    Rotate,
    SetPolicy,
    SignedEntry,
    Suspend,
)
from ca.errors import TrustError
from ca.ids import NO_ENTRY, NO_FOLDER, DeviceId, EntryHash, EpochId, FolderId, MemberId
from ca.roles import Action, Capability, Role, fits, may_grant, outranks
from ca.state import NOBODY, EpochInfo, LinkedEpoch, Member, Rights, Settled, State, Status, share_of
from ca.wraps import MAX_RECIPIENTS

CLOCK_SLACK_S: Final = 2 * 24 * 3600
"""By so much an entry may be dated before the one that it continues: clocks differ, and history goes forward."""
RECOVERY: Final = MemberId(b"the recovery key")
"""Stands for the recovery key where a member signs; a member's id is drawn at random."""


class Fold:
    """Applies entries to a state of its own. After an exception it is thrown away."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.recipient_count = sum(
            len(member.devices) for member in state.members.values() if member.status is Status.ACTIVE
        ) + len(state.recovery)
        self.owners = {id for id, member in state.members.items() if _is_owner(member)}
        self.number = 0
        self.time = 0

    def apply(self, entry: SignedEntry, *, check_signature: bool = True) -> None:
        """Raises TrustError or CodecError when the entry does not follow from the state before it."""
        signer, sign_key = self.signer(entry.signer, entry.changes, entry.time)
        if check_signature:
            verify(sign_key, Purpose.ENTRY, FolderId(self.state.entries[0].hash), entry.body, entry.signature)
        opens = self.change(entry.signer, signer, entry.changes, entry.number, entry.time)
        self.check_epoch(entry.epoch, opens)
        self.append(entry)

    def signer(self, device: DeviceId, changes: Sequence[Change], time: int) -> tuple[Member, bytes]:
        """Who signs an entry, as they were before it, and their signing key. Raises TrustError."""
        if time < self.state.entries[-1].time - CLOCK_SLACK_S:
            raise TrustError("the entry is dated days before the one that it continues")
        if isinstance(changes[0], Recover):
            return self._recovery_signer(device)
        found = self.state.active(device)
        if found is None:
            raise TrustError("the entry is signed by a device that is not a member's")
        member, public = found
        if member.has_expired(max(time, self.state.entries[-1].time)):
            raise TrustError("the signer's membership had ended")
        return member, public.sign

    def _recovery_signer(self, id: DeviceId) -> tuple[Member, bytes]:
        """The recovery key, for this one entry, as an owner above all owners."""
        for key in self.state.recovery:
            if key.id == id:
                return Member(RECOVERY, b"", Role.OWNER, Capability.NONE, Status.ACTIVE, 0, {}, {}), key.sign
        raise TrustError("only a recovery key of the folder recovers it")

    def change(self, device: DeviceId, signer: Member, changes: Sequence[Change], number: int, time: int) -> bool:
        """Apply the changes of one entry; whether the same entry has to open an epoch. Raises TrustError."""
        self.number, self.time = number, time
        needs_epoch = False
        for change in changes:
            needs_epoch |= _RULES[type(change)](self, device, signer, change)
        self._require_an_owner()
        if not needs_epoch:
            return False
        is_in = signer.id == RECOVERY or self.state.active(device) is not None
        if is_in and signer.rights.allow(Action.OPEN_EPOCH):
            return True
        if not all(isinstance(change, TAKES_OUT) for change in changes):
            raise TrustError("only an owner or an admin who reads the folder may open an epoch")
        self.state.rotation_pending = True
        return False

    def check_epoch(self, epoch: EntryEpoch | None, opens: bool) -> None:
        if (epoch is not None) != opens:
            raise TrustError("the entry must open an epoch and does not" if opens else "the entry may open no epoch")
        if epoch is None:
            return
        if epoch.number != len(self.state.epochs) + 1:
            raise TrustError("the epoch's number is not the next")
        if (epoch.previous_sealed is None) != (not self.state.epochs):
            raise TrustError("the epoch must carry the secret of the one before it")
        if epoch.wraps_count != self.recipient_count:
            raise TrustError("the epoch is not sealed to exactly the members of the folder")
        for certificate in (epoch.member_certificate, epoch.vault_certificate):
            point = folder_point_untrusted(certificate, self.time)
            if point in self.state.points:
                raise TrustError("the epoch uses a key that was used before")
            self.state.points.add(point)

    def append(self, entry: SignedEntry) -> None:
        state = self.state
        state.numbers[entry.hash] = entry.number
        state.entries.append(entry)
        if entry.epoch is not None:
            folder = NO_FOLDER if entry.number == 0 else FolderId(state.entries[0].hash)
            epoch = entry.epoch
            state.epochs.append(
                EpochInfo(
                    EpochId(entry.hash),
                    epoch.number,
                    entry.time,
                    epoch.member_certificate,
                    epoch.vault_certificate,
                    epoch.previous_sealed,
                    epoch.wraps_root,
                    epoch.wraps_count,
                    folder,
                    entry.previous,
                )
            )
            state.rotation_pending = False

    # Every rule takes the signing device, its member as it was before the entry, and the change; it raises TrustError
    # or applies the change, and says whether such a change opens an epoch.

    def admit(self, device: DeviceId, signer: Member, change: Admit) -> bool:
        _require(signer, Action.ADMIT)
        if not fits(change.role, change.capabilities):
            raise TrustError("these capabilities cannot be given with this role")
        if not may_grant(signer.role, signer.capabilities, change.role, change.capabilities):
            raise TrustError("nobody grants what they do not hold")
        self.add(change)
        return True

    def add(self, change: Admit) -> None:
        known = self.state.members.get(change.member)
        if known is not None and (known.status, known.rights) != (
            Status.ACTIVE,
            Rights(change.role, change.capabilities),
        ):
            raise TrustError("this member id belongs to somebody else")
        devices = dict(known.devices) if known else {}
        names = dict(known.device_names) if known else {}
        for admitted in change.devices:
            self._claim_keys(admitted.public)
            devices[admitted.public.id] = admitted.public
            names[admitted.public.id] = admitted.name_sealed
            self.state.owner_of[admitted.public.id] = change.member
            self.state.publics[admitted.public.id] = admitted.public
        self.recipient_count += len(change.devices)
        if self.recipient_count > MAX_RECIPIENTS:
            raise TrustError(f"a folder has at most {MAX_RECIPIENTS} devices")
        since = known.since if known else self.time
        name_sealed = known.name_sealed if known else change.name_sealed
        self._put(
            Member(
                change.member,
                name_sealed,
                change.role,
                change.capabilities,
                Status.ACTIVE,
                since,
                devices,
                names,
                None if known is None else known.until,
            )
        )

    def _claim_keys(self, public: PublicDevice) -> None:
        if public.id in self.state.lost:
            raise TrustError("a device that was reported lost is never admitted again")
        member = self.state.members.get(self.state.owner_of.get(public.id, NOBODY))
        if member is not None and member.status in (Status.ACTIVE, Status.SUSPENDED):
            raise TrustError("this device is already a member's")
        for key in (public.sign, public.seal, public.tls):
            if self.state.keys.setdefault(key, public.id) != public.id:
                raise TrustError("another device already has this key")

    def remove(self, device: DeviceId, signer: Member, change: Remove) -> bool:
        target = self._below(signer, change.member, Action.REMOVE)
        return self._take_out(target, Status.REMOVED, change.journals)

    def suspend(self, device: DeviceId, signer: Member, change: Suspend) -> bool:
        target = self._below(signer, change.member, Action.REMOVE)
        if target.status is not Status.ACTIVE:
            raise TrustError("this member is suspended already")
        return self._take_out(target, Status.SUSPENDED, change.journals)

    def leave(self, device: DeviceId, signer: Member, change: Leave) -> bool:
        if change.member != signer.id:
            raise TrustError("nobody leaves for somebody else")
        return self._take_out(self._member(change.member), Status.LEFT, change.journals)

    def device_lost(self, device: DeviceId, signer: Member, change: DeviceLost) -> bool:
        member_id = self.state.owner_of.get(change.device)
        if member_id is None or change.device in self.state.lost:
            raise TrustError("no such device")
        target = self._member(member_id) if member_id == signer.id else self._below(signer, member_id, Action.REMOVE)
        self.state.lost.add(change.device)
        devices = {id: public for id, public in target.devices.items() if id != change.device}
        if target.status is Status.ACTIVE:
            self.recipient_count -= 1
        self._note_journals(change.journals)
        self._put(replace(target, devices=devices))
        self._note_rights(change.device, None)
        return True

    def reactivate(self, device: DeviceId, signer: Member, change: Reactivate) -> bool:
        target = self._below(signer, change.member, Action.ADMIT)
        if target.status is not Status.SUSPENDED:
            raise TrustError("this member is not suspended")
        if target.has_expired(self.time):
            raise TrustError("this membership has ended", fix="syncd member expire FOLDER MEMBER never, then once more")
        if not may_grant(signer.role, signer.capabilities, target.role, target.capabilities):
            raise TrustError("nobody grants what they do not hold")
        self.recipient_count += len(target.devices)
        self._put(replace(target, status=Status.ACTIVE))
        return True

    def change_role(self, device: DeviceId, signer: Member, change: ChangeRole) -> bool:
        return self._regrant(signer, change.member, Rights(change.role, change.capabilities), change.journals)

    def change_capabilities(self, device: DeviceId, signer: Member, change: ChangeCapabilities) -> bool:
        role = self._member(change.member).role
        return self._regrant(signer, change.member, Rights(role, change.capabilities), change.journals)

    def _regrant(self, signer: Member, member: MemberId, rights: Rights, journals: tuple[JournalSeal, ...]) -> bool:
        target = self._below(signer, member, Action.CHANGE_ROLE)
        if not fits(rights.role, rights.capabilities):
            raise TrustError("these capabilities cannot be given with this role")
        if not may_grant(signer.role, signer.capabilities, rights.role, rights.capabilities):
            raise TrustError("nobody grants what they do not hold")
        self._note_journals(journals)
        until = None if rights.role is Role.OWNER else target.until
        self._put(replace(target, role=rights.role, capabilities=rights.capabilities, until=until))
        return share_of(target.rights) is not share_of(rights)

    def set_policy(self, device: DeviceId, signer: Member, change: SetPolicy) -> bool:
        _require(signer, Action.SET_POLICY)
        self.state.settings.update(change.settings)
        if change.addresses is not None:
            self.state.addresses = change.addresses
        if change.name_sealed is not None:
            self.state.name_sealed = change.name_sealed
        return False

    def rotate(self, device: DeviceId, signer: Member, change: Rotate) -> bool:
        _require(signer, Action.OPEN_EPOCH)
        return True

    def refuse_genesis(self, device: DeviceId, signer: Member, change: Change) -> bool:
        raise TrustError("a folder begins once")

    def expire(self, device: DeviceId, signer: Member, change: Expire) -> bool:
        target = self._below(signer, change.member, Action.CHANGE_ROLE)
        if target.role is Role.OWNER:
            raise TrustError("an owner's membership does not end by itself")
        if not may_grant(signer.role, signer.capabilities, target.role, target.capabilities):
            raise TrustError("nobody grants what they do not hold")
        self._put(replace(target, until=change.until or None))
        return False

    def link(self, device: DeviceId, signer: Member, change: Link) -> bool:
        _require(signer, Action.READ)
        self._link(change)
        return False

    def _link(self, link: Link) -> None:
        """Whether the secret is the right one can only a reader tell: it must yield the certificate's key."""
        if EntryHash(link.epoch) not in self.state.settled or link.epoch in self.state.links:
            raise TrustError("an epoch is linked once, and only one of a branch that a merge ended")
        self.state.links[link.epoch] = LinkedEpoch(link, self.state.epochs[-1].id)

    def merge(self, device: DeviceId, signer: Member, change: Merge) -> bool:
        _require(signer, Action.OPEN_EPOCH)
        _require(signer, Action.REMOVE)
        parent = self.state.numbers.get(change.parent)
        if parent is None or parent == len(self.state.entries) - 1:
            raise TrustError("a merge names the entry after which both branches differ")
        for lost in change.lost:
            if lost in self.state.numbers:
                raise TrustError("a merge ends a branch that is not on the chain")
            known = self.state.settled.get(lost)
            rank = signer.role if known is None else max(known.rank, signer.role)
            self.state.settled[lost] = Settled(parent, rank)
        for link in change.links:
            self._link(link)
        return True

    def recover(self, device: DeviceId, signer: Member, change: Recover) -> bool:
        """Only the devices that are named stay; the other changes of the entry say what they are from now on."""
        if signer.id != RECOVERY:
            raise TrustError("only a recovery key of the folder recovers it")
        staying = set(change.devices)
        for member in list(self.state.members.values()):
            if member.status not in (Status.REMOVED, Status.LEFT):
                self._keep_only(member, staying)
                staying -= member.devices.keys()
        if staying:
            raise TrustError("a device that is to stay is not a member's")
        self.state.recovery = change.recovery
        self._note_journals(change.journals)
        self.recipient_count = len(self.state.recipients())
        return True

    def _keep_only(self, member: Member, staying: set[DeviceId]) -> None:
        kept = {id: public for id, public in member.devices.items() if id in staying}
        for gone in member.devices.keys() - kept.keys():
            self._note_rights(gone, None)
        if kept:
            self._put(replace(member, devices=kept, status=Status.ACTIVE, until=None))
        else:
            self._put(replace(member, status=Status.REMOVED))

    # What the rules share.

    def _member(self, member: MemberId) -> Member:
        found = self.state.members.get(member)
        if found is None or found.status in (Status.REMOVED, Status.LEFT):
            raise TrustError("no such member")
        return found

    def _below(self, signer: Member, member: MemberId, action: Action) -> Member:
        """The member, if the signer may do this to them; nobody acts on themselves, so no slip locks a person out."""
        _require(signer, action)
        target = self._member(member)
        if target.id == signer.id or not outranks(signer.role, target.role):
            raise TrustError("nobody acts upon themselves or upon an equal or higher rank")
        return target

    def _take_out(self, target: Member, status: Status, journals: tuple[JournalSeal, ...]) -> bool:
        if target.status is Status.ACTIVE:
            self.recipient_count -= len(target.devices)
        self._note_journals(journals)
        self._put(replace(target, status=status))
        return True

    def _put(self, member: Member) -> None:
        self.state.members[member.id] = member
        (self.owners.add if _is_owner(member) else self.owners.discard)(member.id)
        rights = member.rights if member.status is Status.ACTIVE else None
        for device in member.devices:
            self._note_rights(device, rights)

    def _note_rights(self, device: DeviceId, rights: Rights | None) -> None:
        history = self.state.rights.get(device, ())
        if history and history[-1][0] == self.number:  # only what an entry leads to counts, not each of its changes
            history = history[:-1]
        if not history or history[-1][1] != rights:
            history = (*history, (self.number, rights))
        self.state.rights[device] = history

    def _note_journals(self, journals: tuple[JournalSeal, ...]) -> None:
        for journal in journals:
            noted = self.state.journals.get(journal.device, ())
            self.state.journals[journal.device] = (*noted, (self.number, journal))

    def _require_an_owner(self) -> None:
        if not any(self.state.members[owner].devices for owner in self.owners):
            raise TrustError("the last owner cannot go")


def _is_owner(member: Member) -> bool:
    return member.role is Role.OWNER and member.status is Status.ACTIVE


def _require(signer: Member, action: Action) -> None:
    if not signer.rights.allow(action):
        raise TrustError(f"the signer has no right to {action.value}")


TAKES_OUT: Final = (Remove, Suspend, Leave, DeviceLost)

_RULES: Final[dict[type[Change], Callable[[Fold, DeviceId, Member, Any], bool]]] = {
    Genesis: Fold.refuse_genesis,
    Admit: Fold.admit,
    Remove: Fold.remove,
    Suspend: Fold.suspend,
    Reactivate: Fold.reactivate,
    ChangeRole: Fold.change_role,
    ChangeCapabilities: Fold.change_capabilities,
    SetPolicy: Fold.set_policy,
    Rotate: Fold.rotate,
    Leave: Fold.leave,
    DeviceLost: Fold.device_lost,
    Link: Fold.link,
    Merge: Fold.merge,
    Recover: Fold.recover,
    Expire: Fold.expire,
}


def begin_fold(entry: SignedEntry, *, check_signature: bool = True) -> Fold:
    """The state after a genesis entry: the folder's constants, and the one owner who signed it."""
    if entry.number != 0 or entry.previous != NO_ENTRY or len(entry.changes) != 2:
        raise TrustError("this is not the first entry of a roster")
    genesis, admit = entry.changes
    if not isinstance(genesis, Genesis) or not isinstance(admit, Admit):
        raise TrustError("a roster begins with its constants and its first owner")
    if admit.role is not Role.OWNER or not fits(admit.role, admit.capabilities):
        raise TrustError("the first member is an owner")
    keys = {device.public.id: device.public for device in admit.devices}
    if entry.signer not in keys:
        raise TrustError("a roster is begun by its first owner")
    if check_signature:
        verify(keys[entry.signer].sign, Purpose.ENTRY, None, entry.body, entry.signature)
    fold = Fold(
        State(
            genesis,
            {},
            {},
            {},
            {},
            set(),
            {},
            {},
            {},
            (),
            genesis.name_sealed,
            genesis.recovery,
            [],
            set(),
            False,
            [],
            {},
            {},
            {},
        )
    )
    fold.time = entry.time
    fold.add(admit)
    fold.check_epoch(entry.epoch, opens=True)
    fold.append(entry)
    return fold
