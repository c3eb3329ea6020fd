"""Async. The real network: TCP through trio. Everything above sees only `seams.Network`."""

from __future__ import annotations

import errno
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import trio
from trio import socket

from syncd.net.interfaces import Address, machine_addresses
from syncd.seams import Announcement, Buffer, FoundSink

ACCEPT_PAUSE_S = 0.1  # after the machine ran out of something; the listening queue keeps who knocks meanwhile
UNSENT_BYTES = 256 * 1024
"""So much waits in the kernel before a sender has to. Trio's 16 KiB suit who may have second thoughts about what it
sends; here each of the wakeups for another 16 KiB costs as much as encrypting them."""
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
LINUX = sys.platform == "linux"
_LEFT = {7, 8, 9, 11}
"""States of TCP in which nothing comes any more: CLOSE, CLOSE_WAIT, LAST_ACK, CLOSING (linux/tcp_states.h)."""
_KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPALIVE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds and a number: after 15 s of silence the kernel asks whether the other side is still there, and ends a
connection of which it has heard nothing for 30. The second is what macOS calls the first."""
SILENT_MS = 30_000
"""Who owes an answer of TCP for so long is not there, whatever comes of the connection later."""
_TCP_INFO = struct.Struct("=BxBB20xI28xI")
"""State, resent segments, unanswered probes, segments under way, ms since the last acknowledgement (linux/tcp.h)."""
_LINGER_ZERO = struct.pack("ii", 1, 0)


class Neighbourhood(Protocol):
    """What knows how to be heard on the local network: the two verbs of `seams.Network` that are not sockets."""

    def announce(self, announcement: Announcement | None) -> None: ...

    async def browse(self, found: FoundSink) -> None: ...


class SocketNetwork:
    """Implements `seams.Network`."""

    def __init__(self, neighbourhood: Neighbourhood | None = None) -> None:
        """Without a neighbourhood nothing is announced and nobody is found."""
        self._neighbourhood = neighbourhood

    async def listen(self, address: str) -> Sequence[SocketListener]:
        host, port = split_address(address)
        if host:
            return [SocketListener(listener) for listener in await trio.open_tcp_listeners(port, host=host)]
        first, *others = await trio.open_tcp_listeners(port, host="0.0.0.0")
        port = first.socket.getsockname()[1]
        try:
            others += await trio.open_tcp_listeners(port, host="::")
        except OSError as error:
            if error.errno not in _NO_IPV6:
                await first.aclose()
                raise
        return [SocketListener(listener) for listener in (first, *others)]

    async def connect(self, address: str) -> SocketStream:
        host, port = split_address(address)
        return SocketStream(await trio.open_tcp_stream(host, port))

    def local_addresses(self) -> tuple[str, ...]:
        addresses = [address for address in machine_addresses() if _is_reachable(address)]
        addresses.sort(key=lambda address: address.version)  # IPv4 first: it is what people recognise
        return tuple(dict.fromkeys(str(address) for address in addresses))

    def announce(self, announcement: Announcement | None) -> None:
        if self._neighbourhood is not None:
            self._neighbourhood.announce(announcement)

    async def browse(self, found: FoundSink) -> None:
        if self._neighbourhood is None:
            await trio.sleep_forever()
        else:
            await self._neighbourhood.browse(found)


class SocketStream:
    """A TCP connection. Implements `seams.RawStream`."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            with suppress(OSError):  # no TCP
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        with suppress(OSError):
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEPALIVE.items():
                if hasattr(socket, name):
                    stream.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    async def send_all(self, data: Buffer) -> None:
        await self._stream.send_all(data)

    async def send_some(self, data: memoryview) -> int:
        try:
            return await self._stream.socket.send(data)
        except OSError as error:
            raise self._translated(error) from error

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def receive_into(self, buffer: memoryview) -> int:
        try:
            return await self._stream.socket.recv_into(buffer)
        except OSError as error:
            raise self._translated(error) from error

    @property
    def is_left(self) -> bool:
        """As Linux knows; elsewhere only our own end is known, and that the kernel has given it up."""
        if self._stream.socket.fileno() == -1:
            return True
        if not LINUX:
            return False
        known = self._stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        state, resent, probes, under_way, silent_ms = _TCP_INFO.unpack(known)
        return state in _LEFT or (silent_ms > SILENT_MS and bool(resent or probes or under_way))

    async def aclose(self) -> None:
        await self._stream.aclose()

    def abort(self) -> None:
        """Linger 0 makes close send a reset and drop what the kernel still holds for the peer."""
        if self._stream.socket.fileno() == -1:
            return
        with suppress(OSError):  # the peer may have reset it already; then there is nothing left to drop
            self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._stream.socket.close()

    def _translated(self, error: OSError) -> trio.ClosedResourceError | trio.BrokenResourceError:
        if self._stream.socket.fileno() == -1:
            return trio.ClosedResourceError("this stream is closed")
        return trio.BrokenResourceError(f"the connection broke: {error}")


class SocketListener:
    """An open TCP port. Implements `seams.Listener`."""

    def __init__(self, listener: trio.SocketListener) -> None:
        self._listener = listener
        self.address = join_address(*listener.socket.getsockname()[:2])

    async def accept(self) -> tuple[SocketStream, str]:
        while True:
            try:
                stream = await self._listener.accept()
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                await trio.sleep(ACCEPT_PAUSE_S)
                continue
            try:
                host, port = stream.socket.getpeername()[:2]
            except OSError:  # gone between its knock and our answer
                stream.socket.close()
                continue
            return SocketStream(stream), join_address(host, port)

    def close(self) -> None:
        self._listener.socket.close()


def split_address(address: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port` into its parts. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"an IPv6 address needs brackets: {address!r}")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 0xFFFF:
        raise ValueError(f"not host:port: {address!r}")
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """The inverse of `split_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_reachable(address: Address) -> bool:
    """Link-local addresses need the name of an interface that means nothing elsewhere."""
    return not (address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast)
