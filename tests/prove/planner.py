"""Blocking. The planner reaches every goal from every disk, in a million cases drawn by chance."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.helpers.computers import Disappointment
from tests.helpers.ledger import Ledger, version_of
from tests.property.test_plan import MOST_ROUNDS, play

CLAIM = "From three perturbed trees, 1,000,000 times, the planner reaches its goal within 200 rounds"

CASES = 1_000_000
PART = 10_000
SOURCES = ("syncd/engine/plan.py", "tests/helpers/planning.py", "tests/property/test_plan.py")


def run_part(start: int) -> dict[str, object]:
    """Some cases: the most rounds that one took, and the seeds of those that did not end."""
    most, failed = 0, []
    for seed in range(start, start + PART):
        try:
            most = max(most, play(seed))
        except AssertionError as error:
            failed.append(f"{seed}: {error}"[:300])
    return {"most": most, "failed": failed}


def prove(place: Path) -> str:
    ledger = Ledger(place.parent / "planner.ledger", version_of(SOURCES))
    parts = [start for start in range(0, CASES, PART) if str(start) not in ledger.done]
    with ProcessPoolExecutor(int(os.environ.get("JOBS") or 2)) as pool:
        for start, result in zip(parts, pool.map(run_part, parts), strict=True):
            ledger.add(str(start), result)
    failed = [line for entry in ledger.done.values() for line in entry["failed"]]
    if failed:
        raise Disappointment(f"{len(failed)} of {CASES} cases do not end within {MOST_ROUNDS} rounds: {failed[0]}")
    most = max(entry["most"] for entry in ledger.done.values())
    return f"{CASES} cases, at most {most} rounds"
