"""Limits of speed in force, on virtual time."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from syncd.daemon.pacing import Pace, Pacer
from syncd.engine.limits import Limits, Speed, local_time, parse_limits
from tests.helpers.tasks import SimClock

RATE = 1_000_000
OVER_S = 20.0
ACCURACY = 0.1


async def passed_within(pacer: Pacer, seconds: float, size: int, takers: int) -> int:
    """Bytes that several takers get through in that time."""
    passed = 0

    async def take() -> None:
        nonlocal passed
        while True:
            await pacer.take(size)
            passed += size

    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for _ in range(takers):
                nursery.start_soon(take)
    return passed


@pytest.mark.parametrize("takers", [1, 8])
@pytest.mark.parametrize("size", [1_000, 65_536, 262_144])
async def test_limit_is_kept_within_a_tenth_over_twenty_seconds(
    autojump_clock: MockClock, size: int, takers: int
) -> None:
    pacer = Pacer()
    pacer.set(RATE)
    passed = await passed_within(pacer, OVER_S, size, takers)
    assert passed / (OVER_S * RATE) == pytest.approx(1, abs=ACCURACY)


async def test_quiet_time_is_not_saved_up(autojump_clock: MockClock) -> None:
    pacer = Pacer()
    pacer.set(RATE)
    await trio.sleep(3600)
    assert await passed_within(pacer, 1.0, 10_000, 1) <= 2.1 * RATE


async def test_without_a_limit_nobody_waits(autojump_clock: MockClock) -> None:
    pacer = Pacer()
    began = trio.current_time()
    await pacer.take(1 << 40)
    assert trio.current_time() == began


async def test_new_limit_holds_for_who_waits(autojump_clock: MockClock) -> None:
    pacer = Pacer()
    pacer.set(RATE)
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pacer.take, 3600 * RATE)
        await trio.sleep(1)
        pacer.set(None)
    assert trio.current_time() - began == pytest.approx(1.0)


async def test_pause_lets_nothing_pass_until_it_ends(autojump_clock: MockClock) -> None:
    pacer = Pacer()
    pacer.set(0)
    assert await passed_within(pacer, 3600.0, 1, 4) == 0
    pacer.set(None)
    await pacer.take(1)


async def test_schedule_is_put_in_force_when_its_time_comes(autojump_clock: MockClock) -> None:
    clock = SimClock()
    begin, end = (local_time(clock.now() + hours * 3600) for hours in (1, 2))
    pace = Pace(parse_limits("none", "2MB/s", [f"{begin:%H:%M}-{end:%H:%M} up=pause"]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pace.run, clock)
        await trio.sleep(1)
        assert (pace.up.rate, pace.down.rate) == (None, 2_000_000)
        await trio.sleep(3600)
        assert (pace.up.rate, pace.down.rate) == (0, 2_000_000)
        await trio.sleep(3600)
        assert pace.up.rate is None
        pace.set_limits(Limits(Speed(RATE, None)))
        await trio.sleep(0.1)
        assert [pace.up.rate, pace.down.rate] == [RATE, None]
        nursery.cancel_scope.cancel()
