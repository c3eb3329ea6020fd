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

Whoever takes only themselves out opposes nobody and is not opposed by those who want the same. What members say
against their own entries (they leave, or one of their devices reports another lost) does not touch what others have
signed behind: an earlier day may be claimed by who has the key, but not their signatures. `ca.departures` says what of
the branches that lost stands all the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from ca.hits import hits
from ca.ids import EntryHash, MemberId
from ca.membership import RECOVERY
from ca.roles import Role
from ca.state import State
from ca.tree import Signed, Tree, last_shared
from ca.values import dataclass

Weight: TypeAlias = tuple[int, int]
"""Of an entry that takes rights: the rank of its signer, and how many other owners have signed behind it."""


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


def weigh(tips: Sequence[State]) -> Weighed:
    """Weigh all branches, given by their ends, none of which stands behind another."""
    if len(tips) == 1:
        return Weighed(tips[0], frozenset(), frozenset(), ())
    tree = Tree(sorted(tips, key=lambda tip: tip.entries[-1].hash))
    void, quarrel = _Trial(tree).judge()
    entries = sorted(tree.nodes.values(), key=lambda signed: (signed.entry.number, signed.hash))
    return Weighed(_chain(tree, void), void, quarrel, tuple(entries))


# --- what is void, and who quarrels ----------------------------------------------------------------------------------


class _Trial:
    """Which entries fall. What falls never rises again; each round goes by what stood before it, so that it does not
    matter in which order entries are looked at."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._hits = hits(tree)
        self._hitting = [tree.nodes[hash_] for hash_ in sorted(self._hits)]
        self._hit_by: dict[EntryHash, list[Signed]] = defaultdict(list)
        for by in self._hitting:
            for target in self._hits[by.hash]:
                self._hit_by[target.hash].append(by)
        self._void: set[EntryHash] = set()
        self._voices: dict[EntryHash, int] = {}
        self._witnesses = _Witnesses(tree)
        self._believes_contested = False

    def judge(self) -> tuple[frozenset[EntryHash], frozenset[MemberId]]:
        """The void entries, and the members of a quarrel."""
        undecided = self._judge_by_weight()
        if undecided:
            self._voices = self._count_voices(undecided)
            undecided = self._judge_by_weight()
        if undecided:
            self._believes_contested = True
            undecided = self._judge_by_weight()
        while odd := self._at_odds_with_themselves(undecided):
            self._void |= odd
            undecided = self._judge_by_weight()
        return frozenset(self._void), self._quarrellers(undecided)

    def _judge_by_weight(self) -> list[Signed]:
        """Let fall what an unopposed entry hits, until nothing more falls; the entries that are opposed."""
        while True:
            live = [by for by in self._hitting if self._is_live(by)]
            opposed = [by for by in live if any(self._opponents(by))]
            held_up = {by.hash for by in opposed}
            fallen = {
                target.hash
                for by in live
                if by.hash not in held_up
                for target in self._hits[by.hash]
                if target.hash not in self._void and self._reaches(by, target)
            }
            if not fallen:
                return opposed
            self._void |= fallen

    def _is_live(self, signed: Signed) -> bool:
        return signed.leans_on.isdisjoint(self._void)

    def _weight(self, signed: Signed) -> Weight:
        return signed.rank, self._voices.get(signed.hash, 0)

    def _opponents(self, signed: Signed) -> Iterator[Signed]:
        weight = self._weight(signed)
        for support in signed.leans_on:
            for by in self._hit_by.get(support, ()):
                if self._weight(by) >= weight and self._is_live(by):
                    target = self._tree.nodes[support]
                    if by.member != target.member or not self._is_seen_more(target, by):
                        yield by

    # What members say against their own entries.

    def _reaches(self, by: Signed, target: Signed) -> bool:
        """Not if more of the others have signed behind the target, which its own member wants undone."""
        return by.member != target.member or self._seen(target) <= self._seen_for_sure(by)

    def _is_seen_more(self, target: Signed, by: Signed) -> bool:
        return self._seen_for_sure(target) > self._seen(by)

    def _seen(self, signed: Signed) -> int:
        return len({by.member for by in self._witnesses.of(signed) if self._is_live(by)})

    def _seen_for_sure(self, signed: Signed) -> int:
        """The same, without those of whom it is not decided yet whether they count."""
        if self._believes_contested:
            return self._seen(signed)
        return len({by.member for by in self._witnesses.of(signed) if self._is_live(by) and not self._is_hit(by)})

    def _is_hit(self, signed: Signed) -> bool:
        return any(
            self._is_live(by)
            for support in signed.leans_on
            for by in self._hit_by.get(support, ())
            if by.member != self._tree.nodes[support].member
        )

    def _at_odds_with_themselves(self, undecided: Sequence[Signed]) -> set[EntryHash]:
        """Entries of a member that take out each other, do more than that, and of which none was seen by more."""
        waiting = {signed.hash for signed in undecided}
        return {
            target.hash
            for by in undecided
            for target in self._hits[by.hash]
            if target.member == by.member and target.hash in waiting
            if any(back.hash == by.hash for back in self._hits[target.hash])
            if self._seen(target) <= self._seen(by)
        }

    # What owners say against each other.

    def _quarrellers(self, undecided: Sequence[Signed]) -> frozenset[MemberId]:
        """Whose entries oppose each other in a circle; not those who are only hit by somebody in it. For who was let in
        by an entry that is hit, those answer who let them in."""
        core = {signed.hash for signed in undecided}
        while True:
            opposing = {by.hash for hash_ in core for by in self._opponents(self._tree.nodes[hash_])} & core
            if opposing == core:
                break
            core = opposing
        hit = {target.hash for hash_ in core for target in self._hits[hash_]}
        members = {
            self._tree.nodes[answers].member
            for hash_ in core
            for answers in ((self._tree.nodes[hash_].leans_on - {hash_}) & hit or {hash_})
        }
        return frozenset(members)

    def _count_voices(self, undecided: Sequence[Signed]) -> dict[EntryHash, int]:
        """By entry, how many owners have signed behind it besides those who answer for it."""
        hit = {target.hash for by in undecided for target in self._hits[by.hash]}
        heard = [
            signed
            for signed in self._tree.nodes.values()
            if signed.rank == Role.OWNER and self._is_live(signed) and (signed.leans_on - {signed.hash}).isdisjoint(hit)
        ]
        voices: dict[EntryHash, int] = {}
        for by in undecided:
            answering = {self._tree.nodes[support].member for support in by.leans_on}
            behind = {signed.member for signed in heard if self._tree.is_behind(signed, by)}
            voices[by.hash] = len(behind - answering)
        return voices


class _Witnesses:
    """Who saw an entry: the entries behind it that others signed, of the same rank at least, whom its member did not
    let in."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._possible: dict[MemberId, tuple[Signed, ...]] = {}
        self._found: dict[EntryHash, tuple[Signed, ...]] = {}

    def of(self, signed: Signed) -> tuple[Signed, ...]:
        found = self._found.get(signed.hash)
        if found is None:
            found = self._found[signed.hash] = tuple(
                by
                for by in self._independent_of(signed.member)
                if by.rank >= signed.rank and self._tree.is_behind(by, signed)
            )
        return found

    def _independent_of(self, member: MemberId) -> tuple[Signed, ...]:
        found = self._possible.get(member)
        if found is None:
            nodes = self._tree.nodes
            found = self._possible[member] = tuple(
                by for by in nodes.values() if all(nodes[support].member != member for support in by.leans_on)
            )
        return found


