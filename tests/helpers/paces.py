"""Blocking. How long `syncd status` takes in seconds that the machine had, beside what an empty program takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from tests.helpers.computers import Computer
from tests.helpers.machinetime import Stopwatch

CALLS = 30
STATUS_S = 0.2
SLACK = 5
MOST_STARTS = 20
"""A command takes no longer than so many starts of a Python that does nothing, however busy the machine is."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of one command, and of an empty program, that ran in turn."""

    median: float
    p95: float
    empty_p95: float

    @property
    def is_quick(self) -> bool:
        return self.p95 <= max(STATUS_S * SLACK, self.empty_p95 * MOST_STARTS)

    def __str__(self) -> str:
        figures = (self.median * 1e3, self.p95 * 1e3, self.empty_p95 * 1e3)
        return "syncd status, {} times: median {:.0f} ms, p95 {:.0f} ms; an empty program {:.0f} ms".format(
            CALLS, *figures
        )


def pace_of_status(computer: Computer, check: Callable[[dict[str, object]], object]) -> Pace:
    """Ask so many times; `check` looks at each folder that is told."""
    walls, empty = [], []
    for _ in range(CALLS):
        empty.append(_timed(lambda: subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True)))
        walls.append(_timed(lambda: check(computer.ask("status")["folders"][0])))
    return Pace(sorted(walls)[CALLS // 2], _p95(walls), _p95(empty))


def _timed(call: Callable[[], object]) -> float:
    watch = Stopwatch()
    call()
    return watch.seconds()


def _p95(values: list[float]) -> float:
    return sorted(values)[int(CALLS * 0.95)]
