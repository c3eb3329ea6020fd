"""Blocking. `make simulate`: whole daemons and their users through random troubles, one history for each seed.

The claim of every seed: in the end all say that they are in sync and have the same tree, and whatever anybody wrote,
and nobody gave up who had seen it, is with everybody. One seed in ten is told twice, and must give the same history. A
failure prints the seed, what differed and the last events; `make simulate FIRST=seed SEEDS=1` tells that story again.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.story import CLAIM, Outcome, run_seed


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
    outcomes = []
    with ProcessPoolExecutor(jobs) as pool:
        for outcome in pool.map(run_seed, range(first, first + seeds)):
            report(outcome)
            outcomes.append(outcome)
    failed = [outcome.seed for outcome in outcomes if outcome.why]
    simulated_s, real_s = sum(outcome.virtual_s for outcome in outcomes), time.perf_counter() - began
    print(
        f"{seeds - len(failed)} of {seeds} seeds: {CLAIM}. {simulated_s:.0f} simulated seconds in {real_s:.1f} s, "
        f"{simulated_s / real_s:.0f} per second"
    )
    if failed:
        print(f"failed: {' '.join(map(str, failed))}; again: make simulate SEEDS=1 FIRST={failed[0]}")
    return 1 if failed else 0


def setting(name: str, default: int) -> int:
    """A number from the environment, as make passes it on."""
    return int(os.environ.get(name) or default)


if __name__ == "__main__":
    sys.exit(main(setting("FIRST", 1), setting("SEEDS", 20), setting("JOBS", 2)))
