"""Pure. Several histories of one roster: which of them counts, and what on the others counts for nothing.

Every device that knows the same entries decides alike, in whatever order they came, because all branches are weighed
together (docs/adr/0016-forks-weighed-whole.md says why, and why whole branches and not first entries alone):

1. An entry that takes rights from somebody makes void what they signed beside it, on every other branch, and what those
   signed whom they let in or raised there. So a day on which they still counted helps nobody who is out.
2. It does not, if it is itself opposed: if somebody of the same or a higher rank takes out who signed it, by an entry
   beside it that is not void either. The recovery key stands over owners, they over admins.
3. Owners who take out each other are a quarrel: nobody knows who was first. The side behind which more of the other
   owners have signed is right; if neither is, nothing is exchanged until one is, or the recovery key is used.
4. Wherever branches part, the chain goes on with the one that recovers the folder; else one that does not begin with a
   void entry; else that with the highest rank among those who signed it, then of whom had it earlier, then the lowest
   hash.

Whoever takes only themselves out opposes nobody and is not opposed by those who want the same. `ca.departures` says
what of the branches that lost stands all the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

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
from ca.ids import DeviceId, EntryHash, MemberId
from ca.membership import RECOVERY
from ca.roles import Role, held
from ca.state import NOBODY, State

RECOVERY_RANK: Final = max(Role) + 1
_GIVES: Final = (Admit, Reactivate, ChangeRole, ChangeCapabilities)
_TAKES: Final = (Remove, Suspend, Leave, DeviceLost, Recover, ChangeRole, ChangeCapabilities)

Weight: TypeAlias = tuple[int, int]
"""Of an entry that takes rights: the rank of its signer, and how many other owners have signed behind it."""


@dataclass(frozen=True, slots=True)
class Signed:
    """An entry behind the first parting, with the rank that its signer had before it, and since which entry."""

    entry: SignedEntry
    member: MemberId
    rank: int
    since: int
    leans_on: frozenset[EntryHash]
    """The entry itself, and those behind the first parting that let its signer's member in or raised it, and so on."""

    @property
    def hash(self) -> EntryHash:
        return self.entry.hash


@dataclass(frozen=True, slots=True)
class Weighed:
    """What all branches together come to."""

    chain: State
    void: frozenset[EntryHash]
    """What was signed by who had no right to it any more. What leans on it counts for nothing either."""
    quarrel: frozenset[MemberId]
    """Members who took out each other, so that nobody knows which history is right."""
    entries: tuple[Signed, ...]
    """All behind the first parting."""

    def counts(self, signed: Signed) -> bool:
        return not signed.leans_on & self.void

    def on(self, chain: State) -> Weighed:
        """The same, seen from another branch."""
        return replace(self, chain=chain)

    @property
    def beside(self) -> Iterator[Signed]:
        """The entries that are not on the chain."""
        return (signed for signed in self.entries if signed.hash not in self.chain.numbers)


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


def weigh(tips: Sequence[State]) -> Weighed:
    """Weigh all branches, given by their ends, none of which stands behind another."""
    if len(tips) == 1:
        return Weighed(tips[0], frozenset(), frozenset(), ())
    tree = _Tree(sorted(tips, key=lambda tip: tip.entries[-1].hash))
    void, quarrel = _Trial(tree).judge()
    entries = sorted(tree.nodes.values(), key=lambda signed: (signed.entry.number, signed.hash))
    return Weighed(_chain(tree, void), void, quarrel, tuple(entries))


class _Tree:
    """All entries behind the first parting."""

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

    def state_of(self, signed: Signed) -> State:
        """A branch on which it stands."""
        paths = self.paths[signed.hash]
        return self.tips[(paths & -paths).bit_length() - 1]


def _signed(state: State, base: int) -> Iterator[Signed]:
    given: dict[MemberId, frozenset[EntryHash]] = {}
    for entry in state.entries[base + 1 :]:
        signed = _signer(state, entry, given)
        yield signed
        for change in entry.changes:
            if isinstance(change, _GIVES):
                given[change.member] = signed.leans_on


