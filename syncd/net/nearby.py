"""Async. Who is connected to whom, one step further than our own connections reach.

In a folder with many members nobody is connected to all. So each page of heads tells, whenever that has changed, who
else is connected to whoever answers. From this a device knows whom it reaches through others, and where those may be
called. It is hearsay of members: nobody gets a right by it, and an address is a hint like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from ca.ids import DeviceId
from syncd.net.circle import Circle
from syncd.net.connections import Connection
from syncd.protocol.messages import MAX_ADDRESSES_OF_OTHER, MAX_NEAR, Near

SETTLE_S: Final = 1.0
"""Connections come and go in flocks, and some only to ask one thing: what is gone again by then is never told."""


class Nearby:
    """What one folder tells of its connections, and what it was told. `tell_forever` for its whole life."""

    def __init__(self, circle: Circle, look_again: Callable[[], None]) -> None:
        """`look_again`: lets whoever waits for news look whether there is anything to be told."""
        self._circle = circle
        self._look_again = look_again
        self._now: Near = ()
        self._moved = trio.Event()

    def moved(self) -> None:
        """A connection has come or gone."""
        self._moved.set()

    async def tell_forever(self) -> None:
        """Let others know, soon after anything has changed, until cancelled."""
        while True:
            await self._moved.wait()
            await trio.sleep(SETTLE_S)
            self._moved = trio.Event()
            now = self._connected()
            if now != self._now:
                self._now = now
                self._look_again()

    def _connected(self) -> Near:
        circle = self._circle
        return tuple(
            (device, tuple(circle.contacts.addresses_of(device)[:MAX_ADDRESSES_OF_OTHER]))
            for device in circle.connected()[:MAX_NEAR]
        )

    def others(self, device: DeviceId) -> Near:
        """Who is connected to us, for one of them."""
        return tuple(one for one in self._now if one[0] != device)

    def heard(self, connection: Connection, teller: DeviceId, near: Near) -> None:
        """A device that we have a link to says who is connected to it."""
        circle, own = self._circle, self._circle.membership.device
        members = tuple(one for one in near if one[0] != own and circle.membership.role_of(one[0]) is not None)
        circle.peer(teller).near = frozenset(device for device, _ in members)
        circle.note_others(connection, members)
