"""Blocking. From one format of a database to the next: a copy first, then the steps, and the way back.

A new database takes all steps at once, in one transaction; for one that is older there is sqlite-utils, whose record of
the steps a new one has as well.

Each step commits together with the record that it was done, so a cut between two is no trouble (the database is in WAL
mode: what was committed first is kept first). The copy is for the people: a program of before cannot read what a newer
one wrote, and with the copy it need not. It is of before the first step, however often a later one fails. Whoever goes
back loses what was noted since; the folder finds out that its database is an older one and catches up with the disk and
the peers.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ca.values import dataclass
from syncd import wording
from syncd.errors import SyncdError

if TYPE_CHECKING:
    from sqlite_utils import Migrations

OnProgress = Callable[[str], None]

RECORD = "_sqlite_migrations"
"""Where sqlite-utils notes each step, in the transaction of that step."""

COPY_PAGES = 1024
"""Between two reports, 4 MiB."""
STEPS_OF_SQLITE = 1_000_000
"""Between two signs of life of one long statement, about a tenth of a second."""
ROOM_FACTOR = 2.5
"""Free space that a migration wants, in sizes of the database: the copy, and the log of rewriting every row."""
MIB = 1 << 20


class MigrationFailed(SyncdError):
    """The database is as it was before; nothing of it is lost."""


class Executes(Protocol):
    """What a step runs its statements with."""

    def execute(self, sql: str, /) -> Any:
        """Run one statement."""


Step = Callable[[Executes], None]


@dataclass(slots=True)
class Steps:
    """All steps of one kind of database, in their order. `@steps` above a function makes it the next one."""

    name: str
    all: list[Step] = field(default_factory=list)

    def __call__(self, step: Step) -> Step:
        self.all.append(step)
        return step

    def as_migrations(self) -> Migrations:
        """For a database that has some of them."""
        from sqlite_utils import Migrations

        made = Migrations(self.name)
        for step in self.all:
            made(name=step.__name__)(step)
        return made


def begin(connection: sqlite3.Connection, steps: Steps, newest: int) -> None:
    """Make the tables of a database that has none: all steps, and their record, in one transaction."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            f'CREATE TABLE "{RECORD}" (\n   "id" INTEGER PRIMARY KEY,\n   "migration_set" TEXT,\n   "name" TEXT,\n'
            '   "applied_at" TEXT\n)'
        )
        connection.execute(
            f'CREATE UNIQUE INDEX "idx_{RECORD}_migration_set_name"\n    ON "{RECORD}" ("migration_set", "name")'
        )
        for step in steps.all:
            step(connection)
            connection.execute(
                f"INSERT INTO {RECORD}(migration_set, name, applied_at) "
                "VALUES (?, ?, strftime('%Y-%m-%d %H:%M:%f000+00:00', 'now'))",
                (steps.name, step.__name__),
            )
        connection.execute(f"PRAGMA user_version={newest}")


def is_new(connection: sqlite3.Connection) -> bool:
    """Whether a database has no tables yet."""
    return connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None


def migrate(connection: sqlite3.Connection, steps: Steps, newest: int, tell: OnProgress) -> None:
    """Bring an older database to the newest format. Raises MigrationFailed SY-DISK-01, SY-DB-03.

    The steps are not flushed one by one, which would be most of the time that a new folder takes: the log holds them in
    their order, the next commit flushes all of it, and what a power cut takes before that is done again.
    """
    from sqlite_utils import Database  # sixty modules, for a database that is older

    database, migrations = Database(connection, execute_plugins=False), steps.as_migrations()
    pending = migrations.pending(database)
    if not pending:
        return
    path = file_of(connection)
    done = 1 + len(steps.all) - len(pending)
    (at_first,) = connection.execute("PRAGMA application_id").fetchone()  # in the file, while a migration is under way
    if path is not None and not (0 < at_first < done and copies(path)):  # else this is half of the way
        keep_copy(connection, path, newest, tell)
        at_first = done
    connection.execute(f"PRAGMA application_id={at_first}")
    name = "a new database" if path is None else path.name
    began = time.monotonic()
    connection.set_progress_handler(
        lambda: tell(f"{name}: {len(pending)} steps to format {newest}, for {time.monotonic() - began:.0f} s"),
        STEPS_OF_SQLITE,
    )
    (flushes,) = connection.execute("PRAGMA synchronous").fetchone()
    connection.execute("PRAGMA synchronous=NORMAL")
    try:
        migrations.apply(database)
        connection.execute("PRAGMA application_id=0")
    except sqlite3.Error as error:
        fix = "syncd db rollback and the version of before; please report it"
        raise MigrationFailed(
            f"{name} cannot be brought to format {newest}", id="SY-DB-03", why=str(error), fix=fix
        ) from error
    finally:
        connection.set_progress_handler(None, 0)
        connection.execute(f"PRAGMA synchronous={flushes}")


