"""A directory that went with so many files that a person is asked, and into which others put files meanwhile."""

from __future__ import annotations

import pytest
import trio

from tests.helpers.simulation import Simulation, simulate
from tests.simulation.removing import names, write

FILES = 60
LONG_S = 700.0
"""After which files are no news any more, so that they count for the brake."""
SOON_S = 5.0


@pytest.mark.parametrize("answer", ["approve", "deny"])
def test_what_others_put_into_a_directory_that_waits_is_no_problem_and_there_once_a_person_has_answered(
    answer: str,
) -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert, _ = simulation
        await bert.join(await ana.share(uses=1))
        rooms = [(b"house",), (b"house", b"room")]
        for room in rooms:
            ana.disk.mkdir(room)
        files = [(*rooms[number % 2], b"file %d" % number) for number in range(FILES)]
        for file in files:
            ana.disk.write(file, file[-1])
        await simulation.settle([ana, bert])
        await trio.sleep(LONG_S)
        for path in (*files, *reversed(rooms)):
            ana.disk.delete(path)
        await trio.sleep(60)
        (wave,) = (await ana.call("requests", folder=None, cwd=None))["requests"]
        news = [(*room, b"new %d" % number) for room in rooms for number in range(9)]
        for file in news:
            bert.disk.write(file, b"of bert")
        bert.disk.mkdir((b"house", b"attic"))
        write(bert, "elsewhere", "is not kept back")
        await trio.sleep(LONG_S)
        told = (await ana.status())["problems"]
        assert {problem["id"] for problem in told} == {"SY-BRAKE-01"}, told
        assert "elsewhere" in names(ana)
        await ana.call(answer, id=wave["id"], **({"role": None} if answer == "approve" else {}))
        await trio.sleep(SOON_S)
        await simulation.settle([ana, bert])
        assert not (await ana.status())["problems"]
        there = {path for path in ana.disk.contents() if path[0] != b".syncd"}
        assert there >= {*news, (b"house", b"attic")}
        assert there == {path for path in bert.disk.contents() if path[0] != b".syncd"}
        assert (there >= set(files)) is (answer == "deny")

    simulate(story, 1)
