"""Async. A network in memory for whole daemons in one process: it delays, partitions, cuts and crashes from a seed.

Time is trio's, so under `autojump_clock` an hour of silence costs nothing. What it keeps from the real one: bytes of a
connection arrive in order, each with a delay of its own; a sender is held back by a window; behind a partition bytes
wait, as TCP would send them again, and whoever dials hears nothing; a cut is a reset at both ends. Hosts are plain
names.
"""

from __future__ import annotations

import errno
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from operator import index
from random import Random

import trio

from syncd.net.stream import Guard
from syncd.protocol.announcements import INSTANCE_BYTES, tag
from syncd.seams import Announcement, Buffer, Found, FoundSink
from tests.helpers.simclock import call_at

WINDOW_BYTES = 256 * 1024
SEGMENT_BYTES = 64 * 1024
FIRST_FREE_PORT = 40_000
LAST_PORT = 65_535
BACKLOG = 128
SENT_AGAIN_S = 0.2


class SimInternet:
    """All hosts and what is between them."""

    def __init__(self, seed: int, *, delay_s: tuple[float, float] = (0.0005, 0.02)) -> None:
        """Each segment takes a time from `delay_s` (least, most)."""
        self.random = Random(seed)
        self.delay_s = delay_s
        self.bytes_sent: Counter[tuple[str, str]] = Counter()  # (from, to), as delivered to a connection
        self._networks: dict[str, SimNetwork] = {}
        self._listeners: dict[tuple[str, int], SimListener] = {}
        self._streams: dict[SimStream, None] = {}  # in their order: a set of objects has none
        self.slowness: dict[str, float] = {}  # host -> how many times longer a segment from there takes
        self.loss = 0.0  # how likely a segment is lost, and sent again later
        self.lost = 0
        self._group_of: dict[str, int] = {}
        self._blocked: set[tuple[str, str]] = set()
        self._changed = trio.lowlevel.ParkingLot()  # partitions, listeners
        self._next_port = FIRST_FREE_PORT

    def network(self, host: str) -> SimNetwork:
        """The network as `host` sees it; the same object every time."""
        return self._networks.setdefault(host, SimNetwork(self, host))

    # --- faults ---

    def partition(self, *groups: Iterable[str]) -> None:
        """Only hosts of one group reach each other; hosts named in no group form one more."""
        self._group_of = {host: number for number, group in enumerate(groups, 1) for host in group}
        self._tell()

    def block(self, source: str, target: str) -> None:
        """Nothing passes from `source` to `target` any more; the other direction is not touched."""
        self._blocked.add((source, target))

    def heal(self) -> None:
        """All partitions, blocks, loss and slowness are gone; what waited moves on."""
        self._group_of = {}
        self._blocked = set()
        self.slowness.clear()
        self.loss = 0.0
        self._tell()

    def cut(self, one: str, other: str | None = None) -> int:
        """Reset the connections between two hosts, or all of one; how many."""
        ends = [stream for stream in self._streams if stream.host == one and other in (None, stream.peer_host)]
        for stream in ends:
            stream.abort()
        return len(ends)

    def crash(self, host: str) -> None:
        """The host is gone: its connections are reset, its ports closed, its voice silent. It may come back."""
        self.cut(host)
        for (owner, _), listener in list(self._listeners.items()):
            if owner == host:
                listener.close()
        self.network(host).announce(None)

    def reaches(self, source: str, target: str) -> bool:
        """Whether bytes pass from one host to the other now."""
        return self._group_of.get(source) == self._group_of.get(target) and (source, target) not in self._blocked

    # --- inside ---

    def draw_delay(self, source: str) -> float:
        """How long the next segment from that host takes. One that gets lost is sent again after a while, as by TCP."""
        delay = self.random.uniform(*self.delay_s) * self.slowness.get(source, 1.0)
        again_s = SENT_AGAIN_S
        while self.loss and self.random.random() < self.loss:
            self.lost += 1
            delay += again_s
            again_s *= 2
        return delay

    def free_port(self) -> int:
        self._next_port = FIRST_FREE_PORT if self._next_port == LAST_PORT else self._next_port + 1
        return self._next_port

    async def wait_change(self) -> None:
        await self._changed.park()

    def _tell(self) -> None:
        self._changed.unpark_all()
        for stream in self._streams:
            stream.incoming.changed.unpark_all()
        for network in self._networks.values():
            network.listen_around()

    def add_listener(self, listener: SimListener) -> None:
        if (listener.host, listener.port) in self._listeners:
            raise OSError(errno.EADDRINUSE, f"port {listener.port} is taken on {listener.host}")
        self._listeners[listener.host, listener.port] = listener

    def drop_listener(self, listener: SimListener) -> None:
        self._listeners.pop((listener.host, listener.port), None)

    def find_listener(self, host: str, port: int) -> SimListener | None:
        return self._listeners.get((host, port))

    def join_streams(self, client: str, server: str) -> tuple[SimStream, SimStream]:
        there, back = _Wire(self, client, server), _Wire(self, server, client)
        ends = SimStream(self, back, there), SimStream(self, there, back)
        self._streams.update(dict.fromkeys(ends))
        return ends

    def forget(self, stream: SimStream) -> None:
        self._streams.pop(stream, None)

    def others(self, host: str) -> list[SimNetwork]:
        return [network for name, network in self._networks.items() if name != host]


