"""docs/architecture.md is the map: every module stands there exactly once, and nothing that does not exist."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from tests.helpers.sources import ROOT, modules

ROW = re.compile(r"^\| `((?:ca|syncd)/[a-z0-9_/]+\.py)` \|", re.MULTILINE)


def rows() -> list[Path]:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    return [ROOT / match for match in ROW.findall(text)]


def test_every_module_is_named_exactly_once() -> None:
    named = rows()
    assert sorted(named) == sorted(set(named)), "a module is named twice"
    assert sorted(named) == sorted(module.path for module in modules().values() if not module.empty)


def test_modules_of_a_package_stand_together() -> None:
    packages = [module.parent for module in rows()]
    assert len([package for package, _ in itertools.groupby(packages)]) == len(set(packages)), "a row is out of place"
