"""How members are listed."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest

from syncd.cli.members import member_lines

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
