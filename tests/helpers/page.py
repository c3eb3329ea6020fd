"""Async. The real page server before a scripted daemon, on a port of its own, and a client that says what it likes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import trio

from syncd.net.sockets import SocketListener, SocketNetwork, SocketStream
from syncd.web.server import PageServer
from syncd.workers import ThreadWorkers
from tests.helpers.control_server import ScriptedApi
from tests.helpers.tasks import SeededRandom


class RealClock:
    """The clock of this machine."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class OpenConnections(SocketNetwork):
    """The real network; it knows what it accepted."""

    def __init__(self) -> None:
        super().__init__(None)
        self.accepted: list[SocketStream] = []

    async def listen(self, address: str) -> Sequence[SocketListener]:
        listeners = await super().listen(address)
        for listener in listeners:
            listener.accept = partial(self._noting, listener.accept)  # type: ignore[method-assign]
        return listeners

    async def _noting(self, accept: Callable[[], Awaitable[tuple[SocketStream, str]]]) -> tuple[SocketStream, str]:
        stream, client = await accept()
        self.accepted.append(stream)
        return stream, client


@dataclass(slots=True)
class Served:
    """A page that is being served."""

    server: PageServer
    api: ScriptedApi
    address: str
    network: OpenConnections

    async def cut(self) -> int:
        """Every connection there is breaks; how many that were."""
        there, self.network.accepted[:] = self.network.accepted[:], []
        for stream in there:
            await stream.aclose()
        return len(there)

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    async def link(self, *, read_only: bool = False) -> str:
        """A link that opens the page once."""
        url: str = (await self.server.open(read_only=read_only))["url"]
        return url

    async def ask(self, method: str, target: str, fields: Mapping[str, str], body: bytes = b"") -> Answer:
        """A request with exactly these fields, on a connection of its own."""
        host, _, port = self.address.rpartition(":")
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        size = f"content-length: {len(body)}\r\n" if body or method == "POST" else ""
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            raw = f"{method} {target} HTTP/1.1\r\n{head}{size}connection: close\r\n\r\n".encode("latin-1")
            await stream.send_all(raw + body)
            answer = b""
            with trio.fail_after(60):
                while more := await stream.receive_some():
                    answer += more
        first, _, content = answer.partition(b"\r\n\r\n")
        lines = first.decode("latin-1").split("\r\n")
        given = dict(line.split(": ", 1) for line in lines[1:])
        return Answer(int(lines[0].split()[1]), {name.lower(): value for name, value in given.items()}, content)

    async def get(self, target: str, cookie: str = "", **fields: str) -> Answer:
        """As a browser asks for a page."""
        own = {"host": self.address, "sec-fetch-site": "none"} | ({"cookie": cookie} if cookie else {})
        return await self.ask("GET", target, own | {name.replace("_", "-"): value for name, value in fields.items()})

    async def post(self, target: str, form: Mapping[str, str], cookie: str = "", **fields: str) -> Answer:
        """As a browser sends a form of the page itself."""
        own = {
            "host": self.address,
            "origin": self.url,
            "sec-fetch-site": "same-origin",
            "content-type": "application/x-www-form-urlencoded",
        } | ({"cookie": cookie} if cookie else {})
        given = {name.replace("_", "-"): value for name, value in fields.items()}
        return await self.ask("POST", target, own | given, urlencode(form).encode())

    async def enter(self, *, read_only: bool = False) -> tuple[str, str]:
        """Come in; (cookie, token for forms)."""
        token = (await self.link(read_only=read_only)).partition("token=")[2]
        cookie = (await self.post("/enter", {"token": token})).fields["set-cookie"].partition(";")[0]
        page = (await self.get("/settings", cookie)).body.decode()
        return cookie, page.partition('name="csrf" value="')[2].partition('"')[0]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    fields: dict[str, str]
    body: bytes


@asynccontextmanager
async def serving(home: Path, script: Mapping[str, Any], listen: str = "127.0.0.1:0") -> AsyncIterator[Served]:
    """Serve the page before a daemon that answers `script`, while inside the `with`."""
    api = ScriptedApi(script)
    network = OpenConnections()
    server = PageServer(
        api,
        network,
        RealClock(),
        SeededRandom(time.monotonic_ns()),
        ThreadWorkers(2),
        home,
        listen=listen,
        listen_configured=True,
        hosts=(),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        url: str = (await server.open(read_only=False))["url"]
        yield Served(server, api, url.removeprefix("http://").partition("/")[0], network)
        nursery.cancel_scope.cancel()
