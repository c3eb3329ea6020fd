"""Async. The life of one folder inside the daemon: opened, watched, worked on, stopped, without harm to any other.

A folder has a scope of its own. An unexpected exception ends that scope alone: the folder shows as stopped with `SY-
BUG-01`, the traceback goes to the log, and every other folder goes on. What the disk refused is no such fault: the
folder begins anew until it is let; a damaged database is moved aside and the folder rejoins without a base.
"""

from __future__ import annotations

import errno
import logging
import os
import shlex
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import field, replace

import trio

from ca.ids import FolderId
from ca.values import dataclass
from syncd.daemon.devicedb import FolderRow
from syncd.daemon.installation import Installation
from syncd.daemon.membership import FolderMembership
from syncd.engine.membership import Update
from syncd.engine.retention import copies_untrusted, tiers_untrusted
from syncd.errors import ConfigError, LocalProtocolError, StoreCorrupt, SyncdError
from syncd.folder.database import FolderDatabase, OpenDatabases
from syncd.folder.folder import FolderTask, State
from syncd.folder.ground import not_at_work
from syncd.folder.metering import Transfers
from syncd.folder.problems import problem_of
from syncd.seams import Lane, Tree, Trees, Workers
from syncd.store.counts import NOTHING, Counts, db_counts
from syncd.store.db import open_database
from syncd.store.folder import FolderStore
from syncd.store.forms import FOLDER
from syncd.store.journal import Journal
from syncd.store.migrating import is_new
from syncd.store.resting import DatabaseChanged
from syncd.store.watch import watch
from syncd.treetypes import ROOT, Dirty, Marker, RootState, TreeError

log = logging.getLogger("syncd.daemon")

REFRESH_RIGHTS_S = 300.0
BEGIN_AGAIN_S = 5.0
LOOK_AT_CLOCK_S = 60.0
"""A pause ends by the wall clock, which may be set meanwhile."""
_PAUSED = "paused "
DISK_IDS = {
    sqlite3.SQLITE_FULL: "SY-DISK-01",
    sqlite3.SQLITE_READONLY: "SY-DISK-02",
    sqlite3.SQLITE_IOERR: "SY-DISK-03",
    sqlite3.SQLITE_CANTOPEN: "SY-DISK-03",
    sqlite3.SQLITE_BUSY: "SY-DISK-03",
}
"""What SQLite says about the disk that the home is on."""
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


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
    watch_overflows: int = 0
    database_moved: str | None = None
    paused_until: float | None = None
    """Unix seconds, infinity for no end; None: it works."""
    counts: Counts | None = None
    """What was counted when it was last at work, while it is not; None before the first time."""
    turn: trio.CancelScope = field(default_factory=trio.CancelScope)
    """From opening the database to the next stop or pause."""
    pause_changed: trio.Event = field(default_factory=trio.Event)
    twins: tuple[tuple[str, str, str], ...] = ()
    """Devices of this folder that are two computers by now: (id, why, what to do)."""
    ended: trio.Event | None = None
    """Set when all that it had open is closed, for good; None: it was not begun."""

    def pause(self, until: float | None) -> None:
        """Rest until some moment, or (None) work again."""
        self.paused_until = until
        self.pause_changed.set()
        self.pause_changed = trio.Event()
        if until is not None:
            self.turn.cancel()

    @property
    def id(self) -> FolderId:
        return self.row.id

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def state(self) -> State:
        """What `status` shows."""
        membership = self.membership
        if self.why_stopped is not None or membership.is_out or membership.has_ended or not membership.may_read:
            return State.STOPPED
        if self.paused_until is not None:
            return State.PAUSED
        if self.task is None:
            return State.STARTING
        if self.task.state is State.SYNCED and self.membership.devices() and not self.task.heads_reached:
            return State.WAITING  # what is here stands as it should; whether others have more is not known
        return self.task.state

    def at_work(self) -> FolderTask:
        """Its task, for what people ask of it. Raises SyncdError where it rests, or why it has stopped."""
        if self.why_stopped is not None:
            raise self.why_stopped.with_traceback(None)  # else it keeps what all those did who were told so far
        if self.task is None:
            fix = "syncd status" if self.paused_until is None else f"syncd resume {self.name}"
            raise not_at_work(self.name, fix)
        return self.task


def database_name(folder: FolderId) -> str:
    """The file of a folder's database in the home."""
    return f"folder-{folder.hex()[:16]}.db"


def pause_text(until: float | None) -> str:
    """A pause as the row of the folder keeps it."""
    return "" if until is None else f"{_PAUSED}{until}"


