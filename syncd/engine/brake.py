"""Pure. The brake: a wave of deletions or overwrites waits for a person.

Counted per origin (this disk, or one author) over ten sliding minutes, before publishing and again before applying.
Moves and creations do not count. What came into being within the same ten minutes counts only when it vanishes with
others at one stroke: programs make and remove files one by one all day. Only the wave waits; everything else flows.

Three measures: a share of the files that there are; a number of units, where a directory that goes with all that is in
it is one; and, far lower, a number of changes such as a program makes that encrypts files for ransom (`ransom`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import field
from typing import Final

from ca.values import dataclass

WINDOW_S = 600.0
SHARE = 0.25
AT_LEAST = 50
MOST_UNITS = 1000
MOST_RANSOM = 20
"""Twenty files in ten minutes: what is encrypted before the brake holds can be undone."""


@dataclass(frozen=True, slots=True)
class Measures:
    """From which on changes are a wave: more than a share of the files there are, and so many at least; so many units;
    so many that look like the work of ransomware."""

    share: float = SHARE
    at_least: int = AT_LEAST
    units: int = MOST_UNITS
    ransom: int = MOST_RANSOM


USUAL: Final = Measures()


@dataclass(frozen=True, slots=True)
class Change:
    """What an origin is about to do to files: how many, how many of them are `old` (`Ages`), in how many units."""

    files: int
    old: int
    units: int
    is_stroke: bool = True
    """At one stroke every file counts; else, as with overwrites, only the old ones ever do."""
    ransom: int = 0
    """Of them, those that look as if they were encrypted, or renamed as ransomware does."""


@dataclass(slots=True)
class _Origin:
    events: deque[tuple[float, Change]] = field(default_factory=deque)
    released: bool = False


class Brake:
    """What has been done lately, by origin."""

    def __init__(self, measures: Measures = USUAL) -> None:
        self._measures = measures
        self._origins: dict[str, _Origin] = {}

    def holds(self, origin: str, change: Change, files: int, now: float) -> bool:
        """Whether a change must wait. If not, it is counted. `files`: how many there are now, what goes included."""
        state = self._origins.setdefault(origin, _Origin())
        while state.events and state.events[0][0] <= now - WINDOW_S:
            state.events.popleft()
            state.released = state.released and bool(state.events)
        if not state.released and self._is_wave(change, [past for _, past in state.events], files):
            return True
        state.events.append((now, change))
        return False

    def release(self, origin: str, now: float) -> None:
        """A person approved: what this origin does in the next ten minutes passes."""
        state = self._origins.setdefault(origin, _Origin())
        state.events.append((now, Change(0, 0, 0)))
        state.released = True

    def _is_wave(self, change: Change, past: list[Change], files: int) -> bool:
        lately = sum(one.old for one in past)
        # What went before in this window was part of the folder when the window began.
        gone = sum(one.old for one in past if one.is_stroke)
        stroke = change.files if change.is_stroke else change.old
        return (
            self._is_large_share(stroke, files)
            or self._is_large_share(lately + change.old, files + gone)
            or change.units + sum(one.units for one in past) >= self._measures.units
            or change.ransom + sum(one.ransom for one in past) >= self._measures.ransom
        )

    def _is_large_share(self, count: int, files: int) -> bool:
        return count >= self._measures.at_least and count > self._measures.share * files


class Ages:
    """Which nodes were there before the window began: rows are numbered in the order in which they came to be known.

    The numbers are this device's own, so no author can make a file look younger than it is.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, now: float, newest_row: int) -> None:
        """The newest row at some moment; call it now and then."""
        self._seen.append((now, newest_row))
        while len(self._seen) > 1 and self._seen[1][0] <= now - WINDOW_S:
            self._seen.popleft()

    @property
    def newest_old(self) -> int:
        """Rows up to this one count as old; 0 before anything was noted, and then nothing is brake-worthy yet."""
        return self._seen[0][1] if self._seen else 0