class SimNetwork:
    """Implements `seams.Network` for one host."""

    def __init__(self, internet: SimInternet, host: str) -> None:
        self.host = host
        self.instance = internet.random.randbytes(INSTANCE_BYTES)
        self.announcement: Announcement | None = None
        self._internet = internet
        self._sinks: list[FoundSink] = []

    async def listen(self, address: str) -> Sequence[SimListener]:
        await trio.lowlevel.checkpoint()
        host, _, port = address.rpartition(":")
        if host not in ("", "0.0.0.0", "127.0.0.1", self.host):
            raise OSError(errno.EADDRNOTAVAIL, f"{host} is not {self.host}")
        listener = SimListener(self._internet, self.host, int(port) or self._internet.free_port())
        self._internet.add_listener(listener)
        return [listener]

    async def connect(self, address: str) -> SimStream:
        host, _, port = address.rpartition(":")
        host = self.host if host in ("127.0.0.1", "localhost") else host
        await trio.sleep(self._internet.draw_delay(self.host))
        while not (self._internet.reaches(self.host, host) and self._internet.reaches(host, self.host)):
            await self._internet.wait_change()
        listener = self._internet.find_listener(host, int(port))
        if listener is None:
            raise OSError(errno.ECONNREFUSED, f"nobody listens at {address}")
        return listener.meet(self.host)

    def local_addresses(self) -> tuple[str, ...]:
        return (self.host,)

    def announce(self, announcement: Announcement | None) -> None:
        self.announcement = announcement
        for other in self._internet.others(self.host):
            other.hear(self)

    async def browse(self, found: FoundSink) -> None:
        self._sinks.append(found)
        try:
            self.listen_around()
            await trio.sleep_forever()
        finally:
            self._sinks.remove(found)

    def listen_around(self) -> None:
        """Hear everybody again."""
        for other in self._internet.others(self.host):
            self.hear(other)

    def hear(self, other: SimNetwork) -> None:
        if other.announcement is None or not self._internet.reaches(other.host, self.host):
            return
        tags = tuple(tag(key, other.instance) for key in other.announcement.keys)
        address = f"{other.host}:{other.announcement.port}"
        for sink in self._sinks:
            sink.send_nowait(Found(other.instance, (address,), tags, other.announcement.pairing))


