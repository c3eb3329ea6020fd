"""Many devices in one folder: what joining costs, how quick news are, who is said to be there. 50 by
`make prove ONLY=scale_peers`."""

from __future__ import annotations

import pytest

from syncd.net import circle
from syncd.net.selection import MAX_LINKS, Places, Selection
from tests.simulation.crowd import Crowd, gather

NEWS_S = 0.5
EACH = 12
"""Connections that a newcomer may cause for each device there is: a call each way, an entry, a few links."""


def demand(found: Crowd) -> None:
    print(found)  # noqa: T201
    assert found.change_s <= NEWS_S
    assert found.links_each <= MAX_LINKS
    for number, connections in enumerate(found.joining, start=2):
        assert connections <= EACH * number, f"{connections} for the device number {number}"


@pytest.mark.long
def test_six_devices() -> None:
    demand(gather(6))


@pytest.mark.long
def test_change_gets_also_to_who_is_not_linked_to_its_author(monkeypatch: pytest.MonkeyPatch) -> None:
    """The author is linked to somebody who is not linked back: what it needs it says there all the same."""
    few = Places(on_each_side=1, nearest=1, by_chance=1, usual=5, most=8)
    monkeypatch.setattr(circle, "Selection", lambda own, luck: Selection(own, luck, few))
    assert gather(8).change_s <= NEWS_S


@pytest.mark.slowest
def test_twelve_devices() -> None:
    demand(gather(12))


@pytest.mark.slowest
def test_twenty_four_devices_cost_less_than_five_times_as_many_as_twelve() -> None:
    twelve, more = gather(12), gather(24)
    demand(more)
    assert more.connections < 5 * twelve.connections
