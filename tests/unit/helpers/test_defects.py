"""The deliberate defects of the simulation stand where they say, and one of them is noticed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.simulation.defective import ROOT, Edit, read_defects


def test_there_are_at_least_25() -> None:
    assert len(read_defects()) >= 25


@pytest.mark.parametrize("name", read_defects())
def test_every_edit_fits_its_file_and_gives_code(name: str) -> None:
    texts: dict[str, str] = {}
    for edit in read_defects()[name].edits:
        texts[edit.file] = edit.apply(texts.get(edit.file) or (ROOT / edit.file).read_text())
    for file, text in texts.items():
        compile(text, file, "exec")


def test_edit_that_fits_no_more_is_refused() -> None:
    with pytest.raises(AssertionError, match="exactly one place"):
        Edit("a.py", "gone", "other").apply("something else")


def test_defect_is_noticed() -> None:
    name = "conflict copies are not made"
    command = [sys.executable, "-m", "tests.simulation.defective", name, "1", "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["why"].startswith("AssertionError")
