"""Removals among whole daemons: a handful here, thousands by `make prove ONLY=removals`."""

from __future__ import annotations

import pytest

from tests.simulation.removing import CUT_S, run_partitions, run_removals


def test_removed_member_is_cut_within_seconds_and_gets_nothing_more() -> None:
    found = run_removals(seed=1, rounds=3)
    print(f"cut after {found.cut_s} s")  # noqa: T201
    assert len(found.cut_s) == 3 and max(found.cut_s) <= CUT_S


@pytest.mark.parametrize("seed", range(4))
def test_removed_behind_partitions_gets_nothing_from_who_knows(seed: int) -> None:
    assert run_partitions(seed) >= 0
