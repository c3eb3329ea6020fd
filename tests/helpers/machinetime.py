"""Blocking. Time as this machine had it: without what its host gave to others.

On a rented machine the host may take the processors away for most of a second, and `/proc/stat` says how long
("steal"). A program is slower by that, and no test of ours is about it. Whatever is promised in seconds, and however
long somebody waits for something, is counted here.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_STAT = Path("/proc/stat")
_STEAL = 8
"""Which word of a line `cpu0 user nice system …` it is."""


class Stopwatch:
    """Runs from where it is made."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._stolen = stolen_s()

    def seconds(self) -> float:
        """So far, without the most that any processor was away."""
        stolen = max((now - then for then, now in zip(self._stolen, stolen_s(), strict=False)), default=0.0)
        return max(0.0, time.monotonic() - self._began - stolen)


def stolen_s() -> list[float]:
    """Of each processor, since the machine began; empty where the system does not tell."""
    try:
        lines = _STAT.read_text().splitlines()
    except FileNotFoundError:  # macOS
        return []
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    of_one = [line.split() for line in lines if line.startswith("cpu") and line[3].isdigit()]
    return [int(words[_STEAL]) / ticks_per_s for words in of_one]
