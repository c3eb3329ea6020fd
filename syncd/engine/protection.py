"""Pure. How well a folder is protected: who is known to have all of it, and how old that knowledge is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ca.values import dataclass

FRESH_S: Final = 86_400.0
"""A copy that was whole so long ago, and not heard of since, does not count any more."""
SAFE_COPIES: Final = 2


@dataclass(frozen=True, slots=True)
class Copy:
    """A device that could have all of a folder. `whole_at`: when it was last known to (unix seconds); None: never."""

    name: str
    whole_at: float | None


@dataclass(frozen=True, slots=True)
class Protection:
    """`level`: good, warn or bad, as the page colours it; `why` in one sentence."""

    level: str
    copies: int
    why: str


def is_fresh(copy: Copy, now: float) -> bool:
    """Whether it counts."""
    return copy.whole_at is not None and now - copy.whole_at <= FRESH_S


def judge(copies: Iterable[Copy], now: float) -> Protection:
    """What the copies of a folder, that of this device among them, amount to."""
    fresh = [copy for copy in copies if is_fresh(copy, now)]
    if not fresh:
        return Protection("bad", 0, "no computer is known to have all of it")
    if len(fresh) < SAFE_COPIES:
        return Protection("warn", 1, f"only {fresh[0].name} is known to have all of it")
    return Protection("good", len(fresh), f"{len(fresh)} computers are known to have all of it")
