"""Async. A member who lies: what its folder answers to others is changed, with its own keys and a right proof.

Only what others are told is touched: the work of its own daemon is that of an honest one. Each lie is a function that
takes what answers for a running folder and puts another answer in the place of the true one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from random import Random

from ca.ids import DeviceId
from syncd.folder.serving import Server
from syncd.model.ids import Cid
from syncd.protocol.exchange import FrameStatus, HeadsAsked, HeadsPage
from syncd.protocol.frames import HEAD_BYTES, pack_frame
from syncd.seams import Buffer

Lie = Callable[[Server, Random], None]


def bad_blocks(server: Server, chance: Random) -> None:
    """Most blocks arrive with one bit changed."""
    honest = server.serve_blocks

    async def serve_blocks(cids: Sequence[Cid], device: DeviceId | None = None) -> AsyncIterator[Buffer]:
        async for frames in honest(cids, device):
            yield _spoilt(bytearray(frames), chance)

    _replace(server, "serve_blocks", serve_blocks)


def _spoilt(frames: bytearray, chance: Random) -> bytearray:
    at = 0
    while at < len(frames):
        length = int.from_bytes(frames[at + HEAD_BYTES - 4 : at + HEAD_BYTES], "big")
        at += HEAD_BYTES
        if length and chance.random() < 0.7:
            frames[at + chance.randrange(length)] ^= 1 << chance.randrange(8)
        at += length
    return frames


def false_have(server: Server, chance: Random) -> None:
    """It has everything that anybody asks for, and then sends nothing of it."""

    async def have(cids: Sequence[Cid]) -> bytes:
        bits = (1 << len(cids)) - 1 << -len(cids) % 8  # the first in the highest bit
        return bits.to_bytes((len(cids) + 7) // 8, "big")

    async def serve_blocks(cids: Sequence[Cid], device: DeviceId | None = None) -> AsyncIterator[Buffer]:
        for index in range(len(cids)):
            yield pack_frame(index, FrameStatus.GONE)

    _replace(server, "have", have)
    _replace(server, "serve_blocks", serve_blocks)


def old_heads(server: Server, chance: Random) -> None:
    """It repeats heads of the past, and calls them the newest."""
    honest = server.heads_after
    told: list[bytes] = []

    async def heads_after(device: DeviceId, asked: HeadsAsked) -> HeadsPage:
        page = await honest(device, asked)
        told.extend(page.heads)
        heads = tuple(chance.sample(told, min(len(told), 8)))
        return HeadsPage(page.log, page.last, page.newest, heads, page.roster_head)

    _replace(server, "heads_after", heads_after)


LIES: tuple[Lie, ...] = (bad_blocks, false_have, old_heads)


def _replace(server: Server, name: str, answer: object) -> None:
    setattr(server, name, answer)
