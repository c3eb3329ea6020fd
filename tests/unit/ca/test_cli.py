from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ca import cli, keyfiles, recovery
from ca.device import device_text
from ca.roles import Role
from tests.helpers.rosters import Company, seeded


@pytest.fixture
def roster_file(tmp_path: Path) -> Path:
    made = Company()
    made.admit("bob", Role.EDITOR)
    made.remove("bob")
    path = tmp_path / "pictures.roster"
    path.write_bytes(made.roster.export())
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of `syncd-ca` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["syncd-ca", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_verify_says_what_it_checked(
    roster_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "verify", str(roster_file)) == 0
    assert "entries  3, all signed by who had the right" in capsys.readouterr().out


def test_verify_refuses_a_changed_roster(
    roster_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = bytearray(roster_file.read_bytes())
    raw[-1] ^= 1
    roster_file.write_bytes(raw)
    assert run(monkeypatch, "verify", str(roster_file)) == cli.EXIT_NOT_RIGHT
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80"])
def test_what_is_no_roster_is_named_as_such(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert run(monkeypatch, "verify", str(path)) == cli.EXIT_NOT_RIGHT
    assert "is not a roster" in capsys.readouterr().err


def test_missing_file_is_for_a_person_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "show", str(tmp_path / "nowhere")) == cli.EXIT_CONFIG


def test_show_lists_members_and_entries(
    roster_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "show", "--json", str(roster_file)) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["schema"] == "syncd-ca.show/1"
    assert [(member["role"], member["status"]) for member in shown["members"]] == [
        ("owner", "active"),
        ("editor", "removed"),
    ]
    assert [entry["changes"] for entry in shown["entries"]] == [["genesis", "admit"], ["admit"], ["remove"]]
    assert run(monkeypatch, "show", str(roster_file)) == 0
    assert "removed since" in capsys.readouterr().out


def test_recovery_shows_words_that_bring_the_key_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = keyfiles.load_or_create_recovery(tmp_path, seeded("r"))
    assert run(monkeypatch, "recovery", "--home", str(tmp_path), "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["id"] == device_text(key.public.id)
    assert recovery.parse(" ".join(shown["words"])).seed == recovery.parse(shown["text"]).seed == key.seed
    monkeypatch.setenv("SYNCD_HOME", str(tmp_path))
    assert run(monkeypatch, "recovery", "--qr") == 0
    assert key.text in capsys.readouterr().out


def test_recovery_without_a_folder_says_when_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "recovery", "--home", str(tmp_path)) == cli.EXIT_CONFIG
    assert "first folder" in capsys.readouterr().err


def test_wrong_use_is_exit_code_two(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "verify") == 2
