"""A folder that starts: everything is looked at once, and whatever happens meanwhile is found."""

from __future__ import annotations

import pytest
import trio

from syncd.folder.database import REST_S
from syncd.treetypes import Path
from tests.helpers.simulation import SimComputer, Simulation, simulate

SEED = 20261123
STEPS = range(0, 40, 3)


def write(computer: SimComputer, name: bytes) -> None:
    computer.disk.write((name,), name)
    computer.disk.flush_file((name,))


async def rested(simulation: Simulation) -> SimComputer:
    await simulation.share_with_all()
    await simulation.settle(tuple(simulation))
    ana, _bert = simulation
    await ana.stop()
    return ana


def test_a_start_looks_at_everything_once() -> None:
    async def story(simulation: Simulation) -> None:
        ana = await rested(simulation)
        write(ana, b"while it was off")
        await simulation.start(ana)
        await simulation.settle(tuple(simulation))
        assert ana.folder.at_work().progress.scans_begun == 1
        assert all((b"while it was off",) in computer.disk.contents() for computer in simulation)

    simulate(story, SEED, names=("ana", "bert"))


@pytest.mark.parametrize("at", STEPS)
def test_a_change_between_any_two_steps_of_a_start_is_found(at: int) -> None:
    """Also where no step of the hourly look at everything comes to help."""

    async def story(simulation: Simulation) -> None:
        ana = await rested(simulation)
        steps = 0

        def meanwhile(step: str, path: Path) -> None:
            nonlocal steps
            steps += 1
            if steps == at + 1:
                write(ana, b"meanwhile")

        ana.on_step = meanwhile
        await simulation.start(ana)
        await trio.sleep(5)
        ana.on_step = None
        if steps <= at:
            write(ana, b"meanwhile")
        await simulation.settle(tuple(simulation), timeout_s=120)
        assert all((b"meanwhile",) in computer.disk.contents() for computer in simulation)

    simulate(story, SEED + at, names=("ana", "bert"))


def test_waiting_for_what_is_scanned_wakes_no_rows() -> None:
    async def story(simulation: Simulation) -> None:
        ana = await rested(simulation)
        await simulation.start(ana)
        await simulation.settle(tuple(simulation))
        await trio.sleep(17 * REST_S)
        connection = ana.folder.at_work().database.connection
        assert connection.is_at_rest
        assert (await ana.call("wait", folders=[], **{"for": "scanned"}))["done"]
        assert connection.is_at_rest
        write(ana, b"later")
        assert (await ana.call("wait", folders=[], **{"for": "scanned"}))["done"]
        assert (await ana.status())["files"] == len(ana.disk.contents())

    simulate(story, SEED, names=("ana", "bert"))


def test_what_cannot_be_said_of_folders_that_start_waits_for_them() -> None:
    async def story(simulation: Simulation) -> None:
        await simulation.share_with_all()
        ana, _bert = simulation
        ana.daemon.loaded = trio.Event()  # as before all folders run
        assert (await ana.status())["name"] == ana.folder.name
        answers: list[object] = []

        async def ask() -> None:
            answers.append(await ana.call("conflicts", folder=None))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(60)
            assert answers == []
            ana.daemon.loaded.set()
        assert answers

    simulate(story, SEED, names=("ana", "bert"))
