"""Async. The last step of what was fetched: complete contents get their names, as many as are ready at once, behind one
flush, and then the rows say so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from syncd.engine.rates import Rates, work_of
from syncd.seams import Lane, Workers
from syncd.store.apply import put_in_place
from syncd.store.commit import Committed
from syncd.store.folder import FolderStore
from syncd.store.prepare import Want
from syncd.store.staging import Staging
from syncd.treetypes import TreeError

MAX_GROUP = 4096
"""Contents put in place behind one flush: what has come while the group before them was."""
FEW = 16
"""So few take so little time that they go the whole way in one visit to the rows."""


class Finisher:
    """Puts the complete contents of one folder in place. `run` for its whole life."""

    def __init__(self, store: FolderStore, workers: Workers, lane: Lane, rates: Rates) -> None:
        self.rates = rates
        self._store = store
        self._workers = workers
        self._lane = lane
        self._ready: list[Staging] = []
        self._ready_event = trio.Event()
        self.disk = trio.Lock()
        """Held while names on the disk are changed and until the rows say so: paths hold still meanwhile."""
        self.on_done: Callable[[Sequence[Staging]], None] = lambda group: None
        """These are in place, or were found out of date: nothing of them is staged any more."""
        self.on_failed: Callable[[Sequence[Staging]], Awaitable[None]] | None = None
        """The disk refused: all of them have to be staged again. Each bears the error."""
        self.on_committed: Callable[[Committed], Awaitable[None]] | None = None

    def add(self, staging: Staging) -> None:
        """Put a complete content in place soon."""
        self._ready.append(staging)
        self._ready_event.set()

    async def run(self, now: Callable[[], float]) -> None:
        """Group after group, until cancelled; a group that was begun is finished."""
        while True:
            await self._ready_event.wait()
            group, self._ready = self._ready[:MAX_GROUP], self._ready[MAX_GROUP:]
            if not self._ready:
                self._ready_event = trio.Event()
            with trio.CancelScope(shield=True):
                await self._finish(group, now)

    async def _finish(self, group: Sequence[Staging], now: Callable[[], float]) -> None:
        tokens = [staging.want.token for staging in group]
        began = trio.current_time()
        try:
            await self._workers.run_blocking(self._store.tree.flush, tokens)
            async with self.disk:
                committed = await self._put_in_place([staging.want for staging in group], now)
        except TreeError as error:
            # The disk reported a failure: nothing of this group may be believed, and all of it is staged again. What
            # has its name already is found by its intent, or by the scan.
            for staging in group:
                staging.error = error
            if self.on_failed is not None:
                await self.on_failed(group)
            return
        size = sum(staging.want.size for staging in group)
        self.rates.place.note(work_of(len(group), size), trio.current_time() - began)
        self.on_done(group)
        if self.on_committed is not None:
            await self.on_committed(committed)

    async def _put_in_place(self, wants: Sequence[Want], now: Callable[[], float]) -> Committed:
        nodes = {want.node for want in wants}
        self._store.moving |= nodes
        try:
            if len(wants) <= FEW:
                return await self._workers.run_blocking(self._db_put_in_place, wants, now, lane=self._lane)
            wanted = await self._workers.run_blocking(self._store.db_intents, wants, lane=self._lane)
            done = await self._workers.run_blocking(put_in_place, self._store.tree, wanted)
            return await self._workers.run_blocking(self._store.db_commit, done, now(), lane=self._lane)
        finally:
            self._store.moving -= nodes

    def _db_put_in_place(self, wants: Sequence[Want], now: Callable[[], float]) -> Committed:
        done = put_in_place(self._store.tree, self._store.db_intents(wants))
        return self._store.db_commit(done, now())
