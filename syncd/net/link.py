"""Async. A peer of one folder, as the folder's work sees it: a `Link` over one news line and a few data lines.

HTTP/1.1 answers one request at a time, so what waits (the next heads) and what flows (blocks) have lines of their own.
A data line that fails ends alone: what it carried is asked for again, on another line or of another peer. The news
line's end is the link's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import trio

from ca.ids import DeviceId, EntryHash
from syncd.errors import PeerUnavailable, RemoteProtocolError
from syncd.http import Client, Reply
from syncd.model.cipher import MAX_BLOCK_BYTES
from syncd.model.ids import Cid
from syncd.net.blocks import receive_frames
from syncd.net.connections import Connection
from syncd.protocol.frames import Frame, FrameReader
from syncd.protocol.messages import (
    MAX_CIDS_IN_HAVE,
    MAX_HEADS_PAGE_BYTES,
    Bitmap,
    BlocksRequest,
    HaveRequest,
    HeadsPage,
    Needs,
)
from syncd.protocol.requests import Route, heads_fields, target_of

NEWS_WAIT_S = 50
MAX_DATA_LINES = 2
IDLE_S = 60.0
MAX_CIPHERTEXT_BYTES = MAX_BLOCK_BYTES + (MAX_BLOCK_BYTES >> 3) + 64
"""A block with the most padding that a folder may use, and its tag."""


@dataclass(eq=False, slots=True)
class Line:
    """One connection on which we ask and the peer answers; its hello is behind it."""

    client: Client
    connection: Connection
    idle_since: float = 0.0

    @property
    def is_usable(self) -> bool:
        return self.client.is_usable and not self.connection.stream.is_worn

    async def ask(
        self,
        route: Route,
        body: bytes = b"",
        *,
        number: int = 0,
        fields: tuple[tuple[str, str], ...] = (),
        answer_s: float | None = None,
    ) -> Reply:
        """Ask, and insist on an answer that is none of refusal. Raises PeerUnavailable, RemoteProtocolError."""
        method = route.method.decode()
        target = target_of(route, number=number)
        reply = await self.client.request(method, target, body=body, fields=fields, answer_s=answer_s)
        if reply.status not in (200, 204):
            await reply.body.drain()
            self.connection.stream.abort()
            raise PeerUnavailable(f"the peer refused {target} with status {reply.status}")
        return reply


OpenLine = Callable[[], Awaitable[Line]]


class Lines:
    """The data lines to one peer: opened when needed, closed when idle, each lent to one request at a time."""

    def __init__(self, open_line: OpenLine, most: int = MAX_DATA_LINES) -> None:
        self.most = most
        self._open_line = open_line
        self._idle: list[Line] = []
        self._permits = trio.Semaphore(most, max_value=most)

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Line]:
        """Lend a line, opening one if none is idle. A line whose request failed is not used again."""
        async with self._permits:
            line = self._maybe_idle() or await self._open_line()
            try:
                yield line
            finally:
                if line.is_usable:
                    line.idle_since = trio.current_time()
                    self._idle.append(line)
                else:
                    line.connection.stream.abort()
                    line.connection.scope.cancel()

    async def close_idle(self) -> None:
        """Close lines that were idle for long, for ever."""
        while True:
            await trio.sleep(IDLE_S / 2)
            limit = trio.current_time() - IDLE_S
            for line in [line for line in self._idle if line.idle_since < limit]:
                self._idle.remove(line)
                line.connection.scope.cancel()

    def _maybe_idle(self) -> Line | None:
        while self._idle:
            line = self._idle.pop()
            if line.is_usable:
                return line
            line.connection.scope.cancel()
        return None


class PeerLink:
    """Implements `protocol.exchange.Link`."""

    def __init__(self, device: DeviceId, news: Line, lines: Lines, on_roster_head: Callable[[EntryHash], None]) -> None:
        """`on_roster_head` hears of the roster head that the peer goes by, with every page."""
        self.device = device
        self.lanes = lines.most
        self.rtt_ms: float | None = None
        self._news = news
        self._lines = lines
        self._on_roster_head = on_roster_head
        self._asked = False

    async def heads(self, log: bytes, after: int) -> HeadsPage:
        """See `Link.heads`."""
        wait_s = NEWS_WAIT_S if self._asked else 0
        self._asked = True
        began = trio.current_time()
        fields = heads_fields(log, wait_s) if log else ()
        reply = await self._news.ask(Route.HEADS, number=after, fields=fields, answer_s=wait_s + 30.0)
        page = HeadsPage.decode_untrusted(await reply.body.read(MAX_HEADS_PAGE_BYTES))
        if wait_s == 0:
            self.rtt_ms = round((trio.current_time() - began) * 1000, 2)
        self._on_roster_head(page.roster_head)
        return page

    async def have(self, cids: Sequence[Cid]) -> bytes:
        """See `Link.have`."""
        bits = b""
        for start in range(0, len(cids), MAX_CIDS_IN_HAVE):
            part = tuple(cids[start : start + MAX_CIDS_IN_HAVE])
            async with self._lines.lend() as line:
                reply = await line.ask(Route.HAVE, HaveRequest(part).encode())
                raw = await reply.body.read(len(part) // 8 + 64)
            bits += Bitmap.decode_untrusted(raw, len(part)).bits
        return bits

    async def tell_needs(self, files: int, size: int) -> None:
        """See `Link.tell_needs`."""
        async with self._lines.lend() as line:
            reply = await line.ask(Route.NEEDS, Needs(files, size).encode())
            await reply.body.drain()

    @asynccontextmanager
    async def blocks(self, cids: Sequence[Cid]) -> AsyncIterator[AsyncIterator[Frame]]:
        """See `Link.blocks`."""
        async with self._lines.lend() as line:
            reply = await line.ask(Route.BLOCKS, BlocksRequest(tuple(cids)).encode())
            reader = FrameReader([MAX_CIPHERTEXT_BYTES] * len(cids))
            async with aclosing(receive_frames(reply.body, reader)) as frames:
                yield frames


def lost(error: BaseException) -> PeerUnavailable:
    """What a link's user is told when something else than the network ended it."""
    if isinstance(error, PeerUnavailable):
        return error
    if isinstance(error, RemoteProtocolError):
        return PeerUnavailable(f"the peer broke the protocol: {error}")
    return PeerUnavailable(str(error))
