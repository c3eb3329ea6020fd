"""What is promised about dependencies is what the tests run with."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.helpers.sources import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]


def canonical(name: str) -> str:
    return name.lower().replace("_", "-")


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {canonical(name): version for name, version in pairs}


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_lowest_version_is_the_one_that_is_tested(requirement: str) -> None:
    match = re.match(r"([A-Za-z0-9-]+)>=([\d.]+),<", requirement)
    assert match is not None, "a dependency needs a lower and an upper bound"
    assert pinned()[canonical(match[1])] == match[2]


def test_both_programs_are_installed() -> None:
    assert PROJECT["scripts"] == {"syncd": "syncd.cli:main", "syncd-ca": "ca.cli:main"}
