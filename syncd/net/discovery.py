"""Async. Being found and finding others on the local network: the only module that knows zeroconf.

Zeroconf lives on asyncio, so it gets a thread with an event loop of its own for as long as `browse` runs. Into that
thread goes what to announce; out of it come hints, through a bounded queue that a trio task empties. The thread is
never abandoned: cancelling `browse` lets it say goodbye and close its sockets first, which takes a quarter of a second.

An *appearance* is one random instance id on one set of addresses. When the machine's addresses change (another
network, a cable back in) the appearance ends and another begins under a new id, so nobody who listens in two networks
can tell that the same machine was in both.

Neighbours are not trusted to be few or friendly. `protocol/neighbours.py` decides what is passed on; announcements are
looked at no faster than `LOOKS_PER_S`, and what was passed over is looked at again a little later. Packets beyond
`PACKETS_PER_S` are dropped unread, and when that happens again and again the whole thread pauses, so that the kernel
drops the rest for nothing: what is true is announced again. Multicast that does
not work is told as `Unheard`: no network, no sockets, or a firewall of this machine, which shows by our own
announcement not coming back to us. What a switch or an access point swallows, nobody can see from here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from ipaddress import IPv6Address
from typing import Any, Final

import trio
import zeroconf
from zeroconf import ServiceStateChange, Zeroconf
from zeroconf._dns import DNSPointer
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from syncd.errors import RemoteProtocolError
from syncd.net.interfaces import Address, machine_addresses
from syncd.protocol.allowance import Allowance, Pace
from syncd.protocol.announcements import (
    INSTANCE_BYTES,
    SERVICE_TYPE,
    encode_txt,
    host_name,
    local_hosts,
    maybe_instance,
    service_name,
)
from syncd.protocol.neighbours import MAX_NEIGHBOURS, Neighbours
from syncd.seams import Announcement, Found, FoundSink, Unheard

log = logging.getLogger(__name__)

LOOKS_PER_S: Final = 20.0
WATCH_S: Final = 2.0
"""How often the machine's addresses are compared, neighbours passed over are looked at, and lost hints sent again."""
PACKETS_PER_S: Final = 300.0
SOURCE_PACKETS_PER_S: Final = 100.0
"""A network of a hundred machines sends some ten packets a second; one that wakes up, a hundred at once."""
DROPS_BEFORE_PAUSE: Final = 64
PAUSE_S: Final = 0.5
"""In that time a flood fills the socket's buffer of some 300 packets, and what follows costs us nothing."""
RETRY_S: Final = 30.0
"""After so long without multicast everything is set up anew."""
ECHO_S: Final = 5.0
"""How long our own announcement may take to come back before we say that nobody hears us."""

_BURST = 4 * LOOKS_PER_S
_MAX_QUESTIONS = 16  # neighbours that we ask for details at the same time
_ASK_MS = 3_000
_NOT_HEARD = "announcements of this machine do not come back: something blocks multicast (UDP port 5353)"


class Discovery:
    """Implements the announcing half of `seams.Network`: `announce` and `browse`."""

    def __init__(
        self,
        random: Callable[[int], bytes],
        *,
        addresses: Callable[[], Iterable[Address]] = machine_addresses,
    ) -> None:
        self._random = random
        self._addresses = addresses
        self._announcement: Announcement | None = None
        self._appearance: _Appearance | None = None

    def announce(self, announcement: Announcement | None) -> None:
        """Replace what is announced; None falls silent."""
        self._announcement = announcement
        if self._appearance is not None:
            self._appearance.announce(announcement)

    async def browse(self, found: FoundSink) -> None:
        """Announce, and send hints to `found`, until cancelled."""
        logging.getLogger("zeroconf").setLevel(logging.ERROR)  # it warns of single packets; what matters is Unheard
        hints = _Hints(trio.lowlevel.current_trio_token())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hints.forward, found)
            while True:
                addresses = self._own_addresses()
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as meanwhile:
                        meanwhile.start_soon(self._watch_addresses, addresses, scope)
                        await self._appear(addresses, hints)
                        scope.cancel()

    async def _appear(self, addresses: tuple[str, ...], hints: _Hints) -> None:
        """One appearance, until it is cancelled or it is time to try another."""
        if not addresses:
            hints.set_unheard("no local network is connected")
            await trio.sleep_forever()
        appearance = _Appearance(self._random, addresses, self._announcement, hints)
        self._appearance = appearance
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_stop_when_cancelled, appearance)
                why = await trio.to_thread.run_sync(appearance.run, limiter=trio.CapacityLimiter(1))
                nursery.cancel_scope.cancel()
        finally:
            self._appearance = None
        if why:
            hints.set_unheard(why)
            await trio.sleep(RETRY_S)

    async def _watch_addresses(self, addresses: tuple[str, ...], scope: trio.CancelScope) -> None:
        while True:
            await trio.sleep(WATCH_S)
            if self._own_addresses() != addresses:
                scope.cancel()

    def _own_addresses(self) -> tuple[str, ...]:
        """Addresses that neighbours can reach. Link-local ones lack their interface here, which each hearer adds."""
        own = [str(each) for each in self._addresses() if _is_link_local_v6(each) or local_hosts([str(each)])]
        return tuple(sorted(set(own)))


