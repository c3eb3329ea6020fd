"""The published schema: whole, valid, and about every command there is."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from jsonschema import Draft202012Validator

from syncd.cli.shapes import COMMANDS, SHAPES, document, error_schema, schema_of
from tests.helpers.page_states import STATES, Script
from tests.helpers.sources import ROOT
from tests.unit.cli.test_tree import ALL


def test_every_command_has_a_schema() -> None:
    leaves = {path.removeprefix("syncd ") for path, command in ALL.items() if not hasattr(command, "commands")}
    missing = sorted(leaves - set(COMMANDS))
    assert missing == [], (
        "give each a line in COMMANDS and a shape in SHAPES of syncd/cli/shapes.py; then `make schema`"
    )
    assert sorted(set(COMMANDS) - leaves) == [], "there is no such command any more"


def test_every_schema_is_one() -> None:
    assert {name for names in COMMANDS.values() for name in names} <= set(SHAPES)
    for name in SHAPES:
        Draft202012Validator.check_schema(schema_of(name))
    Draft202012Validator.check_schema(error_schema())
    Draft202012Validator.check_schema(document())


def test_published_schema_is_the_one_of_the_code() -> None:
    published = json.loads((ROOT / "docs" / "schema.json").read_text(encoding="utf-8"))
    assert published == document(), "make schema"


def test_schema_refuses_what_is_wrong() -> None:
    key = {"schema": "syncd.key/1", "id": "x", "words": "a-b", "name": "n", "keys": "k"}
    validator = Draft202012Validator(schema_of("syncd.key/1"))
    assert validator.is_valid(key) and validator.is_valid({**key, "new": 1})
    assert not validator.is_valid({**key, "name": None})
    assert not validator.is_valid({**key, "schema": "syncd.key/2"})
    assert not validator.is_valid({name: value for name, value in key.items() if name != "words"})


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_states_in_which_the_page_is_tried_are_as_a_daemon_tells_them(state: Callable[[], Script]) -> None:
    wrong = [
        error.message for error in Draft202012Validator(schema_of("syncd.status/1")).iter_errors(state()["status"])
    ]
    assert not wrong
