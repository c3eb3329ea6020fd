"""Folders in which nothing happens: their databases are closed, and whatever comes then finds everything."""

from __future__ import annotations

import pytest
import trio

from syncd.folder.database import REST_S
from syncd.folder.scanning import FULL_SCAN_S
from syncd.store.resting import RestingConnection
from tests.helpers.simulation import SimComputer, Simulation, simulate

SEED = 20261122
LONG_S = 17 * REST_S


def is_at_rest(computer: SimComputer) -> bool:
    return computer.folder.at_work().database.connection.is_at_rest


async def rest(simulation: Simulation) -> None:
    await simulation.settle(tuple(simulation))
    simulation.demand_equal()
    await trio.sleep(LONG_S)
    assert [is_at_rest(computer) for computer in simulation] == [True] * 3


def write(computer: SimComputer, name: bytes) -> None:
    computer.disk.write((name,), name)
    computer.disk.flush_file((name,))


def test_status_is_told_without_waking_and_changes_wake() -> None:
    async def story(simulation: Simulation) -> None:
        await simulation.share_with_all()
        await rest(simulation)
        ana, bert, _cleo = simulation
        before = await bert.status()
        assert is_at_rest(bert)
        write(ana, b"new")
        await rest(simulation)
        assert (b"new",) in bert.disk.contents()
        after = await bert.status()
        assert after["files"] == before["files"] + 1
        assert is_at_rest(bert)

    simulate(story, SEED)


def test_nothing_of_an_idle_hour_asks_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rested: list[float] = []
    close = RestingConnection.rest

    def note(connection: RestingConnection) -> bool:
        rested.append(trio.current_time())
        return close(connection)

    monkeypatch.setattr(RestingConnection, "rest", note)

    async def story(simulation: Simulation) -> None:
        await simulation.share_with_all()
        await rest(simulation)
        await trio.sleep(600)
        rested.clear()
        await trio.sleep(FULL_SCAN_S)
        assert len(rested) <= 3 * 3, "the scan of everything, and what looks behind it"

    simulate(story, SEED)


@pytest.mark.parametrize("is_cut", [False, True])
def test_computer_that_ends_at_rest_goes_on_where_it_was(is_cut: bool) -> None:
    async def story(simulation: Simulation) -> None:
        await simulation.share_with_all()
        ana, bert, cleo = simulation
        await rest(simulation)
        for round_ in range(3):
            if is_cut:
                await bert.crash()
            else:
                await bert.stop()
            write(ana, b"meanwhile %d" % round_)
            write(bert, b"by bert %d" % round_)
            await simulation.start(bert)
            await rest(simulation)
            assert (b"by bert %d" % round_,) in cleo.disk.contents()
            assert (b"meanwhile %d" % round_,) in bert.disk.contents()

    simulate(story, SEED)


@pytest.mark.parametrize("steps", [1, 5, 20])
def test_power_cut_right_after_waking(steps: int) -> None:
    """Whoever comes out of rest with something to do loses its power before it has done it."""

    async def story(simulation: Simulation) -> None:
        await simulation.share_with_all()
        ana, bert, _cleo = simulation
        await rest(simulation)
        write(ana, b"large")
        write(bert, b"small")
        await bert.crash_within(steps)
        await simulation.start(bert)
        await rest(simulation)
        assert {(b"large",), (b"small",)} <= set(bert.disk.contents())

    simulate(story, SEED)
