"""Every other command: what it asks the daemon, what it prints, what it asks a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from syncd.web.control import Params, Progress, Result
from tests.helpers.control_server import VERSION, Script, scripted_daemon, stream
from tests.integration.cli_tools import Cli, Typist, run_process
from tests.unit.cli.values import EPOCH_ID, FOLDER_ID, folder

TLS = {"cert": "/h/tls/c.pem", "key": "/h/tls/k.pem", "sni": "abc", "listen": ["127.0.0.1:22067"], "pin": "sha256//x"}
FILES = {"tls": TLS, "roster": "/h/rosters/x.roster"}
FOLDERS = [
    {k: folder()[k] for k in ("id", "name", "path", "role", "state", "files", "bytes", "epoch")} | {"members": 2}
]
ANNA = {"id": "11" * 16, "name": "anna", "role": "editor", "status": "active", "since": "2026-11-20T12:00:00Z",
    "you": False, "devices": [
    {"id": "K4", "name": "anna-laptop", "words": "tulip-orbit"}]}  # fmt: skip
REMOVED = {
    "schema": "syncd.member.remove/1", "folder": FOLDER_ID, "name": "Photos", "epoch": 3, "epoch_id": EPOCH_ID,
    "member": {"id": "11" * 16, "name": "anna", "role": "editor", "devices": 1}, "pending": ["nas"],
}  # fmt: skip
LEFT = {"schema": "syncd.folder.leave/1", "folder": FOLDER_ID, "name": "Photos", "path": "/p", "files": 2, "bytes": 10,
    "alone": False, "old_bytes": 0, "packed_bytes": 3 << 20, "only_here_since": None}  # fmt: skip
JOIN_REQUEST = {
    "id": "r1", "kind": "join", "folder": FOLDER_ID, "name": "Photos", "since": "2020-01-01T00:00:00Z",
    "member": "anna", "host": "anna-laptop", "system": "macOS", "address": "10.0.0.2", "words": "tulip-orbit",
    "role": "editor",
}  # fmt: skip
HELD = {
    "id": "h1", "kind": "held", "folder": FOLDER_ID, "name": "Photos", "since": "2020-01-01T00:00:00Z", "author": "nas",
    "files": 600, "of_files": 1_000, "paths": ["a.jpg", "b\x1b.jpg"], "direction": "here", "why": "gone",
}  # fmt: skip
DECIDED = {"id": "r1", "kind": "join", "folder": FOLDER_ID, "name": "Photos", "member": "anna"}

ANSWERS: Script = {
    "folders": {"schema": "syncd.folders/1", "folders": FOLDERS},
    "folder.show": {"schema": "syncd.folder/1", **folder(), "members": 2, "in_sync": True, **FILES,
                    "recovery_keys": []},
    "folder.rescan": stream(
        {"schema": "syncd.folder.rescan/1", "folder": FOLDER_ID, "name": "Photos", "files": 2, "bytes": 10}
    ),
    "folder.leave": LEFT,
    "peers": {"schema": "syncd.peers/1", "peers": [
        {"id": "K4", "name": "anna-laptop", "words": "tulip-orbit", "folders": ["Photos"], "connected": True,
         "through": [], "how": "lan", "address": "10.0.0.2:22067", "rtt_ms": 1.2, "last_seen": None}]},
    "members": {"schema": "syncd.members/1", "folder": FOLDER_ID, "name": "Photos", "members": [ANNA]},
    "member.remove": REMOVED,
    "rotate": stream({"schema": "syncd.rotate/1", "folder": FOLDER_ID, "name": "Photos", "from": 2, "epoch": 3,
                      "epoch_id": EPOCH_ID, "peers": [{"name": "nas", "has": False}, {"name": "anna", "has": True}]}),
    "invites": {"schema": "syncd.invites/1", "invites": [
        {"id": "i1", "folder": FOLDER_ID, "name": "Photos", "kind": "code", "code": "7-guitar-uncle-merit",
         "role": "editor", "uses_left": 1, "attempts_left": 3, "opened": "2026-11-20T12:00:00Z",
         "expires": "2099-11-20T14:52:00Z"}]},
    "invite.revoke": {"schema": "syncd.invite.revoke/1", "id": "i1", "folder": FOLDER_ID, "name": "Photos"},
    "requests": {"schema": "syncd.requests/1", "requests": [JOIN_REQUEST, HELD]},
    "approve": {"schema": "syncd.approve/1", **DECIDED, "everywhere": None},
    "deny": {"schema": "syncd.deny/1", **DECIDED, "kind": "held", "member": None, "not_restored": 0},
    "conflicts": {"schema": "syncd.conflicts/1", "conflicts": [
        {"folder": FOLDER_ID, "name": "Photos", "path": "plan.xlsx", "versions": [
            {"path": "plan.xlsx", "by": "ben", "time": "2026-11-20T12:00:00Z", "bytes": 10, "hash": "ff" * 32},
            {"path": "plan (anna).xlsx", "by": "anna", "time": None, "bytes": 11, "hash": None}]}]},
    "explain": {"schema": "syncd.explain/1", "folder": FOLDER_ID, "name": "Photos", "path": "plan.xlsx",
                "state": "waiting", "id": "SY-FILE-03", "why": "It is open and changing.", "try": "wait", "rule": None,
                "stays_here": [], "not_here": [],
                "peers": [{"name": "nas", "connected": False, "through": [], "has": True}]},
    "wait": stream({"schema": "syncd.wait/1", "done": True, "waited_s": 0.1, "folders": []}),
    "key.show": {"schema": "syncd.key/1", "id": "K4-BEN", "words": "lemon-comet", "name": "ben-desktop"},
}  # fmt: skip

EVERY_COMMAND = [
    "folders", "folder show Photos", "folder rescan Photos", "folder leave Photos --yes", "peers", "members Photos",
    "member remove Photos anna --yes", "rotate Photos", "invites", "invite revoke i1", "requests", "approve r1",
    "deny h1", "conflicts", "explain /p/plan.xlsx", "key show", "version", "help", "wait",
]  # fmt: skip


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(tmp_path, capsys)


@pytest.mark.parametrize("line", EVERY_COMMAND)
def test_json_is_one_object_with_its_schema(cli: Cli, tmp_path: Path, line: str) -> None:
    with scripted_daemon(tmp_path, ANSWERS):
        told = cli(*line.split(), "--json")
    assert (told.code, told.err) == (0, "")
    assert told.json["schema"].startswith("syncd.")
    assert told.json["schema"].endswith("/1")


@pytest.mark.parametrize("line", EVERY_COMMAND)
def test_flags_may_stand_before_the_command(cli: Cli, tmp_path: Path, line: str) -> None:
    with scripted_daemon(tmp_path, ANSWERS):
        assert cli("--json", *line.split()).json["schema"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("folders", "Photos  synced  owner  2 members  12,408 files  48.1 GiB  abababababab  /home/ben/Photos"),
        ("folder show Photos", "  certificate     /h/tls/c.pem"),
        ("folder show Photos", "  old versions    12.0 KiB"),
        ("folder rescan Photos", "Photos  2 files, 10 B  scanned"),
        ("peers", "anna-laptop  ● connected  same network  10.0.0.2:22067  1 ms  Photos   tulip-orbit"),
        ("members Photos --utc", "anna    editor  2026-11-20 12:00  anna-laptop tulip-orbit  111111111111"),
        ("member remove Photos anna -y", "anna was removed. Photos has a new certificate: epoch 3."),
        ("member remove Photos anna -y", "Still to fetch it: nas"),
        ("rotate Photos", "Photos: epoch 2 -> 3."),
        ("rotate Photos", "Still to fetch it: nas"),
        ("invites --utc", "i1  Photos  7-guitar-uncle-merit  editor  1 join left  until 20 Nov 14:52"),
        ("invite revoke i1", "The invitation to Photos works no more."),
        ("requests", "syncd approve ID  or  syncd deny ID"),
        ("approve r1", "anna is a member of Photos now."),
        ("deny h1", "The held changes of Photos are dropped; the files stay."),
        ("conflicts --utc", "  anna  -                 11 B                plan (anna).xlsx"),
        ("explain /p/plan.xlsx", "Photos/plan.xlsx: waiting"),
        ("explain /p/plan.xlsx", "  why   It is open and changing.  [SY-FILE-03]"),
        ("explain /p/plan.xlsx", "  peer  nas: has it; not connected"),
        ("key show", "key words  lemon-comet"),
        ("version -v", "daemon 0.1.0, pid 4711, up 90 s"),
        ("help exit-codes", "  9  pairing failed: wrong, used, denied or expired code"),
    ],
)
def test_people_read(cli: Cli, tmp_path: Path, line: str, shown: str) -> None:
    with scripted_daemon(tmp_path, ANSWERS):
        told = cli(*line.split())
    assert told.code == 0
    assert shown in told.out.splitlines()


def test_request_rows_tell_who_and_what(cli: Cli, tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, ANSWERS):
        out = cli("requests").out
    assert "anna (macOS, 10.0.0.2, key tulip-orbit) wants to join as editor" in out
    assert "600 files of 1,000 would vanish here, by nas (a.jpg, b\\x1b.jpg, …)" in out


@pytest.mark.parametrize(
    ("method", "empty", "line", "shown"),
    [
        ("folders", {"folders": []}, "folders", "No folders yet.  syncd share PATH, or syncd join"),
        ("peers", {"peers": []}, "peers", "No peers yet.  syncd share PATH, or syncd join"),
        ("invites", {"invites": []}, "invites", "No open invitations."),
        ("requests", {"requests": []}, "requests", "Nothing waits for you."),
        ("conflicts", {"conflicts": []}, "conflicts", "No conflicts."),
    ],
)
def test_empty_lists_say_so(
    cli: Cli, tmp_path: Path, method: str, empty: dict[str, Any], line: str, shown: str
) -> None:
    with scripted_daemon(tmp_path, {method: empty}):
        assert cli(line).out == f"{shown}\n"


def test_folder_is_the_one_we_stand_in(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with scripted_daemon(tmp_path, ANSWERS) as api:
        cli("folder", "show")
        assert api.params("folder.show") == {"folder": None, "cwd": str(tmp_path)}
        cli("folder", "show", "Photos")
        assert api.params("folder.show") == {"folder": "Photos", "cwd": None}


# --- commands that take something away ------------------------------------------------------------------------------


@pytest.mark.parametrize(("others", "is_warned"), [(0, True), (1, False)])
def test_snapshot_of_a_computer_alone_does_not_promise_more_than_it_keeps(
    cli: Cli, tmp_path: Path, others: int, is_warned: bool
) -> None:
    one = {"name": "trip", "time": "2026-11-20T12:00:00Z", "made": "2026-11-20T12:00:00Z", "scheduled": False}
    answer = {
        "schema": "syncd.snapshots/1",
        "folder": FOLDER_ID,
        "name": "Photos",
        "others": others,
        "snapshots": [one],
    }
    with scripted_daemon(tmp_path, {"snapshot.add": answer}):
        told = cli("snapshot", "add", "trip", "Photos")
    assert told.code == 0 and "trip" in told.out
    assert ("nobody keeps" in told.err) == is_warned


@pytest.mark.parametrize("line", ["member remove Photos anna", "folder leave Photos"])
def test_nothing_is_taken_away_without_a_yes(cli: Cli, tmp_path: Path, line: str) -> None:
    with scripted_daemon(tmp_path, ANSWERS) as api:
        told = cli(*line.split(), "--json")
    assert (told.code, told.error["try"]) == (2, "give --yes")
    assert [params["dry_run"] for _, params in api.calls] == [True]


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("left", "is_told"),
    [
        ({"alone": True}, ["3.0 MiB of old versions can never be read again", "syncd export"]),
        ({"only_here_since": "2026-11-20T12:00:00Z"}, ["the rest will not get there"]),
        ({"alone": True, "packed_bytes": 0}, []),
        ({}, []),
    ],
    ids=["alone", "not sent yet", "alone without a past", "like anybody"],
)
def test_who_leaves_is_told_before_what_goes_with_it(
    cli: Cli, tmp_path: Path, left: dict[str, object], is_told: list[str], dry_run: bool
) -> None:
    with scripted_daemon(tmp_path, {**ANSWERS, "folder.leave": {**LEFT, **left}}) as api:
        told = cli("folder", "leave", "Photos", *(["--dry-run"] if dry_run else []))
    assert [params["dry_run"] for _, params in api.calls] == [True]
    said = told.out + told.err
    assert all(word in said for word in is_told)
    assert is_told or not any(word in said for word in ("never", "will not get there"))


@pytest.mark.parametrize("line", ["member remove Photos anna", "folder leave Photos"])
def test_dry_run_only_looks(cli: Cli, tmp_path: Path, line: str) -> None:
    with scripted_daemon(tmp_path, ANSWERS) as api:
        told = cli(*line.split(), "--dry-run", "--yes")
    assert told.code == 0
    assert told.out.startswith("Would ")
    assert [params["dry_run"] for _, params in api.calls] == [True]


@pytest.mark.parametrize(("typed", "code", "calls"), [("y\n", 0, [True, False]), ("n\n", 1, [True]), ("\n", 1, [True])])
def test_person_is_shown_whom_it_hits(tmp_path: Path, typed: str, code: int, calls: list[bool]) -> None:
    with scripted_daemon(tmp_path, ANSWERS) as api:
        with Typist(tmp_path, "member", "remove", "Photos", "anna") as person:
            person.expect("Removing anna (editor, 1 device) from Photos. What they have stays with them.")
            person.expect("Remove? [y/N]")
            person.type(typed)
            assert person.end() == code
        assert [params["dry_run"] for _, params in api.calls] == calls


def test_removal_goes_by_the_id_that_was_shown(cli: Cli, tmp_path: Path) -> None:
    """Between the question and the answer a name may change hands; an id cannot."""
    with scripted_daemon(tmp_path, ANSWERS) as api:
        cli("member", "remove", "Photos", "anna", "--yes")
    assert api.params("member.remove") == {"folder": FOLDER_ID, "member": "11" * 16, "dry_run": False}


# --- wait, explain, version ----------------------------------------------------------------------------------------


def test_wait_prints_nothing_and_passes_everything_on(cli: Cli, tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, ANSWERS) as api:
        told = cli("wait", "Photos", "Work", "--for", "peer=nas", "--timeout", "2m")
    assert (told.code, told.out, told.err) == (0, "", "")
    assert api.params("wait") | {"folders": ["Photos", "Work"], "for": "peer=nas", "timeout_s": 120} == api.params(
        "wait"
    )


def test_wait_in_vain_is_4_and_says_what_is_missing(cli: Cli, tmp_path: Path) -> None:
    waiting = {
        "id": "x",
        "name": "Work",
        "state": "syncing",
        "done": False,
        "need": {"files": 1, "bytes": 5},
        "why": None,
    }
    alone = {**waiting, "name": "Photos", "need": {"files": 0, "bytes": 0}, "why": "no other member was reached"}
    answer = {"schema": "syncd.wait/1", "done": False, "waited_s": 5.0, "folders": [waiting, alone]}
    with scripted_daemon(tmp_path, {"wait": stream(answer)}):
        told = cli("wait", "--timeout", "5", "--json")
    assert (told.code, told.out, told.error["id"]) == (4, "", "SY-WAIT-01")
    assert told.error["why"] == "Work: 1 file waiting, 5 B; Photos: no other member was reached"


def test_wait_is_ended_by_the_daemon_which_says_what_is_missing(cli: Cli, tmp_path: Path) -> None:
    """And not by the silence before, for which the daemon would be blamed."""
    waiting = {
        "name": "Work",
        "state": "paused",
        "done": False,
        "need": {"files": 0, "bytes": 0},
        "why": "it is paused",
    }

    async def late(params: Params, progress: Progress) -> Result:
        await trio.sleep(params["timeout_s"] + 0.5)
        return {"schema": "syncd.wait/1", "done": False, "waited_s": 0.2, "folders": [waiting]}

    with scripted_daemon(tmp_path, {"wait": late}):
        told = cli("wait", "--timeout", "0.2", "--json")
    assert (told.code, told.error["id"], told.error["why"]) == (4, "SY-WAIT-01", "Work: it is paused")


def test_patience_that_ends_does_not_blame_the_daemon(cli: Cli, tmp_path: Path) -> None:
    async def never(params: Params, progress: Progress) -> Result:
        await trio.sleep_forever()
        raise AssertionError

    with scripted_daemon(tmp_path, {"status": never}):
        told = cli("status", "--timeout", "0.2", "--json")
    assert (told.code, told.error["id"], told.error["try"]) == (4, "SY-WAIT-01", "give it more time")


def test_explain_understands_the_name_of_a_folder(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with scripted_daemon(tmp_path, ANSWERS) as api:
        cli("explain", "Photos/2026/plan.xlsx")
        assert api.params("explain") == {"path": "/home/ben/Photos/2026/plan.xlsx"}
        (tmp_path / "here.txt").write_text("")
        cli("explain", "here.txt")
        assert api.params("explain") == {"path": str(tmp_path / "here.txt")}
        cli("explain", "elsewhere.txt")
        assert api.params("explain") == {"path": str(tmp_path / "elsewhere.txt")}


@pytest.mark.needs("linux")
def test_name_that_is_not_utf8_can_be_asked_about(tmp_path: Path) -> None:
    name = b"/p/a\xff".decode(errors="surrogateescape")
    with scripted_daemon(tmp_path, ANSWERS) as api:
        assert run_process(tmp_path, "explain", name).code == 0
        assert api.params("explain") == {"path": name}


def test_version_needs_no_daemon(cli: Cli) -> None:
    assert cli("version").out.startswith("syncd ")
    assert cli("--version").out.startswith("syncd ")
    assert cli("version", "--json").json["daemon"] is None


def test_version_tells_about_the_daemon(cli: Cli, tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, {}):
        assert cli("version", "--json").json["daemon"] == VERSION


def test_welcome_without_a_command(cli: Cli) -> None:
    told = cli()
    assert told.code == 0
    assert len(told.out.splitlines()) <= 15


def test_socket_may_be_elsewhere(cli: Cli, tmp_path: Path) -> None:
    with scripted_daemon(tmp_path / "other", ANSWERS):
        assert cli("peers").code == 5
        assert cli("--socket", str(tmp_path / "other" / "control.sock"), "peers").code == 0


def test_quiet_prints_the_result_only(cli: Cli, tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, ANSWERS):
        told = cli("folder", "leave", "Photos", "--yes", "-q")
    assert (told.out, told.err) == ("Left Photos. The 2 files, 10 B in /p stay.\n", "")


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (("mail", "nobody"), "'nobody' is no mail address"),
        (("webhook", "ftp://x"), "'ftp://x' is no http://"),
        (("webhook", "http://127.0.0.1:9", "--on", "stale=abc"), "'stale=abc' is none of"),
        (("command", "tell 'me"), "No closing quotation"),
    ],
    ids=lambda typed: typed[0] if isinstance(typed, tuple) else "",
)
def test_nobody_is_sent_to_a_file_that_was_not_written(
    cli: Cli, tmp_path: Path, typed: tuple[str, ...], why: str
) -> None:
    told = cli("notify", "add", *typed, "--json")
    assert (told.code, told.error["id"]) == (2, "SY-USE-01")
    assert told.error["why"].startswith(why) and "config.toml" not in str(told.error)
    (tmp_path / "config.toml").write_text("[device]\nnam = 1\n")
    assert cli("notify", "add", "desktop", "--json").error["id"] == "SY-CONF-01"


def test_limit_of_a_folder_that_is_not_here_is_told(cli: Cli, tmp_path: Path) -> None:
    known = {"schema": "syncd.folders/1", "folders": [folder("Photos")]}
    set_: Result = {"schema": "syncd.config/1"}
    with scripted_daemon(tmp_path, {"folders": known, "config.set": set_}):
        assert (
            "No folder here is called Fotos yet. Known here: Photos"
            in cli("limits", "--folder", "Fotos", "--up", "1MB/s").err
        )
        assert "No folder" not in cli("limits", "--folder", "Photos", "--up", "1MB/s").err


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (1, "1 file keeps what had been written before: no connected computer has the former content."),
        (2, "2 files keep what had been written before: no connected computer has the former content."),
    ],
)
def test_no_says_what_it_could_not_bring_back(cli: Cli, tmp_path: Path, left: int, said: str) -> None:
    denied = {"schema": "syncd.deny/1", **DECIDED, "kind": "held", "member": None, "not_restored": left}
    with scripted_daemon(tmp_path, {"deny": denied}):
        told = cli("deny", "h1")
    assert told.out == f"The held changes of Photos are dropped; the files stay. {said}\n"
