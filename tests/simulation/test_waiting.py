"""Whatever waits for a person: no two rows ever stand at one name, and who says to be in sync is. `SEEDS` and `FIRST`
in the environment: how many stories, and from which on."""

from __future__ import annotations

import os

import pytest

from tests.simulation.waiting import hold

SEEDS = (2, 5, 9, 17)
_FIRST, _COUNT = int(os.environ.get("FIRST") or 1), int(os.environ.get("SEEDS") or 0)


@pytest.mark.parametrize("seed", range(_FIRST, _FIRST + _COUNT) if _COUNT else SEEDS)
def test_no_two_rows_stand_at_one_name_and_all_end_equal(seed: int) -> None:
    hold(seed)
