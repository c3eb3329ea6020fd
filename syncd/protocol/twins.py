"""Pure. One device, or two computers with the same keys: what is heard of the runs of a device's daemon.

A home that was copied and is used on two computers at once makes two daemons of one device: others keep a link to one
of them, and what the other one changes goes nowhere. So every daemon draws a name for its run, the time from one start
to the next, and says it in its hello. A daemon that was started anew has another run, and the run before is heard no
more. Where the older run still answers to something that was sent after the newer one was heard, both live: causes and
effects tell that, no clock does.
"""

from __future__ import annotations

from dataclasses import field
from math import inf
from typing import Final

from ca.ids import DeviceId
from ca.values import dataclass

RUN_BYTES: Final = 16
NO_RUN: Final = bytes(RUN_BYTES)
LATELY_S: Final = 300.0
"""For how long what was heard stands for what is: a peer that follows us asks at least every minute."""
MOST_RUNS: Final = 8
"""Of one device: whoever claims more of them is known to be two already."""


@dataclass(slots=True)
class _Run:
    address: str
    first_at: float
    """When it was first heard."""
    alive_at: float = -inf
    """The latest moment at which it must have lived."""
    heard_at: float = -inf


@dataclass(slots=True)
class Twins:
    """What this daemon knows of two that are one device. Times are monotonic seconds."""

    own: bytes = NO_RUN
    _runs: dict[DeviceId, dict[bytes, _Run]] = field(default_factory=dict)
    _claims: dict[DeviceId | None, tuple[str, float]] = field(default_factory=dict)
    """Where another daemon of this very device is: who says so (None: we have met it), the address, and when."""

    # others --------------------------------------------------------------------------------------------------

    def heard(self, device: DeviceId, run: bytes, address: str, now: float) -> bool:
        """A run of another device's daemon has proved itself, from an address. Whether it is new, beside others."""
        runs = self._runs.setdefault(device, {})
        is_new = run not in runs
        known = runs.setdefault(run, _Run(address, now))
        known.heard_at = now
        for old in sorted(runs, key=lambda one: runs[one].heard_at)[:-MOST_RUNS]:
            del runs[old]
        return is_new and len(runs) > 1

    def answered(self, device: DeviceId, run: bytes, since: float, now: float) -> bool:
        """A run that was heard before answers to something that was sent at `since`. Whether only that shows of a run
        that it lives beside another one."""
        known = self._runs.get(device, {}).get(run)
        if known is None:
            return False
        before = self._living(device, now)
        known.alive_at, known.heard_at = max(known.alive_at, since), now
        return not self._living(device, now).keys() <= before.keys()

    def several(self, now: float) -> dict[DeviceId, tuple[str, ...]]:
        """Where their daemons are, of all devices that have several at one time."""
        found = {device: self.addresses(device, now) for device, runs in sorted(self._runs.items()) if len(runs) > 1}
        return {device: addresses for device, addresses in found.items() if addresses}

    def addresses(self, device: DeviceId, now: float) -> tuple[str, ...]:
        """Where the daemons of a device are, if there are several at one time; else nothing."""
        return tuple({run.address: None for run in self._living(device, now).values()})

    def other_than(self, device: DeviceId, run: bytes, now: float) -> str | None:
        """Where another daemon of a device is that lives as long as this run of it."""
        one = self._runs.get(device, {}).get(run)
        if one is None:
            return None
        for other in self._lately(device, now).values():
            older, newer = (one, other) if one.first_at < other.first_at else (other, one)
            if other is not one and older.alive_at > newer.first_at:
                return other.address
        return None

    def _living(self, device: DeviceId, now: float) -> dict[bytes, _Run]:
        """The runs that are known to live beside another one."""
        lately = self._lately(device, now)
        names = sorted(lately, key=lambda name: lately[name].first_at)
        pairs = ((older, newer) for at, older in enumerate(names) for newer in names[at + 1 :])
        beside = (pair for pair in pairs if lately[pair[0]].alive_at > lately[pair[1]].first_at)
        return {name: lately[name] for pair in beside for name in pair}

    def _lately(self, device: DeviceId, now: float) -> dict[bytes, _Run]:
        runs = self._runs.get(device, {})
        return {name: run for name, run in runs.items() if run.heard_at > now - LATELY_S}

    # ourselves -----------------------------------------------------------------------------------------------

    def met(self, address: str, now: float) -> None:
        """Another daemon has proved to us, with the keys of this device, that it has them too."""
        self._claims[None] = address, now

    def told(self, by: DeviceId, address: str | None, now: float) -> None:
        """A peer says where it hears another daemon of this device, or (None) that it does not."""
        if address is None:
            self._claims.pop(by, None)
        else:
            self._claims[by] = address, now

    def ours(self, now: float) -> tuple[DeviceId | None, str] | None:
        """Who says that another daemon has our keys (None: we know it ourselves), and where that one is."""
        claims = [(by, address) for by, (address, at) in self._claims.items() if at > now - LATELY_S]
        return min(claims, key=lambda claim: claim[0] or b"") if claims else None
