"""Pure. What a change of the roster means for this device: who came, who went, and who is out.

The roster itself, with all its rules, is `ca.roster`. Here it is looked at from one device: two rosters are compared,
and an entry that arrived alone is judged. What this device has to do about it is in `engine.duties`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from ca.device import Purpose, verify
from ca.entries import Change, DeviceLost, Leave, Remove, SignedEntry, Suspend
from ca.ids import DeviceId, EpochId
from ca.roles import Action, outranks
from ca.roster import Member, Roster, Status
from ca.values import dataclass


@dataclass(frozen=True, slots=True)
class Update:
    """What became of our membership. `old_epoch` is set when the epoch changed."""

    changed: bool = False
    old_epoch: EpochId | None = None
    admitted: frozenset[DeviceId] = frozenset()
    removed: frozenset[DeviceId] = frozenset()
    barred: frozenset[DeviceId] = frozenset()  # could read and may not any more, if only for a moment that we slept
    keys_arrived: bool = False  # the current epoch's secret is open now
    we_are_out: bool = False
    fork: bool = False  # two owners have taken out each other, so that nobody knows which history is right
    switched: bool = False  # another history than ours turned out to be the one that counts
    behind: bool = False  # entries in between are missing

    @property
    def epoch_changed(self) -> bool:
        return self.old_epoch is not None

    @property
    def evicts(self) -> bool:
        """Somebody has to lose their connections at once; else old ones may drain."""
        return bool(self.removed or self.barred) or self.we_are_out or self.fork or self.switched

    def __or__(self, later: Update) -> Update:
        """Both, one after the other."""
        return Update(
            self.changed or later.changed,
            self.old_epoch or later.old_epoch,
            (self.admitted | later.admitted) - later.removed,
            (self.removed | later.removed) - later.admitted,
            self.barred | later.barred,
            self.keys_arrived or later.keys_arrived,
            self.we_are_out or later.we_are_out,
            self.fork or later.fork,
            self.switched or later.switched,
            later.behind,
        )


def compare(before: Roster, after: Roster, us: DeviceId) -> Update:
    """What the entries between two states of one roster did."""
    if before is after:
        return Update()
    devices_before, devices_after = set(_active_devices(before)), set(_active_devices(after))
    return Update(
        changed=True,
        old_epoch=before.epoch.id if before.epoch.id != after.epoch.id else None,
        admitted=frozenset(devices_after - devices_before),
        removed=frozenset(devices_before - devices_after),
        barred=after.barred() - before.barred(),
        we_are_out=us in devices_before and us not in devices_after and not after.quarrel,
        fork=bool(after.quarrel) and not before.quarrel,
        switched=not after.contains(before.head_at),
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
    if not any(changes_on(entry, member, device)):
        return False
    who, public = signer
    if who.id != member.id and not (who.rights.allow(Action.REMOVE) and outranks(who.role, member.role)):
        return False
    verify(public.sign, Purpose.ENTRY, roster.folder_id, entry.body, entry.signature)
    return True


def changes_on(entry: SignedEntry, member: Member, device: DeviceId) -> Iterator[Change]:
    """What in an entry takes out this device of a member."""
    return (change for change in entry.changes if _concerns(change, member, device))


def _concerns(change: Change, member: Member, device: DeviceId) -> bool:
    match change:
        case Remove(gone) | Suspend(gone) | Leave(gone):
            return gone == member.id
        case DeviceLost(lost):
            return lost == device
        case _:
            return False


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
