"""Pure. How long bringing something back would take, by how long the same kind of work took on this device before.

An estimate and nothing more: disks and networks have other things to do tomorrow. Work is counted in bytes, a name as
so many of them, since a small file takes its time whatever is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Final

from ca.values import dataclass

NAME_BYTES: Final = 64 << 10
"""A small file takes as long as so many bytes of a large one: about 5,000 a second, beside 300 MB a second."""
REMEMBERED_BYTES: Final = 1 << 30
"""Older work counts for ever less."""
LEAST_S: Final = 1e-6


def work_of(names: int, size: int) -> int:
    """What putting so many names with so many bytes in place amounts to."""
    return names * NAME_BYTES + size


@dataclass(slots=True)
class Rate:
    """How fast one kind of work went."""

    work: float = 0.0
    seconds: float = 0.0

    def note(self, work: float, seconds: float) -> None:
        """So much was done in that time."""
        self.work += work
        self.seconds += max(seconds, LEAST_S)
        if self.work > REMEMBERED_BYTES:
            self.seconds *= REMEMBERED_BYTES / self.work
            self.work = float(REMEMBERED_BYTES)

    def time_of(self, work: float) -> float | None:
        """Seconds that so much would take; None if nothing was ever measured."""
        if work <= 0:
            return 0.0
        return work / self.work * self.seconds if self.work else None


@dataclass(slots=True)
class Rates:
    """What was measured of one folder. `stage`: copying what is on this disk; `place`: flushing it and giving it its
    name; `outside`: writing it elsewhere; `fetch`: having blocks sent."""

    stage: Rate = field(default_factory=Rate)
    place: Rate = field(default_factory=Rate)
    outside: Rate = field(default_factory=Rate)
    fetch: Rate = field(default_factory=Rate)

    def in_place(self, names: int, size: int, from_peers: int) -> float | None:
        """Seconds of a restore into the folder; `from_peers`: bytes that have to be sent first."""
        work = work_of(names, size)
        stage = self.stage if self.stage.work else self.place
        return _sum(stage.time_of(work), self.place.time_of(work), self.fetch.time_of(from_peers))

    def elsewhere(self, names: int, size: int, from_peers: int) -> float | None:
        """The same for one to another directory, or into a file."""
        work = work_of(names, size)
        if self.outside.work:
            return _sum(self.outside.time_of(work), self.fetch.time_of(from_peers))
        return self.in_place(names, size, from_peers)

    def as_json(self) -> dict[str, list[float]]:
        """To be kept across a restart."""
        return {name: [rate.work, rate.seconds] for name, rate in self._all().items()}

    def take(self, kept: Mapping[str, list[float]]) -> None:
        """What was kept."""
        for name, rate in self._all().items():
            rate.work, rate.seconds = kept.get(name, [0.0, 0.0])

    def _all(self) -> dict[str, Rate]:
        return {"stage": self.stage, "place": self.place, "outside": self.outside, "fetch": self.fetch}


def _sum(*parts: float | None) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None
