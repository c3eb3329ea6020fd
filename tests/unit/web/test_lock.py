"""The PIN at the control socket: which calls it guards, and how guessing is slowed down."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from syncd.errors import TrustError
from syncd.web.lock import Lock
from syncd.web.pin import SALT_BYTES, write_pin
from syncd.workers import ThreadWorkers

PIN = "4711"


@pytest.fixture
def lock(tmp_path: Path) -> Lock:
    write_pin(tmp_path, PIN, bytes(SALT_BYTES))
    return Lock(tmp_path, ThreadWorkers(2), trio.current_time)


@pytest.mark.parametrize(
    ("method", "params"),
    [("pause", {}), ("member.remove", {"dry_run": False}), ("web.pin", {"pin": None}), ("retention", {"keep": "7d"})],
)
async def test_what_changes_something_wants_the_pin(
    lock: Lock, method: str, params: dict[str, object], autojump_clock: MockClock
) -> None:
    with pytest.raises(TrustError) as refused:
        await lock.check(method, params, None)
    assert refused.value.id == "SY-PIN-01"
    await lock.check(method, params, PIN)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("status", {}),
        ("member.remove", {"dry_run": True}),
        ("retention", {"keep": None}),
        ("web", {"read_only": False}),
    ],
)
async def test_what_only_looks_does_not(lock: Lock, method: str, params: dict[str, object]) -> None:
    await lock.check(method, params, None)


async def test_without_a_pin_nothing_is_asked(tmp_path: Path) -> None:
    await Lock(tmp_path, ThreadWorkers(2), trio.current_time).check("pause", {}, None)


async def test_ten_wrong_ones_have_to_wait_and_then_the_right_one_opens(lock: Lock, autojump_clock: MockClock) -> None:
    looked_at = 0
    for _ in range(10):
        with pytest.raises(TrustError) as refused:
            await lock.check("pause", {}, "1470")
        looked_at += "that was not" in refused.value.what
    assert looked_at == 5
    with pytest.raises(TrustError, match="no PIN is looked at now"):
        await lock.check("pause", {}, PIN)
    await trio.sleep(31)
    await lock.check("pause", {}, PIN)