def pause_of(state: str) -> float | None:
    """Until when a folder is paused, as its row says."""
    return float(state.removeprefix(_PAUSED)) if state.startswith(_PAUSED) else None


def marker_of(row: FolderRow, device: bytes) -> Marker:
    """The marker that this device wrote at the folder's root."""
    return Marker(row.id, device, row.marker)


async def run_folder(
    folder: RunningFolder,
    installation: Installation,
    trees: Trees,
    transfers: Transfers,
    databases: OpenDatabases,
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
        on_change()
        if not started:
            started = True
            task_status.started()

    folder.membership.on_update.append(lambda update: _membership_moved(folder, update))
    with folder.scope:
        while True:
            await _rest(folder, installation, on_change, ready)
            stop: Stop | None = None
            with trio.CancelScope() as folder.turn:
                stop = await _run_once(
                    folder, installation, trees, transfers, databases, wait_for_peer, held, attach, on_change, ready
                )
            _let_go(folder)
            if stop is None:  # paused
                continue
            folder.why_stopped = stop.why
            ready()
            if stop.again_s is None:
                await trio.sleep_forever()
            else:
                await trio.sleep(stop.again_s)
    ready()  # if it was ended before it began: whoever waits for that goes on


def _let_go(folder: RunningFolder) -> None:
    """It is at work no more; what was counted last is still shown."""
    if folder.task is not None:
        folder.counts = folder.task.counts
        folder.task.stopped()
    folder.task = None


async def _rest(
    folder: RunningFolder, installation: Installation, on_change: Callable[[], None], ready: Callable[[], None]
) -> None:
    """While the folder is paused."""
    while folder.paused_until is not None:
        ready()
        changed = folder.pause_changed
        if folder.counts is None:  # it was paused before this start
            folder.counts = await installation.workers.run_blocking(_count, folder.tree, database_name(folder.id))
            on_change()
        left_s = folder.paused_until - installation.clock.now()
        if left_s <= 0:
            folder.paused_until = None
        with trio.move_on_after(min(max(left_s, 0), LOOK_AT_CLOCK_S)):
            await changed.wait()
    on_change()


def _count(tree: Tree, name: str) -> Counts:
    """What the rows of a folder say that is not at work. A database that cannot tell yet is left as it is."""
    if not tree.has_database(name):
        return NOTHING
    connection = tree.open_database(name)
    try:
        return db_counts(connection)
    except sqlite3.Error as error:  # damaged, or of an older syncd: seen to when the folder goes on
        log.info("%s: not counted before the folder goes on: %s", name, error)
        return NOTHING
    finally:
        connection.close()


async def _run_once(
    folder: RunningFolder,
    installation: Installation,
    trees: Trees,
    transfers: Transfers,
    databases: OpenDatabases,
    wait_for_peer: bool,
    held: bool,
    attach: Callable[[RunningFolder, trio.Nursery], None],
    on_change: Callable[[], None],
    ready: Callable[[], None],
) -> Stop:
    """From opening the database to whatever makes the folder stop."""
    stop: Stop | None = None
    try:
        connection = await _open(folder, installation)
        task = folder.task = _make_task(folder, installation, connection, transfers, databases)
        task.on_change = on_change
        _use_policy(folder, task)
        if installation.home is not None:
            place = os.path.join(installation.home, "drill", folder.id.hex()[:16])
            task.driller.equip(place, installation.random)
        if held:
            task.hold()
        task.expect_watch()
        # A database without a history of its own (new, or begun after damage) publishes nothing before a peer is heard.
        waits = wait_for_peer or bool(folder.membership.devices())
        try:
            async with trio.open_nursery() as nursery:
                task.database.on_failure = lambda error: nursery.start_soon(_fail, error)
                await nursery.start(lambda *, task_status: task.run(wait_for_peer=waits, task_status=task_status))
                folder.why_stopped = None
                nursery.start_soon(_watch, folder, trees, installation)
                nursery.start_soon(_refresh_rights, folder)
                attach(folder, nursery)
                ready()
        finally:
            with trio.CancelScope(shield=True):
                await task.close()
    except* trio.Cancelled:
        raise
    except* Exception as errors:
        stop = judge(errors)
        if stop.is_bug:
            log.exception("folder %s stopped", folder.name)
        else:
            log.error("folder %s stopped: %s", folder.name, stop.why)
    assert stop is not None  # the tasks of a folder never end by themselves
    if stop.is_damage:
        aside = await installation.workers.run_blocking(folder.tree.set_database_aside, database_name(folder.id))
        folder.database_moved, folder.row = aside, replace(folder.row, begun=False)
    return stop


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a folder stopped. `again_s`: it begins anew after so many seconds; None: a person has to act first."""

    why: SyncdError
    again_s: float | None = None
    is_bug: bool = False
    is_damage: bool = False


def judge(errors: BaseExceptionGroup[BaseException]) -> Stop:
    """What is to be said and done about what ended a folder. Troubles of the disk go away; then the folder goes on."""
    found = leaves(errors)
    for error in found:
        if isinstance(error, sqlite3.Error):
            return _judge_database(error)
        if isinstance(error, DatabaseChanged):  # it is looked at as at a start
            return Stop(error, again_s=0.0)
    for error in found:
        if isinstance(error, OSError) and error.errno in EXHAUSTED:
            fix = "close other programs, or raise the limit; the folder goes on by itself"
            return Stop(SyncdError("the system gives no more", id="SY-DISK-03", why=str(error), fix=fix), BEGIN_AGAIN_S)
        if isinstance(error, TreeError):
            id_, why, fix = problem_of(error, reading=True)
            return Stop(SyncdError(f"the disk failed: {error}", id=id_, why=why, fix=fix), BEGIN_AGAIN_S)
    for error in found:
        if not isinstance(error, SyncdError) or isinstance(error, LocalProtocolError):
            why = f"{type(error).__name__}: {error}"
            return Stop(SyncdError("a fault in syncd stopped this folder", id="SY-BUG-01", why=why), is_bug=True)
    for error in found:
        if isinstance(error, SyncdError):
            return Stop(error)
    raise AssertionError("an empty group of errors")


def _judge_database(error: sqlite3.Error) -> Stop:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        why = SyncdError(
            "the folder's database is damaged", id="SY-DB-01", why=str(error), fix="nothing; it is rebuilt"
        )
        return Stop(why, again_s=0.0, is_damage=True)
    if code in DISK_IDS:
        fix = "look after the disk on which syncd's home is; the folder goes on by itself"
        return Stop(
            SyncdError("the database cannot be written", id=DISK_IDS[code], why=str(error), fix=fix), BEGIN_AGAIN_S
        )
    why = SyncdError("a fault in syncd stopped this folder", id="SY-BUG-01", why=f"{type(error).__name__}: {error}")
    return Stop(why, is_bug=True)


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The exceptions in nested groups."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


async def _open(folder: RunningFolder, installation: Installation) -> sqlite3.Connection:
    name, was_begun = database_name(folder.id), folder.row.begun

    def open_() -> sqlite3.Connection:
        connection = folder.tree.open_database(name)
        try:
            if was_begun and is_new(connection):
                raise StoreCorrupt("the database is empty, and was not before", id="SY-DB-01")
        except BaseException:
            connection.close()
            raise
        return connection

    def set_aside() -> str:
        nonlocal was_begun
        was_begun = False  # by now the one in its place
        return folder.tree.set_database_aside(name)

    opened = await installation.workers.run_blocking(
        open_database, open_, set_aside, FOLDER, installation.tell_migration
    )
    if opened.moved_aside is not None:
        folder.database_moved = opened.moved_aside
        log.error("folder %s: its database was damaged and lies in %s now; it rejoins", folder.name, opened.moved_aside)
    if not folder.row.begun:
        try:
            await installation.on_disk(installation.db.note_begun, folder.id)
        except BaseException:
            opened.connection.close()
            raise
        folder.row = replace(folder.row, begun=True)
    return opened.connection


def _make_task(
    folder: RunningFolder,
    installation: Installation,
    connection: sqlite3.Connection,
    transfers: Transfers,
    databases: OpenDatabases,
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
        FolderDatabase(connection, installation.workers, Lane(folder.name), databases),
        transfers,
        membership.rights(),
        installation.measures,
    )


async def _fail(error: Exception) -> None:
    """End the work of a folder whose database cannot be opened again: it begins anew."""
    raise error


def _membership_moved(folder: RunningFolder, update: Update) -> None:
    task = folder.task
    if task is None:
        return
    task.use_rights(folder.membership.rights())
    _use_policy(folder, task)
    if folder.membership.secrets is not None:
        task.use_keyring(folder.membership.keyring())
    task.roster_moved()
    task.tell()


def _use_policy(folder: RunningFolder, task: FolderTask) -> None:
    """What the roster asks of every member's history, and who the other devices are."""
    settings = folder.membership.roster.settings
    task.store.asked_tiers, task.store.asked_copies = tiers_untrusted(settings), copies_untrusted(settings)
    task.store.others = frozenset(device.id for device in folder.membership.devices())


async def _refresh_rights(folder: RunningFolder) -> None:
    """Rights also change with the clock: a roster that nobody has touched for too long is frozen."""
    task = folder.task
    assert task is not None
    while True:
        task.use_rights(folder.membership.rights())
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
        events = trees.watch(folder.tree)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch, events, send)
                nursery.start_soon(_stop_when_root_goes, task, nursery.cancel_scope)
                async for dirty in receive:
                    folder.watch_limited = dirty.limited or (folder.watch_limited and not dirty.rescan)
                    folder.watch_overflows += dirty.rescan
                    task.scanner.dirty(dirty)
                    task.is_watched.set()
        finally:
            events.close()


