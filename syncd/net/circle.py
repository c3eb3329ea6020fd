"""Async. What one folder knows of its members: where they may be, how far along they are, and who is connected.

It decides nothing. The links (`peers`) and the meetings on control connections (`meetings`) both read and write it, and
neither knows the other's insides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import field, replace
from math import inf
from typing import Final

import trio

from ca.device import DeviceKeys
from ca.ids import DeviceId, EntryHash
from ca.values import dataclass
from syncd.errors import PeerUnavailable, RemoteProtocolError, TrustError
from syncd.http import Limits
from syncd.net.connections import Connection, Connections
from syncd.net.contacts import Contacts, Place, Source, place_of
from syncd.net.folders import AddressBook, Commands, Membership
from syncd.net.greeting import Others
from syncd.net.link import Line, PeerLink
from syncd.net.selection import Distance, Selection
from syncd.net.serve import Server
from syncd.protocol.messages import MAX_ADDRESSES_OF_OTHER, MAX_OTHERS, Hello
from syncd.protocol.refusals import Refusals
from syncd.protocol.twins import Twins
from syncd.seams import Clock, Network, Random

CLIENT_LIMITS: Final = Limits(answer_s=30.0)

FAILURE: Final = (PeerUnavailable, TrustError, RemoteProtocolError)
"""What can go wrong with a peer without anybody's fault on this side."""


@dataclass(slots=True)
class Surroundings:
    """What all keepers of the daemon share."""

    network: Network
    clock: Clock
    keys: DeviceKeys
    connections: Connections
    book: AddressBook
    random: Random
    refusals: Refusals
    static: tuple[str, ...] = ()
    listening: Callable[[], tuple[str, ...]] = tuple
    """Where we can be reached; nothing for a node that only dials."""
    server: Server | None = None
    twins: Twins = field(default_factory=Twins)
    commands: Commands | None = None
    """Who obeys what others command; None: nobody."""


@dataclass(frozen=True, slots=True)
class Contact:
    """What `status` and `peers` say of one device. `last_seen` in unix seconds; `how` is lan or wan."""

    connected: bool = False
    last_seen: float | None = None
    address: str | None = None
    how: str | None = None
    rtt_ms: float | None = None


@dataclass(eq=False, slots=True)
class Peer:
    """What is known of one device."""

    contact: Contact = Contact()
    link: PeerLink | None = None
    is_offered: bool = False
    """The link runs on connections that the peer dialled and swapped."""
    head: EntryHash | None = None
    """The roster head that it went by when we last heard."""
    branches: frozenset[EntryHash] = frozenset()
    """The ends of the roster's other branches that we have handed to it."""
    callers: set[Connection] = field(default_factory=set)
    offered: list[Line] = field(default_factory=list)
    more_offered: trio.Event = field(default_factory=trio.Event)
    meeting: trio.Lock = field(default_factory=trio.Lock)
    met_at: float = -inf
    strikes: int = 0
    shunned_until: float = -inf
    """We neither call nor ask a peer with whom it went wrong, for a time that grows with each time."""


