"""Pure. Whom to have links to, when a folder has more members than a device has links: the nearest, and some by chance.

The nearest, because from them content comes quickest. Some by chance, because nearest alone falls apart into islands:
two offices, each linked within itself, and no word between them. Eight of chance from each of a thousand members make
one net (each member's share of luck is its own, so all choose differently).

Nobody is refused a link because he is not chosen: free places are given to whoever answers first, and when all places
are taken only somebody chosen gets one, that of the farthest who is not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from blake3 import blake3

from ca.ids import DeviceId

MAX_LINKS: Final = 32
BY_CHANCE: Final = 8

Distance = int
"""How far somebody is: here, in the local network, elsewhere, unknown. Not milliseconds, which change with each
measurement: then links would take turns."""


class Selection:
    """The choice of one device in one folder."""

    def __init__(self, luck: bytes, most: int = MAX_LINKS, by_chance: int = BY_CHANCE) -> None:
        """`luck`: some random bytes of this device."""
        self.most = most
        self._luck = luck
        self._by_chance = by_chance

    def chosen(self, members: Collection[DeviceId], distance: Callable[[DeviceId], Distance]) -> set[DeviceId]:
        """The members to be linked to, if they can be reached."""
        by_luck = sorted(members, key=self._rank)
        nearest = sorted(by_luck, key=distance)[: self.most - self._by_chance]  # among equals, luck decides
        others = [device for device in by_luck if device not in nearest]
        return {*nearest, *others[: self._by_chance]}

    def maybe_surplus(
        self, linked: Collection[DeviceId], chosen: Collection[DeviceId], distance: Callable[[DeviceId], Distance]
    ) -> DeviceId | None:
        """Whose link is to end, because there are more than there should be."""
        if len(linked) <= self.most:
            return None
        strangers = [device for device in linked if device not in chosen]
        return max(strangers, key=lambda device: (distance(device), self._rank(device)), default=None)

    def _rank(self, device: DeviceId) -> bytes:
        return blake3(self._luck + device).digest()
