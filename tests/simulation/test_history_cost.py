"""History costs little more than what was changed: the small version of what `make prove` does with a large folder."""

from __future__ import annotations

import pytest

from tests.prove.history_cost import MIB, measure

pytestmark = pytest.mark.long


def test_two_days_of_hourly_changes_cost_little_more_than_the_changed_bytes() -> None:
    """Blocks and rows do not shrink with the folder, so the smaller one pays relatively more."""
    cost = measure(files=16, file_bytes=4 * MIB, hours=48)
    assert cost.changed == 48 * (64 * MIB // 100)
    assert cost.ratio < 2
