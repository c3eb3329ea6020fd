"""When a node with a problem is planned again."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from syncd.folder.applying import RACE_RETRY_S
from syncd.store.counts import MAX_RETRY_S, db_next_retry, db_note_problem
from syncd.treetypes import Path
from tests.helpers.tasks import MOMENT, World


@pytest.mark.parametrize(
    ("later_s", "is_due"), [(0.0, False), (1.0, True), (-30.0, False), (-MAX_RETRY_S, True), (-86_400.0, True)]
)
async def test_try_waits_for_its_time_but_not_for_a_clock_that_was_set_back(
    autojump_clock: MockClock, later_s: float, is_due: bool
) -> None:
    """Noted by a clock that then ran on or was set back: a node is never put off for longer than the longest wait."""
    world = World(["ann", "bob"])
    async with world.running():
        ann = world["ann"]
        ann.disk.write((b"plan",), b"first")
        await world.settle()
        world.cut()
        store = ann.task.store
        (node,) = store.connection.execute("SELECT id FROM node WHERE name=?", (b"plan",)).fetchone()
        store.connection.execute("UPDATE node SET pending=1 WHERE id=?", (node,))
        db_note_problem(store.connection, node, (b"plan",), "SY-FILE-07", "why", "fix", MOMENT, 0.5)
        page, _ = store.db_plan(0, MOMENT + later_s, frozenset())
        assert (page.settled == 1) is is_due
        if not is_due:
            assert db_next_retry(store.connection, MOMENT + later_s) == MOMENT + 0.5


@pytest.mark.parametrize("is_above", [False, True], ids=["a directory at its name", "a file above it"])
async def test_what_takes_a_name_in_that_moment_is_no_trouble_of_the_disk_and_tried_again_soon(
    autojump_clock: MockClock, is_above: bool
) -> None:
    world, taken = World(["ann", "bob"]), list[Path]()
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        path = (b"plans", b"new") if is_above else (b"plan",)
        if is_above:
            ann.disk.mkdir(path[:1])
        else:
            ann.disk.write(path, b"first")
        await world.settle()

        def user(step: str, at: Path) -> None:
            if step in ("create", "exchange") and at == path and not taken:
                taken.append(path)
                bob.disk.delete(path[:1])
                if is_above:
                    bob.disk.write(path[:1], b"a file of bob's")
                else:
                    bob.disk.mkdir(path)

        bob.disk.hook = user
        ann.disk.write(path, b"second")
        told = dict[str, float]()
        for _ in range(100):
            told |= dict(bob.task.store.connection.execute("SELECT code, retry_at-since FROM problem WHERE tries=1"))
            await trio.sleep(0.01)
        assert told.keys() - {"SY-FILE-07"} == {"SY-FILE-03"}
        assert told["SY-FILE-03"] == pytest.approx(RACE_RETRY_S, abs=0.01)
        bob.disk.hook = None
        await world.settle()
        assert ann.disk.contents() == bob.disk.contents()
        assert bob.problems() == []
