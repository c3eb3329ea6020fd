"""Blocking. Five thousand random stories of three whole daemons, and nothing lost in any of them."""

from __future__ import annotations

import os
from pathlib import Path

from tests.helpers.computers import Disappointment
from tests.helpers.ledger import Ledger, version_of
from tests.simulation.run import Sum, tell_many
from tests.simulation.story import CLAIM as HELD
from tests.simulation.story import Outcome

CLAIM = f"In 5,000 random histories of three daemons {HELD}"

SEEDS = 5_000
SOURCES = ("ca/**/*.py", "syncd/**/*.py", "tests/helpers/*.py", "tests/simulation/*.py")


def prove(place: Path) -> str:
    """Goes on where it was interrupted, as long as the code is the same. `SEEDS` in the environment: how many."""
    wanted = int(os.environ.get("SEEDS") or SEEDS)
    ledger = Ledger(place.parent / "simulation.ledger", version_of(SOURCES))
    missing = [seed for seed in range(1, wanted + 1) if str(seed) not in ledger.done]
    for outcome in tell_many(missing, int(os.environ.get("JOBS") or 2)):
        ledger.add(str(outcome.seed), as_entry(outcome))
    total = Sum()
    for entry in ledger.done.values():
        total.add(Outcome(**{name: value for name, value in entry.items() if name != "part"}))
    (place.parent / "simulation.statistics").write_text("\n".join(total.lines()) + "\n")
    if total.failed:
        raise Disappointment(f"{len(total.failed)} of {total.seeds} seeds: {' '.join(map(str, total.failed[:20]))}")
    return f"{total.seeds} seeds, {total.virtual_s:.0f} simulated seconds, {sum(total.faults.values())} faults"


def as_entry(outcome: Outcome) -> dict[str, object]:
    return {
        "seed": outcome.seed, "virtual_s": outcome.virtual_s, "cpu_s": outcome.cpu_s, "events": outcome.events,
        "faults": dict(outcome.faults), "conflicts": dict(outcome.conflicts), "shapes": dict(outcome.shapes),
        "why": outcome.why,
    }  # fmt: skip
