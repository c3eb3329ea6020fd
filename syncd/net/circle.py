"""Async. What one folder knows of its members: where they may be, how far along they are, and who is connected.

It decides nothing. The links (`peers`) and the meetings on control connections (`meetings`) both read and write it, and
neither knows the other's insides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from math import inf
from typing import Final

import trio
from blake3 import blake3

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
from syncd.protocol.messages import MAX_ADDRESSES_OF_OTHER, MAX_OTHERS, Hello, Near
from syncd.protocol.refusals import Refusals
from syncd.protocol.twins import Twins
from syncd.seams import Clock, Network, Random

UNREAD_S: Final = 10.0
"""Who has called for so long is called back also by one that has links enough, if it falls to that one."""

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
    through: tuple[DeviceId, ...] = ()
    """Of whom is not connected: those who are, and say that it is connected to them."""

    @property
    def is_reached(self) -> bool:
        """Whether what is changed here gets there now, be it through others."""
        return self.connected or bool(self.through)


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
    near: frozenset[DeviceId] = frozenset()
    """Who is connected to it, as it said on the link that we have to it."""

    @property
    def is_here(self) -> bool:
        """Whether it is connected to us, on either side's call."""
        return self.is_linked or self.calls

    @property
    def is_linked(self) -> bool:
        """Whether we have a link to it, and it is still there."""
        return self.link is not None and not self.link.is_left

    @property
    def calls(self) -> bool:
        """Whether it asks us. Who asked for news and left is still being answered: that alone is noticed when there is
        something to say."""
        return any(not one.stream.is_left for one in self.callers)

    def called_at(self) -> float:
        """Since when it asks us."""
        return min((one.stream.opened_at for one in self.callers if not one.stream.is_left), default=inf)


