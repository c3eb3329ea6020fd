"""Pure. Whom to have links to, when a folder has more members than a device needs links: neighbours in a ring, the
nearest, and some by chance.

The ring is the same for all: members in the order of a hash. Everybody chooses those who come next on both sides, so
whoever can be reached is read by somebody, and what one publishes gets to all. Who is away is passed over, and the ring
closes behind it. The nearest, because from them content comes quickest. Some by chance, because so it is not far across
the ring (each member's share of luck is its own, so all choose differently).

Who is called calls back, as long as places are free. Who is chosen always gets one; when there are too many links, the
farthest who is not chosen goes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final

from blake3 import blake3

from ca.ids import DeviceId
from ca.values import dataclass

ON_EACH_SIDE: Final = 2
"""In the ring."""
NEAREST: Final = 3
BY_CHANCE: Final = 2
CHOSEN: Final = 2 * ON_EACH_SIDE + NEAREST + BY_CHANCE
"""With so many others in a folder, or fewer, everybody is linked to everybody."""
USUAL_LINKS: Final = 12
"""Chosen, or called back."""
MAX_LINKS: Final = 32
"""While something is needed that none of those linked has."""

Distance = int
"""How far somebody is: here, in the local network, elsewhere, unknown. Not milliseconds, which change with each
measurement: then links would take turns."""


@dataclass(frozen=True, slots=True)
class Places:
    """How many links of which kind, see the constants."""

    on_each_side: int = ON_EACH_SIDE
    nearest: int = NEAREST
    by_chance: int = BY_CHANCE
    usual: int = USUAL_LINKS
    most: int = MAX_LINKS

    @property
    def chosen(self) -> int:
        return 2 * self.on_each_side + self.nearest + self.by_chance


PLACES: Final = Places()


class Selection:
    """The choice of one device in one folder."""

    def __init__(self, own: DeviceId, luck: bytes, places: Places = PLACES) -> None:
        """`luck`: some random bytes of this device."""
        self.places = places
        self._own = own
        self._luck = luck
        self._ranks: dict[DeviceId, bytes] = {}

    def chosen(
        self,
        members: Collection[DeviceId],
        distance: Callable[[DeviceId], Distance],
        is_to_be_had: Callable[[DeviceId], bool] = lambda device: True,
    ) -> set[DeviceId]:
        """The members to be linked to: of each kind as many as should be of those that are to be had, and whoever comes
        before the last of them."""
        places = self.places
        if len(members) <= places.chosen:
            return set(members)
        ring = sorted([self._own, *members], key=lambda device: blake3(device).digest())
        at = ring.index(self._own)
        onwards = [*ring[at + 1 :], *ring[:at]]
        chosen = _until(onwards, places.on_each_side, is_to_be_had)
        chosen |= _until(onwards[::-1], places.on_each_side, is_to_be_had)
        others = sorted((device for device in members if device not in chosen), key=self._rank)
        nearest = _until(sorted(others, key=distance), places.nearest, is_to_be_had)  # among equals, luck decides
        lucky = _until([device for device in others if device not in nearest], places.by_chance, is_to_be_had)
        return chosen | nearest | lucky

    def maybe_surplus(
        self, linked: Collection[DeviceId], chosen: Collection[DeviceId], distance: Callable[[DeviceId], Distance]
    ) -> DeviceId | None:
        """Whose link is to end, because there are more than there should be."""
        if len(linked) <= self.places.most:
            return None
        strangers = [device for device in linked if device not in chosen]
        return max(strangers, key=lambda device: (distance(device), self._rank(device)), default=None)

    def _rank(self, device: DeviceId) -> bytes:
        rank = self._ranks.get(device)
        if rank is None:
            rank = self._ranks[device] = blake3(self._luck + device).digest()
        return rank


def _until(order: Iterable[DeviceId], count: int, is_to_be_had: Callable[[DeviceId], bool]) -> set[DeviceId]:
    """The first of them, until so many are among them that are to be had."""
    found: set[DeviceId] = set()
    for device in order:
        if count <= 0:
            break
        found.add(device)
        count -= is_to_be_had(device)
    return found
