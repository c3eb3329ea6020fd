"""Limits of speed: how they are written, and which of them holds when."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from syncd.engine.limits import NO_LIMITS, Limits, Speed, parse_limits, parse_rate

MONDAY = datetime.fromisoformat("2026-11-23")


SCHEDULE = ("fri-mon 23:30-01:15 up=none", "wed 00:00-12:00 down=pause", "10:00-11:00 up=pause")


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """A local time in the week of 23 November 2026; day 0 is Monday."""
    return MONDAY.replace(day=MONDAY.day + day, hour=hour, minute=minute)


@pytest.mark.parametrize(
    ("typed", "rate"),
    [
        ("none", None),
        ("", None),
        ("pause", 0),
        ("500kB/s", 500_000),
        ("1.5 MB/s", 1_500_000),
        ("20 Mbit/s", 2_500_000),
        ("16000 B/s", 16_000),
        ("1GB/s", 10**9),
    ],
)
def test_speed_as_people_write_it(typed: str, rate: int | None) -> None:
    assert parse_rate(typed) == rate


@pytest.mark.parametrize("typed", ["5", "5 MB", "fast", "-1 MB/s", "1 kB/s", "0 MB/s", "1 TB/s", "1,5 MB/s"])
def test_what_is_no_speed_is_refused_with_an_example(typed: str) -> None:
    with pytest.raises(ValueError, match="kB/s"):
        parse_rate(typed)


@pytest.mark.parametrize(
    "typed",
    ["", "mon-fri", "08:00-18:00", "mon 8-18 up=pause", "mond 08:00-18:00 up=pause", "mon 25:00-26:00 up=pause",
     "mon 08:00-18:60 up=pause", "mon 08:00-18:00 left=pause", "mon 08:00-18:00 up=fast", "08:00-18:00 up=pause now"],
)  # fmt: skip
def test_what_is_no_window_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_limits("none", "none", [typed])


def test_first_window_that_fits_counts_and_the_rest_is_as_always() -> None:
    limits = parse_limits("2 MB/s", "none", ["mon-fri 08:00-18:00 up=500kB/s", "mon 00:00-24:00 down=pause"])
    assert limits.at(at(0, 7, 59)) == Speed(2_000_000, 0)
    assert limits.at(at(0, 8)) == Speed(500_000, None)
    assert limits.at(at(0, 18)) == Speed(2_000_000, 0)
    assert limits.at(at(5, 12)) == Speed(2_000_000, None)


def test_window_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    limits = parse_limits("none", "none", ["sat-sun 22:00-06:00 up=pause"])
    paused = [(day, hour) for day in range(7) for hour in range(24) if limits.at(at(day, hour)).up == 0]
    assert paused == [
        *((0, hour) for hour in range(6)),
        *((5, hour) for hour in (22, 23)),
        *((6, hour) for hour in (0, 1, 2, 3, 4, 5, 22, 23)),
    ]


@pytest.mark.parametrize(
    ("now", "change"),
    [
        (at(0, 7), at(0, 8)),
        (at(0, 8), at(0, 18)),
        (at(4, 18), MONDAY.replace(day=30, hour=8)),
    ],
)
def test_next_change(now: datetime, change: datetime) -> None:
    limits = parse_limits("none", "none", ["mon-fri 08:00-18:00 up=pause"])
    assert limits.next_change(now) == change


@pytest.mark.parametrize(
    "limits", [NO_LIMITS, Limits(Speed(1, 1)), parse_limits("pause", "none", ["00:00-24:00 up=pause"])]
)
def test_what_never_changes_has_no_next_change(limits: Limits) -> None:
    assert limits.next_change(at(2, 3)) is None


def test_every_minute_agrees_with_the_next_change() -> None:
    """Between now and the next change nothing else holds, and at the change something does."""
    limits = parse_limits("1MB/s", "none", SCHEDULE)
    for day in range(7):
        for hour in range(24):
            now = at(day, hour, 17)
            change = limits.next_change(now)
            assert change is not None
            minutes = int((change - now).total_seconds()) // 60
            passed = [now + timedelta(minutes=minute) for minute in range(minutes)]
            assert {limits.at(moment) for moment in passed} == {limits.at(now)}
            assert limits.at(change) != limits.at(now)


def test_limits_of_single_folders_and_peers_may_have_blanks_in_their_names() -> None:
    lines = ["folder My photos up=500kB/s down=pause", "peer ben down=8Mbit/s", "folder up=1 up=1MB/s"]
    found = parse_limits("none", "none", [], lines).only
    assert [(one.kind, one.name, one.speed) for one in found] == [
        ("folder", "My photos", Speed(500_000, 0)),
        ("peer", "ben", Speed(None, 1_000_000)),
        ("folder", "up=1", Speed(1_000_000, None)),
    ]


@pytest.mark.parametrize("typed", ["folder up=1MB/s", "file x up=1MB/s", "peer ben", "peer ben up=fast", "", "peer"])
def test_what_is_no_limit_of_one_is_refused_with_an_example(typed: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_limits("none", "none", [], [typed])
