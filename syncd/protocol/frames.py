"""Pure. The stream of blocks that answers `POST /v1/blocks`: one frame for each block asked for, in any order.

Frame:  status (1 byte), index of the cid in the request (4), length of what follows (4), ciphertext. Big-endian.
Length: 0 unless the status is OK. A frame stands for itself, so one file that changed costs one block, not the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from struct import Struct
from typing import Final

from ca.values import dataclass
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


def room_for(limits: Sequence[int]) -> int:
    """Bytes in which the frames of blocks with ciphertexts of at most these lengths fit, and one more."""
    return sum(limits) + HEAD_BYTES * len(limits) + 1


def write_frame_head(place: memoryview, at: int, index: int, status: FrameStatus, length: int = 0) -> int:
    """Write the head of a frame whose ciphertext stands behind it already; where the next frame begins."""
    if length and status is not FrameStatus.OK:
        raise LocalProtocolError(f"a frame {status.name} carries no bytes")
    _HEAD.pack_into(place, at, status, index, length)
    return at + HEAD_BYTES + length


def pack_frame(index: int, status: FrameStatus, ciphertext: Buffer = b"") -> bytes:
    """One frame, in memory of its own."""
    place = bytearray(HEAD_BYTES) + ciphertext
    write_frame_head(memoryview(place), 0, index, status, len(ciphertext))
    return bytes(place)


class FrameReader:
    """Finds the frames in the stream. Does no I/O.

    The stream is received into one buffer, `room()` after `room()`, and reported by `wrote(count)`. It stays where it
    is: a ciphertext is a view of that buffer, so that nothing is copied and small frames cost no reception each.
    """

    def __init__(self, limits: Sequence[int], place: memoryview | None = None) -> None:
        """`limits`: for each cid of the request, the largest ciphertext that can be right, in bytes.

        `place`: at least `room_for(limits)` bytes for the stream; by default new memory.
        """
        room = room_for(limits)
        self._limits = limits
        self._missing = set(range(len(limits)))
        self._place = memoryview(bytearray(room)) if place is None else place[:room]
        self._filled = 0
        self._parsed = 0

    @property
    def is_complete(self) -> bool:
        """Whether every block asked for has its frame."""
        return not self._missing

    @property
    def missing(self) -> frozenset[int]:
        """Indices that have no complete frame yet."""
        return frozenset(self._missing)

    def room(self) -> memoryview:
        """Where the next bytes of the stream belong. Never empty: one byte behind the last frame shows that the peer
        does not end."""
        return self._place[self._filled :]

    def wrote_untrusted(self, count: int) -> list[Frame]:
        """Note that `count` bytes were received into `room()`; the frames they complete.

        Raises: RemoteProtocolError for a frame that was not asked for, came before, or is too long.
        """
        self._filled += count
        frames: list[Frame] = []
        while self._missing and self._filled - self._parsed >= HEAD_BYTES:
            status, index, length = self._parse_head()
            begin = self._parsed + HEAD_BYTES
            if self._filled - begin < length:
                break
            self._missing.remove(index)
            self._parsed = begin + length
            frames.append(Frame(index, status, self._place[begin : self._parsed]))
        if not self._missing and self._filled > self._parsed:
            raise RemoteProtocolError("bytes behind the last frame")
        return frames

    def feed_untrusted(self, data: Buffer) -> list[Frame]:
        """Take the next bytes of the stream, copied; the frames that they complete."""
        frames: list[Frame] = []
        rest = memoryview(data)
        while len(rest):
            room = self.room()
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            rest = rest[count:]
            frames += self.wrote_untrusted(count)
        return frames

    def end_untrusted(self) -> None:
        """The stream has ended. Raises RemoteProtocolError when it was cut short."""
        if self._missing:
            raise RemoteProtocolError(f"the stream of blocks ended with {len(self._missing)} frames missing")

    def _parse_head(self) -> tuple[FrameStatus, int, int]:
        code, index, length = _HEAD.unpack_from(self._place, self._parsed)
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
