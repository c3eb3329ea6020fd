"""Pure. What a change of the roster means for this device: who came, who went, who is out, and when to rotate.

The roster itself, with all its rules, is `ca.roster`. Here it is looked at from one device: two rosters are compared,
an entry that arrived alone is judged, and the turn of this device among all that may open an epoch is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final

from ca.device import Purpose, verify
from ca.entries import Admit, Change, DeviceLost, Leave, Remove, Rotate, SetPolicy, SignedEntry, Suspend
from ca.ids import DeviceId, EpochId
from ca.roles import Action, outranks
from ca.roster import ROTATION_AFTER_S, Member, Roster, Status

PENDING_STEP_S: Final = 20.0
"""Who is next in rank waits so much longer before it opens the epoch that a departure calls for."""
SCHEDULED_STEP_S: Final = 6 * 3600.0
"""The same for the epoch that is due after thirty days: two that open one at once would fork the roster."""


@dataclass(frozen=True, slots=True)
class Update:
    """What became of our membership. `old_epoch` is set when the epoch changed."""

    changed: bool = False
    old_epoch: EpochId | None = None
    admitted: frozenset[DeviceId] = frozenset()
    removed: frozenset[DeviceId] = frozenset()
    keys_arrived: bool = False  # the current epoch's secret is open now
    we_are_out: bool = False
    fork: bool = False
    behind: bool = False  # entries in between are missing

    @property
    def epoch_changed(self) -> bool:
        return self.old_epoch is not None

    @property
    def evicts(self) -> bool:
        """Somebody has to lose their connections at once; else old ones may drain."""
        return bool(self.removed) or self.we_are_out or self.fork

    def __or__(self, later: Update) -> Update:
        """Both, one after the other."""
        return Update(
            self.changed or later.changed,
            self.old_epoch or later.old_epoch,
            (self.admitted | later.admitted) - later.removed,
            (self.removed | later.removed) - later.admitted,
            self.keys_arrived or later.keys_arrived,
            self.we_are_out or later.we_are_out,
            self.fork or later.fork,
            later.behind,
        )


def compare(before: Roster, after: Roster, us: DeviceId) -> Update:
    """What the entries between two states of one roster did."""
    if before.head == after.head:
        return Update()
    devices_before, devices_after = set(_active_devices(before)), set(_active_devices(after))
    return Update(
        changed=True,
        old_epoch=before.epoch.id if before.epoch.id != after.epoch.id else None,
        admitted=frozenset(devices_after - devices_before),
        removed=frozenset(devices_before - devices_after),
        we_are_out=us in devices_before and us not in devices_after,
    )


def _active_devices(roster: Roster) -> Iterator[DeviceId]:
    for member in roster.members.values():
        if member.status is Status.ACTIVE:
            yield from member.devices


def takes_out(entry: SignedEntry, roster: Roster, device: DeviceId) -> bool:
    """Whether an entry that stands alone, later than our roster, takes a device out.

    It is all that a removed device is told, so it must do without the entries in between: its signer has to be somebody
    who could do this at the end of the roster that we have.
    """
    member, signer = roster.member_of(device), roster.device(entry.signer)
    if member is None or signer is None or entry.number <= roster.number:
        return False
    if not any(_concerns(change, member, device) for change in entry.changes):
        return False
    who, public = signer
    if who.id != member.id and not (who.rights.allow(Action.REMOVE) and outranks(who.role, member.role)):
        return False
    verify(public.sign, Purpose.ENTRY, roster.folder_id, entry.body, entry.signature)
    return True


def is_void(entry: SignedEntry, roster: Roster) -> bool:
    """Whether an entry that continues an earlier one than our newest decides nothing, so that it is no fork.

    Whoever was taken out can still sign, as of a day on which they counted. As long as that takes nobody else out, it
    could only let somebody in: those who know of the departure go on as if it had not been written.
    """
    member = roster.member_of(entry.signer)
    if member is None or roster.device(entry.signer) is not None:
        return False
    return all(_takes_out_nobody_but(member, change) for change in entry.changes)


def _takes_out_nobody_but(member: Member, change: Change) -> bool:
    match change:
        case Leave(gone):
            return gone == member.id
        case DeviceLost(lost):
            return lost in member.device_names
        case _:
            return isinstance(change, Admit | Rotate | SetPolicy)


def _concerns(change: Change, member: Member, device: DeviceId) -> bool:
    match change:
        case Remove(gone) | Suspend(gone) | Leave(gone):
            return gone == member.id
        case DeviceLost(lost):
            return lost == device
        case _:
            return False


def rotation_wait_s(roster: Roster, us: DeviceId, now: int, luck: float) -> float | None:
    """Seconds until this device should open an epoch if nobody else has; None when it has no right to.

    Every device has its turn, by rank and seniority, so that of those that see each other only one acts. `luck` is a
    random number from 0 to 1 for those that do not.
    """
    turn = _turn(roster, us)
    if turn is None:
        return None
    if roster.rotation_pending:
        return (turn + luck) * PENDING_STEP_S
    return max(0.0, roster.epoch.opened_at + ROTATION_AFTER_S + (turn + luck) * SCHEDULED_STEP_S - now)


def _turn(roster: Roster, us: DeviceId) -> int | None:
    may = [
        (-member.role, member.since, device)
        for member in roster.members.values()
        if member.status is Status.ACTIVE and member.rights.allow(Action.OPEN_EPOCH)
        for device in member.devices
    ]
    return next((place for place, (_, _, device) in enumerate(sorted(may)) if device == us), None)


def free_name(wanted: str, taken: set[str], max_bytes: int) -> str:
    """`wanted`, or with -2, -3 … behind it when somebody has that name."""
    if wanted not in taken:
        return wanted
    for number in count(2):
        ending = f"-{number}"
        name = wanted.encode()[: max_bytes - len(ending)].decode(errors="ignore") + ending
        if name not in taken:
            return name
    raise AssertionError("numbers do not end")
