"""Rules that hold for every command there is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from syncd.cli.commands import TREE, Branch, Leaf
from syncd.cli.completion import candidates
from syncd.cli.root import WELCOME, application
from syncd.cli.session import Globals, open_session, place_of

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


def leaves() -> Iterator[tuple[list[str], Leaf]]:
    for name, entry in TREE.items():
        below = entry.leaves.items() if isinstance(entry, Branch) else [("", entry)]
        yield from (([word for word in (name, leaf) if word], found) for leaf, found in below)


@pytest.mark.parametrize(
    ("words", "leaf"), list(leaves()), ids=lambda found: " ".join(found) if found.__class__ is list else ""
)
def test_dry_run_is_offered_where_it_is_not_refused_and_nowhere_else(
    words: list[str], leaf: Leaf, tmp_path: Path
) -> None:
    found = application()
    context = found.make_context("syncd", [], resilient_parsing=True)
    for word in words:
        found = found.commands[word]
        context = found.make_context(word, [], parent=context, resilient_parsing=True)
    has = leaf.load().dry_run
    assert ("--dry-run" in found.get_help(context)) == has
    session = open_session(place_of(str(tmp_path), None), Globals())
    assert ("--dry-run" in candidates(session, [*words, "--d"])) == has


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
