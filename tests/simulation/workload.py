"""Async. How fast the simulation is, on the workload of docs/simulation.md: three nodes, 500 files, an operation every
two simulated seconds, nothing going wrong."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from random import Random

import trio

from tests.helpers.simulation import Simulation, simulate

FILES = 500
DIRECTORIES = 20
PERIOD_S = 2.0
LASTS_S = 100.0


def run(seed: int) -> tuple[float, float, float]:
    """The workload once, from the first operation to the last: seconds of a processor, real ones, simulated ones."""
    took: list[tuple[float, float, float]] = []

    async def story(simulation: Simulation) -> None:
        chance = Random(f"workload {seed}")
        first, *others = simulation.computers
        for number in range(DIRECTORIES):
            first.disk.mkdir((b"directory %d" % number,))
        for number in range(FILES):
            path = (b"directory %d" % (number % DIRECTORIES), b"file %d" % number)
            first.disk.write(path, simulation.book.new(first.name, chance))
        first.disk.flush()
        link = await first.share(uses=len(others))
        for other in others:
            await other.join(link)
        await simulation.settle()
        began_cpu, began_real, began = time.process_time(), time.perf_counter(), trio.current_time()
        for _ in range(int(LASTS_S / PERIOD_S)):
            simulation.act([chance.choice(simulation.computers)], 1)
            await trio.sleep(PERIOD_S)
        cpu_s, real_s = time.process_time() - began_cpu, time.perf_counter() - began_real
        took.append((cpu_s, real_s, trio.current_time() - began))
        await simulation.settle()
        simulation.demand_nothing_lost()

    simulate(story, seed)
    return took[0]


def measure(jobs: int) -> str:
    """The workload in as many processes as were asked for, side by side; what that says about the speed, for people."""
    with ProcessPoolExecutor(jobs) as pool:
        took = list(pool.map(run, range(1, jobs + 1)))
    cpu_s, real_s, simulated_s = (sum(values) for values in zip(*took, strict=True))
    return (
        f"workload (three nodes, {FILES} files, an operation every {PERIOD_S:.0f} s): {simulated_s / cpu_s:.0f} "
        f"simulated seconds per second of a processor, {simulated_s / real_s * jobs:.0f} per real second with {jobs}"
    )
