"""A crash writes no memory to the disk: every key would be in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.computers import computers


@pytest.mark.needs("linux")
def test_daemon_leaves_no_core_behind(tmp_path: Path) -> None:
    with computers(("anna",), tmp_path, "Notes") as (anna,):
        anna.start()
        assert anna.daemon is not None
        limits = Path(f"/proc/{anna.daemon.pid}/limits").read_text().splitlines()
        (core,) = (line for line in limits if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"]
