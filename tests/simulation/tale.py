"""Async. One story while it is told: who takes part, whom the claim holds of, what has gone wrong so far."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from random import Random

from tests.helpers.simulation import SimComputer, Simulation
from tests.helpers.users import User


@dataclass(slots=True)
class Tale:
    """One story while it is told."""

    simulation: Simulation
    chance: Random
    faults: Counter[str] = field(default_factory=Counter)
    """How often each thing went wrong."""
    honest: list[SimComputer] = field(default_factory=list)
    """Those of whom the claim holds."""
    forgot: set[str] = field(default_factory=set)
    """Who has lost a database or got an older one back."""

    def any(self) -> SimComputer:
        return self.chance.choice(self.honest)

    def user(self, computer: SimComputer) -> User:
        return self.simulation.user(computer)

    async def be_busy(self, times: int, pause_s: float = 2.0, but: SimComputer | None = None) -> None:
        await self.simulation.be_busy([one for one in self.honest if one is not but], times, pause_s)
