"""Exports: any moment as a directory, a tar file or a store that somebody reads without syncd, and on a schedule."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ca.keyfiles import load_recovery
from tests.helpers import independent_restore
from tests.helpers.computers import SYNC_S, Computer, computers, demand_equal, share, snapshot
from tests.helpers.machinetime import Stopwatch
from tests.helpers.oddities import write_oddities

pytestmark = pytest.mark.slowest


FOLDER = "Notes"
MIB = 1 << 20
SCRIPT = Path(independent_restore.__file__)


@pytest.fixture
def anna(tmp_path: Path) -> Iterator[Computer]:
    with computers(("anna",), tmp_path, FOLDER) as (anna,):
        anna.start()
        write_oddities(anna.folder)
        (anna.folder / "film").write_bytes(os.urandom(3 * MIB))
        share(anna, FOLDER)
        anna.wait_synced(SYNC_S)
        yield anna


def now(computer: Computer) -> str:
    """A moment that holds all that was written so far, and nothing that is written from now on."""
    computer.wait_synced(SYNC_S)
    time.sleep(1.1)
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    time.sleep(1.1)
    return moment


def test_script_is_short_and_independent() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    roots = {line.split()[1].split(".")[0] for line in text.splitlines() if line.startswith(("import ", "from "))}
    assert roots - set(sys.stdlib_module_names) == {"cryptography"}


def test_store_and_key_alone_give_the_folder_back(anna: Computer, tmp_path: Path) -> None:
    store = tmp_path / "store"
    key = load_recovery(anna.home)
    assert key is not None
    before = snapshot(anna.folder)
    done = anna.ask("export", FOLDER, "--to", str(store), "--encrypted")
    assert done["form"] == "store" and done["missing_blocks"] == 0
    anna.ask("rotate", FOLDER, "--yes")
    film = bytearray((anna.folder / "film").read_bytes())
    film[MIB] ^= 1
    (anna.folder / "film").write_bytes(film)
    (anna.folder / "new").write_text("of the second epoch")
    anna.wait_synced(SYNC_S)
    size = sum(pack.stat().st_size for pack in (store / "packs").iterdir())
    anna.ask("export", FOLDER, "--to", str(store), "--encrypted")
    grown = sum(pack.stat().st_size for pack in (store / "packs").iterdir()) - size
    assert grown < 2 * MIB, "what it had already was written again"
    moments = sorted(moment.name for moment in (store / "moments").iterdir())
    after = snapshot(anna.folder)
    anna.stop()
    for moment, expected in zip(moments, (before, after), strict=True):
        target = tmp_path / moment
        command = [sys.executable, str(SCRIPT), str(store), str(target), moment]
        subprocess.run(command, input=key.text + "\n", text=True, check=True, timeout=60, cwd=tmp_path)
        assert snapshot(target) == expected


def test_store_does_not_open_with_another_key_nor_after_a_flipped_bit(anna: Computer, tmp_path: Path) -> None:
    store = tmp_path / "store"
    anna.ask("export", FOLDER, "--to", str(store), "--encrypted")
    key = load_recovery(anna.home)
    assert key is not None
    run = [sys.executable, str(SCRIPT), str(store)]
    wrong = type(key)(bytes(32)).text
    refused = subprocess.run([*run, str(tmp_path / "a")], input=wrong, text=True, capture_output=True, check=False)
    assert refused.returncode != 0 and not (tmp_path / "a").exists()
    pack = max((store / "packs").iterdir(), key=lambda one: one.stat().st_size)
    raw = bytearray(pack.read_bytes())
    raw[1000] ^= 1
    pack.write_bytes(raw)
    damaged = subprocess.run([*run, str(tmp_path / "b")], input=key.text, text=True, capture_output=True, check=False)
    assert damaged.returncode != 0 and "InvalidTag" in damaged.stderr


def test_directory_and_tar_of_any_moment_are_what_was_there(anna: Computer, tmp_path: Path) -> None:
    before, moment = snapshot(anna.folder), now(anna)
    (anna.folder / "new").write_text("since then")
    anna.wait_synced(SYNC_S)
    anna.ask("export", FOLDER, "--to", str(tmp_path / "now"))
    demand_equal(anna.folder, tmp_path / "now")
    anna.ask("export", FOLDER, "--to", str(tmp_path / "then.tar"), "--at", moment)
    with tarfile.open(tmp_path / "then.tar", errors="surrogateescape") as tar:
        tar.extractall(tmp_path / "then", filter="fully_trusted")
    assert {path: value[0] for path, value in snapshot(tmp_path / "then").items()} == {
        path: value[0] for path, value in before.items()
    }
    assert b"new" not in snapshot(tmp_path / "then")


def test_nothing_that_is_there_is_overwritten(anna: Computer, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    for flags in ((), ("--encrypted",)):
        refused = anna.run("export", FOLDER, "--to", str(tmp_path / "full"), *flags)
        assert refused.returncode == 8 and "SY-HIST-05" in refused.stderr
    assert (tmp_path / "full" / "mine").read_text() == "mine"
    assert [one.name for one in (tmp_path / "full").iterdir()] == ["mine"]


def test_job_runs_after_a_restart_and_is_listed_with_what_went_wrong(anna: Computer, tmp_path: Path) -> None:
    anna.ask("export", FOLDER, "--to", str(tmp_path / "daily"), "--every", "24h", "--tar", "--keep", "2")
    (tmp_path / "in the way").write_text("a file")
    anna.ask("export", FOLDER, "--to", str(tmp_path / "in the way"), "--every", "24h")
    anna.stop()
    anna.start()
    watch = Stopwatch()
    jobs = anna.ask("export", FOLDER, "--list")["exports"]
    while not all(job["runs"] for job in jobs) and watch.seconds() < SYNC_S:
        time.sleep(0.2)
        jobs = anna.ask("export", FOLDER, "--list")["exports"]
    good, bad = jobs
    assert good["failures"] == 0 and bad["failures"] == 1 and bad["runs"][0]["why"]
    assert [path.suffix for path in (tmp_path / "daily").iterdir()] == [".tar"]
    anna.ask("export", FOLDER, "--stop", "2")
    assert [job["id"] for job in anna.ask("export", FOLDER, "--list")["exports"]] == [1]
