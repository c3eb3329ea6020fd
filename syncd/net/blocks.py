"""Async. The answer to `POST /v1/blocks` on both sides: frames out of a body, and frames into one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from syncd.errors import RemoteProtocolError
from syncd.http import Body, Pieces
from syncd.protocol.frames import Frame, FrameReader, frame_pieces
from syncd.seams import Buffer

SLAB_BYTES = 64 * 1024  # small frames come many at a time; what is larger goes straight to where it belongs
SMALL_BYTES = 16 * 1024  # below, one copy costs less than a send of its own


async def frames_body(frames: AsyncIterator[Frame]) -> AsyncGenerator[Pieces, None]:
    """The body that carries `frames`, for `http.Response`. A frame is asked for only after the one before is out.

    A ciphertext may lie in a buffer that the next frame reuses: large ones are sent before it is asked for, small ones
    are copied and sent many at a time.
    """
    waiting: list[Buffer] = []
    waiting_bytes = 0
    async with _closing(frames):
        async for frame in frames:
            pieces = frame_pieces(frame.index, frame.status, frame.ciphertext)
            if len(frame.ciphertext) > SMALL_BYTES:
                yield (*waiting, *pieces)
                waiting, waiting_bytes = [], 0
                continue
            waiting.append(b"".join(pieces))
            waiting_bytes += len(waiting[-1])
            if waiting_bytes >= SLAB_BYTES:
                yield waiting
                waiting, waiting_bytes = [], 0
    if waiting:
        yield waiting


@asynccontextmanager
async def _closing(frames: AsyncIterator[Frame]) -> AsyncIterator[None]:
    """A connection that is cut half-way must let go of the files it reads from now, not when they are collected."""
    try:
        yield
    finally:
        if isinstance(frames, AsyncGenerator):
            await frames.aclose()


async def receive_frames(body: Body, reader: FrameReader) -> AsyncGenerator[Frame, None]:
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
