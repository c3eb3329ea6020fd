"""Blocking. Every state in which a power cut can leave a computer that publishes, or carries out, up to three things
that people do: nothing is half or lost in it, and brought to life it comes to the right end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.helpers.computers import Disappointment
from tests.helpers.crashes import Workload, try_workload, workloads
from tests.helpers.ledger import Ledger, version_of

CLAIM = (
    "In 20,000 different states, or more, in which power cuts leave a disk and its database, in all workloads of up to "
    "3 operations, nothing is half, nothing is lost, and what was begun ends"
)

LEAST = 20_000
MOST_DEEDS = 3
SOURCES = (
    "syncd/store/*.py",
    "syncd/engine/plan.py",
    "syncd/folder/applying.py",
    "syncd/folder/finishing.py",
    "syncd/folder/keeping.py",
    "tests/helpers/crashes.py",
    "tests/helpers/sim*.py",
    "tests/helpers/tasks.py",
)


def try_one(workload: Workload) -> dict[str, object]:
    verdict = try_workload(workload)
    if verdict is None:
        return {"states": 0, "cuts": 0, "bad": [], "impossible": True}
    return {"states": verdict.states, "cuts": verdict.cuts, "bad": [one[:500] for one in verdict.bad]}


def prove(place: Path) -> str:
    ledger = Ledger(place.parent / "crash_states.ledger", version_of(SOURCES))
    wanted = list(workloads(MOST_DEEDS))
    open_ones = [workload for workload in wanted if workload.name not in ledger.done]
    for number, (workload, result) in enumerate(tried(open_ones), 1):
        ledger.add(workload.name, result)
        if number % 50 == 0:
            print(f"  {len(ledger.done)} of {len(wanted)} workloads: {summary(ledger)}", flush=True)
    bad = [words for entry in ledger.done.values() for words in entry["bad"]]
    if bad:
        raise Disappointment(f"{len(bad)} bad states ({summary(ledger)}): {bad[0]}")
    states = sum(entry["states"] for entry in ledger.done.values())
    if states < LEAST:
        raise Disappointment(f"only {states} states")
    return f"{summary(ledger)}, 0 bad"


def tried(open_ones: list[Workload]) -> Iterator[tuple[Workload, dict[str, object]]]:
    with ProcessPoolExecutor(int(os.environ.get("JOBS") or 2)) as pool:
        yield from zip(open_ones, pool.map(try_one, open_ones), strict=True)


def summary(ledger: Ledger) -> str:
    entries = ledger.done.values()
    possible = sum(not entry.get("impossible") for entry in entries)
    states, cuts = (sum(entry[what] for entry in entries) for what in ("states", "cuts"))
    return f"{states:,} different states after {cuts:,} power cuts in {possible:,} workloads"
