"""Pure. When to look again at what could not be looked at: after two seconds, then after twice as long each time.

Nobody else would: the event that named it has been used up, and a disk that could not be read once tells nobody when it
can be read again. Times are seconds of any one clock, given by the caller.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from syncd.treetypes import Path

FIRST_S = 2.0
LONGEST_S = 600.0


class Retries:
    """Paths that gave trouble, each with the time of its next try."""

    def __init__(self) -> None:
        self._due_s: dict[Path, float] = {}
        self._waits_s: dict[Path, float] = {}
        """How long each waited before its last try; forgotten when that went well."""

    def failed(self, path: Path, now_s: float) -> None:
        """It could not be looked at."""
        wait_s = min(2 * self._waits_s[path], LONGEST_S) if path in self._waits_s else FIRST_S
        self._waits_s[path] = wait_s
        self._due_s[path] = now_s + wait_s

    def next_s(self) -> float:
        """When the first is to be tried; infinity for never."""
        return min(self._due_s.values(), default=math.inf)

    def take(self, now_s: float) -> list[Path]:
        """Those that are due, to be tried now."""
        due = sorted(path for path, due_s in self._due_s.items() if due_s <= now_s)
        for path in due:
            del self._due_s[path]
        return due

    def tried(self, paths: Iterable[Path] | None) -> None:
        """After a look at these, or (None) at everything: what is not waiting again went well."""
        for path in list(self._waits_s) if paths is None else paths:
            if path not in self._due_s:
                self._waits_s.pop(path, None)
