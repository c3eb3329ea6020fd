"""When a folder's database comes to rest, who keeps it awake, and what is told when it cannot be opened again."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from syncd.folder import database as module
from syncd.folder.database import (
    CROWD,
    CROWDED_S,
    GIVE_BACK,
    REST_S,
    TURN_S,
    TURNS,
    FolderDatabase,
    NotOpened,
    OpenDatabases,
)
from syncd.seams import Lane
from syncd.store.db import HomeDatabase, open_database
from syncd.store.forms import FOLDER
from syncd.store.resting import DatabaseChanged, RestingConnection
from syncd.workers import ThreadWorkers
from tests.helpers.tasks import SimWorkers


class Folder:
    """A database with what it says of itself."""

    def __init__(
        self, place: Path, databases: OpenDatabases, workers: ThreadWorkers | SimWorkers, number: int = 0
    ) -> None:
        file = HomeDatabase(place, f"{number}.db")
        opened = open_database(file.open, file.set_aside, FOLDER).connection
        assert isinstance(opened, RestingConnection)
        self.connection = opened
        self.database = FolderDatabase(opened, workers, Lane("one"), databases)
        self.failures: list[Exception] = []
        self.database.on_failure = self.failures.append

    @property
    def is_at_rest(self) -> bool:
        return self.connection.is_at_rest

    async def ask(self) -> object:
        return await self.database.visit(lambda: self.connection.execute("SELECT 7").fetchone()[0])

    async def write(self) -> None:
        await self.database.visit(self.connection.execute, "INSERT OR REPLACE INTO meta VALUES ('key', x'00')")


@asynccontextmanager
async def folders(place: Path, count: int = 1) -> AsyncIterator[list[Folder]]:
    databases = OpenDatabases()
    workers = SimWorkers("folders", 0.001)
    made = [Folder(place, databases, workers, number) for number in range(count)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(databases.run)
        yield made
        nursery.cancel_scope.cancel()
    for folder in made:
        await folder.database.close(lambda: None)


async def test_database_that_nobody_asks_comes_to_rest(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with folders(tmp_path) as [folder]:
        for _ in range(3):
            assert await folder.ask() == 7
            await trio.sleep(REST_S - 1)
            assert not folder.is_at_rest
            await trio.sleep(2)
            assert folder.is_at_rest


async def test_at_rest_nothing_wakes(tmp_path: Path, autojump_clock: MockClock) -> None:
    class Steps(trio.abc.Instrument):
        taken = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.taken += 1

    async with folders(tmp_path) as [folder]:
        await folder.ask()
        await trio.sleep(REST_S + 1)
        assert folder.is_at_rest
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        await trio.sleep(86_400)
        trio.lowlevel.remove_instrument(steps)
        assert steps.taken == 1, "our own"


async def test_each_question_puts_it_off(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with folders(tmp_path) as [folder]:
        for _ in range(10):
            await folder.ask()
            await trio.sleep(REST_S - 1)
            assert not folder.is_at_rest


async def test_in_a_crowd_they_rest_sooner(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with folders(tmp_path, CROWD + 2) as crowd:
        for folder in crowd:
            await folder.ask()
        await trio.sleep(CROWDED_S + 1)
        assert [folder.is_at_rest for folder in crowd] == [True, True, *[False] * CROWD], "unused for the longest time"
        await trio.sleep(REST_S)
        assert all(folder.is_at_rest for folder in crowd)


async def test_who_is_about_to_ask_more_keeps_it_awake(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with folders(tmp_path) as [folder]:
        folder.database.is_needed = lambda: True
        await folder.ask()
        await trio.sleep(10 * REST_S)
        assert not folder.is_at_rest
        folder.database.is_needed = lambda: False
        await trio.sleep(REST_S + 1)
        assert folder.is_at_rest


async def test_whoever_asks_while_it_is_being_closed_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In real threads: closing takes as long as we like."""
    databases = OpenDatabases()
    folder = Folder(tmp_path, databases, ThreadWorkers())
    begun, go_on = trio.Event(), threading.Event()
    close = RestingConnection.rest

    def rest(connection: RestingConnection) -> bool:
        trio.from_thread.run_sync(begun.set)
        assert go_on.wait(60)
        return close(connection)

    monkeypatch.setattr(RestingConnection, "rest", rest)
    answers: list[object] = []

    async def ask() -> None:
        answers.append(await folder.ask())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(folder.database.rest)
        await begun.wait()
        for _ in range(3):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert not answers
        go_on.set()
    assert answers == [7, 7, 7]
    assert not folder.is_at_rest
    await folder.database.close(lambda: None)


