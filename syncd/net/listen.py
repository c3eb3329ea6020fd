"""Async. Accepts connections: bounds them, shakes hands, and gives each a task, a scope and a place in the registry.

Strangers are cheap to turn away and cannot crowd out members: before the handshake is done a connection costs one
slot of a small, separate budget, with at most so many for one address, and ten seconds of patience. Refusals are
counted and told in bursts, not one by one: whoever knocks a thousand times gets one line in the log.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio

from syncd.errors import PeerUnavailable, RemoteProtocolError, TrustError
from syncd.net.connections import Connection, Connections
from syncd.net.sockets import split_address
from syncd.net.stream import HANDSHAKE_S, TlsStream, accept_tls
from syncd.protocol.tls import Kind, LabelTable
from syncd.seams import Clock, Listener, RawStream

log = logging.getLogger(__name__)

BURST_S = 60.0


@dataclass(frozen=True, slots=True)
class ListenLimits:
    """How many connections at once; `strangers` are those whose handshake is not done, `pairings` those on the label of
    an open invitation, where anybody gets through the handshake and may then think for minutes."""

    connections: int = 512
    strangers: int = 128
    strangers_per_address: int = 32
    pairings: int = 32
    pairings_per_address: int = 8
    per_address: int = 256


@dataclass(slots=True)
class Refusals:
    """Counts refusals by reason; one line of log for each reason and burst."""

    _burst_began: dict[str, float] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def note(self, reason: str, address: str, detail: str) -> None:
        self.counts[reason] += 1
        now = trio.current_time()
        if now - self._burst_began.get(reason, -BURST_S) >= BURST_S:
            self._burst_began[reason] = now
            log.info("refused %s: %s (%d so far): %s", address, reason, self.counts[reason], detail)


class Doorkeeper:
    """Everything that accepted connections have in common. One per daemon, for all its listeners."""

    def __init__(
        self,
        table: LabelTable,
        connections: Connections,
        clock: Clock,
        handle: Callable[[Connection], Awaitable[None]],
        limits: ListenLimits = ListenLimits(),
    ) -> None:
        """`handle` serves one connection; when it returns, the connection is closed."""
        self.refusals = Refusals()
        self._table = table
        self._connections = connections
        self._clock = clock
        self._handle = handle
        self._limits = limits
        self._strangers: Counter[str] = Counter()
        self._known: Counter[str] = Counter()

    @property
    def busy(self) -> int:
        """How many connections there are, strangers included."""
        return self._strangers.total() + self._known.total()

    async def run(self, listeners: Sequence[Listener]) -> None:
        """Accept until cancelled; the listeners are closed then."""
        try:
            async with trio.open_nursery() as nursery:
                for listener in listeners:
                    nursery.start_soon(self._accept, listener, nursery)
        finally:
            for listener in listeners:
                listener.close()

    async def _accept(self, listener: Listener, nursery: trio.Nursery) -> None:
        while True:
            raw, address = await listener.accept()
            if (reason := self._full(host_of(address))) is None:
                nursery.start_soon(self._serve, raw, address)
            else:
                self.refusals.note(reason, address, "connection cut")
                raw.abort()

    def _full(self, host: str) -> str | None:
        limits = self._limits
        if self._strangers.total() >= limits.strangers:
            return "too many handshakes at once"
        if self._strangers[host] >= limits.strangers_per_address:
            return "too many handshakes from one address"
        if self._known[host] >= limits.per_address:
            return "too many connections from one address"
        if self._known.total() >= limits.connections:
            return "too many connections"
        return None

    async def _serve(self, raw: RawStream, address: str) -> None:
        host = host_of(address)
        with _counted(self._strangers, host):
            stream = await self._maybe_shake_hands(raw, address)
        if stream is None:
            return
        if stream.endpoint.kind is Kind.PAIRING and self._pairings_are_full(host):
            self.refusals.note("too many pairings", address, "connection cut")
            stream.abort()
            return
        with _counted(self._known, host):
            try:
                with self._connections.hold(stream, address, accepted=True) as connection:
                    await self._handle(connection)
                    await stream.aclose()
            except (PeerUnavailable, trio.ClosedResourceError, trio.BrokenResourceError) as error:
                log.debug("%s is gone: %s", address, error)
            except (RemoteProtocolError, TrustError) as error:
                self.refusals.note(type(error).__name__, address, str(error))
            except Exception:
                log.exception("the connection from %s failed", address)

    def _pairings_are_full(self, host: str) -> bool:
        hosts = [host_of(one.address) for one in self._connections if one.stream.endpoint.kind is Kind.PAIRING]
        return len(hosts) >= self._limits.pairings or hosts.count(host) >= self._limits.pairings_per_address

    async def _maybe_shake_hands(self, raw: RawStream, address: str) -> TlsStream | None:
        try:
            with trio.fail_after(HANDSHAKE_S):
                return await accept_tls(raw, self._table, self._clock.now())
        except trio.TooSlowError:
            self.refusals.note("handshake too slow", address, "connection cut")
        except (TrustError, PeerUnavailable, RemoteProtocolError) as error:
            self.refusals.note(type(error).__name__, address, str(error))
        return None


def host_of(address: str) -> str:
    return split_address(address)[0]


@contextmanager
def _counted(counter: Counter[str], key: str) -> Iterator[None]:
    counter[key] += 1
    try:
        yield
    finally:
        counter[key] -= 1
        if not counter[key]:
            del counter[key]
