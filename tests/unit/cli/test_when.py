"""Moments as people type them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from syncd.cli.when import parse_when

NOW = datetime(2031, 5, 1, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("now", "2031-05-01T12:30:00"),
        ("2h", "2031-05-01T10:30:00"),
        ("1.5h ago", "2031-05-01T11:00:00"),
        ("90s", "2031-05-01T12:28:30"),
        ("7d", "2031-04-24T12:30:00"),
        ("yesterday", "2031-04-30T23:59:59"),
        ("10:04", "2031-05-01T10:04:00"),
        ("10:04:59", "2031-05-01T10:04:59"),
        ("13:00", "2031-04-30T13:00:00"),
        ("2031-03-02", "2031-03-02T23:59:59"),
        ("2031-03-02 10:04:59", "2031-03-02T10:04:59"),
        ("2031-03-02T10:04:59Z", "2031-03-02T10:04:59"),
        ("2031-03-02T10:04:59+02:00", "2031-03-02T08:04:59"),
    ],
)
def test_moment_is_understood(typed: str, meant: str) -> None:
    assert datetime.fromtimestamp(parse_when(typed, NOW, UTC), UTC) == datetime.fromisoformat(meant).replace(tzinfo=UTC)


def test_local_times_are_those_of_the_zone_also_when_the_clock_is_changed() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    winter, summer = (parse_when(f"2031-{month}-10 12:00", NOW, berlin) for month in ("01", "07"))
    assert datetime.fromtimestamp(winter, UTC).hour == 11
    assert datetime.fromtimestamp(summer, UTC).hour == 10
    assert parse_when("2028-02-29", NOW, timezone(timedelta(hours=1))) % 86400 == 86400 - 3600 - 1


@pytest.mark.parametrize("typed", ["", "soon", "25:00", "2031-02-30", "-2h", "2y", "10:04:5x"])
def test_what_is_no_moment_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_when(typed, NOW, UTC)
