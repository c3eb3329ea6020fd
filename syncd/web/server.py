"""Async. Where the page is reached: a listener on loopback that opens when somebody asks for the page, not before."""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from syncd import http
from syncd.errors import ConfigError, PeerUnavailable, RemoteProtocolError
from syncd.protocol.heads import Head
from syncd.seams import Clock, Listener, Network, Random, RawStream, Workers
from syncd.web import gate, pin
from syncd.web.asgi import Application, Bridge
from syncd.web.calling import Json
from syncd.web.control import Api
from syncd.web.plain import PlainStream

if TYPE_CHECKING:
    from syncd.web.page import Page

log = logging.getLogger("syncd.web")

PORTS_TO_TRY: Final = 10
MAX_CONNECTIONS: Final = 48
LIMITS: Final = http.Limits(idle_s=30.0, head_s=10.0, stall_s=30.0)


class PageServer:
    """The page of one daemon."""

    def __init__(
        self,
        api: Api,
        network: Network,
        clock: Clock,
        random: Random,
        workers: Workers,
        home: Path,
        *,
        listen: str,
        listen_configured: bool,
        hosts: tuple[str, ...],
    ) -> None:
        """`listen`: `host:port` on loopback. `hosts`: more values of Host that are ours."""
        self._api = api
        self._network = network
        self._clock = clock
        self._random = random
        self._workers = workers
        self._home = home
        self._listen_on = listen
        self._ports_to_try = 1 if listen_configured else PORTS_TO_TRY
        self._more_hosts = hosts
        self._hosts: frozenset[str] = frozenset()
        self._nursery: trio.Nursery | None = None
        self._page: Page | None = None
        self._app: Application | None = None
        self._address = ""
        self._opening = trio.Lock()
        self.connections = 0
        """How many are open now."""
        self._told_of_proxy = False

    @property
    def listeners(self) -> int:
        """How many streams of events are open."""
        return 0 if self._page is None else self._page.live.listening

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; listens from the first `open` on."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    async def open(self, *, read_only: bool) -> Json:
        """A link that opens the page once. Raises ConfigError SY-WEB-01 when its port cannot be had."""
        assert self._nursery is not None
        async with self._opening:
            if self._page is None:
                await self._begin(self._nursery)
        assert self._page is not None
        token = self._page.sessions.new_link(self._clock.monotonic(), read_only=read_only)
        return {
            "schema": "syncd.web/1",
            "url": f"http://{self._address}/enter?token={token}",
            "read_only": read_only,
            "expires_s": int(gate.LINK_S),
        }

    async def set_pin(self, text: str | None) -> Json:
        """Set the PIN, or take it away."""
        await self._workers.run_blocking(pin.write_pin, self._home, text, self._random.token(pin.SALT_BYTES))
        return {"schema": "syncd.web.pin/1", "has_pin": text is not None}

    async def _begin(self, nursery: trio.Nursery) -> None:
        listeners = await self._listen()
        self._address = listeners[0].address
        self._hosts = gate.hosts_of(self._address, self._more_hosts)
        from syncd.web.page import Page  # Starlette and Jinja only where somebody asks for the page

        self._page = Page(self._api, self._clock, self._random, self._workers, self._home, nursery)
        self._app = self._page.application()
        nursery.start_soon(self._page.live.run)
        for listener in listeners:
            nursery.start_soon(self._accept, listener, nursery)
        log.info("the status page is at http://%s", self._address)

    async def _listen(self) -> Sequence[Listener]:
        host, _, port = self._listen_on.rpartition(":")
        for number in range(int(port), int(port) + self._ports_to_try):
            try:
                return await self._network.listen(f"{host}:{number}")
            except OSError as error:
                taken = error
                if error.errno != errno.EADDRINUSE:
                    break
        what = f"the page cannot listen on {self._listen_on}: {taken.strerror or taken}"
        raise ConfigError(what, id="SY-WEB-01") from taken

    async def _accept(self, listener: Listener, nursery: trio.Nursery) -> None:
        try:
            while True:
                stream, client = await listener.accept()
                if self.connections < MAX_CONNECTIONS:
                    nursery.start_soon(self._serve, stream, client)
                else:
                    await stream.aclose()
        finally:
            listener.close()

    async def _serve(self, raw: RawStream, client: str) -> None:
        """Answer one connection. Nothing that happens here may end the daemon."""
        self.connections += 1
        try:
            async with PlainStream(raw) as stream, trio.open_nursery() as nursery:
                assert self._app is not None
                bridge = Bridge(self._app, stream, nursery, client=client, server=self._address)
                guarded = _Guarded(self, bridge)
                with suppress(PeerUnavailable, RemoteProtocolError):
                    await http.serve(stream, guarded.handle, admit=lambda head: head, limits=LIMITS)
                nursery.cancel_scope.cancel()
        except Exception:  # the border of one connection
            log.exception("the page: the connection from %s failed", client)
        finally:
            self.connections -= 1

    def check(self, head: Head) -> http.Response | None:
        """What is refused before the application sees it."""
        if not self._told_of_proxy and any(head.maybe_field(name) is not None for name in gate.FORWARDED):
            self._told_of_proxy = True
            log.warning("the page: a header of a proxy was ignored; the page believes only the connection itself")
        refusal = gate.check_untrusted(head, self._hosts)
        if refusal is None:
            return None
        assert self._page is not None
        answer = self._page.refuse(refusal)
        fields = tuple((name, value) for name, value in answer.headers.items() if name != "content-length")
        return http.Response(refusal.status, bytes(answer.body), fields, close=True)


class _Guarded:
    """The application behind the gate."""

    def __init__(self, server: PageServer, bridge: Bridge) -> None:
        self._server = server
        self._bridge = bridge

    async def handle(self, head: Head, body: http.Body) -> http.Response:
        refused = self._server.check(head)
        return await self._bridge.handle(head, body) if refused is None else refused
