"""Pure. The planner reaches every goal from every disk: three trees, each some changes away from another."""

from __future__ import annotations

from random import Random

import pytest

from syncd.engine.plan import Kind
from tests.helpers.planning import Disk, Goal, Thing, disk_of, perturb, random_goal, rounds_until_equal

MOST_ROUNDS = 200
CASES = 2_000
CHUNKS = 8


def play(seed: int) -> int:
    """One case: a disk that reached one tree is to become another, and on the way a third. Its rounds."""
    chance = Random(seed)
    size = chance.randint(0, 12)
    base = random_goal(chance, size)
    disk = disk_of(perturb(base, chance, chance.randint(0, 6), 100), chance)
    one = perturb(base, chance, chance.randint(0, 8), 200)
    other = perturb(one, chance, chance.randint(0, 4), 300)
    page = Random(f"page {seed}").choice((None, 1, 2, 5))
    return rounds_until_equal([one, other], disk, chance, MOST_ROUNDS, page)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_three_perturbed_trees_reach_a_fixed_point(chunk: int) -> None:
    for seed in range(chunk, CASES, CHUNKS):
        try:
            play(seed)
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise


@pytest.mark.parametrize("page", [None, 1, 2])
def test_names_that_go_round_in_a_circle_are_swapped(page: int | None) -> None:
    """Also where nodes that wait for each other are on different pages."""
    here = {node: Thing(Kind.FILE, 0, name, node) for node, name in ((1, b"a"), (2, b"b"), (3, b"c"))}
    goal = {node: Thing(Kind.FILE, 0, name, node) for node, name in ((1, b"b"), (2, b"c"), (3, b"a"))}
    disk = Disk(here)
    assert rounds_until_equal([Goal(goal)], disk, Random(1), MOST_ROUNDS, page) <= 5
    assert disk.things == goal
