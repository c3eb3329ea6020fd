"""Blocking. No swap of a directory or file for a symlink leads any operation out of the folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.helpers.computers import Disappointment

CLAIM = "At least 100,000 symlink swaps during each operation on a path leave a tree outside the folder untouched"

ROOT = Path(__file__).resolve().parents[2]
SWAPS = 100_000
TEST = "tests/integration/test_symlink_races.py"


def prove(place: Path) -> str:
    """The tests of every run, with a hundred times as many swaps."""
    environment = {**os.environ, "SYNCD_SWAPS": str(SWAPS), "SYNCD_SWAP_PATIENCE_S": "1800"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={place / 'tmp'}", TEST]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    passed = re.search(r"(\d+) passed", done.stdout)
    if done.returncode != 0 or passed is None:
        raise Disappointment(done.stdout[-2000:])
    return f"{passed.group(1)} tests, {SWAPS:,} swaps during each operation of each: nothing outside was touched"
