"""Errors: three lines with an id, or one JSON object, the exit code of the catalogue, and never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from syncd.catalogue import CATALOGUE
from syncd.errors import PeerUnavailable, StoreCorrupt, SyncdError, TrustError
from syncd.home import LOCK_NAME, lock_home
from syncd.web.control import Params, Progress, Result
from tests.helpers.control_server import scripted_daemon
from tests.integration.cli_tools import Cli, Typist, environment, run_process
from tests.unit.cli.values import folder, status


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(tmp_path, capsys)


def test_daemon_not_running(tmp_path: Path) -> None:
    told = run_process(tmp_path, "status")
    assert (told.code, told.out) == (5, "")
    assert told.err == (
        "error  syncd is not running  [SY-HOME-02]\n"
        f"why    Nothing answers on {tmp_path}/control.sock.\n"
        "try    syncd run\n"
    )


def test_json_error_is_one_object_on_stderr(cli: Cli) -> None:
    told = cli("status", "--json")
    assert (told.code, told.out) == (5, "")
    assert told.error["id"] == "SY-HOME-02"
    assert told.error["exit"] == 5
    assert set(told.error) == {"id", "what", "why", "try", "exit"}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SyncdError("wrong code", id="SY-PAIR-03"), 9),
        (SyncdError("nobody", id="SY-PAIR-01"), 10),
        (SyncdError("held", id="SY-BRAKE-01"), 8),
        (SyncdError("which?", id="SY-FIND-02"), 2),
        (SyncdError("none", id="SY-FIND-01"), 7),
        (TrustError("no"), 6),
        (PeerUnavailable("gone"), 10),
        (StoreCorrupt("hash"), 13),
        (SyncdError("newer", id="SY-DB-02"), 12),
        (RuntimeError("oops"), 1),
    ],
)
def test_exit_code_follows_the_daemons_error(cli: Cli, tmp_path: Path, error: Exception, code: int) -> None:
    with scripted_daemon(tmp_path, {"peers": error}):
        told = cli("peers")
    assert (told.code, told.out, len(told.err.splitlines())) == (code, "", 3)
    assert "Traceback" not in told.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["status", "--nonsense"],
        ["status", "a", "b"],
        ["folder"],
        ["folder", "show", "--home", "/x"],
        ["member", "remove", "Photos"],
        ["share", "--uses", "many"],
        ["share", "--uses", "2"],
        ["share", "--role", "king"],
        ["share", "--link", "--expires", "soon"],
        ["wait", "--for", "godot"],
        ["wait", "--for", "peer="],
        ["wait", "--timeout", "long"],
        ["rotate", "--dry-run"],
        ["join", "7-guitar-uncle-merit", "--dry-run"],
        ["--timeout"],
    ],
)
def test_wrong_use_is_exit_2_in_both_forms(cli: Cli, tmp_path: Path, arguments: list[str]) -> None:
    with scripted_daemon(tmp_path, {}):
        told = cli(*arguments)
        as_json = cli("--json", *arguments)
    assert (told.code, told.out, len(told.err.splitlines())) == (2, "", 3)
    assert told.err.startswith("error  ") and "[SY-USE-0" in told.err
    assert (as_json.code, as_json.out) == (2, "")
    assert as_json.error["id"].startswith("SY-USE-0")


def test_passphrase_that_was_never_set_is_not_asked_for(cli: Cli, tmp_path: Path) -> None:
    keys = {"locked": False, "passphrase": False, "warning": None}
    with scripted_daemon(tmp_path, {"status": {**status(), "keys": keys}}) as api:
        told = cli("key", "passphrase", "--remove")
    assert told.code == 2 and "have no passphrase" in told.err and "syncd key lock" in told.err
    assert "key.passphrase" not in api.names()


def test_typo_is_answered_with_a_suggestion(cli: Cli) -> None:
    assert "Did you mean 'status'?" in cli("statsu").err


def test_what_a_peer_put_into_an_error_cannot_draw(cli: Cli, tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, {"peers": SyncdError("bad\x1b[2J\nfake line", id="SY-PEER-02", why="\x07")}):
        told = cli("peers")
    assert told.err.splitlines()[0] == "error  bad\\x1b[2J\\nfake line  [SY-PEER-02]"
    assert len(told.err.splitlines()) == 3


def test_bug_in_the_command_line_is_three_lines(cli: Cli, tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, {"peers": {"schema": "syncd.peers/1"}}):  # the list itself is missing
        told = cli("peers")
    assert (told.code, len(told.err.splitlines())) == (1, 3)
    assert "[SY-BUG-01]" in told.err


def test_broken_pipe_ends_quietly(tmp_path: Path) -> None:
    with scripted_daemon(tmp_path, {"status": status(*(folder(f"F{n}") for n in range(2000)))}):
        shell = f"{sys.executable} -m syncd --home {tmp_path} status | head -1"
        done = subprocess.run(shell, shell=True, capture_output=True, text=True, env=environment(), check=False)
    assert done.stdout.startswith("All in sync.")
    assert done.stderr == ""


def test_interrupt_is_130(tmp_path: Path) -> None:
    async def wait(params: Params, progress: Progress) -> Result:
        await progress({"event": "comparing"})
        await trio.sleep_forever()
        raise AssertionError

    with scripted_daemon(tmp_path, {"wait": wait}), Typist(tmp_path, "wait") as person:
        person.expect("comparing")
        person.interrupt()
        assert person.end() == 130
        assert "Traceback" not in person.seen


def test_second_daemon_on_one_home_names_the_first(cli: Cli, tmp_path: Path) -> None:
    with lock_home(tmp_path):
        told = cli("run")
    assert told.code == 1
    assert f"syncd with pid {os.getpid()} uses the home {tmp_path}  [SY-HOME-01]" in told.err


def test_run_with_a_bad_config_is_exit_11(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[network]\nlissten = []\n")
    told = run_process(tmp_path, "--json", "run")
    assert told.code == 11
    assert told.error["id"] == "SY-CONF-01"
    assert "network.lissten" in told.error["why"]
    assert (tmp_path / LOCK_NAME).exists()


@pytest.mark.needs("root")
def test_run_on_a_home_of_somebody_else_is_refused(cli: Cli, tmp_path: Path) -> None:
    os.chown(tmp_path, 12_345, -1)
    assert cli("run").code == 6


def test_help_explains_every_id(cli: Cli) -> None:
    for trouble_id, entry in CATALOGUE.items():
        told = cli("help", trouble_id)
        assert told.code == 0
        assert entry.title in told.out
    assert cli("help", "SY-NONE-99").code == 7
    assert json.loads(cli("help", "sy-pair-03", "--json").out)["schema"] == "syncd.help/1"
