"""Blocking. A million tampered blocks, changesets, heads and rosters: every one is detected, none is applied."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.computers import Disappointment
from tests.helpers.tampering import Trials

CLAIM = "Of 1,000,000 tampered blocks, changesets, heads and rosters every one is detected and none applied"

TRIALS = 1_000_000
SEED = 4


def prove(place: Path) -> str:
    trials = Trials(SEED)
    trials.take_unchanged()
    tally = trials.run(TRIALS)
    applied = tally.applied.total()
    detected = ", ".join(f"{count} {kind}s" for kind, count in sorted(tally.detected.items()))
    measured = f"{detected} detected, {applied} applied; unchanged ones are taken"
    if applied or tally.detected.total() != TRIALS:
        raise Disappointment(measured)
    return measured
