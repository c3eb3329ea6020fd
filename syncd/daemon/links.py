"""Async. What a folder's task and the connections to its peers know of each other: two small interfaces.

The task asks peers through a `Link`; peers ask the task through a `FolderServer`. Neither knows of TLS, HTTP or
addresses.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from ca.ids import DeviceId, EntryHash
from syncd.model.ids import Cid


class FrameStatus(IntEnum):
    """What became of one block that was asked for (docs/protocol.md, "Frames")."""

    OK = 0
    GONE = 1
    CHANGED = 2
    BUSY = 3


@dataclass(frozen=True, slots=True)
class HeadsPage:
    """What a peer accepted after a number: encoded heads in causal order.

    `log` names the peer's database: numbers of another log mean nothing. `last` is the number to ask from next,
    `newest` the newest there is.
    """

    log: bytes
    last: int
    newest: int
    heads: tuple[bytes, ...]
    roster_head: EntryHash


@dataclass(frozen=True, slots=True)
class Frame:
    """One block of an answer. `ciphertext` is empty unless the status is OK, and valid only until the next frame."""

    index: int
    status: FrameStatus
    ciphertext: bytes | bytearray | memoryview


class Link(Protocol):
    """A connected, proven device of the folder. Every method raises PeerUnavailable when the connection is lost."""

    @property
    def device(self) -> DeviceId: ...

    @property
    def lanes(self) -> int:
        """How many requests for blocks may be under way at once."""
        ...

    async def heads(self, log: bytes, after: int) -> HeadsPage:
        """What the peer accepted after a number of its log; waits for news if there is none."""
        ...

    async def have(self, cids: Sequence[Cid]) -> bytes:
        """Bitmap: which of these blocks the peer has."""
        ...

    async def tell_needs(self, files: int, size: int) -> None:
        """Tell the peer what we still lack; size in bytes."""
        ...

    def blocks(self, cids: Sequence[Cid]) -> AbstractAsyncContextManager[AsyncIterator[Frame]]:
        """Blocks, in the order asked. Leaving the context early ends that connection, not the link."""
        ...


class FolderServer(Protocol):
    """What a folder's task offers to the connections that serve its peers."""

    async def heads_after(self, device: DeviceId, log: bytes, after: int, wait_s: float) -> HeadsPage: ...

    async def have(self, cids: Sequence[Cid]) -> bytes: ...

    def peer_needs_now(self, device: DeviceId, files: int, size: int) -> None: ...

    def serve_blocks(self, cids: Sequence[Cid]) -> AsyncIterator[Frame]:
        """Frames in the order asked. The next batch is read only after the frames of the one before were taken."""
        ...
