"""Async. One folder's peers: who is connected, whom to dial, and what to do when a label is no longer known.

Each side dials for its own needs: a link is a connection on which we ask, a caller is one on which we answer. Addresses
come from the configuration, from announcements, from peers and from what was written down before; none is evidence, so
each is tried when `contacts` says so, and the hello tells who answers. A label that the other side does not know means
that one of us sleeps on an older epoch: both meet (`meetings`).

A peer that cannot dial us gets connections on which the HTTP roles are swapped, and asks on those.

Whatever a peer does, or our own work does with its link, ends that connection and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from math import inf
from typing import Final

import trio

from ca.addresses import AddressRules, maybe_refusal
from ca.ids import DeviceId, EntryHash, EpochId
from ca.roster import Relation
from syncd.engine.membership import Update
from syncd.errors import PeerUnavailable, RemoteProtocolError, TrustError
from syncd.http import Client
from syncd.net.circle import CLIENT_LIMITS, FAILURE, Circle, Contact, Surroundings, how
from syncd.net.connections import Connection
from syncd.net.contacts import Source
from syncd.net.dial import dial
from syncd.net.folders import Membership
from syncd.net.greeting import Others, greet, head_of
from syncd.net.link import Line, Lines, PeerLink
from syncd.net.meetings import Meetings
from syncd.net.nearby import Nearby
from syncd.net.serve import where
from syncd.protocol import announcements
from syncd.protocol.exchange import FolderServer, Link
from syncd.protocol.hello import Reflection, Twin
from syncd.protocol.messages import HeadsPage, Hello, Near, RosterSubmit
from syncd.protocol.refusals import Event
from syncd.protocol.requests import Route
from syncd.protocol.tls import Kind, UnknownLabel
from syncd.protocol.twins import NO_RUN
from syncd.seams import Found

log = logging.getLogger(__name__)

DRAIN_S: Final = 120.0
RENEW_S: Final = 60.0
"""Of these. Whoever asks is told within `NEWS_WAIT_S`, and is through with an old connection before it is cut."""
SWAPPED_LINES: Final = 3
UNCALLED_S: Final = 10.0
"""A peer that has not called us for so long after we reached it is taken for one that cannot."""
OFFER_WAIT_S: Final = 10.0
FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 60.0
REACH_OUT_S: Final = 3.0


class PeerKeeper:
    """Keeps one folder connected. `run` for its whole life. Implements `serve.Host`."""

    def __init__(
        self,
        around: Surroundings,
        membership: Membership,
        server: FolderServer,
        run_link: Callable[[Link], Awaitable[None]],
    ) -> None:
        """`run_link` exchanges with a peer until its link is lost."""
        self.membership = membership
        self.server = server
        self._around = around
        self._use_link = run_link
        self._circle = Circle(around, membership)
        self._contacts = self._circle.contacts
        self._meetings = Meetings(self._circle)
        self._nearby = Nearby(self._circle, server.look_again)
        self._draining: dict[EpochId, float] = {}
        self._renew_at: dict[EpochId, float] = {}
        """When what we dialled under an epoch that drains is to be replaced, if it is in use still."""
        self._nursery: trio.Nursery | None = None
        self._troubles: dict[str, str] = {}
        membership.on_update.insert(0, self._membership_moved)  # connections are cut before anybody else hears of it

    # life ----------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether the folder is at work, and may be served."""
        return self._circle.is_open

    async def run(self) -> None:
        """Dial, and stay connected, until cancelled."""
        self._contacts.note(self._around.static, Source.STATIC, trio.current_time())
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._circle.open(nursery)
                nursery.start_soon(self._circle.load)
                nursery.start_soon(self._dial_forever)
                nursery.start_soon(self._meetings.push_forever)
                nursery.start_soon(self._meetings.catch_up_forever)
                nursery.start_soon(self._nearby.tell_forever)
        finally:
            self._nursery = None
            self._circle.close()
            self.membership.on_update.remove(self._membership_moved)
            self._around.connections.close_folder(self.membership.folder_id)

    # the roster moves ----------------------------------------------------------------------------------------

    def _membership_moved(self, update: Update) -> None:
        """Part of the very step in which the roster takes effect: connections that lost their right end here."""
        self._cut(update)
        rules = self.membership.roster.addresses
        if update.changed and rules:
            self._around.connections.close_where(lambda one: self._is_outside(one, rules))
        if not self.is_open:
            return
        if update.changed or update.keys_arrived:
            self._contacts.kick(trio.current_time())
            self._circle.wake()
        if update.changed:
            self._meetings.roster_moved(evicts=update.evicts)
        if update.admitted:
            self._circle.start(self._circle.remember, sorted(update.admitted - {self.membership.device}))

    def _cut(self, update: Update) -> None:
        folder, connections = self.membership.folder_id, self._around.connections
        if update.we_are_out:
            connections.close_folder(folder)
        elif update.fork or (update.epoch_changed and update.evicts):
            for epoch in self._epochs_in_use(update):
                connections.close_epoch(folder, epoch)
            self._draining.clear()
            self._renew_at.clear()
        elif update.old_epoch is not None:
            connections.drain_epoch(folder, update.old_epoch, DRAIN_S)
            now = trio.current_time()
            self._draining[update.old_epoch] = now + DRAIN_S
            self._renew_at[update.old_epoch] = now + RENEW_S * (0.5 + self._circle.chance(0.5))
        for device in sorted(update.removed):
            connections.close_device(folder, device)
        if not (self.membership.roster.quarrel or self.membership.is_out):
            connections.reopen_epoch(folder, self.membership.epoch.id)

    def _is_outside(self, connection: Connection, rules: AddressRules) -> bool:
        """Whether the folder's address rules forbid a connection that carries its content."""
        is_ours = connection.folder_id == self.membership.folder_id
        carries_content = connection.stream.endpoint.kind is not Kind.CONTROL
        return is_ours and carries_content and maybe_refusal(rules, connection.host, connection.device) is not None

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

    def near(self, device: DeviceId) -> Near:
        """Who else is connected to us, for one who is (`serve.Host`)."""
        return self._nearby.others(device)

    # addresses -----------------------------------------------------------------------------------------------

    def use_static(self) -> None:
        """The configured addresses may be others now. Those known so far stay hints like any other."""
        self._contacts.note(self._around.static, Source.STATIC, trio.current_time())
        self._circle.wake()

    def found(self, found: Found) -> None:
        """An announcement was heard. If it carries this folder's tag, its addresses are worth a try at once."""
        key = self.membership.announcement_key
        if key is not None and announcements.tag(key, found.instance) in found.tags:
            now = trio.current_time()
            self._contacts.note(found.addresses, Source.FOUND, now)
            self._contacts.hurry(found.addresses, now)
            self._circle.wake()

    def was_met(self, address: str, device: DeviceId) -> None:
        """A device has just let us in there. It is called at once."""
        now = trio.current_time()
        self._contacts.note([address], Source.TOLD, now, device)
        self._contacts.call_now(address, now)
        self._circle.wake()

    def others(self, device: DeviceId | None) -> Others:
        """Where members are to whom we have a link, for another member (`serve.Host`)."""
        return self._circle.others(device)

    # dialling ------------------------------------------------------------------------------------------------

    async def _dial_forever(self) -> None:
        while True:
            self._circle.woken = trio.Event()
            lacking = self._circle.lacking()
            if lacking:
                for address in self._contacts.take_due(trio.current_time(), lacking):
                    self._circle.start(self._call, address)
            due = self._contacts.next_due(lacking) if lacking else inf
            with trio.move_on_at(min(due, self._end_of_shunning(), self._circle.next_unread())):
                await self._circle.woken.wait()

    def _end_of_shunning(self) -> float:
        now = trio.current_time()
        peers = self._circle.peers.values()
        return min((peer.shunned_until for peer in peers if peer.shunned_until > now), default=inf)

    async def _call(self, address: str) -> None:
        """Try one address: link to whoever answers, for as long as it lasts."""
        contacts, head = self._contacts, self.membership.head
        try:
            await self._link_at(address)
        except Reflection:
            contacts.is_us(address)
        except Twin as error:
            self.met_twin(address)
            self._note_trouble(address, error)
            contacts.failed(address, trio.current_time())
        except UnknownLabel as error:
            self._note_trouble(address, error)
            moved = head != self.membership.head or await self._meetings.consult(address)
            contacts.failed(address, trio.current_time())
            if moved:
                contacts.hurry([address], trio.current_time())
        except FAILURE as error:
            self._note_trouble(address, error)
            contacts.failed(address, trio.current_time())
        except Exception:
            log.exception("the call to %s failed", address)
            contacts.failed(address, trio.current_time())
        self._circle.wake()

    async def _link_at(self, address: str) -> None:
        contacts = self._contacts
        line = await self._open(address, contacts.device_at(address))
        contacts.reached(address, line.device, trio.current_time())
        if line.device in self._circle.lacking():
            await self._use(line, address)
            contacts.ended(address, trio.current_time())
            if not self._circle.is_shunned(line.device):
                self._troubles.pop(address, None)
        else:
            line.end()
            contacts.unused(address)

    def _note_trouble(self, address: str, error: Exception) -> None:
        """Say what is wrong with an address once, until it works again or something else is wrong."""
        words = str(error)
        if self._troubles.get(address) != words:
            self._troubles[address] = words
            if isinstance(error, TrustError | RemoteProtocolError) and not isinstance(error, UnknownLabel):
                self._around.refusals.note(Event.CONTENT, address, words)
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
        self._check_rules(address, device)
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

    def _check_rules(self, address: str, device: DeviceId | None) -> None:
        """Raises PeerUnavailable where the folder's address rules forbid to exchange content."""
        why = maybe_refusal(self.membership.roster.addresses, address.rpartition(":")[0], device)
        if why is not None:
            raise PeerUnavailable(f"the folder's address rules forbid it: {why}")

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
                others=self._circle.others(device),
                run=around.twins.own,
            )
        except PeerUnavailable:
            if stream.refusal is not None:  # in TLS 1.3 the listener judges our certificate after we are done
                raise UnknownLabel(f"the peer turned our certificate down ({stream.refusal})") from None
            raise
        connection.device, connection.run = public.id, hello.run
        around.twins.heard(public.id, hello.run, connection.address, trio.current_time())
        self._heard(public.id, hello)
        if membership.role_of(public.id) is None:
            raise TrustError("the device that answered is not a member that we know")
        self._check_rules(connection.address, public.id)
        self.server.own_journal_seen(hello.newest)
        self._circle.told(connection, public.id, hello)
        return Line(client, connection, public.id, trio.current_time() - stream.opened_at), hello

    def _heard(self, device: DeviceId, hello: Hello) -> None:
        """How far along somebody says to be."""
        head = self._circle.peer(device).head = EntryHash(hello.roster_head)
        if self.membership.relation(head_of(hello)) is Relation.UNKNOWN:
            self._meetings.catch_up_soon(device, goes_by=head)

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
        return trio.current_time() < self._fresh_until(line)

    def _fresh_until(self, line: Line) -> float:
        """Until when it may be used. The next one is dialled under the newest epoch, so this cannot be for ever."""
        epoch = line.connection.epoch_id
        if epoch is None or epoch == self.membership.epoch.id:
            return inf
        return self._renew_at.get(epoch, -inf)

    async def _run_link(self, news: Line, lines: Lines, address: str, *, is_offered: bool) -> None:
        """Let the folder work with a link, whatever comes of it."""
        link = PeerLink(news, lines, self._page_came, self._fresh_until)
        with self._linked(link, address, is_offered):
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(lines.close_idle)
                    nursery.start_soon(self._write_seen, news.device, address)
                    with link.scope:
                        await self._use_link(link)
                    nursery.cancel_scope.cancel()
            except* FAILURE as errors:
                self._note_trouble(address, _first(errors))
                self._shun(news.device)
            except* Exception:
                log.exception("the work with %s failed", address)
                self._shun(news.device)
            finally:
                link.end()

    def _shun(self, device: DeviceId) -> None:
        """Have nothing to do with a peer for a while. Each time in a row it is twice as long."""
        peer, now = self._circle.peer(device), trio.current_time()
        if now > peer.shunned_until + LONGEST_WAIT_S:
            peer.strikes = 0
        peer.shunned_until = now + min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**peer.strikes) * (
            0.5 + self._circle.chance(0.5)
        )
        peer.strikes = min(peer.strikes + 1, 16)

    @contextmanager
    def _linked(self, link: PeerLink, address: str, is_offered: bool) -> Iterator[None]:
        peer = self._circle.peer(link.device)
        peer.link, peer.is_offered = link, is_offered
        peer.contact = Contact(True, self._around.clock.now(), address, how(address), link.rtt_ms)
        log.info("connected to %s", address)
        self._circle.shed()
        self._circle.wake()
        self._nearby.moved()
        try:
            yield
        finally:
            peer.link, peer.near = None, frozenset()
            self._nearby.moved()
            peer.contact = replace(peer.contact, connected=False, last_seen=self._around.clock.now())
            log.info("no longer connected to %s", address)
            self._circle.wake()

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

    def _page_came(self, line: Line, page: HeadsPage, asked_at: float) -> None:
        """What a page says beside its heads: the roster head that the peer goes by, who is connected to it, and whether
        it hears us twice."""
        now = trio.current_time()
        self._around.twins.answered(line.device, line.connection.run, asked_at, now)
        self._around.twins.told(line.device, page.twin, now)
        self._circle.peer(line.device).head = page.roster_head
        if page.near is not None:
            self._nearby.heard(line.connection, line.device, page.near)
        if not self.membership.roster.knows(page.roster_head):
            self._meetings.catch_up_soon(line.device, goes_by=page.roster_head)

    # peers that cannot reach us ------------------------------------------------------------------------------

    async def _offer_lines(self, address: str, device: DeviceId, nursery: trio.Nursery) -> None:
        """Give a peer that cannot dial us connections on which it asks and we answer."""
        while self._around.listening():
            await trio.sleep(UNCALLED_S)
            if not self._circle.peer(device).callers:
                break
        is_wanted = trio.Event()
        nursery.start_soon(self._offer_line, address, device, is_wanted)
        await is_wanted.wait()  # it may have all the links that it needs
        for _ in range(SWAPPED_LINES - 1):
            nursery.start_soon(self._offer_line, address, device, is_wanted)

    async def _offer_line(self, address: str, device: DeviceId, is_wanted: trio.Event) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            try:
                accepted = await self._serve_there(address, device, is_wanted)
            except FAILURE as error:
                log.debug("%s: %s", address, error)
                accepted = False
            wait_s = FIRST_WAIT_S if accepted else LONGEST_WAIT_S  # who has links enough will not soon want more
            await trio.sleep(wait_s / 2 + self._circle.chance(wait_s / 2))

    async def _serve_there(self, address: str, device: DeviceId, asks: trio.Event) -> bool:
        """Dial, and answer what the other side asks; whether it wanted to ask. Then it `asks`."""
        around = self._around
        is_wanted = True
        self._check_rules(address, device)
        stream = await dial(around.network, around.clock, address, self.membership.outgoing_member())
        with around.connections.hold(stream, address, accepted=False) as connection:
            line, hello = await self._greet(connection, device, swap=True)
            is_wanted = line.device == device and hello.swap and around.server is not None
            if is_wanted and around.server is not None:
                asks.set()
                await around.server.serve(connection, self, line.client.hand_over())
        return is_wanted

    def wants_lines(self, device: DeviceId) -> bool:
        """Whether we would ask on a connection that this device dialled (`serve.Host`)."""
        peer = self._circle.peer(device)
        is_wanted = peer.is_offered if peer.link is not None else device in self._circle.lacking()
        return self.is_open and is_wanted and not self._circle.is_shunned(device)

    async def adopt(self, connection: Connection, device: DeviceId) -> None:
        """The HTTP roles were swapped: ask on this connection until it ends (`serve.Host`)."""
        peer = self._circle.peer(device)
        client = Client(connection.stream, host=connection.stream.endpoint.label, limits=CLIENT_LIMITS)
        line = Line(client, connection, device)
        peer.offered.append(line)
        peer.more_offered.set()
        if peer.link is None:
            self._circle.start(self._use_offered, device)
        try:
            await line.over.wait()
        finally:
            line.over.set()
            if line in peer.offered:
                peer.offered.remove(line)

    async def _use_offered(self, device: DeviceId) -> None:
        """Run links over the connections that a device offers, as long as there are any and none of our own."""
        peer = self._circle.peer(device)

        async def open_line() -> Line:
            with trio.move_on_after(OFFER_WAIT_S):
                while not peer.offered:
                    peer.more_offered = trio.Event()
                    await peer.more_offered.wait()
                return peer.offered.pop()
            raise PeerUnavailable("the peer offers no further connection")

        while peer.offered and peer.link is None and not self._circle.is_shunned(device):
            news = peer.offered.pop()
            lines = Lines(open_line, lambda line: self.serves_epoch(line.connection.epoch_id))  # only they can dial
            await self._run_link(news, lines, news.connection.address, is_offered=True)
            await trio.sleep(FIRST_WAIT_S)

    # serving (serve.Host) ------------------------------------------------------------------------------------

    def greeted(self, connection: Connection, device: DeviceId, hello: Hello) -> None:
        """A proved device is connected to us, and says how far along it is and where it listens."""
        peer = self._circle.peer(device)
        self._heard(device, hello)
        if self.membership.role_of(device) is None:
            return
        if self._around.twins.heard(device, hello.run, where(connection, hello), trio.current_time()):
            self._cut_other_runs(device, hello.run)
        if connection.epoch_id is not None:
            peer.callers.add(connection)
            peer.contact = replace(peer.contact, last_seen=self._around.clock.now())
            self.server.own_journal_seen(hello.newest)
        self._nearby.moved()
        self._circle.told(connection, device, hello)
        if peer.link is None:
            self._contacts.kick(trio.current_time(), device)
            self._circle.wake()

    def answered(self, connection: Connection, since: float) -> str | None:
        """A device asks again after an answer that was given at `since` (`serve.Host`)."""
        device, twins, now = connection.device, self._around.twins, trio.current_time()
        if device is None:
            return None
        if twins.answered(device, connection.run, since, now):
            self._cut_other_runs(device, connection.run)  # they call again at once, and are told
        return twins.other_than(device, connection.run, now)

    def met_twin(self, address: str) -> None:
        """Another daemon has proved that it has the keys of this device (`serve.Host`)."""
        self._around.twins.met(address, trio.current_time())

    def _cut_other_runs(self, device: DeviceId, run: bytes) -> None:
        """What earlier or other daemons of a device have open with us ends here: who still lives calls again, and only
        so we learn of it soon."""
        self._around.connections.close_where(
            lambda one: one.accepted and one.device == device and one.run not in (run, NO_RUN)
        )

    def gone(self, connection: Connection) -> None:
        """A connection on which we answered has ended."""
        if connection.device is not None:
            callers = self._circle.peer(connection.device).callers
            callers.discard(connection)
            if not callers:
                self.server.asker_gone(connection.device)
            self._nearby.moved()

    async def submit_untrusted(self, submit: RosterSubmit) -> Update:
        """An entry was pushed to us. Raises TrustError, RemoteProtocolError."""
        return await self._meetings.submit_untrusted(submit)

    async def command_untrusted(self, device: DeviceId, raw: bytes) -> bytes | None:
        """A command was handed in; the report. None: nobody obeys here. Raises RemoteProtocolError."""
        commands = self._around.commands
        return None if commands is None else await commands.obey_untrusted(self.membership.folder_id, device, raw)

    def report_of(self, device: DeviceId, nonce: bytes) -> bytes | None:
        """How far a command is that this device signed."""
        commands = self._around.commands
        return None if commands is None else commands.report(self.membership.folder_id, device, nonce)

    def catch_up_soon(self, device: DeviceId) -> None:
        """That device knows roster entries, or has keys, that we lack: ask it."""
        self._meetings.catch_up_soon(device)

    async def push(self) -> set[DeviceId]:
        """Give what is new in our roster to every device that can be reached now, for a few seconds; who has it."""
        return await self._meetings.push()

    async def ask(
        self, device: DeviceId, route: Route, make_body: Callable[[], bytes] = bytes, *, nonce: bytes = b""
    ) -> bytes:
        """Ask a device something on the control channel, as soon as both have one roster; its answer.

        Raises: PeerUnavailable, TrustError, RemoteProtocolError.
        """
        return await self._meetings.ask(device, route, make_body, nonce)

    # who needs more than the usual links ----------------------------------------------------------------------

    def starves(self, is_so: bool) -> None:
        """Whether blocks are wanted that nobody has whom we have a link to."""
        self._circle.starves(is_so)

    @asynccontextmanager
    async def reaching_out(self) -> AsyncIterator[None]:
        """While the block runs, have links to as many members as may be; who answers soon has one when it begins."""
        with self._circle.in_want():
            with trio.move_on_after(REACH_OUT_S):
                while self._circle.may_link():
                    await self._circle.woken.wait()
            yield

    @contextmanager
    def asking_for(self, device: DeviceId) -> Iterator[None]:
        """While the block runs, have a link to this device if it can be reached."""
        with self._circle.asking_for(device):
            yield

    # looking in from outside ---------------------------------------------------------------------------------

    def contacts(self) -> dict[DeviceId, Contact]:
        """Every device that was ever seen, as it stands now."""
        return self._circle.in_view()


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, Exception)
    return found
