"""What one person does alone is never changed on that person's disk, and comes to all others."""

from __future__ import annotations

import pytest

from tests.helpers.simulation import simulate
from tests.simulation.alone import measures_of, tell


@pytest.mark.parametrize("seed", [8, 9, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 4, 5, 7, 11, 16))])
def test_nothing_is_done_on_the_disk_of_who_alone_has_changed_anything(seed: int) -> None:
    simulate(tell, seed, measures=measures_of(seed))
