"""Blocking. A thousand removals and five hundred partition schedules among whole daemons on virtual time."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

from tests.helpers.computers import Disappointment
from tests.helpers.progress import Progress
from tests.simulation.removing import CUT_S, run_partitions, run_removals

CLAIM = (
    "In 1,000 removals of a linked member everybody cuts it off within 5 s and it gets 0 bytes of content afterwards; "
    "in 500 partition schedules nothing written by who knows of a removal ever reaches the removed device"
)

Found = TypeVar("Found")

REMOVALS, ROUNDS, SCHEDULES = 1_000, 20, 500


def prove(place: Path) -> str:
    """`JOBS` in the environment: how many processes."""
    jobs = int(os.environ.get("JOBS") or 2)
    progress = Progress("removals")
    with ProcessPoolExecutor(jobs) as pool:
        removals = _all(pool, progress, "removals", _removals, REMOVALS // ROUNDS)
        schedules = _all(pool, progress, "partitions", _schedule, SCHEDULES)
    failed = [one for one in (*removals, *schedules) if isinstance(one, str)]
    if failed:
        raise Disappointment(f"{len(failed)} of {len(removals) + len(schedules)} runs failed, first: {failed[0]}")
    cuts = sorted(cut for found in removals if isinstance(found, list) for cut in found)
    secrets = sum(one for one in schedules if isinstance(one, int))
    late = cuts[int(len(cuts) * 0.99)]
    if len(cuts) != REMOVALS or late > CUT_S:
        raise Disappointment(f"{len(cuts)} removals, 99 of 100 cut within {late:.2f} s")
    return (
        f"{len(cuts)} removals: 99 of 100 cut within {late:.2f} virtual s, all within {cuts[-1]:.2f}; "
        f"{SCHEDULES} schedules with {secrets} files by who knew of the removal, none of them with the removed"
    )


def _all(pool: Executor, progress: Progress, kind: str, work: Callable[[int], Found], count: int) -> list[Found]:
    """What was found for each seed, now or before an interruption."""
    missing = [seed for seed in range(count) if f"{kind} {seed}" not in progress.done]
    for seed, found in zip(missing, pool.map(work, missing), strict=True):
        progress.note(f"{kind} {seed}", found)
    return [progress.done[f"{kind} {seed}"] for seed in range(count)]


def _removals(seed: int) -> list[float] | str:
    try:
        return run_removals(seed, ROUNDS).cut_s
    except Exception as error:
        return f"removals, seed {seed}: {error!r}"[:300]


def _schedule(seed: int) -> int | str:
    try:
        return run_partitions(seed)
    except Exception as error:
        return f"partitions, seed {seed}: {error!r}"[:300]
