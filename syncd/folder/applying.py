"""Async. Bringing this disk to what Global says: plan, do what needs no content, offer the rest to the puller, commit.

What is to be done is decided by `engine.plan`, how by `store.apply`; here is when, and what becomes of a failure.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import trio

from syncd.engine.plan import Waiting
from syncd.folder.finishing import FEW
from syncd.folder.ground import STALE_S, Ground
from syncd.folder.keeping import Keeper
from syncd.folder.problems import problem_of
from syncd.folder.waves import Waves
from syncd.store import counts
from syncd.store.apply import Done, carry_out
from syncd.store.commit import Committed
from syncd.store.glance import RootMoved, demand_root
from syncd.store.prepare import Round, Step
from syncd.store.staging import Staging, has_room
from syncd.store.tally import Counted
from syncd.treetypes import OVERTAKEN, ROOT, NameTaken, NoSpace, RootState, TreeError

log = logging.getLogger("syncd.folder")

LONGEST_SLEEP_S = 3600.0
RETRY_S = 2.0
RACE_RETRY_S = 0.25
ROOM_S = 30.0
"""How often it is looked whether a disk that was full has room, while nothing comes that would show it."""
PLAN_S = 1.0
"""How often the planner looks again while contents arrive and nothing else happens: at directories, say, that get their
mode when all that is in them is there."""
MOST_IDLE_SWEEPS = 200
"""So often in a row rows may be settled and woken with nothing to do on the disk: twice is usual."""
PLAN_REST = 20.0
LONGEST_REST_S = 10.0
"""But it rests so many times as long as its last look took: looking at ten thousand nodes that wait for their contents
costs as much as naming a thousand of them."""
FRESH_S = 0.25
"""A root that was there so lately need not be looked for again before planning: what changes the disk finds out anyway,
and that something is gone is decided by the scan alone."""


class _Carried(NamedTuple):
    """What became of some steps. `counted`: what the rows say then, if nothing is left."""

    done: list[Done]
    committed: Committed
    counted: Counted | None


class Applier:
    """Carries out what is left to be done in one folder, whenever there may be something."""

    def __init__(self, ground: Ground, keeper: Keeper, waves: Waves) -> None:
        self._ground = ground
        self._keeper = keeper
        self._store = ground.store
        self._db = ground.db
        self._blocking = ground.workers.run_blocking
        self._clock = ground.clock
        self._puller = ground.puller
        self._finisher = ground.finisher
        self._work = ground.work
        self._waves = waves
        self._counted: Counted | None = None
        """Of the last sweep, if it has changed nothing after that."""
        self._has_come = False
        """Contents have come, and been put in place, since the planner looked."""
        self._has_stepped = False
        """The last sweep has done something on the disk."""
        self._planned_at = 0.0
        self._looked_s = 0.0
        """So long its last look took, without the wait for room or for the disk."""
        self._space_at = 0.0
        """The disk was full, or failed: when to try again. 0: it was not, or that was tried since."""
        self._has_failed = False
        """The disk was full, or failed, and nothing was put in place since."""
        self._room_at = 0.0
        """Then: when to look whether there is room."""
        ground.finisher.on_committed = self._after_commit
        ground.finisher.db_count = self._db_count
        ground.puller.on_failed = self._after_failure
        ground.puller.on_fed = ground.wake_plan

    async def run(self) -> None:
        await self._ground.may_work.wait()
        await self._ground.knows_disk.wait()
        while True:
            await self._wait_for_work()
            # Planning begins here, so that nobody takes this disk for level by what was counted before the news.
            self._ground.plan_event, self._ground.is_planning = trio.Event(), True
            self._has_come, self._planned_at, self._looked_s = False, trio.current_time(), 0.0
            try:
                has_planned = await self._plan()
            finally:
                self._ground.is_planning = False
            if has_planned:
                self._ground.tell()

    async def _wait_for_work(self) -> None:
        """Until something may be left to be done, or is due again."""
        due_at = trio.current_time() + await self._until_retry_s()
        again_at = self._planned_at + max(PLAN_S, min(PLAN_REST * self._looked_s, LONGEST_REST_S))
        while not self._ground.plan_event.is_set():
            now = trio.current_time()
            if now >= due_at or (self._has_come and now >= again_at):
                return
            with trio.move_on_at(min(due_at, now + PLAN_S) if self._puller.busy else due_at):
                await self._ground.plan_event.wait()

    async def _plan(self) -> bool:
        """Do what can be done now; False where the root is not there."""
        if self._ground.root_state is not RootState.OK:
            return False
        if not self._ground.is_recovered and not await self._keeper.check_root():
            return False  # it also notes what was done to the disk and never written down
        self._ground.tell()
        if self._has_failed and not self._space_at and self._clock.monotonic() >= self._room_at:
            await self._look_for_room()
        if self._clock.monotonic() >= self._space_at:
            self._space_at = 0.0
        try:
            await self._sweep_until_done()
        except RootMoved:
            if await self._keeper.check_root():
                self._ground.wake_plan()  # it is back already
            return False
        except TreeError as error:
            log.warning("folder %s: the disk failed: %s", self._ground.name, error)
            self._counted = None
            self._try_again_later()
        await self._ground.recount(self._counted)
        return True

    async def _sweep_until_done(self) -> None:
        """Sweep as long as that brings anything closer. Two nodes that wake each other must not keep a processor busy
        for ever: that would be a fault of ours, which is told, and tried again when something has come or is due."""
        idle = 0
        while await self._sweep():
            idle = 0 if self._has_stepped else idle + 1
            if idle == MOST_IDLE_SWEEPS:
                log.error("folder %s: planning goes round in a circle; please report this", self._ground.name)
                return

    def _try_again_later(self) -> None:
        """That concerns all of the folder: nothing more is staged until some time has passed."""
        now = self._clock.monotonic()
        self._space_at, self._room_at, self._has_failed = now + RETRY_S, now + ROOM_S, True

    async def _look_for_room(self) -> None:
        """The disk was full, and nothing has come or failed since: what was wanted then may be gone, or nobody is there
        who has it. Where all that is lacking finds room, the disk is not called full any more."""
        self._room_at = self._clock.monotonic() + ROOM_S
        lacking_bytes = max(0, self._ground.counts.need_bytes - self._puller.partial_bytes)
        if await self._blocking(has_room, self._store.tree, lacking_bytes):
            self._has_failed, self._counted = False, None
            await self._db(counts.db_has_room, self._store.connection)

    async def _until_retry_s(self) -> float:
        """How long until something that failed is due again: what the last sweep passed over."""
        due = self._ground.next_retry
        if self._ground.counts_are_stale:
            due = await self._db(counts.db_next_retry, self._store.connection, self._ground.swept_at)
        wait_s = LONGEST_SLEEP_S if due is None else max(0.05, due - self._clock.now())
        if self._ground.counts_are_stale:
            wait_s = min(wait_s, STALE_S)
        if self._has_failed and self._ground.root_state is RootState.OK:
            return min(wait_s, max(0.05, (self._space_at or self._room_at) - self._clock.monotonic()))
        return wait_s

    async def _sweep(self) -> bool:
        """Once through all pending nodes; True if that brought anything closer."""
        self._ground.swept_at = now = self._clock.now()
        await self._judge_again()
        if self._puller.busy:
            await self._puller.let_go(await self._db(self._store.db_outdated, self._puller.on_their_way))
        ignored = self._ground.ignores.at(self._ground.now_ns()) if self._ground.ignores.lines else None
        after: int | None = 0
        progress, waiting, is_left = False, Waiting(), False
        self._has_stepped = False
        while after is not None:
            async with self._finisher.disk:
                began = trio.current_time()
                plan = partial(self._store.db_plan, after, now, self._puller.engaged, ignored, waiting)
                looks = not after and not self._keeper.is_root_fresh(FRESH_S)
                visit = partial(self._db_plan, plan, self._ground.may_count, looks)
                page, after, self._counted = await (self._db(visit) if after else self._waves.judged(visit))
                if looks:
                    self._keeper.root_was_there()
                progress = await self._carry_out(page) or progress
                if page.unlisted:
                    self._ground.note_unlisted()
                is_left = is_left or page.is_left
                self._looked_s += trio.current_time() - began
            if page.wants and self._ground.rights.exchanges and not self._space_at:
                await self._puller.offer(page.wants)
        return progress and is_left

    def _db_plan(
        self, plan: Callable[[], tuple[Round, int | None]], may_count: bool, looks: bool
    ) -> tuple[Round, int | None, Counted | None]:
        """Plan a page; and count, where nothing follows that touches rows. `looks`: at first whether the root is there.

        Raises RootMoved."""
        if looks:
            demand_root(self._store.tree, self._ground.marker)
        page, following = plan()
        goes_on = following is not None or page.steps or page.blocked or (page.is_left and page.settled + page.woken)
        return page, following, self._ground.db_count() if may_count and not goes_on else None

    async def _judge_again(self) -> None:
        """Once for every state of the roster that lets us exchange: those who were taken out judge nothing."""
        if self._ground.is_judged or not self._ground.rights.exchanges:
            return
        self._ground.is_judged = True
        async with self._finisher.disk:
            await self._db(self.db_judge_again)

    def db_judge_again(self) -> None:
        """What was accepted, by the roster as it is now."""
        changed = self._store.db_judge_again()
        if changed:
            log.warning(
                "folder %s: %s changesets count otherwise by the roster as it is now", self._ground.name, changed
            )

    async def _carry_out(self, page: Round) -> bool:
        """Do what needs no content. The finisher's `disk` is held."""
        done = []
        if page.steps:
            nodes = {step.operation.node for step in page.steps}
            self._store.moving |= nodes
            try:
                if len(page.steps) > FEW:
                    done = await self._blocking(carry_out, self._store.tree, page.steps)
                commit = partial(self._db_commit, page.steps, done, self._ground.may_count)
                done, committed, self._counted = await self._db(commit)
            except TreeError:
                self._ground.is_recovered = False  # some of it was done: that is found out before anything else is
                raise
            finally:
                self._store.moving -= nodes
            is_done = any(not isinstance(item.outcome, TreeError) for item in done)
            page.is_left = committed.is_pending or bool(committed.edited)
            await self._after_commit(committed, is_swept=is_done)  # then another sweep follows at once
        if page.blocked:
            self._counted = None
            taken = [(node, path, NameTaken("something that is only here has its name")) for node, path in page.blocked]
            await self._db(self._note_failures, Committed(failed=list(taken)))
        has_stepped = any(not isinstance(item.outcome, TreeError) for item in done)
        self._has_stepped |= has_stepped
        return has_stepped or page.settled + page.woken > 0

    def _db_commit(self, steps: Sequence[Step], done: list[Done], may_count: bool) -> _Carried:
        """Do the steps, if that has not been done; note what was done; and count, if nothing is left."""
        done = done or carry_out(self._store.tree, steps)
        committed = self._store.db_commit(done, self._clock.now())
        return _Carried(done, committed, self._ground.db_count() if may_count and committed.is_over else None)

    def _db_count(self) -> Counted | None:
        return self._ground.db_count() if self._ground.may_count else None

    async def _after_commit(
        self, committed: Committed, counted: Counted | None = None, *, is_swept: bool = False
    ) -> None:
        """`counted`: in the same visit to the rows. `is_swept`: the planner looks again without being woken."""
        self._waves.carried_out(committed.nodes)
        clears = bool(committed.applied and self._has_failed)
        if clears:
            self._space_at, self._has_failed, self._counted = 0.0, False, None
            await self._db(counts.db_clear_problems, self._store.connection, [ROOT])
        if committed.edited:
            await self._keeper.publish_late(committed.edited)
            self._ground.announce(await self._db(self._store.journal.newest_seq))
        if committed.failed:
            await self._db(self._note_failures, committed)
        self._ground.look_again(committed.look_again)
        if committed.moved:
            self._work.deep.update(committed.moved)
            self._work.event.set()
        if not is_swept and committed.is_over:
            await self._ground.recount(None if clears else counted)
        elif not is_swept:
            # While contents come in group after group, nothing new can be done after most of them.
            self._has_come = True
            if not self._puller.busy or committed.is_left or committed.failed or committed.look_again:
                self._ground.wake_plan()
        self._ground.tell()

    def _note_failures(self, committed: Committed) -> None:
        for node, path, error in committed.failed:
            if isinstance(error, NoSpace):
                self._try_again_later()
                node, path = 0, ROOT
            code, why, fix = problem_of(error, reading=False)
            # A local edit got in between: the scan that looks there is on its way, so the next try is close.
            retry_s = RACE_RETRY_S if isinstance(error, (*OVERTAKEN, NameTaken)) else RETRY_S
            counts.db_note_problem(self._store.connection, node, path, code, why, fix, self._clock.now(), retry_s)

    async def _after_failure(self, staging: Staging) -> None:
        assert staging.error is not None
        failed = Committed(failed=[(staging.want.node, staging.want.path, staging.error)])
        await self._db(self._note_failures, failed)
        # It may have its name already: that is found out before the next look at the disk.
        self._ground.is_recovered = False
        if staging.is_complete:
            self._ground.look_again([staging.want.path])
        self._ground.wake_plan()
