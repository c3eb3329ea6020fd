"""Stories that found something which no other test had."""

from __future__ import annotations

import pytest

from tests.simulation.story import run_seed


@pytest.mark.parametrize(
    "seed",
    [
        58,  # a file whose attributes came from who had a directory there kept two mtimes
        531,  # an error of a stat on the way to a name that a watch told was taken for another directory
        853,  # a file that was moved, and deleted while it was looked into, stayed in the rows
        915,  # what was in `.syncd/old` when the database was lost was told to nobody
        1275,  # on a disk that folds case two names woke each other for ever
        2011,  # a directory took the mode of one that another had made, and an attribute of its own was never told
        1595,  # what was staged beside a flush that failed counted as saved
        2294,  # a new numbering that began while somebody waited was not told from its beginning
        3995,  # two files to change names, each with a problem because of the other, waited for ever
        333,  # who looked for what nobody has just when all were asked once more waited for ever
        1177,  # a no brought a content back that nobody had, in the place of one that all had
        3009,  # the same, as a peer said that it had what had gone from it
        20174,  # a file and its conflict copy changed names, and what the copy had held was given up
    ],
)
def test_story_ends_well_now(seed: int) -> None:
    assert not (why := run_seed(seed).why), why
