"""What `status` says of a folder."""

from __future__ import annotations

from datetime import timedelta, timezone

import pytest

from syncd.daemon.views import moment
from syncd.model.changesets import MAX_TIME_MS
from syncd.wording import clock


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, None),
        (0.0, "1970-01-01T00:00:00Z"),
        (1.999, "1970-01-01T00:00:01Z"),
        (-0.5, "1969-12-31T23:59:59Z"),
        (1_795_341_600.25, "2026-11-22T10:00:00Z"),
    ],
)
def test_moment_is_told_in_whole_seconds_that_are_over(seconds: float | None, text: str | None) -> None:
    assert moment(seconds) == text


@pytest.mark.parametrize("seconds", [MAX_TIME_MS / 1000, 2.0**64, 253_402_300_800.0, -(2.0**63), float("inf")])
@pytest.mark.parametrize("hours", [-14, 14])
def test_moment_that_nobody_lives_to_see_is_told_as_one_that_every_place_has(seconds: float, hours: int) -> None:
    """One change that a member dated so took the history, the audit log and the storage view from everybody."""
    text = moment(seconds)
    assert len(clock(text, timezone(timedelta(hours=hours)))) == len("9999-12-30 00:00")
