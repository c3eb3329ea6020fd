"""Pure. The stream of blocks that answers `POST /v1/blocks`: one frame for each block asked for, in any order.

Frame:  status (1 byte), index of the cid in the request (4), length of what follows (4), ciphertext. Big-endian.
Length: 0 unless the status is OK. A frame stands for itself, so one file that changed costs one block, not the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

from syncd.errors import LocalProtocolError, RemoteProtocolError
from syncd.seams import Buffer

_HEAD = Struct(">BII")  # status, index, length
HEAD_BYTES: Final = _HEAD.size


class FrameStatus(IntEnum):
    """What became of one block."""

    OK = 0
    GONE = 1  # this peer does not have it (any more)
    CHANGED = 2  # the file under it was edited meanwhile; the peer looks at it again
    BUSY = 3  # ask later, or another peer


_STATUS_BY_CODE = {status.value: status for status in FrameStatus}


@dataclass(frozen=True, slots=True)
class Frame:
    """One answer. `ciphertext` is empty unless the status is OK."""

    index: int
    status: FrameStatus
    ciphertext: memoryview


def frame_pieces(index: int, status: FrameStatus, ciphertext: Buffer = b"") -> tuple[Buffer, ...]:
    """A frame as buffers to be sent one after the other, so that the ciphertext is not copied."""
    if ciphertext and status is not FrameStatus.OK:
        raise LocalProtocolError(f"a frame {status.name} carries no bytes")
    head = _HEAD.pack(status.value, index, len(ciphertext))
    return (head, ciphertext) if len(ciphertext) else (head,)


class FrameReader:
    """Puts frames together from whatever pieces the network brings. Does no I/O.

    Either push (`feed`), or have the bytes received straight into `wanted()` and report them by `wrote(count)`: then a
    ciphertext is written once, into the buffer that `allocate` gave for it.
    """

    def __init__(self, limits: Sequence[int], allocate: Callable[[int, int], memoryview] | None = None) -> None:
        """`limits`: for each cid of the request, the largest ciphertext that can be right, in bytes.

        `allocate(index, length)` returns the memory for a ciphertext; by default new memory.
        """
        self._limits = limits
        self._missing = set(range(len(limits)))
        self._allocate = allocate or _new_memory
        self._head = bytearray(HEAD_BYTES)
        self._index: int | None = None  # of the frame whose ciphertext is being filled
        self._target = memoryview(self._head)
        self._filled = 0

    @property
    def is_complete(self) -> bool:
        """Whether every block asked for has its frame."""
        return not self._missing and self._index is None

    @property
    def missing(self) -> frozenset[int]:
        """Indices that have no complete frame yet."""
        return frozenset(self._missing if self._index is None else self._missing | {self._index})

    def wanted(self) -> memoryview:
        """Where the next bytes of the stream belong. Never empty while frames are missing."""
        return self._target[self._filled :]

    def wrote_untrusted(self, count: int) -> Frame | None:
        """Note that `count` bytes were received into `wanted()`; the frame they complete, if they do.

        Raises: RemoteProtocolError for a frame that was not asked for, came before, or is too long.
        """
        self._filled += count
        if self._filled < len(self._target):
            return None
        if self._index is not None:
            return self._finish(self._index, FrameStatus.OK, self._target)
        status, index, length = self._parse_head()
        self._missing.remove(index)
        if length == 0:
            return self._finish(index, status, memoryview(b""))
        self._index, self._filled = index, 0
        self._target = self._allocate(index, length)
        return None

    def feed_untrusted(self, data: Buffer) -> list[Frame]:
        """Take the next bytes of the stream, copied; the frames that they complete."""
        frames: list[Frame] = []
        rest = memoryview(data)
        while len(rest):
            if self.is_complete:
                raise RemoteProtocolError("bytes behind the last frame")
            target = self.wanted()
            count = min(len(target), len(rest))
            target[:count] = rest[:count]
            rest = rest[count:]
            if (frame := self.wrote_untrusted(count)) is not None:
                frames.append(frame)
        return frames

    def end_untrusted(self) -> None:
        """The stream has ended. Raises RemoteProtocolError when it was cut short."""
        if not self.is_complete:
            raise RemoteProtocolError(f"the stream of blocks ended with {len(self.missing)} frames missing")

    def _finish(self, index: int, status: FrameStatus, ciphertext: memoryview) -> Frame:
        self._index, self._target, self._filled = None, memoryview(self._head), 0
        return Frame(index, status, ciphertext)

    def _parse_head(self) -> tuple[FrameStatus, int, int]:
        code, index, length = _HEAD.unpack(self._head)
        status = _STATUS_BY_CODE.get(code)
        if status is None:
            raise RemoteProtocolError(f"unknown frame status {code}")
        if index not in self._missing:
            raise RemoteProtocolError("a frame that was not asked for, or came twice")
        if (length > 0) is not (status is FrameStatus.OK):
            raise RemoteProtocolError("a frame whose length contradicts its status")
        if length > self._limits[index]:
            raise RemoteProtocolError("a frame longer than its block can be")
        return status, index, length


def _new_memory(_index: int, length: int) -> memoryview:
    return memoryview(bytearray(length))