class Circle:
    """The members of one folder, as this device knows them."""

    def __init__(self, around: Surroundings, membership: Membership) -> None:
        self.around = around
        self.membership = membership
        self.contacts = Contacts(self.luck)
        self.peers: dict[DeviceId, Peer] = {}
        self.selection = Selection(membership.device, around.random.token(16))
        self.woken = trio.Event()
        """Somebody may be worth a call now."""
        self.is_starved = False
        """What is wanted nobody has whom we have a link to."""
        self.wants = 0
        """How many more need what those of our choice may not have."""
        self.asked_for: Counter[DeviceId] = Counter()
        """Devices from whom somebody wants to hear."""
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

    def told(self, connection: Connection, device: DeviceId, hello: Hello) -> None:
        """A proved device says where it listens (perhaps that is where it calls from), and where it saw others."""
        host, is_near = connection.address.rpartition(":")[0], place_of(connection.address) is Place.HERE
        guesses = [f"{host}:{one.rpartition(':')[2]}" for one in hello.addresses] if connection.accepted else []
        self._note_told(device, [*hello.addresses, *guesses], is_near)
        self.note_others(connection, hello.others)

    def note_others(self, connection: Connection, others: Near) -> None:
        """What a proved device says of where others are."""
        is_near = place_of(connection.address) is Place.HERE
        for other, addresses in others:
            if other != self.membership.device and self.membership.role_of(other) is not None:
                self._note_told(other, list(addresses), is_near)

    def _note_told(self, device: DeviceId, addresses: list[str], is_near: bool) -> None:
        """Addresses of this computer itself mean something only to those who are on it."""
        fresh = [
            one
            for one in dict.fromkeys(addresses)
            if (is_near or place_of(one) is not Place.HERE) and self.contacts.device_at(one) != device
        ]
        if not fresh or self._nursery is None:
            return
        self.contacts.note(fresh, Source.TOLD, trio.current_time(), device)
        self.wake()
        self.start(self.around.book.note, device, fresh, "told")

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

    def connected(self) -> list[DeviceId]:
        """Members who are connected, on either side's call."""
        here = (device for device, peer in self.peers.items() if peer.is_here)
        return sorted(device for device in here if self.membership.role_of(device) is not None)

    def unlinked(self) -> set[DeviceId]:
        """Members to whom we could have a link, and have none."""
        devices = (device.id for device in self.membership.devices())
        return {device for device in devices if self.peer(device).link is None and not self.is_shunned(device)}

    def lacking(self) -> set[DeviceId]:
        """Members to whom we have no link and should have one: those of our choice, whoever has chosen us, and all as
        long as somebody is in want. When all places are taken, only who is worth more than somebody linked."""
        if self.membership.is_out:
            return set()
        free, linked = self.unlinked(), self.linked()
        if not free:
            return free
        chosen = self._chosen()
        if len(linked) >= self.selection.places.most:
            return free & chosen if set(linked) - chosen else set()
        if self.wants or self.is_starved:
            return free
        callers = {device for device in free if self.peer(device).calls}
        if len(linked) >= self.selection.places.usual:
            callers = {device for device in callers if self._falls_to_us(device)}
        return free & chosen | callers

    def _falls_to_us(self, device: DeviceId) -> bool:
        """Whether it is for us to read who calls, whatever links we have: who reaches few others may have chosen those
        alone who have links enough, and nobody would ever hear of what it changes. Of all to whom it is connected, the
        first in an order of its own sees nobody before itself."""
        if trio.current_time() < self.peer(device).called_at() + UNREAD_S:
            return False
        own = _order(device, self.membership.device)
        return all(own < _order(device, one) for one in self.linked() if device in self.peers[one].near)

    def next_unread(self) -> float:
        """When somebody will have called for long enough next; infinity for never."""
        now = trio.current_time()
        free = (peer for peer in self.peers.values() if peer.link is None and peer.calls)
        return min((at for peer in free if (at := peer.called_at() + UNREAD_S) > now), default=inf)

    def shed(self) -> None:
        """End the link that is worth least, if there is one too many."""
        linked = self.linked()
        if len(linked) > self.selection.places.most:
            surplus = self.selection.maybe_surplus(linked, self._chosen(), self._distances())
            link = None if surplus is None else self.peer(surplus).link
            if link is not None:
                link.scope.cancel()

    @contextmanager
    def in_want(self) -> Iterator[None]:
        """While the block runs, have links to as many as may be: one of them may have what the chosen ones have not."""
        self.wants += 1
        self.wake()
        try:
            yield
        finally:
            self.wants -= 1

    def starves(self, is_so: bool) -> None:
        """Whether blocks are wanted that nobody has whom we have a link to."""
        if is_so != self.is_starved:
            self.is_starved = is_so
            self.wake()

    @contextmanager
    def asking_for(self, device: DeviceId) -> Iterator[None]:
        """While the block runs, have a link to this device before all others."""
        self.asked_for[device] += 1
        self.wake()
        try:
            yield
        finally:
            self.asked_for[device] -= 1
            self.asked_for += Counter()

    def may_link(self) -> set[DeviceId]:
        """Members to whom we should have a link, have none, and may soon have one."""
        return self.lacking() & self.contacts.promising()

    def _chosen(self) -> set[DeviceId]:
        """The best members, as many as are to be had, and those that are better and cannot be reached just now."""
        members = [device.id for device in self.membership.devices()]
        promising = self.contacts.promising() | set(self.linked())
        return self.selection.chosen(members, self._distances(), promising.__contains__) | self.asked_for.keys()

    def _distances(self) -> Callable[[DeviceId], Distance]:
        """How far members are, by where they are and were."""
        places = self.contacts.places()
        return lambda device: places.get(device, len(Place))

    def is_shunned(self, device: DeviceId) -> bool:
        """Whether we have nothing to do with a device for now."""
        return trio.current_time() < self.peer(device).shunned_until

    def in_view(self) -> dict[DeviceId, Contact]:
        """Every device that was ever seen, as it stands now."""
        through: dict[DeviceId, list[DeviceId]] = {}
        for device in self.linked():
            for other in self.peers[device].near:
                through.setdefault(other, []).append(device)
        return {
            device: _contact(self.peer(device), through.get(device, ()))
            for device in sorted(self.peers.keys() | through.keys())
        }

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


def _order(device: DeviceId, other: DeviceId) -> bytes:
    """Where another stands among those who are connected to a device."""
    return blake3(device + other).digest()


def _contact(peer: Peer, through: Sequence[DeviceId]) -> Contact:
    if peer.is_linked:
        return peer.contact
    if peer.calls:
        address = min(one.address for one in peer.callers if not one.stream.is_left)
        return replace(peer.contact, connected=True, address=address, how=how(address))
    return replace(peer.contact, connected=False, through=tuple(through))
