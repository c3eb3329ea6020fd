"""Pure. The five places where syncd touches the world: clock, randomness, network, tree, workers.

Each seam is a Protocol. `daemon` builds the real ones once and hands them down; simulation hands down others, and so whole
daemons run in one process on virtual time from a printed seed. Nothing else reads the time, draws a random byte, opens a
socket, starts a thread, or touches a path of a user's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar, TypeVarTuple, runtime_checkable

Buffer: TypeAlias = bytes | bytearray | memoryview

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


# --- clock ---------------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """Two clocks: one that people and certificates know, and one that never jumps."""

    def now(self) -> float:
        """Wall clock, seconds since 1970 UTC. It may jump in either direction."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes backwards. Callable from any thread."""
        ...


# --- randomness ----------------------------------------------------------------------------------------------------


class Random(Protocol):
    """The only source of random bytes (OpenSSL and HPKE draw their own)."""

    def token(self, length: int) -> bytes:
        """`length` bytes that nobody can predict. Callable from any thread."""
        ...


# --- network -------------------------------------------------------------------------------------------------------


@runtime_checkable
class RawStream(Protocol):
    """A connected byte stream below TLS: a trio stream that can also be cut without waiting.

    Errors are trio's: ClosedResourceError (we closed it), BrokenResourceError (the outside did), BusyResourceError.
    """

    async def send_all(self, data: Buffer) -> None: ...

    async def wait_send_all_might_not_block(self) -> None: ...

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """At least one byte; empty at the end of the stream."""
        ...

    async def aclose(self) -> None: ...

    def abort(self) -> None:
        """Cut at once, without waiting and without delivering what is still queued (TCP: linger 0). Idempotent."""
        ...


class Listener(Protocol):
    """An open port."""

    @property
    def address(self) -> str:
        """`host:port` as bound, with the real port number."""
        ...

    async def accept(self) -> tuple[RawStream, str]:
        """The next connection and the `host:port` it came from.

        Raises trio.ClosedResourceError after `close`. Passing faults of the machine (no descriptors left) are waited out.
        """
        ...

    def close(self) -> None:
        """Stop listening. Connections already accepted live on. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a daemon lets its neighbours hear: nothing that names it or links two of its appearances.

    The network turns each key into a tag, keyed hash of the random instance id under which it announces itself just now
    (`protocol/announcements.py`), because it takes a new id whenever the machine appears in another network.
    """

    port: int
    keys: tuple[bytes, ...] = ()  # announcement keys of the folders' current epochs, 32 bytes each
    pairing: tuple[int, ...] = ()  # numbers of the codes that are open here


@dataclass(frozen=True, slots=True)
class Found:
    """A hint that some daemon may be reachable. Never evidence of anything."""

    instance: bytes  # random id of that appearance of that daemon, 16 bytes
    addresses: tuple[str, ...]  # `host:port`; none when it said goodbye
    tags: tuple[bytes, ...] = ()
    pairing: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Unheard:
    """Announcements do not work on this machine now; static addresses do. Tried again by itself."""

    why: str


class FoundSink(Protocol):
    """Where hints go: a trio memory channel fits. A full channel may lose hints (trio.WouldBlock)."""

    def send_nowait(self, value: Found | Unheard) -> None: ...


class Network(Protocol):
    """Addresses are strings `host:port`; an IPv6 host stands in brackets."""

    async def listen(self, address: str) -> Sequence[Listener]:
        """Listen on `host:port`. Port 0 takes any free port; an empty host means all addresses of the machine.

        Raises OSError when the port is taken or the address is not ours.
        """
        ...

    async def connect(self, address: str) -> RawStream:
        """Connect. Raises OSError; the caller sets the deadline."""
        ...

    def local_addresses(self) -> tuple[str, ...]:
        """Hosts (without port) by which this machine may be reached, best first; no loopback."""
        ...

    def announce(self, announcement: Announcement | None) -> None:
        """Replace what is announced; None falls silent. Takes effect while `browse` runs."""
        ...

    async def browse(self, found: FoundSink) -> None:
        """Announce and listen for the announcements of others until cancelled."""
        ...


# --- workers -------------------------------------------------------------------------------------------------------


class Lane:
    """Calls given the same lane run one after the other, in the order they were made (one SQLite connection, say)."""

    __slots__ = ("__weakref__", "name")

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Lane({self.name!r})"


class Workers(Protocol):
    """Where blocking code runs: threads in life, inline in simulation."""

    async def run_blocking(
        self,
        function: Callable[[*Arguments], Result],
        *arguments: *Arguments,
        lane: Lane | None = None,
    ) -> Result:
        """Run `function` off the event loop and return, or raise, what it does.

        Once started it is never abandoned: a cancelled caller still waits for it, so a buffer lent to a thread is free again
        when this returns.
        """
        ...
