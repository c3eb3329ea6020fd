"""Async. `make simulate`: three whole daemons and their users through random troubles, one history for each seed.

The claim of every seed: in the end all say that they are in sync and have the same tree, and whatever anybody wrote,
and nobody gave up who had seen it, is with everybody. One seed in ten is told twice, and must give the same history. A
failure prints the seed, what differed and the last events; `make simulate FIRST=seed SEEDS=1` tells that story again.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from random import Random

import trio

from tests.helpers.simulation import DAY_S, SimComputer, Simulation, simulate
from tests.helpers.users import Book

CLAIM = "everybody converges and no version is lost"
ROUNDS = 4
TOLD_TWICE = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one seed. `why` is empty when the claim held."""

    seed: int
    virtual_s: float
    real_s: float
    events: int
    connections: int
    why: str = ""


# --- troubles --------------------------------------------------------------------------------------------------------


async def nothing(simulation: Simulation, chance: Random) -> None:
    """Everybody works."""
    await simulation.be_busy(simulation.computers, 4)


async def partition(simulation: Simulation, chance: Random) -> None:
    """One cannot reach the others for a while, all work on."""
    alone = chance.choice(simulation.computers)
    simulation.internet.partition([alone.name], [one.name for one in simulation if one is not alone])
    await simulation.be_busy(simulation.computers, 4, pause_s=10)
    simulation.internet.heal()


async def cuts(simulation: Simulation, chance: Random) -> None:
    """Connections are reset again and again."""
    for _ in range(3):
        await simulation.be_busy(simulation.computers, 1)
        simulation.internet.cut(chance.choice(simulation.computers).name)


async def power_cut(simulation: Simulation, chance: Random) -> None:
    """One loses its power in the middle of something; the others work on, and it comes back."""
    unlucky, *others = chance.sample(simulation.computers, len(simulation.computers))
    simulation.act(simulation.computers, 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(unlucky.crash_within, 200)
        await simulation.be_busy(others, 3)
    await simulation.start(unlucky)


async def rest(simulation: Simulation, chance: Random) -> None:
    """One daemon is stopped and started; people work on everywhere meanwhile."""
    tired = chance.choice(simulation.computers)
    await tired.stop()
    await simulation.be_busy(simulation.computers, 3)
    await simulation.start(tired)


async def wrong_clock(simulation: Simulation, chance: Random) -> None:
    """One clock is set wrong by days, and right again."""
    confused = chance.choice(simulation.computers)
    confused.clock.ahead_s = chance.uniform(-1.5, 30) * DAY_S
    await simulation.be_busy(simulation.computers, 4)
    confused.clock.ahead_s = 0.0


TROUBLES: tuple[Callable[[Simulation, Random], Awaitable[None]], ...] = (
    nothing,
    partition,
    cuts,
    power_cut,
    rest,
    wrong_clock,
)


# --- a story ---------------------------------------------------------------------------------------------------------


async def tell(simulation: Simulation) -> None:
    """They share, are troubled, converge; then one is removed, and the others go on without."""
    chance = Random(simulation.seed)
    await simulation.share_with_all()
    await check(simulation, simulation.computers)
    for _ in range(ROUNDS):
        trouble = chance.choice(TROUBLES)
        simulation.trace.note("story", trouble.__name__)
        await trouble(simulation, chance)
        if chance.random() < 0.5:
            await check(simulation, simulation.computers)
    await check(simulation, simulation.computers)
    first, *rest, last = simulation.computers
    await first.call("member.remove", folder="Photos", member=last.name)
    simulation.act([last], 3, Book())
    await simulation.be_busy([first, *rest], 2)
    await check(simulation, [first, *rest])


async def check(simulation: Simulation, computers: list[SimComputer]) -> None:
    """The claim."""
    await simulation.settle(computers)
    simulation.demand_equal(computers)
    simulation.demand_nothing_lost(computers)


def run_seed(seed: int) -> Outcome:
    """One seed, in this process."""
    began = time.perf_counter()
    try:
        history = simulate(tell, seed)
        if seed % TOLD_TWICE == 0:
            assert simulate(tell, seed).digest == history.digest, f"seed {seed} has two histories"
    except Exception:
        return Outcome(seed, 0.0, time.perf_counter() - began, 0, 0, traceback.format_exc())
    return Outcome(seed, history.virtual_s, history.real_s, history.events, history.connections)


# --- many ------------------------------------------------------------------------------------------------------------


def report(outcome: Outcome) -> None:
    if outcome.why:
        print(outcome.why)
        print(f"seed {outcome.seed}: FAILED after {outcome.real_s:.1f} s", flush=True)
    else:
        print(
            f"seed {outcome.seed}: {outcome.virtual_s:.0f} simulated seconds in {outcome.real_s:.1f} s, "
            f"{outcome.events} events, {outcome.connections} connections",
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
