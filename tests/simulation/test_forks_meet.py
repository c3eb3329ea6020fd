"""Two sides of a folder act on its membership without hearing each other, and meet: whole daemons on virtual time.
With real ones: `tests/integration/test_forks_meet.py`."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from tests.helpers.simulation import FOLDER, SimComputer, Simulation, simulate
from tests.helpers.tasks import device_keys
from tests.simulation.removing import is_linked, names, write

pytestmark = pytest.mark.slowest

PEOPLE = ("ana", "bert", "cleo", "dora", "eva")


async def begin(simulation: Simulation) -> list[SimComputer]:
    """ana owns, bert and cleo administrate, dora edits; then ana and bert hear the others no more. eva is not in it."""
    ana, bert, cleo, dora, eva = simulation
    await begin_with(ana, bert, cleo, dora, simulation)
    simulation.internet.partition([ana.host, bert.host], [cleo.host, dora.host, eva.host])
    return [ana, bert, cleo, dora, eva]


async def begin_with(
    ana: SimComputer, bert: SimComputer, cleo: SimComputer, dora: SimComputer, simulation: Simulation
) -> None:
    link = await ana.share(uses=3)
    for other in (bert, cleo, dora):
        await other.join(link)
    for name in ("bert", "cleo"):
        await ana.call("member.change", folder=FOLDER, member=name, what="role", role="admin")
    await simulation.settle([ana, bert, cleo, dora])


async def let_in(host: SimComputer, guest: SimComputer) -> None:
    link = await host.call("share", path=host.path, name=FOLDER, role="editor", link=True, uses=1, yes=True)
    await guest.join(str(link["link"]))


async def demand_out(gone: Sequence[SimComputer], insiders: Sequence[SimComputer], simulation: Simulation) -> None:
    write(insiders[0], "after both met", "for those who are in")
    await simulation.settle(insiders)
    await trio.sleep(60)
    for one in gone:
        device = device_keys(one.name).public.id
        assert "after both met" not in names(one)
        assert not any(is_linked(insider, device) for insider in insiders)


@pytest.mark.parametrize("seed", range(3))
def test_neither_side_touched_the_other_and_both_count(seed: int) -> None:
    """bert removes dora; cleo, who does not know, lets eva in and goes on with dora."""

    async def story(simulation: Simulation) -> None:
        ana, bert, cleo, dora, eva = await begin(simulation)
        await bert.call("member.remove", folder=FOLDER, member="dora")
        write(bert, "of the one side", "bert")
        write(dora, "by dora, whom cleo heard", "dora")
        await trio.sleep(20)
        write(cleo, "of the other side", "cleo")
        await let_in(cleo, eva)
        write(eva, "by the newcomer", "eva")
        await trio.sleep(20)
        for _ in range(4):  # the other side's entries get numbers that the first one has not reached
            await cleo.call("rotate", folder=FOLDER)
        write(cleo, "late on the other side", "cleo")
        await trio.sleep(20)
        simulation.internet.heal()
        insiders = [ana, bert, cleo, eva]
        await simulation.settle(insiders)
        assert names(ana) == {
            "of the one side", "of the other side", "by dora, whom cleo heard", "by the newcomer",
            "late on the other side",
        }  # fmt: skip
        for writer in insiders:  # and whatever was numbered otherwise meanwhile holds up nobody
            write(writer, f"by {writer.name}, at last", writer.name)
        await simulation.settle(insiders)
        await demand_out([dora], insiders, simulation)

    simulate(story, seed, PEOPLE)


@pytest.mark.parametrize("seed", range(3))
def test_who_was_removed_on_the_other_side_gains_nothing_by_what_was_signed_meanwhile(seed: int) -> None:
    """ana removes cleo; cleo, who does not know, removes dora and lets eva in."""

    async def story(simulation: Simulation) -> None:
        ana, bert, cleo, dora, eva = await begin(simulation)
        await ana.call("member.remove", folder=FOLDER, member="cleo")
        write(bert, "of the one side", "bert")
        write(dora, "by dora, in time", "dora")
        await trio.sleep(20)
        await cleo.call("member.remove", folder=FOLDER, member="dora")
        await let_in(cleo, eva)
        write(cleo, "by cleo, too late", "cleo")
        write(eva, "by eva, whom cleo let in", "eva")
        await trio.sleep(20)
        simulation.internet.heal()
        insiders = [ana, bert, dora]
        await simulation.settle(insiders)
        assert names(ana) == {"of the one side", "by dora, in time"}
        assert {"by cleo, too late", "by eva, whom cleo let in"} <= names(cleo) & names(eva)
        await demand_out([cleo, eva], insiders, simulation)

    simulate(story, seed, PEOPLE)


@pytest.mark.parametrize("seed", range(2))
def test_who_stays_goes_on_after_working_under_keys_that_a_void_entry_made(seed: int) -> None:
    """ana removes cleo, who does not know and lets eva in, which makes new keys. What dora, who stays, wrote under
    these can be read by nobody else: it stays on her disk, and holds up neither her later work nor newcomers."""

    async def story(simulation: Simulation) -> None:
        ana, bert, cleo, dora, eva, fay = simulation
        await begin_with(ana, bert, cleo, dora, simulation)
        simulation.internet.partition([ana.host, bert.host, fay.host], [cleo.host, dora.host, eva.host])
        await ana.call("member.remove", folder=FOLDER, member="cleo")
        await let_in(cleo, eva)
        write(eva, "by eva", "eva")
        await trio.sleep(30)
        write(dora, "by dora, who saw it", "dora")
        await trio.sleep(30)
        simulation.internet.heal()
        await trio.sleep(60)
        write(dora, "by dora, afterwards", "dora")
        write(bert, "by bert", "bert")
        await trio.sleep(120)
        expected = {"by dora, afterwards", "by bert"}
        assert names(ana) == names(bert) == expected
        assert names(dora) == expected | {"by dora, who saw it"}
        assert (await dora.status())["state"] == "synced"
        await let_in(ana, fay)
        write(fay, "by the newcomer", "fay")
        await trio.sleep(60)
        assert names(ana) == names(bert) == names(fay) == expected | {"by the newcomer"}
        await dora.stop()
        await simulation.start(dora)
        write(dora, "by dora, after a restart", "dora")
        await trio.sleep(60)
        assert "by dora, after a restart" in names(fay)
        assert "by dora, who saw it" in names(dora)

    simulate(story, seed, (*PEOPLE, "fay"))
