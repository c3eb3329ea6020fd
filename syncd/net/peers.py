"""Async. One folder's peers: who is connected, whom to dial, and what to do when a label is no longer known.

Each side dials for its own needs: a link is a connection on which we ask, a caller is one on which we answer. Addresses
come from the configuration, from announcements, from peers and from what was written down before; none is evidence, so
each is tried when `contacts` says so, and the hello tells who answers. A label that the other side does not know means
that one of us sleeps on an older epoch: both meet on the control channel, where device keys count, and part with the
same roster.

A peer that cannot dial us gets connections on which the HTTP roles are swapped, and asks on those.

Whatever a peer does, or our own work does with its link, ends that connection and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final, Protocol

import trio

from ca.device import DeviceKeys
from ca.ids import DeviceId, EntryHash, EpochId
from ca.roster import Relation
from syncd.engine.membership import Update
from syncd.errors import PeerUnavailable, RemoteProtocolError, TrustError
from syncd.http import Client, Limits
from syncd.net.connections import Connection, Connections
from syncd.net.contacts import Contacts, Place, Source, place_of
from syncd.net.control import settle
from syncd.net.dial import dial, dial_first
from syncd.net.folders import AddressBook, Membership
from syncd.net.greeting import Others, greet, head_of
from syncd.net.link import Line, Lines, PeerLink
from syncd.net.serve import Server
from syncd.protocol import announcements
from syncd.protocol.exchange import FolderServer, Link
from syncd.protocol.hello import Reflection
from syncd.protocol.messages import MAX_ADDRESSES_OF_OTHER, MAX_OTHERS, Hello, RosterSubmit
from syncd.protocol.tls import UnknownLabel
from syncd.seams import Clock, Found, Network, Random

log = logging.getLogger(__name__)

MAX_LINKS: Final = 32
DRAIN_S: Final = 120.0
PUSH_S: Final = 4.0
PASS_ON_S: Final = 0.5
"""Who learns an entry from another device waits up to so long before passing it on: mostly its author was quicker."""
MEETING_S: Final = 20.0
MEET_AGAIN_S: Final = 1.0
STRANGERS_ASKED: Final = 8
"""Devices that an address of unknown owner is asked for on the control channel, each time others."""
INTRODUCTIONS: Final = 8
INTRODUCE_S: Final = 0.5
SWAPPED_LINES: Final = 3
UNCALLED_S: Final = 10.0
"""A peer that has not called us for so long after we reached it is taken for one that cannot."""
OFFER_WAIT_S: Final = 10.0
FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 60.0
CLIENT_LIMITS: Final = Limits(answer_s=30.0)

FORCED: Final = True

_Failure = (PeerUnavailable, TrustError, RemoteProtocolError)


class Folder(FolderServer, Protocol):
    """The work of a folder: serves, and uses links."""

    async def run_link(self, link: Link) -> None:
        """Exchange until the link is lost."""
        ...


@dataclass(slots=True)
class Surroundings:
    """What all keepers of the daemon share."""

    network: Network
    clock: Clock
    keys: DeviceKeys
    connections: Connections
    book: AddressBook
    random: Random
    static: tuple[str, ...] = ()
    listening: Callable[[], tuple[str, ...]] = tuple
    """Where we can be reached; nothing for a node that only dials."""
    server: Server | None = None


@dataclass(frozen=True, slots=True)
class Contact:
    """What `status` and `peers` say of one device. `last_seen` in unix seconds; `how` is lan or wan."""

    connected: bool = False
    last_seen: float | None = None
    address: str | None = None
    how: str | None = None
    rtt_ms: float | None = None


@dataclass(eq=False, slots=True)
class _Peer:
    """What is known of one device."""

    contact: Contact = Contact()
    link: PeerLink | None = None
    is_offered: bool = False
    """The link runs on connections that the peer dialled and swapped."""
    head: EntryHash | None = None
    """The roster head that it went by when we last heard."""
    callers: set[Connection] = field(default_factory=set)
    offered: list[Line] = field(default_factory=list)
    more_offered: trio.Event = field(default_factory=trio.Event)
    meeting: trio.Lock = field(default_factory=trio.Lock)
    met_at: float = -inf
    strikes: int = 0
    shunned_until: float = -inf
    """We neither call nor ask a peer with whom it went wrong, for a time that grows with each time."""


class PeerKeeper:
    """Keeps one folder connected. `run` for its whole life. Implements `serve.Host`."""

    def __init__(self, around: Surroundings, membership: Membership, folder: Folder) -> None:
        self.membership = membership
        self.server: FolderServer = folder
        self._around = around
        self._folder = folder
        self._contacts = Contacts(self._luck)
        self._peers: dict[DeviceId, _Peer] = {}
        self._draining: dict[EpochId, float] = {}
        self._nursery: trio.Nursery | None = None
        self._woken = trio.Event()
        self._push_at = inf
        self._push_woken = trio.Event()
        self._learning = 0
        self._asked_strangers = 0
        self._troubles: dict[str, str] = {}
        membership.on_update.insert(0, self._membership_moved)  # connections are cut before anybody else hears of it

    # life ----------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether the folder is at work, and may be served."""
        return self._nursery is not None

    async def run(self) -> None:
        """Dial, and stay connected, until cancelled."""
        self._contacts.note(self._around.static, Source.STATIC, trio.current_time())
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._load)
                nursery.start_soon(self._dial_forever)
                nursery.start_soon(self._push_forever)
        finally:
            self._nursery = None
            self.membership.on_update.remove(self._membership_moved)
            self._around.connections.close_folder(self.membership.folder_id)

    async def _load(self) -> None:
        seen = await self._around.book.last_seen(self.membership.folder_id)
        for device, when in sorted(seen.items()):
            peer = self._peer(device)
            peer.contact = replace(peer.contact, last_seen=peer.contact.last_seen or when)
        await self._remember([device.id for device in self.membership.devices()])

    async def _remember(self, devices: list[DeviceId]) -> None:
        for device in devices:
            addresses = await self._around.book.addresses(device)
            self._contacts.note(addresses, Source.REMEMBERED, trio.current_time(), device)
        self._wake()

    def _peer(self, device: DeviceId) -> _Peer:
        return self._peers.setdefault(device, _Peer())

    def _wake(self) -> None:
        self._woken.set()

    # the roster moves ----------------------------------------------------------------------------------------

    def _membership_moved(self, update: Update) -> None:
        """Part of the very step in which the roster takes effect: connections that lost their right end here."""
        self._cut(update)
        if self._nursery is None:
            return
        now = trio.current_time()
        if update.changed or update.keys_arrived:
            self._contacts.kick(now)
            self._wake()
        if update.changed:
            self._push_at = min(self._push_at, now + (self._chance(PASS_ON_S) if self._learning else 0.0))
            self._push_woken.set()
        if update.admitted:
            self._nursery.start_soon(self._remember, sorted(update.admitted - {self.membership.device}))

    def _cut(self, update: Update) -> None:
        folder, connections = self.membership.folder_id, self._around.connections
        if update.we_are_out:
            connections.close_folder(folder)
        elif update.fork or (update.epoch_changed and update.evicts):
            for epoch in self._epochs_in_use(update):
                connections.close_epoch(folder, epoch)
            self._draining.clear()
        elif update.old_epoch is not None:
            connections.drain_epoch(folder, update.old_epoch, DRAIN_S)
            self._draining[update.old_epoch] = trio.current_time() + DRAIN_S
        for device in sorted(update.removed):
            connections.close_device(folder, device)

    def _epochs_in_use(self, update: Update) -> list[EpochId]:
        """Epochs to be closed: all but a new one, those that were still draining and handshakes under way included."""
        own = [one for one in self._around.connections if one.folder_id == self.membership.folder_id]
        epochs = {one.epoch_id for one in own if one.epoch_id is not None} | self._draining.keys()
        epochs.add(update.old_epoch or self.membership.epoch.id)
        return sorted(epochs - ({self.membership.epoch.id} if update.epoch_changed and not update.fork else set()))

    def serves_epoch(self, epoch: EpochId | None) -> bool:
        """Whether a connection of this epoch may still ask (`serve.Host`)."""
        return epoch == self.membership.epoch.id or (
            epoch is not None and trio.current_time() < self._draining.get(epoch, -inf)
        )

    # addresses -----------------------------------------------------------------------------------------------

    def found(self, found: Found) -> None:
        """An announcement was heard. If it carries this folder's tag, its addresses are worth a try at once."""
        key = self.membership.announcement_key
        if key is not None and announcements.tag(key, found.instance) in found.tags:
            now = trio.current_time()
            self._contacts.note(found.addresses, Source.FOUND, now)
            self._contacts.hurry(found.addresses, now)
            self._wake()

    def _told(self, connection: Connection, device: DeviceId, hello: Hello) -> None:
        """A proved device says where it listens (perhaps that is where it calls from), and where it saw others."""
        host, is_near = connection.address.rpartition(":")[0], place_of(connection.address) is Place.HERE
        guesses = [f"{host}:{one.rpartition(':')[2]}" for one in hello.addresses] if connection.accepted else []
        self._note_told(device, [*hello.addresses, *guesses], is_near, device)
        for other, addresses in hello.others:
            if other != self.membership.device and self.membership.role_of(other) is not None:
                self._note_told(other, list(addresses), is_near, device)

    def _note_told(self, device: DeviceId, addresses: list[str], is_near: bool, source: DeviceId) -> None:
        """Addresses of this computer itself mean something only to those who are on it."""
        fresh = [
            one
            for one in dict.fromkeys(addresses)
            if (is_near or place_of(one) is not Place.HERE) and self._contacts.device_at(one) != device
        ]
        if not fresh or self._nursery is None:
            return
        self._contacts.note(fresh, Source.TOLD, trio.current_time(), device)
        self._wake()
        self._nursery.start_soon(self._around.book.note, device, fresh, "told")
        if source == device:
            self._nursery.start_soon(self._introduce, device)

    def others(self, device: DeviceId | None) -> Others:
        """Where members are to whom we have a link, for another member (`serve.Host`)."""
        if device is not None and self.membership.role_of(device) is None:
            return ()
        known = {
            other: tuple(self._contacts.addresses_of(other)[:MAX_ADDRESSES_OF_OTHER])
            for other, peer in self._peers.items()
            if peer.link is not None and other != device
        }
        return tuple(sorted((other, addresses) for other, addresses in known.items() if addresses))[:MAX_OTHERS]

    async def _introduce(self, newcomer: DeviceId) -> None:
        """Make a device that just said where it is known to some of those who are connected."""
        await trio.sleep(self._chance(INTRODUCE_S))
        linked = [
            device for device, peer in sorted(self._peers.items()) if peer.link is not None and device != newcomer
        ]
        linked.sort(key=lambda device: self._luck())
        if self._nursery is not None:
            for device in linked[:INTRODUCTIONS]:
                self._nursery.start_soon(self._meet, device, self._addresses_of(device), FORCED)

    # dialling ------------------------------------------------------------------------------------------------

    async def _dial_forever(self) -> None:
        while True:
            self._woken = trio.Event()
            lacking = self._lacking()
            if lacking and self._nursery is not None:
                for address in self._contacts.take_due(trio.current_time(), lacking):
                    self._nursery.start_soon(self._call, address)
            due = self._contacts.next_due(lacking) if lacking else inf
            with trio.move_on_at(min(due, self._end_of_shunning())):
                await self._woken.wait()

    def _lacking(self) -> set[DeviceId]:
        """Members to whom we have no link, as long as we may and want to have more."""
        linked = sum(peer.link is not None for peer in self._peers.values())
        if self.membership.is_out or linked >= MAX_LINKS:
            return set()
        devices = [device.id for device in self.membership.devices()]
        return {device for device in devices if self._peer(device).link is None and not self._is_shunned(device)}

    def _is_shunned(self, device: DeviceId) -> bool:
        return trio.current_time() < self._peer(device).shunned_until

    def _end_of_shunning(self) -> float:
        now = trio.current_time()
        return min((peer.shunned_until for peer in self._peers.values() if peer.shunned_until > now), default=inf)

    async def _call(self, address: str) -> None:
        """Try one address: link to whoever answers, for as long as it lasts."""
        contacts, head = self._contacts, self.membership.head
        try:
            await self._link_at(address)
        except Reflection:
            contacts.is_us(address)
        except UnknownLabel as error:
            self._note_trouble(address, error)
            moved = head != self.membership.head or await self._consult(address)
            contacts.failed(address, trio.current_time())
            if moved:
                contacts.hurry([address], trio.current_time())
        except _Failure as error:
            self._note_trouble(address, error)
            contacts.failed(address, trio.current_time())
        except Exception:
            log.exception("the call to %s failed", address)
            contacts.failed(address, trio.current_time())
        self._wake()

    async def _link_at(self, address: str) -> None:
        contacts = self._contacts
        line = await self._open(address, contacts.device_at(address))
        contacts.reached(address, line.device, trio.current_time())
        if self._peer(line.device).link is None:
            await self._use(line, address)
            contacts.ended(address, trio.current_time())
            if not self._is_shunned(line.device):
                self._troubles.pop(address, None)
        else:
            line.end()
            contacts.unused(address)

    def _note_trouble(self, address: str, error: Exception) -> None:
        """Say what is wrong with an address once, until it works again or something else is wrong."""
        words = str(error)
        if self._troubles.get(address) != words:
            self._troubles[address] = words
            log.log(logging.DEBUG if isinstance(error, PeerUnavailable) else logging.INFO, "%s: %s", address, words)

    async def _open(self, address: str, device: DeviceId | None) -> Line:
        """A new line. Raises PeerUnavailable, TrustError, RemoteProtocolError."""
        if self._nursery is None:
            raise PeerUnavailable("this folder is being stopped")
        line: Line = await self._nursery.start(self._keep_line, address, device)
        return line

    async def _keep_line(self, address: str, device: DeviceId | None, *, task_status: trio.TaskStatus[Line]) -> None:
        """Open a line, and hold its connection until it is over or cut."""
        line: Line | None = None
        around = self._around
        if not self.membership.is_current:
            raise UnknownLabel("the newest epoch is not open here")
        stream = await dial(around.network, around.clock, address, self.membership.outgoing_member())
        try:
            with around.connections.hold(stream, address, accepted=False) as connection:
                line, _ = await self._greet(connection, device)
                task_status.started(line)
                await line.over.wait()
                if line.client.is_usable:
                    await stream.aclose()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            log.debug("%s: cut while saying goodbye: %s", address, error)
        finally:
            if line is not None:
                line.over.set()
        if line is None:
            raise PeerUnavailable("the connection was cut during its hello")

    async def _greet(
        self, connection: Connection, device: DeviceId | None, *, swap: bool = False
    ) -> tuple[Line, Hello]:
        """Say hello on a connection that we dialled. `device`: who was there the last time."""
        around, stream, membership = self._around, connection.stream, self.membership
        client = Client(stream, host=stream.endpoint.label, limits=CLIENT_LIMITS)
        addresses = around.listening()
        try:
            public, hello = await greet(
                client,
                stream,
                around.keys,
                membership.head_at,
                addresses,
                self.server,
                device,
                swap=swap,
                others=self.others(device),
            )
        except PeerUnavailable:
            if stream.refusal is not None:  # in TLS 1.3 the listener judges our certificate after we are done
                raise UnknownLabel(f"the peer turned our certificate down ({stream.refusal})") from None
            raise
        connection.device = public.id
        self._heard(public.id, hello)
        if membership.role_of(public.id) is None:
            raise TrustError("the device that answered is not a member that we know")
        self.server.own_journal_seen(hello.newest)
        self._told(connection, public.id, hello)
        return Line(client, connection, public.id, trio.current_time() - stream.opened_at), hello

    def _heard(self, device: DeviceId, hello: Hello) -> None:
        """How far along somebody says to be."""
        self._peer(device).head = EntryHash(hello.roster_head)
        if self.membership.relation(head_of(hello)) is Relation.UNKNOWN:
            self.catch_up_soon(device)

    # links ---------------------------------------------------------------------------------------------------

    async def _use(self, news: Line, address: str) -> None:
        """Run a link over connections that we dial, until it is lost."""

        async def open_line() -> Line:
            try:
                line = await self._open(address, news.device)
            except (TrustError, RemoteProtocolError) as error:
                raise PeerUnavailable(f"no further connection: {error}") from error
            if line.device != news.device:
                line.end()
                raise PeerUnavailable("another device answers at that address now")
            return line

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._offer_lines, address, news.device, nursery)
            await self._run_link(news, Lines(open_line, self._is_fresh), address, is_offered=False)
            nursery.cancel_scope.cancel()

    def _is_fresh(self, line: Line) -> bool:
        return line.connection.epoch_id == self.membership.epoch.id

    async def _run_link(self, news: Line, lines: Lines, address: str, *, is_offered: bool) -> None:
        """Let the folder work with a link, whatever comes of it."""
        link = PeerLink(news, lines, self._roster_head_of(news.device))
        with self._linked(link, address, is_offered):
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(lines.close_idle)
                    nursery.start_soon(self._write_seen, news.device, address)
                    with link.scope:
                        await self._folder.run_link(link)
                    nursery.cancel_scope.cancel()
            except* _Failure as errors:
                self._note_trouble(address, _first(errors))
                self._shun(news.device)
            except* Exception:
                log.exception("the work with %s failed", address)
                self._shun(news.device)
            finally:
                link.end()

    def _shun(self, device: DeviceId) -> None:
        """Have nothing to do with a peer for a while. Each time in a row it is twice as long."""
        peer, now = self._peer(device), trio.current_time()
        if now > peer.shunned_until + LONGEST_WAIT_S:
            peer.strikes = 0
        peer.shunned_until = now + min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**peer.strikes) * (0.5 + self._chance(0.5))
        peer.strikes = min(peer.strikes + 1, 16)

    @contextmanager
    def _linked(self, link: PeerLink, address: str, is_offered: bool) -> Iterator[None]:
        peer = self._peer(link.device)
        peer.link, peer.is_offered = link, is_offered
        peer.contact = Contact(True, self._around.clock.now(), address, _how(address), link.rtt_ms)
        log.info("connected to %s", address)
        try:
            yield
        finally:
            peer.link = None
            peer.contact = replace(peer.contact, connected=False, last_seen=self._around.clock.now())
            log.info("no longer connected to %s", address)
            self._wake()

    async def _write_seen(self, device: DeviceId, address: str) -> None:
        """Write down that somebody is there: at once, and at the end."""
        book, folder = self._around.book, self.membership.folder_id
        await book.note(device, [address], "dialled")
        try:
            await book.seen(folder, device)
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await book.seen(folder, device)

    def _roster_head_of(self, device: DeviceId) -> Callable[[EntryHash], None]:
        def heard(head: EntryHash) -> None:
            self._peer(device).head = head
            if not self.membership.roster.knows(head):
                self.catch_up_soon(device)

        return heard

    # peers that cannot reach us ------------------------------------------------------------------------------

    async def _offer_lines(self, address: str, device: DeviceId, nursery: trio.Nursery) -> None:
        """Give a peer that cannot dial us connections on which it asks and we answer."""
        while self._around.listening():
            await trio.sleep(UNCALLED_S)
            if not self._peer(device).callers:
                break
        for _ in range(SWAPPED_LINES):
            nursery.start_soon(self._offer_line, address, device)

    async def _offer_line(self, address: str, device: DeviceId) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            try:
                accepted = await self._serve_there(address, device)
            except _Failure as error:
                log.debug("%s: %s", address, error)
                accepted = False
            wait_s = FIRST_WAIT_S if accepted else min(wait_s * 2, LONGEST_WAIT_S)
            await trio.sleep(wait_s / 2 + self._chance(wait_s / 2))

    async def _serve_there(self, address: str, device: DeviceId) -> bool:
        """Dial, and answer what the other side asks; whether it wanted to ask."""
        around = self._around
        is_wanted = True
        stream = await dial(around.network, around.clock, address, self.membership.outgoing_member())
        with around.connections.hold(stream, address, accepted=False) as connection:
            line, hello = await self._greet(connection, device, swap=True)
            is_wanted = line.device == device and hello.swap and around.server is not None
            if is_wanted and around.server is not None:
                await around.server.serve(connection, self, line.client.hand_over())
        return is_wanted

    def wants_lines(self, device: DeviceId) -> bool:
        """Whether we would ask on a connection that this device dialled (`serve.Host`)."""
        peer = self._peer(device)
        has_own = peer.link is not None and not peer.is_offered
        return self._nursery is not None and not has_own and not self._is_shunned(device)

    async def adopt(self, connection: Connection, device: DeviceId) -> None:
        """The HTTP roles were swapped: ask on this connection until it ends (`serve.Host`)."""
        peer = self._peer(device)
        client = Client(connection.stream, host=connection.stream.endpoint.label, limits=CLIENT_LIMITS)
        line = Line(client, connection, device)
        peer.offered.append(line)
        peer.more_offered.set()
        if peer.link is None and self._nursery is not None:
            self._nursery.start_soon(self._use_offered, device)
        try:
            await line.over.wait()
        finally:
            line.over.set()
            if line in peer.offered:
                peer.offered.remove(line)

    async def _use_offered(self, device: DeviceId) -> None:
        """Run links over the connections that a device offers, as long as there are any and none of our own."""
        peer = self._peer(device)

        async def open_line() -> Line:
            with trio.move_on_after(OFFER_WAIT_S):
                while not peer.offered:
                    peer.more_offered = trio.Event()
                    await peer.more_offered.wait()
                return peer.offered.pop()
            raise PeerUnavailable("the peer offers no further connection")

        while peer.offered and peer.link is None and not self._is_shunned(device):
            news = peer.offered.pop()
            lines = Lines(open_line, lambda line: self.serves_epoch(line.connection.epoch_id))
            await self._run_link(news, lines, news.connection.address, is_offered=True)
            await trio.sleep(FIRST_WAIT_S)

    # serving (serve.Host) ------------------------------------------------------------------------------------

    def greeted(self, connection: Connection, device: DeviceId, hello: Hello) -> None:
        """A proved device is connected to us, and says how far along it is and where it listens."""
        peer = self._peer(device)
        self._heard(device, hello)
        if self.membership.role_of(device) is None:
            return
        if connection.epoch_id is not None:
            peer.callers.add(connection)
            peer.contact = replace(peer.contact, last_seen=self._around.clock.now())
            self.server.own_journal_seen(hello.newest)
        self._told(connection, device, hello)
        if peer.link is None:
            self._contacts.kick(trio.current_time(), device)
            self._wake()

    def gone(self, connection: Connection) -> None:
        """A connection on which we answered has ended."""
        if connection.device is not None:
            self._peer(connection.device).callers.discard(connection)

    async def submit_untrusted(self, submit: RosterSubmit) -> Update:
        """An entry was pushed to us. Raises TrustError, RemoteProtocolError."""
        with self._learns():
            return await self.membership.submit_untrusted(submit)

    @contextmanager
    def _learns(self) -> Iterator[None]:
        self._learning += 1
        try:
            yield
        finally:
            self._learning -= 1

    # the control channel -------------------------------------------------------------------------------------

    def catch_up_soon(self, device: DeviceId) -> None:
        """That device knows roster entries, or has keys, that we lack: ask it."""
        if self._nursery is not None:
            self._nursery.start_soon(self._catch_up, device)

    async def _catch_up(self, device: DeviceId) -> None:
        if not self._peer(device).meeting.locked():
            await self._meet(device, self._addresses_of(device))

    def _addresses_of(self, device: DeviceId) -> list[str]:
        return self._contacts.addresses_of(device)

    async def _consult(self, address: str) -> bool:
        """Nobody there knows our label: meet whoever may be there; whether that changed anything."""
        device = self._contacts.device_at(address)
        candidates = self._strangers() if device is None else [device]
        before = self.membership.head, self.membership.is_current
        for candidate in candidates:
            was = self._peer(candidate).head
            if await self._meet(candidate, [address], FORCED):
                self._contacts.note([address], Source.TOLD, trio.current_time(), candidate)
                return before != (self.membership.head, self.membership.is_current) or self._peer(candidate).head != was
        return False

    def _strangers(self) -> list[DeviceId]:
        """Some of the devices without a link, each time others."""
        devices = sorted(self._lacking())
        start = self._asked_strangers % max(1, len(devices))
        self._asked_strangers += STRANGERS_ASKED
        return (devices[start:] + devices[:start])[:STRANGERS_ASKED]

    async def _meet(self, device: DeviceId, addresses: list[str], is_forced: bool = False) -> bool:
        """Part with the same roster; whether that came about. One meeting with a device at a time, and not too many.

        Without need only if it `is_forced`.
        """
        peer = self._peer(device)
        async with peer.meeting:
            is_level = peer.head == self.membership.head and self.membership.is_complete and self.membership.is_current
            if is_level and not is_forced:
                return True
            await trio.sleep_until(peer.met_at + MEET_AGAIN_S)
            peer.met_at = trio.current_time()
            try:
                with trio.fail_after(MEETING_S), self._learns():
                    peer.head = await self._meet_at(device, addresses)
            except (*_Failure, trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                log.debug("no meeting with %s: %s", addresses, error)
                return False
            except Exception:
                log.exception("the meeting at %s failed", addresses)
                return False
            return True

    async def _meet_at(self, device: DeviceId, addresses: list[str]) -> EntryHash:
        around, membership = self._around, self.membership
        outgoing = membership.outgoing_control(device)
        stream, address = await dial_first(around.network, around.clock, addresses, outgoing)
        head: EntryHash | None = None
        with around.connections.hold(stream, address, accepted=False) as connection:
            client = Client(stream, host=stream.endpoint.label, limits=CLIENT_LIMITS)
            public, hello = await greet(
                client, stream, around.keys, membership.head_at, around.listening(), others=self.others(device)
            )
            if public.id != device:
                raise TrustError("another device answered the control connection")
            connection.device = device
            self._told(connection, device, hello)
            head = await settle(client, head_of(hello), membership)
            await stream.aclose()
        if head is None:
            raise PeerUnavailable("the control connection was cut")
        return head

    async def _push_forever(self) -> None:
        while True:
            self._push_woken = trio.Event()
            if self._push_at <= trio.current_time():
                self._push_at = inf
                await self.push()
                continue
            with trio.move_on_at(self._push_at):
                await self._push_woken.wait()

    async def push(self) -> set[DeviceId]:
        """Give what is new in our roster to every device that can be reached now, for a few seconds; who has it."""
        head = self.membership.head
        devices = [device.id for device in self.membership.devices()]
        with trio.move_on_after(PUSH_S):
            async with trio.open_nursery() as nursery:
                for device in devices:
                    nursery.start_soon(self._meet, device, self._addresses_of(device))
        return {device for device in devices if self._peer(device).head == head}

    # looking in from outside ---------------------------------------------------------------------------------

    def contacts(self) -> dict[DeviceId, Contact]:
        """Every device that was ever seen, as it stands now."""
        return {device: _contact(peer) for device, peer in self._peers.items()}

    def _chance(self, most: float) -> float:
        return self._luck() * most

    def _luck(self) -> float:
        return int.from_bytes(self._around.random.token(4), "big") / (1 << 32)


def _contact(peer: _Peer) -> Contact:
    if peer.callers and not peer.contact.connected:
        address = sorted(caller.address for caller in peer.callers)[0]
        return replace(peer.contact, connected=True, address=address, how=_how(address))
    return peer.contact


def _how(address: str) -> str:
    """`lan` for private and local addresses, `wan` for others."""
    return "wan" if place_of(address) is Place.WAN else "lan"


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, Exception)
    return found
