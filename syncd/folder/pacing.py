"""Async. The limits of speed in force: whoever sends or has received content waits here until its bytes may pass.

Lists, messages and what is said between members are not counted: they are little, and a removal must not wait.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import inf
from typing import Final

import trio

from ca.ids import DeviceId
from ca.values import dataclass
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


@dataclass(frozen=True, slots=True)
class Pacers:
    """All that hold for the same bytes: they pass when every one lets them."""

    all: Sequence[Pacer]

    @property
    def rate(self) -> int | None:
        """The least, in bytes a second; None: no limit, 0: nothing."""
        return min((one.rate for one in self.all if one.rate is not None), default=None)

    @property
    def has_own(self) -> bool:
        """Besides what holds for everything there is one for this folder or peer."""
        return any(one.rate is not None for one in self.all[1:])

    async def take(self, size: int) -> None:
        """Return when `size` more bytes may have passed."""
        for one in self.all:
            await one.take(size)

    async def wait_open(self) -> None:
        """Wait until anything may pass at all."""
        while self.rate == 0:
            for one in self.all:
                await one.wait_open()


class Pace:
    """Both directions, and who sets them. `run` while the daemon lives."""

    def __init__(self, limits: Limits = NO_LIMITS) -> None:
        self.up, self.down = Pacer(), Pacer()
        self.names_of: Callable[[DeviceId], Collection[str]] = lambda device: ()
        """By which names limits may mean a peer."""
        self._only: dict[tuple[str, str], tuple[Pacer, Pacer]] = {}
        self._changed = trio.Event()
        self.set_limits(limits)

    def of(self, folder: str) -> FolderPace:
        """What holds for the content of a folder."""
        return FolderPace(self, folder)

    def pacers(self, folder: str, device: DeviceId | None, way: int) -> Pacers:
        """All that hold for bytes of a folder and a peer; `way` 0 is up, 1 down."""
        found = [(self.up, self.down)[way]]
        if self._only:
            names = () if device is None else self.names_of(device)
            keys = [("folder", folder), *(("peer", name) for name in names)]
            found += [self._only[key][way] for key in keys if key in self._only]
        return Pacers(found)

    def set_limits(self, limits: Limits) -> None:
        """Other limits, from now on."""
        self.limits = limits
        known, self._only = self._only, {}
        for one in limits.only:
            key = one.kind, one.name
            self._only[key] = known.pop(key) if key in known else (Pacer(), Pacer())
            for pacer, rate in zip(self._only[key], (one.speed.up, one.speed.down), strict=True):
                pacer.set(rate)
        for pair in known.values():
            for pacer in pair:
                pacer.set(None)  # whoever waits there goes on
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


@dataclass(frozen=True, slots=True)
class FolderPace:
    """The limits for one folder. They are looked up each time: settings change, and peers get names."""

    _pace: Pace
    _folder: str

    def up(self, device: DeviceId | None = None) -> Pacers:
        """For what is sent to a peer, or to somebody who has no name."""
        return self._pace.pacers(self._folder, device, 0)

    def down(self, device: DeviceId) -> Pacers:
        """For what comes from a peer."""
        return self._pace.pacers(self._folder, device, 1)
