"""Async. A peer of one folder, as the folder's work sees it: a `Link` over one news line and a few data lines.

HTTP/1.1 answers one request at a time, so what waits (the next heads) and what flows (blocks) have lines of their own.
A line that was idle may be dead without our knowing, so a request that fails on it is asked again on a fresh one. What
fails on a fresh one ends the whole link: a peer that can announce but not deliver is dialled anew.

Lines belong to an epoch. When another one opens without anybody's leaving, the link stays, and its lines go on for a
while, as they drain: whoever renews them within a minute, and not at once, dials once for many newcomers. `is_fresh`
says which ones may still be used; what is not is closed as soon as it is idle.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import field
from math import ceil, inf
from typing import Final

import trio

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.errors import PeerUnavailable
from syncd.http import Client, Reply
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
from syncd.protocol.possession import ProveAnswer, ProveRequest, answer_limit
from syncd.protocol.requests import Route, heads_fields, target_of

NEWS_WAIT_S: Final = 50
IMPATIENT_S: Final = 5
"""The same while the peer does not answer to the newest epoch yet."""
ANSWER_S: Final = 30.0
MAX_DATA_LINES: Final = 3
IDLE_S: Final = 60.0


@dataclass(eq=False, slots=True)
class Line:
    """One connection on which we ask and the peer answers; its hello is behind it. Whoever holds the connection waits
    for `over`."""

    client: Client
    connection: Connection
    device: DeviceId
    rtt_s: float = 0.0
    over: trio.Event = field(default_factory=trio.Event)
    idle_since: float = 0.0

    @property
    def is_usable(self) -> bool:
        return self.client.is_usable and not self.connection.stream.is_worn and not self.over.is_set()

    def end(self) -> None:
        """Give the connection up; one in the middle of something is cut."""
        if not self.client.is_usable:
            self.connection.stream.abort()
        self.over.set()

    async def ask(
        self,
        route: Route,
        body: bytes = b"",
        *,
        number: int = 0,
        fields: tuple[tuple[str, str], ...] = (),
        answer_s: float = ANSWER_S,
    ) -> Reply:
        """Ask, and insist on an answer that is none of refusal. Raises PeerUnavailable, RemoteProtocolError; the line
        is at its end then."""
        method, target = route.method.decode(), target_of(route, number=number)
        try:
            reply = await self.client.request(method, target, body=body, fields=fields, answer_s=answer_s)
            if reply.status not in (200, 204):
                raise PeerUnavailable(f"the peer refused {target} with status {reply.status}")
        except BaseException:
            self.connection.stream.abort()
            self.over.set()
            raise
        return reply


OpenLine = Callable[[], Awaitable[Line]]


class Lines:
    """The data lines to one peer: opened when needed, closed when idle, each lent to one request at a time."""

    def __init__(self, open_line: OpenLine, is_fresh: Callable[[Line], bool], most: int = MAX_DATA_LINES) -> None:
        """`is_fresh`: whether a line is of the current epoch, and so worth keeping."""
        self.most = most
        self.open = open_line
        self.is_fresh = is_fresh
        self._idle: list[Line] = []
        self._permits = trio.Semaphore(most, max_value=most)

    @asynccontextmanager
    async def ask(self, route: Route, body: bytes) -> AsyncIterator[Reply]:
        """Ask on some line, and keep that line until the reply has been read. One left in the middle is cut."""
        async with self._permits:
            line, reply = await self._ask(route, body)
            try:
                yield reply
            finally:
                self._give_back(line)

    async def _ask(self, route: Route, body: bytes) -> tuple[Line, Reply]:
        while (line := self._maybe_idle()) is not None:
            try:
                return line, await line.ask(route, body)
            except PeerUnavailable:
                continue  # it may have died while it was idle: the next one will tell
        line = await self.open()
        return line, await line.ask(route, body)

    def _maybe_idle(self) -> Line | None:
        while self._idle:
            line = self._idle.pop()
            if line.is_usable and self.is_fresh(line):
                return line
            line.end()
        return None

    def _give_back(self, line: Line) -> None:
        if line.is_usable and self.is_fresh(line):
            line.idle_since = trio.current_time()
            self._idle.append(line)
        else:
            line.end()

    async def close_idle(self) -> None:
        """Close lines that were idle for long, for ever."""
        while True:
            await trio.sleep(IDLE_S / 4)
            limit = trio.current_time() - IDLE_S
            for line in [line for line in self._idle if line.idle_since <= limit or not self.is_fresh(line)]:
                self._idle.remove(line)
                line.end()

    def end(self) -> None:
        """Close all that are idle; the others end with their requests."""
        for line in self._idle:
            line.end()
        self._idle.clear()


class PeerLink:
    """Implements `protocol.exchange.Link`. Run what uses it inside `scope`: it is cancelled when the peer is lost."""

    def __init__(
        self,
        news: Line,
        lines: Lines,
        on_page: Callable[[Line, HeadsPage, float], None],
        renew_at: Callable[[Line], float] = lambda line: inf,
    ) -> None:
        """`on_page` hears of every page: on which line it came, and when it had been asked for. `renew_at`: from when
        on a fresh line is to be replaced nevertheless, as its epoch is over."""
        self.scope = trio.CancelScope()
        self.rtt_ms = round(news.rtt_s * 1000, 2)
        self._news = news
        self._lines = lines
        self._on_page = on_page
        self._renew_at = renew_at

    @property
    def device(self) -> DeviceId:
        return self._news.device

    @property
    def is_left(self) -> bool:
        """Whether the peer has gone, though nobody may have been told yet."""
        return self._news.connection.stream.is_left

    @property
    def lanes(self) -> int:
        return self._lines.most

    async def heads(self, log: bytes, after: int, word: int, is_level: bool) -> HeadsPage:
        """See `Link.heads`."""
        with self._or_lost():
            wait_s = await self._renew_news()
            fields = heads_fields(log, wait_s, word=word, is_level=is_level) if log else ()
            asked_at = trio.current_time()
            reply = await self._news.ask(Route.HEADS, number=after, fields=fields, answer_s=wait_s + ANSWER_S)
            page = HeadsPage.decode_untrusted(await reply.body.read(MAX_HEADS_PAGE_BYTES))
        self._on_page(self._news, page, asked_at)
        return page

    async def _renew_news(self) -> int:
        """Have a news line of the current epoch, if the peer knows that too; how long to wait for news on it."""
        if self._lines.is_fresh(self._news) and not self._news.connection.stream.is_worn:
            left_s = self._renew_at(self._news) - trio.current_time()
            return max(1, ceil(min(NEWS_WAIT_S, left_s)))
        try:
            fresh = await self._lines.open()
        except PeerUnavailable:
            return IMPATIENT_S
        self._news.end()
        self._news = fresh
        return NEWS_WAIT_S

    async def have(self, cids: Sequence[Cid]) -> bytes:
        """See `Link.have`."""
        bits = b""
        for start in range(0, len(cids), MAX_CIDS_IN_HAVE):
            part = tuple(cids[start : start + MAX_CIDS_IN_HAVE])
            with self._or_lost():
                async with self._lines.ask(Route.HAVE, HaveRequest(part).encode()) as reply:
                    raw = await reply.body.read(len(part) // 8 + 64)
            bits += Bitmap.decode_untrusted(raw, len(part)).bits
        return bits

    async def prove(self, request: ProveRequest) -> ProveAnswer:
        """See `Link.prove`."""
        count = len(request.cids)
        with self._or_lost():
            async with self._lines.ask(Route.PROVE, request.encode()) as reply:
                raw = await reply.body.read(answer_limit(count))
        return ProveAnswer.decode_untrusted(raw, count)

    async def tell_needs(self, files: int, size: int, word: int) -> None:
        """See `Link.tell_needs`."""
        with self._or_lost():
            async with self._lines.ask(Route.NEEDS, Needs(files, size, word).encode()) as reply:
                await reply.body.drain()

    @asynccontextmanager
    async def blocks(
        self, cids: Sequence[Cid], limits: Sequence[int], place: memoryview | None = None
    ) -> AsyncIterator[AsyncIterator[Sequence[Frame]]]:
        """See `Link.blocks`."""
        with self._or_lost():
            async with self._lines.ask(Route.BLOCKS, BlocksRequest(tuple(cids)).encode()) as reply:
                reader = FrameReader(limits, place)
                async with aclosing(receive_frames(reply.body, reader)) as frames:
                    yield frames

    def end(self) -> None:
        """Close all lines that are not in use."""
        self._news.end()
        self._lines.end()

    @contextmanager
    def _or_lost(self) -> Iterator[None]:
        try:
            yield
        except PeerUnavailable:
            self.scope.cancel()
            raise
