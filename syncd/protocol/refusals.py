"""Pure. What was refused, told once in a burst: by whom it was tried, why it was refused, how often.

Whoever knocks a thousand times gets one line in the log and one entry with a counter. A burst is all that one address
tries of one kind within a minute; of more than eight addresses at a time the others are counted together, so that
addresses, too, cannot fill anything. Reasons are our own words; whatever else could come from outside is escaped.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final

from ca.values import dataclass
from syncd.seams import Clock

BURST_S: Final = 60.0
MAX_HOSTS: Final = 8
MAX_KEPT: Final = 1000
MAX_WHY_CHARS: Final = 160
OTHERS: Final = "others"


class Event(Enum):
    """What kind of thing was refused."""

    CROWD = "crowd"
    ADDRESS = "address"
    HANDSHAKE = "handshake"
    LABEL = "label"
    CLOCK = "clock"
    REQUEST = "request"
    RIGHT = "right"
    HELLO = "hello"
    ENTRY = "entry"
    PAIRING = "pairing"
    CONTENT = "content"
    LINK = "link"


@dataclass(slots=True)
class Burst:
    """One entry of the security log. `began` and `last` in unix seconds; `why` of the first refusal."""

    number: int
    event: Event
    host: str
    why: str
    began: float
    last: float
    count: int = 1


@dataclass(frozen=True, slots=True)
class Attack:
    """How many times something was refused, to how many hosts, and to whom most often."""

    count: int
    hosts: int
    most: str | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What was refused of one kind. `began` and `last` in unix seconds; `most`: hosts by how often, at most three."""

    event: Event
    count: int
    hosts: int
    most: tuple[tuple[str, int], ...]
    began: float
    last: float


class Refusals:
    """Everything that was refused, the newest thousand bursts."""

    def __init__(self, clock: Clock, on_new: Callable[[Burst], None] = lambda burst: None) -> None:
        """`on_new` hears of each burst when it begins."""
        self.counts: Counter[Event] = Counter()
        self._clock = clock
        self._on_new = on_new
        self._kept: deque[Burst] = deque(maxlen=MAX_KEPT)
        self._open: dict[tuple[Event, str], tuple[Burst, float]] = {}
        self._changed: dict[int, Burst] = {}
        self._next = 0
        self.on_changed: Callable[[], None] = lambda: None
        """`take_changed` has something again."""

    def note(self, event: Event, address: str, why: str) -> None:
        """Something was refused to whoever is at `address` (`host:port`)."""
        self.counts[event] += 1
        now, wall = self._clock.monotonic(), self._clock.now()
        host = printable(address.rpartition(":")[0] or address)
        key = self._key(event, host, now)
        running = self._open.get(key)
        if running is not None and now - running[1] < BURST_S:
            burst = running[0]
            burst.count += 1
            burst.last = wall
        else:
            burst = Burst(self._next, event, key[1], printable(why), wall, wall)
            self._next += 1
            self._kept.append(burst)
            self._open[key] = (burst, now)
            self._on_new(burst)
        is_first = not self._changed
        self._changed[burst.number] = burst
        if is_first:
            self.on_changed()

    def recent(self) -> list[Burst]:
        """What is kept, oldest first."""
        return list(self._kept)

    def since(self, wall: float) -> Attack:
        """What was refused in bursts that went on after this moment (unix seconds)."""
        late = [burst for burst in self._kept if burst.last >= wall]
        by_host: Counter[str] = Counter()
        for burst in late:
            by_host[burst.host] += burst.count
        most = by_host.most_common(1)
        return Attack(by_host.total(), len(by_host), most[0][0] if most else None)

    def figures(self, wall: float) -> list[Figures]:
        """By kind, what was refused in bursts that went on after this moment (unix seconds); most first."""
        by_event: dict[Event, list[Burst]] = {}
        for burst in self._kept:
            if burst.last >= wall:
                by_event.setdefault(burst.event, []).append(burst)
        found = [_figures(event, bursts) for event, bursts in by_event.items()]
        return sorted(found, key=lambda one: (-one.count, one.event.value))

    def restore(self, bursts: list[Burst]) -> None:
        """Put back what an earlier life of this daemon had kept; numbers go on behind it."""
        self._kept.extend(bursts)
        self._next = max((burst.number + 1 for burst in bursts), default=0)

    def take_changed(self) -> list[Burst]:
        """What is new, or has another counter, since the last time this was asked."""
        changed, self._changed = self._changed, {}
        return sorted(changed.values(), key=lambda burst: burst.number)

    def _key(self, event: Event, host: str, now: float) -> tuple[Event, str]:
        if (event, host) in self._open:
            return event, host
        for key in [key for key, (_, began) in self._open.items() if now - began >= BURST_S]:
            del self._open[key]
        crowded = sum(other is event for other, _ in self._open) >= MAX_HOSTS
        return event, OTHERS if crowded else host


def _figures(event: Event, bursts: Sequence[Burst]) -> Figures:
    by_host: Counter[str] = Counter()
    for burst in bursts:
        by_host[burst.host] += burst.count
    began, last = min(burst.began for burst in bursts), max(burst.last for burst in bursts)
    return Figures(event, by_host.total(), len(by_host), tuple(by_host.most_common(3)), began, last)


def printable(text: str) -> str:
    """Text that stays in its line, whatever was in it, and is not long."""
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return shown if len(shown) <= MAX_WHY_CHARS else shown[: MAX_WHY_CHARS - 1] + "…"
