"""How members are listed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from syncd.cli.members import end_of, member_lines
from syncd.errors import SyncdError

ANNA: dict[str, Any] = {
    "id": "3b6dcd3a5245e1b3",
    "name": "anna",
    "role": "viewer",
    "status": "active",
    "since": "2026-11-22T13:50:52Z",
    "until": None,
    "devices": [],
}


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({}, "viewer  "),
        ({"until": "2031-05-01T10:04:00Z"}, "viewer, until 2031-05-01 10:04"),
        ({"status": "suspended", "until": "2031-05-01T10:04:00Z"}, "viewer, suspended  "),
    ],
)
def test_end_of_a_membership_is_shown_as_long_as_it_is_to_come(changed: dict[str, Any], shown: str) -> None:
    assert shown in member_lines([{**ANNA, **changed}], UTC)[1]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("2031-05-01", datetime(2031, 5, 1, tzinfo=UTC)),
        ("2031-05-01T10:00", datetime(2031, 5, 1, 10, tzinfo=UTC)),
        ("2031-05-01T10:00+02:00", datetime(2031, 5, 1, 8, tzinfo=UTC)),
    ],
)
def test_end_of_a_membership_is_the_moment_that_was_typed(typed: str, meant: datetime) -> None:
    assert end_of(typed) == meant.timestamp()
    assert end_of("never") is None


@pytest.mark.parametrize("typed", ["99999d", "9999-01-01", "1800-01-01", "2026-02-30", "soon", "-1d"])
def test_end_that_nobody_can_mean_is_refused_here(typed: str) -> None:
    with pytest.raises(SyncdError) as refused:
        end_of(typed)
    assert refused.value.id == "SY-USE-01" and refused.value.fix
