"""`syncd db backup`: copies that are whole, and a word for whatever stands in the way."""

from __future__ import annotations

import sqlite3
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
