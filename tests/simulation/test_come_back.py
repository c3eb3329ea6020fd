"""What nobody had is asked for as soon as somebody comes who has it, or gets it; nobody is asked again and again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import trio

from syncd.folder import lacking, pulling
from syncd.protocol.exchange import Link
from syncd.store.counts import MAX_RETRY_S
from tests.helpers.simulation import FOLDER, SimComputer, Simulation, simulate

SEED = 20261122
NAMES = ("ana", "bert", "cleo", "dora")
FIRST, SECOND = b"first " * 30_000, b"second"
SOON_S = 15
FLAPPING_S = 100
MOST_ASKED = FLAPPING_S / lacking.REST_S + 5
"""Of one whose links come and go: by one at the other end of these, and a few times by the third."""
MANY = 30


def write(computer: SimComputer, content: bytes, count: int) -> None:
    """Somebody saves some pictures, all alike."""
    for number in range(count):
        path = (b"picture %d" % number,)
        computer.disk.write(path, content)
        computer.disk.flush_file(path)


async def begin(simulation: Simulation, count: int = 3) -> tuple[SimComputer, SimComputer, SimComputer, SimComputer]:
    """Of what Ana wrote first only Cleo has the contents, and is off: all others have given them up.

    Bert had no room for them, and Dora was away. Then Ana wrote over them and lost her database."""
    ana, bert, cleo, dora = simulation
    await simulation.share_with_all(files=1)
    await simulation.settle()
    await dora.stop()
    bert.disk.capacity = bert.disk.used
    write(ana, FIRST, count)
    await simulation.settle([ana, cleo])
    await trio.sleep(5)
    await cleo.stop()
    await ana.stop()
    write(ana, SECOND, count)
    for name in [name for name in ana.databases.copies() if name.startswith("folder")]:
        ana.databases.lose(name)
    bert.disk.capacity = None
    await simulation.start(ana)
    await simulation.settle([ana, bert], timeout_s=300)
    for computer in (ana, bert):
        assert await lacked(computer) == count
    return ana, bert, cleo, dora


async def lacked(computer: SimComputer) -> int:
    """Of how many files it says that nobody has them."""
    return [problem["id"] for problem in (await computer.status())["problems"]].count("SY-FILE-11")


async def wait_for(*computers: SimComputer, count: int = 3) -> float:
    """Until they have all that Ana had lost; how long that took."""
    return await until(lambda: all(list(one.disk.contents().values()).count(FIRST) == count for one in computers))


async def until(is_so: Callable[[], bool], step_s: float = 0.1) -> float:
    """Wait for something; how long that took."""
    began, most = trio.current_time(), 2 * MAX_RETRY_S
    for _ in range(int(most / step_s)):
        if is_so():
            return trio.current_time() - began
        await trio.sleep(step_s)
    pytest.fail(f"not so after {most} s")


async def link_up(one: SimComputer, *others: SimComputer) -> None:
    """Wait until they exchange the folder with each other."""
    await until(lambda: all(are_linked(one, other) for other in others))


def are_linked(one: SimComputer, other: SimComputer) -> bool:
    return other.keys.public.id in one.folder.at_work().links and one.keys.public.id in other.folder.at_work().links


def is_over(here: SimComputer, there: SimComputer, link: Link) -> bool:
    state = here.folder.at_work().links.get(there.keys.public.id)
    return state is None or state.link is not link


@pytest.mark.parametrize("waited_s", [20, 300])
def test_what_nobody_had_comes_as_soon_as_somebody_is_there_who_has_it(waited_s: float) -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert, cleo, _ = await begin(simulation)
        await trio.sleep(waited_s)
        await simulation.start(cleo)
        await link_up(cleo, ana, bert)
        assert await wait_for(ana, bert) < SOON_S
        await simulation.settle([ana, bert, cleo])
        for computer in (ana, bert, cleo):
            assert not await lacked(computer)

    simulate(story, SEED, NAMES)


def test_what_nobody_had_is_asked_for_after_a_restart_as_well() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert, cleo, _ = await begin(simulation)
        await bert.stop()
        await simulation.start(cleo)
        assert await wait_for(ana) < SOON_S
        await simulation.start(bert)
        await link_up(bert, ana, cleo)
        assert await wait_for(bert) < SOON_S

    simulate(story, SEED, NAMES)


def test_who_gets_it_tells_those_who_cannot_reach_the_one_who_had_it() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert, cleo, _ = await begin(simulation)
        simulation.internet.block("ana", "cleo")
        simulation.internet.block("cleo", "ana")
        await simulation.start(cleo)
        assert await wait_for(bert) < SOON_S
        assert await wait_for(ana) < SOON_S
        assert not are_linked(ana, cleo)

    simulate(story, SEED, NAMES)


def test_more_than_can_be_asked_for_at_a_time_is_given_up_and_asked_for_page_by_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pulling, "MAX_STAGED_FILES", 2)
    monkeypatch.setattr(lacking, "ASKED_AT_ONCE", 4)

    async def story(simulation: Simulation) -> None:
        ana, bert, cleo, _ = await begin(simulation, MANY)
        await simulation.start(cleo)
        await link_up(cleo, ana, bert)
        assert await wait_for(ana, bert, count=MANY) < SOON_S

    simulate(story, SEED, NAMES)


def test_link_that_comes_and_goes_is_no_reason_to_ask_again_and_again() -> None:
    asked = links = 0

    async def story(simulation: Simulation) -> None:
        nonlocal asked, links
        ana, bert, _, dora = await begin(simulation)
        await simulation.start(dora)
        await link_up(dora, ana, bert)
        await simulation.settle([ana, bert, dora])
        began, ends = len(simulation.trace.lines), trio.current_time() + FLAPPING_S
        while trio.current_time() < ends:
            await link_up(dora, ana)
            links += 1
            link = dora.folder.at_work().links[ana.keys.public.id].link
            await trio.sleep(1.5)
            simulation.internet.cut("dora", "ana")
            await until(partial(is_over, dora, ana, link), 0.01)
        lines = list(simulation.trace.lines)[began:]
        asked = sum("dora: runs FolderStore.db_have" in line for line in lines)

    simulate(story, SEED, NAMES, keep=None)
    assert 1 < asked <= MOST_ASKED < links


def test_what_only_somebody_had_who_takes_part_no_more_is_named_and_not_waited_for() -> None:
    """Bert and Cleo had no room for it; then the computer of Ana, who wrote it, was lost, and taken out."""

    async def story(simulation: Simulation) -> None:
        ana, bert, cleo = simulation
        await simulation.share_with_all(files=1)
        await simulation.settle()
        await ana.call("member.change", folder=FOLDER, member="bert", what="role", role="owner")
        await simulation.settle()
        for computer in (bert, cleo):
            computer.disk.capacity = computer.disk.used
        write(ana, FIRST, 1)
        await trio.sleep(30)
        await ana.stop()
        for computer in (bert, cleo):
            computer.disk.capacity = None
        await trio.sleep(300)
        told = await bert.call("explain", path=f"{bert.path}/picture 0")
        assert (told["state"], "nobody who is connected" in told["why"]) == ("waiting", True)
        assert not any(peer["has"] for peer in told["peers"])
        await bert.call("member.remove", folder=FOLDER, member="ana")
        await trio.sleep(300)
        for computer in (bert, cleo):
            assert await lacked(computer) == 1
            assert (await computer.status())["in_sync"]

    simulate(story, SEED, ("ana", "bert", "cleo"))
