"""Rules that hold for every command there is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from syncd.cli.commands import TREE
from syncd.cli.root import WELCOME, application

GLOBAL_FLAGS = {
    "--json", "-q", "-v", "--no-color", "--ascii", "--utc", "--no-input", "-y", "--dry-run", "--timeout",
}  # fmt: skip


def commands(found: Any, path: str = "syncd") -> Iterator[tuple[str, Any]]:
    """Every command below one, groups included."""
    yield path, found
    for name in getattr(found, "commands", ()):
        yield from commands(found.commands[name], f"{path} {name}")


ALL = dict(commands(application()))


@pytest.mark.parametrize("path", ALL)
def test_every_command_takes_the_global_flags(path: str) -> None:
    flags = {option for parameter in ALL[path].params for option in parameter.opts}
    assert flags >= GLOBAL_FLAGS


@pytest.mark.parametrize("path", ALL)
def test_every_command_explains_itself_in_one_line(path: str) -> None:
    command = ALL[path]
    assert command.get_short_help_str(limit=200).endswith("."), path


@pytest.mark.parametrize("path", ALL)
def test_no_sentence_of_a_list_of_commands_is_cut(path: str) -> None:
    sentence = ALL[path].get_short_help_str()
    assert "..." not in sentence and sentence == ALL[path].get_short_help_str(limit=10), path


@pytest.mark.parametrize("path", [path for path in ALL if path != "syncd"])
def test_only_the_root_takes_the_place(path: str) -> None:
    flags = {option for parameter in ALL[path].params for option in parameter.opts}
    assert not flags & {"--home", "--socket", "--version"}


def test_every_command_of_the_issue_is_there() -> None:
    words = (
        "run share join status wait folders peers members rotate invites requests approve deny conflicts explain "
        "version help stop"
    )
    assert set(words.split()) <= set(TREE)
    for path in ("folder show", "folder rescan", "folder leave", "member remove", "invite revoke", "key show"):
        assert f"syncd {path}" in ALL


def test_welcome_fits_on_a_small_screen() -> None:
    assert len(WELCOME.splitlines()) <= 15
    assert "syncd share" in WELCOME and "syncd join" in WELCOME and "syncd help" in WELCOME


def test_rich_is_never_loaded() -> None:
    """Typer would use rich for help, errors and tracebacks if it could."""
    code = "import sys; from syncd.cli import execute; execute(sys.argv[1:]); sys.exit('rich' in sys.modules)"
    for arguments in (["share", "--help"], ["nonsense"], ["share", "--uses", "x"], ["help"]):
        assert (
            subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=False).returncode == 0
        )
