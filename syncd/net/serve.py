"""Async. Answers what peers ask: finds the folder, asks `protocol.authorize` anew for every request, and lets others do
the work.

The folder comes from the connection (its label), never from a header or a target. A connection has a device only after
its hello.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from math import inf
from typing import Final, Protocol

import trio

from ca.addresses import maybe_refusal
from ca.device import DeviceKeys, device_text
from ca.ids import DeviceId, EpochId, FolderId
from ca.values import dataclass
from syncd import http
from syncd.engine.membership import Update
from syncd.errors import RemoteProtocolError, TrustError
from syncd.http import Body, LastPiece, Limits, Response, closing_body
from syncd.model.cipher import MAX_BLOCK_BYTES, max_ciphertext
from syncd.model.ids import Cid
from syncd.net.connections import Connection
from syncd.net.folders import Membership, Pairing, Rescue
from syncd.net.greeting import Others, make_hello
from syncd.protocol.allowance import Allowance, Pace
from syncd.protocol.authorize import Asker, Refuse, Verdict, authorize
from syncd.protocol.exchange import FolderServer, HeadsAsked
from syncd.protocol.frames import FrameReader, FrameStatus
from syncd.protocol.hello import Twin, check_hello
from syncd.protocol.messages import Bitmap, BlocksRequest, HaveRequest, Hello, Near, Needs, RosterSubmit
from syncd.protocol.pairing import THINKING_S
from syncd.protocol.possession import ProveRequest
from syncd.protocol.refusals import Event, Refusals
from syncd.protocol.requests import Request, Route, request_untrusted
from syncd.protocol.rescue import EXPORTER_BYTES, EXPORTER_LABEL
from syncd.protocol.tls import Kind
from syncd.protocol.twins import NO_RUN
from syncd.seams import Buffer

log = logging.getLogger(__name__)

PAIRING_LIMITS: Final = Limits(idle_s=THINKING_S)
PEER_LIMITS: Final = Limits(idle_s=180.0)
SWAPPED_LIMITS: Final = Limits(first_s=180.0, idle_s=180.0)
"""On a connection that we dialled: the other side has said who it is, and asks when it needs something."""
UNPROVED_PER_S: Final = 50.0
UNPROVED_BURST: Final = 200.0
"""Blocks that clients without a hello may fetch, as `curl` does, all together."""
SUBMITS_PER_S: Final = 20.0
SUBMITS_BURST: Final = 400.0
"""Entries that anybody who knows a control label may hand in, all together: each costs a signature's check. What is
asked with recovery keys has as many, counted by themselves: nothing else holds up a removal."""
COMMANDS_PER_S: Final = 40.0
COMMANDS_OF_ONE_PER_S: Final = 5.0
KEPT_PER_S: Final = 200.0
KEPT_OF_ONE_PER_S: Final = 50.0
"""What devices may leave here, at most once for every folder and connection."""


class Host(Protocol):
    """A folder of ours, as far as it is served (`net.peers.PeerKeeper`)."""

    membership: Membership
    server: FolderServer

    @property
    def is_open(self) -> bool:
        """Whether the folder is at work."""
        ...

    def serves_epoch(self, epoch: EpochId | None) -> bool:
        """Whether connections of this epoch may still ask: the newest, or one that drains."""
        ...

    def greeted(self, connection: Connection, device: DeviceId, hello: Hello) -> None:
        """A proved device is connected to us."""
        ...

    def gone(self, connection: Connection) -> None:
        """A connection has ended."""
        ...

    def answered(self, connection: Connection, since: float) -> str | None:
        """A device asks again after an answer that was given at `since`. Where another daemon of that device is heard,
        if there is one."""
        ...

    def met_twin(self, address: str) -> None:
        """Another daemon of this very device is connected to us."""
        ...

    def others(self, device: DeviceId) -> Others:
        """Where members were seen, for one of them."""
        ...

    def near(self, device: DeviceId) -> Near:
        """Who else is connected to us, for one who is."""
        ...

    def catch_up_soon(self, device: DeviceId) -> None:
        """That device knows roster entries that we do not."""
        ...

    async def submit_untrusted(self, submit: RosterSubmit) -> Update:
        """An entry was pushed to us. Raises TrustError, RemoteProtocolError."""
        ...

    async def command_untrusted(self, device: DeviceId, raw: bytes) -> bytes | None:
        """A command was handed in; the report. None: nobody obeys here. Raises RemoteProtocolError."""
        ...

    def report_of(self, device: DeviceId, nonce: bytes) -> bytes | None:
        """How far a command is that this device signed."""
        ...

    def wants_lines(self, device: DeviceId) -> bool:
        """Whether we would ask on a connection that this device dialled."""
        ...

    async def adopt(self, connection: Connection, device: DeviceId) -> None:
        """The HTTP roles were swapped: we are the client on this connection until it ends."""
        ...


class Server:
    """Serves accepted connections of all folders. `handle` is what the doorkeeper calls."""

    def __init__(
        self,
        keys: DeviceKeys,
        listening: Callable[[], tuple[str, ...]],
        host_of: Callable[[FolderId], Host | None],
        pairing: Pairing,
        refusals: Refusals,
        run: bytes = NO_RUN,
    ) -> None:
        """`run`: of this daemon."""
        self._keys = keys
        self._run = run
        self._refusals = refusals
        self._listening = listening
        self._host_of = host_of
        self._pairing = pairing
        self._unproved = Allowance(UNPROVED_PER_S, UNPROVED_BURST, 0.0)
        self._submits = Allowance(SUBMITS_PER_S, SUBMITS_BURST, 0.0)
        self._rescues = Allowance(SUBMITS_PER_S, SUBMITS_BURST, 0.0)
        self._commands = Pace(COMMANDS_PER_S, COMMANDS_OF_ONE_PER_S, 0.0)
        self._kept = Pace(KEPT_PER_S, KEPT_OF_ONE_PER_S, 0.0)
        self.rescue: Rescue | None = None
        """Who answers the holder of a recovery key; None: nobody."""

    async def handle(self, connection: Connection) -> None:
        """Serve one connection until it ends. Raises PeerUnavailable, RemoteProtocolError, TrustError."""
        endpoint = connection.stream.endpoint
        if endpoint.kind is Kind.PAIRING:
            await self._serve_pairing(connection)
            return
        if endpoint.kind is Kind.RECOVERY:
            await self._serve_recovery(connection)
            return
        host = None if endpoint.folder_id is None else self._host_of(endpoint.folder_id)
        if host is None or not host.is_open:
            raise TrustError("the folder of this label is not running")
        rules = host.membership.roster.addresses
        if endpoint.kind is not Kind.CONTROL and (why := maybe_refusal(rules, connection.host)) is not None:
            self._refusals.note(Event.ADDRESS, connection.address, f"the folder's rule: {why}")
            connection.stream.abort()
            return
        await self.serve(connection, host)

    async def serve(self, connection: Connection, host: Host, rest: bytes = b"") -> None:
        """Answer requests on a connection of one folder, also on one that we dialled and swapped."""
        stream = connection.stream
        gates = _Gates(self._refusals, self._unproved, self._submits, self._commands, self._kept, self.rescue)
        exchange = _Exchange(connection, host, self._keys, self._run, self._listening, gates)
        try:
            swapped = await http.serve(
                stream,
                exchange.handle,
                admit=lambda head: request_untrusted(head, stream.endpoint.label),
                limits=PEER_LIMITS if connection.accepted else SWAPPED_LIMITS,
                should_close=lambda: stream.is_worn,
                rest=rest,
            )
        finally:
            host.gone(connection)
        if swapped and connection.device is not None:
            await host.adopt(connection, connection.device)

    async def _serve_pairing(self, connection: Connection) -> None:
        stream = connection.stream
        answerer = self._pairing.connect(stream.endpoint.label, stream.export, connection.address)

        async def answer(request: Request, body: Body) -> Response:
            verdict = authorize(Asker(stream.endpoint.kind, stream.speaks_syncd), request.route)
            if isinstance(verdict, Refuse):
                return Response(verdict.status, close=True)
            return Response(200, await answerer.answer_untrusted(await body.read(Route.PAIR.max_body_bytes)))

        await http.serve(
            stream, answer, admit=lambda head: request_untrusted(head, stream.endpoint.label), limits=PAIRING_LIMITS
        )

    async def _serve_recovery(self, connection: Connection) -> None:
        stream, rescue = connection.stream, self.rescue
        if rescue is None:
            raise TrustError("nobody answers for recovery keys here")
        exporter = stream.export(EXPORTER_LABEL, EXPORTER_BYTES)

        async def answer(request: Request, body: Body) -> Response:
            verdict = authorize(Asker(stream.endpoint.kind, stream.speaks_syncd), request.route)
            if isinstance(verdict, Refuse):
                return Response(verdict.status, close=True)
            if not self._rescues.take(trio.current_time()):
                return Response(429)
            raw = await body.read(Route.RECOVER.max_body_bytes)
            try:
                found = await rescue.answer_untrusted(stream.endpoint.label, exporter, raw)
            except TrustError as error:
                self._refusals.note(Event.HELLO, connection.address, error.what)
                return Response(403, close=True)
            return Response(404) if found is None else Response(200, found)

        await http.serve(
            stream, answer, admit=lambda head: request_untrusted(head, stream.endpoint.label), limits=PAIRING_LIMITS
        )


@dataclass(frozen=True, slots=True)
class _Gates:
    """What all connections share: the record of refusals, and the pace of what strangers may do."""

    refusals: Refusals
    unproved: Allowance
    submits: Allowance
    commands: Pace
    kept: Pace
    rescue: Rescue | None


class _Exchange:
    """The requests of one connection."""

    def __init__(
        self,
        connection: Connection,
        host: Host,
        keys: DeviceKeys,
        run: bytes,
        listening: Callable[[], tuple[str, ...]],
        gates: _Gates,
    ) -> None:
        self._connection = connection
        self._host = host
        self._keys = keys
        self._run = run
        self._listening = listening
        self._gates = gates
        self._news_asked = False
        self._near_told: Near | None = None
        self._answered_at = -inf

    async def handle(self, request: Request, body: Body) -> Response:
        """One request, authorised now."""
        verdict = self._judge(request.route)
        if isinstance(verdict, Refuse):
            return Response(verdict.status, close=True)
        if verdict.unproved and not self._gates.unproved.take(trio.current_time()):
            return Response(429)
        if self._connection.device is not None:
            self._host.answered(self._connection, self._answered_at)
        response = await self._answer(request, body)
        self._answered_at = trio.current_time()
        return response

    async def _answer(self, request: Request, body: Body) -> Response:
        match request.route:
            case Route.HELLO:
                return await self._hello(body)
            case Route.HEADS:
                return await self._heads(request)
            case Route.HAVE:
                return await self._have(body)
            case Route.PROVE:
                return await self._prove(body)
            case Route.NEEDS:
                return await self._needs(body)
            case Route.BLOCKS:
                return await self._blocks(body)
            case Route.BLOCK:
                return await self._block(request)
            case Route.READ_ROSTER:
                return self._roster(request)
            case Route.SUBMIT_ENTRY:
                return await self._submit(body)
            case Route.COMMAND:
                return await self._command(body)
            case Route.REPORT:
                return self._report(request)
            case Route.KEEP:
                return await self._keep(body)
            case Route.PAIR | Route.RECOVER:
                return Response(404)

    def _judge(self, route: Route) -> Verdict:
        verdict = authorize(self._asker(), route)
        if isinstance(verdict, Refuse):
            self._refuse(Event.RIGHT, f"{route.name.lower()}: {verdict.why}")
        return verdict

    def _refuse(self, event: Event, why: str) -> None:
        self._gates.refusals.note(event, self._connection.address, why)

    def _asker(self) -> Asker:
        connection, membership = self._connection, self._host.membership
        device = connection.device
        endpoint = connection.stream.endpoint
        known = device is not None and membership.roster.public_of(device) is not None
        role = None if device is None else membership.role_of(device)
        return Asker(
            endpoint.kind,
            connection.stream.speaks_syncd,
            device,
            role,
            was_member=known and role is None,
            epoch_is_current=endpoint.kind is not Kind.MEMBER or self._host.serves_epoch(endpoint.epoch_id),
            address_refused=maybe_refusal(membership.roster.addresses, connection.host, device) is not None,
        )

    @property
    def _device(self) -> DeviceId:
        device = self._connection.device
        if device is None:  # authorize allows none of the routes that get here
            raise RemoteProtocolError("asked before its hello")
        return device

    async def _hello(self, body: Body) -> Response:
        connection, stream, host = self._connection, self._connection.stream, self._host
        if connection.device is not None:
            raise RemoteProtocolError("a second hello")
        hello = Hello.decode_untrusted(await body.read(Route.HELLO.max_body_bytes))
        try:
            device = check_hello(stream.channel(), hello, self._keys.id, self._run).id
        except TrustError as error:
            if isinstance(error, Twin):
                host.met_twin(where(connection, hello))
            self._refuse(Event.HELLO, error.what)
            return Response(403, close=True)
        connection.device, connection.run = device, hello.run
        is_member = stream.endpoint.kind is Kind.MEMBER
        if is_member and isinstance(verdict := self._judge(Route.HEADS), Refuse):
            return Response(verdict.status, close=True)
        host.greeted(connection, device, hello)
        swap = hello.swap and is_member and host.wants_lines(device)
        server = host.server if is_member else None
        head, others = host.membership.head_at, host.others(device)
        ours = await make_hello(
            stream, self._keys, head, self._listening(), server, device, swap=swap, others=others, run=self._run
        )
        return Response(200, ours.encode(), swap=swap)

    async def _heads(self, request: Request) -> Response:
        """The first answer on a connection comes at once: so the client learns how far it is from being level."""
        wait_s = float(request.wait_s) if self._news_asked else 0.0
        self._news_asked = True
        host, device = self._host, self._device
        asked = HeadsAsked(
            *(request.log_id or b"", request.number, wait_s, request.word, request.is_level),
            lambda: host.near(device) != self._near_told,
        )
        page = await host.server.heads_after(device, asked)
        verdict = self._judge(Route.HEADS)  # much can happen in a minute
        if isinstance(verdict, Refuse):
            return Response(verdict.status, close=True)
        twin = self._host.answered(self._connection, self._answered_at)
        near, told = self._host.near(self._device), self._near_told
        self._near_told = near
        return Response(200, replace(page, twin=twin, near=None if near == told else near).encode())

    async def _have(self, body: Body) -> Response:
        wanted = HaveRequest.decode_untrusted(await body.read(Route.HAVE.max_body_bytes))
        return Response(200, Bitmap(await self._host.server.have(wanted.cids)).encode())

    async def _prove(self, body: Body) -> Response:
        wanted = ProveRequest.decode_untrusted(await body.read(Route.PROVE.max_body_bytes))
        return Response(200, (await self._host.server.prove(self._device, wanted)).encode())

    async def _needs(self, body: Body) -> Response:
        needs = Needs.decode_untrusted(await body.read(Route.NEEDS.max_body_bytes))
        self._host.server.peer_needs_now(self._device, needs.files, needs.size_bytes, needs.word)
        return Response(204)

    async def _blocks(self, body: Body) -> Response:
        wanted = BlocksRequest.decode_untrusted(await body.read(Route.BLOCKS.max_body_bytes))
        frames = self._host.server.serve_blocks(wanted.cids, self._device)
        first = await anext(frames, b"")
        if not isinstance(first, LastPiece):
            return Response(200, _with_first(first, frames))
        await anext(frames, None)  # to its end: it has files open
        return Response(200, first)

    async def _block(self, request: Request) -> Response:
        assert request.cid is not None
        content = await self._one_block(request.cid)
        if self._connection.device is None:
            log.info("%s: a block for an unproved client: %s", self._connection.address, content is not None)
        return Response(404) if content is None else Response(200, content)

    async def _one_block(self, cid: Cid) -> bytes | None:
        reader = FrameReader([max_ciphertext(MAX_BLOCK_BYTES)])
        found = None
        frames = self._host.server.serve_blocks([cid], self._connection.device)
        async for part in frames:  # to its end: it has files open
            for frame in reader.feed_untrusted(part):
                found = bytes(frame.ciphertext) if frame.status is FrameStatus.OK else None
        return found

    def _roster(self, request: Request) -> Response:
        page = self._host.membership.page_for(self._device, request.number)
        return Response(404) if page is None else Response(200, page.encode())

    async def _command(self, body: Body) -> Response:
        if not self._gates.commands.take(device_text(self._device), trio.current_time()):
            return Response(429)
        raw = await body.read(Route.COMMAND.max_body_bytes)
        report = await self._host.command_untrusted(self._device, raw)
        return Response(404) if report is None else Response(200, report)

    def _report(self, request: Request) -> Response:
        report = None if request.nonce is None else self._host.report_of(self._device, request.nonce)
        return Response(404) if report is None else Response(200, report)

    async def _keep(self, body: Body) -> Response:
        rescue, folder = self._gates.rescue, self._host.membership.folder_id
        if rescue is None or not self._gates.kept.take(device_text(self._device), trio.current_time()):
            return Response(429)
        await rescue.keep_untrusted(folder, self._device, await body.read(Route.KEEP.max_body_bytes))
        return Response(204)

    async def _submit(self, body: Body) -> Response:
        if not self._gates.submits.take(trio.current_time()):
            return Response(429)
        submit = RosterSubmit.decode_untrusted(await body.read(Route.SUBMIT_ENTRY.max_body_bytes))
        try:
            update = await self._host.submit_untrusted(submit)
        except TrustError as error:
            self._refuse(Event.ENTRY, error.what)
            return Response(403)
        if update.behind:
            self._host.catch_up_soon(self._device)
        return Response(204)


async def _with_first(first: Buffer, frames: AsyncIterator[Buffer]) -> AsyncIterator[Buffer]:
    async with closing_body(frames):
        yield first
        async for piece in frames:
            yield piece


def where(connection: Connection, hello: Hello) -> str:
    """The address by which people may know the computer at the other end."""
    return hello.addresses[0] if hello.addresses else connection.address
