"""Pure. Frames: what was sent is what is read, however the network cuts it, and nothing else is."""

from __future__ import annotations

import pytest

from syncd.errors import LocalProtocolError, RemoteProtocolError
from syncd.protocol.frames import Frame, FrameReader, FrameStatus, pack_frame, room_for

LIMITS = [100, 100, 100]


STREAM = (
    pack_frame(2, FrameStatus.OK, b"c" * 100) + pack_frame(0, FrameStatus.GONE) + pack_frame(1, FrameStatus.OK, b"b")
)


def values(frames: list[Frame]) -> list[tuple[int, FrameStatus, bytes]]:
    return [(frame.index, frame.status, bytes(frame.ciphertext)) for frame in frames]


EXPECTED = [(2, FrameStatus.OK, b"c" * 100), (0, FrameStatus.GONE, b""), (1, FrameStatus.OK, b"b")]


def test_bytes_of_a_frame_are_fixed() -> None:
    assert pack_frame(258, FrameStatus.OK, b"xy") == bytes.fromhex("00 00000102 00000002") + b"xy"
    assert pack_frame(1, FrameStatus.BUSY) == bytes.fromhex("03 00000001 00000000")


@pytest.mark.parametrize("step", [1, 2, 9, 10, 50, 1000])
def test_frames_are_the_same_however_they_are_cut(step: int) -> None:
    reader = FrameReader(LIMITS)
    frames: list[Frame] = []
    for start in range(0, len(STREAM), step):
        frames += reader.feed_untrusted(STREAM[start : start + step])
    assert values(frames) == EXPECTED
    assert reader.is_complete
    reader.end_untrusted()


def test_ciphertext_stays_where_it_was_received() -> None:
    place = memoryview(bytearray(room_for(LIMITS)))
    reader = FrameReader(LIMITS, place)
    frames = []
    rest = memoryview(STREAM)
    while not reader.is_complete:
        room = reader.room()
        count = min(len(room), 7, len(rest))
        room[:count] = rest[:count]
        rest = rest[count:]
        frames += reader.wrote_untrusted(count)
    assert values(frames) == EXPECTED
    place[:] = bytes(len(place))
    assert bytes(frames[0].ciphertext) == bytes(100)


def test_room_holds_the_longest_answer_and_shows_what_is_behind_it() -> None:
    longest = b"".join(pack_frame(index, FrameStatus.OK, b"x" * limit) for index, limit in enumerate(LIMITS))
    reader = FrameReader(LIMITS)
    assert len(reader.feed_untrusted(longest)) == 3
    assert len(reader.room()) == 1
    with pytest.raises(RemoteProtocolError):
        reader.feed_untrusted(b"x")


@pytest.mark.parametrize(
    "stream",
    [
        pack_frame(3, FrameStatus.GONE),  # not asked for
        pack_frame(0, FrameStatus.GONE) * 2,  # twice
        pack_frame(0, FrameStatus.OK, b"x" * 101),  # longer than it can be
        b"\x04" + pack_frame(0, FrameStatus.GONE)[1:],  # unknown status
        b"\x01" + pack_frame(0, FrameStatus.OK, b"x")[1:],  # gone, with bytes
        bytes.fromhex("00 00000000 00000000"),  # fine, without bytes
        bytes.fromhex("00 00000000 ffffffff"),
        STREAM + b"x",
    ],
)
def test_other_streams_are_refused(stream: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        FrameReader(LIMITS).feed_untrusted(stream)


@pytest.mark.parametrize("length", [0, 5, 9, 50, len(STREAM) - 1])
def test_stream_cut_short_is_noticed(length: int) -> None:
    reader = FrameReader(LIMITS)
    reader.feed_untrusted(STREAM[:length])
    with pytest.raises(RemoteProtocolError):
        reader.end_untrusted()


def test_missing_frames_are_known() -> None:
    reader = FrameReader(LIMITS)
    reader.feed_untrusted(STREAM[: 9 + 50])  # inside the first ciphertext
    assert reader.missing == {0, 1, 2}
    reader.feed_untrusted(STREAM[9 + 50 : 9 + 100])
    assert reader.missing == {0, 1}


def test_refusal_with_bytes_is_our_bug() -> None:
    with pytest.raises(LocalProtocolError):
        pack_frame(0, FrameStatus.GONE, b"x")
