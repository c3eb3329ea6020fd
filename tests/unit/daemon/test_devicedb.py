"""The device's database by itself."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ca.ids import DeviceId, EpochId, FolderId
from ca.wraps import WrapProof
from syncd.daemon.devicedb import AGAIN, MAX_ADDRESSES_OF_DEVICE, DeviceDb, FolderRow, OwnWrap, RosterChange

FOLDER, OTHER = FolderId(b"f" * 32), FolderId(b"o" * 32)
DEVICE = DeviceId(b"d" * 32)
EPOCH = EpochId(b"e" * 32)
OWN = OwnWrap(EPOCH, b"wrap", WrapProof(0, 2, (b"n" * 32,)))


@pytest.fixture
def db() -> DeviceDb:
    return DeviceDb.open(lambda: sqlite3.connect(":memory:"), lambda: "aside")


def test_roster_comes_back_as_it_was_written(db: DeviceDb) -> None:
    wraps = (EPOCH, {DEVICE: b"sealed"})
    db.save_roster(RosterChange(FOLDER, 0, [b"genesis", b"one"], wraps, OWN, {AGAIN: b"theirs"}))
    db.save_roster(RosterChange(FOLDER, 2, [b"two"]))
    stored = db.load_roster(FOLDER)
    assert stored is not None
    assert stored.entries == [b"genesis", b"one", b"two"]
    assert (stored.wraps, stored.own, stored.evidence) == (wraps, OWN, {AGAIN: b"theirs"})
    assert db.load_roster(OTHER) is None


def test_entry_is_never_overwritten(db: DeviceDb) -> None:
    db.save_roster(RosterChange(FOLDER, 0, [b"genesis"]))
    with pytest.raises(sqlite3.IntegrityError):
        db.save_roster(RosterChange(FOLDER, 0, [b"another"]))


def test_fork_that_was_decided_puts_its_entries_in_the_place_of_others(db: DeviceDb) -> None:
    db.save_roster(RosterChange(FOLDER, 0, [b"genesis", b"first", b"second"]))
    db.save_roster(RosterChange(FOLDER, 1, [b"other"], switches=True))
    stored = db.load_roster(FOLDER)
    assert stored is not None and list(stored.entries) == [b"genesis", b"other"]


def test_step_is_written_whole_or_not_at_all(db: DeviceDb) -> None:
    def fail(db: DeviceDb, folder: FolderId) -> None:
        db.put_invite(b"i" * 8, folder, b"body")
        raise ValueError

    with pytest.raises(ValueError):
        db.save_roster(RosterChange(FOLDER, 0, [b"genesis"], None, OWN), [fail])
    assert db.load_roster(FOLDER) is None and db.invites() == []


def test_forgotten_folder_leaves_nothing_behind_and_others_alone(db: DeviceDb) -> None:
    for folder in (FOLDER, OTHER):
        db.put_folder(FolderRow(folder, "Photos", b"/photos", b"m" * 16, "ann", 1.0))
        db.save_roster(RosterChange(folder, 0, [b"genesis"], (EPOCH, {DEVICE: b"w"}), OWN, {AGAIN: b"x"}))
        db.note_seen(folder, DEVICE, 5.0)
        db.put_invite(folder[:8], folder, b"invite")
        db.put_request(f"r{folder[0]}", folder, b"request")
    db.forget_folder(FOLDER)
    assert db.load_roster(FOLDER) is None and db.last_seen(FOLDER) == {}
    assert [row.id for row in db.folders()] == [OTHER]
    assert (len(db.invites()), len(db.requests())) == (1, 1)
    assert db.load_roster(OTHER) is not None and db.last_seen(OTHER) == {DEVICE: 5.0}


def test_of_many_addresses_the_latest_are_kept(db: DeviceDb) -> None:
    for number in range(MAX_ADDRESSES_OF_DEVICE + 5):
        db.note_addresses(DEVICE, [f"10.0.0.{number}:22067"], float(number), "hello")
    found = db.addresses(DEVICE)
    assert len(found) == MAX_ADDRESSES_OF_DEVICE
    assert found[0].address == f"10.0.0.{MAX_ADDRESSES_OF_DEVICE + 4}:22067"
    db.note_addresses(DEVICE, ["10.0.0.7:22067"], 99.0, "found")
    assert (db.addresses(DEVICE)[0].seen, db.addresses(DEVICE)[0].source) == (99.0, "found")


def test_database_in_a_home_is_private_and_comes_back(tmp_path: Path) -> None:
    db = DeviceDb.open_in(tmp_path)
    row = FolderRow(FOLDER, "Photos", b"/ph\xffotos", b"m" * 16, "ann", 1.5, "paused", b"s")
    db.put_folder(row)
    db.close()
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    db = DeviceDb.open_in(tmp_path)
    assert db.folders() == [row] and db.moved_aside is None
    db.close()


def test_broken_database_is_set_aside_and_kept(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / "device.db").write_bytes(b"no database at all " * 100)
        db = DeviceDb.open_in(tmp_path)
        assert db.moved_aside == f"device.db.broken-{number}" and db.folders() == []
        db.close()
    assert (tmp_path / "device.db.broken-1").read_bytes().startswith(b"no database")
