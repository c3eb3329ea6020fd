"""A directory that is an older state of its folder, or a copy of it: nobody has deleted what it lacks, nor gone back to
what it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import trio

from syncd.store.marker import LAST_NUMBER
from syncd.treetypes import Denied, LocallyChanged, NoSpace, Path, TreeError
from tests.helpers.simulation import FOLDER, SimComputer, Simulation, simulate
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
    """A disk of its own has `lost+found`, for root alone. What is known of a room may be there, or not: nobody takes it
    away there. What was looked at is an ordinary folder."""

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
        if inside is not None:
            bert.disk.delete((inside, b"inside"))
        await trio.sleep(60)
        told = {problem["id"] for problem in (await bert.status())["problems"]}
        assert ("SY-ROOT-07" in told) is (inside is not None)
        assert b"file 5" not in contents(ana) and b"file 5" not in contents(bert)
        bert.on_step = None
        await trio.sleep(A_WHILE_S)
        await simulation.settle()
        assert contents(ana) == contents(bert) and contents(ana)[b"room/inside"] == b"a room"
        bert.disk.delete((b"file 6",))
        await simulation.settle()
        assert b"file 6" not in contents(ana)

    simulate(story, 1, ("ana", "bert"))


@pytest.mark.parametrize("lasts_s", [60.0, 2 * A_WHILE_S], ids=["soon", "late"])
def test_known_file_that_cannot_be_read_in_it_is_no_edit_when_it_can_be(lasts_s: float) -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        backups = []
        await week(simulation, lambda computer: backups.append(computer.back_up()))
        await bert.stop()
        bert.restore(backups[0], names=lambda name: False, disk=True)

        def before(step: str, at: Path) -> None:
            if at == (b"file 0",) and step in ("read_many", "open_read"):
                raise Denied("simulated", at)

        bert.on_step = before
        await simulation.start(bert)
        await trio.sleep(lasts_s)
        told = {problem["id"] for problem in (await bert.status())["problems"]}
        assert told >= {"SY-ROOT-07", "SY-FILE-01"}
        bert.on_step = None
        await trio.sleep(A_WHILE_S)
        await simulation.settle()
        assert contents(ana) == contents(bert) and contents(ana)[b"file 0"] == b"ana has changed it"
        assert not (await bert.status())["problems"]

    simulate(story, 1, ("ana", "bert"))


def test_what_was_looked_at_in_it_is_an_ordinary_folder() -> None:
    """However long something else cannot be looked at: edits make no conflicts, what is deleted stays so, what is moved
    is the same file."""

    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        backups = []
        ana.disk.mkdir((b"room",))
        ana.disk.write((b"room", b"inside"), b"a room")
        ana.disk.mkdir((b"house",))
        ana.disk.mkdir((b"house", b"room"))
        ana.disk.write((b"house", b"room", b"inside"), b"of the house")
        await week(simulation, lambda computer: backups.append(computer.back_up()))
        await bert.stop()
        bert.restore(backups[0], names=lambda name: False, disk=True)
        bert.disk.delete((b"room", b"inside"))

        def before(step: str, at: Path) -> None:
            if b"room" in at and (at[-1] != b"room" or step == "list_dir"):
                raise Denied("simulated", at)

        bert.on_step = before
        await simulation.start(bert)
        await trio.sleep(A_WHILE_S)
        for number in range(3):
            write(bert, "file 7", f"edit {number}")
            write(bert, "file 0", f"edit of 0 {number}")
            write(bert, "born", f"born {number}")
            await trio.sleep(30)
        bert.disk.delete((b"file 5",))
        bert.disk.rename((b"file 6",), (b"file 6 elsewhere",))
        await trio.sleep(30)
        assert "SY-ROOT-07" in {problem["id"] for problem in (await bert.status())["problems"]}
        now = contents(ana)
        assert now[b"file 7"] == b"edit 2" and now[b"file 0"] == b"edit of 0 2" and now[b"born"] == b"born 2"
        assert b"file 5" not in now and b"file 6" not in now and now[b"file 6 elsewhere"] == b"content of 6"
        assert not any(b"conflict" in name for name in now)
        assert now[b"room/inside"] == b"a room" and now[b"house/room/inside"] == b"of the house"
        bert.on_step = None
        await trio.sleep(A_WHILE_S)
        await simulation.settle()
        now = contents(ana)
        assert now == contents(bert) and now[b"room/inside"] == b"a room"
        assert not (await bert.status())["problems"]

    simulate(story, 1, ("ana", "bert"))


def test_disk_that_takes_no_mark_does_not_keep_it_older() -> None:
    """Full, say: what a person deletes there, to make room, would come back for ever."""

    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        backups = []
        await week(simulation, lambda computer: backups.append(computer.back_up()))
        await bert.stop()
        bert.restore(backups[0], names=lambda name: False, disk=True)

        def before(step: str, at: Path) -> None:
            if step == "write_seen":
                raise NoSpace("simulated", at)

        bert.on_step = before
        await simulation.start(bert)
        await simulation.settle()
        assert contents(ana)[b"file 2"] == b"content of 2" and contents(ana)[b"file 0"] == b"ana has changed it"
        for name in (b"file 5", b"file 6"):
            assert not (await bert.status())["problems"]
            bert.disk.delete((name,))
            await trio.sleep(60)
            assert name not in contents(ana) and name not in contents(bert)
            await trio.sleep(A_WHILE_S)  # all is looked at again
        bert.on_step = None
        await trio.sleep(A_WHILE_S)
        await bert.stop()
        bert.disk.delete((b"file 7",))
        await simulation.start(bert)
        await simulation.settle()
        assert b"file 7" not in contents(ana)

    simulate(story, 1, ("ana", "bert"))


def test_highest_number_of_all_does_not_keep_it_older() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        await week(simulation, lambda computer: None)
        await bert.stop()
        bert.disk.delete((b".syncd", b"seen"))
        bert.disk.write((b".syncd", b"seen"), (LAST_NUMBER - 1).to_bytes(8, "big") + b"j" * 16)
        for name in (b"file 5", b"file 6"):
            await simulation.start(bert)
            await simulation.settle()
            await trio.sleep(A_WHILE_S)
            write(bert, "another", name.decode())
            await trio.sleep(A_WHILE_S)
            await bert.stop()
            bert.disk.delete((name,))
        await simulation.start(bert)
        await simulation.settle()
        assert contents(ana) == contents(bert) and not {b"file 5", b"file 6"} & contents(ana).keys()
        assert not (await bert.status())["problems"]

    simulate(story, 1, ("ana", "bert"))


@pytest.mark.parametrize(
    ("disk", "goes_on_s"),
    [(False, 0.0), (False, A_WHILE_S), (True, A_WHILE_S)],
    ids=["home, at once", "home, later", "whole machine"],
)
def test_home_from_a_backup_makes_no_conflicts(disk: bool, goes_on_s: float) -> None:
    """A directory that is as old as the home, or newer: what is in that are edits, and what is missing was deleted."""

    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        backups = []
        await week(simulation, lambda computer: backups.append(computer.back_up()))
        there = contents(ana)
        await bert.stop()
        bert.restore(backups[0], disk=disk)
        await simulation.start(bert)
        await simulation.settle()
        await trio.sleep(goes_on_s)
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


def test_disk_that_numbers_its_files_anew_is_not_written_for_that() -> None:
    """Some do at each mount, some at each look: there only the number counts."""

    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        bert.disk.personality = replace(bert.disk.personality, name="sshfs")
        write(ana, "file", "content")
        await bert.join(await ana.share(uses=1))
        await simulation.settle()
        await trio.sleep(A_WHILE_S)
        mark, written = (b".syncd", b"seen"), []
        said = bert.disk.read(mark)
        bert.disk.delete(mark)
        bert.disk.write(mark, said)
        bert.on_step = lambda step, at: written.append(step) if step == "write_seen" else None
        await trio.sleep(2 * A_WHILE_S)
        assert not written and not (await bert.status())["problems"]

    simulate(story, 1, ("ana", "bert"))


def test_extended_attributes_that_a_backup_lacks_are_taken_from_nobody() -> None:
    """Many a backup has none. What is edited afterwards has those that others have."""

    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        backups = []
        tag = b"user.tag"

        def back_up(computer: SimComputer) -> None:
            for name in (b"file 0", b"file 5", b"file 6", b"file 7"):
                ana.disk.set_xattr((name,), tag, b"of before")
            backups.append(computer.back_up())

        await week(simulation, back_up)
        for name in (b"file 0", b"file 5", b"file 6"):
            ana.disk.set_xattr((name,), tag, b"of now")
        await simulation.settle()
        await trio.sleep(A_WHILE_S)
        await bert.stop()
        bert.restore(backups[0], names=lambda name: False, disk=True)
        for name in (b"file 6", b"file 0"):
            bert.disk.set_xattr((name,), tag, b"of before")
        await simulation.start(bert)
        await trio.sleep(A_WHILE_S)
        await simulation.settle()
        for edited in ("file 5", "file 6", "file 7", "file 0"):
            write(bert, edited, "edited since")
        await simulation.settle()
        for disk in (ana.disk, bert.disk):
            found = {name: disk.at((name,)).xattrs for name in (b"file 0", b"file 5", b"file 6", b"file 7")}
            assert found == {
                b"file 0": {tag: b"of now"},
                b"file 5": {tag: b"of now"},
                b"file 6": {tag: b"of now"},
                b"file 7": {tag: b"of before"},
            }

    simulate(story, 1, ("ana", "bert"))


@pytest.mark.parametrize("edited", [False, True], ids=["as it was for others", "changed by others"])
def test_extended_attributes_stay_beside_a_content_that_nobody_knows(edited: bool) -> None:
    """Nobody has removed those that a backup lacks, and whoever wrote the content may have added some."""

    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        backups = []

        def back_up(computer: SimComputer) -> None:
            ana.disk.set_xattr((b"file 5",), b"user.tag", b"of before")
            backups.append(computer.back_up())

        await week(simulation, back_up)
        if edited:
            ana.disk.set_xattr((b"file 5",), b"user.tag", b"of now")
            await simulation.settle()
        await bert.stop()
        bert.restore(backups[0], names=lambda name: False, disk=True)
        write(bert, "file 5", "written over since")
        bert.disk.set_xattr((b"file 5",), b"user.own", b"bert's")
        await simulation.start(bert)
        await trio.sleep(A_WHILE_S)
        await simulation.settle()
        wanted = {b"user.tag": b"of now" if edited else b"of before", b"user.own": b"bert's"}
        for disk in (ana.disk, bert.disk):
            assert disk.at((b"file 5",)).xattrs == wanted
        beside = {content for name, content in contents(ana).items() if name.startswith(b"file 5")}
        assert beside == {b"content of 5", b"written over since"}

    simulate(story, 1, ("ana", "bert"))


@pytest.mark.parametrize("why", [Denied, LocallyChanged], ids=["closed", "never at rest"])
def test_what_could_not_be_compared_is_told_by_its_name_and_keeps_nothing_else_back(why: type[TreeError]) -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert = simulation
        backups = []
        await week(simulation, lambda computer: backups.append(computer.back_up()))
        await bert.stop()
        bert.restore(backups[0], names=lambda name: False, disk=True)

        def before(step: str, at: Path) -> None:
            if at == (b"file 0",) and step in ("read_many", "open_read"):
                raise why("simulated", at)

        bert.on_step = before
        await simulation.start(bert)
        await trio.sleep(120)
        told = [problem for problem in (await bert.status())["problems"] if problem["id"] == "SY-ROOT-07"]
        assert [(one["path"], one["try"]) for one in told] == [
            ("file 0", "make it readable, or let what writes to it all the time rest")
        ]
        if why is Denied:  # what is not at rest is looked at again and again
            (folder,) = (await bert.call("wait", folders=[FOLDER], cwd=None, timeout_s=9.0, **{"for": "synced"}))[
                "folders"
            ]
            assert folder["state"] == "synced"
        bert.on_step = None
        await trio.sleep(A_WHILE_S)
        await simulation.settle()
        assert contents(ana) == contents(bert) and contents(ana)[b"file 0"] == b"ana has changed it"
        assert not (await bert.status())["problems"]

    simulate(story, 1, ("ana", "bert"))