def keep_copy(connection: sqlite3.Connection, path: Path, newest: int, tell: OnProgress) -> Path:
    """Copy a database page by page beside itself. Complete or not there at all."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    size, free = pages * page_bytes, shutil.disk_usage(path.parent).free
    if free < size * ROOM_FACTOR:
        takes = wording.size(size * ROOM_FACTOR)
        why = f"{path.name} has {wording.size(size)}; migrating it takes {takes}, and {wording.size(free)} are free"
        raise MigrationFailed(
            "there is no room to migrate a database", id="SY-DISK-01", why=why, fix="make room, and start again"
        )
    part, whole = path.with_name(f"{path.name}.part"), copy_name(path, newest)
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    began = time.monotonic()

    def report(status: int, remaining: int, total: int) -> None:
        tell(copying_line(path.name, (total - remaining) * page_bytes, total * page_bytes, time.monotonic() - began))

    copy = sqlite3.connect(part)
    try:
        connection.backup(copy, pages=COPY_PAGES, progress=report)
    finally:
        copy.close()
    _sync(part)
    part.rename(whole)
    _sync(path.parent)
    for older in copies(path):
        if older != whole:
            older.unlink()
    return whole


def copying_line(name: str, done_bytes: int, total_bytes: int, seconds: float) -> str:
    """`folder-1.db: copied 12 of 48 MiB, 30 MiB/s, 1 s left`."""
    rate = done_bytes / seconds if seconds > 0 else 0.0
    left = f", {(total_bytes - done_bytes) / rate:.0f} s left" if rate else ""
    return f"{name}: copied {done_bytes / MIB:,.0f} of {total_bytes / MIB:,.0f} MiB, {rate / MIB:,.0f} MiB/s{left}"


def file_of(connection: sqlite3.Connection) -> Path | None:
    """The file of a database; None for one in memory."""
    for _, name, file in connection.execute("PRAGMA database_list"):
        if name == "main" and file:
            return Path(file)
    return None


def copy_name(path: Path, newest: int) -> Path:
    return path.with_name(f"{path.name}.before-{newest}")


def copies(path: Path) -> list[Path]:
    """Copies of a database that were kept, in the order of their formats."""
    found = (one for one in path.parent.glob(f"{path.name}.before-*") if one.suffix.rpartition("-")[2].isdigit())
    return sorted(found, key=lambda one: int(one.suffix.rpartition("-")[2]))


@dataclass(frozen=True, slots=True)
class Restored:
    """A database that is the one of before again; what it was lies in `kept`."""

    name: str
    kept: str


def roll_back(home: Path) -> Iterator[Restored]:
    """Put the copies of before the last migration in the places of their databases. The daemon must not run."""
    for path in sorted(home.glob("*.db")):
        if not (found := copies(path)):
            continue
        kept = _free_name(path)
        for suffix in ("-wal", "-shm"):  # they belong to the file that goes
            if (beside := path.with_name(path.name + suffix)).exists():
                beside.rename(kept.with_name(kept.name + suffix))
        path.rename(kept)
        found[-1].rename(path)
        _sync(home)
        yield Restored(path.name, kept.name)


def _free_name(path: Path) -> Path:
    number = 1
    while (name := path.with_name(f"{path.name}.newer-{number}")).exists():
        number += 1
    return name


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
