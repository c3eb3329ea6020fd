"""Blocking. The suite of the tree, and real daemons, on disks that FUSE makes odd. Needs root and /dev/fuse."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.helpers.computers import Disappointment
from tests.helpers.odddisks import can_mount

CLAIM = (
    "On a disk that folds case and decomposes names, on one without extended attributes whose times have steps of 2 s, "
    "and on one like a USB stick, the tree does all that its suite asks, and two daemons, one of them there, converge "
    "and lose nothing"
)

ROOT = Path(__file__).resolve().parents[2]
SUITE = ["tests/unit/store/test_tree.py", "-k", "OnADisk or OnAStick"]
DAEMONS = ["tests/integration/test_odd_disks.py"]


def prove(place: Path) -> str:
    if not can_mount():
        raise Disappointment("odd disks cannot be mounted here: that takes root and /dev/fuse")
    verbs, pairs = passed(place, SUITE), passed(place, DAEMONS)
    return f"{verbs} tests of the tree and {pairs} pairs of daemons, none skipped"


def passed(place: Path, tests: list[str]) -> int:
    """How many have passed: all of them."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={place / 'tmp'}", *tests]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = re.search(r"(\d+) passed", done.stdout)
    if done.returncode != 0 or found is None or "skipped" in done.stdout:
        raise Disappointment(done.stdout[-2000:])
    return int(found[1])
