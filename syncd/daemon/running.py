"""Async. The life of one folder inside the daemon: opened, watched, worked on, stopped, without harm to any other.

A folder has a scope of its own. An unexpected exception ends that scope alone: the folder shows as stopped with `SY-
BUG-01`, the traceback goes to the log, and every other folder goes on.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from ca.ids import FolderId
from syncd.daemon.devicedb import FolderRow
from syncd.daemon.folder import FolderTask, State
from syncd.daemon.installation import Installation
from syncd.daemon.membership import FolderMembership
from syncd.daemon.pulling import ByteBudget, Meter
from syncd.engine.membership import Update
from syncd.errors import ConfigError, SyncdError
from syncd.seams import Lane, Tree, Trees
from syncd.store.db import open_database
from syncd.store.folder import FolderStore
from syncd.store.journal import Journal
from syncd.store.schema import FOLDER
from syncd.store.watch import watch
from syncd.treetypes import Dirty, Marker, RootState

log = logging.getLogger("syncd.daemon")

REFRESH_RIGHTS_S = 300.0


@dataclass(slots=True)
class RunningFolder:
    """A folder of this device: its row, its membership, and its task as long as it can run."""

    row: FolderRow
    membership: FolderMembership
    tree: Tree
    marker: Marker
    task: FolderTask | None = None
    why_stopped: SyncdError | None = None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    watch_limited: bool = False
    database_moved: str | None = None

    @property
    def id(self) -> FolderId:
        return self.row.id

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def state(self) -> State:
        """What `status` shows."""
        if self.why_stopped is not None or self.membership.is_out:
            return State.STOPPED
        return State.STARTING if self.task is None else self.task.state


def database_name(folder: FolderId) -> str:
    """The file of a folder's database in the home."""
    return f"folder-{folder.hex()[:16]}.db"


def marker_of(row: FolderRow, device: bytes) -> Marker:
    """The marker that this device wrote at the folder's root."""
    return Marker(row.id, device, row.marker)


async def run_folder(
    folder: RunningFolder,
    installation: Installation,
    trees: Trees,
    budget: ByteBudget,
    meter: Meter,
    *,
    wait_for_peer: bool,
    held: bool = False,
    attach: Callable[[RunningFolder, trio.Nursery], None],
    on_change: Callable[[], None],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run one folder until its scope is cancelled. `attach` starts what exchanges with its peers in the folder's
    nursery."""
    started = False

    def ready() -> None:
        nonlocal started
        if not started:
            started = True
            task_status.started()

    with folder.scope:
        try:
            connection = await _open(folder, installation)
            folder.task = _make_task(folder, installation, connection, budget, meter)
            folder.task.on_change = on_change
            if held:
                folder.task.hold()
            folder.membership.on_update.append(lambda update: _membership_moved(folder, update))
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(
                        lambda *, task_status: folder.task.run(wait_for_peer=wait_for_peer, task_status=task_status)  # type: ignore[union-attr]
                    )
                    nursery.start_soon(_watch, folder, trees, installation)
                    nursery.start_soon(_refresh_rights, folder)
                    attach(folder, nursery)
                    ready()
            finally:
                with trio.CancelScope(shield=True):
                    await installation.workers.run_blocking(_close, connection, folder.tree)
        except* trio.Cancelled:
            raise
        except* SyncdError as errors:
            folder.why_stopped = _first(errors)
            log.error("folder %s stopped: %s", folder.name, folder.why_stopped)
        except* Exception as errors:
            folder.why_stopped = SyncdError(
                "a fault in syncd stopped this folder", id="SY-BUG-01", why=repr(_first(errors))
            )
            log.exception("folder %s stopped", folder.name)
        on_change()
        ready()
        if folder.why_stopped is not None:
            await trio.sleep_forever()


def _first(group: BaseExceptionGroup[BaseException]) -> SyncdError:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found  # type: ignore[return-value]


async def _open(folder: RunningFolder, installation: Installation) -> sqlite3.Connection:
    name = database_name(folder.id)
    workers = installation.workers
    opened = await workers.run_blocking(
        open_database, lambda: folder.tree.open_database(name), lambda: folder.tree.set_database_aside(name), FOLDER
    )
    if opened.moved_aside is not None:
        folder.database_moved = opened.moved_aside
        log.error("folder %s: its database was damaged and lies in %s now; it rejoins", folder.name, opened.moved_aside)
    return opened.connection


def _make_task(
    folder: RunningFolder,
    installation: Installation,
    connection: sqlite3.Connection,
    budget: ByteBudget,
    meter: Meter,
) -> FolderTask:
    membership = folder.membership
    author = membership.member_name(installation.id)
    journal = Journal(connection, folder.id, installation.keys, installation.random, author)
    store = FolderStore(connection, folder.tree, journal, membership.keyring(), membership)
    return FolderTask(
        folder.name,
        store,
        folder.marker,
        installation.workers,
        installation.clock,
        Lane(folder.name),
        budget,
        meter,
        membership.rights(),
    )


def _close(connection: sqlite3.Connection, tree: Tree) -> None:
    connection.close()
    tree.close()


def _membership_moved(folder: RunningFolder, update: Update) -> None:
    task = folder.task
    if task is None:
        return
    task.rights = folder.membership.rights()
    if folder.membership.secrets is not None:
        task.use_keyring(folder.membership.keyring())
    task.roster_moved()


async def _refresh_rights(folder: RunningFolder) -> None:
    """Rights also change with the clock: a roster that nobody has touched for too long is frozen."""
    task = folder.task
    assert task is not None
    while True:
        task.rights = folder.membership.rights()
        await trio.sleep(REFRESH_RIGHTS_S)


async def _watch(folder: RunningFolder, trees: Trees, installation: Installation) -> None:
    """Feed the task with what the watch reports, whenever the root is there to be watched."""
    task = folder.task
    assert task is not None
    while True:
        if task.root_state is not RootState.OK:
            await trio.sleep(1)
            continue
        send, receive = trio.open_memory_channel[Dirty](16)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch, trees.watch(folder.tree), send)
            nursery.start_soon(_stop_when_root_goes, task, nursery.cancel_scope)
            async for dirty in receive:
                folder.watch_limited = folder.watch_limited or dirty.limited
                task.dirty(dirty)


async def _stop_when_root_goes(task: FolderTask, scope: trio.CancelScope) -> None:
    while task.root_state is RootState.OK:
        await task.changed()
    scope.cancel()


def refuse_root(path: bytes, others: list[RunningFolder], home: bytes) -> None:
    """A folder's root is never `/` nor holds syncd's home, and not inside or around another folder's. Raises
    ConfigError."""
    if path == b"/" or (home + b"/").startswith(path + b"/") or (path + b"/").startswith(home + b"/"):
        raise ConfigError("this place cannot be a folder", id="SY-SHARE-02")
    for other in others:
        theirs = other.row.path
        if path == theirs or path.startswith(theirs + b"/") or theirs.startswith(path + b"/"):
            raise ConfigError(
                "a folder may not lie inside or around another one",
                id="SY-SHARE-03",
                why=f"{other.name} is at {theirs.decode('utf-8', 'backslashreplace')}",
                fix="choose another directory",
            )
