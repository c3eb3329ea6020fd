"""A conflict copy that goes together with so many files that a person is asked."""

from __future__ import annotations

import pytest
import trio

from tests.helpers.simulation import SimComputer, Simulation, simulate
from tests.simulation.removing import names, write

FILES = 60
LONG_S = 700.0
"""After which files are no news any more, so that they count for the brake."""


async def held(computer: SimComputer) -> list[str]:
    return [one["id"] for one in (await computer.call("requests", folder=None, cwd=None))["requests"]]


@pytest.mark.long
def test_conflict_copy_that_went_in_a_wave_is_gone_everywhere_once_the_wave_passes() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert, _ = simulation
        await bert.join(await ana.share(uses=1))
        for number in range(FILES):
            write(ana, f"file {number}", f"of many, {number}")
        write(ana, "plan", "before")
        await simulation.settle([ana, bert])
        simulation.internet.partition([ana.host], [bert.host])
        write(ana, "plan", "as ana would have it")
        write(bert, "plan", "as bert would have it")
        await trio.sleep(LONG_S)
        simulation.internet.heal()
        await simulation.settle([ana, bert])
        [copy] = [name for name in names(ana) if "conflict" in name]
        for name in (copy, *(f"file {number}" for number in range(FILES))):
            ana.disk.delete((name.encode(),))
        ana.disk.flush_names()
        await trio.sleep(LONG_S / 10)
        [wave] = await held(ana)
        assert names(bert) >= {copy, "file 1"}, "nothing passes before a person says so"
        await ana.call("approve", id=wave, role=None)
        await simulation.settle([ana, bert])
        assert names(bert) == names(ana) == {"plan"}

    simulate(story, 1)
