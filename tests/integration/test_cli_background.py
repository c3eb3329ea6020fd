"""share and join start a daemon when none runs; stop ends one."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd.cli import background
from syncd.cli.session import Place
from syncd.cli.supervisors import own_program
from syncd.home import LOG_NAME, is_locked
from tests.helpers.machinetime import Stopwatch
from tests.integration.cli_tools import Cli

STAND_IN = Path(__file__).resolve().parents[1] / "helpers" / "daemon_process.py"
PATIENCE_S = 10.0


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """A command line on a fresh home."""
    return Cli(tmp_path / "home", capsys)


@pytest.fixture
def manner(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """How the program behaves that is started as daemon; everything around it is real. It ends with the test."""
    chosen = ["serve"]
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def remember(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(real(*arguments, **options))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setenv("PYTHONPATH", str(STAND_IN.parents[2]))
    monkeypatch.setattr(background, "_command", lambda place: [sys.executable, str(STAND_IN), str(place.home), *chosen])
    monkeypatch.setattr("syncd.cli.background.subprocess.Popen", remember)
    yield chosen
    if is_locked(cli.home):
        assert cli("stop").code == 0
    for process in started:
        if chosen == ["hang"]:
            process.kill()
        process.wait(PATIENCE_S)


def test_yes_starts_a_daemon_and_stop_ends_it(cli: Cli, manner: list[str], tmp_path: Path) -> None:
    told = cli("share", str(tmp_path), "--yes", "--no-wait", "--json")
    assert (told.code, told.json["code"]) == (0, "7-guitar-uncle-merit")
    assert is_locked(cli.home)
    assert cli("folders").code == 0
    assert cli("stop").code == 0
    assert not is_locked(cli.home)
    assert cli("folders").code == 5


def test_running_daemon_is_used(cli: Cli, manner: list[str], tmp_path: Path) -> None:
    background.start(Place(cli.home, cli.home / "control.sock"))
    first = cli("version", "--json").json["daemon"]["pid"]
    assert cli("share", str(tmp_path), "--yes", "--no-wait").code == 0
    assert cli("version", "--json").json["daemon"]["pid"] == first


def test_daemon_lives_in_a_session_of_its_own_with_a_private_log(cli: Cli, manner: list[str], tmp_path: Path) -> None:
    cli("share", str(tmp_path), "--yes", "--no-wait")
    pid = cli("version", "--json").json["daemon"]["pid"]
    assert os.getsid(pid) == pid != os.getsid(0)
    assert stat.S_IMODE((cli.home / LOG_NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE(cli.home.stat().st_mode) == 0o700


def test_nobody_to_ask_names_the_flag(cli: Cli, manner: list[str], tmp_path: Path) -> None:
    for command in (["share", str(tmp_path)], ["join", "7-guitar-uncle-merit", str(tmp_path)]):
        told = cli(*command, "--json")
        assert (told.code, told.error["id"], told.error["try"]) == (2, "SY-USE-02", "give --yes")
    assert not is_locked(cli.home)


@pytest.mark.parametrize("when", ["refuse", "late"])
def test_error_of_the_daemon_is_told_as_its_own(cli: Cli, manner: list[str], tmp_path: Path, when: str) -> None:
    manner[:] = [when]
    told = cli("share", str(tmp_path), "--yes", "--json")
    assert (told.code, told.error["id"], told.error["why"]) == (11, "SY-CONF-01", "network.x")


def test_daemon_that_dies_is_told_with_its_last_words(cli: Cli, manner: list[str], tmp_path: Path) -> None:
    manner[:] = ["crash"]
    told = cli("share", str(tmp_path), "--yes", "--json")
    assert (told.code, told.error["id"]) == (1, "SY-HOME-03")
    assert told.error["why"] == "It ended with code 1: out of luck"


def test_daemon_that_says_nothing_is_given_up(
    cli: Cli, manner: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manner[:] = ["hang"]
    monkeypatch.setattr(background, "START_TIMEOUT_S", 0.2)
    watch = Stopwatch()
    told = cli("share", str(tmp_path), "--yes", "--json")
    assert (told.code, told.error["id"]) == (1, "SY-HOME-03")
    assert watch.seconds() < PATIENCE_S


def test_command_names_home_and_socket(tmp_path: Path) -> None:
    command = background._command(Place(tmp_path, tmp_path / "s"))
    assert command == [
        *own_program(), "--home", str(tmp_path), "--socket", str(tmp_path / "s"), "--json", "run",
    ]  # fmt: skip
