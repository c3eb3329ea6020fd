"""Pure. Where the members of a folder may be reached, and when to try which address.

An address is a hint. It may have been written by a person, remembered, told by its device or heard in the local
network, and who answers there is known only after a hello. Each has a clock of its own: failures put it off further and
further, up to a minute, and anything that makes success likely (a new epoch, a device that called us, an announcement)
makes it due again within half a second. Chance is in all of it, so that devices which lost each other in one moment do
not return in one moment.

Times are seconds of a clock that never goes back; whoever calls says what it shows.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable
from dataclasses import field
from enum import IntEnum
from math import inf
from typing import Final

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.protocol.announcements import is_local

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 60.0
KICK_S: Final = 0.5
"""Within that time an address is tried that has become promising."""
STAGGER_S: Final = 0.25
"""Addresses of one device are tried one after the other at this distance, the best first, not waiting for failures."""
SHORT_S: Final = 10.0
"""A connection that ended sooner is no success: a peer that breaks off again and again is called less and less."""
MAX_OF_DEVICE: Final = 16
MAX_UNKNOWN: Final = 64


class Source(IntEnum):
    """Where an address comes from; a greater one is forgotten earlier."""

    STATIC = 0
    REMEMBERED = 1
    TOLD = 2
    FOUND = 3


class Place(IntEnum):
    """How far away an address is."""

    HERE = 0
    LAN = 1
    WAN = 2


def place_of(address: str) -> Place:
    """Where a `host:port` is, as far as it can be told; names that are not numbers count as far away."""
    host = address.rpartition(":")[0].strip("[]")
    if is_local(host):
        return Place.LAN
    try:
        return Place.HERE if ipaddress.ip_address(host).is_loopback else Place.WAN
    except ValueError:
        return Place.HERE if host == "localhost" else Place.WAN


@dataclass(slots=True)
class _Address:
    text: str
    source: Source
    device: DeviceId | None
    due_at: float
    failures: int = 0
    reached_at: float = -inf
    under_way: bool = False
    place: Place = field(init=False)

    def __post_init__(self) -> None:
        self.place = place_of(self.text)


class Contacts:
    """The addresses of one folder's members."""

    def __init__(self, luck: Callable[[], float]) -> None:
        """`luck` draws a number from 0 to 1."""
        self._luck = luck
        self._known: dict[str, _Address] = {}
        self._ours: set[str] = set()
        self._tried_at: dict[DeviceId, float] = {}

    # what is known -------------------------------------------------------------------------------------------

    def note(self, addresses: Iterable[str], source: Source, now: float, device: DeviceId | None = None) -> None:
        """Learn addresses, of a device or of nobody knows whom. New ones are due at once, old ones stay as they are."""
        for text in addresses:
            known = self._known.get(text)
            if text in self._ours:
                continue
            if known is None:
                self._known[text] = _Address(text, source, device, now + self._luck() * KICK_S)
            elif device is not None and known.device is None:
                known.device = device
        self._bound(device)

    def forget(self, addresses: Iterable[str]) -> None:
        """Somebody said goodbye: addresses that are known from announcements alone are forgotten."""
        for text in addresses:
            known = self._known.get(text)
            if known is not None and known.source is Source.FOUND and not known.under_way and known.reached_at == -inf:
                del self._known[text]

    def addresses_of(self, device: DeviceId) -> list[str]:
        """Where a device may be, best first."""
        return [one.text for one in sorted(self._known.values(), key=_rank) if one.device == device]

    def promising(self) -> set[DeviceId]:
        """The devices of which it is known where they may be, and the last attempt at some such address did not
        fail."""
        return {one.device for one in self._known.values() if one.device is not None and not one.failures}

    def places(self) -> dict[DeviceId, Place]:
        """How far each device is, by the nearest of its addresses."""
        found: dict[DeviceId, Place] = {}
        for one in self._known.values():
            if one.device is not None and (one.device not in found or one.place < found[one.device]):
                found[one.device] = one.place
        return found

    def unknown(self) -> list[str]:
        """Addresses of which nobody knows yet who is there, best first."""
        return [one.text for one in sorted(self._known.values(), key=_rank) if one.device is None]

    def device_at(self, address: str) -> DeviceId | None:
        """Who was, or is said to be, at an address."""
        known = self._known.get(address)
        return None if known is None else known.device

    # whom to call --------------------------------------------------------------------------------------------

    def take_due(self, now: float, lacking: Collection[DeviceId]) -> list[str]:
        """The addresses to dial now: unknown ones, and those of the devices that are lacking. Each is under way until
        `ended`, `failed`, `unused` or `is_us` is told."""
        taken = []
        for one in sorted(self._known.values(), key=_rank):
            if one.under_way or self._due_at(one, lacking) > now:
                continue
            if one.device is not None:
                self._tried_at[one.device] = now
            one.under_way = True
            taken.append(one.text)
        return taken

    def next_due(self, lacking: Collection[DeviceId]) -> float:
        """When `take_due` will have something next; infinity for never."""
        waiting = [self._due_at(one, lacking) for one in self._known.values() if not one.under_way]
        return min(waiting, default=inf)

    def _due_at(self, one: _Address, lacking: Collection[DeviceId]) -> float:
        if one.device is None:
            return one.due_at
        if one.device not in lacking:
            return inf
        return max(one.due_at, self._tried_at.get(one.device, -inf) + STAGGER_S)

    # what became of it ---------------------------------------------------------------------------------------

    def reached(self, address: str, device: DeviceId, now: float) -> None:
        """A device proved itself there."""
        known = self._known.get(address)
        if known is not None:
            known.device, known.reached_at = device, now
            self._bound(device)

    def ended(self, address: str, now: float) -> None:
        """The connection to an address that was reached has ended: try again soon, unless it hardly lasted."""
        known = self._known.get(address)
        if known is None:
            return
        if now - known.reached_at < SHORT_S:
            self.failed(address, now)
            return
        known.under_way, known.failures = False, 0
        known.due_at = now + self._luck() * KICK_S

    def failed(self, address: str, now: float) -> None:
        """Nobody answered there, or nobody of use."""
        known = self._known.get(address)
        if known is None:
            return
        known.under_way = False
        known.due_at = now + min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**known.failures) * (0.5 + self._luck() / 2)
        known.failures = min(known.failures + 1, 16)

    def unused(self, address: str) -> None:
        """Somebody is there whom we need not call now."""
        known = self._known.get(address)
        if known is not None:
            known.under_way = False

    def is_us(self, address: str) -> None:
        """We met ourselves there: never again."""
        self._known.pop(address, None)
        self._ours.add(address)

    def kick(self, now: float, device: DeviceId | None = None) -> None:
        """Something changed for a device (None: for all): try again soon, as if nothing had failed."""
        for one in self._known.values():
            if device is None or one.device == device:
                self._soon(one, now)

    def hurry(self, addresses: Iterable[str], now: float) -> None:
        """The same for certain addresses."""
        for text in addresses:
            if (one := self._known.get(text)) is not None:
                self._soon(one, now)

    def call_now(self, address: str, now: float) -> None:
        """A device proved itself there this very moment, to us alone: chance would only make us wait."""
        if (known := self._known.get(address)) is not None:
            known.failures, known.due_at = 0, now

    def _soon(self, one: _Address, now: float) -> None:
        one.failures = 0
        one.due_at = min(one.due_at, now + self._luck() * KICK_S)

    def _bound(self, device: DeviceId | None) -> None:
        """Forget the worst when there are too many: whoever tells us addresses must not fill our memory."""
        most = MAX_UNKNOWN if device is None else MAX_OF_DEVICE
        alike = sorted((one for one in self._known.values() if one.device == device), key=_rank)
        for one in alike[most:]:
            if one.source is not Source.STATIC and not one.under_way:
                del self._known[one.text]


def _rank(one: _Address) -> tuple[float, Source, str]:
    """The one that was reached last comes first; then by source."""
    return -one.reached_at, one.source, one.text
