"""`syncd share`: what a person sees, what a script gets, and who decides about a guest."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from syncd.web.control import Params, Progress, Result
from tests.helpers.control_server import scripted_daemon, stream
from tests.integration.cli_tools import Cli, Typist, run_process

LINK = "syncd:QGhpc2lzYWxpbms"
ABOUT = {"folder": "ab" * 32, "name": "Photos", "expires": "2099-11-20T14:52:00Z"}
CODE = {**ABOUT, "code": "7-guitar-uncle-merit", "link": None}
SCAN = {"event": "scan", "files": 12_408, "bytes": 51_650_000_000, "done": True, "seconds": 38.2}
REQUEST = {
    "event": "request", "id": "r1", "kind": "join", "folder": "ab" * 32, "name": "Photos",
    "since": "2026-11-20T12:00:00Z", "member": "anna-laptop", "host": "anna", "system": "macOS",
    "address": "192.168.1.23", "words": "tulip-orbit",
    "role": "editor",
}  # fmt: skip
TRANSFER = {
    "event": "transfer", "folder": "ab" * 32, "peer": "anna-laptop", "files_done": 372, "files_total": 12_408,
    "bytes_done": 1_500_000_000, "bytes_total": 50_000_000_000, "rate": 92e6, "eta_s": 480,
}  # fmt: skip


def result(**changed: Any) -> Result:
    about = {"path": "/home/ben/Photos", "role": "editor", "uses": 1, "files": 12_408, "bytes": 51_650_000_000}
    return {"schema": "syncd.share/1", **CODE, **about, **changed}


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(tmp_path, capsys)


def test_script_gets_one_object(cli: Cli, tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, {"share": stream(result(link=LINK, code=None))}) as api:
        told = cli(
            "share", "/srv/photos", "--name", "Photos", "--role", "viewer", "--link", "--yes", "--no-wait", "--json"
        )
    assert (told.code, told.err) == (0, "")
    assert (told.json["schema"], told.json["link"], told.json["code"]) == ("syncd.share/1", LINK, None)
    assert api.params("share") == {
        "target": "/srv/photos", "path": "/srv/photos", "name": "Photos", "role": "viewer", "link": True,
        "expires_s": None, "uses": 1, "yes": True, "wait": False, "dry_run": False,
    }  # fmt: skip


def test_yes_never_admits_by_code(cli: Cli, tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, {"share": stream(result())}) as api:
        cli("share", str(tmp_path), "--yes", "--no-wait")
        assert api.params("share")["yes"] is False
        cli("share", str(tmp_path), "--yes", "--no-wait", "--link", "--uses", "3", "--expires", "7d")
        assert api.params("share") | {"yes": True, "uses": 3, "expires_s": 604_800} == api.params("share")


def test_directory_where_one_stands_is_the_default(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with scripted_daemon(tmp_path, {"share": stream(result())}) as api:
        cli("share", "--no-wait")
    assert (api.params("share")["target"], api.params("share")["path"]) == (None, str(tmp_path))


def test_streaming_script_gets_a_line_per_event(cli: Cli, tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, {"share": stream(result(), SCAN, {"event": "invite", **CODE}, REQUEST, TRANSFER)}):
        told = cli("share", "--json")
    assert [line.get("event", line.get("schema")) for line in told.lines] == [
        "scan", "invite", "request", "transfer", "syncd.share/1",
    ]  # fmt: skip


def test_code_and_next_step_are_the_result(tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, {"share": stream(result(), SCAN, {"event": "invite", **CODE})}):
        told = run_process(tmp_path, "share", "--utc")
    assert told.out.splitlines() == [
        "Photos  12,408 files, 48.1 GiB  scanned in 38 s  shared",
        "",
        "  On the other machine run:   syncd join",
        "  and type this code:         7-guitar-uncle-merit       one use, until 20 Nov 14:52",
        "  Far away or on a phone?     syncd share --link Photos",
    ]
    assert "Waiting for someone to join.  Ctrl-C: the code stays valid." in told.err


def test_link_is_printed_with_its_expiry(tmp_path: Path) -> None:
    invite = {**CODE, "code": None, "link": LINK}
    with scripted_daemon(tmp_path, {"share": stream(result(**invite))}):
        told = run_process(tmp_path, "share", "--link", "--no-wait", "--utc")
    assert f"  syncd join {LINK}" in told.out.splitlines()
    assert "  valid until 20 Nov 14:52" in told.out.splitlines()


def test_dry_run_makes_nothing(cli: Cli, tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, {"share": stream(result(code=None))}) as api:
        told = cli("share", "--dry-run")
    assert api.params("share")["dry_run"] is True
    assert told.out == "Photos  12,408 files, 48.1 GiB  would be shared from /home/ben/Photos\n"


def knocking(answered: trio.Event) -> dict[str, Any]:
    """A share at which somebody knocks; it goes on when the person has decided."""

    async def share(params: Params, progress: Progress) -> Result:
        await progress({"event": "invite", **CODE})
        await progress(REQUEST)
        await answered.wait()
        await progress({"event": "joined", "name": "anna-laptop", "device": "d", "words": "tulip-orbit"})
        await progress(TRANSFER)
        return result()

    async def decide(params: Params, progress: Progress) -> Result:
        answered.set()
        return {
            "id": "r1",
            "kind": "join",
            "folder": "ab" * 32,
            "name": "Photos",
            "member": "anna-laptop",
            "not_restored": 0,
        }

    return {"share": share, "approve": decide, "deny": decide}


@pytest.mark.parametrize(("typed", "called"), [("y\n", "approve"), ("\n", "approve"), ("n\n", "deny")])
def test_person_decides_about_a_guest(tmp_path: Path, typed: str, called: str) -> None:
    with scripted_daemon(tmp_path, knocking(trio.Event())) as api, Typist(tmp_path, "share") as person:
        person.expect("anna-laptop (macOS, 192.168.1.23, key tulip-orbit) wants to join as editor. Allow? [Y/n]")
        person.type(typed)
        assert person.end() == 0
        assert api.params(called)["id"] == "r1"
    assert "anna-laptop joined." in person.seen
    assert "anna-laptop  3 %  1.4 GiB of 46.6 GiB  372 of 12,408 files  92 MB/s  8 min left" in person.seen


def test_without_a_person_the_guest_waits_for_approve(tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, {"share": stream(result(), {"event": "invite", **CODE}, REQUEST)}) as api:
        told = run_process(tmp_path, "share", "--yes")
    assert "syncd approve r1  or  syncd deny r1" in told.err
    assert api.names() == ["version", "share"]


def test_interrupt_leaves_the_code_valid(tmp_path: Path) -> None:
    async def share(params: Params, progress: Progress) -> Result:
        await progress({"event": "invite", **CODE})
        await trio.sleep_forever()
        raise AssertionError

    with scripted_daemon(tmp_path, {"share": share}) as api, Typist(tmp_path, "share") as person:
        person.expect("the code stays valid.")
        person.interrupt()
        assert person.end() == 130
        assert api.names() == ["version", "share"]


def test_screen_is_never_silent_while_scanning(tmp_path: Path) -> None:
    script = {"share": stream(result(), {**SCAN, "done": False})}
    with scripted_daemon(tmp_path, script), Typist(tmp_path, "share") as person:
        person.expect("12,408 files, 48.1 GiB  scanning …")
        assert person.end() == 0


def test_wrong_guess_is_told_to_the_inviter(tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, {"share": stream(result(), {"event": "attempt", "left": 2})}):
        assert "Somebody tried a wrong code. 2 guesses left." in run_process(tmp_path, "share").err


def test_qr_draws_the_link(tmp_path: Path) -> None:
    invite = {**CODE, "code": None, "link": LINK}
    with scripted_daemon(tmp_path, {"share": stream(result(**invite), {"event": "invite", **invite})}) as api:
        told = run_process(tmp_path, "share", "--qr")
    assert api.params("share")["link"] is True
    assert sum("█" in line or "▀" in line for line in told.out.splitlines()) > 10


def test_hostile_guest_cannot_draw(tmp_path: Path) -> None:
    evil = {**REQUEST, "member": "x\x1b[2J", "system": "\x07", "address": "\u202e"}
    with scripted_daemon(tmp_path, {"share": stream(result(), evil)}):
        told = run_process(tmp_path, "share")
    assert "x\\x1b[2J (\\x07, \\u202e, key tulip-orbit) wants to join" in told.err
    assert "\x1b" not in told.err


def test_root_is_warned_with_one_line(tmp_path: Path, cli: Cli) -> None:
    with scripted_daemon(tmp_path, {"share": stream(result())}):
        told = cli("share", "--no-wait")
    assert told.err == (
        "warning: running as root; files that arrive will belong to root\n" if os.geteuid() == 0 else ""
    )
