"""What is promised about dependencies is what the tests run with."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distribution

import pytest
from packaging.requirements import Requirement

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


def test_nothing_is_built_where_syncd_is_installed() -> None:
    """0:00 of the first five minutes: everything that is needed comes as a wheel; here nothing was compiled."""
    found: dict[str, str] = {}
    waiting = list(PROJECT["dependencies"])
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonical(requirement.name)
        if name in found or (requirement.marker is not None and not requirement.marker.evaluate({"extra": ""})):
            continue
        known = distribution(name)
        found[name] = known.read_text("WHEEL") or ""
        waiting += known.requires or []
    assert len(found) > 20
    built = re.compile(r"^Tag: .*-(linux|macosx_0)_\w+$", re.MULTILINE)  # an index takes no such wheel
    assert [name for name, wheel in found.items() if not wheel or built.search(wheel)] == []
