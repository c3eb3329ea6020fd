"""Pure. Who may be connected to the listener of share links behind the handshake, and how soon a request is looked at.

Who has shown a proof keeps a seat until it leaves. Strangers have seats of their own: when those are taken the one that
has sat longest, of the address with the most, gives way; so nobody keeps others out by only sitting there. Requests are
looked at in an even pace, of each address, of all strangers together, and of all others together: what strangers send
costs a computer that has other things to do a bounded part of its time, and whoever asks like a person never waits.

Times are seconds of a clock that never goes back; whoever calls says what it shows.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import field
from typing import Final, TypeAlias

from ca.values import dataclass

MAX_STRANGERS: Final = 64
MAX_STRANGERS_PER_ADDRESS: Final = 16
MAX_PROVED: Final = 96
MAX_PROVED_PER_ADDRESS: Final = 24

PER_ADDRESS_S: Final = 30.0
STRANGERS_S: Final = 40.0
PROVED_S: Final = 80.0
"""Requests a second that are looked at."""
BURST_S: Final = 2.0
"""So much of the time in which nothing was asked may be made up for at once."""
MAX_MEASURED: Final = 4_096
"""Addresses whose pace is remembered; of more, the one that was quiet longest starts afresh."""

Seat: TypeAlias = int


@dataclass(slots=True)
class _Row:
    """Seats of one kind, the longest taken first, and how many each address has."""

    seats: OrderedDict[Seat, str] = field(default_factory=OrderedDict)
    counted: Counter[str] = field(default_factory=Counter)

    def add(self, seat: Seat, owner: str) -> None:
        self.seats[seat] = owner
        self.counted[owner] += 1

    def remove(self, seat: Seat) -> str:
        owner = self.seats.pop(seat)
        self.counted[owner] -= 1
        if not self.counted[owner]:
            del self.counted[owner]
        return owner

    def longest_of(self, owners: set[str]) -> Seat:
        return next(seat for seat, owner in self.seats.items() if owner in owners)


class Seats:
    """The connections behind their handshake."""

    def __init__(self) -> None:
        self._strangers, self._proved = _Row(), _Row()
        self._next: Seat = 0

    def __len__(self) -> int:
        return len(self._strangers.seats) + len(self._proved.seats)

    def sit(self, owner: str) -> tuple[Seat, Seat | None]:
        """A seat for a stranger, and who has to leave for it, if anybody."""
        row, leaving = self._strangers, None
        if row.counted[owner] >= MAX_STRANGERS_PER_ADDRESS:
            leaving = row.longest_of({owner})
        elif len(row.seats) >= MAX_STRANGERS:
            most = max(row.counted.values())
            leaving = row.longest_of({other for other, count in row.counted.items() if count == most})
        if leaving is not None:
            row.remove(leaving)
        self._next += 1
        row.add(self._next, owner)
        return self._next, leaving

    def prove(self, seat: Seat) -> None:
        """A right proof came from this seat. While all seats of those are taken it stays a stranger's."""
        owner = self._strangers.seats.get(seat)
        if owner is None or len(self._proved.seats) >= MAX_PROVED:
            return
        if self._proved.counted[owner] < MAX_PROVED_PER_ADDRESS:
            self._strangers.remove(seat)
            self._proved.add(seat, owner)

    def has_proved(self, seat: Seat) -> bool:
        """Whether it has a seat that nobody takes away."""
        return seat in self._proved.seats

    def leave(self, seat: Seat) -> None:
        """Somebody is gone. Told twice it does no harm."""
        for row in (self._strangers, self._proved):
            if seat in row.seats:
                row.remove(seat)


class _Line:
    """Requests one after the other, so many a second."""

    __slots__ = ("_free_at", "_per_s")

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._free_at = float("-inf")

    def wait_s(self, now: float) -> float:
        """Take the next place in the line; how long it is until then."""
        at = max(self._free_at, now - BURST_S)
        self._free_at = at + 1 / self._per_s
        return max(0.0, at - now)


class Lines:
    """When the next request is looked at."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, _Line] = OrderedDict()
        self._strangers, self._proved = _Line(STRANGERS_S), _Line(PROVED_S)

    def wait_s(self, owner: str, has_proved: bool, now: float) -> float:
        """How long a request that has come now has to wait."""
        own = self._of.pop(owner, None) or _Line(PER_ADDRESS_S)
        if len(self._of) >= MAX_MEASURED:
            self._of.popitem(last=False)
        self._of[owner] = own
        everybody = self._proved if has_proved else self._strangers
        return max(own.wait_s(now), everybody.wait_s(now))
