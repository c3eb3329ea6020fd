"""What a backup of a device brings into a home, and what it does not."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ca import keyfiles
from ca.backup import Backup
from ca.ids import DeviceId
from syncd.errors import ConfigError, SyncdError
from syncd.store import state
from tests.helpers.rosters import seeded

CONFIG = b'[[notify]]\nkind = "command"\ncommand = ["/bin/true"]\n'


@pytest.fixture
def made(tmp_path: Path) -> Backup:
    """A backup with two folders that lay in different places under one name, and one at the root of a disk."""
    keyfiles.load_or_create(tmp_path / "old", seeded("keys"))
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE folder(id BLOB PRIMARY KEY, name TEXT, path BLOB, added REAL)")
        for number, path in enumerate([b"/home/ann/Notes", b"/mnt/notes", b"/mnt/disk/.."]):
            db.execute("INSERT INTO folder VALUES (?,?,?,?)", (bytes([number]), f"../{number}", path, number))
        db.commit()
        return state.gather(tmp_path / "old", bytes(db.serialize()), b'{"folders": []}', DeviceId(b"d" * 32), 1)


def with_file(made: Backup, name: str, content: bytes) -> Backup:
    return replace(made, files=(*(one for one in made.files if one[0] != name), (name, content)))


def test_folders_below_one_directory_get_names_of_their_own(made: Backup) -> None:
    paths = [path for _, path in state.folders_in(made, b"/new")]
    assert paths == [b"/new/Notes", b"/new/notes-2", b"/new/-2"]


def test_what_anybody_could_have_sealed_configures_nothing(made: Backup, tmp_path: Path) -> None:
    made = with_file(made, "config.toml", CONFIG)
    forged, own = tmp_path / "forged", tmp_path / "own"
    for home, may_be_forged in ((forged, True), (own, False)):
        home.mkdir(mode=0o700)
        state.lay_out(home, made, os.urandom, None, may_be_forged=may_be_forged)
    assert not (forged / "config.toml").exists()
    assert (forged / "config.toml.recovered").read_bytes() == (own / "config.toml").read_bytes() == CONFIG


@pytest.mark.parametrize("left", ["device.db", "device.db-wal", "device.db.copy", "folder-0123456789abcdef.db"])
def test_home_in_which_something_of_a_device_is_left_is_refused(made: Backup, tmp_path: Path, left: str) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / left).write_bytes(b"of another")
    with pytest.raises(SyncdError) as told:
        state.lay_out(home, made, os.urandom, None)
    assert told.value.id == "SY-KEY-07"
    assert [path.name for path in home.iterdir()] == [left]


@pytest.mark.parametrize("settings", [b"no json", b"[]", json.dumps({"folders": "x"}).encode(), b'{"folders": [1]}'])
def test_settings_that_are_none_are_refused_before_anything_is_written(
    made: Backup, tmp_path: Path, settings: bytes
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    with pytest.raises(ConfigError) as told:
        state.lay_out(home, with_file(made, "settings.json", settings), os.urandom, None)
    assert told.value.id == "SY-KEY-05"
    assert list(home.iterdir()) == []