# --- which branch is the chain ---------------------------------------------------------------------------------------


def _chain(tree: Tree, void: frozenset[EntryHash]) -> State:
    tips = list(tree.tips)
    while len(tips) > 1:
        parting = min(last_shared(tips[0], tip) for tip in tips[1:]) + 1
        ways: dict[EntryHash, list[State]] = defaultdict(list)
        for tip in tips:
            ways[tip.entries[parting].hash].append(tip)
        tips = ways[min(ways, key=lambda first: _rank_of_way(tree, first, parting, void))]
    return tips[0]


def _rank_of_way(
    tree: Tree, first: EntryHash, parting: int, void: frozenset[EntryHash]
) -> tuple[tuple[bool, bytes], bool, bool, tuple[int, int], bytes]:
    """The lower, the better. Who only goes does not draw the chain along."""

    def is_live(signed: Signed) -> bool:
        return signed.leans_on.isdisjoint(void)

    way = [
        signed
        for signed in tree.nodes.values()
        if signed.entry.number >= parting and not tree.are_beside(signed.hash, first)
    ]
    recovery = min((bytes(one.hash) for one in way if one.member == RECOVERY and is_live(one)), default=None)
    acting = [signed for signed in way if not signed.only_departs]
    live = [(-signed.rank, signed.since) for signed in acting if is_live(signed)]
    start = min((signed.entry.number for signed in acting), default=0)
    begins_void = bool(acting) and not any(is_live(signed) for signed in acting if signed.entry.number == start)
    return (recovery is None, recovery or b""), not live, begins_void, min(live, default=(0, 0)), bytes(first)