class Circle:
    """The members of one folder, as this device knows them."""

    def __init__(self, around: Surroundings, membership: Membership) -> None:
        self.around = around
        self.membership = membership
        self.contacts = Contacts(self.luck)
        self.peers: dict[DeviceId, Peer] = {}
        self.selection = Selection(around.random.token(16))
        self.woken = trio.Event()
        """Somebody may be worth a call now."""
        self._nursery: trio.Nursery | None = None

    @property
    def is_open(self) -> bool:
        """Whether the folder is at work."""
        return self._nursery is not None

    def open(self, nursery: trio.Nursery) -> None:
        """Start work: tasks run in this nursery until `close`."""
        self._nursery = nursery

    def close(self) -> None:
        """No more work."""
        self._nursery = None

    def start(self, work: Callable[..., Awaitable[object]], *args: object) -> None:
        """Start a task, unless the folder is being stopped."""
        if self._nursery is not None:
            self._nursery.start_soon(work, *args)

    def peer(self, device: DeviceId) -> Peer:
        """What is known of a device."""
        return self.peers.setdefault(device, Peer())

    def wake(self) -> None:
        """Let the links look again whom to call."""
        self.woken.set()

    # what is written down ------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Recall when members were seen, and where."""
        seen = await self.around.book.last_seen(self.membership.folder_id)
        for device, when in sorted(seen.items()):
            peer = self.peer(device)
            peer.contact = replace(peer.contact, last_seen=peer.contact.last_seen or when)
        await self.remember([device.id for device in self.membership.devices()])

    async def remember(self, devices: list[DeviceId]) -> None:
        """Recall where these devices were reached before."""
        for device in devices:
            addresses = await self.around.book.addresses(device)
            for address in addresses:
                self.around.connections.known.note(address.rpartition(":")[0])
            self.contacts.note(addresses, Source.REMEMBERED, trio.current_time(), device)
        self.wake()

    # what others say -----------------------------------------------------------------------------------------

    def told(self, connection: Connection, device: DeviceId, hello: Hello) -> bool:
        """A proved device says where it listens (perhaps that is where it calls from), and where it saw others.

        Whether it is anywhere that we did not know of.
        """
        host, is_near = connection.address.rpartition(":")[0], place_of(connection.address) is Place.HERE
        guesses = [f"{host}:{one.rpartition(':')[2]}" for one in hello.addresses] if connection.accepted else []
        is_new = self._note_told(device, [*hello.addresses, *guesses], is_near)
        for other, addresses in hello.others:
            if other != self.membership.device and self.membership.role_of(other) is not None:
                self._note_told(other, list(addresses), is_near)
        return is_new

    def _note_told(self, device: DeviceId, addresses: list[str], is_near: bool) -> bool:
        """Addresses of this computer itself mean something only to those who are on it."""
        fresh = [
            one
            for one in dict.fromkeys(addresses)
            if (is_near or place_of(one) is not Place.HERE) and self.contacts.device_at(one) != device
        ]
        if not fresh or self._nursery is None:
            return False
        self.contacts.note(fresh, Source.TOLD, trio.current_time(), device)
        self.wake()
        self.start(self.around.book.note, device, fresh, "told")
        return True

    def others(self, device: DeviceId | None) -> Others:
        """Where members are to whom we have a link, for another member."""
        if device is not None and self.membership.role_of(device) is None:
            return ()
        known = {
            other: tuple(self.contacts.addresses_of(other)[:MAX_ADDRESSES_OF_OTHER])
            for other, peer in self.peers.items()
            if peer.link is not None and other != device
        }
        return tuple(sorted((other, addresses) for other, addresses in known.items() if addresses))[:MAX_OTHERS]

    # whom we lack --------------------------------------------------------------------------------------------

    def linked(self) -> list[DeviceId]:
        """The devices to whom we have a link."""
        return sorted(device for device, peer in self.peers.items() if peer.link is not None)

    def lacking(self) -> set[DeviceId]:
        """Members to whom we have no link, as long as we may and want to have more: when all places are taken, those
        only who are worth more than somebody linked."""
        if self.membership.is_out:
            return set()
        devices = {device.id for device in self.membership.devices()}
        free = {device for device in devices if self.peer(device).link is None and not self.is_shunned(device)}
        linked = self.linked()
        if not free or len(linked) < self.selection.most:
            return free
        chosen = self._chosen()
        return free & chosen if set(linked) - chosen else set()

    def shed(self) -> None:
        """End the link that is worth least, if there is one too many."""
        linked = self.linked()
        if len(linked) > self.selection.most:
            surplus = self.selection.maybe_surplus(linked, self._chosen(), self._distance)
            link = None if surplus is None else self.peer(surplus).link
            if link is not None:
                link.scope.cancel()

    def _chosen(self) -> set[DeviceId]:
        members = [device.id for device in self.membership.devices() if device.id != self.membership.device]
        return self.selection.chosen(members, self._distance)

    def _distance(self, device: DeviceId) -> Distance:
        """How far a member is, by where it is and was."""
        addresses = self.contacts.addresses_of(device)
        order = [Place.HERE, Place.LAN, Place.WAN]
        return min((order.index(place_of(address)) for address in addresses), default=len(order))

    def is_shunned(self, device: DeviceId) -> bool:
        """Whether we have nothing to do with a device for now."""
        return trio.current_time() < self.peer(device).shunned_until

    def in_view(self) -> dict[DeviceId, Contact]:
        """Every device that was ever seen, as it stands now."""
        return {device: _contact(peer) for device, peer in self.peers.items()}

    # chance --------------------------------------------------------------------------------------------------

    def chance(self, most: float) -> float:
        """A number from 0 to `most`."""
        return self.luck() * most

    def luck(self) -> float:
        """A number from 0 to 1."""
        return int.from_bytes(self.around.random.token(4), "big") / (1 << 32)


def how(address: str) -> str:
    """`lan` for private and local addresses, `wan` for others."""
    return "wan" if place_of(address) is Place.WAN else "lan"


def _contact(peer: Peer) -> Contact:
    # Who asked for news and left is still being answered: that alone is noticed when there is something to say.
    callers = [] if peer.contact.connected else [one.address for one in peer.callers if not one.stream.is_left]
    if callers:
        address = min(callers)
        return replace(peer.contact, connected=True, address=address, how=how(address))
    return peer.contact