class SimListener:
    """Implements `seams.Listener`."""

    def __init__(self, internet: SimInternet, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._internet = internet
        self._arrivals, self._queue = trio.open_memory_channel[tuple["SimStream", str]](BACKLOG)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    async def accept(self) -> tuple[SimStream, str]:
        try:
            return await self._queue.receive()
        except trio.EndOfChannel:
            raise trio.ClosedResourceError from None

    def meet(self, host: str) -> SimStream:
        """A new connection from `host`; its own end of it."""
        ours, theirs = self._internet.join_streams(host, self.host)
        try:
            self._arrivals.send_nowait((theirs, f"{host}:{self._internet.free_port()}"))
        except trio.WouldBlock:
            theirs.abort()
            raise OSError(errno.ECONNREFUSED, f"too many wait at {self.address}") from None
        return ours

    def close(self) -> None:
        self._internet.drop_listener(self)
        self._arrivals.close()


@dataclass(slots=True)
class _Segment:
    due: float
    data: bytes  # empty: the end


class _Wire:
    """One direction of a connection."""

    def __init__(self, internet: SimInternet, source: str, target: str) -> None:
        self.source, self.target = source, target
        self.changed = trio.lowlevel.ParkingLot()
        self.is_broken = False
        self.reader_gone = False
        self.writer_gone = False
        self._internet = internet
        self._segments: deque[_Segment] = deque()
        self._held_bytes = 0
        self._last_due = 0.0

    def check(self) -> None:
        if self.is_broken:
            raise trio.BrokenResourceError("the connection was reset")

    async def wait_room(self) -> None:
        while self._held_bytes >= WINDOW_BYTES and not (self.is_broken or self.reader_gone or self.writer_gone):
            await self.changed.park()

    def put(self, data: bytes) -> None:
        self._last_due = max(self._last_due, trio.current_time() + self._internet.draw_delay(self.source))
        self._segments.append(_Segment(self._last_due, data))
        self._held_bytes += len(data)
        call_at(self._last_due, self.changed.unpark_all)

    async def take(self, max_bytes: int) -> bytes:
        has_waited = False
        while True:
            self.check()
            if self.reader_gone:
                raise trio.ClosedResourceError("this stream is closed")
            due = self._segments[0].due if self._segments else inf
            if due <= trio.current_time() and self._internet.reaches(self.source, self.target):
                taken = self._take_now(max_bytes)
                if not has_waited:
                    await trio.lowlevel.cancel_shielded_checkpoint()  # as a socket does, which would lose it otherwise
                return taken
            await self.changed.park()
            has_waited = True

    def _take_now(self, max_bytes: int) -> bytes:
        first = self._segments[0]
        if not first.data:  # the end stays where it is: it is read again and again
            return b""
        data, first.data = first.data[:max_bytes], first.data[max_bytes:]
        if not first.data:
            self._segments.popleft()
        self._held_bytes -= len(data)
        self._internet.bytes_sent[self.source, self.target] += len(data)
        self.changed.unpark_all()
        return data

    def break_off(self) -> None:
        self.is_broken = True
        self._segments.clear()
        self.changed.unpark_all()


class SimStream(trio.abc.Stream):
    """One end of a connection. Implements `seams.RawStream`."""

    def __init__(self, internet: SimInternet, incoming: _Wire, outgoing: _Wire) -> None:
        self.incoming = incoming
        self._outgoing = outgoing
        self._internet = internet
        self._closed = False
        self._sending = Guard("sending on")
        self._receiving = Guard("receiving from")

    @property
    def host(self) -> str:
        return self._outgoing.source

    @property
    def peer_host(self) -> str:
        return self._outgoing.target

    async def send_all(self, data: Buffer) -> None:
        with self._sending:
            await trio.lowlevel.checkpoint()
            octets = bytes(data)
            for start in range(0, len(octets), SEGMENT_BYTES):
                await self._outgoing.wait_room()
                self._check_sending()
                self._outgoing.put(octets[start : start + SEGMENT_BYTES])
            self._check_sending()

    async def send_some(self, data: memoryview) -> int:
        with self._sending:
            await trio.lowlevel.checkpoint()
            await self._outgoing.wait_room()
            self._check_sending()
            part = bytes(data[:SEGMENT_BYTES])
            self._outgoing.put(part)
            return len(part)

    async def wait_send_all_might_not_block(self) -> None:
        with self._sending:
            await trio.lowlevel.checkpoint()
            self._check_open()
            await self._outgoing.wait_room()
            self._check_open()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        wanted = SEGMENT_BYTES if max_bytes is None else index(max_bytes)
        if wanted < 1:
            raise ValueError("max_bytes must be at least 1")
        with self._receiving:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_open()
            try:
                return await self.incoming.take(wanted)
            except trio.BrokenResourceError:
                self._check_open()  # our own abort woke us: then it is closed, not broken
                raise

    async def receive_into(self, buffer: memoryview) -> int:
        data = await self.receive_some(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    @property
    def is_left(self) -> bool:
        return self._closed or self.incoming.is_broken

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._outgoing.put(b"")
            self._leave()
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        if self._closed:  # what was sent before a polite end still arrives
            return
        self._closed = True
        self._outgoing.break_off()
        self.incoming.break_off()
        self._leave()

    def _leave(self) -> None:
        self.incoming.reader_gone = True
        self._outgoing.writer_gone = True
        self.incoming.changed.unpark_all()
        self._outgoing.changed.unpark_all()
        self._internet.forget(self)

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this stream is closed")

    def _check_sending(self) -> None:
        self._check_open()
        self._outgoing.check()
        if self._outgoing.reader_gone:
            raise trio.BrokenResourceError("the other end is closed")
