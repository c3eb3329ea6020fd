"""Async. Meetings: connections on the control channel, where device keys count and not the folder's certificate.

Two devices meet when a label is no longer known, when one knows entries that the other lacks, and when there is
something to pass on. They part with the same roster. Whatever happens in a meeting ends it and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from typing import Final, TypeVar

import trio

from ca.device import PublicDevice
from ca.ids import DeviceId, EntryHash
from syncd.engine.membership import Update
from syncd.errors import PeerUnavailable, TrustError
from syncd.http import Client
from syncd.net.circle import CLIENT_LIMITS, FAILURE, Circle
from syncd.net.contacts import Source
from syncd.net.control import settle
from syncd.net.dial import dial_first
from syncd.net.greeting import greet, head_of
from syncd.protocol.messages import RosterSubmit
from syncd.protocol.requests import Route, target_of

log = logging.getLogger(__name__)

PUSH_S: Final = 4.0
PASS_ON_S: Final = 0.5
"""Who learns an entry from another device waits up to so long before passing it on: mostly its author was quicker."""
MEETING_S: Final = 20.0
ASK_NEXT_S: Final = 1.0
"""Who has not answered by then is not waited for: the next who knows more is asked."""
MEET_AGAIN_S: Final = 1.0
STRANGERS_ASKED: Final = 8
"""Devices that an address of unknown owner is asked for on the control channel, each time others."""

MAX_ANSWER_BYTES: Final = 64 << 10

FORCED: Final = True

Answer = TypeVar("Answer")


class Meetings:
    """The meetings of one folder. `push_forever` and `catch_up_forever` for its whole life."""

    def __init__(self, circle: Circle) -> None:
        self._circle = circle
        self._membership = circle.membership
        self._contacts = circle.contacts
        self._push_at = inf
        self._push_woken = trio.Event()
        self._tells_everybody = False
        self._learning = 0
        self._ahead: dict[DeviceId, EntryHash | None] = {}
        """Devices that know more of the roster than we do and are to be asked, and what shows that."""
        self._ahead_woken = trio.Event()
        self._asked_strangers = 0

    # passing on ----------------------------------------------------------------------------------------------

    def roster_moved(self, *, evicts: bool) -> None:
        """There is something to pass on: at once if it is our own doing.

        What is our own doing, or takes connections from somebody, is told to everybody. Of the rest its author tells
        everybody, and whoever learns it those alone to whom it has a link and who have not shown that they know it.
        Whoever has a link to us sees our head on a page of heads at once, but no branch besides.
        """
        wait_s = self._circle.chance(PASS_ON_S) if self._learning else 0.0
        self._push_at = min(self._push_at, trio.current_time() + wait_s)
        self._tells_everybody |= evicts or not self._learning
        self._push_woken.set()

    async def submit_untrusted(self, submit: RosterSubmit) -> Update:
        """An entry was pushed to us. Raises TrustError, RemoteProtocolError."""
        with self._learns():
            return await self._membership.submit_untrusted(submit)

    @contextmanager
    def _learns(self) -> Iterator[None]:
        self._learning += 1
        try:
            yield
        finally:
            self._learning -= 1

    async def push_forever(self) -> None:
        """Pass on what is new, until cancelled."""
        while True:
            self._push_woken = trio.Event()
            if self._push_at <= trio.current_time():
                self._push_at = inf
                to_everybody, self._tells_everybody = self._tells_everybody, False
                await (self.push() if to_everybody else self._push_to(self._near()))
                continue
            with trio.move_on_at(self._push_at):
                await self._push_woken.wait()

    def _near(self) -> list[DeviceId]:
        return self._circle.connected() if self._membership.roster.tips else self._circle.linked()

    async def push(self) -> set[DeviceId]:
        """Give what is new in our roster to every device that can be reached now, for a few seconds; who has it."""
        return await self._push_to([device.id for device in (*self._membership.devices(), *self._quarrelling())])

    async def _push_to(self, devices: Sequence[DeviceId]) -> set[DeviceId]:
        head = self._membership.head
        with trio.move_on_after(PUSH_S):
            async with trio.open_nursery() as nursery:
                for device in devices:
                    nursery.start_soon(self._meet, device, self._contacts.addresses_of(device))
        return {device for device in devices if self._circle.peer(device).head == head}

    def _quarrelling(self) -> Iterator[PublicDevice]:
        """Devices of who quarrels: out until it is decided, and they have to learn that there is something to do."""
        roster, us = self._membership.roster, self._membership.device
        for member in roster.quarrel:
            yield from (device for id, device in roster.members[member].devices.items() if id != us)

    # meeting -------------------------------------------------------------------------------------------------

    def catch_up_soon(self, device: DeviceId, *, goes_by: EntryHash | None = None) -> None:
        """That device knows roster entries, or has keys, that we lack: ask it. `goes_by`: because of this head."""
        if goes_by is None or self._ahead.get(device, goes_by) is not None:
            self._ahead[device] = goes_by
        self._ahead_woken.set()

    async def catch_up_forever(self) -> None:
        """Ask those who know more, until cancelled: one after the other, since what the first one tells need not be
        asked of the next, and not at once, since mostly somebody is about to tell us."""
        while True:
            if not self._ahead:
                self._ahead_woken = trio.Event()
                await self._ahead_woken.wait()
                await trio.sleep(self._circle.chance(PASS_ON_S))
            device = next(iter(self._ahead))
            goes_by = self._ahead.pop(device)
            if goes_by is None or not self._has_all_of(goes_by):
                asked = trio.Event()
                self._circle.start(self._catch_up, device, asked)
                with trio.move_on_after(ASK_NEXT_S):
                    await asked.wait()

    def _has_all_of(self, head: EntryHash) -> bool:
        membership = self._membership
        return membership.roster.knows(head) and membership.is_complete and membership.is_current

    async def _catch_up(self, device: DeviceId, asked: trio.Event) -> None:
        try:
            if not self._circle.peer(device).meeting.locked():
                await self._meet(device, self._contacts.addresses_of(device))
        finally:
            asked.set()

    async def consult(self, address: str) -> bool:
        """Nobody there knows our label: meet whoever may be there; whether that changed anything."""
        device = self._contacts.device_at(address)
        candidates = self._strangers() if device is None else [device]
        before = self._membership.head, self._membership.is_current
        for candidate in candidates:
            was = self._circle.peer(candidate).head
            if await self._meet(candidate, [address], FORCED):
                self._contacts.note([address], Source.TOLD, trio.current_time(), candidate)
                is_moved = before != (self._membership.head, self._membership.is_current)
                return is_moved or self._circle.peer(candidate).head != was
        return False

    def _strangers(self) -> list[DeviceId]:
        """Some of the devices without a link, each time others."""
        devices = sorted(self._circle.unlinked())
        start = self._asked_strangers % max(1, len(devices))
        self._asked_strangers += STRANGERS_ASKED
        return (devices[start:] + devices[:start])[:STRANGERS_ASKED]

    async def _meet(self, device: DeviceId, addresses: list[str], is_forced: bool = False) -> bool:
        """Part with the same roster; whether that came about. One meeting with a device at a time, and not too many.

        Without need only if it `is_forced`.
        """
        peer, membership = self._circle.peer(device), self._membership
        async with peer.meeting:
            is_level = peer.head == membership.head and membership.is_complete and membership.is_current
            if is_level and membership.roster.tips <= peer.branches and not is_forced:
                return True
            await trio.sleep_until(peer.met_at + MEET_AGAIN_S)
            peer.met_at = trio.current_time()
            try:
                with trio.fail_after(MEETING_S), self._learns():
                    peer.head = await self._meet_at(device, addresses)
            except (*FAILURE, trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                log.debug("no meeting with %s: %s", addresses, error)
                return False
            except Exception:
                log.exception("the meeting at %s failed", addresses)
                return False
            return True

    async def _meet_at(self, device: DeviceId, addresses: list[str]) -> EntryHash:
        async def settled(client: Client, head: EntryHash) -> EntryHash:
            return head

        return await self._converse(device, addresses, settled)

    async def ask(self, device: DeviceId, route: Route, make_body: Callable[[], bytes], nonce: bytes) -> bytes:
        """One question to a device, once both have one roster. Raises as `PeerKeeper.ask`."""

        async def question(client: Client, head: EntryHash) -> bytes:
            reply = await client.request(route.method.decode(), target_of(route, nonce=nonce), body=make_body())
            if reply.status not in (200, 204):
                await reply.body.drain()
                raise PeerUnavailable(f"the peer answered with status {reply.status}")
            return await reply.body.read(MAX_ANSWER_BYTES)

        try:
            async with self._circle.peer(device).meeting:
                with trio.fail_after(MEETING_S), self._learns():
                    return await self._converse(device, self._contacts.addresses_of(device), question)
        except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise PeerUnavailable("the peer did not answer in time") from error

    async def _converse(
        self, device: DeviceId, addresses: list[str], work: Callable[[Client, EntryHash], Awaitable[Answer]]
    ) -> Answer:
        """Dial a device, bring both rosters to one head, and go on from there. Raises what `work` raises, and
        PeerUnavailable, TrustError, RemoteProtocolError."""
        around, membership = self._circle.around, self._membership
        outgoing = membership.outgoing_control(device)
        stream, address = await dial_first(around.network, around.clock, addresses, outgoing)
        with around.connections.hold(stream, address, accepted=False) as connection:
            client = Client(stream, host=stream.endpoint.label, limits=CLIENT_LIMITS)
            public, hello = await greet(
                client,
                stream,
                around.keys,
                membership.head_at,
                around.listening(),
                others=self._circle.others(device),
                run=around.twins.own,
            )
            if public.id != device:
                raise TrustError("another device answered the control connection")
            connection.device = device
            self._circle.told(connection, device, hello)
            peer = self._circle.peer(device)
            head = await settle(client, head_of(hello), membership, peer.branches)
            if head == membership.head:
                peer.branches = membership.roster.tips
            answer = await work(client, head)
            await stream.aclose()
            return answer
        raise PeerUnavailable("the control connection was cut")
