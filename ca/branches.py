"""Pure. Every branch of a roster, while entries are taken in: where each belongs, and which branches have to be kept.

A branch is kept as long as something on it counts and no merge has settled it, or an epoch of it is linked nowhere;
which one is the chain says `ca.forks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ca.device import Purpose, verify
from ca.entries import ChangeCapabilities, ChangeRole, Recover, SignedEntry
from ca.errors import TrustError
from ca.forks import decide, departures, last_shared, standing
from ca.ids import EpochId, FolderId
from ca.membership import TAKES_OUT, Fold, begin_fold
from ca.roles import Role
from ca.state import State

MAX_BRANCHES: Final = 16
_TAKES_RIGHTS: Final = (ChangeRole, ChangeCapabilities)


class Gap(TrustError):
    """The entry names one before it that we do not have: fetch the entries in between, or earlier ones."""


class Chains:
    """Every branch of a roster, while entries are taken in. After an exception it is thrown away."""

    def __init__(self, main: State, others: Sequence[State]) -> None:
        self._main = main
        self._states = [main, *others]
        self._folds: dict[int, Fold] = {}

    def take(self, entries: Sequence[SignedEntry]) -> None:
        """Put every entry behind the one that it names. Raises Gap, TrustError."""
        for place, entry in enumerate(entries):
            if not any(entry.hash in state.numbers for state in self._states):
                self._take(entry, is_last=place == len(entries) - 1)

    def _take(self, entry: SignedEntry, *, is_last: bool) -> None:
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
                if not (is_last and is_void(self._main, entry, parent)):
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
        if len(self._states) > MAX_BRANCHES:
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

    def settled(self) -> tuple[State, list[State]]:
        """The branch that counts, and those others that matter."""
        tips = {state.entries[-1].hash: state for state in self._states}
        ends = [
            tips[tip]
            for tip in sorted(tips)
            if not any(tip in other.numbers for hash_, other in tips.items() if hash_ != tip)
        ]
        chain = ends[0]
        for other in ends[1:]:
            winner = decide(chain, other).winner
            if winner == 1 or (winner is None and self._main.entries[-1].hash in other.numbers):
                chain = other
        return chain, [other for other in ends if other is not chain and _matters(chain, other)]


def prefix(state: State, number: int) -> Fold:
    """A branch as it was once the entry of this number stood."""
    fold = begin_fold(state.entries[0], check_signature=False)
    for entry in state.entries[1 : number + 1]:
        fold.apply(entry, check_signature=False)
    return fold


def is_void(main: State, entry: SignedEntry, parent: int) -> bool:
    """Whether an entry that parts from the chain behind this one decides nothing, so that it need not be kept.

    Whoever was taken out can still sign, as of a day on which they counted. Only an owner among them could take part in
    a quarrel, and only by taking somebody out.
    """
    if isinstance(entry.changes[0], Recover) or main.active(entry.signer) is not None:
        return False
    rights = main.rights_at(parent, entry.signer)
    is_owner = rights is not None and rights.role is Role.OWNER
    return not is_owner or not any(isinstance(change, (*TAKES_OUT, *_TAKES_RIGHTS)) for change in entry.changes)


def _matters(chain: State, other: State) -> bool:
    """Whether a branch that lost has to be kept: something on it counts and is not settled yet, or an epoch of it is
    linked nowhere."""
    found = decide(chain, other)
    if found.winner is None or any(departures(chain, other, found.void[1])):
        return True
    return any(
        signed.entry.hash not in chain.settled
        or (signed.entry.epoch is not None and EpochId(signed.entry.hash) not in chain.links)
        for signed in standing(other, last_shared(chain, other), found.void[1])
    )
