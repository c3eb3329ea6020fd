"""Pure. Which entry takes rights from whom, and which entries beside it that hits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from ca.entries import Change, ChangeCapabilities, ChangeRole, DeviceLost, Leave, Recover, Remove, Suspend
from ca.ids import DeviceId, EntryHash, MemberId
from ca.membership import RECOVERY
from ca.roles import held
from ca.state import Rights, State
from ca.tree import Signed, Tree, owner_in
from ca.values import dataclass

Hits: TypeAlias = dict[EntryHash, list[Signed]]


@dataclass(frozen=True, slots=True)
class _Taken:
    """From which devices an entry takes rights, of those that signed anything."""

    devices: frozenset[DeviceId]
    even_if_they_go: frozenset[DeviceId]
    """Those among them whose word counts for nothing either where it takes out only themselves: reported lost, or left
    out by a recovery."""


def hits(tree: Tree) -> Hits:
    """By entry, what beside it was signed by those from whom it takes rights.

    Of the entries of one device that are alike, but for their place on the same stretch, only the first that hits a
    device is named: whatever stands against the first stands against the later ones, and no more have signed behind
    those. So whoever takes the same rights a thousand times costs no more than once.
    """
    by_signer: dict[DeviceId, list[Signed]] = defaultdict(list)
    for signed in tree.nodes.values():
        by_signer[signed.entry.signer].append(signed)
    devices = [_by_member(tip, by_signer) for tip in tree.tips]
    found: Hits = {}
    known: set[tuple[object, ...]] = set()
    for by in tree.nodes.values():
        place = tree.place_of(by)
        taken = _taken(tree.tips[place], devices[place], by)
        alike = by.entry.signer, tree.paths[by.hash], by.leans_on - {by.hash}, by.rank, by.only_departs
        targets: list[Signed] = []
        for device in sorted(taken.devices):
            key = (*alike, device, device in taken.even_if_they_go)
            if key not in known:
                known.add(key)
                targets += [
                    other
                    for other in by_signer[device]
                    if tree.are_beside(by.hash, other.hash) and not _agree(taken, by, other)
                ]
        if targets:
            found[by.hash] = targets
    return found


def _by_member(state: State, devices: Iterable[DeviceId]) -> Mapping[MemberId, Sequence[DeviceId]]:
    found: dict[MemberId, list[DeviceId]] = defaultdict(list)
    for device in devices:
        found[owner_in(state, device)].append(device)
    return found


def _taken(state: State, devices: Mapping[MemberId, Sequence[DeviceId]], by: Signed) -> _Taken:
    gone: set[DeviceId] = set()
    lost: set[DeviceId] = set()
    before: dict[DeviceId, Rights | None] = {}
    for change in set(by.entry.changes):
        match change:
            case Remove(member) | Suspend(member) | Leave(member):
                gone.update(devices.get(member, ()))
            case DeviceLost(device):
                lost.add(device)
            case Recover(staying):
                lost.update(device for own in devices.values() for device in own if device not in staying)
            case ChangeRole(member) | ChangeCapabilities(member):
                for device in devices.get(member, ()):
                    if device not in before:
                        before[device] = state.rights_at(by.entry.number - 1, device)
                    if _lowers(change, before[device]):
                        gone.add(device)
            case _:
                pass
    signers = {device for own in devices.values() for device in own}
    return _Taken(frozenset((gone | lost) & signers), frozenset(lost))


def _lowers(change: Change, before: Rights | None) -> bool:
    match change, before:
        case ChangeRole(_, role, capabilities), Rights(old, had):
            return role < old or bool(held(old, had) & ~held(role, capabilities))
        case ChangeCapabilities(_, capabilities), Rights(_, had):
            return bool(had & ~capabilities)
        case _:
            return False


def _agree(taken: _Taken, by: Signed, other: Signed) -> bool:
    """Both want the same, or no more than that somebody goes: two that take out themselves, two recoveries, or a member
    who is taken out and one who goes. Who reports a device lost does not agree with what that device says of others."""
    if by.member == other.member == RECOVERY:
        return True
    if not other.only_departs:
        return False
    return by.member == other.member or other.entry.signer not in taken.even_if_they_go
