"""kill -9 in the middle of bringing the past back, and of letting it go: the small version of what `make prove` does at
every system call."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.progress import Progress
from tests.prove.restore_kills import AFTER, kill_everywhere

POINTS = 6

pytestmark = [pytest.mark.slowest, pytest.mark.needs("linux", "strace")]


@pytest.mark.parametrize("deed", AFTER)
def test_killed_deed_loses_nothing_and_leaves_no_half_tree(
    deed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.helpers.progress.KEPT", tmp_path / "kept")
    said = kill_everywhere(tmp_path / "place", deed, POINTS, Progress("kills", "1"))
    assert not said.startswith(f"{deed}: 0 kills")
