"""Async. When a daemon comes to rest, memory that it needed for its work goes back to the system."""

from __future__ import annotations

import gc
from functools import partial

import trio

from syncd.daemon.app import Daemon
from syncd.daemon.running import RunningFolder
from syncd.store.syscalls import keep_few_arenas, trim_memory

REST_S = 10.0
"""Nothing changes for so long: what follows may be far away."""


async def give_back_at_rest(daemon: Daemon) -> None:
    """Until cancelled. Costs nothing while nothing changes."""
    keep_few_arenas()
    daemon.databases.give_back = partial(daemon.seams.workers.run_blocking, trim_memory)
    while True:
        await _rest(daemon)
        daemon.connections.give_back()
        for folder in daemon.folders:
            await _shrink(folder)
        await daemon.seams.workers.run_blocking(_give_back)
        await daemon.changed.wait()


async def _rest(daemon: Daemon) -> None:
    """Return when nothing has changed for a while."""
    while True:
        with trio.move_on_after(REST_S) as patience:
            await daemon.changed.wait()
        if patience.cancelled_caught:
            return


async def _shrink(folder: RunningFolder) -> None:
    """Buffers for bulk, and the pages of its database that SQLite keeps: both come again when they are needed."""
    if (task := folder.task) is not None:
        task.give_back_buffers()
        await task.database.shrink()


def _give_back() -> None:
    if any(gc.get_count()[1:]):  # since the last rest so much happened that the collector had a look by itself
        gc.collect()
    trim_memory()
