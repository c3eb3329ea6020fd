"""A membership that has a last moment: from then on nobody exchanges anything with that member, by everybody's own
clock, although nobody who could take it out is there; and the member is told so, and how to come back."""

from __future__ import annotations

import pytest
import trio

from syncd.errors import SyncdError
from tests.helpers.simulation import FOLDER, SimComputer, Simulation, simulate
from tests.simulation.removing import names, write


async def change(by: SimComputer, what: str, **how: object) -> None:
    await by.call("member.change", folder=FOLDER, member="cleo", what=what, **how)


async def why_not(computer: SimComputer) -> list[tuple[str, str]]:
    (folder,) = (await computer.call("status"))["folders"]
    return [(problem["id"], problem["why"]) for problem in folder["problems"]]


async def end_of_cleo(simulation: Simulation) -> int:
    """Three who share, and cleo for half a minute more; when she is out by the clocks."""
    ana, bert, cleo = simulation
    link = await ana.share(uses=2)
    for other in (bert, cleo):
        await other.join(link)
    await simulation.settle()
    end = int(ana.clock.now()) + 30
    await change(ana, "expire", until=end)
    await trio.sleep(10)
    return end


def test_whose_time_is_over_is_out_by_every_clock_although_no_admin_is_there() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert, cleo = simulation
        end = await end_of_cleo(simulation)
        await ana.stop()
        write(cleo, "in time", "of cleo, while she may")
        await trio.sleep_until(trio.current_time() + end - bert.clock.now() - 1)
        assert "in time" in names(bert)
        await trio.sleep(2)
        write(cleo, "late", "of cleo, when her time was over")
        write(bert, "meanwhile", "of bert, not for cleo")
        await trio.sleep(60)
        assert "late" not in names(bert) and "meanwhile" not in names(cleo)
        assert not (await cleo.status())["in_sync"]
        ((id_, why),) = await why_not(cleo)
        assert id_ == "SY-TRUST-06" and "ended" in why
        await simulation.start(ana)
        await simulation.settle([ana, bert])
        await trio.sleep(60)
        assert "late" not in names(ana) | names(bert)
        ((id_, why),) = await why_not(cleo)
        assert id_ == "SY-TRUST-06" and "suspended" in why
        await change(ana, "expire", until=None)
        await change(ana, "reactivate")
        await simulation.settle()
        assert names(ana) == names(bert) == names(cleo)
        assert {"in time", "late", "meanwhile"} <= names(ana)
        assert await why_not(cleo) == []

    simulate(story, 1)


def test_who_is_suspended_and_comes_by_an_invitation_is_told_what_stands_in_the_way() -> None:
    async def story(simulation: Simulation) -> None:
        ana, _, cleo = simulation
        await end_of_cleo(simulation)
        await trio.sleep(60)
        await cleo.call("folder.leave", folder=FOLDER, cwd=None)
        link = await ana.call("share", path=ana.path, name=FOLDER, role="editor", link=True, uses=1, yes=True)
        with pytest.raises(SyncdError) as caught:
            await cleo.join(str(link["link"]))
        assert (caught.value.id, "suspended" in caught.value.what) == ("SY-TRUST-06", True)
        await change(ana, "expire", until=None)
        await change(ana, "reactivate")
        await cleo.join(str(link["link"]))
        await simulation.settle()

    simulate(story, 1)
