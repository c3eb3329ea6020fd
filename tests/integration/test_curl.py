"""What a plain `curl` gets with the folder's certificate, which is encrypted, and without it, which is nothing."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from tests.helpers.computers import Computer, computers
from tests.helpers.foreigners import NO_BLOCK, curl

pytestmark = pytest.mark.needs("curl")

CONTENT = random.Random("secret").randbytes(60_000)  # one block, wherever the folder's seed would cut
ENTRY_CID = slice(32, 64)  # of a packed entry of a block list: docs/protocol.md


@pytest.fixture(scope="module")
def anna(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Computer]:
    with computers(("anna",), tmp_path_factory.mktemp("curl"), "Notes") as (anna,):
        anna.start()
        (anna.folder / "secret").write_bytes(CONTENT)
        anna.ask("share", str(anna.folder), "--name", "Notes", "--link", "--yes", "--no-wait")
        anna.run("wait", "--for", "scanned", "--timeout", "20")
        yield anna


def cid_of_the_file(anna: Computer) -> str:
    (database,) = anna.home.glob("folder-*.db")
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        (entry,) = connection.execute("SELECT entry FROM block").fetchone()
        return bytes(entry[ENTRY_CID]).hex()
    finally:
        connection.close()


def test_with_the_certificate_curl_gets_the_encrypted_block(anna: Computer, tmp_path: Path) -> None:
    tls, cid = anna.ask("folder", "show", "Notes")["tls"], cid_of_the_file(anna)
    assert curl(tls, anna, cid, tmp_path / "block") == 200
    body = (tmp_path / "block").read_bytes()
    assert blake3(body).hexdigest() == cid
    assert len(body) >= len(CONTENT)
    assert CONTENT[:16] not in body


def test_without_the_certificate_curl_gets_nothing(anna: Computer, tmp_path: Path) -> None:
    tls, cid = anna.ask("folder", "show", "Notes")["tls"], cid_of_the_file(anna)
    assert curl(tls, anna, cid, tmp_path / "block", certificate=False) == 0
    assert not (tmp_path / "block").exists()
    assert curl(tls, anna, cid, tmp_path / "block") == 200


def test_block_that_nobody_has_is_not_found(anna: Computer, tmp_path: Path) -> None:
    tls = anna.ask("folder", "show", "Notes")["tls"]
    assert curl(tls, anna, NO_BLOCK, tmp_path / "block") == 404


def test_files_for_curl_are_private_and_go_with_the_rotation(anna: Computer, tmp_path: Path) -> None:
    tls, cid = anna.ask("folder", "show", "Notes")["tls"], cid_of_the_file(anna)
    kept = {**tls, "cert": str(tmp_path / "cert"), "key": str(tmp_path / "key")}
    for name in ("cert", "key"):
        assert Path(tls[name]).stat().st_mode & 0o777 == 0o600
        Path(kept[name]).write_bytes(Path(tls[name]).read_bytes())
    anna.ask("rotate", "Notes")
    assert not Path(tls["key"]).exists()
    fresh = anna.ask("folder", "show", "Notes")["tls"]
    assert fresh["sni"] != tls["sni"]
    assert curl(fresh, anna, cid, tmp_path / "block") == 200


def test_block_of_another_folder_is_not_found_though_it_is_on_this_computer(anna: Computer, tmp_path: Path) -> None:
    """The answer is to the byte the one for a block that nobody has: a member of one folder cannot ask what is in
    another. (Last in this file: from here on there are two.)"""
    tls, cid = anna.ask("folder", "show", "Notes")["tls"], cid_of_the_file(anna)
    other = anna.place / "Other"
    other.mkdir()
    anna.ask("share", str(other), "--name", "Other", "--link", "--yes", "--no-wait")
    others = anna.ask("folder", "show", "Other")["tls"]
    assert curl(others, anna, cid, tmp_path / "block") == 404
    assert curl(others, anna, NO_BLOCK, tmp_path / "none") == 404
    assert all(not body.exists() or body.read_bytes() == b"" for body in (tmp_path / "block", tmp_path / "none"))
    assert curl({**others, "cert": tls["cert"], "key": tls["key"]}, anna, cid, tmp_path / "block") == 0
    assert curl(tls, anna, cid, tmp_path / "block") == 200  # the partner
