"""Async. The slow reading of everything again: what changed without a trace is found, told from an edit, and healed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

import trio

from syncd.folder.ground import Ground
from syncd.store import counts, doubts
from syncd.store.doubts import STEP_S, Due, Judged
from syncd.treetypes import Path, RootState, TreeError, show_path

log = logging.getLogger("syncd.folder")


class Doubter:
    """Reads the files of one folder again, a few every ten minutes."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._store = ground.store
        self._db = ground.db
        self._blocking = ground.workers.run_blocking
        self._clock = ground.clock
        self.oldest_reading: float | None = None
        """When the file that was read longest ago was read, as of the last step."""

    async def run(self) -> None:
        """Until cancelled."""
        await self._ground.knows_disk.wait()
        while True:
            await self._until_due()
            doubted, self._ground.doubted, self._ground.doubted_event = self._ground.doubted, set(), trio.Event()
            if self._ground.root_state is RootState.OK:
                try:
                    await (self._look_at(doubted) if doubted else self.step())
                except TreeError as error:
                    log.warning("folder %s: reading again stopped: %s", self._ground.name, error)

    async def _until_due(self) -> None:
        """At least for one step, and as long as the rows say that no file is due: so long they may rest."""
        changes = self._ground.database.changes
        self.oldest_reading, due_at = await self._db(self._db_oldest_and_due)
        doubted = self._ground.doubted_event
        while True:
            with trio.move_on_after(STEP_S):
                await doubted.wait()
            if doubted.is_set() or changes != self._ground.database.changes or self._clock.now() >= due_at:
                return

    def _db_oldest_and_due(self) -> tuple[float | None, float]:
        oldest = doubts.db_oldest_reading(self._store)
        return oldest, doubts.db_next_due(self._store, oldest)

    async def step(self, *, everything: bool = False, before: float | None = None) -> Judged:
        """Read what is due; `everything`: all that was not read since `before`."""
        now = self._clock.now() if before is None else before
        due = await self._db(lambda: doubts.db_due(self._store, now, everything=everything))
        return await self._look(due)

    async def _look_at(self, paths: Collection[Path]) -> None:
        await self._look(await self._db(doubts.db_due_at, self._store, paths))

    async def _look(self, due: Sequence[Due]) -> Judged:
        looked = await self._blocking(doubts.read_again, self._store, due, self._clock.now)
        judged = await self._db(doubts.db_judge, self._store, looked, self._clock.now())
        self._ground.look_again(judged.again)
        for path in judged.suspects:
            log.warning("folder %s: %s changed without a trace; suspect", self._ground.name, show_path(path))
        for path in judged.rotten:
            log.error("folder %s: %s has rotted on this disk; it is healed", self._ground.name, show_path(path))
        if judged.suspects:
            await self._db(self._note, judged.suspects)
        if judged.rotten:
            self._ground.wake_plan()
        if judged.suspects or judged.rotten or judged.again:
            await self._ground.recount()
            self._ground.tell()
        return judged

    def _note(self, suspects: Sequence[Path]) -> None:
        for path in suspects:
            counts.db_note_suspect(self._store.connection, path, self._clock.now())
