"""Async. From our HTTP runner to an ASGI application: one request in, one `http.Response` out.

The application runs in a task of the connection and hands over its body piece by piece, each taken before the next is
made, so that a reader who stalls stops the application and nothing piles up. When the reader goes, the application is
cancelled; one that streams is told at once, because somebody reads on the idle connection meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import trio

from syncd import http
from syncd.errors import PeerUnavailable
from syncd.protocol.heads import Head, RequestRefused

log = logging.getLogger("syncd.web")

Message: TypeAlias = "MutableMapping[str, Any]"
Application: TypeAlias = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

MAX_BODY_BYTES: Final = 64 * 1024
BODY_S: Final = 10.0


class Bridge:
    """Answers the requests of one connection with an ASGI application."""

    def __init__(
        self, app: Application, stream: trio.abc.Stream, nursery: trio.Nursery, *, client: str, server: str
    ) -> None:
        """`client` and `server`: `host:port` of both ends. `nursery` ends with the connection."""
        self._app = app
        self._stream = stream
        self._nursery = nursery
        self._client = _address(client)
        self._server = _address(server)

    async def handle(self, head: Head, body: http.Body) -> http.Response:
        """Run the application for one request. Raises RequestRefused for a body that is too long."""
        if body.length is not None and body.length > MAX_BODY_BYTES:
            raise RequestRefused(413, "a form over the limit")
        exchange = _Exchange(self._app, self._scope(head), await _read(body))
        self._nursery.start_soon(exchange.run)
        return await exchange.response(self._stream, self._nursery)

    def _scope(self, head: Head) -> Message:
        target, _, query = head.target.partition(b"?")
        if not target.startswith(b"/"):
            raise RequestRefused(400, "a target that is no path")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": head.method.decode("ascii"),
            "scheme": "http",
            "path": unquote(target.decode("ascii")),
            "raw_path": target,
            "query_string": query,
            "root_path": "",
            "headers": list(head.fields),
            "client": self._client,
            "server": self._server,
        }


class _Exchange:
    """One request and its answer."""

    def __init__(self, app: Application, scope: Message, body: bytes) -> None:
        self._app = app
        self._scope = scope
        self._body: bytes | None = body
        self._started = trio.Event()
        self._head: Message | None = None
        self._first = b""
        self._is_whole = False
        self._gone = trio.Event()
        self._running = trio.CancelScope()
        self._send, self._pieces = trio.open_memory_channel[bytes](0)

    async def run(self) -> None:
        """The application's own task. What it fails with ends this answer, and no more."""
        try:
            with self._running, self._send:
                await self._app(self._scope, self._receive, self._take)
        except Exception:  # the border of one connection
            log.exception("the page failed at %s", self._scope["path"])
        finally:
            self._started.set()

    async def response(self, stream: trio.abc.Stream, nursery: trio.Nursery) -> http.Response:
        """The answer, as soon as its head and first piece are there."""
        await self._started.wait()
        if self._head is None:
            return http.Response(500, close=True)
        fields = tuple(
            (name.decode("ascii"), value.decode("latin-1"))
            for name, value in self._head["headers"]
            if name.lower() not in (b"content-length", b"transfer-encoding", b"connection")
        )
        status = int(self._head["status"])
        if self._is_whole:
            return http.Response(status, b"" if self._scope["method"] == "HEAD" else self._first, fields)
        # Nothing is asked on this connection any more, so whatever arrives, or its end, means that the reader went.
        nursery.start_soon(self._watch, stream)
        return http.Response(status, self._stream_body(), fields, close=True)

    async def _stream_body(self) -> AsyncGenerator[bytes, None]:
        try:
            yield self._first
            async for piece in self._pieces:
                yield piece
        finally:
            self._gone.set()
            self._running.cancel()

    async def _watch(self, stream: trio.abc.Stream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.receive_some(1)
        self._gone.set()
        self._running.cancel()

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._head = message
            return
        piece, more = message.get("body", b""), message.get("more_body", False)
        if not self._started.is_set():
            self._first, self._is_whole = piece, not more
            self._started.set()
        elif piece:
            try:
                await self._send.send(piece)
            except trio.BrokenResourceError as error:
                raise OSError("the reader is gone") from error


async def _read(body: http.Body) -> bytes:
    with trio.move_on_after(BODY_S):
        return await body.read(MAX_BODY_BYTES)
    raise PeerUnavailable("the request did not end in time")


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
