"""History costs what was changed, and once what it was changed in: the small version of what `make prove` does with a
large folder for a month."""

from __future__ import annotations

import pytest

from tests.prove.history_cost import MIB, measure

pytestmark = pytest.mark.slowest


def test_a_day_of_hourly_changes_costs_the_files_they_were_in_and_the_blocks_around_them() -> None:
    """Of a folder this small all that was there is packed once, and every stretch of 160 KiB costs a block or two."""
    cost = measure(files=16, file_bytes=MIB, hours=24)
    assert cost.changed == 24 * (16 * MIB // 100)
    assert cost.packs + cost.rows < 16 * MIB + 24 * MIB
    assert len(cost.pictures) == 12
