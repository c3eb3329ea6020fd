"""Who leaves a folder and comes back: nothing that the home once knew of it deletes a file anywhere."""

from __future__ import annotations

import pytest
import trio

from syncd.cli.folders import leave_line
from syncd.daemon.running import database_name
from syncd.errors import TrustError
from syncd.store.packing import PACK_AFTER_S
from syncd.treetypes import NotSupported
from tests.helpers.simulation import FOLDER, SimComputer, Simulation, simulate
from tests.helpers.tasks import SimWorkers
from tests.simulation.removing import names, write
from tests.simulation.test_come_back import until

FILES = {f"file {number}" for number in range(12)}
ELSEWHERE = "/bert/elsewhere"


async def equal_pair(simulation: Simulation) -> tuple[SimComputer, SimComputer]:
    ana, bert = simulation
    for name in FILES:
        write(ana, name, f"content of {name}")
    await bert.join(await ana.share(uses=1))
    await simulation.settle()
    assert names(bert) == FILES
    return ana, bert


async def leave(computer: SimComputer) -> str:
    """The name of the database that it had."""
    database = database_name(computer.folder.id)
    assert computer.databases.has(database)
    await computer.call("folder.leave", folder=FOLDER)
    return database


async def come_back(ana: SimComputer, bert: SimComputer, path: str) -> None:
    asked = {"role": "editor", "link": True, "uses": 1, "yes": True}
    invited = await ana.call("share", target=FOLDER, path=ana.path, name=None, **asked)
    found = await bert.call("join.find", link=invited["link"], via=[])
    await bert.call("join", join=found["join"], path=path, wait=True)


def there(computer: SimComputer, path: str) -> set[str]:
    return {one[0].decode() for one in computer.trees.disk(path.encode()).contents() if one[0] != b".syncd"}


def test_leaving_takes_what_the_home_knew_of_the_folder() -> None:
    async def story(simulation: Simulation) -> None:
        _, bert = await equal_pair(simulation)
        database = await leave(bert)
        assert not bert.databases.has(database)
        assert names(bert) == FILES

    simulate(story, 1, ("ana", "bert"))


@pytest.mark.parametrize("is_left_over", [False, True], ids=["", "as syncd of before left it"])
def test_who_comes_back_to_another_directory_deletes_nothing(is_left_over: bool) -> None:
    """The database of before says that all files stand here; in the new directory none does."""

    async def story(simulation: Simulation) -> None:
        ana, bert = await equal_pair(simulation)
        before = bert.back_up()
        database = await leave(bert)
        if is_left_over:
            await bert.stop()
            bert.databases.restore(database, before.databases[database])
            await simulation.start(bert)
        await come_back(ana, bert, ELSEWHERE)
        await trio.sleep(60)
        assert names(ana) == FILES
        assert there(bert, ELSEWHERE) == FILES
        assert names(bert) == FILES, "the files of before are nobody's any more, and stay"

    simulate(story, 1, ("ana", "bert"))


def test_who_leaves_a_paused_folder_is_told_how_many_files_stay() -> None:
    async def story(simulation: Simulation) -> None:
        _, bert = await equal_pair(simulation)
        await bert.call("pause", folder=FOLDER, for_s=None)
        await trio.sleep(5)
        left = await bert.call("folder.leave", folder=FOLDER)
        assert left["files"] == len(FILES)
        assert leave_line(left).startswith(f"{FOLDER}. The 12 files, ")
        assert leave_line({**left, "files": 0, "bytes": 0}) == f"{FOLDER}. All files in {bert.path} stay."

    simulate(story, 1, ("ana", "bert"))


