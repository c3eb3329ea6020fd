"""Async. A listening end for tests: the real doorkeeper with a small handler behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from ca.addresses import AddressRule, sorted_rules
from syncd.http import Body, Response, serve
from syncd.net.connections import Connection, Connections
from syncd.net.listen import Doorkeeper, ListenLimits
from syncd.net.sockets import SocketNetwork
from syncd.protocol.authorize import Asker, Refuse, authorize
from syncd.protocol.refusals import Refusals
from syncd.protocol.requests import Request, Route, request_untrusted
from syncd.protocol.tls import LabelTable
from syncd.seams import Network
from tests.helpers.folders import NOW

CIPHERTEXT = bytes(range(256)) * 400
CID = bytes(32)


class StillClock:
    """A clock that a test moves by hand. Implements `seams.Clock`."""

    def __init__(self, now: float = NOW) -> None:
        self.wall = now

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return trio.current_time()


@dataclass(frozen=True, slots=True)
class Listening:
    address: str
    doorkeeper: Doorkeeper
    refusals: Refusals
    connections: Connections
    clock: StillClock

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


@asynccontextmanager
async def listening(
    table: LabelTable,
    handle: Callable[[Connection], Awaitable[None]] | None = None,
    *,
    network: Network | None = None,
    limits: ListenLimits | None = None,
    clock: StillClock | None = None,
    rules: Iterable[AddressRule] = (),
) -> AsyncIterator[Listening]:
    """Listen on a free port of this machine (or of a simulated network) while the block runs."""
    clock = clock or StillClock()
    connections = Connections()
    refusals = Refusals(clock)
    doorkeeper = Doorkeeper(
        table, connections, clock, handle or serve_blocks, refusals, limits or ListenLimits(), sorted_rules(rules)
    )
    listeners = await (network or SocketNetwork()).listen("127.0.0.1:0")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(doorkeeper.run, listeners)
        yield Listening(listeners[0].address, doorkeeper, refusals, connections, clock)
        nursery.cancel_scope.cancel()


async def serve_blocks(connection: Connection) -> None:
    """Answer as a member would to somebody who has not said hello: one block on the certificate alone, 403 else."""
    endpoint, speaks = connection.stream.endpoint, connection.stream.speaks_syncd

    async def handle(request: Request, body: Body) -> Response:
        verdict = authorize(Asker(endpoint.kind, speaks), request.route)
        if isinstance(verdict, Refuse):
            return Response(verdict.status)
        if request.route is not Route.BLOCK:
            return Response(200)
        return Response(200, CIPHERTEXT) if request.cid == CID else Response(404)

    await serve(connection.stream, handle, admit=lambda head: request_untrusted(head, endpoint.label))
