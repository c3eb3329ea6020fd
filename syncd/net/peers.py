"""Async. One folder's peers: where they are, who is connected, and what to do when a label is no longer known.

Addresses come from the configuration, from announcements, from peers, and from what was written down before; none is
evidence, so each is tried, and the hello says who answers. One task for each address dials with back-off. A label that
the other side does not know means that one of us sleeps on an older epoch: both ask on the control channel, where
device keys count.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from random import Random as Dice
from typing import Protocol

import trio

from ca.device import DeviceKeys
from ca.ids import DeviceId, EntryHash
from ca.roster import Relation
from syncd.engine.membership import Update
from syncd.errors import PeerUnavailable, RemoteProtocolError, TrustError
from syncd.http import Client, Limits
from syncd.net.connections import Connection, Connections
from syncd.net.dial import dial
from syncd.net.folders import AddressBook, Membership
from syncd.net.greeting import greet, head_of
from syncd.net.link import Line, Lines, PeerLink
from syncd.net.serve import Server
from syncd.net.stream import TlsStream
from syncd.protocol import announcements
from syncd.protocol.exchange import FolderServer, Link
from syncd.protocol.hello import Reflection
from syncd.protocol.messages import MAX_ROSTER_PAGE_BYTES, Hello, RosterPage
from syncd.protocol.requests import Route, target_of
from syncd.protocol.tls import Outgoing, UnknownLabel
from syncd.seams import Clock, Found, Network

log = logging.getLogger(__name__)

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
SOON_S = 0.2
MAX_ADDRESSES = 128
MAX_LINKS = 32
DRAIN_S = 120.0
PUSH_S = 4.0
CONTROL_S = 20.0
SWAPPED_LINES = 3
CONSULT_AT_MOST = 8
"""Devices that an address of unknown owner is asked for on the control channel."""
CLIENT_LIMITS = Limits(answer_s=60.0)


class Folder(FolderServer, Protocol):
    """The work of a folder: serves, and uses links."""

    async def run_link(self, link: Link) -> None: ...


@dataclass(slots=True)
class Surroundings:
    """What all keepers of the daemon share."""

    network: Network
    clock: Clock
    keys: DeviceKeys
    connections: Connections
    book: AddressBook
    dice: Dice
    static: tuple[str, ...] = ()
    listening: Callable[[], tuple[str, ...]] = tuple
    """Where we can be reached; nothing for a node that only dials."""
    server: Server | None = None


@dataclass(slots=True)
class Contact:
    """What `status` and `peers` say of one device."""

    connected: bool = False
    last_seen: float | None = None
    address: str | None = None
    how: str | None = None
    rtt_ms: float | None = None


@dataclass(eq=False, slots=True)
class _Address:
    """One address that is tried."""

    address: str
    device: DeviceId | None = None
    is_ours: bool = False
    wake: trio.Event = field(default_factory=trio.Event)
    wait_s: float = FIRST_WAIT_S


@dataclass(eq=False, slots=True)
class _Linked:
    """A device with a link: that of a connection we dialled, or of swapped ones."""

    link: PeerLink
    address: str


class PeerKeeper:
    """Keeps one folder connected. `run` for its whole life."""

    def __init__(self, around: Surroundings, membership: Membership, folder: Folder) -> None:
        self.membership = membership
        self.server: FolderServer = folder
        self._around = around
        self._folder = folder
        self._addresses: dict[str, _Address] = {}
        self._links: dict[DeviceId, _Linked] = {}
        self._contacts: dict[DeviceId, Contact] = {}
        self._swapped: dict[DeviceId, list[Line]] = {}
        self._swapped_event = trio.Event()
        self._behind: set[DeviceId] = set()
        self._behind_event = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._moved = trio.Event()

    # life ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Dial, and stay connected, until cancelled."""
        self.membership.on_update.append(self._membership_moved)
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                await self._load()
                nursery.start_soon(self._catch_up_forever)
                nursery.start_soon(self._link_swapped_forever)
                await trio.sleep_forever()
        finally:
            self._nursery = None
            self.membership.on_update.remove(self._membership_moved)

    async def _load(self) -> None:
        seen = await self._around.book.last_seen(self.membership.folder_id)
        for device, when in seen.items():
            self._contact(device).last_seen = when
        for address in self._around.static:
            self.try_address(address)
        await self._load_addresses()

    async def _load_addresses(self) -> None:
        for device in self.membership.devices():
            for address in await self._around.book.addresses(device.id):
                self.try_address(address, device.id)

    def _membership_moved(self, update: Update) -> None:
        folder, connections = self.membership.folder_id, self._around.connections
        if update.we_are_out:
            connections.close_folder(folder)
            return
        for device in update.removed:
            connections.close_device(folder, device)
        if update.epoch_changed and update.old_epoch is not None:
            if update.removed:
                connections.close_epoch(folder, update.old_epoch)
            else:
                connections.drain_epoch(folder, update.old_epoch, DRAIN_S)
        if update.changed and self._nursery is not None:
            self._nursery.start_soon(self._load_addresses)
            self._nursery.start_soon(self.push)
        self._wake_all()

    # addresses -----------------------------------------------------------------------------------------------

    def try_address(self, address: str, device: DeviceId | None = None) -> None:
        """Try an address from now on; sooner if it is being waited for."""
        known = self._addresses.get(address)
        if known is None:
            if len(self._addresses) >= MAX_ADDRESSES or self._nursery is None:
                return
            known = self._addresses[address] = _Address(address, device)
            self._nursery.start_soon(self._keep, known)
            return
        known.device = known.device or device
        known.wait_s = FIRST_WAIT_S
        known.wake.set()

    def found(self, found: Found) -> None:
        """An announcement was heard. If it carries this folder's tag, its addresses are worth a try."""
        key = self.membership.announcement_key
        if key is not None and announcements.tag(key, found.instance) in found.tags:
            for address in found.addresses:
                self.try_address(address)

    def _wake_all(self) -> None:
        self._moved.set()
        self._moved = trio.Event()
        for known in self._addresses.values():
            known.wait_s = FIRST_WAIT_S
            known.wake.set()

    async def _keep(self, known: _Address) -> None:
        while not known.is_ours:
            if self._wants(known):
                known.wake = trio.Event()
                try:
                    await self._visit(known)
                    known.wait_s = FIRST_WAIT_S
                except Reflection:
                    known.is_ours = True
                    return
                except UnknownLabel as error:
                    log.debug("%s: %s", known.address, error)
                    await self._consult(known)
                except (PeerUnavailable, TrustError, RemoteProtocolError) as error:
                    self._note_trouble(known, error)
            await self._rest(known)

    def _wants(self, known: _Address) -> bool:
        if self.membership.is_out or len(self._links) >= MAX_LINKS:
            return False
        return known.device not in self._links

    async def _rest(self, known: _Address) -> None:
        wait_s = known.wait_s * (0.75 + 0.5 * self._around.dice.random())
        known.wait_s = min(known.wait_s * 2, LONGEST_WAIT_S)
        with trio.move_on_after(wait_s):
            await known.wake.wait()
            await trio.sleep(SOON_S * self._around.dice.random())

    def _note_trouble(self, known: _Address, error: Exception) -> None:
        level = logging.DEBUG if isinstance(error, PeerUnavailable) else logging.INFO
        if known.wait_s <= FIRST_WAIT_S or level == logging.INFO:
            log.log(level, "%s: %s", known.address, error)

    # member connections --------------------------------------------------------------------------------------

    async def _visit(self, known: _Address) -> None:
        """Dial an address as a member and use it as long as it lasts."""
        if not self.membership.is_current:
            raise UnknownLabel("the newest epoch is not open here")
        async with self._dialled(known.address, self.membership.outgoing_member()) as connection:
            line, device = await self._greet(connection)
            known.device = device
            if device in self._links:
                return
            await self._use(line, device, known.address)

    async def _greet(self, connection: Connection) -> tuple[Line, DeviceId]:
        around, stream = self._around, connection.stream
        client = Client(stream, host=stream.endpoint.label, limits=CLIENT_LIMITS)
        try:
            public, hello = await greet(
                client, stream, around.keys, self.membership.head_at, around.listening(), self.server
            )
        except PeerUnavailable:
            if stream.refusal is not None:  # in TLS 1.3 the listener judges our certificate after we are done
                raise UnknownLabel(f"the peer turned our certificate down ({stream.refusal})") from None
            raise
        connection.device = public.id
        if self.membership.relation(head_of(hello)) is Relation.UNKNOWN:
            self.catch_up_soon(public.id)
        if self.membership.role_of(public.id) is None:
            raise TrustError("the device that answered is not a member that we know")
        self.server.own_journal_seen(hello.newest)
        for address in hello.addresses:
            self.try_address(address, public.id)
        await around.book.note(public.id, [*hello.addresses], "peer")
        return Line(client, connection), public.id

    async def _use(self, news: Line, device: DeviceId, address: str) -> None:
        """Run a link whose news line this is, until it is lost."""
        await self._around.book.note(device, [address], "dialled")
        async with trio.open_nursery() as nursery:

            async def open_line() -> Line:
                line: Line = await nursery.start(self._hold_line, address, device)
                return line

            lines = Lines(open_line)
            nursery.start_soon(lines.close_idle)
            if not self._around.listening():
                for _ in range(SWAPPED_LINES):
                    nursery.start_soon(self._serve_swapped, address, device)
            await self._run_link(PeerLink(device, news, lines, self._roster_head_of(device)), device, address)
            nursery.cancel_scope.cancel()

    async def _run_link(self, link: PeerLink, device: DeviceId, address: str) -> None:
        contact = self._contact(device)
        self._links[device] = _Linked(link, address)
        contact.connected, contact.address, contact.how = True, address, _how(address)
        log.info("connected to %s", address)
        try:
            await self._folder.run_link(link)
        finally:
            contact.rtt_ms = link.rtt_ms
            if self._links.get(device) is not None and self._links[device].link is link:
                del self._links[device]
                contact.connected = False
                contact.last_seen = self._around.clock.now()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await self._around.book.seen(self.membership.folder_id, device)

    async def _hold_line(self, address: str, device: DeviceId, *, task_status: trio.TaskStatus[Line]) -> None:
        """A further connection to a peer, open until the link ends or the line is given up."""
        started = False
        try:
            async with self._dialled(address, self.membership.outgoing_member()) as connection:
                line, who = await self._greet(connection)
                if who != device:
                    raise PeerUnavailable("another device answers at that address now")
                started = True
                task_status.started(line)
                await trio.sleep_forever()
        except (PeerUnavailable, TrustError, RemoteProtocolError) as error:
            if not started:
                raise PeerUnavailable(f"no further connection: {error}") from error

    def _roster_head_of(self, device: DeviceId) -> Callable[[EntryHash], None]:
        def heard(head: EntryHash) -> None:
            if not self.membership.roster.knows(head):
                self.catch_up_soon(device)

        return heard

    @asynccontextmanager
    async def _dialled(self, address: str, outgoing: Outgoing) -> AsyncIterator[Connection]:
        stream = await dial(self._around.network, self._around.clock, address, outgoing)
        with self._held(stream, address) as connection:
            yield connection

    @contextmanager
    def _held(self, stream: TlsStream, address: str) -> Iterator[Connection]:
        with self._around.connections.hold(stream, address, accepted=False) as connection:
            yield connection

    # nodes that only dial ------------------------------------------------------------------------------------

    async def _serve_swapped(self, address: str, device: DeviceId) -> None:
        """We cannot be dialled: give the peer a connection on which it asks and we answer."""
        around = self._around
        while around.server is not None:
            try:
                async with self._dialled(address, self.membership.outgoing_member()) as connection:
                    stream = connection.stream
                    client = Client(stream, host=stream.endpoint.label, limits=CLIENT_LIMITS)
                    public, hello = await greet(
                        client, stream, around.keys, self.membership.head_at, (), self.server, swap=True
                    )
                    if public.id != device or not hello.swap:
                        raise PeerUnavailable("the peer does not swap roles")
                    connection.device = device
                    await around.server.serve(connection, self, client.hand_over())
            except (PeerUnavailable, TrustError, RemoteProtocolError) as error:
                log.debug("%s: %s", address, error)
            await trio.sleep(FIRST_WAIT_S)

    async def adopt(self, connection: Connection, device: DeviceId) -> None:
        """A peer that cannot be dialled lets us ask on a connection of its own (`serve.Host`)."""
        client = Client(connection.stream, host=connection.stream.endpoint.label, limits=CLIENT_LIMITS)
        line = Line(client, connection)
        self._swapped.setdefault(device, []).append(line)
        self._swapped_event.set()
        try:
            await trio.sleep_forever()
        finally:
            lines = self._swapped.get(device, [])
            if line in lines:
                lines.remove(line)

    async def _link_swapped_forever(self) -> None:
        while True:
            await self._swapped_event.wait()
            self._swapped_event = trio.Event()
            for device, lines in list(self._swapped.items()):
                if len(lines) >= 2 and device not in self._links and self._nursery is not None:
                    self._nursery.start_soon(self._use_swapped, device)

    async def _use_swapped(self, device: DeviceId) -> None:
        lines = self._swapped.get(device, [])
        if device in self._links or len(lines) < 2:
            return
        news = lines.pop(0)

        async def open_line() -> Line:
            with trio.move_on_after(10):
                while not self._swapped.get(device):
                    await self._swapped_event.wait()
                return self._swapped[device].pop(0)
            raise PeerUnavailable("the peer offers no further connection")

        try:
            link = PeerLink(device, news, Lines(open_line), self._roster_head_of(device))
            await self._run_link(link, device, news.connection.address)
        finally:
            news.connection.scope.cancel()

    # serving (serve.Host) ------------------------------------------------------------------------------------

    def note_caller(self, connection: Connection, device: DeviceId, addresses: tuple[str, ...]) -> None:
        """A proved device is connected to us and says where it listens: so we can dial it too."""
        contact = self._contact(device)
        contact.last_seen = self._around.clock.now()
        host = connection.address.rpartition(":")[0]
        for address in addresses:
            self.try_address(address, device)
            self.try_address(f"{host}:{address.rpartition(':')[2]}", device)

    # the control channel -------------------------------------------------------------------------------------

    def catch_up_soon(self, device: DeviceId) -> None:
        """That device knows roster entries that we do not: ask it."""
        self._behind.add(device)
        self._behind_event.set()

    async def _catch_up_forever(self) -> None:
        while True:
            await self._behind_event.wait()
            self._behind_event = trio.Event()
            devices, self._behind = self._behind, set()
            for device in devices:
                for address in self._addresses_of(device):
                    if await self._ask_roster(address, device):
                        break
            await trio.sleep(SOON_S)

    def _addresses_of(self, device: DeviceId) -> list[str]:
        linked = self._links.get(device)
        first = [] if linked is None else [linked.address]
        return first + [known.address for known in self._addresses.values() if known.device == device]

    async def _consult(self, known: _Address) -> None:
        """Nobody there knows our label: ask who may be there what we have missed."""
        devices = [device.id for device in self.membership.devices()][:CONSULT_AT_MOST]
        candidates = devices if known.device is None else [known.device]
        for device in candidates:
            if await self._ask_roster(known.address, device):
                known.wait_s = FIRST_WAIT_S
                return

    async def _ask_roster(self, address: str, device: DeviceId) -> bool:
        """Take in what a device knows of the roster; whether it answered."""
        try:
            with trio.fail_after(CONTROL_S):
                async with self._control(address, device) as (client, hello):

                    async def fetch(after: int) -> RosterPage:
                        target = target_of(Route.READ_ROSTER, number=after)
                        reply = await client.request(Route.READ_ROSTER.method.decode(), target)
                        if reply.status != 200:
                            raise PeerUnavailable(f"the roster was answered with status {reply.status}")
                        return RosterPage.decode_untrusted(await reply.body.read(MAX_ROSTER_PAGE_BYTES))

                    await self.membership.catch_up(fetch, head_of(hello))
                    return True
        except (PeerUnavailable, TrustError, RemoteProtocolError, trio.TooSlowError) as error:
            log.debug("control %s: %s", address, error)
            return False

    @asynccontextmanager
    async def _control(self, address: str, device: DeviceId) -> AsyncIterator[tuple[Client, Hello]]:
        around = self._around
        async with self._dialled(address, self.membership.outgoing_control(device)) as connection:
            stream = connection.stream
            client = Client(stream, host=stream.endpoint.label, limits=CLIENT_LIMITS)
            public, hello = await greet(client, stream, around.keys, self.membership.head_at, around.listening())
            if public.id != device:
                raise TrustError("another device answered the control connection")
            connection.device = device
            yield client, hello

    async def push(self) -> set[DeviceId]:
        """Give our newest entry to every device that can be reached now; who has it."""
        reached: set[DeviceId] = set()
        submit = self.membership.submission().encode()

        async def give(device: DeviceId) -> None:
            for address in self._addresses_of(device):
                try:
                    async with self._control(address, device) as (client, _):
                        target = target_of(Route.SUBMIT_ENTRY)
                        reply = await client.request(Route.SUBMIT_ENTRY.method.decode(), target, body=submit)
                        await reply.body.drain()
                        if reply.status == 204:
                            reached.add(device)
                            return
                except (PeerUnavailable, TrustError, RemoteProtocolError) as error:
                    log.debug("push to %s: %s", address, error)

        with trio.move_on_after(PUSH_S):
            async with trio.open_nursery() as nursery:
                for device in self.membership.devices():
                    nursery.start_soon(give, device.id)
        return reached

    # looking in from outside ---------------------------------------------------------------------------------

    def contacts(self) -> dict[DeviceId, Contact]:
        """Every device that was ever seen, as it stands now."""
        for device, linked in self._links.items():
            self._contact(device).rtt_ms = linked.link.rtt_ms
        return dict(self._contacts)

    def _contact(self, device: DeviceId) -> Contact:
        return self._contacts.setdefault(device, Contact())


def _how(address: str) -> str:
    """`lan` for private and local addresses, `wan` for others."""
    return "lan" if announcements.is_local(address.rpartition(":")[0].strip("[]")) else "wan"
