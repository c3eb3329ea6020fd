"""Blocking. `make simulate`: whole daemons and their users through random troubles, one history for each seed.

What is claimed stands in `claim.py`. One seed in ten is told twice, and must give the same history. A failure prints
the seed, what differed and the last events; `make simulate FIRST=seed SEEDS=1` tells that story again. At the end comes
what was simulated, and how fast, on the workload of docs/simulation.md too.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.simulation.story import CLAIM, Outcome, run_seed
from tests.simulation.workload import measure

TOLD_TWICE = 10


@dataclass(slots=True)
class Sum:
    """What came of many seeds together."""

    seeds: int = 0
    failed: list[int] = field(default_factory=list)
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    conflicts: Counter[str] = field(default_factory=Counter)
    shapes: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        if outcome.why:
            self.failed.append(outcome.seed)
            return
        self.virtual_s += outcome.virtual_s
        self.cpu_s += outcome.cpu_s
        self.faults.update(outcome.faults)
        self.conflicts.update(outcome.conflicts)
        self.shapes.update(outcome.shapes)

    def lines(self) -> Iterator[str]:
        """The statistics, for people."""
        yield f"what went wrong: {_counts(self.faults)}"
        yield f"conflicts seen at the end: {_counts(self.conflicts)}"
        yield f"what the planner asked for: {_counts(self.shapes)}"


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())


def tell_many(seeds: Iterable[int], jobs: int) -> Iterator[Outcome]:
    """Many seeds, `jobs` at a time, in their order."""
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(_run, seeds)


def _run(seed: int) -> Outcome:
    return run_seed(seed, again=seed % TOLD_TWICE == 0)


def report(outcome: Outcome) -> None:
    if outcome.why:
        print(outcome.why)
        print(f"seed {outcome.seed}: FAILED after {outcome.real_s:.1f} s", flush=True)
    else:
        troubles = ", ".join(outcome.faults)
        print(
            f"seed {outcome.seed}: {outcome.virtual_s:.0f} simulated seconds in {outcome.real_s:.1f} s, "
            f"{outcome.events} events; {troubles}",
            flush=True,
        )


def main(first: int, seeds: int, jobs: int) -> int:
    """Run `seeds` seeds from `first`, `jobs` at a time. 1 if the claim did not hold for all."""
    began = time.perf_counter()
    print(f"claim: {CLAIM}; seeds {first} to {first + seeds - 1}, {jobs} at a time", flush=True)
    total = Sum()
    for outcome in tell_many(range(first, first + seeds), jobs):
        report(outcome)
        total.add(outcome)
    real_s = time.perf_counter() - began
    print(*total.lines(), sep="\n")
    print(
        f"{seeds - len(total.failed)} of {seeds} seeds: {CLAIM}. {total.virtual_s:.0f} simulated seconds in "
        f"{real_s:.1f} s: {total.virtual_s / real_s:.0f} per second, "
        f"{total.virtual_s / max(total.cpu_s, 1e-9):.0f} per second of one processor"
    )
    print(measure(jobs))
    if total.failed:
        print(f"failed: {' '.join(map(str, total.failed))}; again: make simulate SEEDS=1 FIRST={total.failed[0]}")
    return 1 if total.failed else 0


def setting(name: str, default: int) -> int:
    """A number from the environment, as make passes it on."""
    return int(os.environ.get(name) or default)


if __name__ == "__main__":
    sys.exit(main(setting("FIRST", 1), setting("SEEDS", 20), setting("JOBS", 2)))
