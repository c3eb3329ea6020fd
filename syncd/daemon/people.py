"""Pure. A folder's membership as one can read it at a moment: who is in it, who may do what, what the journal asks.

Everything here follows from one `Standing`; nothing here changes it. `daemon.membership` does.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TypeVarTuple

from ca import authority
from ca.authority import Secrets
from ca.device import PublicDevice
from ca.ids import DeviceId, EntryHash, EpochId, FolderId, MemberId
from ca.roles import USUAL_CAPABILITIES, Action, Capability, Role, held, may_grant, may_share_links
from ca.roster import EpochInfo, Head, Member, Relation, Roster, Status
from ca.values import dataclass
from syncd.daemon.standing import Standing
from syncd.engine.sharelinks import policy_untrusted
from syncd.errors import TrustError
from syncd.model.ids import Incarnation

Sealed = TypeVarTuple("Sealed")


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A device as people see it."""

    id: DeviceId
    name: str


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """A member as people see it; `since` and `until` in unix seconds."""

    id: MemberId
    name: str
    role: Role
    since: int
    is_us: bool
    devices: tuple[DeviceInfo, ...]
    status: Status = Status.ACTIVE
    capabilities: Capability = Capability.NONE
    until: int | None = None


class People:
    """What `daemon.membership.FolderMembership` says of others and of itself. Implements `store.journal.Membership`.

    Properties may be read from any thread.
    """

    def __init__(self, standing: Standing, now_s: Callable[[], int]) -> None:
        """`now_s`: our clock, for memberships that end."""
        self._standing = standing
        self._now_s = now_s

    # what there is -------------------------------------------------------------------------------------------

    @property
    def folder_id(self) -> FolderId:
        return self._standing.roster.folder_id

    @property
    def device(self) -> DeviceId:
        """This device."""
        return self._standing.us

    @property
    def roster(self) -> Roster:
        return self._standing.roster

    @property
    def head(self) -> EntryHash:
        return self._standing.roster.head

    @property
    def head_at(self) -> Head:
        return self._standing.roster.head_at

    @property
    def epoch(self) -> EpochInfo:
        return self._standing.roster.epoch

    @property
    def secrets(self) -> Secrets | None:
        """Of the newest epoch that could be opened here; None when none could."""
        return self._standing.secrets

    @property
    def is_current(self) -> bool:
        """We hold the secret of the current epoch."""
        return self._standing.is_current

    @property
    def may_read(self) -> bool:
        """The content of the folder is for this device."""
        return self._standing.may_read

    @property
    def is_out(self) -> bool:
        """This device is no longer a member's."""
        return self._standing.is_out

    @property
    def is_suspended(self) -> bool:
        """This device was taken out, and an owner or admin can let it in again."""
        return self._standing.is_suspended

    @property
    def has_ended(self) -> bool:
        """This device's membership is over by our clock, and nobody has suspended it yet."""
        found = self.roster.device(self.device)
        return found is not None and found[0].has_expired(self._now_s())

    @property
    def has_fork(self) -> bool:
        return bool(self._standing.roster.quarrel)

    @property
    def label(self) -> str | None:
        """SNI label of the current epoch's member connections; None while there can be none."""
        keys = self._standing.epoch_keys()
        return None if keys is None else keys.label

    @property
    def announcement_key(self) -> bytes | None:
        keys = self._standing.epoch_keys()
        return None if keys is None else keys.announcement_key

    @property
    def asks_after(self) -> int:
        """The number to ask others from: entries after it, or sealed secrets, are missing here."""
        return self._standing.asks_after

    @property
    def is_complete(self) -> bool:
        """Nothing of what we know to exist is missing; else ask any member (`catch_up`)."""
        return self._standing.is_complete

    def relation(self, head: Head) -> Relation:
        """How somebody's roster head stands to ours."""
        return self._standing.roster.relation(head)

    # people --------------------------------------------------------------------------------------------------

    @property
    def folder_name(self) -> str:
        """The name that the folder has for everybody; empty while we hold no secret."""
        secrets = self._standing.secrets
        return "" if secrets is None else _opened(authority.folder_name, self._standing.roster, secrets)

    def member_name(self, device: DeviceId) -> str:
        """The name of the member a device belongs or belonged to; empty for a stranger."""
        member, secrets = self.roster.member_of(device), self.secrets
        return "" if member is None or secrets is None else _opened(authority.member_name, member, secrets)

    def author_name(self, device: DeviceId) -> str:
        """Who wrote what this device signed, by the roster: the name in a changeset is its author's own word. The first
        digits of the device for a stranger."""
        return self.member_name(device) or device.hex()[:8]

    def device_name(self, device: DeviceId) -> str:
        """The name of a device that was ever admitted; empty for a stranger."""
        member, secrets = self.roster.member_of(device), self.secrets
        if member is None or secrets is None or device not in member.device_names:
            return ""
        return _opened(authority.device_name, member, device, secrets)

    def members(self) -> tuple[MemberInfo, ...]:
        """Who is in the folder now, longest first."""
        return tuple(member for member in self.everybody() if member.status is Status.ACTIVE)

    def everybody(self) -> tuple[MemberInfo, ...]:
        """Who is in the folder now, and who is suspended, longest first."""
        known = [m for m in self.roster.members.values() if m.status in (Status.ACTIVE, Status.SUSPENDED)]
        return tuple(self._info(member) for member in sorted(known, key=lambda member: (member.since, member.id)))

    def _info(self, member: Member) -> MemberInfo:
        secrets = self.secrets
        name = "" if secrets is None else _opened(authority.member_name, member, secrets)
        devices = tuple(DeviceInfo(device, self.device_name(device)) for device in member.devices)
        return MemberInfo(
            member.id,
            name,
            member.role,
            member.since,
            self.device in member.devices,
            devices,
            member.status,
            held(member.role, member.capabilities),
            member.until,
        )

    def devices(self) -> tuple[PublicDevice, ...]:
        """All active devices but this one."""
        others, now_s = self._standing.others, self._now_s()
        return tuple(public for member, public in others if not member.has_expired(now_s))

    def whose_time_is_over(self) -> frozenset[DeviceId]:
        """Devices whose membership has ended by our clock, and whom nobody has suspended yet."""
        now_s = self._now_s()
        over = (one for one in self.roster.members.values() if one.status is Status.ACTIVE and one.has_expired(now_s))
        return frozenset(device for member in over for device in member.devices)

    def next_end_s(self) -> float:
        """In how many seconds a membership here ends next by our clock; infinity for never."""
        now_s = self._now_s()
        ends = (one.until for one in self.roster.members.values() if one.status is Status.ACTIVE)
        return min((until - now_s for until in ends if until is not None and until > now_s), default=inf)

    def role_of(self, device: DeviceId) -> Role | None:
        """The role of a device that counts now."""
        found = self._counting(device)
        return None if found is None else found.role

    def _counting(self, device: DeviceId) -> Member | None:
        """The member of a device that counts now, by the roster and by our clock."""
        found = self.roster.device(device)
        return None if found is None or found[0].has_expired(self._now_s()) else found[0]

    # rights --------------------------------------------------------------------------------------------------

    def may(self, action: Action) -> bool:
        """Whether this device may do this now."""
        found = self._counting(self.device)
        return found is not None and not self.is_out and found.rights.allow(action)

    def may_share_links(self) -> bool:
        """Whether this device may give people outside of the folder links to something in it now."""
        found = self._counting(self.device)
        if found is None or self.is_out:
            return False
        return may_share_links(found.role, found.capabilities, policy_untrusted(self.roster.settings))

    def device_may(self, device: DeviceId, action: Action) -> bool:
        """Whether another device may do this now."""
        found = self._counting(device)
        return found is not None and found.rights.allow(action)

    def may_admit(self, role: Role) -> bool:
        """Whether this device could admit somebody with this role now."""
        found = self.roster.device(self.device)
        if found is None or not self._standing.works or not self.may(Action.ADMIT):
            return False
        return may_grant(found[0].role, found[0].capabilities, role, USUAL_CAPABILITIES[role])

    # for the journal -----------------------------------------------------------------------------------------

    def number_of(self, head: EntryHash) -> int | None:
        """The number of an entry on our chain."""
        return self.roster.number_of(head)

    def is_on_chain(self, head: EntryHash) -> bool:
        """Whether an entry is one of our chain, and not of a history that lost."""
        return self.roster.is_on_chain(head)

    def lost_epochs(self) -> frozenset[EpochId]:
        """Epochs of a history that lost, which nobody will link."""
        return self.roster.lost_epochs()

    def sign_key(self, device: DeviceId) -> bytes | None:
        """The signing key of a device that is, or once was, admitted, be it in a history that lost."""
        public = self.roster.witness_of(device)
        return None if public is None else public.sign

    def may_publish(self, device: DeviceId, head: EntryHash) -> bool:
        """Whether that device had, at that entry, a role that publishes."""
        rights = self.roster.rights_at(head, device)
        return rights is not None and rights.allow(Action.WRITE)

    def may_delete(self, device: DeviceId, head: EntryHash) -> bool:
        """Whether that device had, at that entry, the right to delete."""
        rights = self.roster.rights_at(head, device)
        return rights is not None and rights.allow(Action.DELETE)

    def sealed_at(self, device: DeviceId, incarnation: Incarnation) -> int | None:
        """The last counter of a journal that counts under rights since taken away; None when they never were.

        A journal that the seals do not name was unknown to who made them, so nothing of it counts.
        """
        roster = self.roster
        seals = roster.journal_seals(device)
        counters = [seal.counter for _, seal in seals if seal.incarnation == incarnation]
        if counters:
            return counters[-1]
        return None if not seals and self.may_publish(device, roster.head) else 0


def _opened(open_name: Callable[[*Sealed], str], *sealed: *Sealed) -> str:
    """A sealed name, or that it is none: who signs entries may seal rubbish, and that must not save them."""
    try:
        return open_name(*sealed)
    except TrustError:
        return "(unreadable)"
