"""Blocking. The soak, for two hours."""

from __future__ import annotations

from pathlib import Path

from tests.prove.soak import CLAIM as SHORT
from tests.prove.soak import run

CLAIM = SHORT.replace("20 minutes", "two hours")

LASTS_S = 7_200.0


def prove(place: Path) -> str:
    return run(place, LASTS_S)