def _is_link_local_v6(address: Address) -> bool:
    return isinstance(address, IPv6Address) and address.is_link_local


async def _stop_when_cancelled(appearance: _Appearance) -> None:
    try:
        await trio.sleep_forever()
    finally:
        appearance.stop()


class _Hints:
    """The way of hints from zeroconf's thread to a trio channel. Of more than 64 that wait the oldest are lost."""

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self._token = token
        self._waiting: deque[Found | Unheard] = deque(maxlen=MAX_NEIGHBOURS)
        self._woken = trio.Event()
        self._why_unheard = ""

    def put(self, hint: Found | Unheard) -> None:
        """Callable from any thread."""
        self._waiting.append(hint)
        with suppress(trio.RunFinishedError):  # the daemon is gone, and with it who would read this
            self._token.run_sync_soon(self._wake, idempotent=True)

    def set_unheard(self, why: str) -> None:
        """Tell that announcements do not work, or with "" that they do; only what has changed. From any thread."""
        if why != self._why_unheard:
            self._why_unheard = why
            self.put(Unheard(why))

    def _wake(self) -> None:
        self._woken.set()

    async def forward(self, found: FoundSink) -> None:
        """Send on what comes, for ever. Errors of a closed channel go to the caller of `browse`."""
        while True:
            self._woken = trio.Event()
            is_full = self._send(found)
            with trio.move_on_after(WATCH_S if is_full else float("inf")):
                await self._woken.wait()

    def _send(self, found: FoundSink) -> bool:
        """Returns whether the channel was full before all was sent."""
        while self._waiting:
            hint = self._waiting.popleft()
            try:
                found.send_nowait(hint)
            except trio.WouldBlock:
                self._waiting.appendleft(hint)
                return True
        return False


class _SlowedLoop(asyncio.SelectorEventLoop):
    """An event loop whose datagrams come at a bounded pace. It is zeroconf's alone, and where its sockets are made."""

    async def create_datagram_endpoint(self, protocol_factory: Any, *args: Any, **options: Any) -> Any:
        """As in asyncio, with the pace between socket and protocol."""
        protocol = protocol_factory()
        transport, _ = await super().create_datagram_endpoint(lambda: _Slowed(protocol, self.time), *args, **options)
        return transport, protocol


class _Slowed(asyncio.DatagramProtocol):
    """Hands on so many datagrams a second, from one address and in all, and drops the rest."""

    _dropped = 0

    def __init__(self, protocol: asyncio.DatagramProtocol, now: Callable[[], float]) -> None:
        self._protocol = protocol
        self._pace = Pace(PACKETS_PER_S, SOURCE_PACKETS_PER_S, now())
        self._now = now
        self.connection_made = protocol.connection_made  # type: ignore[method-assign]
        self.connection_lost = protocol.connection_lost  # type: ignore[method-assign]
        self.error_received = protocol.error_received  # type: ignore[method-assign]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self._pace.take(str(addr[0]), self._now()):
            self._protocol.datagram_received(data, addr)
            return
        self._dropped += 1
        if self._dropped % DROPS_BEFORE_PAUSE == 0:
            time.sleep(PAUSE_S)  # this thread, and with it the reading, is discovery's alone


