"""A daemon answers while its folders are still starting, and says so."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from syncd.main import FEW
from tests.helpers.computers import computers, wait_until
from tests.helpers.scale import wait_scanned
from tests.helpers.unixhttp import call
from tests.prove.scale_folders import FILES, make

WHOLE = {"folder": None, "cwd": None}


def test_status_is_told_before_all_folders_run_and_calls_none_of_them_in_sync(tmp_path: Path) -> None:
    with computers(("anna",), tmp_path, "Home") as (anna,):
        anna.start()
        for number in range(FEW + 1):
            make(anna, number)
        wait_scanned(anna)
        anna.stop()
        database, *_ = sorted(anna.home.rglob("folder-*.db"))
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode=EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            anna.launch()
            wait_until(lambda: (anna.home / "control.sock").exists(), 60, "no socket")
            found = call(anna.home, "status", WHOLE)
        assert len(found["folders"]) == FEW + 1
        assert "starting" in [one["state"] for one in found["folders"]]
        assert not found["in_sync"]
        wait_scanned(anna)
        found = call(anna.home, "status", WHOLE)
        assert [one["files"] for one in found["folders"]] == [FILES] * (FEW + 1)
        assert found["in_sync"]
