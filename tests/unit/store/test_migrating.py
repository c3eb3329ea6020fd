"""Migrations: a copy before, nothing lost when one fails, and the way back."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from sqlite_utils import Database

from syncd.store import db as databases
from syncd.store.db import HomeDatabase, open_database
from syncd.store.forms import DEVICE, FOLDER, Form
from syncd.store.migrating import Executes, MigrationFailed, Steps, copies, copying_line, roll_back

NAME = "syncd-test"


def steps(count: int, *, fails: bool = False) -> Form:
    """Steps that each add a table; the last one of those that fail does so after it has written."""
    made = Steps(NAME)

    def add(number: int) -> None:
        def step(db: Executes) -> None:
            db.execute(f"CREATE TABLE t{number}(x)")
            if fails and number == count:
                db.execute("UPDATE everything SET gone=1")

        step.__name__ = f"m{number:03}"
        made(step)

    for number in range(1, count + 1):
        add(number)
    return Form(NAME, count, f"m{count:03}", lambda: made)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a database of format 1 and something in it."""
    file = HomeDatabase(tmp_path, "x.db")
    opened = open_database(file.open, file.set_aside, steps(1))
    opened.connection.execute("INSERT INTO t1 VALUES ('precious')")
    opened.connection.close()
    assert copies(tmp_path / "x.db") == [], "a new database needs no copy"
    return tmp_path


def migrate(home: Path, to: int, *, fails: bool = False) -> list[str]:
    """Open it with a program of format `to`; what was told meanwhile."""
    file, told = HomeDatabase(home, "x.db"), list[str]()
    open_database(file.open, file.set_aside, steps(to, fails=fails), told.append).connection.close()
    return told


@pytest.mark.parametrize("form", [FOLDER, DEVICE], ids=lambda form: form.name)
def test_form_names_the_last_of_its_steps(form: Form, tmp_path: Path) -> None:
    file = HomeDatabase(tmp_path, "x.db")
    connection = open_database(file.open, file.set_aside, form).connection
    done = [name for (name,) in connection.execute("SELECT name FROM _sqlite_migrations ORDER BY rowid")]
    assert done[-1] == form.last and form.is_current(connection)
    connection.close()


def schema_of(connection: sqlite3.Connection) -> tuple[object, ...]:
    tables = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name").fetchall()
    record = connection.execute("SELECT id, migration_set, name, length(applied_at) FROM _sqlite_migrations").fetchall()
    return tables, record


@pytest.mark.parametrize("form", [FOLDER, DEVICE], ids=lambda form: form.name)
def test_new_database_is_what_sqlite_utils_makes_of_an_old_one(form: Form, tmp_path: Path) -> None:
    by_library = sqlite3.connect(":memory:", isolation_level=None)
    form.steps().as_migrations().apply(Database(by_library, execute_plugins=False))
    file = HomeDatabase(tmp_path, "x.db")
    connection = open_database(file.open, file.set_aside, form).connection
    assert schema_of(connection) == schema_of(by_library)
    assert connection.execute("PRAGMA user_version").fetchone() == (form.newest,)
    assert form.steps().as_migrations().pending(Database(connection, execute_plugins=False)) == []
    connection.close()
    by_library.close()


def test_new_database_whose_beginning_fails_stays_new(tmp_path: Path) -> None:
    file = HomeDatabase(tmp_path, "x.db")
    with pytest.raises(sqlite3.OperationalError):
        open_database(file.open, file.set_aside, steps(3, fails=True))
    with contextlib.closing(file.open()) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
        assert connection.execute("PRAGMA user_version").fetchone() == (0,)
    open_database(file.open, file.set_aside, steps(3)).connection.close()


