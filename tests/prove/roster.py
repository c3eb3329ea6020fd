"""Blocking. A folder of 10,000 devices and a roster of 10,000 entries."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.computers import Disappointment
from tests.helpers.crowds import long_chain, measure_roster, verify_s

CLAIM = (
    "With 10,000 devices, admitted by 20 commands of 500, a rotation takes at most 3 s of one core and 15 MB, and a "
    "node fetches at most 6 KiB for it; a chain of 10,000 entries is verified from genesis within 3 s"
)


def prove(place: Path) -> str:
    costs = measure_roster(commands=20, at_once=500)
    seconds = verify_s(long_chain(10_000))
    measured = f"{costs}; 10,000 entries verified within {seconds:.2f} s"
    if costs.rotation_s > 3 or costs.rotation_bytes > 15e6 or costs.fetched_bytes > 6 * 1024 or seconds > 3:
        raise Disappointment(measured)
    return measured
