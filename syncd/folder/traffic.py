"""Pure. How much came from and went to each peer, over the last quarter of an hour, day and month. Nothing is kept
beyond the life of the daemon."""

from __future__ import annotations

from collections import deque
from dataclasses import field
from typing import Final

from ca.ids import DeviceId
from ca.values import dataclass

MAX_PEERS: Final = 256


@dataclass(frozen=True, slots=True)
class Span:
    """A time of which the traffic is kept, in equal steps."""

    step_s: float
    steps: int


SPANS: Final = {"15m": Span(10.0, 90), "24h": Span(600.0, 144), "30d": Span(21_600.0, 120)}

Moved = tuple[int, int]
"""Bytes received and sent."""


@dataclass(slots=True)
class Traffic:
    """Bytes by peer and time. `note` is called for every block, `sample` about once a second."""

    totals: dict[DeviceId, Moved] = field(default_factory=dict)
    """Since the start."""
    _fresh: dict[DeviceId, Moved] = field(default_factory=dict)
    """Since the last sample."""
    _steps: dict[str, deque[tuple[int, dict[DeviceId, Moved]]]] = field(
        default_factory=lambda: {name: deque() for name in SPANS}
    )
    """By span: the number of a step and what moved in it; steps without traffic are missing."""

    def note(self, device: DeviceId, received: int, sent: int) -> None:
        """Count bytes of one peer. From the 257th peer at once on, they go uncounted."""
        if device in self._fresh or len(self._fresh) < MAX_PEERS:
            before = self._fresh.get(device, (0, 0))
            self._fresh[device] = before[0] + received, before[1] + sent
        if device in self.totals or len(self.totals) < MAX_PEERS:
            whole = self.totals.get(device, (0, 0))
            self.totals[device] = whole[0] + received, whole[1] + sent

    def sample(self, now: float) -> None:
        """Put what was counted into the step of `now` (seconds of a steady clock)."""
        fresh, self._fresh = self._fresh, {}
        for name, span in SPANS.items():
            number = int(now // span.step_s)
            kept = self._steps[name]
            while kept and kept[0][0] <= number - span.steps:
                kept.popleft()
            if not fresh:
                continue
            if not kept or kept[-1][0] != number:
                kept.append((number, {}))
            moved = kept[-1][1]
            for device, (received, sent) in fresh.items():
                if device in moved or len(moved) < MAX_PEERS:
                    before = moved.get(device, (0, 0))
                    moved[device] = before[0] + received, before[1] + sent

    def series(self, name: str, now: float) -> dict[DeviceId, list[Moved]]:
        """For each peer with traffic in that span: every step, the oldest first, the present one last."""
        span = SPANS[name]
        first = int(now // span.step_s) - span.steps + 1
        found: dict[DeviceId, list[Moved]] = {}
        for number, moved in self._steps[name]:
            if number >= first:
                for device, bytes_moved in moved.items():
                    found.setdefault(device, [(0, 0)] * span.steps)[number - first] = bytes_moved
        return found
