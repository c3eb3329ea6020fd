"""Half of the random stories: everybody converges and no version is lost, whatever goes wrong meanwhile."""

from __future__ import annotations

import pytest

from tests.simulation.seeds import chunks, hold

pytestmark = pytest.mark.long


@pytest.mark.parametrize("first", chunks(1, 2))
def test_claim_holds_for_ten_seeds_from(first: int) -> None:
    hold(first)
