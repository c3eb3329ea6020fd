"""Whom to have links to: a ring, the nearest, some by chance; and one net in the end, whoever is away."""

from __future__ import annotations

from collections.abc import Collection
from random import Random

import pytest

from ca.ids import DeviceId
from syncd.net.selection import CHOSEN, Distance, Places, Selection

MEMBERS = [DeviceId(number.to_bytes(32, "big")) for number in range(1000)]
OWN = MEMBERS[500]
OTHERS = [device for device in MEMBERS if device != OWN]


def by_number(device: DeviceId) -> Distance:
    return int.from_bytes(device, "big")


def nowhere(device: DeviceId) -> Distance:
    return 0


def readers(members: Collection[DeviceId], away: Collection[DeviceId]) -> dict[DeviceId, set[DeviceId]]:
    """Who reads whom, of those who are there; each has luck of his own."""
    here = [device for device in members if device not in away]
    found: dict[DeviceId, set[DeviceId]] = {device: set() for device in here}
    for device in here:
        others = [other for other in members if other != device]
        chosen = Selection(device, device).chosen(others, nowhere, lambda other: other not in away)
        for other in chosen - set(away):
            found[other].add(device)
    return found


def hops(graph: dict[DeviceId, set[DeviceId]], start: DeviceId) -> dict[DeviceId, int]:
    """In how many steps the word of one gets to everybody else."""
    found, edge = {start: 0}, [start]
    for device in edge:
        for other in graph[device] - found.keys():
            found[other] = found[device] + 1
            edge.append(other)
    return found


def test_few_members_are_all_chosen() -> None:
    assert Selection(OWN, b"luck").chosen(OTHERS[:CHOSEN], by_number) == set(OTHERS[:CHOSEN])


def test_the_nearest_are_chosen_and_some_by_chance() -> None:
    chosen = Selection(OWN, b"luck").chosen(OTHERS, by_number)
    assert len(chosen) == CHOSEN
    assert set(OTHERS[:3]) <= chosen
    assert chosen != Selection(OWN, b"other luck").chosen(OTHERS, by_number)
    assert chosen == Selection(OWN, b"luck").chosen(OTHERS[::-1], by_number)


def test_who_is_away_has_a_substitute_and_keeps_the_place() -> None:
    selection = Selection(OWN, b"luck")
    before = selection.chosen(OTHERS, nowhere)
    away = set(list(before)[:3])
    chosen = selection.chosen(OTHERS, nowhere, lambda device: device not in away)
    assert len(chosen - away) >= CHOSEN
    assert away <= chosen  # and is called, in case it is back


def test_only_somebody_not_chosen_loses_a_link_and_the_farthest_first() -> None:
    selection = Selection(OWN, b"luck", Places(most=3))
    chosen = set(MEMBERS[:3])
    assert selection.maybe_surplus(MEMBERS[:3], chosen, by_number) is None
    assert selection.maybe_surplus([*MEMBERS[:2], MEMBERS[7], MEMBERS[5]], chosen, by_number) == MEMBERS[7]
    assert selection.maybe_surplus(MEMBERS[:4], set(MEMBERS[:4]), by_number) is None


@pytest.mark.parametrize(("count", "away", "most"), [(12, 0, 2), (50, 0, 4), (50, 25, 4), (300, 100, 6)])
def test_word_of_everybody_gets_to_everybody(count: int, away: int, most: int) -> None:
    members = MEMBERS[:count]
    graph = readers(members, set(Random(count).sample(members, away)))
    ways = [hops(graph, device) for device in list(graph)[:30]]
    assert all(len(way) == count - away for way in ways)
    assert max(max(way.values()) for way in ways) <= most


def test_two_offices_are_one_net() -> None:
    """Everybody is near to those of his own office alone; over the ring and by chance the word gets across."""
    offices = [MEMBERS[:100], MEMBERS[100:200]]
    links: dict[DeviceId, set[DeviceId]] = {}
    for here, there in (offices, offices[::-1]):
        near, far = set(here), set(there)
        for device in here:
            others = [*near - {device}, *far]
            links[device] = Selection(device, device).chosen(others, far.__contains__)
    assert set(hops(links, MEMBERS[0])) == set(MEMBERS[:200])
