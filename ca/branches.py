"""Pure. Every branch of a roster, while entries are taken in: where each belongs, and which branches are kept.

Which one is the chain says `ca.forks`. All others are kept too: what is void today could count again, if whoever made
it void turns out to have had no right to. Of nobody's branches more are kept than a few, always the same few in
whatever order they came, so that whoever was removed can add none beyond those, and none that takes another's place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from ca.departures import is_open
from ca.device import Purpose, verify
from ca.entries import Recover, SignedEntry
from ca.errors import TrustError
from ca.forks import Weighed, weigh
from ca.ids import DeviceId, EntryHash, FolderId
from ca.membership import Fold, begin_fold
from ca.roles import Role
from ca.state import State
from ca.tree import last_shared
from ca.values import dataclass

MAX_BRANCHES: Final = 32
MAX_OPEN_OF_ONE: Final = 8
"""Branches that end with an entry of one device and on which something is not settled: it was on as many islands."""
MAX_CLOSED_OF_ONE: Final = 4
"""Where all is void or settled: of one device and those whom it let in together."""
MAX_CLOSED_BYTES: Final = 128 << 10
"""Of the last entries of such a branch that one device signed: hundreds of small ones, or one of 90 devices."""


class Gap(TrustError):
    """The entry names one before it that we do not have: fetch the entries in between, or earlier ones."""


class Chains:
    """Every branch of a roster, while entries are taken in. After an exception it is thrown away."""

    def __init__(self, main: State, others: Sequence[State]) -> None:
        self._main = main
        self._states = [main, *others]
        self._folds: dict[int, Fold] = {}
        self._taken = 0

    def take(self, entries: Sequence[SignedEntry]) -> int:
        """Put every entry behind the one that it names; how many were new. Raises Gap, TrustError."""
        for entry in entries:
            if not any(entry.hash in state.numbers for state in self._states):
                self._take(entry)
                self._taken += 1
        return self._taken

    def _take(self, entry: SignedEntry) -> None:
        if entry.number == 0:
            raise TrustError("this is the roster of another folder")
        for place, state in enumerate(self._states):
            if state.entries[-1].hash == entry.previous:
                self._require_next(entry, len(state.entries))
                self._fold(place).apply(entry)
                return
        for state in self._states:
            parent = state.numbers.get(entry.previous)
            if parent is not None:
                self._require_next(entry, parent + 1)
                self._part(state, parent, entry)
                return
        raise Gap(f"entry {entry.number} continues one that is unknown here")

    def _fold(self, place: int) -> Fold:
        """The branch, to be added to; a state that others may be reading is copied first."""
        fold = self._folds.get(place)
        if fold is None:
            fold = self._folds[place] = Fold(self._states[place].copy())
            self._states[place] = fold.state
        return fold

    def _part(self, state: State, parent: int, entry: SignedEntry) -> None:
        if len(self._states) > 2 * MAX_BRANCHES:
            raise TrustError("the folder's membership has too many histories", id="SY-FORK-01")
        signer = state.publics.get(entry.signer)
        if signer is not None:  # before the work below, which a stranger could otherwise ask for with any bytes
            verify(signer.sign, Purpose.ENTRY, FolderId(state.entries[0].hash), entry.body, entry.signature)
        elif not isinstance(entry.changes[0], Recover):
            raise TrustError("the entry is signed by a device that is not a member's")
        fold = prefix(state, parent)
        fold.apply(entry)
        self._folds[len(self._states)] = fold
        self._states.append(fold.state)

    @staticmethod
    def _require_next(entry: SignedEntry, number: int) -> None:
        if entry.number != number:
            raise TrustError("the entry's number is not the next")

    def settled(self) -> tuple[Weighed, list[State]]:
        """What the branches come to, and those beside the chain. In a quarrel everybody goes by their own."""
        tips = _ends(self._states)
        while True:
            weighed = weigh(tips)
            if weighed.quarrel:
                weighed = weighed.on(next(tip for tip in tips if self._main.entries[-1].hash in tip.numbers))
            others = [tip for tip in tips if tip is not weighed.chain]
            cut = _maybe_cut(weighed, others)
            if cut is None:
                return weighed, others
            tips = _ends([*(tip for tip in tips if tip is not cut.tip), *cut.rest()])


def _ends(states: Sequence[State]) -> list[State]:
    """Those behind which no other of them stands."""
    tips = {state.entries[-1].hash: state for state in states}
    return [
        tips[tip]
        for tip in sorted(tips)
        if not any(tip in other.numbers for hash_, other in tips.items() if hash_ != tip)
    ]


def prefix(state: State, number: int) -> Fold:
    """A branch as it was once the entry of this number stood."""
    fold = begin_fold(state.entries[0], check_signature=False)
    for entry in state.entries[1 : number + 1]:
        fold.apply(entry, check_signature=False)
    return fold


# --- what is kept ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Twig:
    """The end of a branch: its last entries, all signed by one device. What others signed before is not its doing."""

    tip: State
    parted: int
    """The last entry that the branch shares with the chain."""
    starts: int
    is_open: bool

    @property
    def signer(self) -> DeviceId:
        return self.tip.entries[-1].signer

    @property
    def is_owners(self) -> bool:
        rights = self.tip.rights_at(self.starts - 1, self.signer)
        return rights is not None and rights.role is Role.OWNER

    @property
    def account(self) -> DeviceId:
        """On whose account it is kept: its signer's, if an owner let them in before the branch parted from the chain;
        else that of who let them in."""
        device = self.signer
        while history := self.tip.rights.get(device):
            admitted = self.tip.entries[history[0][0]]
            if admitted.number == 0 or admitted.signer == device:
                break
            giver = self.tip.rights_at(admitted.number - 1, admitted.signer)
            if admitted.number <= self.parted and giver is not None and giver.role is Role.OWNER:
                break
            device = admitted.signer
        return device

    @property
    def measure(self) -> tuple[EntryHash, EntryHash]:
        """The lower is kept. Nobody can make it lower than by trying."""
        return self.tip.entries[self.starts].hash, self.tip.entries[-1].hash

    def fits_until(self) -> int:
        """The number of the last entry up to which it is not too long."""
        left = MAX_CLOSED_BYTES
        for entry in self.tip.entries[self.starts :]:
            left -= len(entry.raw)
            if left < 0 and not self.is_open:
                return entry.number - 1
        return len(self.tip.entries) - 1


@dataclass(frozen=True, slots=True)
class _Cut:
    """A branch of which only the entries up to this number are kept."""

    twig: _Twig
    number: int

    @property
    def tip(self) -> State:
        return self.twig.tip

    def rest(self) -> list[State]:
        """What is left of it beside the chain."""
        return [] if self.number <= self.twig.parted else [prefix(self.tip, self.number).state]


def _maybe_cut(weighed: Weighed, others: Sequence[State]) -> _Cut | None:
    """What is more than is kept, if anything is."""
    open_ones = {signed.hash for signed in weighed.beside if is_open(weighed, signed)}
    by_account: dict[tuple[bool, DeviceId], list[_Twig]] = defaultdict(list)
    by_signer: dict[DeviceId, int] = defaultdict(int)
    for tip in others:
        twig = _twig(weighed, tip, open_ones)
        if (until := twig.fits_until()) < len(tip.entries) - 1:
            return _Cut(twig, until)
        by_account[not twig.is_open, twig.account].append(twig)
    ranked: list[tuple[tuple[bool, bool, int], _Twig]] = []
    for (is_closed, _), twigs in by_account.items():
        twigs.sort(key=lambda twig: twig.measure)
        for place, twig in enumerate(twigs):
            by_signer[twig.signer] += twig.is_open
            if by_signer[twig.signer] > MAX_OPEN_OF_ONE or (is_closed and place >= MAX_CLOSED_OF_ONE):
                return _Cut(twig, twig.starts - 1)
            ranked.append(((is_closed, not twig.is_owners, place), twig))
    if len(ranked) <= MAX_BRANCHES:
        return None
    most = max(ranked, key=lambda one: (one[0], one[1].measure))[1]
    return _Cut(most, most.starts - 1)


def _twig(weighed: Weighed, tip: State, open_ones: set[EntryHash]) -> _Twig:
    parted = last_shared(weighed.chain, tip)
    starts = len(tip.entries) - 1
    while starts > parted + 1 and tip.entries[starts - 1].signer == tip.entries[-1].signer:
        starts -= 1
    is_open_ = bool(weighed.quarrel) or any(entry.hash in open_ones for entry in tip.entries[parted + 1 :])
    return _Twig(tip, parted, starts, is_open_)
