"""Blocking. Every guard is missed: without it, a test breaks. What was found stays noted until a source changes."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.helpers.computers import Disappointment
from tests.helpers.mutants import Copy, guards, suites
from tests.helpers.progress import Progress

CLAIM = "Each guard in trust, TLS, HTTP filter, bodies, paths and crypto (tests/mutants.toml), removed, breaks a test"


def prove(place: Path) -> str:
    listed, progress = guards(), Progress("mutants")
    copy = Copy(place / "tree")
    for tests in suites([guard for guard in listed if str(guard) not in progress.done]):
        if progress.once(f"whole: {tests}", lambda tests=tests: copy.run(tests)) != 0:  # type: ignore[misc]
            raise Disappointment(f"these tests do not pass to begin with: {' '.join(tests)}")
    survivors = []
    for number, guard in enumerate(listed, 1):
        if not progress.once(str(guard), lambda guard=guard: copy.is_missed(guard)):  # type: ignore[misc]
            survivors.append(guard)
            print(f"  not missed: {guard}", file=sys.stderr, flush=True)
        if number % 25 == 0:
            print(f"  {number} of {len(listed)} guards", file=sys.stderr, flush=True)
    files = len({guard.file for guard in listed})
    measured = f"{len(listed) - len(survivors)} of {len(listed)} guards in {files} files are missed"
    if survivors:
        raise Disappointment(f"{measured}; not missed: {'; '.join(map(str, survivors))}")
    return measured