def _signer(state: State, entry: SignedEntry, given: Mapping[MemberId, frozenset[EntryHash]]) -> Signed:
    if isinstance(entry.changes[0], Recover):
        return Signed(entry, RECOVERY, RECOVERY_RANK, 0, frozenset({entry.hash}))
    rights = state.rights_at(entry.number - 1, entry.signer)
    rank, since = -1 if rights is None else int(rights.role), entry.number
    for number, before in reversed(state.rights.get(entry.signer, ())):
        if number < entry.number:
            if before is None or before.role != rank:
                break
            since = number
    member = _owner(state, entry.signer)
    return Signed(entry, member, rank, since, given.get(member, frozenset()) | {entry.hash})


def _owner(state: State, device: DeviceId) -> MemberId:
    return state.owner_of.get(device, NOBODY)


# --- who takes rights from whom --------------------------------------------------------------------------------------


def _hits(tree: _Tree) -> dict[EntryHash, list[Signed]]:
    """By entry, what beside it was signed by those from whom it takes rights."""
    by_signer: dict[DeviceId, list[Signed]] = defaultdict(list)
    for signed in tree.nodes.values():
        by_signer[signed.entry.signer].append(signed)
    found: dict[EntryHash, list[Signed]] = defaultdict(list)
    for by in tree.nodes.values():
        state = tree.state_of(by)
        for change in (change for change in by.entry.changes if isinstance(change, _TAKES)):
            for device, theirs in by_signer.items():
                if _takes_from(change, device, state, by.entry.number):
                    found[by.hash] += [
                        other
                        for other in theirs
                        if tree.are_beside(by.hash, other.hash) and not _agree(tree, by, change, other)
                    ]
    return {hash_: targets for hash_, targets in found.items() if targets}


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


def _agree(tree: _Tree, by: Signed, change: Change, other: Signed) -> bool:
    """Both want the same, or no more than that somebody goes: two that take out themselves, two recoveries, or a member
    who is taken out and one who goes. Who reports a device lost does not agree with what that device says of others."""
    if by.member == other.member == RECOVERY:
        return True
    if not takes_out_only_itself(tree.state_of(other), other):
        return False
    return by.member == other.member or not isinstance(change, DeviceLost | Recover)


def takes_out_only_itself(state: State, signed: Signed) -> bool:
    """Whether its signer leaves, or takes out devices of their own, and does nothing else."""
    return all(is_own_departure(state, signed, change) for change in signed.entry.changes)


def is_own_departure(state: State, signed: Signed, change: Change) -> bool:
    """Whether with this change the signer takes out themselves, or a device of their own."""
    match change:
        case Leave(member):
            return member == signed.member
        case DeviceLost(device):
            return _owner(state, device) == signed.member
        case _:
            return False


# --- what is void, and who quarrels ----------------------------------------------------------------------------------


