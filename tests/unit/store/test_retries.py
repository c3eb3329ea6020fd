"""When a node with a problem is planned again."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from syncd.store.counts import MAX_RETRY_S, db_next_retry, db_note_problem
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
