"""A directory that is an older state of its folder, or a copy of it: nobody has deleted what it lacks, nor gone back to
what it holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from syncd.treetypes import Denied, Path
from tests.helpers.simulation import SimComputer, Simulation, simulate
from tests.simulation.removing import write

A_WHILE_S = 3700.0
"""Everything is looked at within an hour."""


def contents(computer: SimComputer) -> dict[bytes, bytes | None]:
    return {b"/".join(path): content for path, content in computer.disk.contents().items() if path[0] != b".syncd"}


async def week(simulation: Simulation, backed_up: Callable[[SimComputer], object]) -> None:
    """Two have a folder, bert's disk is copied, and then both go on working."""
    ana, bert = simulation
    for number in range(8):
        write(ana, f"file {number}", f"content of {number}")
    bert_dir = (b"directory",)
    ana.disk.mkdir(bert_dir)
    ana.disk.write((*bert_dir, b"inside"), b"a first edition")
    await bert.join(await ana.share(uses=1))
    await simulation.settle()
    await trio.sleep(A_WHILE_S)
    backed_up(bert)
    write(ana, "file 0", "ana has changed it")
    write(bert, "file 1", "bert has changed it")
    ana.disk.delete((b"file 2",))
    ana.disk.rename((b"file 3",), (b"file 3 has another name",))
    write(bert, "new by bert", "of bert")
    write(ana, "new by ana", "of ana")
    ana.disk.write((*bert_dir, b"inside"), b"a second edition")
    await simulation.settle()
    await trio.sleep(A_WHILE_S)


def test_folder_from_a_backup_takes_nothing_back() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        backups = []
        await week(simulation, lambda computer: backups.append(computer.back_up()))
        there = contents(ana)
        await bert.stop()
        bert.restore(backups[0], names=lambda name: False, disk=True)
        write(bert, "written since", "nobody has it yet")
        write(bert, "file 4", "written over since")
        await simulation.start(bert)
        await simulation.settle()
        await trio.sleep(60)
        assert contents(bert) == contents(ana)
        now = contents(ana)
        assert {name: now.get(name) for name in there if name != b"file 4"} == {
            name: content for name, content in there.items() if name != b"file 4"
        }
        # What was deleted or renamed since is there again; an unknown content stands beside the known one.
        assert now[b"file 2"] == b"content of 2" and now[b"file 3"] == b"content of 3"
        assert now[b"written since"] == b"nobody has it yet"
        beside = {content for name, content in now.items() if name.startswith(b"file 4")}
        assert beside == {b"content of 4", b"written over since"}
        # And from then on it is an ordinary folder.
        bert.disk.delete((b"file 5",))
        write(bert, "file 6", "changed as ever")
        await simulation.settle()
        assert b"file 5" not in contents(ana) and contents(ana)[b"file 6"] == b"changed as ever"
        assert len((await ana.call("conflicts", folder=None))["conflicts"]) == 1

    simulate(story, 1, ("ana", "bert"))


@pytest.mark.parametrize("inside", [None, b"room"], ids=["what nobody knows", "what is known"])
def test_what_cannot_be_read_in_it_keeps_it_older_only_where_something_is_known_of_it(inside: bytes | None) -> None:
    """A disk of its own has `lost+found`, for root alone. What is known of a room may be there, or not."""

    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        backups = []
        ana.disk.mkdir((b"room",))
        ana.disk.write((b"room", b"inside"), b"a room")
        await week(simulation, lambda computer: backups.append(computer.back_up()))
        await bert.stop()
        bert.restore(backups[0], names=lambda name: False, disk=True)
        closed = (inside or b"lost+found",)
        if inside is None:
            bert.disk.mkdir(closed)

        def before(step: str, at: Path) -> None:
            if at[:1] == closed and (len(at) > 1 or step == "list_dir"):
                raise Denied("simulated", at)

        bert.on_step = before
        await simulation.start(bert)
        await trio.sleep(A_WHILE_S)
        bert.disk.delete((b"file 5",))
        await trio.sleep(60)
        told = {problem["id"] for problem in (await bert.status())["problems"]}
        assert ("SY-ROOT-07" in told) is (inside is not None)
        assert (b"file 5" in contents(ana)) is (b"file 5" in contents(bert)) is (inside is not None)
        bert.on_step = None
        await trio.sleep(A_WHILE_S)
        await simulation.settle()
        assert contents(ana) == contents(bert) and contents(ana)[b"room/inside"] == b"a room"
        bert.disk.delete((b"file 6",))
        await simulation.settle()
        assert b"file 6" not in contents(ana)

    simulate(story, 1, ("ana", "bert"))


@pytest.mark.parametrize("goes_on_s", [0.0, A_WHILE_S], ids=["at once", "later"])
def test_home_from_a_backup_makes_no_conflicts(goes_on_s: float) -> None:
    """The directory is the newer of the two: what is in it are edits, and what is missing was deleted."""

    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        backups = []
        await week(simulation, lambda computer: backups.append(computer.back_up()))
        there = contents(ana)
        await bert.stop()
        bert.restore(backups[0])
        await simulation.start(bert)
        await simulation.settle()
        await trio.sleep(goes_on_s)
        assert contents(bert) == contents(ana) == there
        assert not (await ana.call("conflicts", folder=None))["conflicts"]

    simulate(story, 1, ("ana", "bert"))


def test_machine_from_a_backup_makes_no_conflicts() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        backups = []
        await week(simulation, lambda computer: backups.append(computer.back_up()))
        there = contents(ana)
        await bert.stop()
        bert.restore(backups[0], disk=True)
        await simulation.start(bert)
        await simulation.settle()
        await trio.sleep(A_WHILE_S)
        assert contents(bert) == contents(ana) == there
        assert not (await ana.call("conflicts", folder=None))["conflicts"]

    simulate(story, 1, ("ana", "bert"))


def test_where_there_is_nobody_else_the_directory_is_what_counts() -> None:
    """Nobody could bring back what it lacks, and nobody loses it."""

    async def story(simulation: Simulation) -> None:
        (ana,) = simulation
        write(ana, "file", "first")
        await ana.share(uses=1)
        await simulation.settle()
        backup = ana.back_up()
        write(ana, "file", "second")
        write(ana, "new", "lost with that disk")
        await trio.sleep(A_WHILE_S)
        await ana.stop()
        ana.restore(backup, names=lambda name: False, disk=True)
        await simulation.start(ana)
        await trio.sleep(60)
        assert contents(ana) == {b"file": b"first"}
        assert not (await ana.status())["problems"]

    simulate(story, 1, ("ana",))
