"""What a removed device published behind its removal, among whole daemons: shown, and counting by a person's word."""

from __future__ import annotations

import pytest
import trio

from syncd.cli.look import change_lines
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
            assert (await computer.status())["requests"] == 1
            checks = (await computer.call("doctor"))["checks"]
            assert any("cleo published without the right to" in check["why"] for check in checks if check["ok"])
        with pytest.raises(SyncdError):
            await ana.call("approve", id=id_ + "f", role=None)
        assert (await bert.call("deny", id=id_))["kind"] == "late"
        await simulation.settle([ana, bert])
        assert "late" not in names(ana) | names(bert)
        assert (await ana.status())["requests"] == 1
        assert (await bert.status())["requests"] == 0, "bert was asked, and said no"
        assert await late(bert) == [id_], "he can still say otherwise"
        (id_,) = await late(ana)
        assert (await ana.call("approve", id=id_, role=None))["everywhere"]
        await simulation.settle([ana, bert])
        assert {"late"} <= names(ana) & names(bert)
        assert await late(ana) == await late(bert) == []
        told = (await bert.call("changes", folder=FOLDER, cwd=None, most=50))["changes"]
        assert "approved what waited" in {line.rpartition("  ")[2] for line in change_lines(told, None)}
        assert [one["by"] for one in told if one["approves"]] == ["ana"]
        write(ana, "after", "not for cleo")
        await simulation.settle([ana, bert])
        await trio.sleep(60)
        assert "after" not in names(cleo)

    simulate(story, 1)


def test_what_counts_after_all_is_no_longer_only_where_it_was_made() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert, cleo = simulation
        write(ana, "plan", "as agreed")
        link = await ana.share(uses=2)
        for other in (bert, cleo):
            await other.join(link)
        await simulation.settle()
        simulation.internet.partition([ana.host, bert.host], [cleo.host])
        await ana.call("member.change", folder=FOLDER, member="cleo", what="role", role="viewer")
        write(cleo, "plan", "as cleo sees it, who has not heard that she is a viewer")
        for name in ("new", "then changed"):
            write(cleo, name, "of hers")
        await trio.sleep(30)
        simulation.internet.heal()
        await trio.sleep(60)
        assert (await cleo.status())["only_here"] == 3
        write(cleo, "then changed", "once more, as a viewer")
        await trio.sleep(10)
        (request,) = (await ana.call("requests", folder=None, cwd=None))["requests"]
        with pytest.raises(SyncdError) as caught:
            await cleo.call("approve", id=request["id"], role=None)
        assert caught.value.id == "SY-SHARE-04"
        await ana.call("approve", id=request["id"], role=None)
        await simulation.settle([ana, bert])
        await trio.sleep(30)
        assert {"plan", "new", "then changed"} <= names(bert)
        assert (await cleo.status())["only_here"] == 1
        told = await cleo.call("explain", path=f"{cleo.path}/new")
        assert (told["state"], "everybody's newest" in told["why"]) == ("synced", True)
        told = await cleo.call("explain", path=f"{cleo.path}/then changed")
        assert (told["state"], "only here" in told["why"]) == ("waiting", True)

    simulate(story, 1)
