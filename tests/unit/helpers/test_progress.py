"""Long proofs go on where they were, and begin anew when what they prove has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import progress
from tests.helpers.progress import Progress


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "KEPT", tmp_path / "kept")


def test_what_was_done_is_not_done_again() -> None:
    assert Progress("x", "1").once("a", lambda: [1, 2]) == [1, 2]
    assert Progress("x", "1").once("a", lambda: pytest.fail("done again")) == [1, 2]


def test_other_sources_begin_anew() -> None:
    Progress("x", "1").note("a", True)
    assert Progress("x", "2").done == {}


def test_half_a_line_is_no_result(tmp_path: Path) -> None:
    Progress("x", "1").note("a", 1)
    (file,) = (tmp_path / "kept").iterdir()
    with file.open("a") as out:
        out.write('["b", ')
    assert Progress("x", "1").done == {"a": 1}
    Progress("x", "1").note("c", 3)
    assert Progress("x", "1").done == {"a": 1, "c": 3}
