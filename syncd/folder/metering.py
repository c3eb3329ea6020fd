"""Async. What a folder's transfers may hold in memory, and what they amount to."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import field

import trio

from ca.values import dataclass
from syncd.folder.pacing import Pace
from syncd.folder.traffic import Traffic

RATE_WINDOW_S = 10.0


class ByteBudget:
    """Bytes asked for and not yet written: a bound on memory, shared by all folders of the process."""

    def __init__(self, limit_bytes: int) -> None:
        self._free = limit_bytes
        self._limit = limit_bytes
        self._changed = trio.Event()

    @asynccontextmanager
    async def take(self, size: int) -> AsyncIterator[None]:
        """Hold `size` bytes (at most the whole limit), waiting until they are free."""
        size = min(size, self._limit)
        while self._free < size:
            await self._changed.wait()
        self._free -= size
        try:
            yield
        finally:
            self._free += size
            self._changed.set()
            self._changed = trio.Event()


@dataclass(slots=True)
class Meter:
    """What `status` says about transfers."""

    received_bytes: int = 0
    sent_bytes: int = 0
    duplicate_bytes: int = 0
    blocks_fetched: int = 0
    copied_bytes: int = 0
    refused_blocks: int = 0
    """Blocks that arrived and were not what they were asked for as."""
    traffic: Traffic = field(default_factory=Traffic)
    _samples: deque[tuple[float, int, int]] = field(default_factory=deque)

    def receive_rate(self, now: float) -> int:
        """Bytes a second over the last seconds; `now` is monotonic."""
        return self._rates(now)[0]

    def send_rate(self, now: float) -> int:
        return self._rates(now)[1]

    def sample(self, now: float) -> None:
        """Note the counters, about once a second."""
        self.traffic.sample(now)
        self._samples.append((now, self.received_bytes, self.sent_bytes))
        while self._samples[0][0] < now - RATE_WINDOW_S:
            self._samples.popleft()

    def _rates(self, now: float) -> tuple[int, int]:
        if not self._samples or now <= self._samples[0][0]:
            return 0, 0
        began, received, sent = self._samples[0]
        return (
            round((self.received_bytes - received) / (now - began)),
            round((self.sent_bytes - sent) / (now - began)),
        )


@dataclass(frozen=True, slots=True)
class Transfers:
    """What the transfers of all folders share."""

    budget: ByteBudget
    limited: ByteBudget
    """Of those that a limit of their own holds up: what they keep for long, or through a pause, no other waits for."""
    meter: Meter
    pace: Pace
