"""Blocking. Fifty whole daemons in one folder, on virtual time: what joining costs, and whether all is as quick."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.helpers.computers import Disappointment
from tests.simulation.crowd import Crowd, gather
from tests.simulation.removing import CUT_S

CLAIM = (
    "Of 50 simulated devices that join one folder one after another each costs at most 12 connections for each device "
    "there is, and all together at most 5 times the connections of 25; a change is on every disk within 0.5 s, a "
    "removed member is cut everywhere within 5 s, and everybody says truly who is connected, who is reached through "
    "others and who is away"
)

HALF, ALL = 25, 50
EACH, GROWTH, NEWS_S = 12, 5, 0.5


def prove(place: Path) -> str:
    """`PEERS` in the environment: how many."""
    count = int(os.environ.get("PEERS") or ALL)
    half = _told(gather(count * HALF // ALL))
    found = _told(gather(count))
    measured = f"{half}; {found}"
    is_cheap = all(connections <= EACH * number for number, connections in enumerate(found.joining, start=2))
    if not is_cheap or found.connections > GROWTH * half.connections or found.change_s > NEWS_S or found.cut_s > CUT_S:
        raise Disappointment(measured)
    return measured


def _told(found: Crowd) -> Crowd:
    print(f"  {found}", file=sys.stderr, flush=True)
    return found
