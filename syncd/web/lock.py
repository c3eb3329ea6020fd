"""Async. The optional PIN, asked of commands that change something: whoever sits down at an open terminal can look.

The daemon asks, not the command line, so that no other program on the control socket gets around it. The page has the
same PIN and asks by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Final

from ca.values import dataclass
from syncd.engine.happenings import kind_of
from syncd.errors import TrustError
from syncd.seams import Workers
from syncd.web import pin
from syncd.web.gate import Patience

OPEN: Final = frozenset({"web", "config.reload"})
"""The page asks for the PIN itself; the file of settings can be changed without us."""


@dataclass(slots=True)
class Lock:
    """Whether a call may go on. One for the whole daemon, so that all who guess wait together."""

    home: Path
    workers: Workers
    monotonic: Callable[[], float]
    _patience: Patience = field(default_factory=Patience)

    async def check(self, method: str, params: Mapping[str, Any], typed: str | None) -> None:
        """Raises TrustError SY-PIN-01 if the PIN is needed, SY-PIN-02 if `typed` is another; ConfigError SY-WEB-03."""
        if method in OPEN or kind_of(method, params) is None:
            return
        if not await self.workers.run_blocking(pin.has_pin, self.home):
            return
        if typed is None:
            raise TrustError("this needs the PIN", id="SY-PIN-01")
        now = self.monotonic()
        if wait_s := self._patience.wait_s(now):
            why = f"Too many PINs were wrong. The next is looked at in {wait_s:.0f} s."
            raise TrustError("no PIN is looked at now", id="SY-PIN-02", why=why)
        self._patience.failed(now)  # counted before the answer is known: many tries at once gain nothing
        if not await self.workers.run_blocking(pin.is_pin, self.home, typed):
            raise TrustError("that was not the PIN", id="SY-PIN-02")
        self._patience.succeeded()
