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
from dataclasses import field
from typing import Final

import trio

from ca.addresses import AddressRules, maybe_refusal
from ca.values import dataclass
from syncd.doorway import Doorway, host_of
from syncd.errors import PeerUnavailable, RemoteProtocolError, TrustError
from syncd.net.connections import Connection, Connections
from syncd.net.stream import TlsStream, accept_tls
from syncd.protocol.door import Door, DoorLimits, Guest
from syncd.protocol.refusals import Event, Refusals
from syncd.protocol.tls import Kind, LabelTable, UnknownLabel, WrongDates
from syncd.seams import Clock, Listener, RawStream

log = logging.getLogger(__name__)

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


USUAL_LIMITS = ListenLimits()


class Doorkeeper:
    """Everything that accepted connections have in common. One per daemon, for all its listeners."""

    def __init__(
        self,
        table: LabelTable,
        connections: Connections,
        clock: Clock,
        handle: Callable[[Connection], Awaitable[None]],
        refusals: Refusals,
        limits: ListenLimits = USUAL_LIMITS,
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
        self._doorway = Doorway(Door(limits.door, connections.known), self._maybe_own_rule, refusals.note)
        self._strangers_turn = trio.Lock()
        self._accepted = 0

    @property
    def busy(self) -> int:
        """How many connections were accepted and have not ended, guests included."""
        return len(self._doorway) + self._accepted

    async def run(self, listeners: Sequence[Listener]) -> None:
        """Accept until cancelled; the listeners are closed then."""
        await self._doorway.run(listeners, self._serve)

    def _maybe_own_rule(self, host: str) -> str | None:
        why = maybe_refusal(self._rules, host)
        return None if why is None else f"this device's own rule: {why}"

    async def _serve(self, raw: RawStream, address: str, guest: Guest) -> None:
        stream = await self._maybe_shake_hands(raw, address, guest)
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
        stream: TlsStream | None = None
        with self._doorway.shaking_hands(guest) as scope:
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
