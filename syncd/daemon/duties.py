"""Async. Does for a folder's membership what is this device's turn (`engine.duties`)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, assert_never

import trio

from syncd.daemon.installation import Installation
from syncd.daemon.membership import FolderMembership, JournalHead
from syncd.engine.duties import Duty, Kind
from syncd.errors import TrustError

log = logging.getLogger("syncd.membership")

CHECK_S: Final = 3600.0
"""How long one sleep lasts at most, because the wall clock may jump."""
RETRY_S: Final = 60.0
CLOCK_S: Final = 300.0
"""The same for the end of a membership."""

Heads = Callable[[], Awaitable[Sequence[JournalHead]]]


async def run_duties(membership: FolderMembership, installation: Installation, heads: Heads) -> None:
    """Do what is due whenever it is this device's turn, until cancelled. `heads` gives the newest changesets known."""
    while True:
        luck = int.from_bytes(installation.random.token(4), "big") / (1 << 32)
        duty = await _wait_for_turn(membership, luck)
        if duty is None:
            continue
        try:
            await _do(membership, duty, heads)
        except TrustError as error:
            log.warning("folder %s: to %s: %s", membership.folder_id.hex(), duty.kind.value, error)
            await trio.sleep(RETRY_S)


async def watch_ends(membership: FolderMembership) -> None:
    """Part with whoever's membership ends, in the second in which it does, until cancelled."""
    while True:
        membership.part_with_the_ended()
        moved = membership.moved
        with trio.move_on_after(min(membership.next_end_s(), CLOCK_S)):
            await moved.wait()


async def _wait_for_turn(membership: FolderMembership, luck: float) -> Duty | None:
    """Sleep until our turn; None when the roster moved meanwhile, or the clock has to be looked at again."""
    moved, duty = membership.moved, membership.next_duty(luck)
    with trio.move_on_after(CHECK_S if duty is None else min(duty.wait_s, CHECK_S)):
        await moved.wait()
        return None
    return duty if duty is not None and duty.wait_s <= CHECK_S else None


async def _do(membership: FolderMembership, duty: Duty, heads: Heads) -> None:
    match duty.kind:
        case Kind.ROTATE:
            await membership.rotate()
        case Kind.CONFIRM:
            await membership.confirm()
        case Kind.MERGE:
            await membership.merge()
        case Kind.LINK:
            await membership.link()
        case Kind.SAY_AGAIN:
            await membership.say_again()
        case Kind.END:
            assert duty.member is not None
            await membership.suspend(duty.member, await heads())
        case _:
            assert_never(duty.kind)
