"""Async. Virtual time for simulations: when every task waits, it jumps to the next moment at which something is due.

It does what trio's `MockClock` with autojump does, for a fraction of the work: a jump wakes who is due in the same turn
of the event loop, and `call_at` and `doze` need no cancel scope. It reaches into the same private corner of trio as
`MockClock` itself does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from math import inf
from typing import Any

import trio
from trio._core._run import GLOBAL_RUN_CONTEXT
from trio.testing import MockClock

NEVER_S = 1e8
ASKED_EVERY = 64


class SimClockStopped(Exception):
    """Every task waits for something that no time will bring."""


class _HardlyAnyIo:
    """Trio's view of the operating system, asked in one turn of the loop out of many: nothing comes from there but a
    signal."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._turns = 0
        self.has_asked = False
        """In this turn it was asked."""

    def ask_soon(self) -> None:
        """Ask it in the next turn."""
        self._turns = ASKED_EVERY

    def get_events(self, timeout: float) -> Any:
        self._turns += 1
        self.has_asked = self._turns > ASKED_EVERY
        if not self.has_asked:
            return []
        self._turns = 0
        return self._real.get_events(timeout)

    def process_events(self, events: Any) -> None:
        if events:
            self._real.process_events(events)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@MockClock.register  # trio's loop lets nothing else jump
class JumpingClock(trio.abc.Clock):
    """Time of one simulation. Use a new one for each."""

    def __init__(self) -> None:
        self._now = 0.0
        self._calls: list[tuple[float, int, Callable[[], object]]] = []
        self._number = 0

    def start_clock(self) -> None:
        runner = GLOBAL_RUN_CONTEXT.runner
        runner.clock_autojump_threshold = 0
        self._io = runner.io_manager = _HardlyAnyIo(runner.io_manager)  # type: ignore[assignment]  # it stands for it

    def current_time(self) -> float:
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return 0.0 if deadline <= self._now else NEVER_S

    def call_at(self, due: float, call: Callable[[], object]) -> None:
        """Call at that time, in the order asked for. It cannot be taken back."""
        self._number += 1
        heappush(self._calls, (due, self._number, call))

    def _autojump(self) -> None:
        deadlines = GLOBAL_RUN_CONTEXT.runner.deadlines
        due = min(deadlines.next_deadline(), self._calls[0][0] if self._calls else inf)
        if due == inf:
            if self._io.has_asked:
                raise SimClockStopped
            self._io.ask_soon()
            return
        self._now = max(self._now, due)
        while self._calls and self._calls[0][0] <= self._now:
            heappop(self._calls)[2]()
        deadlines.expire(self._now)


def call_at(due: float, call: Callable[[], object]) -> None:
    """Call at that (virtual) time, whatever clock this run has."""
    clock = trio.lowlevel.current_clock()
    if isinstance(clock, JumpingClock):
        clock.call_at(due, call)
    else:
        trio.lowlevel.spawn_system_task(_call_late, due, call)


async def _call_late(due: float, call: Callable[[], object]) -> None:
    await trio.sleep_until(due)
    call()


async def doze(seconds: float) -> None:
    """Let time pass, as in a thread that nobody can interrupt."""
    task = trio.lowlevel.current_task()
    call_at(trio.current_time() + seconds, partial(trio.lowlevel.reschedule, task))
    await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
