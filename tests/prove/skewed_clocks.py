"""Blocking. One writer and wrong clocks: 10,000 operations, and nothing is taken for a conflict."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.computers import Disappointment

CLAIM = "10,000 operations of a single writer, with clocks that are set by up to an hour all the time, make 0 conflicts"

ROOT = Path(__file__).resolve().parents[2]
OPERATIONS = 10_000
TEST = "tests/integration/test_skewed_clocks.py"


def prove(place: Path) -> str:
    """The test of every run, with twenty times as many operations."""
    environment = {**os.environ, "SYNCD_SOAK_OPERATIONS": str(OPERATIONS)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=7200"]
    command += [f"--basetemp={place / 'tmp'}", TEST]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0 or "1 passed" not in done.stdout:
        raise Disappointment(done.stdout[-2000:])
    return f"{OPERATIONS:,} operations: 0 conflict copies, equal trees"