async def _stop_when_root_goes(task: FolderTask, scope: trio.CancelScope) -> None:
    while task.root_state is RootState.OK:
        await task.root_moved.wait()
    scope.cancel()


async def refuse_root(path: bytes, others: Sequence[RunningFolder], home: bytes, workers: Workers) -> None:
    """A folder's root is never `/` nor holds syncd's home, and not inside or around another folder's, whatever symlinks
    lead there. Raises ConfigError."""
    taken = [(other.name, other.row.path) for other in others]
    await workers.run_blocking(_refuse_root, path, taken, home)


def _refuse_root(path: bytes, taken: Sequence[tuple[str, bytes]], home: bytes) -> None:
    if path == b"/" or _overlap(path, home):
        raise ConfigError("this place cannot be a folder", id="SY-SHARE-02")
    for name, theirs in taken:
        if _overlap(path, theirs):
            raise ConfigError(
                "a folder may not lie inside or around another one",
                id="SY-SHARE-03",
                why=f"{name} is at {theirs.decode('utf-8', 'backslashreplace')}",
                fix="choose another directory",
            )


def _overlap(path: bytes, other: bytes) -> bool:
    """Whether one of two directories is the other, or lies in it, as they are named or where symlinks lead now."""
    pairs = ((path, other), (os.path.realpath(path), os.path.realpath(other)))
    return any((one + b"/").startswith(two.rstrip(b"/") + b"/") for pair in pairs for one, two in (pair, pair[::-1]))


