"""Stories that found something which no other test had."""

from __future__ import annotations

import pytest

from tests.simulation.story import run_seed


@pytest.mark.parametrize(
    "seed",
    [
        58,  # a file whose attributes came from who had a directory there kept two mtimes
        2011,  # a directory took the mode of one that another had made, and an attribute of its own was never told
        20174,  # a file and its conflict copy changed names, and what the copy had held was given up
    ],
)
def test_story_ends_well_now(seed: int) -> None:
    assert not (why := run_seed(seed).why), why
