"""Async. The answer to `POST /v1/blocks` where it arrives: frames out of a body."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from syncd.errors import RemoteProtocolError
from syncd.http import Body
from syncd.protocol.frames import Frame, FrameReader


async def receive_frames(body: Body, reader: FrameReader) -> AsyncGenerator[Sequence[Frame], None]:
    """All frames that `reader` expects, as many at a time as arrive together. Use it under `contextlib.aclosing`.

    Raises: RemoteProtocolError when the stream is malformed or cut short in good form, PeerUnavailable when it is lost.
    """
    while not reader.is_complete:
        count = await body.receive_into(reader.room())
        if count == 0:
            reader.end_untrusted()
        if frames := reader.wrote_untrusted(count):
            yield frames
    if await body.receive_into(reader.room()):
        raise RemoteProtocolError("bytes behind the last frame")
