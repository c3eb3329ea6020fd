"""Stories that found something which no other test had."""

from __future__ import annotations

import pytest

from tests.simulation.story import run_seed


@pytest.mark.parametrize(
    "seed",
    [2011],  # a directory took the mode of one that another had made, and an attribute of its own was never told
)
def test_story_ends_well_now(seed: int) -> None:
    assert not (why := run_seed(seed).why), why
