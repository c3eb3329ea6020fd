"""A path as people give it: as on the disk, or as `syncd` itself prints it, with the folder's name in front."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.control_server import scripted_daemon
from tests.integration.cli_tools import Cli

FOLDERS = {"schema": "syncd.folders/1", "folders": [{"name": "Photos", "path": "/home/anna/Photos"}]}
WORDS = [["compare"], ["resolve", "--keep", "mine"], ["link", "create"], ["explain"], ["history"]]


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(tmp_path, capsys)


@pytest.mark.parametrize("words", WORDS, ids=lambda words: words[0])
def test_path_that_syncd_printed_is_understood(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ".".join(word for word in words[:2] if not word.startswith("-"))
    with scripted_daemon(tmp_path, {"folders": FOLDERS, asked: RuntimeError("enough")}) as api:
        cli(*words, "Photos/summer/beach.jpg")
        assert api.params(asked)["path"] == "/home/anna/Photos/summer/beach.jpg"


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        ("Photos/", None),
        ("Photos/summer", "summer"),
        ("Photos/summer/2031/", "summer/2031"),
        ("/home/anna/Photos/summer", "summer"),
        ("/home/anna/Photos", None),
    ],
)
def test_ls_takes_one_path_for_folder_and_directory(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, path: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    listed: dict[str, Any] = {"schema": "syncd.ls/1", "peers": [], "entries": [], "after": None}
    with scripted_daemon(tmp_path, {"folders": FOLDERS, "ls": listed}) as api:
        assert cli("ls", typed).code == 0
        assert (api.params("ls")["folder"], api.params("ls")["path"]) == ("Photos", path)


@pytest.mark.parametrize("words", [["share"], ["explain", "x"], ["pause", "Photos"]], ids=lambda words: words[0])
def test_directory_that_is_gone_is_no_bug(cli: Cli, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "gone").mkdir()
    back = os.open(".", os.O_RDONLY)
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    try:
        with scripted_daemon(tmp_path, {"folders": FOLDERS, "pause": RuntimeError("enough")}) as api:
            told = cli(*words, "--json")
    finally:
        os.fchdir(back)
        os.close(back)
    if words[0] == "pause":
        assert api.params("pause")["cwd"] is None
    else:
        assert (told.error["id"], told.code) == ("SY-USE-01", 2)
