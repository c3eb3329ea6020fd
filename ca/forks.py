"""Pure. Two histories of one roster: which of them counts, and what of the other stands all the same.

Every device that knows the same entries is to decide alike, in whatever order they came; of two branches it does, but
for one case, of three or more not always (docs/adr/0016-forks-weighed-whole.md, "Known fault"). Both are weighed whole:

1. Whoever is taken out, suspended or given less on one branch counts for nothing on the other, by the rank of who did
   it: the recovery key over an owner over an admin. So a day on which they still counted helps nobody who is out, and
   neither do people whom they let in or raised since the branches parted: whose right hangs on theirs falls with it.
2. Two of one rank who take out each other (two owners, or two devices of one member) are a quarrel: nobody knows who
   was first. Neither counts, nothing is exchanged, and the entry of another owner on one of the branches, or the
   recovery key, decides.
3. Otherwise the branch with the higher rank among its signers is the chain; at equal rank that of the signer who had it
   earlier; then the one whose first entry has the lowest hash. A branch that recovers the folder comes before all.

Departures on the branch that lost stand (`departures`), by whoever may still decree them; its other entries are made
again by their authors. docs/adr/0016-forks-weighed-whole.md says why whole branches and not first entries alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ca.entries import (
    Admit,
    Change,
    ChangeCapabilities,
    ChangeRole,
    DeviceLost,
    Leave,
    Reactivate,
    Recover,
    Remove,
    SignedEntry,
    Suspend,
)
from ca.ids import DeviceId, MemberId
from ca.membership import RECOVERY
from ca.roles import Action, Role, held, outranks
from ca.state import NOBODY, Member, State, Status

RECOVERY_RANK: Final = max(Role) + 1


@dataclass(frozen=True, slots=True)
class Decision:
    """Of two branches: the number of the one that counts, or None in a quarrel; who counts for nothing on each."""

    winner: int | None
    void: tuple[frozenset[DeviceId], frozenset[DeviceId]]
    quarrel: frozenset[MemberId] = frozenset()


@dataclass(frozen=True, slots=True)
class _Signed:
    """An entry of a branch, with the rank that its signer had before it, and since which entry.

    `leans_on`: the signing device, and those of this branch that gave its member the rank, and so on.
    """

    entry: SignedEntry
    member: MemberId
    rank: int
    since: int
    leans_on: frozenset[DeviceId]


@dataclass(frozen=True, slots=True)
class _Hit:
    """On a branch (0 or 1) somebody takes rights away from a device that signs on the other."""

    side: int
    by: _Signed
    device: DeviceId


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


def decide(one: State, two: State) -> Decision:
    """Which of two chains counts. Both go on behind their last shared entry."""
    parent = last_shared(one, two)
    branches = _signed(one, parent), _signed(two, parent)
    hits = [*_hits(0, one, branches[0], branches[1]), *_hits(1, two, branches[1], branches[0])]
    void = _void(hits)
    quarrel = [hit for hit in hits if _lives(hit, void) and hit.device not in void[1 - hit.side]]
    voided = frozenset(void[0]), frozenset(void[1])
    recovering = [_maybe_recovery(branch) for branch in branches]
    if any(recovering):
        return Decision(min((hash_, side) for side, hash_ in enumerate(recovering) if hash_)[1], voided)
    if quarrel:
        devices = {device for hit in quarrel for device in (hit.device, *hit.by.leans_on)}
        members = frozenset(_owner(state, device) for device in devices for state in (one, two)) - {NOBODY}
        return Decision(_arbitrated((one, two), branches, quarrel, members, void), voided, members)
    return Decision(_ranked(branches, void), voided)


def standing(state: State, parent: int, void: frozenset[DeviceId]) -> Iterator[_Signed]:
    """The entries of a branch that count for something."""
    return (signed for signed in _signed(state, parent) if not signed.leans_on & void)


def _signed(state: State, parent: int) -> list[_Signed]:
    given: dict[MemberId, frozenset[DeviceId]] = {}
    branch = []
    for entry in state.entries[parent + 1 :]:
        signed = _signer(state, entry, given)
        branch.append(signed)
        for change in entry.changes:
            if isinstance(change, Admit | Reactivate | ChangeRole | ChangeCapabilities):
                given[change.member] = signed.leans_on
    return branch


def _signer(state: State, entry: SignedEntry, given: dict[MemberId, frozenset[DeviceId]]) -> _Signed:
    if isinstance(entry.changes[0], Recover):
        return _Signed(entry, RECOVERY, RECOVERY_RANK, 0, frozenset({entry.signer}))
    rights = state.rights_at(entry.number - 1, entry.signer)
    rank, since = -1 if rights is None else int(rights.role), entry.number
    for number, before in reversed(state.rights.get(entry.signer, ())):
        if number < entry.number:
            if before is None or before.role != rank:
                break
            since = number
    member = _owner(state, entry.signer)
    return _Signed(entry, member, rank, since, given.get(member, frozenset()) | {entry.signer})


def _owner(state: State, device: DeviceId) -> MemberId:
    return state.owner_of.get(device, NOBODY)


def _hits(side: int, state: State, branch: list[_Signed], other: list[_Signed]) -> Iterator[_Hit]:
    signers = {signed.entry.signer for signed in other}
    for by in branch:
        for change in by.entry.changes:
            for device in signers:
                if _takes_from(change, device, state, by.entry.number):
                    yield _Hit(side, by, device)


def _takes_from(change: Change, device: DeviceId, state: State, number: int) -> bool:
    """Whether a change takes rights from a device. Who leaves takes them from itself."""
    member = _owner(state, device)
    match change:
        case Remove(gone) | Suspend(gone) | Leave(gone):
            return gone == member
        case DeviceLost(lost):
            return lost == device
        case Recover(staying):
            return device not in staying
        case ChangeRole(changed, role, capabilities):
            before = state.rights_at(number - 1, device)
            return (
                changed == member
                and before is not None
                and bool(role < before.role or held(before.role, before.capabilities) & ~held(role, capabilities))
            )
        case ChangeCapabilities(changed, capabilities):
            before = state.rights_at(number - 1, device)
            return changed == member and before is not None and bool(before.capabilities & ~capabilities)
        case _:
            return False


def _void(hits: list[_Hit]) -> tuple[set[DeviceId], set[DeviceId]]:
    """By side, the devices whose entries there count for nothing: those hit by somebody who is not hit as hard."""
    void: tuple[set[DeviceId], set[DeviceId]] = (set(), set())
    while True:
        live = [hit for hit in hits if _lives(hit, void)]
        fallen = [hit for hit in live if hit.device not in void[1 - hit.side] and not _is_opposed(hit, live)]
        if not fallen:
            return void
        for hit in fallen:
            void[1 - hit.side].add(hit.device)


def _lives(hit: _Hit, void: tuple[set[DeviceId], set[DeviceId]]) -> bool:
    return not hit.by.leans_on & void[hit.side]


def _is_opposed(hit: _Hit, live: list[_Hit]) -> bool:
    return any(
        other.side != hit.side and other.device in hit.by.leans_on and other.by.rank >= hit.by.rank for other in live
    )


def _maybe_recovery(branch: list[_Signed]) -> bytes | None:
    return next((signed.entry.hash for signed in branch if signed.member == RECOVERY), None)


def _arbitrated(
    states: tuple[State, State],
    branches: tuple[list[_Signed], list[_Signed]],
    quarrel: list[_Hit],
    members: frozenset[MemberId],
    void: tuple[set[DeviceId], set[DeviceId]],
) -> int | None:
    """The branch on which another owner has signed behind the quarrel; None if that is neither of them, or both."""
    chosen = []
    for side, (state, branch) in enumerate(zip(states, branches, strict=True)):
        began = min((hit.by.entry.number for hit in quarrel if hit.side == side), default=None)
        if began is not None and any(
            signed.entry.number > began
            and signed.rank >= Role.OWNER
            and not any(_owner(state, device) in members for device in signed.leans_on)
            and not signed.leans_on & void[side]
            for signed in branch
        ):
            chosen.append(side)
    return chosen[0] if len(chosen) == 1 else None


def _ranked(branches: tuple[list[_Signed], list[_Signed]], void: tuple[set[DeviceId], set[DeviceId]]) -> int:
    begins_void = [bool(branch) and branch[0].entry.signer in gone for branch, gone in zip(branches, void, strict=True)]
    if begins_void[0] != begins_void[1]:
        return 1 if begins_void[0] else 0
    weights = [_weight(branch, gone) for branch, gone in zip(branches, void, strict=True)]
    return 0 if weights[0] <= weights[1] else 1


def _weight(branch: list[_Signed], void: set[DeviceId]) -> tuple[int, int, bytes]:
    """The lower, the better: rank and seniority of the best signer, then the hash of the first entry."""
    best = min(((-signed.rank, signed.since) for signed in branch if not signed.leans_on & void), default=(2, 0))
    return *best, branch[0].entry.hash if branch else b""


# --- what of the branch that lost stands -----------------------------------------------------------------------------


def departures(winner: State, loser: State, void: frozenset[DeviceId]) -> Iterator[Change]:
    """Who goes because of the branch that lost, as changes for the chain: decreed there by somebody who still could
    decree it at the end of the chain, and not dealt with by a merge of the same or a higher rank."""
    for signed in standing(loser, last_shared(winner, loser), void):
        settled = winner.settled.get(signed.entry.hash)
        found = winner.active(signed.entry.signer)
        if found is None or (settled is not None and settled.rank >= signed.rank):
            continue
        for change in signed.entry.changes:
            yield from _departure(winner, found[0], change)


def _departure(winner: State, by: Member, change: Change) -> Iterator[Change]:
    match change:
        case Remove(member, journals) | Leave(member, journals) if _may_take_out(winner, by, member):
            yield Remove(member, journals)
        case Suspend(member) if _may_take_out(winner, by, member):
            yield change
        case DeviceLost(device) if winner.active(device) is not None:
            if _may_take_out(winner, by, winner.owner_of[device]):
                yield change


def _may_take_out(winner: State, by: Member, member: MemberId) -> bool:
    target = winner.members.get(member)
    if target is None or target.status is not Status.ACTIVE:
        return False
    return by.id == member or (by.rights.allow(Action.REMOVE) and outranks(by.role, target.role))


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
