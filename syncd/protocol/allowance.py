"""Pure. So many per second: the one measure by which strangers are kept slow."""

from __future__ import annotations


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
