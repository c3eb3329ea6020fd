"""What happened on two real computers, told in five kinds by the command line and by the page; and a log that somebody
has changed. Where contents are kept, besides."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pwd
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from syncd.engine.happenings import Kind
from tests.helpers.computers import Computer, computers, join, loopback_config, share, start_all, wait_until
from tests.integration.test_page_daemon import visit

SYNC_S = 60.0
WAIT_S = 20.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Computer]]:
    """They share a folder, and a little of everything has happened there."""
    with computers(("anna", "ben"), tmp_path_factory.mktemp("audit"), "Photos") as both:
        for one in both:
            one.config = loopback_config(one.port) + '[web]\nlisten = "127.0.0.1:0"\n'
        start_all(both)
        anna, ben = both
        (anna.folder / "notes.txt").write_text("first")
        join(ben, share(anna, "Photos"))
        ben.wait_synced(SYNC_S)
        anna.wait_in_place(ben, SYNC_S)
        assert anna.run("pause", "Photos").returncode == 0
        assert anna.run("resume", "Photos").returncode == 0
        assert anna.run("member", "role", "Photos", "ben", "viewer", "--yes").returncode == 0
        assert anna.run("approve", "0123").returncode == 7
        visit(anna).do("rescan", folder=anna.ask("status")["folders"][0]["id"], back="/")
        (anna.folder / ".syncd" / "ignore").write_text("[z-a]\n")
        anna.run("folder", "rescan", "Photos")
        wait_until(lambda: bool(records(anna, "fault")), WAIT_S, "no fault was told")
        yield both


def records(computer: Computer, kind: str = "") -> list[dict[str, Any]]:
    chosen = ("--kind", kind) if kind else ()
    found: list[dict[str, Any]] = computer.ask("audit", *chosen, "--last", "500")["audit"]
    return found


def test_each_kind_can_be_had_by_itself(pair: list[Computer]) -> None:
    anna = pair[0]
    for kind in Kind:
        found = records(anna, kind.value)
        assert found, kind
        assert {one["kind"] for one in found} == {kind.value}
    assert {one["kind"] for one in records(anna)} == {kind.value for kind in Kind}
    assert anna.run("audit", "--kind", "gossip").returncode == 2


def test_who_did_what_by_which_way(pair: list[Computer]) -> None:
    anna = pair[0]
    told = {(one["kind"], one["actor"], one["action"], one["ok"]) for one in records(anna)}
    assert ("operator", "command line", "pause", True) in told
    assert ("operator", "page", "folder.rescan", True) in told
    assert ("admin", "command line", "member.change", True) in told
    assert ("admin", "command line", "approve", False) in told
    user = pwd.getpwuid(os.geteuid()).pw_name
    typed = [one["what"] for one in records(anna) if one["actor"] == "command line"]
    assert typed and all(what.split()[0] == f"user={user}" for what in typed), typed
    assert ("audit", "this device", "admit", True) in told
    assert ("event", "files") in {(kind, action) for kind, _, action, _ in told}
    assert any("ben is viewer" in one["what"] for one in records(anna, "audit"))
    assert any("SY-CONF-03" in one["action"] for one in records(anna, "fault"))
    assert {one["actor"] for one in anna.ask("audit", "--actor", "page")["audit"]} == {"page"}


def test_exports_are_whole_tables(pair: list[Computer]) -> None:
    anna = pair[0]
    lines = anna.run("audit", "--export", "ndjson").stdout.splitlines()
    assert {json.loads(line)["kind"] for line in lines} == {kind.value for kind in Kind}
    rows = list(csv.DictReader(anna.run("audit", "--export", "csv", "--kind", "admin").stdout.splitlines()))
    assert {row["kind"] for row in rows} == {"admin"} and "member.change" in {row["action"] for row in rows}
    visitor = visit(anna)
    assert "member.change" in visitor.get("/audit.csv?kind=admin")
    assert "folder.rescan" not in visitor.page


def test_page_filters_and_shows_that_the_chain_is_whole(pair: list[Computer]) -> None:
    visitor = visit(pair[0])
    assert "log is intact" in visitor.get("/audit?kind=admin")
    assert "member.change" in visitor.page and "folder.rescan" not in visitor.page


def test_storage_says_who_has_all_of_it(pair: list[Computer]) -> None:
    anna = pair[0]
    (one,) = anna.ask("storage", "list")["folders"]
    assert (one["level"], [copy["fresh"] for copy in one["copies"]]) == ("good", [True, True])
    visitor = visit(anna)
    assert "2 computers are known to have all of it" in visitor.get("/storage")
    folder = anna.ask("status")["folders"][0]["id"]
    assert "keeps all 120d" in visitor.do("retention", folder=folder, keep="all 120d", space="20G", back="/storage")
    assert anna.ask("retention", "Photos")["keep"] == "all 120d"
    assert "There is nothing to let go of" in visitor.get(f"/prune?folder={folder}")
    visitor.do("scrub", folder=folder, back="/storage")
    where = visitor.path
    wait_until(lambda: "read, 0 packs damaged" in visitor.get(where), WAIT_S, "the scrub does not end")


def test_changed_log_is_found(pair: list[Computer]) -> None:
    """Comes last: from here on anna's log stays broken, as it must."""
    anna = pair[0]
    assert anna.run("audit").returncode == 0
    anna.stop()
    with contextlib.closing(sqlite3.connect(anna.home / "device.db")) as database, database:
        (raw,) = database.execute("SELECT raw FROM audit WHERE number=2").fetchone()
        database.execute("UPDATE audit SET raw=? WHERE number=2", (raw.replace(b"command", b"comment"),))
    anna.start()
    done = anna.run("audit")
    assert (done.returncode, "the log is not whole: line 2" in done.stdout) == (13, True)
    assert "The log was changed: line 2" in visit(anna).get("/audit")
