"""A folder that stopped: why, what is still answered, and what it gives back."""

from __future__ import annotations

import errno
import time
from pathlib import Path

import pytest

from ca.device import DeviceKeys
from syncd.daemon.running import judge
from syncd.errors import SyncdError
from syncd.store import counts
from syncd.store.tree import DirTree
from syncd.treetypes import NoSpace
from syncd.workers import ThreadWorkers
from tests.helpers.tasks import Members, SeededRandom, SimClock, make_task, open_store


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
