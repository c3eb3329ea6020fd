"""A connection that is closed while nobody needs it: what goes, what stays, what is said when it cannot be opened."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd.daemon.running import judge
from syncd.store.db import HomeDatabase, Transaction, open_database
from syncd.store.forms import FOLDER
from syncd.store.resting import DatabaseChanged, RestingConnection
from syncd.store.totals import db_totals

DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[RestingConnection]:
    database = HomeDatabase(tmp_path, "folder.db")
    opened = open_database(database.open, database.set_aside, FOLDER).connection
    assert isinstance(opened, RestingConnection)
    yield opened
    opened.close()


def note(connection: sqlite3.Connection, key: str) -> None:
    with Transaction(connection):
        connection.execute("INSERT INTO meta VALUES (?,?)", (key, b"value"))


def noted(connection: sqlite3.Connection) -> set[str]:
    return {key for (key,) in connection.execute("SELECT key FROM meta WHERE value=?", (b"value",))}


def add_file(connection: sqlite3.Connection, number: int, size: int) -> None:
    connection.execute(
        "INSERT INTO node(id, nk, nid, l_kind, l_size) VALUES (?,?,?,1,?)", (number, number, bytes([number]), size)
    )


def open_files(directory: Path) -> list[str]:
    paths = (os.readlink(one) for one in DESCRIPTORS.iterdir() if one.is_symlink() and os.path.lexists(one))
    return [path for path in paths if path.startswith(str(directory))]


def test_at_rest_nothing_is_open_and_afterwards_all_is_there(connection: RestingConnection, tmp_path: Path) -> None:
    note(connection, "before")
    assert open_files(tmp_path)
    assert connection.rest()
    assert not open_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.db"], "the log is in the database"
    connection.wake()
    assert noted(connection) == {"before"}
    note(connection, "after")
    assert connection.rest()
    connection.wake()
    assert noted(connection) == {"before", "after"}


def test_it_is_used_as_before(connection: RestingConnection) -> None:
    def settings() -> list[object]:
        pages = ("cache_size", "wal_autocheckpoint")
        names = ("journal_mode", "synchronous", "temp_store", "recursive_triggers", *pages)
        found = [connection.execute(f"PRAGMA {name}").fetchone() for name in names]
        return [*found, connection.isolation_level]

    db_totals(connection)
    before = settings()
    connection.rest()
    connection.wake()
    assert settings() == before


def test_changed_rows_are_counted_on(connection: RestingConnection) -> None:
    """Whoever remembers the count takes an equal one for: nothing has changed."""
    note(connection, "one")
    db_totals(connection)
    before = connection.total_changes
    for _ in range(2):
        connection.rest()
        connection.wake()
        assert connection.total_changes == before
    note(connection, "two")
    assert connection.total_changes == before + 1


def test_totals_are_followed_on_without_counting(connection: RestingConnection) -> None:
    add_file(connection, 2, 10)
    assert db_totals(connection)[:2] == (1, 10)
    connection.rest()
    connection.wake()
    counted: list[str] = []
    connection.set_trace_callback(counted.append)
    assert db_totals(connection)[:2] == (1, 10)
    connection.set_trace_callback(None)
    assert not [line for line in counted if "count(*)" in line]
    add_file(connection, 3, 5)
    connection.execute("DELETE FROM node WHERE id=2")
    assert db_totals(connection)[:2] == (1, 5)


def test_nothing_rests_that_is_under_way(connection: RestingConnection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO meta VALUES ('open', x'00')")
    assert not connection.rest()
    connection.execute("COMMIT")
    assert connection.rest()
    assert not connection.rest(), "it does already"


def test_whoever_only_reads_meanwhile_changes_nothing(connection: RestingConnection, tmp_path: Path) -> None:
    note(connection, "ours")
    connection.rest()
    with sqlite3.connect(tmp_path / "folder.db") as other:
        assert noted(other) == {"ours"}
        connection.wake()
        assert connection.rest()
    other.close()
    connection.wake()
    assert noted(connection) == {"ours"}


def replace(path: Path) -> None:
    other = path.with_name("other.db")
    other.write_bytes(path.read_bytes())
    os.replace(other, path)


def write_into(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("INSERT INTO meta VALUES ('theirs', x'00')")
    other.close()


def leave_in_the_log(path: Path) -> None:
    lines = [f"c = sqlite3.connect({str(path)!r})", "c.execute('DELETE FROM meta')", "c.commit()", "os._exit(0)"]
    program = "; ".join(["import sqlite3, os", *lines])
    with sqlite3.connect(path) as other:
        other.execute("INSERT INTO meta VALUES ('theirs', x'00')")
    other.close()
    subprocess.run([sys.executable, "-c", program], check=True)
    assert path.with_name("folder.db-wal").stat().st_size > 0


@pytest.mark.parametrize("change", [replace, write_into, leave_in_the_log, Path.unlink])
def test_database_that_others_touched_is_looked_at_as_at_a_start(
    connection: RestingConnection, tmp_path: Path, change: object
) -> None:
    note(connection, "ours")
    connection.rest()
    assert callable(change)
    change(tmp_path / "folder.db")
    for _ in range(2):
        with pytest.raises(DatabaseChanged) as refused:
            connection.wake()
    stop = judge(ExceptionGroup("", [refused.value]))
    assert (stop.again_s, stop.is_bug, stop.is_damage) == (0.0, False, False)


def test_damaged_database_is_told_as_such(connection: RestingConnection, tmp_path: Path) -> None:
    """A disk that forgets changes no times."""
    connection.rest()
    path = tmp_path / "folder.db"
    stat = path.stat()
    path.write_bytes(bytes(stat.st_size))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(sqlite3.DatabaseError) as refused:
        connection.wake()
    stop = judge(ExceptionGroup("", [refused.value]))
    assert (stop.why.id, stop.is_damage) == ("SY-DB-01", True)


def test_system_that_gives_no_descriptors_is_asked_again(connection: RestingConnection) -> None:
    note(connection, "ours")
    connection.rest()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        with pytest.raises(sqlite3.OperationalError) as refused:
            connection.wake()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    stop = judge(ExceptionGroup("", [refused.value]))
    assert (stop.why.id, stop.is_bug, stop.is_damage) == ("SY-DISK-03", False, False)
    assert stop.again_s is not None
    connection.wake()
    assert noted(connection) == {"ours"}


@pytest.mark.parametrize("fails_to_wake", [False, True])
def test_closed_for_good_it_stays_closed(connection: RestingConnection, tmp_path: Path, fails_to_wake: bool) -> None:
    connection.rest()
    if fails_to_wake:
        replace(tmp_path / "folder.db")
        with pytest.raises(DatabaseChanged):
            connection.wake()
    connection.close()
    connection.wake()
    with pytest.raises(sqlite3.ProgrammingError):
        connection.execute("SELECT 1")
    assert not open_files(tmp_path)


PROGRAM = """
import sys
from syncd.store.db import HomeDatabase, Transaction
connection = HomeDatabase(sys.argv[1], "folder.db").open()
number = 0
while True:
    with Transaction(connection):
        connection.execute("INSERT INTO meta VALUES (?,?)", (f"{sys.argv[2]}-{number}", b"value"))
    print(f"{sys.argv[2]}-{number}", flush=True)
    connection.rest()
    connection.wake()
    number += 1
"""


@pytest.mark.long
def test_kill_around_closing_and_opening_loses_nothing(connection: RestingConnection, tmp_path: Path) -> None:
    connection.close()
    told: set[str] = set()
    for trial in range(6):
        program = [sys.executable, "-c", PROGRAM, str(tmp_path), str(trial)]
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            told.add(child.stdout.readline().strip())
            time.sleep(0.003 * trial)
            child.send_signal(signal.SIGKILL)
            told |= {line.strip() for line in child.stdout if line.endswith("\n")}
    database = HomeDatabase(tmp_path, "folder.db")
    opened = open_database(database.open, database.set_aside, FOLDER)
    assert opened.moved_aside is None
    assert told <= noted(opened.connection)
    opened.connection.close()
