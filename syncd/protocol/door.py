"""Pure. Who gets a place at the door: how many may shake hands at once, how often, and who gives way to whom.

Until its handshake is done a connection is a guest: it costs us a socket, a task and up to a millisecond of arithmetic,
and has shown nothing. Guests from addresses where a member proved itself before have places of their own, so that
whatever strangers do, members get in. When the strangers' places are taken the oldest guest of the address that holds
most gives way: an honest handshake takes a fraction of a second, who sits longer only wants the chair.

An address here is what one party is likely to own: an IPv4 address, or 64 bits of an IPv6 address.

Times are seconds of a clock that never goes back; whoever calls says what it shows.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
from dataclasses import field
from enum import Enum
from typing import Final, TypeAlias

from ca.addresses import maybe_address
from ca.values import dataclass
from syncd.protocol.allowance import Allowance

MAX_KNOWN: Final = 4096
MAX_MEASURED: Final = 4096
"""Addresses whose pace is remembered; of more, the one that was quiet longest starts afresh."""

Guest: TypeAlias = int


class Turned(Enum):
    """Why somebody is turned away at the door."""

    TOO_FAST = "too many connections a second from one address"
    ALL_TOO_FAST = "too many connections a second from strangers"


@dataclass(frozen=True, slots=True)
class Share:
    """Places, and connections per second of one address."""

    places: int
    places_per_address: int
    per_s: float
    burst: float


@dataclass(frozen=True, slots=True)
class DoorLimits:
    """`members` holds for addresses where a member proved itself; `per_s` and `burst` for all strangers together."""

    strangers: Share = Share(128, 16, 20.0, 60.0)
    members: Share = Share(256, 64, 100.0, 300.0)
    per_s: float = 60.0
    burst: float = 240.0


class Known:
    """Addresses where a member proved itself, the newest 4,096."""

    def __init__(self) -> None:
        self._owners: OrderedDict[str, None] = OrderedDict()

    def note(self, host: str) -> None:
        """A member proved itself there, or did so in an earlier life of this daemon."""
        owner = owner_of(host)
        self._owners[owner] = None
        self._owners.move_to_end(owner)
        if len(self._owners) > MAX_KNOWN:
            self._owners.popitem(last=False)

    def __contains__(self, host: str) -> bool:
        return owner_of(host) in self._owners


@dataclass(slots=True)
class _Side:
    """The guests of one kind of address, oldest first, and how many each address has."""

    share: Share
    guests: OrderedDict[Guest, str] = field(default_factory=OrderedDict)
    counted: Counter[str] = field(default_factory=Counter)

    def add(self, guest: Guest, owner: str) -> None:
        self.guests[guest] = owner
        self.counted[owner] += 1

    def remove(self, guest: Guest) -> None:
        owner = self.guests.pop(guest)
        self.counted[owner] -= 1
        if not self.counted[owner]:
            del self.counted[owner]

    def maybe_leaving(self, owner: str) -> Guest | None:
        """Who has to go before another guest of this address comes."""
        if self.counted[owner] >= self.share.places_per_address:
            return self._oldest({owner})
        if len(self.guests) >= self.share.places:
            most = max(self.counted.values())
            return self._oldest({other for other, count in self.counted.items() if count == most})
        return None

    def _oldest(self, owners: set[str]) -> Guest:
        return next(guest for guest, owner in self.guests.items() if owner in owners)


class Door:
    """The places before the handshake."""

    def __init__(self, limits: DoorLimits, known: Known) -> None:
        self._known = known
        self._strangers = _Side(limits.strangers)
        self._members = _Side(limits.members)
        self._all_strangers = Allowance(limits.per_s, limits.burst, 0.0)
        self._pace: OrderedDict[tuple[str, bool], Allowance] = OrderedDict()
        self._next: Guest = 0

    def __len__(self) -> int:
        return len(self._strangers.guests) + len(self._members.guests)

    def knock(self, host: str, now: float) -> tuple[Guest, Guest | None] | Turned:
        """A new guest and the one that has to go for it, if any; or why there is no place."""
        owner, is_known = owner_of(host), host in self._known
        side = self._members if is_known else self._strangers
        if not self._pace_of(owner, is_known, side.share, now).take(now):
            return Turned.TOO_FAST
        if not is_known and not self._all_strangers.take(now):
            return Turned.ALL_TOO_FAST
        leaving = side.maybe_leaving(owner)
        if leaving is not None:
            side.remove(leaving)
        self._next += 1
        side.add(self._next, owner)
        return self._next, leaving

    def leave(self, guest: Guest) -> None:
        """A guest is through, or gone. Told twice it does no harm."""
        for side in (self._strangers, self._members):
            if guest in side.guests:
                side.remove(guest)

    def _pace_of(self, owner: str, is_known: bool, share: Share, now: float) -> Allowance:
        pace = self._pace.pop((owner, is_known), None) or Allowance(share.per_s, share.burst, now)
        if len(self._pace) >= MAX_MEASURED:
            self._pace.popitem(last=False)
        self._pace[owner, is_known] = pace
        return pace


def owner_of(host: str) -> str:
    """What one party is likely to own of this address."""
    address = maybe_address(host)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return host if address is None else str(address)