class _Appearance:
    """One instance id on one set of addresses. All but `announce` and `stop` runs in zeroconf's thread."""

    def __init__(
        self,
        random: Callable[[int], bytes],
        addresses: tuple[str, ...],
        announcement: Announcement | None,
        hints: _Hints,
    ) -> None:
        self._random = random
        self._addresses = addresses
        self._announcement = announcement
        self._hints = hints
        self._instance = random(INSTANCE_BYTES)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._is_stopped = False
        self._published: Announcement | None = None
        self._published_at: float | None = None  # None when our own announcement came back, too
        self._neighbours = Neighbours()
        self._looks = Allowance(LOOKS_PER_S, _BURST, 0.0)
        self._passed_over = False
        self._cursor = 0
        self._tasks: set[asyncio.Task[None]] = set()

    # --- from trio's thread

    def announce(self, announcement: Announcement | None) -> None:
        self._announcement = announcement
        self._notify()

    def stop(self) -> None:
        self._is_stopped = True
        self._notify()

    def _notify(self) -> None:
        """Before the loop exists there is nobody to wake: it reads both fields when it starts."""
        if self._loop is not None:
            with suppress(RuntimeError):  # closed: it has read them for the last time
                self._loop.call_soon_threadsafe(self._changed.set)

    # --- in zeroconf's thread

    def run(self) -> str:
        """Until stopped, or unheard for long. Returns why it does not work at all, or ""."""
        try:
            with asyncio.Runner(loop_factory=_SlowedLoop) as runner:
                runner.run(self._run())
        except (OSError, RuntimeError, zeroconf.Error) as error:
            return f"multicast does not work here: {error}"
        return ""

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        service = AsyncZeroconf(interfaces=list(self._addresses))
        browser = AsyncServiceBrowser(service.zeroconf, SERVICE_TYPE, handlers=[self._on_change])
        try:
            while not self._is_stopped and not self._is_deaf():
                self._changed.clear()
                await self._publish(service)
                if self._passed_over:
                    self._look_again(service.zeroconf)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), WATCH_S)
        finally:
            await browser.async_cancel()
            await service.async_close()  # says goodbye for what is published

    async def _publish(self, service: AsyncZeroconf) -> None:
        """Bring what is announced in line with what should be."""
        old, new = self._published, self._announcement
        if new == old:
            return
        if new is None:
            self._start(await service.async_unregister_service(self._info(old or Announcement(0))))
        elif old is not None:
            self._start(await service.async_update_service(self._info(new)))
        else:  # "cooperating" spares the question whether the name is taken: it is 128 random bits
            self._start(await service.async_register_service(self._info(new), cooperating_responders=True))
            self._published_at = self._now()
        self._published = new
        self._neighbours.set_keys(new.keys if new else ())
        self._passed_over = True  # who meant nothing may have a meaning under the new keys

    def _info(self, announcement: Announcement) -> AsyncServiceInfo:
        return AsyncServiceInfo(
            SERVICE_TYPE,
            service_name(self._instance),
            port=announcement.port,
            properties=encode_txt(announcement, self._instance, self._random),
            server=host_name(self._instance),
            parsed_addresses=list(self._addresses),
        )

    def _is_deaf(self) -> bool:
        """Whether our own announcement has not come back for so long that new sockets may do better."""
        if self._published_at is None or self._published is None:
            return False
        silent_s = self._now() - self._published_at
        if silent_s > ECHO_S:
            self._hints.set_unheard(_NOT_HEARD)
        return silent_s > RETRY_S

    def _on_change(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        """Zeroconf calls this with keyword arguments."""
        instance = maybe_instance(name)
        if instance == self._instance:
            self._published_at = None
            self._hints.set_unheard("")
        elif instance is not None and state_change is ServiceStateChange.Removed:
            self._tell(self._neighbours.maybe_goodbye(instance))
        elif instance is not None and not self._look(zeroconf, instance):
            self._passed_over = True

    def _look_again(self, zeroconf: Zeroconf) -> None:
        """At all neighbours in the cache, a different one first each time, as far as the allowance goes."""
        self._passed_over = False
        pointers = zeroconf.cache.async_entries_with_name(SERVICE_TYPE)
        names = [pointer.alias for pointer in pointers if isinstance(pointer, DNSPointer)]
        start = self._cursor % (len(names) or 1)
        for name in names[start:] + names[:start]:
            instance = maybe_instance(name)
            if instance is None or instance == self._instance:
                continue
            if not self._look(zeroconf, instance):
                self._passed_over = True
                return
            self._cursor += 1

    def _look(self, zeroconf: Zeroconf, instance: bytes) -> bool:
        """Read, or ask for, the details of a neighbour. False when that would be too many."""
        if not self._looks.take(self._now()):
            return False
        info = AsyncServiceInfo(SERVICE_TYPE, service_name(instance))
        if info.load_from_cache(zeroconf):
            self._take_untrusted(instance, info)
        elif len(self._tasks) < _MAX_QUESTIONS:
            self._start(self._ask(zeroconf, instance, info))
        else:
            return False
        return True

    async def _ask(self, zeroconf: Zeroconf, instance: bytes, info: AsyncServiceInfo) -> None:
        if await info.async_request(zeroconf, _ASK_MS):
            self._take_untrusted(instance, info)

    def _take_untrusted(self, instance: bytes, info: AsyncServiceInfo) -> None:
        with suppress(RemoteProtocolError):  # anybody can announce anything: nothing to tell a person
            hosts = info.parsed_scoped_addresses()
            self._tell(self._neighbours.maybe_news_untrusted(instance, info.properties, hosts, info.port))

    def _tell(self, found: Found | None) -> None:
        if found is not None:
            self._hints.put(found)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _start(self, work: Awaitable[Any]) -> None:
        """Let `work` go on beside the rest; the end of the loop ends it."""
        task = asyncio.ensure_future(_finish(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _finish(work: Awaitable[Any]) -> None:
    """What is lost here is one announcement or one answer: the echo and the next look notice."""
    try:
        await work
    except (OSError, zeroconf.Error) as error:
        log.debug("discovery: %s", error)
