"""Async. Who has connected and not proved anything yet: a place at the door, a task, and eight seconds.

Both listeners of a daemon begin here, the one of the peers and the one of the share links. `protocol.door` says who
gets a place and who has to go for it; this module accepts, ends who has to go, and gives the place back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import trio

from syncd.protocol.door import Door, Guest, Turned
from syncd.protocol.refusals import Event
from syncd.seams import Listener, RawStream

GUEST_S: Final = 8.0
"""How long a handshake may take: four round trips of two seconds. Everybody who says nothing is gone within ten."""

Serve = Callable[[RawStream, str, Guest], Awaitable[None]]


class Doorway:
    """The guests of one or several listeners."""

    def __init__(
        self, door: Door, maybe_refusal: Callable[[str], str | None], note: Callable[[Event, str, str], None]
    ) -> None:
        """`maybe_refusal`: why a host may not come at all. `note` hears of everybody who is cut without a byte: for
        what (ADDRESS, CROWD), the address and why."""
        self._door = door
        self._maybe_refusal = maybe_refusal
        self._note = note
        self._scopes: dict[Guest, trio.CancelScope] = {}

    def __len__(self) -> int:
        return len(self._door)

    async def run(self, listeners: Sequence[Listener], serve: Serve) -> None:
        """Accept until cancelled; the listeners are closed then. `serve` has to pass through `shaking_hands`."""
        try:
            async with trio.open_nursery() as nursery:
                for listener in listeners:
                    nursery.start_soon(self._accept, listener, serve, nursery)
        finally:
            for listener in listeners:
                listener.close()

    @contextmanager
    def shaking_hands(self, guest: Guest) -> Iterator[trio.CancelScope]:
        """The time that a guest has, and its place meanwhile. Cancelled earlier when somebody else gets the place."""
        scope = self._scopes[guest]
        scope.deadline = trio.current_time() + GUEST_S
        try:
            with scope:
                yield scope
        finally:
            self._door.leave(guest)
            del self._scopes[guest]

    async def _accept(self, listener: Listener, serve: Serve, nursery: trio.Nursery) -> None:
        while True:
            raw, address = await listener.accept()
            if (guest := self._maybe_guest(address)) is None:
                raw.abort()
            else:
                self._scopes[guest] = trio.CancelScope()
                nursery.start_soon(serve, raw, address, guest)

    def _maybe_guest(self, address: str) -> Guest | None:
        """A place at the door; None for whoever is cut without a byte."""
        host = host_of(address)
        if (why := self._maybe_refusal(host)) is not None:
            self._note(Event.ADDRESS, address, why)
            return None
        turn = self._door.knock(host, trio.current_time())
        if isinstance(turn, Turned):
            self._note(Event.CROWD, address, turn.value)
            return None
        guest, leaving = turn
        if leaving is not None:
            self._scopes[leaving].cancel()
        return guest


def host_of(address: str) -> str:
    """The host of `host:port`, without the brackets of IPv6."""
    return address.rpartition(":")[0].strip("[]")
