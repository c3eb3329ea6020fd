"""What the documents name exists: files, tests, links, commands with their flags, exit codes."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from syncd.catalogue import CATALOGUE, Exit
from syncd.cli.root import application
from syncd.config import known_keys
from tests.helpers.sources import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])

# `syncd/net/stream.py`, `tests/unit/test_layers.py::test_rule_itself`; a name after `::` is a test or a class of tests.
NAMED_FILE = re.compile(r"`((?:ca|syncd|tests|docs|systemd)/[\w./-]+?\.\w+)(?:::(\w+))?`")
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)(?:#[^)]*)?\)")
TROUBLE = re.compile(r"`(SY-[A-Z]+-\d\d)`")

FLAGS_OF_ALL = {
    "--json", "-q", "--quiet", "-v", "--verbose", "--no-color", "--ascii", "--utc", "--no-input", "-y", "--yes",
    "--dry-run", "--timeout", "-h", "--help",
}  # fmt: skip


@each_document
def test_named_files_and_tests_exist(document: Path) -> None:
    for name, test in NAMED_FILE.findall(document.read_text(encoding="utf-8")):
        path = ROOT / name
        assert path.exists(), f"{name} does not exist"
        if test:
            assert re.search(rf"^\s*(?:async )?(?:def|class) {test}\b", path.read_text(), re.MULTILINE), (
                f"{name}::{test}"
            )


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    targets = LINK.findall(document.read_text(encoding="utf-8"))
    assert [target for target in targets if not (document.parent / target).exists()] == []


@each_document
def test_named_troubles_are_in_the_catalogue(document: Path) -> None:
    assert sorted(set(TROUBLE.findall(document.read_text(encoding="utf-8"))) - set(CATALOGUE)) == []


def test_every_promise_of_the_threat_model_names_a_test() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    promises = text.partition("## Promised")[2].partition("\n## ")[0]
    rows = [line for line in promises.splitlines() if re.match(r"\| \d+ \|", line)]
    assert len(rows) >= 10
    assert [row for row in rows if not NAMED_FILE.search(row)] == []


CASE = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@pytest.mark.parametrize("document", ["failures.md", "threat-model.md"])
def test_every_test_that_a_promise_names_is_there(document: str) -> None:
    named = CASE.findall((ROOT / "docs" / document).read_text(encoding="utf-8"))
    assert len(named) >= 30
    lost = [(file, name) for file, name in named if f"def {name}(" not in (ROOT / file).read_text(encoding="utf-8")]
    assert lost == []


LIMIT = re.compile(r"^\| [^|]+ \| ([\d,]+) \| `([\w/]+)\.py` (\w+) \|$", re.MULTILINE)
LIMITS = LIMIT.findall((ROOT / "docs" / "protocol.md").read_text(encoding="utf-8").partition("## Limits")[2])


@pytest.mark.parametrize(("value", "module", "name"), LIMITS, ids=[f"{module}:{name}" for _, module, name in LIMITS])
def test_limit_of_the_protocol_is_that_of_the_code(value: str, module: str, name: str) -> None:
    assert getattr(importlib.import_module(module.replace("/", ".")), name) == int(value.replace(",", ""))


def test_every_file_of_vectors_is_listed() -> None:
    vectors = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8").partition("## Vectors")[2]
    files = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "vectors").rglob("*.json"))
    assert files
    assert [file for file in files if f"`{file}`" not in vectors] == []


# --- the command line ------------------------------------------------------------------------------------------------


def commands(group: Any, context: Any, words: str = "") -> Iterator[tuple[str, Any]]:
    """Every command that can be run, by its words."""
    for name in group.list_commands(context):
        found = group.commands[name]
        if hasattr(found, "commands"):
            yield from commands(found, found.make_context(name, [], parent=context, resilient_parsing=True), f"{name} ")
        else:
            yield words + name, found


def command_rows() -> dict[str, str]:
    """Rows of docs/cli.md by the words of the command, that is without its arguments."""
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8").partition("## syncd-ca")[0]
    return {
        " ".join(re.findall(r"^[a-z ]+", row)).strip(): row for row in re.findall(r"^\| `(.*)$", text, re.MULTILINE)
    }


def test_every_command_and_flag_is_documented() -> None:
    root = application()
    context = root.make_context("syncd", [], resilient_parsing=True)
    rows = command_rows()
    found = dict(commands(root, context))
    assert sorted(rows) == sorted(found)
    for words, command in found.items():
        own = [flag for param in command.params for flag in param.opts if flag.startswith("--")]
        missing = [flag for flag in own if flag not in FLAGS_OF_ALL and f"`{flag}`" not in rows[words]]
        assert missing == [], words


def test_every_exit_code_is_documented() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (\d+) \|", text, re.MULTILINE) == [str(int(code)) for code in Exit]


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE)) == sorted(known_keys())
