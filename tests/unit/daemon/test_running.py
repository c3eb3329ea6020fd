"""A folder that stopped: why, what is still answered, and what it gives back."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from traceback import walk_tb
from types import SimpleNamespace
from typing import Any, TypeVar, TypeVarTuple, cast

import pytest
import trio

from ca.device import DeviceKeys
from ca.ids import FolderId
from syncd.daemon.devicedb import FolderRow
from syncd.daemon.running import RunningFolder, judge, run_folder
from syncd.errors import SyncdError
from syncd.main import SystemClock
from syncd.seams import Lane
from syncd.store import counts
from syncd.store.tree import DirTree
from syncd.treetypes import NoSpace, RootState
from syncd.workers import ThreadWorkers
from tests.helpers.tasks import Members, SeededRandom, SimClock, make_task, open_store

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_limits_of_the_system_are_no_fault_of_ours_and_pass(number: int) -> None:
    stop = judge(ExceptionGroup("both", [ExceptionGroup("one", [OSError(number, "no more")])]))
    assert (stop.is_bug, stop.why.id) == (False, "SY-DISK-03")
    assert stop.again_s is not None


def test_what_nobody_expected_is_a_fault_and_what_a_disk_says_is_not() -> None:
    assert judge(ExceptionGroup("", [ValueError("x")])).is_bug
    full = judge(ExceptionGroup("", [NoSpace("full", ())]))
    assert (full.is_bug, full.why.id) == (False, "SY-DISK-01")


async def test_what_is_asked_of_a_closed_folder_is_refused_and_no_fault(tmp_path: Path) -> None:
    """Whoever held its task may come a moment too late; the daemon must not end for that."""
    keys = DeviceKeys(bytes([1]) * 32, bytes([2]) * 96, bytes([3]) * 32)
    for name in ("root", "home"):
        (tmp_path / name).mkdir()
    tree = DirTree(bytes(tmp_path / "root"), str(tmp_path / "home"), time.monotonic)
    store = open_store(tree, keys, Members([keys]), SeededRandom("store"), "ann")
    task = make_task(store, ThreadWorkers(), SimClock(), keys, "Photos")
    assert (await task.db(counts.db_counts, store.connection)).files == 0
    await task.close()
    with pytest.raises(SyncdError, match="Photos is not at work") as refused:
        await task.db(counts.db_counts, store.connection)
    assert refused.value.id == "SY-FIND-05"


class Counting(ThreadWorkers):
    """Counts what goes to the rows."""

    visits = 0

    async def run_blocking(
        self, function: Callable[[*Arguments], Result], *arguments: *Arguments, lane: Lane | None = None
    ) -> Result:
        self.visits += lane is not None
        return await super().run_blocking(function, *arguments, lane=lane)


class Noted(trio.TaskStatus[None]):
    """Notes how often the rows were asked when somebody has started."""

    def __init__(self, workers: Counting) -> None:
        self._workers = workers
        self.event = trio.Event()
        self.visits = 0

    def started(self, value: None = None) -> None:
        self.visits = self._workers.visits
        self.event.set()


async def test_start_of_a_folder_asks_its_rows_few_times(tmp_path: Path) -> None:
    """Each time is a way to a thread and back, and a device may have a thousand folders to start."""
    keys = DeviceKeys(bytes([1]) * 32, bytes([2]) * 96, bytes([3]) * 32)
    for name in ("root", "home"):
        (tmp_path / name).mkdir()
    tree = DirTree(bytes(tmp_path / "root"), str(tmp_path / "home"), time.monotonic)
    store = open_store(tree, keys, Members([keys]), SeededRandom("store"), "ann")
    workers = Counting()
    task = make_task(store, workers, SystemClock(), keys, "Photos")
    tree.check_root(None)
    tree.write_marker(task.marker)
    noted = Noted(workers)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(task.run, wait_for_peer=False, task_status=noted))
        await noted.event.wait()
        nursery.cancel_scope.cancel()
    await task.close()
    assert (noted.visits, task.root_state, task.is_recovered) == (1, RootState.OK, True)


async def test_folder_that_is_left_before_it_was_begun_ends_without_a_word_of_a_bug() -> None:
    """A daemon answers while its folders start one by one, so a person can leave one that has its turn later."""
    row, nothing = FolderRow(FolderId(bytes(32)), "Photos", b"/photos", bytes(32), "ann", 0.0), cast(Any, None)
    folder = RunningFolder(row, cast(Any, SimpleNamespace(on_update=[])), nothing, nothing)
    folder.scope.cancel()
    own = cast(Any, SimpleNamespace(workers=ThreadWorkers(), tell_migration=None))
    asked = {"wait_for_peer": False, "attach": nothing, "on_change": lambda: None}
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(run_folder, folder, own, nothing, nothing, nothing, **asked))


def test_reason_of_a_stop_keeps_nothing_of_those_who_were_told_it() -> None:
    """A page that stays open asks every few seconds."""
    stop = SyncdError("the disk failed", id="SY-DISK-03")
    row, nothing = FolderRow(FolderId(bytes(32)), "Photos", b"/photos", bytes(32), "ann", 0.0), cast(Any, None)
    folder = RunningFolder(row, nothing, nothing, nothing, why_stopped=stop)
    lengths = []
    for _ in range(3):
        with pytest.raises(SyncdError) as refused:
            folder.at_work()
        lengths.append(len(list(walk_tb(refused.value.__traceback__))))
    assert lengths[2] == lengths[0]
