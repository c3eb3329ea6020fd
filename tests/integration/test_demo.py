"""What the README promises to a stranger: one command, three real daemons, and a result that checks itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

TIMEOUT_S = 240


def test_demonstration_checks_itself_and_ends(repository: Path) -> None:
    environment = {**os.environ, "N": "3", "ONCE": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.demo.demo"],
        cwd=repository,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Summary" in done.stdout


def test_impossible_number_of_computers_is_wrong_use(repository: Path) -> None:
    command = [sys.executable, "-m", "tests.demo.demo"]
    done = subprocess.run(
        command, cwd=repository, env={**os.environ, "N": "1"}, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 2
