"""Async. The limits of speed in force: whoever sends or has received content waits here until its bytes may pass.

Lists, messages and what is said between members are not counted: they are little, and a removal must not wait.
"""

from __future__ import annotations

from math import inf
from typing import Final

import trio

from syncd.engine.limits import NO_LIMITS, Limits, local_time
from syncd.seams import Clock

BURST_S: Final = 1.0
"""So much of the past that was not used may be made up for at once."""
PIECE_BYTES: Final = 64 << 10
LOOK_AT_CLOCK_S: Final = 60.0
"""A clock that is set, or a computer that slept, is noticed within that."""


class Pacer:
    """One direction, for the whole process."""

    def __init__(self) -> None:
        self.rate: int | None = None
        """Bytes a second; None: no limit, 0: nothing."""
        self._free_at = 0.0
        self._changed = trio.Event()

    def set(self, rate: int | None) -> None:
        """A new limit, at once and for those who wait as well."""
        if rate != self.rate:
            self.rate = rate
            self._free_at = trio.current_time()
            self._changed.set()
            self._changed = trio.Event()

    async def take(self, size: int) -> None:
        """Return when `size` more bytes may have passed."""
        await self.wait_open()
        if self.rate is None:
            return
        now = trio.current_time()
        self._free_at = max(self._free_at, now - BURST_S) + size / self.rate
        if self._free_at > now:
            changed = self._changed
            with trio.move_on_at(self._free_at):
                await changed.wait()

    async def wait_open(self) -> None:
        """Wait until anything may pass at all."""
        while self.rate == 0:
            await self._changed.wait()


class Pace:
    """Both directions, and who sets them. `run` while the daemon lives."""

    def __init__(self, limits: Limits = NO_LIMITS) -> None:
        self.up, self.down = Pacer(), Pacer()
        self.limits = limits
        self._changed = trio.Event()

    def set_limits(self, limits: Limits) -> None:
        """Other limits, from now on."""
        self.limits = limits
        self._changed.set()

    async def run(self, clock: Clock) -> None:
        """Put in force what the schedule says, until cancelled."""
        while True:
            self._changed = trio.Event()
            now = clock.now()
            local = local_time(now)
            speed = self.limits.at(local)
            self.up.set(speed.up)
            self.down.set(speed.down)
            change = self.limits.next_change(local)
            wait_s = inf if change is None else min(LOOK_AT_CLOCK_S, max(0.1, change.timestamp() - now))
            with trio.move_on_after(wait_s):
                await self._changed.wait()