async def test_it_does_not_rest_under_somebody_who_asks(tmp_path: Path) -> None:
    folder = Folder(tmp_path, OpenDatabases(), ThreadWorkers())
    go_on = threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(folder.database.visit, go_on.wait, 60)
        await trio.testing.wait_all_tasks_blocked()
        assert not await folder.database.rest()
        go_on.set()
    assert await folder.database.rest()
    await folder.database.close(lambda: None)


async def test_turns_are_few_short_and_in_order(tmp_path: Path, autojump_clock: MockClock) -> None:
    databases = OpenDatabases()
    began: list[tuple[int, float]] = []
    start = trio.current_time()

    async def look(number: int, takes_s: float) -> None:
        async with databases.turn():
            began.append((number, round(trio.current_time() - start, 2)))
            await trio.sleep(takes_s)

    async with trio.open_nursery() as nursery:
        for number in range(TURNS):
            nursery.start_soon(look, number, 1.0 if number == 0 else 3600.0)
            await trio.testing.wait_all_tasks_blocked()
        for number in range(TURNS, 2 * TURNS + 1):
            nursery.start_soon(look, number, 3600.0)
            await trio.testing.wait_all_tasks_blocked()
    numbers, times = zip(*began, strict=True)
    assert numbers == tuple(range(2 * TURNS + 1))
    rest = [TURN_S] * (TURNS - 1)
    assert times == (*[0.0] * TURNS, 1.0, *rest, 1.0 + TURN_S), "nobody waits for an hour"


async def test_turn_of_who_gave_up_is_free(autojump_clock: MockClock) -> None:
    databases = OpenDatabases()
    with trio.move_on_after(0.5):
        async with trio.open_nursery() as nursery:
            for _ in range(3 * TURNS):
                nursery.start_soon(_hold, databases)
    began = trio.current_time()
    async with databases.turn():
        assert trio.current_time() == began


async def _hold(databases: OpenDatabases) -> None:
    async with databases.turn():
        await trio.sleep_forever()


async def test_only_who_changes_rows_counts(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with folders(tmp_path) as [folder]:
        await folder.ask()
        before = folder.database.changes
        await folder.ask()
        await trio.sleep(REST_S + 1)
        await folder.ask()
        assert folder.database.changes == before
        await folder.write()
        assert folder.database.changes > before


async def test_what_cannot_be_opened_ends_the_work_and_is_tried_again(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = sqlite3.OperationalError("unable to open database file")

    def refuse(connection: RestingConnection) -> None:
        raise refused

    async with folders(tmp_path) as [folder]:
        await folder.ask()
        await trio.sleep(REST_S + 1)
        with monkeypatch.context() as patch:
            patch.setattr(RestingConnection, "wake", refuse)
            with pytest.raises(NotOpened):
                await folder.ask()
        assert folder.failures == [refused]
        assert await folder.ask() == 7


async def test_replaced_database_is_not_read(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with folders(tmp_path) as [folder]:
        await folder.ask()
        await trio.sleep(REST_S + 1)
        (tmp_path / "0.db").write_bytes(b"another")
        with pytest.raises(NotOpened):
            await folder.ask()
        assert [type(error) for error in folder.failures] == [DatabaseChanged]


async def test_memory_goes_back_after_many_have_come_to_rest_and_at_the_end(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GIVE_BACK", 4)
    assert GIVE_BACK > CROWD
    databases, given = OpenDatabases(), 0

    async def give_back() -> None:
        nonlocal given
        given += 1

    databases.give_back = give_back
    made = [Folder(tmp_path, databases, SimWorkers("folders", 0.001), number) for number in range(6)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(databases.run)
        for folder in made:
            await folder.ask()
            await trio.sleep(1)
        await trio.sleep(REST_S)
        assert given == 2
        await trio.sleep(REST_S)
        assert given == 2
        nursery.cancel_scope.cancel()
    for folder in made:
        await folder.database.close(lambda: None)
