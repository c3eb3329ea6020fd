"""Pure. So many per second: the one measure by which strangers are kept slow, one by one and all together."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

MAX_SOURCES: Final = 256


class Allowance:
    """So many per second, and after a quiet time so many at once."""

    __slots__ = ("_burst", "_counted_at", "_left", "_per_s")

    def __init__(self, per_s: float, burst: float, now: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = burst
        self._counted_at = now

    def take(self, now: float) -> bool:
        """Whether one more is allowed at `now` (seconds of a clock that does not go back)."""
        self._left = min(self._burst, self._left + (now - self._counted_at) * self._per_s)
        self._counted_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Pace:
    """An allowance for each source, and one for all. Of too many sources the one quiet longest is forgotten."""

    __slots__ = ("_all", "_per_source_s", "_sources")

    def __init__(self, per_s: float, per_source_s: float, now: float) -> None:
        """Both with a burst of two seconds."""
        self._all = Allowance(per_s, 2 * per_s, now)
        self._per_source_s = per_source_s
        self._sources: OrderedDict[str, Allowance] = OrderedDict()

    def take(self, source: str, now: float) -> bool:
        """Whether one more is allowed from this source at `now`."""
        own = self._sources.pop(source, None) or Allowance(self._per_source_s, 2 * self._per_source_s, now)
        if len(self._sources) >= MAX_SOURCES:
            self._sources.popitem(last=False)
        self._sources[source] = own
        return own.take(now) and self._all.take(now)
