"""Async. Waves of deletions: held by the brake before they are published or carried out, until a person has spoken."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from syncd.daemon.ground import Ground
from syncd.engine.brake import Brake
from syncd.store import counts
from syncd.store.recovery import db_undelete

log = logging.getLogger("syncd.folder")

SCAN_ORIGIN = "here"


class Waves:
    """What the brake holds in one folder, and what becomes of it."""

    def __init__(self, ground: Ground) -> None:
        self.on_release: Callable[[], object] = lambda: None
        """A wave passes: the disk is to be looked at again."""
        self._ground = ground
        self._store = ground.store
        self._db = ground.db
        self._clock = ground.clock
        self._brake = Brake()
        self._counted: set[int] = set()
        """Nodes whose deletion by somebody else was counted by the brake and has not been carried out yet."""

    async def holds_missing(self, nodes: Sequence[int], rows: Sequence[int]) -> bool:
        """Whether what a scan missed has to wait: `nodes` are gone, and with them the files `rows`."""
        old = sum(row <= self._ground.ages.newest_old for row in rows)
        current = await self._db(counts.db_counts, self._store.connection)
        if not self._brake.holds(SCAN_ORIGIN, len(rows), old, current.files, self._clock.monotonic()):
            return False
        await self._hold(SCAN_ORIGIN, nodes, len(rows), current.files)
        return True

    async def hold_arriving(self) -> None:
        """Hold deletions that others made, if they are too many."""
        vanishing = await self._db(counts.db_vanishing, self._store.connection)
        self._counted &= {node for nodes in vanishing.values() for node in nodes}
        if not vanishing:
            return
        current = await self._db(counts.db_counts, self._store.connection)
        for device, nodes in sorted(vanishing.items()):
            if device == self._store.journal.device:
                continue
            origin = device.hex()
            news = [node for node in nodes if node not in self._counted]
            old = sum(node <= self._ground.ages.newest_old for node in news)
            if self._brake.holds(origin, len(news), old, current.files, self._clock.monotonic()):
                await self._hold(origin, nodes, len(nodes), current.files)
            else:
                self._counted.update(news)

    async def _hold(self, origin: str, nodes: Sequence[int], files: int, of_files: int) -> None:
        wave = f"held-{origin[:8]}"
        log.warning(
            "folder %s: %s of %s files would vanish (%s); held until approved",
            self._ground.name,
            files,
            of_files,
            origin,
        )
        await self._db(
            counts.db_hold,
            self._store.connection,
            wave,
            origin,
            nodes,
            files,
            self._clock.now(),
            of_files,
        )
        await self._ground.recount()
        self._ground.tell()

    async def held(self) -> list[counts.Held]:
        """The waves that wait for a person."""
        return await self._db(counts.db_held, self._store.connection)

    async def held_paths(self, wave: str) -> list[str]:
        """Some of the names that a wave holds."""
        return await self._db(counts.db_held_paths, self._store.connection, wave, 5)

    async def approve(self, wave: str) -> None:
        """Let a held wave pass."""
        for held in await self.held():
            if held.id == wave:
                self._brake.release(held.origin, self._clock.monotonic())
                await self._db(counts.db_release, self._store.connection, wave)
        self.on_release()
        self._ground.wake_plan()

    async def deny(self, wave: str) -> None:
        """Undo a held wave: what was to vanish is brought back, here and everywhere."""
        for held in await self.held():
            if held.id != wave:
                continue
            nodes = await self._db(counts.db_release, self._store.connection, wave)
            if held.origin == SCAN_ORIGIN:
                await self._db(counts.db_bring_back, self._store.connection, nodes)
            else:
                await self._db(db_undelete, self._store, nodes, self._ground.now_ms())
                self._ground.announce(await self._db(self._store.journal.newest_seq))
        self._ground.wake_plan()
