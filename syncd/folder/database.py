"""Async. The one way to a folder's rows: calls in their order, on a connection that is closed while nobody needs it.

A device may have a thousand folders, of which few are at work. A folder whose rows nobody has asked for in a while is
at rest: its connection is closed (`store.resting`) and opened again in front of the next call, in the same thread. What
`status` says is remembered, and everything that wakes an idle folder asks the rows only if it has a reason to.

What goes wrong while it is opened again ends the folder's work, which then begins anew: so it gets the answers of a
start, whatever has become of the file.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from math import inf
from typing import TypeVar, TypeVarTuple

import trio

from syncd.errors import SyncdError
from syncd.seams import Lane, Workers
from syncd.store.resting import RestingConnection

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

REST_S = 30.0
"""Nobody has asked for so long."""
CROWDED_S = 2.0
"""The same while more than so many databases are open: as while a device with many folders starts."""
CROWD = 16
TURNS = 8
"""So many folders are looked at from end to end at a time: more would only have more open, and be no sooner done."""
TURN_S = 2.0
"""After that a turn is over, also where the look is not: nobody waits for somebody else's large folder."""
GIVE_BACK = 64
"""After so many have come to rest, what they held goes back to the system."""


class NotOpened(Exception):
    """The database could not be opened again; `why` says what ended the folder's work."""

    def __init__(self, why: Exception) -> None:
        super().__init__(str(why))
        self.why = why


class FolderDatabase:
    """One folder's."""

    def __init__(self, connection: sqlite3.Connection, workers: Workers, lane: Lane, databases: OpenDatabases) -> None:
        if not isinstance(connection, RestingConnection):
            raise TypeError("a folder's database can be closed and opened again")
        self.connection = connection
        self.on_failure: Callable[[Exception], None] = _let_be
        """It cannot be closed, or not be opened again."""
        self.is_needed: Callable[[], bool] = lambda: False
        """Somebody is about to ask more, however long that takes."""
        self.changes = 0
        """SQLite's count of changed rows. Whoever looks now and then need not, while this stands still."""
        self._workers = workers
        self._lane = lane
        self._databases = databases
        self._visitors = 0
        self._may_be_at_rest = False
        self._is_resting = False
        """It is being closed in this moment, or about to."""

    async def visit(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        """Run a question about the rows. Raises NotOpened."""
        self._visitors += 1
        try:
            self._databases.used(self)
            result = await self._workers.run_blocking(self._call, partial(function, *arguments), lane=self._lane)
            self._may_be_at_rest = self._is_resting
            return result
        except NotOpened as error:
            self.on_failure(error.why)
            raise
        finally:
            self._visitors -= 1

    def _call(self, function: Callable[[], Result]) -> Result:
        connection = self.connection
        try:
            connection.wake()
        except (sqlite3.Error, SyncdError, OSError) as error:
            raise NotOpened(error) from error
        try:
            return function()
        finally:
            self.changes = connection.total_changes

    async def rest(self) -> bool:
        """Close it, unless somebody needs it; whether it is closed now."""
        if self._visitors or self.is_needed():
            return False
        self._may_be_at_rest = self._is_resting = True  # to whoever asks from here on
        try:
            return await self._workers.run_blocking(self.connection.rest, lane=self._lane)
        except sqlite3.Error as error:
            self.on_failure(error)
            return True
        finally:
            self._is_resting = False

    async def shrink(self) -> None:
        """Let go of the pages that SQLite keeps, which come again when they are needed."""
        if not self._may_be_at_rest:
            await self._workers.run_blocking(self.connection.shrink, lane=self._lane)

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Held while everything is looked at (`OpenDatabases.turn`)."""
        return self._databases.turn()

    async def close(self, also: Callable[[], None]) -> None:
        """For good, behind whatever uses the rows just now; and do something else in the same moment."""
        self._databases.forget(self)
        self.on_failure = _let_be
        await self._workers.run_blocking(_close, self.connection, also, lane=self._lane)


class OpenDatabases:
    """The databases of a device that are open, and who of them comes to rest when."""

    def __init__(self) -> None:
        self._used_at: OrderedDict[FolderDatabase, float] = OrderedDict()
        """Unused for the longest time first."""
        self._grown = trio.Event()
        self._queue = trio.Lock()
        self._turns: dict[object, float] = {}
        """When each began."""
        self._turn_over = trio.Event()
        self._rested = 0
        """How many have come to rest since memory went back to the system."""
        self.give_back: Callable[[], Awaitable[None]] | None = None

    def __len__(self) -> int:
        return len(self._used_at)

    def used(self, database: FolderDatabase) -> None:
        """Somebody asks for rows."""
        self._used_at[database] = trio.current_time()
        self._used_at.move_to_end(database)
        if len(self._used_at) in (1, CROWD + 1):
            self._grown.set()

    def forget(self, database: FolderDatabase) -> None:
        self._used_at.pop(database, None)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One of a few, given in the order in which they are asked for."""
        mine = object()
        async with self._queue:
            while (over_at := self._next_turn_at()) > trio.current_time():
                with trio.move_on_at(over_at):
                    await self._turn_over.wait()
            self._turns[mine] = trio.current_time()
        try:
            yield
        finally:
            del self._turns[mine]
            self._turn_over.set()
            self._turn_over = trio.Event()

    def _next_turn_at(self) -> float:
        """When one is free, if none ends before."""
        latest = sorted(self._turns.values())[-TURNS:]
        return latest[0] + TURN_S if len(latest) == TURNS else -inf

    async def run(self) -> None:
        """Close what nobody needs, until cancelled."""
        while True:
            self._grown = trio.Event()
            if self.give_back is not None and self._rested >= (GIVE_BACK if self._used_at else 1):
                self._rested = 0
                await self.give_back()
            if not self._used_at:
                await self._grown.wait()
                continue
            database, used_at = next(iter(self._used_at.items()))
            due_at = used_at + (CROWDED_S if len(self._used_at) > CROWD else REST_S)
            if trio.current_time() < due_at:
                with trio.move_on_at(due_at):
                    await self._grown.wait()
            elif await database.rest():
                self._rested += 1
                if self._used_at.get(database) == used_at:
                    self.forget(database)
            elif database in self._used_at:
                self.used(database)


def _let_be(error: Exception) -> None:
    """Nobody's work depends on it."""


def _close(connection: RestingConnection, also: Callable[[], None]) -> None:
    connection.close()
    also()
