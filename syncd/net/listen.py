"""Async. Accepts connections: bounds them, shakes hands, and gives each a task, a scope and a place in the registry.

Strangers are cheap to turn away and cannot crowd out members: `protocol.door` says who gets a place before the
handshake, and who has to go for it. A handshake has eight seconds and 64 KiB, and behind it everybody who proved
nothing yet shares a small budget with others like them. However many strangers send at once, the arithmetic of one is
done in a round of the event loop, so that whoever is being served waits for one and not for all. No byte of HTTP is
read before the handshake is done, nor at all from an address that the folder's rules refuse.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import trio

from ca.addresses import AddressRules, maybe_refusal
from syncd.errors import PeerUnavailable, RemoteProtocolError, TrustError
from syncd.net.connections import Connection, Connections
from syncd.net.sockets import split_address
from syncd.net.stream import TlsStream, accept_tls
from syncd.protocol.door import Door, DoorLimits, Guest, Turned
from syncd.protocol.refusals import Event, Refusals
from syncd.protocol.tls import Kind, LabelTable, UnknownLabel, WrongDates
from syncd.seams import Clock, Listener, RawStream

log = logging.getLogger(__name__)

GUEST_S: Final = 8.0
"""How long a handshake may take: four round trips of two seconds. Everybody who says nothing is gone within ten."""
GAVE_WAY: Final = "cut during its handshake: others wait for the place"


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many connections of one kind at once, and from one address."""

    most: int
    per_address: int


@dataclass(frozen=True, slots=True)
class ListenLimits:
    """Before the handshake `door`, behind it by kind. Through the handshake of an open invitation, and of the control
    channel, gets also who is no member; only invitations give people time to think."""

    door: DoorLimits = field(default_factory=DoorLimits)
    members: Crowd = Crowd(512, 256)
    controls: Crowd = Crowd(128, 16)
    pairings: Crowd = Crowd(32, 8)

    def crowd_of(self, kind: Kind) -> Crowd:
        """The limit behind the handshake."""
        match kind:
            case Kind.MEMBER | Kind.VAULT:
                return self.members
            case Kind.CONTROL:
                return self.controls
            case Kind.PAIRING | Kind.RECOVERY:
                return self.pairings


class Doorkeeper:
    """Everything that accepted connections have in common. One per daemon, for all its listeners."""

    def __init__(
        self,
        table: LabelTable,
        connections: Connections,
        clock: Clock,
        handle: Callable[[Connection], Awaitable[None]],
        refusals: Refusals,
        limits: ListenLimits = ListenLimits(),
        rules: AddressRules = (),
    ) -> None:
        """`handle` serves one connection; when it returns, the connection is closed. `rules` are this node's own."""
        self._table = table
        self._connections = connections
        self._clock = clock
        self._handle = handle
        self._refusals = refusals
        self._limits = limits
        self._rules = rules
        self._door = Door(limits.door, connections.known)
        self._guests: dict[Guest, trio.CancelScope] = {}
        self._strangers_turn = trio.Lock()
        self._accepted = 0

    @property
    def busy(self) -> int:
        """How many connections were accepted and have not ended, guests included."""
        return len(self._door) + self._accepted

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
            if (guest := self._maybe_guest(address)) is None:
                raw.abort()
            else:
                self._guests[guest] = trio.CancelScope()
                nursery.start_soon(self._serve, raw, address, guest)

    def _maybe_guest(self, address: str) -> Guest | None:
        """A place at the door; None for whoever is cut without a byte."""
        host = host_of(address)
        if (why := maybe_refusal(self._rules, host)) is not None:
            self._refusals.note(Event.ADDRESS, address, f"this device's own rule: {why}")
            return None
        turn = self._door.knock(host, trio.current_time())
        if isinstance(turn, Turned):
            self._refusals.note(Event.CROWD, address, turn.value)
            return None
        guest, leaving = turn
        if leaving is not None:
            self._guests[leaving].cancel()
        return guest

    async def _serve(self, raw: RawStream, address: str, guest: Guest) -> None:
        try:
            stream = await self._maybe_shake_hands(raw, address, guest)
        finally:
            self._door.leave(guest)
            del self._guests[guest]
        if stream is None:
            return
        if not self._has_room(stream, address):
            self._refusals.note(Event.CROWD, address, f"too many connections ({stream.endpoint.kind.name.lower()})")
            stream.abort()
            return
        self._accepted += 1
        try:
            with self._connections.hold(stream, address, accepted=True) as connection:
                await self._handle(connection)
                await stream.aclose()
        except (PeerUnavailable, trio.ClosedResourceError, trio.BrokenResourceError) as error:
            log.debug("%s is gone: %s", address, error)
        except (TrustError, RemoteProtocolError) as error:
            self._refusals.note(_event_of(stream, error), address, error.what)
        except Exception:
            log.exception("the connection from %s failed", address)
        finally:
            self._accepted -= 1

    def _has_room(self, stream: TlsStream, address: str) -> bool:
        kind = stream.endpoint.kind
        crowd = self._limits.crowd_of(kind)
        hosts = [host_of(one.address) for one in self._connections if one.accepted and one.stream.endpoint.kind is kind]
        return len(hosts) < crowd.most and hosts.count(host_of(address)) < crowd.per_address

    async def _maybe_shake_hands(self, raw: RawStream, address: str, guest: Guest) -> TlsStream | None:
        """The handshake of a guest, as long as it has its place and its time."""
        scope = self._guests[guest]
        scope.deadline = trio.current_time() + GUEST_S
        stream: TlsStream | None = None
        with scope:
            stream = await self._maybe_secured(raw, address)
        if scope.cancelled_caught:
            is_late = trio.current_time() >= scope.deadline
            self._refusals.note(Event.CROWD, address, "too slow a handshake" if is_late else GAVE_WAY)
        return stream

    async def _maybe_secured(self, raw: RawStream, address: str) -> TlsStream | None:
        try:
            turn = None if host_of(address) in self._connections.known else self._strangers_turn
            return await accept_tls(raw, self._table, self._clock.now(), turn)
        except UnknownLabel as error:
            self._refusals.note(Event.LABEL, address, error.what)
        except WrongDates as error:
            self._refusals.note(Event.CLOCK, address, error.what)
        except (TrustError, RemoteProtocolError, PeerUnavailable) as error:
            self._refusals.note(Event.HANDSHAKE, address, error.what)
        except Exception:  # whatever a stranger made fail, it is his connection and no other
            self._refusals.note(Event.HANDSHAKE, address, "a fault of our own")
            log.exception("the handshake with %s failed", address)
        return None


def _event_of(stream: TlsStream, error: Exception) -> Event:
    if stream.endpoint.kind is Kind.PAIRING:
        return Event.PAIRING
    return Event.RIGHT if isinstance(error, TrustError) else Event.REQUEST


def host_of(address: str) -> str:
    return split_address(address)[0]