def test_old_versions_that_were_packed_are_there_again_for_who_comes_back() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert = await equal_pair(simulation)
        write(ana, "file 1", "a second edition")
        await simulation.settle()
        await trio.sleep(4 * PACK_AFTER_S)
        assert (await bert.status())["history"]["packs"] == 1
        left = await bert.call("folder.leave", folder=FOLDER, dry_run=True)
        assert (left["alone"], left["only_here_since"]) == (False, None) and left["packed_bytes"] > 0
        await leave(bert)
        await come_back(ana, bert, bert.path)
        await simulation.settle()
        await ana.stop()
        path = f"{bert.path}/file 1"
        newest, *_ = (await bert.call("history", path=path, most=10))["versions"]
        how = {"existing": None, "only": None, "to": None, "on": None}
        await bert.call("restore", path=path, before=newest["id"], dry_run=False, **how)
        await trio.sleep(30)
        assert bert.disk.contents()[b"file 1",] == b"content of file 1"

    simulate(story, 1, ("ana", "bert"))


def test_who_was_taken_out_and_is_invited_anew_is_told_the_way_and_deletes_nothing() -> None:
    """What is here of the folder's old life stands in the way, and only the person knows whether it may go."""

    async def story(simulation: Simulation) -> None:
        ana, bert = await equal_pair(simulation)
        await ana.call("member.remove", folder=FOLDER, member="bert", dry_run=False)
        await trio.sleep(30)
        with pytest.raises(TrustError) as refused:
            await come_back(ana, bert, ELSEWHERE)
        assert refused.value.id == "SY-PAIR-06" and "taken out" in refused.value.what
        assert refused.value.fix.startswith(f"syncd folder leave {FOLDER}")
        await bert.call("folder.leave", folder=FOLDER)
        await come_back(ana, bert, ELSEWHERE)
        await trio.sleep(60)
        assert names(ana) == there(bert, ELSEWHERE) == FILES

    simulate(story, 1, ("ana", "bert"))


def test_who_comes_back_to_the_same_directory_deletes_nothing_as_the_join_says() -> None:
    async def story(simulation: Simulation) -> None:
        ana, bert = await equal_pair(simulation)
        await leave(bert)
        ana.disk.delete((b"file 1",))
        write(bert, "file 2", "changed while it was out")
        await trio.sleep(30)
        await come_back(ana, bert, bert.path)
        await simulation.settle()
        for computer in (ana, bert):
            assert names(computer) >= FILES, computer.name
            assert len([name for name in names(computer) if name.startswith("file 2")]) == 2, computer.name

    simulate(story, 1, ("ana", "bert"))


@pytest.mark.parametrize("seed", [3, 8])
def test_who_joins_again_while_the_leaving_still_ends_begins_behind_it(seed: int) -> None:
    """A disk that takes its time: what ends takes nothing away that has begun, and nobody works beside it."""

    async def story(simulation: Simulation) -> None:
        ana, bert = await equal_pair(simulation)
        before, workers = bert.folder, bert.daemon.seams.workers
        assert isinstance(workers, SimWorkers) and before.ended is not None
        usual_s, workers.latency_s = workers.latency_s, 100.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave, bert)
            await until(lambda: not bert.daemon.installation.db.folders())
            workers.latency_s = usual_s
            await come_back(ana, bert, ELSEWHERE)
            assert before.ended.is_set()
        assert bert.databases.has(database_name(before.id))
        assert there(bert, ELSEWHERE) == FILES == names(ana)

    simulate(story, seed, ("ana", "bert"))


def test_folder_that_moves_begins_when_all_that_it_had_open_is_closed() -> None:
    """Else two are at work on one directory and one database, and the second takes the first for a crash."""

    async def story(simulation: Simulation) -> None:
        _, bert = await equal_pair(simulation)
        before = bert.folder
        assert before.ended is not None
        workers = bert.daemon.seams.workers
        assert isinstance(workers, SimWorkers)
        usual_s, workers.latency_s = workers.latency_s, 100.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_move, bert)
            await until(lambda: not bert.daemon.folders)
            await until(lambda: bool(bert.daemon.folders))
            assert before.ended.is_set()
            workers.latency_s = usual_s

    simulate(story, 1, ("ana", "bert"))


async def _move(computer: SimComputer) -> None:
    with pytest.raises(NotSupported):  # a simulated folder lies where it lies, and goes on there
        await computer.daemon.move_folder(computer.folder, ELSEWHERE.encode(), is_there=False)