def test_new_database_needs_no_library(tmp_path: Path) -> None:
    code = (
        "import sys; from syncd.store.db import HomeDatabase, open_database; from syncd.store.forms import FOLDER; "
        "file = HomeDatabase(sys.argv[1], 'x.db'); open_database(file.open, file.set_aside, FOLDER); "
        "sys.exit('sqlite_utils' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_database_in_which_a_step_is_missing_is_not_current(tmp_path: Path) -> None:
    file = HomeDatabase(tmp_path, "x.db")
    assert not FOLDER.is_current(file.open())
    open_database(file.open, file.set_aside, steps(1)).connection.close()
    assert not steps(2).is_current(file.open()) and steps(1).is_current(file.open())


def content(path: Path) -> tuple[set[str], list[tuple[str]]]:
    connection = sqlite3.connect(path)
    try:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE name GLOB 't[0-9]'")}
        return tables, connection.execute("SELECT x FROM t1").fetchall()
    finally:
        connection.close()


def test_copy_is_made_before_and_told_with_rate_and_time(home: Path) -> None:
    told = migrate(home, 3)
    (copy,) = copies(home / "x.db")
    assert copy.name == "x.db.before-3"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert content(copy) == ({"t1"}, [("precious",)])
    assert content(home / "x.db") == ({"t1", "t2", "t3"}, [("precious",)])
    assert any("MiB/s" in line for line in told)
    assert copying_line("x.db", 10 << 20, 40 << 20, 2.0) == "x.db: copied 10 of 40 MiB, 5 MiB/s, 6 s left"


def test_only_the_newest_copy_is_kept(home: Path) -> None:
    migrate(home, 2)
    migrate(home, 3)
    assert [copy.name for copy in copies(home / "x.db")] == ["x.db.before-3"]
    assert migrate(home, 3) == [], "nothing is pending: no copy, no word"


def test_failed_step_loses_nothing_and_is_no_damage(home: Path) -> None:
    with pytest.raises(MigrationFailed) as caught:
        migrate(home, 3, fails=True)
    assert caught.value.id == "SY-DB-03"
    assert content(home / "x.db")[1] == [("precious",)]
    assert "t3" not in content(home / "x.db")[0]
    assert not list(home.glob("*.broken-*"))
    migrate(home, 3)
    assert content(home / "x.db") == ({"t1", "t2", "t3"}, [("precious",)])


def test_step_that_fails_again_and_again_costs_no_copy_of_before(home: Path) -> None:
    """A service manager starts the program anew, and the step fails anew: half of the way is none to go back to."""
    for _ in range(2):
        with pytest.raises(MigrationFailed):
            migrate(home, 3, fails=True)
    migrate(home, 3)
    (copy,) = copies(home / "x.db")
    assert content(copy) == ({"t1"}, [("precious",)])


def test_migration_to_the_same_format_once_more_is_copied_anew(home: Path) -> None:
    migrate(home, 3)
    with contextlib.closing(sqlite3.connect(home / "x.db")) as connection:
        connection.execute("INSERT INTO t1 VALUES ('written since')")
        connection.execute("DELETE FROM _sqlite_migrations WHERE name='m003'")
        connection.execute("DROP TABLE t3")
        connection.commit()
    migrate(home, 3)
    (copy,) = copies(home / "x.db")
    assert content(copy)[1] == [("precious",), ("written since",)]


def test_full_disk_is_told_with_numbers_before_anything_is_done(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 30, 1 << 30, 1000))
    with pytest.raises(MigrationFailed) as caught:
        migrate(home, 2)
    assert caught.value.id == "SY-DISK-01"
    assert "; migrating it takes " in caught.value.why and caught.value.why.endswith(", and 1000 B are free")
    assert " 0 " not in caught.value.why, "a small database is told in a small unit"
    assert content(home / "x.db") == ({"t1"}, [("precious",)])
    assert copies(home / "x.db") == []


def test_going_back_restores_the_copy_and_keeps_the_other(home: Path) -> None:
    migrate(home, 2)
    (done,) = roll_back(home)
    assert (done.name, done.kept) == ("x.db", "x.db.newer-1")
    assert content(home / "x.db") == ({"t1"}, [("precious",)])
    assert content(home / "x.db.newer-1")[0] == {"t1", "t2"}
    file = HomeDatabase(home, "x.db")
    open_database(file.open, file.set_aside, steps(1)).connection.close()  # the program of before reads it again
    assert list(roll_back(home)) == [], "a copy is used once"


def test_newer_database_names_the_way_back(home: Path) -> None:
    migrate(home, 2)
    file = HomeDatabase(home, "x.db")
    with pytest.raises(databases.DatabaseNewer) as caught:
        open_database(file.open, file.set_aside, steps(1))
    assert caught.value.id == "SY-DB-02" and "syncd db rollback" in caught.value.fix
