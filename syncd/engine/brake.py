"""Pure. The brake: a wave of deletions waits for a person.

Counted per origin (this disk, or one author) over ten sliding minutes, before publishing and again before applying.
Moves and creations do not count. What came into being within the same ten minutes counts only when it vanishes with
others at one stroke: programs make and remove files one by one all day. Only the wave waits; everything else flows.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

WINDOW_S = 600.0
SHARE = 0.25
AT_LEAST = 50


@dataclass(slots=True)
class _Origin:
    events: deque[tuple[float, int]] = field(default_factory=deque)
    released: bool = False


class Brake:
    """What has vanished lately, by origin."""

    def __init__(self) -> None:
        self._origins: dict[str, _Origin] = {}

    def holds(self, origin: str, vanishing: int, old: int, files: int, now: float) -> bool:
        """Whether `vanishing` more files, of `files` that were there before them, must wait. If not, they are counted.

        At one stroke every file counts. Over the window only the `old` among them do (`Ages`).
        """
        state = self._origins.setdefault(origin, _Origin())
        while state.events and state.events[0][0] <= now - WINDOW_S:
            state.events.popleft()
            state.released = state.released and bool(state.events)
        lately = sum(count for _, count in state.events)
        # What vanished before in this window was part of the folder when the window began.
        if not state.released and (_is_wave(vanishing, files) or _is_wave(lately + old, files + lately)):
            return True
        state.events.append((now, old))
        return False

    def release(self, origin: str, now: float) -> None:
        """A person approved: what this origin does in the next ten minutes passes."""
        state = self._origins.setdefault(origin, _Origin())
        state.events.append((now, 0))
        state.released = True


def _is_wave(vanishing: int, files: int) -> bool:
    return vanishing >= AT_LEAST and vanishing > SHARE * files


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
