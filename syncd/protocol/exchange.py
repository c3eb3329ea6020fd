"""Pure. What a folder's work and the connections to its peers know of each other: two small interfaces.

The folder asks peers through a `Link`; peers ask the folder through a `FolderServer`. Neither knows of TLS, HTTP or
addresses.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.model.ids import Cid
from syncd.protocol.frames import Frame, FrameStatus
from syncd.protocol.messages import HeadsPage
from syncd.protocol.possession import ProveAnswer, ProveRequest
from syncd.seams import Buffer

__all__ = ["FolderServer", "Frame", "FrameStatus", "HeadsAsked", "HeadsPage", "Link"]


def _nothing_else() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class HeadsAsked:
    """A question for heads: whose count `after` belongs to, and how long the answer may wait for news."""

    log_id: bytes
    after: int
    wait_s: float
    word: int = 0
    """If not 0, this numbers the asker's word on whether it lacks nothing."""
    is_level: bool = False
    """That word: it lacks nothing."""
    is_due: Callable[[], bool] = _nothing_else
    """There is something else to be told; asked anew after every `look_again`."""


class Link(Protocol):
    """A connected, proven device of the folder. Every method raises PeerUnavailable when the connection is lost."""

    @property
    def device(self) -> DeviceId: ...

    @property
    def lanes(self) -> int:
        """How many requests for blocks may be under way at once."""
        ...

    async def heads(self, log: bytes, after: int, word: int, is_level: bool) -> HeadsPage:
        """What the peer accepted after a number of its log; the first call answers at once, later ones wait for news.
        `word`, if not 0, tells it as well whether we lack nothing, as `tell_needs` would."""
        ...

    async def have(self, cids: Sequence[Cid]) -> bytes:
        """Bitmap: which of these blocks the peer has."""
        ...

    async def prove(self, request: ProveRequest) -> ProveAnswer:
        """The peer's proofs that it holds these blocks, not judged yet."""
        ...

    async def tell_needs(self, files: int, size: int, word: int) -> None:
        """Tell the peer what we still lack; size in bytes. `word`: greater than with all that was told before."""
        ...

    def blocks(
        self, cids: Sequence[Cid], limits: Sequence[int], place: memoryview | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Sequence[Frame]]]:
        """Frames, as many at a time as arrive together. Leaving the context early ends that connection, not the link.

        `limits`: the longest ciphertext that each block can have; a peer that sends more is cut off. `place`: memory of
        `frames.room_for(limits)` bytes, by default new; the ciphertexts are views of it.
        """
        ...


class FolderServer(Protocol):
    """What a folder's work offers to the connections that serve its peers."""

    @property
    def log_id(self) -> bytes: ...

    async def digest(self) -> bytes:
        """Over all journal heads that are here."""
        ...

    async def newest_of(self, device: DeviceId) -> bytes | None:
        """The newest signed head that is here of a device's journals."""
        ...

    def own_journal_seen(self, raw_head: bytes | None) -> None:
        """A peer shows the newest head that it has of our journals."""
        ...

    async def heads_after(self, device: DeviceId, asked: HeadsAsked) -> HeadsPage:
        """What was accepted here after a number; waits for news as long as the question says."""
        ...

    def look_again(self) -> None:
        """Whoever waits for heads may have something else to hear."""
        ...

    def asker_gone(self, device: DeviceId) -> None:
        """A device asks here no longer."""
        ...

    async def have(self, cids: Sequence[Cid]) -> bytes: ...

    async def prove(self, device: DeviceId, request: ProveRequest) -> ProveAnswer:
        """Proofs for a device that these blocks are here, as far as they are and time allows."""
        ...

    def peer_needs_now(self, device: DeviceId, files: int, size: int, word: int) -> None: ...

    def serve_blocks(self, cids: Sequence[Cid], device: DeviceId | None = None) -> AsyncIterator[Buffer]:
        """The frames that answer, in the order asked, many in a buffer. A buffer holds good until the next one is asked
        for, and that is read only then. `device` is who asks, if that is known."""
        ...
