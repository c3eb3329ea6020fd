"""`syncd join`: look before writing, ask little, and never leave the other side waiting."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import trio

from syncd.errors import SyncdError
from syncd.web.control import Params, Progress, Result
from tests.helpers.control_server import Script, scripted_daemon, stream
from tests.integration.cli_tools import Cli, Typist, run_process

CODE = "7-guitar-uncle-merit"
LINK = "syncd:abcdef"
FOUND = {
    "join": "j1", "folder": None, "name": "Photos", "role": "editor", "files": 12_408, "bytes": 51_650_000_000,
    "inviter": {"name": "ben-desktop", "words": "lemon-comet", "address": "192.168.1.5"}, "path": "/home/anna/Photos",
}  # fmt: skip
EMPTY = {
    "path": "/p", "exists": False, "empty": True, "same": None, "only_here": None, "differ": None,
    "fetch_bytes": None, "fetch_files": None,
}  # fmt: skip
FULL = {
    "path": "/p", "exists": True, "empty": False, "same": 790, "only_here": 12, "differ": 10,
    "fetch_bytes": 50_360_000_000, "fetch_files": 11_600,
}  # fmt: skip
JOINED = {
    "schema": "syncd.join/1", "folder": "ab" * 32, "path": "/p", "name": "Photos", "role": "editor", "epoch": 2,
    "synced": True,
}  # fmt: skip
TRANSFER = {
    "event": "transfer", "folder": "ab" * 32, "peer": None, "files_done": 372, "files_total": 12_408,
    "bytes_done": 1_500_000_000, "bytes_total": 50_000_000_000, "rate": 92e6, "eta_s": 480,
}  # fmt: skip
LOOKING = {"event": "phase", "phase": "looking"}


def script(**changed: Any) -> Script:
    """A daemon that lets everybody in, with some steps replaced."""
    steps: dict[str, Any] = {"join.find": FOUND, "join.preview": EMPTY, "join": JOINED, "join.cancel": {}} | changed
    return {name: stream(step) if isinstance(step, dict) else step for name, step in steps.items()}


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(tmp_path, capsys)


def test_script_joins_by_link_without_a_question(cli: Cli, tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, script()) as api:
        told = cli(
            "join", LINK, "/srv/p", "--as", "nas", "--via", "h:1", "--via", "[::1]:2", "--yes", "--no-wait", "--json"
        )
    assert (told.code, told.err, told.json) == (0, "", JOINED)
    assert api.params("join.find") == {"code": None, "link": LINK, "via": ["h:1", "[::1]:2"], "as": "nas"}
    assert api.params("join.preview") == {"join": "j1", "path": "/srv/p"}
    assert api.params("join") == {"join": "j1", "path": "/srv/p", "name": None, "filter": [], "wait": False}


def test_yes_takes_the_suggested_place(cli: Cli, tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, script(**{"join.preview": FULL})) as api:
        assert cli("join", CODE, "--yes").code == 0
    assert api.params("join")["path"] == "/home/anna/Photos"
    assert api.params("join.find")["code"] == CODE


def test_code_can_come_from_the_environment_and_from_stdin(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_daemon(tmp_path, script()) as api:
        monkeypatch.setenv("SYNCD_CODE", CODE)
        assert cli("join", "--yes").code == 0
        assert api.params("join.find")["code"] == CODE
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{LINK}\n"))
        assert cli("join", "-", "--yes").code == 0
        assert api.params("join.find")["link"] == LINK


@pytest.mark.parametrize(
    ("arguments", "preview", "flag", "calls"),
    [
        ([], EMPTY, "code or link", ["version"]),
        ([CODE], EMPTY, "PATH", ["version", "join.find", "join.cancel"]),
        ([CODE, "/p"], FULL, "--yes", ["version", "join.find", "join.preview", "join.cancel"]),
    ],
)
def test_without_a_terminal_the_missing_answer_is_named(
    cli: Cli, tmp_path: Path, arguments: list[str], preview: dict[str, Any], flag: str, calls: list[str]
) -> None:
    with scripted_daemon(tmp_path, script(**{"join.preview": preview})) as api:
        told = cli("join", *arguments, "--json")
    assert (told.code, told.error["id"]) == (2, "SY-USE-02")
    assert flag in told.error["try"]
    assert api.names() == calls


def test_without_a_terminal_a_full_target_is_refused_before_the_invitation_is_used(cli: Cli, tmp_path: Path) -> None:
    target = tmp_path / "p"
    (target / ".syncd").mkdir(parents=True)
    with scripted_daemon(tmp_path, script()) as api:
        assert cli("join", LINK, str(target), "--json").code == 0
        (target / "mine").write_text("mine")
        told = cli("join", LINK, str(target), "--json")
        assert (told.code, told.error["id"], told.error["try"]) == (2, "SY-USE-02", "give --yes")
        assert api.names()[-1] == "version"
        assert cli("join", LINK, str(target), "--yes", "--json").code == 0


def test_empty_target_needs_no_yes(cli: Cli, tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, script()):
        assert cli("join", CODE, "/p", "--json").code == 0


def test_person_types_a_code_with_tab_and_says_yes(tmp_path: Path) -> None:
    steps = script(**{"join.find": stream(FOUND, LOOKING), "join.preview": FULL, "join": stream(JOINED, TRANSFER)})
    with scripted_daemon(tmp_path, steps) as api, Typist(tmp_path, "join") as person:
        person.expect("Code: ")
        person.type("7-guit\t-uncle-merit\n")
        person.expect("Where? [/home/anna/Photos]")
        person.type("/p\n")
        person.expect("Join? [Y/n]")
        person.type("\n")
        assert person.end() == 0
        assert api.params("join.find")["code"] == CODE
    shown = person.seen
    assert (
        "Found Photos on ben-desktop (192.168.1.5, key lemon-comet), 12,408 files, 48.1 GiB; you will be an editor."
        in shown
    )
    assert "  /p is not empty: 790 files the same, 12 only here, 10 different." in shown
    assert "  Joining will fetch 46.9 GiB, send 12 files, keep both versions of 10. Nothing is deleted." in shown
    assert "Joined.  3 %  1.4 GiB of 46.6 GiB  372 of 12,408 files  92 MB/s  8 min left" in shown
    assert "Joined. Photos in /p is in sync." in shown


def test_no_to_the_preview_cancels(tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, script(**{"join.preview": FULL})) as api:
        with Typist(tmp_path, "join", CODE, "/p") as person:
            person.expect("Join? [Y/n]")
            person.type("n\n")
            assert person.end() == 1
        assert api.names()[-1] == "join.cancel"
    assert "[SY-USE-03]" in person.seen
    assert "With a no it leaves again, and needs a new invitation." in person.seen


def test_interrupt_at_a_question_cancels(tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, script()) as api, Typist(tmp_path, "join", CODE) as person:
        person.expect("Where?")
        person.interrupt()
        assert person.end() == 130
        assert api.names()[-1] == "join.cancel"


def test_interrupt_while_fetching_goes_on_in_the_background(tmp_path: Path) -> None:
    async def join(params: Params, progress: Progress) -> Result:
        await progress(TRANSFER)
        await trio.sleep_forever()
        raise AssertionError

    with scripted_daemon(tmp_path, script(join=join)) as api, Typist(tmp_path, "join", CODE, "/p") as person:
        person.expect("Ctrl-C: it goes on in the background.")
        person.interrupt()
        assert person.end() == 130
        assert "join.cancel" not in api.names()


def test_waiting_for_the_other_side_is_shown(tmp_path: Path) -> None:
    approval = {"event": "phase", "phase": "approval"}
    steps = script(join=stream(JOINED, approval))
    with scripted_daemon(tmp_path, steps), Typist(tmp_path, "join", CODE, "/p") as person:
        person.expect("Waiting for the other side to say yes …")
        assert person.end() == 0


@pytest.mark.parametrize(
    ("trouble", "code"),
    [("SY-PAIR-01", 10), ("SY-PAIR-02", 2), ("SY-PAIR-03", 9), ("SY-PAIR-04", 9), ("SY-PAIR-05", 9), ("SY-PAIR-07", 9)],
)
def test_pairing_errors_have_their_codes(cli: Cli, tmp_path: Path, trouble: str, code: int) -> None:
    with scripted_daemon(tmp_path, script(**{"join.find": SyncdError("no", id=trouble)})) as api:
        assert cli("join", CODE, "/p", "--json").code == code
        assert api.names() == ["version", "join.find"]


def test_denied_while_waiting_is_9(cli: Cli, tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, script(join=SyncdError("denied", id="SY-PAIR-05"))):
        assert cli("join", CODE, "/p", "--json").code == 9


def test_hostile_offer_cannot_draw(tmp_path: Path) -> None:
    evil = {**FOUND, "name": "\x1b[2J", "inviter": {"name": "\x07", "words": "lemon-comet", "address": "a"}}
    with scripted_daemon(tmp_path, script(**{"join.find": evil})):
        told = run_process(tmp_path, "join", CODE, "/p")
    assert "Found \\x1b[2J on \\x07 (a, key lemon-comet)" in told.err
    assert "\x1b" not in told.err + told.out
