"""Blocking. The vectors of the protocol, recomputed."""

from __future__ import annotations

import json

import pytest

from tests.helpers.protocol_vectors import DIRECTORY, FILES


def test_every_file_has_its_rule_and_every_rule_its_file() -> None:
    assert sorted(path.name for path in DIRECTORY.iterdir()) == sorted(f"{name}.json" for name in FILES)


@pytest.mark.parametrize("name", FILES)
def test_vectors_hold(name: str) -> None:
    cases = json.loads((DIRECTORY / f"{name}.json").read_text(encoding="utf-8"))["cases"]
    assert cases
    for number, case in enumerate(cases):
        assert FILES[name].output(case["input"]) == case["output"], number
