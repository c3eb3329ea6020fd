"""Limits of speed in force, on virtual time."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from ca.ids import DeviceId
from syncd.engine.limits import Limits, Speed, local_time, parse_limits
from syncd.folder.pacing import Pace, Pacer, Pacers
from tests.helpers.tasks import SimClock

RATE = 1_000_000
BEN, CARLA = DeviceId(b"b" * 32), DeviceId(b"c" * 32)
OVER_S = 20.0
ACCURACY = 0.1


async def passed_within(pacer: Pacer | Pacers, seconds: float, size: int, takers: int) -> int:
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


def only(*lines: str, up: str = "none") -> Pace:
    pace = Pace(parse_limits(up, "none", [], lines))
    pace.names_of = lambda device: {"ben", "laptop"} if device == BEN else {"carla"}
    return pace


@pytest.mark.parametrize("line", ["folder Photos up=1MB/s", "peer ben up=1MB/s", "peer laptop up=1MB/s"])
async def test_limit_of_one_folder_or_peer_is_kept_within_a_tenth(autojump_clock: MockClock, line: str) -> None:
    pace = only(line)
    assert await passed_within(pace.of("Photos").up(BEN), OVER_S, 65_536, 3) / (OVER_S * RATE) == pytest.approx(
        1, abs=ACCURACY
    )
    free = pace.of("Notes").up(CARLA)
    assert free.rate is None
    await free.take(1 << 40)


async def test_several_limits_hold_together_and_all_share_the_one_for_everything(autojump_clock: MockClock) -> None:
    pace = only("folder Photos up=1MB/s", "peer ben up=250kB/s")
    pace.up.set(500_000)
    assert pace.of("Photos").up(BEN).rate == 250_000
    assert await passed_within(pace.of("Photos").up(BEN), OVER_S, 10_000, 2) == pytest.approx(5e6, rel=ACCURACY)
    assert await passed_within(pace.of("Photos").up(CARLA), OVER_S, 10_000, 2) == pytest.approx(1e7, rel=ACCURACY)


async def test_limit_that_is_taken_away_lets_those_go_on_who_wait(autojump_clock: MockClock) -> None:
    pace = only("peer ben down=pause")
    pacers = pace.of("Photos").down(BEN)
    with trio.move_on_after(60) as patience:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pacers.wait_open)
            await trio.sleep(5)
            pace.set_limits(parse_limits("none", "none", []))
    assert not patience.cancelled_caught and pace.of("Photos").down(BEN).rate is None


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
