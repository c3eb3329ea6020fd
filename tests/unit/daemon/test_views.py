"""What `status` says of a folder."""

from __future__ import annotations

import pytest

from syncd.daemon.views import moment


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
