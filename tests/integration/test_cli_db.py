"""`syncd db backup`: copies that are whole, and a word for whatever stands in the way."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from syncd.catalogue import Exit
from tests.integration.cli_tools import Cli

NAMES = ("device.db", "folder-01.db")


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    for name in NAMES:
        with sqlite3.connect(home / name) as connection:
            connection.execute("CREATE TABLE known (what TEXT)")
            connection.execute("INSERT INTO known VALUES (?)", (name,))
        connection.close()
    return Cli(home, capsys)


def known(database: Path) -> str:
    connection = sqlite3.connect(database)
    try:
        [(what,)] = connection.execute("SELECT what FROM known")
        return str(what)
    finally:
        connection.close()


def test_every_database_is_copied_and_only_its_owner_reads_it(cli: Cli, tmp_path: Path) -> None:
    done = cli("db", "backup", str(tmp_path / "a" / "copies"))
    assert (done.code, done.out) == (0, f"2 databases are in {tmp_path}/a/copies.\n")
    for name in NAMES:
        copy = tmp_path / "a" / "copies" / name
        assert known(copy) == name
        assert copy.stat().st_mode & 0o777 == 0o600


def test_dry_run_copies_nothing_and_says_so(cli: Cli, tmp_path: Path) -> None:
    done = cli("db", "backup", str(tmp_path / "copies"), "--dry-run")
    assert (done.code, done.out) == (0, f"2 databases would be copied to {tmp_path}/copies.\n")
    assert not (tmp_path / "copies").exists()


def test_home_is_no_place_for_copies(cli: Cli, tmp_path: Path) -> None:
    """They would replace what another home knows by what this one does."""
    other = tmp_path / "other"
    (other / "keys").mkdir(parents=True)
    (other / "device.db").write_bytes(b"of another")
    for home in (cli.home, other):
        told = cli("db", "backup", str(home))
        assert told.code == Exit.USAGE and "is a home of syncd" in told.err
    assert (other / "device.db").read_bytes() == b"of another"


def test_place_that_cannot_be_written_is_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    done = cli("db", "backup", str(tmp_path / "file" / "copies"))
    assert done.code == Exit.USAGE
    assert f"nothing can be written to {tmp_path}/file/copies: Not a directory" in done.err
    assert "[SY-USE-01]" in done.err


def test_damaged_database_is_named_and_leaves_no_part_of_a_copy(cli: Cli, tmp_path: Path) -> None:
    (cli.home / "folder-01.db").write_bytes(b"this is no database" * 300)
    done = cli("db", "backup", str(tmp_path / "copies"))
    assert done.code == Exit.INTEGRITY
    assert "folder-01.db cannot be copied" in done.err and "[SY-DB-01]" in done.err
    assert [one.name for one in (tmp_path / "copies").iterdir()] == ["device.db"]
    assert known(tmp_path / "copies" / "device.db") == "device.db"


def damage(database: Path) -> None:
    """Pages in the middle are not what they were; SQLite notices only when it comes to read them."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executemany("INSERT INTO known VALUES (?)", [("x" * 3000,)] * 40)
    with open(database, "r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\x5a" * 30 * 4096)


def test_damaged_database_replaces_no_copy_that_is_whole(cli: Cli, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    assert cli("db", "backup", str(copies)).code == 0
    damage(cli.home / "folder-01.db")
    told = cli("db", "backup", str(copies))
    assert told.code == Exit.INTEGRITY
    assert "folder-01.db cannot be copied" in told.err and "[SY-DB-01]" in told.err
    assert sorted(one.name for one in copies.iterdir()) == sorted(NAMES)
    assert known(copies / "folder-01.db") == "folder-01.db"


def test_damaged_database_is_told_by_check_and_vacuum_in_a_line(cli: Cli) -> None:
    damage(cli.home / "folder-01.db")
    found = cli("db", "check")
    assert found.code == Exit.INTEGRITY
    assert len(found.out.splitlines()) == len(NAMES)
    told = cli("db", "vacuum")
    assert told.code == Exit.INTEGRITY
    assert "folder-01.db cannot be made small" in told.err and "[SY-DB-01]" in told.err


def test_database_that_was_emptied_is_not_called_whole(cli: Cli) -> None:
    """A power cut may leave a file without anything in it, which SQLite takes for a new one."""
    (cli.home / "folder-01.db").write_bytes(b"")
    found = cli("db", "check")
    assert found.code == Exit.INTEGRITY
    told = [line for line in found.out.splitlines() if "whole" not in line]
    assert len(told) == 1 and "folder-01.db" in told[0] and "empty: what it knew is gone" in told[0]
