"""Blocking. Every guard is missed: without it, a test breaks."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.helpers.computers import Disappointment
from tests.helpers.mutants import Copy, guards, suites

CLAIM = "Each guard in trust, TLS, HTTP filter, bodies, paths and crypto (tests/mutants.toml), removed, breaks a test"


def prove(place: Path) -> str:
    listed = guards()
    copy = Copy(place / "tree")
    for tests in suites(listed):
        if copy.run(tests) != 0:
            raise Disappointment(f"these tests do not pass to begin with: {' '.join(tests)}")
    survivors = []
    for number, guard in enumerate(listed, 1):
        if not copy.is_missed(guard):
            survivors.append(guard)
            print(f"  not missed: {guard}", file=sys.stderr, flush=True)
        if number % 25 == 0:
            print(f"  {number} of {len(listed)} guards", file=sys.stderr, flush=True)
    files = len({guard.file for guard in listed})
    measured = f"{len(listed) - len(survivors)} of {len(listed)} guards in {files} files are missed"
    if survivors:
        raise Disappointment(f"{measured}; not missed: {'; '.join(map(str, survivors))}")
    return measured
