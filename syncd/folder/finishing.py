"""Async. The last step of what was fetched: complete contents get their names, as many as are ready at once, behind one
flush, and then the rows say so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from syncd.engine.rates import Rates, work_of
from syncd.folder.database import FolderDatabase
from syncd.seams import Workers
from syncd.store.apply import Done, name_staged, put_in_place
from syncd.store.commit import Committed
from syncd.store.folder import FolderStore
from syncd.store.prepare import Want
from syncd.store.staging import Staging
from syncd.store.tally import Counted
from syncd.treetypes import Path, TreeError

MAX_GROUP = 2048
"""Contents put in place behind one flush: what has come while the group before them was."""
FEW = 16
"""So few take so little time that they go the whole way in one visit to the rows."""


class Finisher:
    """Puts the complete contents of one folder in place. `run` for its whole life."""

    def __init__(self, store: FolderStore, workers: Workers, database: FolderDatabase, rates: Rates) -> None:
        self.rates = rates
        self._store = store
        self._blocking = workers.run_blocking
        self._db = database.visit
        self._ready: list[Staging] = []
        self._ready_event = trio.Event()
        self._unsure: list[Staging] = []
        """Of these it is not certain yet that they are in place: what the disk refuses now concerns them."""
        self.refusals = 0
        """How often the disk has refused to save what was staged. It forgets what it could not save, of any file, and
        says so once: whatever was begun before the last time is staged again."""
        self._stale: list[Staging] = []
        """Complete by now, but begun before the disk refused."""
        self._why_stale = TreeError("nothing was refused yet")
        self._began = 0.0
        self.disk = trio.Lock()
        """Held while names on the disk are changed and until the rows say so: paths hold still meanwhile."""
        self.on_done: Callable[[Sequence[Staging]], None] = lambda group: None
        """These are in place, or were found out of date: nothing of them is staged any more."""
        self.on_failed: Callable[[Sequence[Staging]], Awaitable[None]] | None = None
        """The disk refused: all of them have to be staged again. Each bears the error."""
        self.on_committed: Callable[[Committed, Counted | None], Awaitable[None]] | None = None
        self.db_count: Callable[[], Counted | None] = lambda: None
        """Counts what there is, for who is at the rows anyway, if that may be done now."""

    @property
    def paths(self) -> set[Path]:
        """Where names appear that no row knows yet."""
        return {staging.want.path for staging in self._unsure}

    def add(self, staging: Staging) -> None:
        """Put a complete content in place soon."""
        (self._ready if staging.refusals == self.refusals else self._stale).append(staging)
        self._ready_event.set()

    async def run(self, now: Callable[[], float]) -> None:
        """Group after group, until cancelled; a group that was begun is finished."""
        while True:
            await self._ready_event.wait()
            with trio.CancelScope(shield=True):
                try:
                    stale, self._stale = self._stale, []
                    await self._fail(stale, self._why_stale)
                    if group := self._take():
                        await self._finish(group, now)
                except TreeError as error:
                    await self._give_up(error)
                finally:
                    self._settle(self._unsure)

    def _take(self) -> list[Staging]:
        group, self._ready = self._ready[:MAX_GROUP], self._ready[MAX_GROUP:]
        if not self._ready:
            self._ready_event = trio.Event()
        self._unsure = self._unsure + group
        return group

    async def _finish(self, group: list[Staging], now: Callable[[], float]) -> None:
        """Put these in place, and what is ready by then: the flush before one group gets its names is also the one
        that the names of the group before it need."""
        self._began = trio.current_time()
        await self._blocking(self._store.tree.flush, _tokens(group))
        async with self.disk:
            if len(group) <= FEW:
                self._begin(group)
                await self._note(group, *await self._db(self._db_put_in_place, _wants(group), now))
                return
            done = await self._name(group, await self._db(self._store.db_intents, self._begin(group)))
            while self._ready and not self.disk.statistics().tasks_waiting:
                before, group = group, self._take()
                await self._blocking(self._store.tree.flush, _tokens(group), _directories(before))
                committed, wanted = await self._db(self._store.db_commit_and_intend, done, now(), self._begin(group))
                await self._note(before, committed)
                done = await self._name(group, wanted)
            await self._blocking(self._store.tree.flush_dirs, _directories(group))
            await self._note(group, await self._db(self._store.db_commit, done, now()))

    def _begin(self, group: Sequence[Staging]) -> list[Want]:
        wants = _wants(group)
        self._store.moving.update(want.node for want in wants)
        return wants

    async def _name(self, group: Sequence[Staging], wanted: Sequence[Want]) -> list[Done]:
        return await self._blocking(name_staged, self._store.tree, wanted)

    async def _note(self, group: Sequence[Staging], committed: Committed, counted: Counted | None = None) -> None:
        """The rows say of these that they are in place."""
        began, self._began = self._began, trio.current_time()
        self.rates.place.note(work_of(len(group), sum(staging.want.size for staging in group)), self._began - began)
        self._settle(group)
        self.on_done(group)
        if self.on_committed is not None:
            await self.on_committed(committed, counted)

    def _settle(self, group: Sequence[Staging]) -> None:
        over = set(group)
        self._unsure = [staging for staging in self._unsure if staging not in over]
        self._store.moving -= {staging.want.node for staging in group} - {staging.want.node for staging in self._unsure}

    async def _give_up(self, error: TreeError) -> None:
        """The disk reported a failure: nothing of what is not certain may be believed, and all of it is staged again.
        What has its name already is found by its intent, or by the scan."""
        self.refusals, self._why_stale = self.refusals + 1, error
        failed, self._ready = self._unsure + self._ready, []
        self._settle(failed)
        await self._fail(failed, error)

    async def _fail(self, failed: Sequence[Staging], error: TreeError) -> None:
        for staging in failed:
            staging.error = error
        if failed and self.on_failed is not None:
            await self.on_failed(failed)

    def _db_put_in_place(self, wants: Sequence[Want], now: Callable[[], float]) -> tuple[Committed, Counted | None]:
        done = put_in_place(self._store.tree, self._store.db_intents(wants))
        committed = self._store.db_commit(done, now())
        return committed, self.db_count() if committed.is_over else None


def _wants(group: Sequence[Staging]) -> list[Want]:
    return [staging.want for staging in group]


def _tokens(group: Sequence[Staging]) -> list[bytes]:
    return [staging.want.token for staging in group]


def _directories(group: Sequence[Staging]) -> list[Path]:
    return sorted({staging.want.path[:-1] for staging in group})
