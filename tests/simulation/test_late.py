"""What a removed device published behind its removal, among whole daemons: shown, and counting by a person's word."""

from __future__ import annotations

import pytest
import trio

from syncd.errors import SyncdError
from tests.helpers.simulation import FOLDER, SimComputer, Simulation, simulate
from tests.simulation.removing import names, write


async def late(computer: SimComputer) -> list[str]:
    found = (await computer.call("requests", folder=None, cwd=None))["requests"]
    assert all((one["author"], one["changes"]) == ("cleo", 1) for one in found), repr(found)
    return [one["id"] for one in found if one["kind"] == "late"]


@pytest.mark.long
def test_late_changes_are_shown_and_count_when_a_person_says_so() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert, cleo = simulation
        link = await ana.share(uses=2)
        for other in (bert, cleo):
            await other.join(link)
        await simulation.settle()
        simulation.internet.partition([ana.host], [bert.host, cleo.host])
        await ana.call("member.remove", folder=FOLDER, member="cleo")
        write(cleo, "late", "cleo, to bert, who has not heard of it")
        await trio.sleep(30)
        assert "late" in names(bert)
        simulation.internet.heal()
        await simulation.settle([ana, bert])
        assert "late" not in names(ana) | names(bert)
        for computer in (ana, bert):
            (id_,) = await late(computer)
            checks = (await computer.call("doctor"))["checks"]
            assert any("cleo published without the right to" in check["why"] for check in checks if check["ok"])
        with pytest.raises(SyncdError):
            await ana.call("approve", id=id_ + "f", role=None)
        assert (await bert.call("deny", id=id_))["kind"] == "late"
        await simulation.settle([ana, bert])
        assert "late" not in names(ana) | names(bert)
        (id_,) = await late(ana)
        assert (await ana.call("approve", id=id_, role=None))["everywhere"]
        await simulation.settle([ana, bert])
        assert {"late"} <= names(ana) & names(bert)
        assert await late(ana) == await late(bert) == []
        write(ana, "after", "not for cleo")
        await simulation.settle([ana, bert])
        await trio.sleep(60)
        assert "after" not in names(cleo)

    simulate(story, 1)
