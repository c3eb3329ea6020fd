"""Blocking. Ten thousand clients that leave at any byte of an exchange."""

from __future__ import annotations

from pathlib import Path

import trio
from trio.testing import MockClock

from tests.helpers.computers import Disappointment
from tests.integration.test_http_rows import disconnect_everywhere

CLAIM = "10,000 clients that leave at random bytes of a request or its answer leave no task and no connection behind"

LEAVERS, SEED = 10_000, 19


def prove(place: Path) -> str:
    try:
        trio.run(disconnect_everywhere, LEAVERS, SEED, clock=MockClock(autojump_threshold=0))
    except* (AssertionError, trio.TooSlowError) as errors:
        raise Disappointment(f"something was left behind: {errors.exceptions[0]!r}") from errors
    return f"{LEAVERS} left, nothing stayed behind, and the next one was served"
