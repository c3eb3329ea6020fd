"""Async. The answer to `POST /v1/blocks` on both sides: frames out of a body, and frames into one."""

from __future__ import annotations

from collections.abc import AsyncIterator

from syncd.errors import RemoteProtocolError
from syncd.http import Body
from syncd.protocol.frames import Frame, FrameReader

SLAB_BYTES = 64 * 1024  # small frames come many at a time; what is larger goes straight to where it belongs


async def receive_frames(body: Body, reader: FrameReader) -> AsyncIterator[Frame]:
    """All frames that `reader` expects, as they arrive. Use it under `contextlib.aclosing`.

    Raises: RemoteProtocolError when the stream is malformed or cut short in good form, PeerUnavailable when it is lost.
    """
    slab = memoryview(bytearray(SLAB_BYTES))
    while not reader.is_complete:
        target = reader.wanted()
        if len(target) >= SLAB_BYTES:
            count = await body.receive_into(target)
            if (frame := reader.wrote_untrusted(count)) is not None:
                yield frame
        else:
            count = await body.receive_into(slab)
            for frame in reader.feed_untrusted(slab[:count]):
                yield frame
        if count == 0:
            reader.end_untrusted()
    if await body.receive_into(slab):
        raise RemoteProtocolError("bytes behind the last frame")
