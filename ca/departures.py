"""Pure. What of the branches that lost stands all the same: who is to go, until a merge says so on the chain.

Whoever may still decree a departure is heard on whatever branch, and everybody may take themselves out. All other
entries of a branch that lost are made again by their authors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ca.entries import Change, DeviceLost, Leave, Remove, Suspend
from ca.forks import Weighed
from ca.ids import DeviceId, EpochId, MemberId
from ca.roles import Action, outranks
from ca.state import NOBODY, Member, State, Status
from ca.tree import Signed, is_own_departure


def departures(weighed: Weighed) -> Iterator[Change]:
    """Who goes because of other branches, as changes for the chain: decreed there by somebody who still could decree it
    at the end of the chain, and not dealt with by a merge of the same or a higher rank."""
    for signed in weighed.beside:
        if weighed.counts(signed):
            yield from _departures_of(weighed.chain, signed)


def _departures_of(chain: State, signed: Signed) -> Iterator[Change]:
    settled = chain.settled.get(signed.hash)
    if settled is not None and settled.rank >= signed.rank:
        return
    by = chain.active(signed.entry.signer)
    for change in signed.entry.changes:
        is_own = is_own_departure(chain, signed.member, change)
        if is_own or by is not None:
            yield from _departure(chain, None if is_own or by is None else by[0], change)


def _departure(chain: State, by: Member | None, change: Change) -> Iterator[Change]:
    """`by`: None for who takes out themselves."""
    match change:
        case Remove(member, journals) | Leave(member, journals) if _may_take_out(chain, by, member):
            yield Remove(member, journals)
        case Suspend(member) if _may_take_out(chain, by, member):
            yield change
        case DeviceLost(device) if chain.active(device) is not None:
            if _may_take_out(chain, by, chain.owner_of[device]):
                yield change


def _may_take_out(chain: State, by: Member | None, member: MemberId) -> bool:
    target = chain.members.get(member)
    if target is None or target.status is not Status.ACTIVE:
        return False
    return by is None or by.id == member or (by.rights.allow(Action.REMOVE) and outranks(by.role, target.role))


def is_unmerged(weighed: Weighed, signed: Signed) -> bool:
    """Whether an entry beside the chain still has something to say: it counts, and no merge has settled it."""
    if not weighed.counts(signed):
        return False
    if any(_departures_of(weighed.chain, signed)):
        return True
    return not signed.only_departs and signed.hash not in weighed.chain.settled


def is_open(weighed: Weighed, signed: Signed) -> bool:
    """The same, or it opened an epoch that nobody has linked yet."""
    is_left_behind = signed.entry.epoch is not None and EpochId(signed.hash) not in weighed.chain.links
    return is_unmerged(weighed, signed) or (is_left_behind and weighed.counts(signed))


def without(state: State, gone: Sequence[Change], quarrel: frozenset[MemberId]) -> State:
    """The state as it is to be used while a fork is not merged: who goes is suspended, who quarrels too."""
    seen = state.copy()
    number = len(state.entries) - 1
    for change in gone:
        match change:
            case Remove(member, journals) | Suspend(member, journals):
                _suspend(seen, member, number)
            case DeviceLost(device, journals):
                _drop(seen, device, number)
            case _:
                continue
        for journal in journals:
            seen.journals[journal.device] = (*seen.journals.get(journal.device, ()), (number, journal))
    for member in quarrel:
        _suspend(seen, member, number)
        found = seen.members.get(member)
        if found is not None and found.status is Status.REMOVED:  # on this branch; who decides has to see both
            seen.members[member] = replace(found, status=Status.SUSPENDED)
    return seen


def _suspend(seen: State, member: MemberId, number: int) -> None:
    found = seen.members.get(member)
    if found is not None and found.status is Status.ACTIVE:
        seen.members[member] = replace(found, status=Status.SUSPENDED)
        for device in found.devices:
            seen.rights[device] = (*seen.rights.get(device, ()), (number, None))


def _drop(seen: State, device: DeviceId, number: int) -> None:
    found = seen.members.get(seen.owner_of.get(device, NOBODY))
    if found is not None and device in found.devices:
        devices = {id: public for id, public in found.devices.items() if id != device}
        seen.members[found.id] = replace(found, devices=devices)
        seen.rights[device] = (*seen.rights.get(device, ()), (number, None))
