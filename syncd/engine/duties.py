"""Pure. What this device owes the membership of a folder, and when: rotate, merge, link, say again, end, confirm.

Many devices may do each of these, and two that do it at once fork the roster. So every device has its turn, by rank and
seniority, and of those that see each other only the first acts; luck, a number from 0 to 1, keeps apart those that do
not. Whoever learns that it is done owes it no more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from enum import Enum
from functools import partial
from typing import Final

from ca.entries import Change, ChangeRole, DeviceLost, Leave, Remove, Suspend
from ca.ids import DeviceId, EpochId, MemberId
from ca.roles import Action, Role, outranks
from ca.roster import ROTATION_AFTER_S, Member, Roster, Status
from ca.values import dataclass

PENDING_STEP_S: Final = 20.0
"""Who is next in rank waits so much longer before it does what a departure, an end or a fork calls for."""
SCHEDULED_STEP_S: Final = 6 * 3600.0
"""The same for the epoch that is due after thirty days."""
CONFIRM_LOOKS_BACK: Final = 64
"""Entries among which a removal of an owner that nobody confirmed is looked for."""


class Kind(Enum):
    """What there is to do."""

    ROTATE = "open an epoch"
    MERGE = "end a fork"
    LINK = "link epochs that a fork left behind"
    SAY_AGAIN = "make our entries again that a fork lost"
    END = "take out a member whose time is over"
    CONFIRM = "sign behind the removal of an owner or of their device, so that no earlier date undoes it"


@dataclass(frozen=True, slots=True)
class Duty:
    """Something to do in so many seconds, if nobody else has done it by then. `member` is whose time is over."""

    kind: Kind
    wait_s: float
    member: MemberId | None = None


def next_duty(
    roster: Roster, us: DeviceId, now: int, luck: float, *, holds: Collection[EpochId] = (), has_lost: bool = False
) -> Duty | None:
    """The first thing that this device will have to do; None when there is nothing in sight.

    `holds`: the epochs whose secrets are here; `has_lost`: entries of ours were lost in a fork.
    """
    duties = [*_forks(roster, us, luck, holds, has_lost), *_endings(roster, us, now, luck)]
    if (turn := _turn(roster, us, _opens_epochs)) is not None:
        duties.append(Duty(Kind.ROTATE, _rotation_wait_s(roster, now, turn + luck)))
    if (turn := _turn_to_confirm(roster, us)) is not None:
        duties.append(Duty(Kind.CONFIRM, (turn + luck) * PENDING_STEP_S))
    return min(duties, key=lambda duty: duty.wait_s, default=None)


def _rotation_wait_s(roster: Roster, now: int, turn: float) -> float:
    if roster.rotation_pending:
        return turn * PENDING_STEP_S
    return max(0.0, roster.epoch.opened_at + ROTATION_AFTER_S + turn * SCHEDULED_STEP_S - now)


def _forks(roster: Roster, us: DeviceId, luck: float, holds: Collection[EpochId], has_lost: bool) -> Iterator[Duty]:
    if roster.is_unmerged:
        if (turn := _turn(roster, us, lambda member: _can_merge(roster, member))) is not None:
            yield Duty(Kind.MERGE, (turn + luck) * PENDING_STEP_S)
        return
    if any(epoch in holds for epoch in roster.left_behind()):
        yield Duty(Kind.LINK, luck * PENDING_STEP_S)
    if has_lost:
        yield Duty(Kind.SAY_AGAIN, luck * PENDING_STEP_S)


def _endings(roster: Roster, us: DeviceId, now: int, luck: float) -> Iterator[Duty]:
    for member in roster.members.values():
        if member.status is Status.ACTIVE and member.until is not None:
            turn = _turn(roster, us, partial(_takes_out, member=member))
            if turn is not None:
                yield Duty(Kind.END, max(0.0, member.until - now) + (turn + luck) * PENDING_STEP_S, member.id)


def _turn(roster: Roster, us: DeviceId, may: Callable[[Member], bool]) -> int | None:
    """Our place among the devices of those who may; None if we may not."""
    able = [
        (-member.role, member.since, device)
        for member in roster.members.values()
        if member.status is Status.ACTIVE and may(member)
        for device in member.devices
    ]
    return next((place for place, (_, _, device) in enumerate(sorted(able)) if device == us), None)


def _opens_epochs(member: Member) -> bool:
    return member.rights.allow(Action.OPEN_EPOCH)


def _takes_out(by: Member, member: Member) -> bool:
    return by.id != member.id and by.rights.allow(Action.REMOVE) and outranks(by.role, member.role)


def _can_merge(roster: Roster, member: Member) -> bool:
    if not (_opens_epochs(member) and member.rights.allow(Action.REMOVE)):
        return False
    for change in roster.departures:
        match change:
            case Remove(gone) | Suspend(gone):
                target = roster.members.get(gone)
            case DeviceLost(device):
                target = roster.member_of(device)
            case _:
                continue
        if target is not None and not _takes_out(member, target):
            return False
    return True


# --- confirming ------------------------------------------------------------------------------------------------------


def _turn_to_confirm(roster: Roster, us: DeviceId) -> int | None:
    """An owner who was removed by another can date an entry back and quarrel with them, unless more of the other owners
    have signed behind the removal than help the removed one. And who left, or has a device that somebody
    lost, can undo what this member signed and nobody else has signed behind. So every one of them does."""
    found = roster.device(us)
    if found is None or found[0].role is not Role.OWNER or not _is_unconfirmed(roster, found[0].id):
        return None
    return _turn(roster, us, lambda member: member.role is Role.OWNER)


def _is_unconfirmed(roster: Roster, by: MemberId) -> bool:
    """Whether this owner has not signed since something that others have to have seen."""
    for entry in reversed(roster.entries[-CONFIRM_LOOKS_BACK:]):
        signer = roster.member_of(entry.signer)
        if signer is not None and signer.id == by:
            return False
        if any(_calls_for_witnesses(roster, change, entry.number) for change in entry.changes):
            return True
    return False


def _calls_for_witnesses(roster: Roster, change: Change, number: int) -> bool:
    """Whether it takes out or lowers an owner, or somebody who governs leaves or loses a device."""
    least = Role.OWNER
    match change:
        case Remove(member) | Suspend(member) | ChangeRole(member):
            devices = _devices_of(roster, member)
        case Leave(member):
            devices, least = _devices_of(roster, member), Role.ADMIN
        case DeviceLost(device):
            devices, least = [device], Role.ADMIN
        case _:
            return False
    before = roster.entries[number - 1].hash
    roles = (roster.role_at(before, device) for device in devices)
    return any(role is not None and role >= least for role in roles)


def _devices_of(roster: Roster, member: MemberId) -> list[DeviceId]:
    found = roster.members.get(member)
    return [] if found is None else list(found.device_names)