def refuse_marked(path: bytes, marker: Marker | None, device: bytes) -> None:
    """A directory that another home has marked as its folder is not taken from it. Raises ConfigError."""
    if marker is not None and marker.device != device:
        where = path.decode("utf-8", "backslashreplace")
        raise ConfigError(
            "this directory is a folder of another syncd",
            id="SY-ROOT-06",
            why=f"{where}/.syncd/folder names another device: another home on this computer, or one it was copied from",
            fix=f"if nobody else keeps it in sync any more:  rm {shlex.quote(f'{where}/.syncd/folder')}",
        )


async def refuse_ours(
    path: bytes,
    tree: Tree,
    folders: list[RunningFolder],
    installation: Installation,
    open_tree: Callable[[bytes], Tree],
) -> None:
    """A directory whose marker is that of a folder here is refused if it is that folder's own, seen by another path, or
    was moved there; a copy of it can be a folder of its own. Raises ConfigError, TreeError."""
    run = installation.workers.run_blocking
    marker = await run(tree.read_marker)
    refuse_marked(path, marker, installation.id)
    for folder in folders:
        if marker is None or folder.marker != marker:
            continue
        where, theirs = (one.decode("utf-8", "backslashreplace") for one in (path, folder.row.path))
        own = open_tree(folder.row.path)
        try:
            if await run(own.check_root, marker) is not RootState.OK:
                raise ConfigError(
                    f"this directory is that of {folder.name}",
                    id="SY-SHARE-03",
                    why=f"its marker says so, and at {theirs} it is not any more",
                    fix=f"if you have moved it:  syncd folder move {shlex.quote(folder.name)} {shlex.quote(where)}",
                )
            await run(tree.check_root, marker)
            here, there = await run(tree.stat, ROOT), await run(own.stat, ROOT)
        finally:
            await run(own.close)
        if (here.ino, here.dev) == (there.ino, there.dev):
            raise ConfigError(
                f"this directory is that of {folder.name}",
                id="SY-SHARE-03",
                why=f"it lies at {theirs}, and a mount shows it here as well",
                fix="choose another directory",
            )


def absolute(path: str) -> bytes:
    """A path from the command line, which has made it absolute already."""
    return os.fsencode(os.path.normpath(path))
