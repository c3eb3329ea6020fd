"""Who joins with files that are equal already is a holder of them like any other, and gives them to others."""

from __future__ import annotations

import pytest
import trio

from tests.helpers.simulation import FOLDER, SimComputer, Simulation, simulate
from tests.simulation.removing import names, write

PATIENCE_S = 600.0


async def give_on(simulation: Simulation, giver: SimComputer, taker: SimComputer) -> None:
    """Somebody joins whom only `giver` lets in, and nobody else is there."""
    link = await giver.call("share", path=giver.path, name=FOLDER, role="editor", link=True, uses=1, yes=True)
    with trio.move_on_after(PATIENCE_S) as patience:
        await taker.join(str(link["link"]))
    assert not patience.cancelled_caught, f"{taker.name} has only {sorted(names(taker))}"
    simulation.demand_equal([giver, taker])


async def make_admin(ana: SimComputer, other: SimComputer) -> None:
    await ana.call("member.change", folder=FOLDER, member=other.name, what="role", role="admin")


@pytest.mark.long
def test_who_had_the_same_files_before_gives_them_on_when_the_first_is_away() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert, cleo = simulation
        for computer in (ana, bert):
            write(computer, "equal", "both have had it for years")
            write(computer, "different", f"this is {computer.name}'s")
        await trio.sleep(5)
        for computer in (ana, bert):
            await trio.sleep(5)
            write(computer, "equal but for its time", "each wrote it at another moment")
        write(ana, "only ana's", "nobody else has had it")
        await bert.join(await ana.share(uses=1))
        await simulation.settle([ana, bert])
        await make_admin(ana, bert)
        await simulation.settle([ana, bert])
        await ana.stop()
        await give_on(simulation, bert, cleo)

    simulate(story, 1)


@pytest.mark.long
def test_what_two_wrote_alike_under_two_keys_is_given_on_by_either() -> None:
    """The record of one of them counts; the other is a holder of what it says, too."""

    async def story(simulation: Simulation) -> None:
        ana, bert, cleo = simulation
        await bert.join(await ana.share(uses=1))
        await simulation.settle([ana, bert])
        await make_admin(ana, bert)
        await simulation.settle([ana, bert])
        simulation.internet.partition([ana.host], [bert.host, cleo.host])
        write(ana, "alike", "the same words")
        await ana.call("rotate", folder=FOLDER, reason=None)
        write(ana, "alike later", "the same words, later")
        write(bert, "alike", "the same words")
        write(bert, "alike later", "the same words, later")
        await trio.sleep(30)
        simulation.internet.heal()
        await simulation.settle([ana, bert])
        await ana.stop()
        await give_on(simulation, bert, cleo)

    simulate(story, 1)


@pytest.mark.long
def test_conflict_copy_that_a_lost_database_does_not_know_is_given_on_under_another_key() -> None:
    """Read anew it has other public names than those by which everybody asks for it."""

    async def story(simulation: Simulation) -> None:
        ana, bert, cleo = simulation
        await bert.join(await ana.share(uses=1))
        write(ana, "plan", "before")
        await simulation.settle([ana, bert])
        await make_admin(ana, bert)
        simulation.internet.partition([ana.host], [bert.host, cleo.host])
        write(ana, "plan", "as ana would have it")
        write(bert, "plan", "as bert would have it")
        await trio.sleep(30)
        simulation.internet.heal()
        await simulation.settle([ana, bert])
        assert len(names(bert)) == 2, "both versions are there"
        await ana.call("rotate", folder=FOLDER, reason=None)
        await simulation.settle([ana, bert])
        await bert.stop()
        for name in [name for name in bert.databases.copies() if name.startswith("folder")]:
            bert.databases.lose(name)
        await simulation.start(bert)
        await simulation.settle([ana, bert])
        assert len(names(bert)) == 2, "what stood there was known again"
        await ana.stop()
        await give_on(simulation, bert, cleo)

    simulate(story, 1)
