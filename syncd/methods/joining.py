"""Async. The joiner's side of pairing: from a code or link to an offer, and from the offer to a membership on disk.

Several addresses may lead to one inviter, and several inviters may answer to one code's number. Addresses come in
groups, one group for each appearance: within a group whichever connects first is used, because every exchange by code
costs the inviter one of three guesses; a group that turns out wrong makes way for the next.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import field
from typing import Final, NoReturn, Protocol

import trio

from ca.certs import throwaway_certificate
from ca.epochs import MAX_NAME_BYTES, code_label, link_label
from ca.ids import FolderId
from ca.values import dataclass
from syncd.daemon.beginning import join_folder
from syncd.daemon.devicedb import Also
from syncd.daemon.installation import Installation
from syncd.daemon.membership import FolderMembership
from syncd.errors import PeerUnavailable, RemoteProtocolError, SyncdError, TrustError
from syncd.http import Client, Limits
from syncd.net.dial import dial
from syncd.net.stream import TlsStream
from syncd.protocol.invitation import MAX_HOST_BYTES, MAX_RESPONSE_BYTES, Admission, Offer, Refusal, one_line
from syncd.protocol.joiner import Admitted, JoinerEvent, JoinerSession, Offered, Refused
from syncd.protocol.links import Code, Link
from syncd.protocol.pairing import MAX_TRIES, POLL_S, THINKING_S, Channel
from syncd.protocol.requests import Route, target_of
from syncd.protocol.tls import Outgoing, UnknownLabel, connect_pairing
from syncd.seams import Clock, Network

log = logging.getLogger("syncd.joining")

STAGGER_S: Final = 0.25
"""Until the next address of a group is tried beside those that have not answered."""
AGAIN_S: Final = 2.0
ANOTHER_S: Final = 3.0
"""After a refusal: how long another device that announces the same number may take to be heard of."""
GIVE_UP_S: Final = 15 * 60.0
"""How long an inviter may be unreachable while we wait for its person."""


_LIMITS: Final = Limits(idle_s=THINKING_S, answer_s=POLL_S + 15.0)

_REFUSALS: Final = {
    Refusal.WRONG: ("the code was not accepted", "SY-PAIR-03"),
    Refusal.EXPIRED: ("the invitation has expired", "SY-PAIR-04"),
    Refusal.BURNT: ("the code is burnt", "SY-PAIR-07"),
    Refusal.USED: ("the invitation is used up", "SY-PAIR-10"),
    Refusal.REVOKED: ("the invitation was revoked", "SY-PAIR-10"),
    Refusal.DENIED: ("the request was denied", "SY-PAIR-05"),
    Refusal.FORBIDDEN: ("the inviter may not admit anybody", "SY-PAIR-10"),
    Refusal.SUSPENDED: ("the membership that this device has there is suspended", "SY-TRUST-06"),
    Refusal.UNAVAILABLE: ("the folder is stopped at the inviter", "SY-PAIR-08"),
    Refusal.UNKNOWN: ("the invitation was refused", "SY-PAIR-10"),
}


class Addresses(Protocol):
    """Groups of `host:port` as they become known, each the addresses of one appearance: a receive channel, or an async
    generator. `Joiner.find` closes it."""

    def __aiter__(self) -> AsyncIterator[Sequence[str]]: ...

    async def aclose(self) -> None: ...


class PairingLine(Protocol):
    """A connection on a pairing label."""

    def export(self, label: bytes, length: int) -> bytes: ...

    async def post(self, body: bytes) -> bytes:
        """Raises PeerUnavailable, RemoteProtocolError."""
        ...

    async def aclose(self) -> None: ...


class PairingDial(Protocol):
    """Connects to an address; raises PeerUnavailable, TrustError (UnknownLabel), RemoteProtocolError."""

    async def __call__(self, address: str, outgoing: Outgoing) -> PairingLine: ...


def listed(groups: Iterable[Sequence[str]]) -> Addresses:
    """Groups that are known beforehand, and no more after them."""
    known = list(groups)
    send, receive = trio.open_memory_channel[Sequence[str]](len(known))
    for group in known:
        send.send_nowait(group)
    send.close()
    return receive


# --- over the network ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HttpLine:
    """`POST /v1/pair` on a TLS stream."""

    stream: TlsStream
    client: Client

    def export(self, label: bytes, length: int) -> bytes:
        return self.stream.export(label, length)

    async def post(self, body: bytes) -> bytes:
        reply = await self.client.request(Route.PAIR.method.decode(), target_of(Route.PAIR), body=body)
        if reply.status != 200:
            raise RemoteProtocolError(f"pairing was answered by status {reply.status}")
        return await reply.body.read(MAX_RESPONSE_BYTES)

    async def aclose(self) -> None:
        await self.stream.aclose()


def network_dial(network: Network, clock: Clock) -> PairingDial:
    """Lines over the real network, or a simulated one."""

    async def connect(address: str, outgoing: Outgoing) -> PairingLine:
        stream = await dial(network, clock, address, outgoing)
        return HttpLine(stream, Client(stream, host=outgoing.endpoint.label, limits=_LIMITS))

    return connect


# --- the joiner ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Invitation:
    """An offer that somebody who knows the code or link made to us. Nothing is asked for yet; `aclose` forgets it."""

    offer: Offer
    address: str
    _joiner: Joiner
    _line: PairingLine
    _session: JoinerSession
    _asking: trio.Lock = field(default_factory=trio.Lock)

    async def ask(self, member_name: str, *, also: Also | None = None) -> FolderMembership:
        """Ask to be let in and wait until a person has decided. On disk when this returns.

        Raises: TrustError when the answer is no (SY-PAIR-…) or the admission is not right, PeerUnavailable.
        """
        name = one_line(member_name, MAX_NAME_BYTES)
        async with self._asking:
            while True:
                try:
                    return await self._ask_once(name, also)
                except PeerUnavailable as lost:
                    log.info("the inviter is lost: %s", lost)
                await self._reconnect()

    async def _ask_once(self, name: str, also: Also | None) -> FolderMembership:
        event = await self._joiner.converse(self._line, self._session, self._session.commit(name))
        if not isinstance(event, Admitted):
            _refuse(event)
        membership = await self._joiner.save(self.offer, event.admission, also)
        try:
            await self._joiner.converse(self._line, self._session, self._session.received())
        except PeerUnavailable as lost:
            log.info("the inviter did not hear that we have our admission: %s", lost)
        return membership

    async def _reconnect(self) -> None:
        """Prove ourselves again after a lost connection: the inviter knows the device that it had said yes to."""
        with trio.move_on_after(GIVE_UP_S):
            while True:
                await self._line.aclose()
                await trio.sleep(AGAIN_S)
                try:
                    self._line = await self._joiner.connect(self.address)
                    self._session = self._joiner.session(self._line)
                    self._check_same(await self._joiner.prove(self._line, self._session))
                except PeerUnavailable as lost:
                    log.debug("%s: %s", self.address, lost)
                except UnknownLabel as closed:
                    raise TrustError("the invitation is closed", id="SY-PAIR-10") from closed
                else:
                    return
        raise PeerUnavailable("the inviter is gone", id="SY-PAIR-08")

    def _check_same(self, offer: Offer) -> None:
        if (offer.folder, offer.device, offer.role) != (self.offer.folder, self.offer.device, self.offer.role):
            raise RemoteProtocolError("the inviter offers something else than before")

    async def aclose(self) -> None:
        """Forget it."""
        await self._line.aclose()


class Joiner:
    """What a code or link needs to be followed."""

    def __init__(
        self, installation: Installation, ticket: Code | Link, dial: PairingDial, *, host: str, system: str
    ) -> None:
        """`host` and `system` are shown to the inviter's person."""
        self._installation = installation
        self._ticket = ticket
        self._dial = dial
        self._host, self._system = one_line(host, MAX_HOST_BYTES), one_line(system, MAX_HOST_BYTES)
        label = code_label(ticket.number) if isinstance(ticket, Code) else link_label(ticket.secret)
        self._outgoing = connect_pairing(label, *throwaway_certificate(installation.random.token))
        self._is_closed = False  # whether somebody was reached who has no such invitation

    async def find(self, addresses: Addresses, *, refuses: Callable[[FolderId], SyncdError | None]) -> Invitation:
        """Try the groups of addresses until one leads to the inviter. The caller sets the deadline.

        Raises: PeerUnavailable when `addresses` end and none did; RemoteProtocolError, TrustError (SY-PAIR-…) when the
        invitation was refused; and what `refuses` says against this folder, for instance SY-PAIR-06: it is here.
        """
        if isinstance(self._ticket, Link) and self._ticket.expires <= self._installation.now_s():
            raise TrustError("the invitation has expired", id="SY-PAIR-04")
        refused: SyncdError | None = None
        tries = 0
        with trio.CancelScope() as patience:
            async with aclosing(addresses):
                async for group in addresses:
                    patience.deadline = math.inf
                    found = await self._connect_first(group)
                    try:
                        if found is not None:
                            return await self._invitation(*found, refuses)
                    except PeerUnavailable as lost:
                        log.info("%s: %s", found and found[0], lost)
                    except (RemoteProtocolError, TrustError) as error:
                        refused, tries = error, tries + 1
                        if tries >= MAX_TRIES or error.id == "SY-PAIR-06":
                            break
                    if refused is not None:
                        patience.deadline = trio.current_time() + ANOTHER_S
        raise refused or self._nobody()

    async def _invitation(
        self, address: str, line: PairingLine, refuses: Callable[[FolderId], SyncdError | None]
    ) -> Invitation:
        session = self.session(line)
        offer = await self.prove(line, session)
        if (refusal := refuses(offer.folder)) is not None:
            await line.aclose()
            raise refusal
        return Invitation(offer, address, self, line, session)

    def _nobody(self) -> SyncdError:
        if self._is_closed:
            why = "A syncd answers there, but it has no such invitation open: it was used, was revoked or has expired."
            return TrustError("the invitation is closed", id="SY-PAIR-10", why=why)
        if isinstance(self._ticket, Code):
            return PeerUnavailable("nobody announces this code", id="SY-PAIR-01")
        return PeerUnavailable("the inviting device could not be reached", id="SY-PAIR-08")

    # lines ---------------------------------------------------------------------------------------------------

    async def connect(self, address: str) -> PairingLine:
        return await self._dial(address, self._outgoing)

    async def _connect_first(self, group: Sequence[str]) -> tuple[str, PairingLine] | None:
        """The first address of a group that answers our label; each is given a little start before the next."""
        won: list[tuple[str, PairingLine]] = []

        async def attempt(address: str, failed: trio.Event) -> None:
            try:
                line = await self.connect(address)
            except (PeerUnavailable, TrustError, RemoteProtocolError) as error:
                log.debug("%s: %s", address, error)
                self._is_closed = self._is_closed or isinstance(error, UnknownLabel)
                failed.set()
                return
            if won:
                await line.aclose()
            else:
                won.append((address, line))
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for address in group:
                failed = trio.Event()
                nursery.start_soon(attempt, address, failed)
                with trio.move_on_after(STAGGER_S):
                    await failed.wait()
        return won[0] if won else None

    # messages ------------------------------------------------------------------------------------------------

    def session(self, line: PairingLine) -> JoinerSession:
        own, channel = self._installation, Channel.of(line.export)
        if isinstance(self._ticket, Code):
            return JoinerSession.for_code(
                own.keys, self._ticket, channel, own.random.token, host=self._host, system=self._system
            )
        return JoinerSession.for_link(own.keys, self._ticket, channel, host=self._host, system=self._system)

    async def prove(self, line: PairingLine, session: JoinerSession) -> Offer:
        """Show that we know the secret, and see that the other side does. Closes the line when that fails."""
        try:
            event = await self.converse(line, session, session.start())
            if isinstance(event, Offered):
                return event.offer
            _refuse(event)
        except BaseException:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await line.aclose()
            raise

    async def converse(self, line: PairingLine, session: JoinerSession, body: bytes) -> JoinerEvent:
        """Post a body, and what follows from the answers by itself, until there is an event."""
        workers = self._installation.workers
        while True:
            # In a worker: SPAKE2 is Python, and an admission holds a whole roster.
            step = await workers.run_blocking(session.receive_untrusted, await line.post(body))
            if step.event is not None:
                return step.event
            if step.request is None:
                raise RemoteProtocolError("a pairing message that leads nowhere")
            body = step.request

    async def save(self, offer: Offer, admission: Admission, also: Also | None) -> FolderMembership:
        """Check the admission and write it; remember where members are."""
        own = self._installation
        membership = await join_folder(own, offer, admission, also=also)
        for device, addresses in admission.addresses:
            if membership.roster.device(device) is not None:
                await own.on_disk(own.db.note_addresses, device, addresses, own.clock.now(), "pairing")
        return membership


def _refuse(event: JoinerEvent) -> NoReturn:
    reason = event.reason if isinstance(event, Refused) else Refusal.UNKNOWN
    what, id = _REFUSALS[reason]
    raise TrustError(what, id=id)
