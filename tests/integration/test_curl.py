"""What a plain `curl` gets with the folder's certificate, which is encrypted, and without it, which is nothing."""

from __future__ import annotations

import random
import socket
import sqlite3
import ssl
import statistics
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from tests.helpers.computers import Computer, computers
from tests.helpers.foreigners import NO_BLOCK, curl

pytestmark = pytest.mark.needs("curl")

CONTENT = random.Random("secret").randbytes(60_000)  # one block, wherever the folder's seed would cut
PROBES, WARM = 200, 20
HASTY = b"HTTP/1.1 429"
SAME_CLASS = 1.25
ENTRY_CID = slice(32, 64)  # of a packed entry of a block list: docs/protocol.md


@pytest.fixture(scope="module")
def anna(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Computer]:
    with computers(("anna",), tmp_path_factory.mktemp("curl"), "Notes") as (anna,):
        anna.start()
        (anna.folder / "secret").write_bytes(CONTENT)
        anna.ask("share", str(anna.folder), "--name", "Notes", "--link", "--yes", "--no-wait")
        anna.ask("wait", "--for", "scanned", "--timeout", "30")
        yield anna


@pytest.fixture(scope="module")
def others(anna: Computer) -> dict[str, Any]:
    """What shows somebody to be a member of another folder of the same computer."""
    place = anna.place / "Other"
    place.mkdir()
    anna.ask("share", str(place), "--name", "Other", "--link", "--yes", "--no-wait")
    tls: dict[str, Any] = anna.ask("folder", "show", "Other")["tls"]
    return tls


def cid_of_the_file(anna: Computer) -> str:
    found: list[bytes] = []
    for database in anna.home.glob("folder-*.db"):
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            found += [entry for (entry,) in connection.execute("SELECT entry FROM block")]
    (entry,) = found
    return bytes(entry[ENTRY_CID]).hex()


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


def test_block_of_another_folder_is_not_found_though_it_is_on_this_computer(
    anna: Computer, others: dict[str, Any], tmp_path: Path
) -> None:
    """The answer is to the byte the one for a block that nobody has: a member of one folder cannot ask what is in
    another. (Last in this file: from here on there are two.)"""
    tls, cid = anna.ask("folder", "show", "Notes")["tls"], cid_of_the_file(anna)
    assert curl(others, anna, cid, tmp_path / "block") == 404
    assert curl(others, anna, NO_BLOCK, tmp_path / "none") == 404
    assert all(not body.exists() or body.read_bytes() == b"" for body in (tmp_path / "block", tmp_path / "none"))
    assert curl({**others, "cert": tls["cert"], "key": tls["key"]}, anna, cid, tmp_path / "block") == 0
    assert curl(tls, anna, cid, tmp_path / "block") == 200  # the partner


@pytest.mark.long
@pytest.mark.alone
def test_nor_does_the_time_of_the_answer_tell_it(anna: Computer, others: dict[str, Any]) -> None:
    """Asked in turn on one connection, so that whatever else the machine does meets all alike."""
    cid = cid_of_the_file(anna)
    generator = random.Random("nobody has these")
    times: dict[str, list[float]] = {"elsewhere": [], "nowhere": []}
    with connected(anna, others) as line:
        for number in range(2 * PROBES):
            kind, wanted = ("elsewhere", cid) if number % 2 else ("nowhere", generator.randbytes(32).hex())
            answer = HASTY
            while answer.startswith(HASTY):  # who has not proved a device may ask so often and no more
                began = time.perf_counter()
                answer = ask(line, others["sni"], wanted)
                took_s = time.perf_counter() - began
            times[kind].append(took_s)
            assert answer.startswith(b"HTTP/1.1 404")
    quick, slow = sorted(statistics.median(found[WARM:]) for found in times.values())
    assert slow / quick < SAME_CLASS, {kind: statistics.median(found) for kind, found in times.items()}


@contextmanager
def connected(anna: Computer, tls: dict[str, Any]) -> Iterator[ssl.SSLSocket]:
    """A connection with the certificate of a folder."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(tls["cert"], tls["key"])
    with (
        socket.create_connection(("127.0.0.1", anna.port)) as raw,
        context.wrap_socket(raw, server_hostname=tls["sni"]) as line,
    ):
        line.settimeout(30)
        yield line


def ask(line: ssl.SSLSocket, host: str, cid: str) -> bytes:
    """One request for a block, and its whole answer."""
    line.sendall(f"GET /v1/blocks/{cid} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += line.recv(65_536)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(next(one.split(b":")[1] for one in head.split(b"\r\n") if one.lower().startswith(b"content-length")))
    while len(body) < length:
        body += line.recv(65_536)
    return head
