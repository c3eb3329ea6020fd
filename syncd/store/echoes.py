"""Pure. Names that syncd has just given itself: what a watch tells of them is its own echo, and no reason to look.

Whoever gives a name says so before; the watch asks when it is told of one. A name is taken for an echo once, and only
in a directory that was watched before it was given, since the system tells of it there for certain: so none stays
behind for which no event comes, and a file that somebody else moves to that name later is heard of.

Names are given by one thread and heard of by another: of two that take the same name out of a group one comes first,
and what the other one makes of that is that more is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from syncd.model.ignores import SHARED_NAME
from syncd.treetypes import Path

RULES: Path = (SHARED_NAME,)
"""What the file of this name says is found by looking at it."""
FEWEST = 64
"""Of fewer names everything is looked at: that costs little."""
MOST_GROUPS = 4
"""Groups of names that are remembered; what is left of an older one is looked at when it is heard of."""


class _Group(NamedTuple):
    """Names given together. `watched`: the last directory that was watched before; `era`: what had been forgotten."""

    names: set[Path]
    watched: int
    era: int


class Echoes:
    """The names of one folder that are still to be heard of."""

    def __init__(self) -> None:
        self._groups: tuple[_Group, ...] = ()
        self._watched = 0
        self._era = 0

    def watched(self) -> int:
        """One more directory is watched: its number."""
        self._watched += 1
        return self._watched

    def expect(self, paths: Iterable[Path]) -> set[Path]:
        """These names are about to be given, each at a place where nothing stands."""
        group = _Group(set(paths), self._watched, self._era)
        group.names.discard(RULES)
        for older in self._groups:
            older.names.difference_update(group.names)  # of a name that is given again no more than one stays behind
        if group.watched and len(group.names) >= FEWEST:
            self._groups = *self._groups[1 - MOST_GROUPS :], group
        return group.names

    def withdraw(self, group: set[Path], path: Path) -> bool:
        """One of them could not be given. False if the watch was told of it all the same: by somebody else then."""
        return _took(group, path) or path == RULES

    def is_own(self, path: Path, directory: int) -> bool:
        """Whether a name of which the watch tells is ours; asked again, it is not. `directory`: the number of the one
        that has it."""
        for group in self._groups:
            if _took(group.names, path):
                return directory <= group.watched and group.era == self._era
        return False

    def forget(self) -> None:
        """Names may be others by now, as directories were moved or events lost: all that is heard is looked at."""
        self._era += 1
        self._groups = ()


def _took(names: set[Path], path: Path) -> bool:
    """Take a name out; whether it was there."""
    if path not in names:
        return False
    try:
        names.remove(path)
    except KeyError:
        return False
    return True
