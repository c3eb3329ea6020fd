"""What is lost with a forgotten passphrase; what is sealed beside the files of keys; where a passphrase comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from ca.homekey import HomeKey
from ca.ids import FolderId
from syncd.daemon.devicedb import DeviceDb
from syncd.methods.custodian import AtStake, loss_warning
from syncd.methods.unlocking import handed_passphrase

FOLDER, SECRET = FolderId(b"f" * 32), b"the secret of a link, 16 or more"
KEY = HomeKey(bytes(range(32)))


@pytest.mark.parametrize(
    ("folders", "told", "untold"),
    [
        ([], ["the keys of this device are lost"], ["No other device", "only owner"]),
        ([AtStake("Notes", 0, False)], ["No other device has Notes"], ["only owner"]),
        ([AtStake("Notes", 2, False)], ["only owner of Notes"], ["No other device"]),
        ([AtStake("Notes", 2, True)], ["Nobody can reset"], ["Notes"]),
        ([AtStake("A", 0, False), AtStake("B", 1, False), AtStake("C", 1, True)], ["has A:", "owner of B:"], ["C:"]),
        ([AtStake("a\nb", 0, False)], ["a\\nb"], ["a\nb"]),
    ],
)
def test_warning_names_what_nobody_else_could_open(folders: list[AtStake], told: list[str], untold: list[str]) -> None:
    warning = loss_warning(folders)
    assert all(one in warning for one in told) and not any(one in warning for one in untold)


def everything_in(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in home.iterdir())


def test_invitations_are_sealed_and_opened_again(tmp_path: Path) -> None:
    db = DeviceDb.open_in(tmp_path)
    gone = SECRET[::-1] * 50
    db.put_invite(b"a" * 8, FOLDER, SECRET)
    db.put_invite(b"b" * 8, FOLDER, gone)
    db.keep_copy()
    db.drop_invite(b"b" * 8)
    assert SECRET in everything_in(tmp_path)
    db.guard(KEY)
    db.put_invite(b"c" * 8, FOLDER, SECRET + b"2")
    assert db.invites() == [SECRET, SECRET + b"2"]
    assert SECRET not in everything_in(tmp_path) and gone not in everything_in(tmp_path)
    db.close()

    again = DeviceDb.open_in(tmp_path)
    assert again.invites() == []  # of no use without the key
    again.guard(KEY)
    assert again.invites() == [SECRET, SECRET + b"2"]
    again.guard(None)
    assert again.invites() == [SECRET, SECRET + b"2"] and SECRET in everything_in(tmp_path)
    again.close()


def test_invitations_that_another_key_sealed_are_dropped(tmp_path: Path) -> None:
    """They come with an older copy of the database, of before the passphrase was removed and set again."""
    db = DeviceDb.open_in(tmp_path)
    db.guard(KEY)
    db.put_invite(b"a" * 8, FOLDER, SECRET)
    db.close()
    again = DeviceDb.open_in(tmp_path)
    again.guard(HomeKey(bytes(32)))
    assert again.invites() == []
    again.guard(None)
    assert again.invites() == []
    again.close()


def test_passphrase_is_the_first_line_of_the_credential(tmp_path: Path) -> None:
    assert handed_passphrase({}) is None
    assert handed_passphrase({"CREDENTIALS_DIRECTORY": str(tmp_path)}) is None
    (tmp_path / "syncd-passphrase").write_bytes("neun große Schiffe\r\nnot this".encode())
    assert handed_passphrase({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "neun große Schiffe"
    (tmp_path / "syncd-passphrase").unlink()
    (tmp_path / "syncd-passphrase").mkdir()
    assert handed_passphrase({"CREDENTIALS_DIRECTORY": str(tmp_path)}) is None
