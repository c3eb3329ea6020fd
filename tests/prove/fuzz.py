"""Blocking. Ten million inputs for all ways in together. What was tried stays noted until a source changes."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path

from tests.fuzz.run import by_chance, by_coverage, has_atheris, keep, seeds
from tests.fuzz.targets import TARGETS
from tests.helpers.computers import Disappointment
from tests.helpers.progress import Progress

CLAIM = "Of 10,000,000 inputs for every decoder and parser each gives a value or the declared error, and nothing else"

INPUTS = 10_000_000
AT_ONCE = 50_000
LONGEST_S = 600


def prove(place: Path) -> str:
    """`INPUTS` in the environment: how many. Half of them are led by coverage where atheris is installed."""
    wanted = int(os.environ.get("INPUTS") or INPUTS) // len(TARGETS) + 1
    progress = Progress("fuzz")
    known = {name: len(seeds(name)) for name in TARGETS}
    for name, target in TARGETS.items():
        tried = sum(count for key, count in progress.done.items() if key.split()[0] == name)
        turn = sum(key.split()[0] == name for key in progress.done)
        while tried < wanted:
            if has_atheris() and turn % 2 == 0:
                count = by_coverage(name, LONGEST_S, AT_ONCE)
            else:
                count = by_chance(target, LONGEST_S, time.time_ns(), partial(keep, target), AT_ONCE)
            progress.note(f"{name} {turn} {'led' if has_atheris() and turn % 2 == 0 else 'chance'}", count)
            tried, turn = tried + count, turn + 1
        if len(seeds(name)) > known[name]:
            raise Disappointment(f"{name}: {len(seeds(name)) - known[name]} inputs raised what was not declared")
        print(f"  {name}: {tried}", file=sys.stderr, flush=True)
    total = sum(progress.done.values())
    led = sum(count for key, count in progress.done.items() if key.endswith(" led"))
    return f"{total} inputs for {len(TARGETS)} ways in, {led} of them led by coverage: 0 uncaught"
