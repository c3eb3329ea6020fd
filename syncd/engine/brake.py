"""Pure. The brake: a wave of deletions waits for a person.

Counted per origin (this disk, or one author) over ten sliding minutes, before publishing and again before applying.
Moves and creations do not count. Only the wave waits; everything else flows.
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

    def holds(self, origin: str, vanishing: int, files: int, now: float) -> bool:
        """Whether `vanishing` more files, of `files` that were there before them, must wait. If not, they are
        counted."""
        state = self._origins.setdefault(origin, _Origin())
        while state.events and state.events[0][0] <= now - WINDOW_S:
            state.events.popleft()
            state.released = state.released and bool(state.events)
        lately = sum(count for _, count in state.events)
        total = lately + vanishing
        # What vanished before in this window was part of the folder when the window began.
        if not state.released and total >= AT_LEAST and total > SHARE * (files + lately):
            return True
        state.events.append((now, vanishing))
        return False

    def release(self, origin: str, now: float) -> None:
        """A person approved: what this origin does in the next ten minutes passes."""
        state = self._origins.setdefault(origin, _Origin())
        state.events.append((now, 0))
        state.released = True
