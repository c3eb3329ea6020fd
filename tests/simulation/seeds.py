"""Blocking. The seeds that every run of the tests tells: 200 stories, in two files of tests, one for each worker."""

from __future__ import annotations

from tests.simulation.story import run_seed

SEEDS = 200
CHUNK = 10


def chunks(part: int, parts: int) -> range:
    """First seeds of the chunks that belong to one part of all."""
    return range(1 + part * CHUNK, SEEDS, parts * CHUNK)


def hold(first: int) -> None:
    """The claim holds for the seeds of one chunk."""
    failed = [(seed, outcome.why) for seed in range(first, first + CHUNK) if (outcome := run_seed(seed)).why]
    assert not failed, "\n\n".join(f"seed {seed}: {why}" for seed, why in failed)
