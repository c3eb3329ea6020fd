"""Async. Where people outside reach share links: a listener of its own, HTTPS only, open as long as a link lives.

Strangers get what they get at the door of the peers: few places, little time, no byte of HTTP before the handshake. Who
shows no proof is shown one page, the same for every id, and learns nothing: not whether there is such a link, nor what
it would show. Every request asks again whether its link still lives, and a connection on which a download runs is cut
in the moment in which its link ends.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import trio

from syncd import http
from syncd.doorway import Doorway, host_of
from syncd.errors import ConfigError, PeerUnavailable, RemoteProtocolError
from syncd.protocol.door import Door, DoorLimits, Guest, Known, Share, owner_of
from syncd.protocol.heads import Head
from syncd.seams import Listener, Network, RawStream
from syncd.web.linkhost import Host
from syncd.web.linkpages import Answers, Caller
from syncd.web.linkseats import Lines, Seat, Seats
from syncd.web.plain import PlainStream

log = logging.getLogger("syncd.links")

PORTS_TO_TRY: Final = 10
GOODBYE_S: Final = 2.0
DOOR: Final = DoorLimits(strangers=Share(64, 16, 10.0, 60.0), per_s=30.0)
"""A handshake costs as much as several requests. Where a proof was shown before there are places of their own."""
HASTY_S: Final = 1.0
"""Who would have to wait so long asks as no person does."""
LIMITS: Final = http.Limits(idle_s=15.0, head_s=10.0, stall_s=30.0, requests=1000)


class LinkServer:
    """The listener of all share links of a device. It serves while `run` runs."""

    def __init__(
        self,
        network: Network,
        host: Host,
        context: Callable[[], ssl.SSLContext],
        *,
        is_strict: bool,
        origin: str | None,
    ) -> None:
        """`context`: asked for each connection, so that a new certificate needs no new listener. `is_strict`: browsers
        are told to come by HTTPS only. `origin`: how a reverse proxy in front of us is called, as `https://name`."""
        self._network = network
        self._host = host
        self._context = context
        self._answers = Answers(host, is_strict=is_strict, origin=origin)
        self._known = Known()
        self._doorway = Doorway(Door(DOOR, self._known), host.refuses, lambda _, *refused: host.note_refusal(*refused))
        self._listeners: Sequence[Listener] = ()
        self._seats, self._lines = Seats(), Lines()
        self._cuts: dict[Seat, Callable[[], None]] = {}

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens, as `host:port`."""
        return tuple(listener.address for listener in self._listeners)

    @property
    def connections(self) -> int:
        """How many are open behind their handshake."""
        return len(self._seats)

    async def listen(self, address: str, *, is_configured: bool) -> None:
        """Open the port. Raises ConfigError SY-LINK-01 when it cannot be had."""
        host, _, port = address.rpartition(":")
        for number in range(int(port), int(port) + (1 if is_configured else PORTS_TO_TRY)):
            try:
                self._listeners = await self._network.listen(f"{host}:{number}")
            except OSError as error:
                taken = error
            else:
                return
        raise ConfigError(
            f"share links cannot listen on {address}: {taken.strerror or taken}", id="SY-LINK-01"
        ) from taken

    async def run(self) -> None:
        """Accept until cancelled; the port is closed then, and every connection cut."""
        try:
            await self._doorway.run(self._listeners, self._serve)
        finally:
            self._listeners = ()

    async def _serve(self, raw: RawStream, address: str, guest: Guest) -> None:
        """Answer one connection. Nothing that happens here may end the listener, let alone the daemon."""
        try:
            stream = await self._maybe_shake_hands(raw, guest)
            if stream is not None:
                await self._talk(stream, raw, address)
        except Exception:  # the border of one connection
            log.exception("share links: the connection from %s failed", address)
        finally:
            raw.abort()

    async def _maybe_shake_hands(self, raw: RawStream, guest: Guest) -> trio.SSLStream[PlainStream] | None:
        with self._doorway.shaking_hands(guest):
            stream = trio.SSLStream(PlainStream(raw), self._context(), server_side=True, https_compatible=True)
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await stream.do_handshake()
                return stream
        return None

    async def _talk(self, stream: trio.SSLStream[PlainStream], raw: RawStream, address: str) -> None:
        host = host_of(address)
        owner = owner_of(host)
        with trio.CancelScope() as scope:

            def cut() -> None:
                raw.abort()  # first the socket: not a byte leaves after this line
                scope.cancel()

            def proved() -> None:
                self._seats.prove(seat)
                self._known.note(host)

            with self._seat(owner, cut) as seat:

                async def handle(head: Head, body: http.Body) -> http.Response:
                    wait_s = self._lines.wait_s(owner, self._seats.has_proved(seat), trio.current_time())
                    if wait_s > HASTY_S:
                        self._host.note_refusal(address, "too many requests a second for share links: they wait")
                    await trio.sleep(wait_s)
                    return await self._answers.answer(head, body, Caller(host, cut, proved))

                with suppress(PeerUnavailable, RemoteProtocolError):
                    await http.serve(stream, handle, admit=lambda head: head, limits=LIMITS)
                with trio.move_on_after(GOODBYE_S), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await stream.aclose()

    @contextmanager
    def _seat(self, owner: str, cut: Callable[[], None]) -> Iterator[Seat]:
        """A seat behind the handshake, while that lasts; who has to give way for it is cut."""
        seat, leaving = self._seats.sit(owner)
        if leaving is not None:
            self._cuts[leaving]()
        self._cuts[seat] = cut
        try:
            yield seat
        finally:
            self._seats.leave(seat)
            del self._cuts[seat]


def tls_context(certificate: str, key: str, password: bytes = b"") -> ssl.SSLContext:
    """For browsers: TLS 1.2 or later, forward secrecy and authenticated ciphers alone, no tickets.

    Raises: OSError, ssl.SSLError for files that are not a certificate and its key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(
        certificate, key, password=lambda: password
    )  # never ask a terminal for the password of a key
    return context
