"""A rename of which a watch tells one name later than the other, as on a machine that has much to do."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from syncd.store import rows
from syncd.treetypes import ROOT, Change, RawEvent
from tests.helpers.tasks import World

OTHER = (b"other",)
RENAMED = (*OTHER, b"renamed")


@pytest.mark.parametrize("late_s", [0.5, None])
async def test_rename_of_which_a_watch_tells_the_other_name_late_is_no_deletion(
    late_s: float | None, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine that has much to do. What went out of the folder is gone all the same, a moment later."""
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        ann.disk.mkdir(OTHER)
        ann.disk.write((b"plan",), b"the plan")
        await world.settle()
        [before] = rows.read(ann.task.store.connection, "WHERE l_name=?", (b"plan",))
        with monkeypatch.context() as deaf:
            deaf.setattr(ann.disk, "emit_raw", lambda event: None)
            ann.disk.rename((b"plan",), RENAMED)
            if late_s is None:
                ann.disk.delete(RENAMED)
        ann.disk.emit_raw(RawEvent(Change.DONE, ROOT, b"plan", 7))
        if late_s is not None:
            await trio.sleep(late_s)
            ann.disk.emit_raw(RawEvent(Change.DONE, OTHER, b"renamed", 7))
        await world.settle()
        assert bob.disk.contents() == {OTHER: None} | ({} if late_s is None else {RENAMED: b"the plan"})
        if late_s is not None:
            [after] = rows.read(ann.task.store.connection, "WHERE l_name=?", (b"renamed",))
            assert after.nid == before.nid
