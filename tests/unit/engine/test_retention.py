"""What is promised is kept: in every tier, across changes of the clock and leap days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.engine.retention import (
    DAY_S,
    DEFAULT,
    MAX_DAYS,
    Policy,
    Step,
    Tier,
    ladder,
    parse_tiers,
    promise,
    settings_of,
    show_tiers,
    tiers_untrusted,
)

BERLIN = ZoneInfo("Europe/Berlin")


def ms(text: str, zone: object = UTC) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("step", "now", "zone", "ends"),
    [
        (Step.HOUR, "2031-05-01T12:30", UTC, ["2031-05-01T12:00", "2031-05-01T11:00", "2031-05-01T10:00"]),
        (Step.DAY, "2031-05-01T12:30", UTC, ["2031-05-01", "2031-04-30", "2031-04-29"]),
        (Step.DAY, "2028-03-01T12:30", UTC, ["2028-03-01", "2028-02-29", "2028-02-28"]),
        (Step.DAY, "2031-03-31T12:00", BERLIN, ["2031-03-31", "2031-03-30", "2031-03-29"]),
        (Step.DAY, "2031-10-27T12:00", BERLIN, ["2031-10-27", "2031-10-26", "2031-10-25"]),
        (Step.WEEK, "2031-05-01T12:30", UTC, ["2031-04-28", "2031-04-21", "2031-04-14"]),
        (Step.FORTNIGHT, "2031-05-01T12:30", UTC, ["2031-04-21", "2031-04-07", "2031-03-24"]),
        (Step.MONTH, "2028-03-31T12:30", UTC, ["2028-03-01", "2028-02-01", "2028-01-01"]),
        (Step.YEAR, "2031-05-01T12:30", UTC, ["2031-01-01", "2030-01-01", "2029-01-01"]),
        # the clock goes ahead on 2031-03-30, and back on 2031-10-26
        (Step.WEEK, "2031-04-02T12:00", BERLIN, ["2031-03-31", "2031-03-24", "2031-03-17"]),
        (Step.WEEK, "2031-10-29T12:00", BERLIN, ["2031-10-27", "2031-10-20", "2031-10-13"]),
        (Step.FORTNIGHT, "2031-04-10T12:00", BERLIN, ["2031-04-07", "2031-03-24", "2031-03-10"]),
        (Step.FORTNIGHT, "2031-11-05T12:00", BERLIN, ["2031-11-03", "2031-10-20", "2031-10-06"]),
        (Step.MONTH, "2031-05-01T12:00", BERLIN, ["2031-05-01", "2031-04-01", "2031-03-01"]),
        (Step.MONTH, "2031-11-02T12:00", BERLIN, ["2031-11-01", "2031-10-01", "2031-09-01"]),
        (Step.YEAR, "2032-07-01T12:00", BERLIN, ["2032-01-01", "2031-01-01", "2030-01-01"]),
        # 2028 has a 29th of February
        (Step.HOUR, "2028-03-01T01:30", UTC, ["2028-03-01T01:00", "2028-03-01T00:00", "2028-02-29T23:00"]),
        (Step.WEEK, "2028-03-08T12:00", UTC, ["2028-03-06", "2028-02-28", "2028-02-21"]),
        (Step.FORTNIGHT, "2028-03-15T12:00", UTC, ["2028-03-13", "2028-02-28", "2028-02-14"]),
        (Step.MONTH, "2028-04-01T12:00", BERLIN, ["2028-04-01", "2028-03-01", "2028-02-01"]),
        (Step.YEAR, "2029-02-28T12:00", UTC, ["2029-01-01", "2028-01-01", "2027-01-01"]),
    ],
)
def test_moments_of_a_tier_end_its_buckets(step: Step, now: str, zone: object, ends: list[str]) -> None:
    found = promise([Tier(step, 5000)], ms(now, zone), zone)  # type: ignore[arg-type]
    assert list(islice(reversed(found.moments), 3)) == [ms(end, zone) - 1 for end in ends]


def test_days_of_a_changed_clock_have_23_and_25_hours() -> None:
    for now, hours in (("2031-03-31T12:00", 23), ("2031-10-27T12:00", 25)):
        newest, before = promise([Tier(Step.DAY, 5)], ms(now, BERLIN), BERLIN).moments[-1:-3:-1]
        assert newest - before == hours * 3_600_000


@pytest.mark.parametrize("now", ["2031-03-30T06:30", "2031-10-26T06:30", "2028-03-01T00:30"])
def test_hours_go_on_through_changed_clocks_and_leap_days(now: str) -> None:
    newest = list(islice(reversed(promise([Tier(Step.HOUR, 5)], ms(now, BERLIN), BERLIN).moments), 8))
    assert newest[0] == ms(now, BERLIN) - 1_800_000 - 1
    assert {after - before for after, before in pairwise(newest)} == {3_600_000}


@pytest.mark.parametrize("now", ["2031-03-31T12:00", "2031-10-27T12:00", "2028-03-01T12:00"])
def test_everything_is_everything_of_so_many_times_24_hours(now: str) -> None:
    at = ms(now, BERLIN)
    found = promise([Tier(Step.ALL, 2)], at, BERLIN)
    assert found.since_ms == at - 48 * 3_600_000
    assert found.covers(found.since_ms, found.since_ms + 1)
    assert not found.covers(found.since_ms - 5, found.since_ms)


@pytest.mark.parametrize(("age_days", "kept"), [(89, True), (91, False)])
def test_version_of_day_89_is_kept_and_of_day_91_is_not(age_days: int, kept: bool) -> None:
    now = ms("2031-05-01T12:30")
    ended = now - age_days * DAY_S * 1000
    assert promise([Tier(Step.ALL, 90)], now, UTC).covers(ended - 1000, ended) is kept


def test_what_still_stands_is_always_kept() -> None:
    assert promise([], ms("2031-05-01"), UTC).covers(0, None)


def test_snapshot_keeps_what_stood_then_and_nothing_else() -> None:
    found = promise([], 10_000, UTC, pinned=[5000])
    assert found.covers(5000, 5001)
    assert found.covers(4000, 6000)
    assert not found.covers(5001, 6000)
    assert not found.covers(4000, 5000)


STEPS = st.builds(Tier, st.sampled_from(Step), st.integers(1, 900))
NOWS = st.integers(ms("1999-01-01"), ms("2060-01-01"))


@given(st.lists(STEPS, max_size=4), NOWS, st.sampled_from([UTC, BERLIN]), st.data())
def test_nothing_inside_the_promise_is_ever_pruned(
    tiers: list[Tier], now: int, zone: object, data: st.DataObject
) -> None:
    """At a promised moment everything that stood is kept, however short it stood and however much came after."""
    found = promise(tiers, now, zone)  # type: ignore[arg-type]
    singles = [st.sampled_from(found.moments)] if found.moments else []
    at = data.draw(st.one_of(st.integers(found.since_ms, now), *singles))
    assert found.holds(at)
    begin = at - data.draw(st.integers(0, 10**10))
    end = at + 1 + data.draw(st.integers(0, 10**10))
    assert found.covers(begin, end)
    assert found.covers(begin, None)


@given(st.lists(STEPS, max_size=4), NOWS, st.integers(0, 3 * 365 * DAY_S * 1000), st.sampled_from([UTC, BERLIN]))
def test_what_is_promised_later_was_promised_all_along(
    tiers: list[Tier], now: int, later_by: int, zone: object
) -> None:
    """Pruning goes on day by day: what a coarser tier promises in a year must not have gone in the meantime."""
    early = promise(tiers, now, zone)  # type: ignore[arg-type]
    late = promise(tiers, now + later_by, zone)  # type: ignore[arg-type]
    assert late.since_ms >= early.since_ms
    assert all(early.holds(at) for at in late.moments if at <= now)


@given(st.lists(STEPS, max_size=4), NOWS, st.integers(0, 50 * 365 * DAY_S * 1000), st.integers(1, 10**9))
def test_what_is_pruned_stood_at_no_promised_moment(tiers: list[Tier], now: int, age: int, length: int) -> None:
    found = promise(tiers, now, UTC)
    begin, end = now - age - length, now - age
    if not found.covers(begin, end):
        assert end <= found.since_ms
        assert not [at for at in found.moments if begin <= at < end]


@given(st.lists(STEPS, max_size=4), st.lists(STEPS, max_size=3), NOWS)
def test_however_short_space_is_the_floor_stays(tiers: list[Tier], floor: list[Tier], now: int) -> None:
    policy = Policy(tuple(tiers), tuple(floor))
    rungs = list(ladder(policy))
    assert rungs[0] == policy.tiers
    assert rungs[-1] == policy.floor
    least = promise(floor, now, UTC)
    for rung in rungs[1:]:
        found = promise(rung, now, UTC)
        assert found.since_ms <= least.since_ms
        assert set(least.moments) <= set(found.moments)


def test_default_keeps_all_of_90_days_and_a_day_of_each_of_a_year() -> None:
    now = ms("2031-05-01T12:30")
    found = promise(DEFAULT.tiers, now, UTC)
    assert found.since_ms == now - 90 * DAY_S * 1000
    day = datetime(2030, 8, 1, tzinfo=UTC)
    assert found.holds(int((day + timedelta(days=1)).timestamp() * 1000) - 1)


def test_tiers_are_written_and_read() -> None:
    assert parse_tiers("all 90d, daily 1y, biweekly 2w") == (
        Tier(Step.ALL, 90), Tier(Step.DAY, 365), Tier(Step.FORTNIGHT, 14),
    )  # fmt: skip
    assert parse_tiers(show_tiers(DEFAULT.tiers)) == DEFAULT.tiers


@pytest.mark.parametrize("text", ["", "all", "all 90", "sometimes 3d", "all -1d", "all 0d", "daily 101y", "all 3h"])
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_tiers(text)


@given(st.lists(STEPS, max_size=7, unique_by=lambda tier: tier.step))
def test_what_a_roster_asks_for_comes_back_as_it_was_asked(tiers: list[Tier]) -> None:
    assert set(tiers_untrusted(dict(settings_of(tiers)))) == set(tiers)


@given(st.dictionaries(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), st.lists(STEPS, max_size=4), NOWS)
def test_whatever_a_roster_asks_for_nothing_is_let_go_because_of_it(
    settings: dict[int, int], own: list[Tier], now: int
) -> None:
    asked = tiers_untrusted(settings)
    alone, together = promise(own, now, UTC), promise([*own, *asked], now, UTC)
    assert together.since_ms <= alone.since_ms
    assert set(alone.moments) <= set(together.moments)
    assert all(0 < tier.days <= MAX_DAYS for tier in asked)
