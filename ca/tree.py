"""Pure. All entries behind the first parting of a roster's branches: who signed each, and on whom its signer leans.

A signer leans on those who let them in or raised them there. Of each who did only the last such entry is kept: whatever
hits an earlier one hits it too, so nothing is lost, and what everybody leans on stays as short as the list of devices.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from ca.certs import MAX_TIME
from ca.entries import (
    Admit,
    Change,
    ChangeCapabilities,
    ChangeRole,
    DeviceLost,
    Expire,
    Leave,
    Reactivate,
    Recover,
    SignedEntry,
)
from ca.ids import DeviceId, EntryHash, MemberId
from ca.membership import RECOVERY
from ca.roles import Role, held
from ca.state import NOBODY, Rights, State
from ca.values import dataclass

RECOVERY_RANK: Final = max(Role) + 1
NEVER: Final = MAX_TIME + 1

Gifts: TypeAlias = Mapping[DeviceId, tuple[int, EntryHash]]
"""By who gave: number and hash of the last entry in which they did, or on which they leaned when they did."""


@dataclass(frozen=True, slots=True)
class Signed:
    """An entry behind the first parting, with the rank that its signer had before it, and since which entry."""

    entry: SignedEntry
    member: MemberId
    rank: int
    since: int
    leans_on: frozenset[EntryHash]
    """The entry itself, and those behind the first parting that let its signer in or raised them, and so on."""
    only_departs: bool
    """It does nothing but take out its signer, or devices of theirs."""

    @property
    def hash(self) -> EntryHash:
        return self.entry.hash


def last_shared(one: State, two: State) -> int:
    """The number of the last entry that two chains of one folder have in common."""
    low, high = 0, min(len(one.entries), len(two.entries)) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if one.entries[middle].hash == two.entries[middle].hash:
            low = middle
        else:
            high = middle - 1
    return low


class Tree:
    """All entries behind the first parting of these branches, none of which stands behind another."""

    def __init__(self, tips: Sequence[State]) -> None:
        self.tips = tips
        self.nodes: dict[EntryHash, Signed] = {}
        self.paths: dict[EntryHash, int] = defaultdict(int)
        """By entry, on the way to which of the tips it stands, as bits."""
        base = min(last_shared(tips[0], tip) for tip in tips[1:])
        for place, tip in enumerate(tips):
            for signed in _signed(tip, base):
                self.nodes.setdefault(signed.hash, signed)
                self.paths[signed.hash] |= 1 << place

    def are_beside(self, one: EntryHash, two: EntryHash) -> bool:
        """Neither stands behind the other."""
        return not self.paths[one] & self.paths[two]

    def is_behind(self, later: Signed, earlier: Signed) -> bool:
        return later.entry.number > earlier.entry.number and not self.are_beside(later.hash, earlier.hash)

    def place_of(self, signed: Signed) -> int:
        """Of a branch on which it stands."""
        paths = self.paths[signed.hash]
        return (paths & -paths).bit_length() - 1


def _signed(state: State, base: int) -> Iterator[Signed]:
    to_members: dict[MemberId, Gifts] = {}
    to_devices: dict[DeviceId, Gifts] = {}
    ends = _Ends()
    for entry in state.entries[: base + 1]:
        ends.prolonged(entry)
    for entry in state.entries[base + 1 :]:
        member = RECOVERY if isinstance(entry.changes[0], Recover) else owner_in(state, entry.signer)
        own: Gifts = {entry.signer: (entry.number, entry.hash)}
        gifts = _both(_both(to_members.get(member, {}), to_devices.get(entry.signer, {})), own)
        yield _who_signed(state, entry, member, frozenset(hash_ for _, hash_ in gifts.values()))
        before = _Before(state, entry.number)
        gaining = set(ends.prolonged(entry))
        for change in entry.changes:
            if isinstance(change, Admit) and before.of(change.member) is not None:
                to_devices.update((device.public.id, gifts) for device in change.devices)
            elif (whom := _who_gains(before, change)) is not None:
                gaining.add(whom)
        for whom in gaining:
            to_members[whom] = _both(to_members.get(whom, {}), gifts)


class _Ends:
    """When memberships end."""

    def __init__(self) -> None:
        self._ends: dict[MemberId, int] = {}

    def prolonged(self, entry: SignedEntry) -> Iterator[MemberId]:
        """Take an entry in; whose membership lasts longer by it."""
        before = dict[MemberId, int]()
        for change in entry.changes:
            if isinstance(change, Recover):
                self._ends.clear()
            elif isinstance(change, Expire):
                before.setdefault(change.member, self._ends.get(change.member, NEVER))
                self._ends[change.member] = change.until or NEVER
        return (member for member, end in before.items() if self._ends.get(member, NEVER) > end)


def _both(one: Gifts, two: Gifts) -> Gifts:
    if not one or not two:
        return one or two
    return {**one, **{giver: max(gift, one.get(giver, gift)) for giver, gift in two.items()}}


def _who_signed(state: State, entry: SignedEntry, member: MemberId, leans_on: frozenset[EntryHash]) -> Signed:
    if member == RECOVERY:
        return Signed(entry, RECOVERY, RECOVERY_RANK, 0, frozenset({entry.hash}), False)
    rights = state.rights_at(entry.number - 1, entry.signer)
    rank, since = -1 if rights is None else int(rights.role), entry.number
    for number, before in reversed(state.rights.get(entry.signer, ())):
        if number < entry.number:
            if before is None or before.role != rank:
                break
            since = number
    only_departs = all(is_own_departure(state, member, change) for change in entry.changes)
    return Signed(entry, member, rank, since, leans_on, only_departs)


def owner_in(state: State, device: DeviceId) -> MemberId:
    """The member that a device ever admitted belongs to."""
    return state.owner_of.get(device, NOBODY)


class _Before:
    """What members could do before an entry."""

    def __init__(self, state: State, number: int) -> None:
        self._state = state
        self._number = number
        self._found: dict[MemberId, Rights | None] = {}

    def of(self, member: MemberId) -> Rights | None:
        if member not in self._found:
            self._found[member] = self._look_up(member)
        return self._found[member]

    def _look_up(self, member: MemberId) -> Rights | None:
        found = self._state.members.get(member)
        devices = () if found is None else found.device_names
        rights = (self._state.rights_at(self._number - 1, device) for device in devices)
        return next((one for one in rights if one is not None), None)


def _who_gains(before: _Before, change: Change) -> MemberId | None:
    """The member to whom a change gives what they did not have before the entry."""
    match change:
        case Admit(member) | Reactivate(member):
            return member
        case ChangeRole(member, role, capabilities):
            old = before.of(member)
            if old is None or role > old.role:
                return member
            return member if held(role, capabilities) & ~held(old.role, old.capabilities) else None
        case ChangeCapabilities(member, capabilities):
            old = before.of(member)
            return member if old is None or capabilities & ~old.capabilities else None
        case _:
            return None


def is_own_departure(state: State, member: MemberId, change: Change) -> bool:
    """Whether with this change a member takes out themselves, or a device of their own."""
    match change:
        case Leave(gone):
            return gone == member
        case DeviceLost(device):
            return owner_in(state, device) == member
        case _:
            return False