class _Trial:
    """Which entries fall. What falls never rises again, so the order in which they are looked at does not matter."""

    def __init__(self, tree: _Tree) -> None:
        self._tree = tree
        self._hits = _hits(tree)
        self._hitting = [tree.nodes[hash_] for hash_ in sorted(self._hits)]
        self._hit_by: dict[EntryHash, list[Signed]] = defaultdict(list)
        for by in self._hitting:
            for target in self._hits[by.hash]:
                self._hit_by[target.hash].append(by)
        self._void: set[EntryHash] = set()
        self._voices: dict[EntryHash, int] = {}

    def judge(self) -> tuple[frozenset[EntryHash], frozenset[MemberId]]:
        """The void entries, and the members of a quarrel."""
        self._void_those_at_odds_with_themselves()
        undecided = self._judge_by_weight()
        if undecided:
            self._voices = self._count_voices(undecided, self._quarrellers(undecided))
            undecided = self._judge_by_weight()
        return frozenset(self._void), self._quarrellers(undecided)

    def _void_those_at_odds_with_themselves(self) -> None:
        """A member whose entries take out each other and do more than that."""
        for by in self._hitting:
            for target in self._hits[by.hash]:
                if target.member == by.member and any(back.hash == by.hash for back in self._hits.get(target.hash, ())):
                    self._void.add(target.hash)

    def _judge_by_weight(self) -> list[Signed]:
        """Let fall what an unopposed entry hits, until nothing more falls; the entries that oppose each other."""
        while True:
            live = [by for by in self._hitting if self._is_live(by)]
            opposed = [by for by in live if any(self._opponents(by))]
            free = {by.hash for by in live} - {by.hash for by in opposed}
            fallen = {target.hash for hash_ in free for target in self._hits[hash_]} - self._void
            if not fallen:
                return opposed
            self._void |= fallen

    def _is_live(self, signed: Signed) -> bool:
        return not signed.leans_on & self._void

    def _weight(self, signed: Signed) -> Weight:
        return signed.rank, self._voices.get(signed.hash, 0)

    def _opponents(self, signed: Signed) -> Iterator[Signed]:
        weight = self._weight(signed)
        for support in signed.leans_on:
            for by in self._hit_by.get(support, ()):
                if self._weight(by) >= weight and self._is_live(by):
                    yield by

    def _quarrellers(self, undecided: Sequence[Signed]) -> frozenset[MemberId]:
        """Whose entries oppose each other in a circle; not those who are only hit by somebody in it."""
        core = {signed.hash for signed in undecided}
        while True:
            opposing = {by.hash for hash_ in core for by in self._opponents(self._tree.nodes[hash_])} & core
            if opposing == core:
                break
            core = opposing
        hit = {target.hash for hash_ in core for target in self._hits[hash_]}
        members = {
            self._tree.nodes[support].member
            for hash_ in core
            for support in self._tree.nodes[hash_].leans_on
            if support == hash_ or support in hit
        }
        return frozenset(members)

    def _count_voices(self, undecided: Sequence[Signed], quarrel: frozenset[MemberId]) -> dict[EntryHash, int]:
        """By entry, how many owners who are not in the quarrel, nor were let in by it, have signed behind it."""
        hit = {target.hash for by in undecided for target in self._hits[by.hash]}
        heard = [
            signed
            for signed in self._tree.nodes.values()
            if signed.rank == Role.OWNER
            and signed.member not in quarrel
            and self._is_live(signed)
            and not (signed.leans_on - {signed.hash}) & hit
        ]
        return {
            by.hash: len({signed.member for signed in heard if self._tree.is_behind(signed, by)}) for by in undecided
        }


# --- which branch is the chain ---------------------------------------------------------------------------------------


def _chain(tree: _Tree, void: frozenset[EntryHash]) -> State:
    tips = list(tree.tips)
    while len(tips) > 1:
        parting = min(last_shared(tips[0], tip) for tip in tips[1:]) + 1
        ways: dict[EntryHash, list[State]] = defaultdict(list)
        for tip in tips:
            ways[tip.entries[parting].hash].append(tip)
        tips = ways[min(ways, key=lambda first: _rank_of_way(tree, first, parting, void))]
    return tips[0]


def _rank_of_way(
    tree: _Tree, first: EntryHash, parting: int, void: frozenset[EntryHash]
) -> tuple[tuple[bool, bytes], bool, tuple[int, int], bytes]:
    """The lower, the better."""
    way = [
        signed
        for signed in tree.nodes.values()
        if signed.entry.number >= parting and not tree.are_beside(signed.hash, first) and not signed.leans_on & void
    ]
    recovery = min((bytes(signed.hash) for signed in way if signed.member == RECOVERY), default=None)
    best = min(((-signed.rank, signed.since) for signed in way), default=(2, 0))
    begins_void = bool(tree.nodes[first].leans_on & void)
    return (recovery is None, recovery or b""), begins_void, best, bytes(first)
