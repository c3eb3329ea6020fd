"""Whom to have links to: the nearest, some by chance, and one net in the end."""

from __future__ import annotations

from ca.ids import DeviceId
from syncd.net.selection import BY_CHANCE, MAX_LINKS, Distance, Selection

MEMBERS = [DeviceId(number.to_bytes(32, "big")) for number in range(1000)]


def by_number(device: DeviceId) -> Distance:
    return int.from_bytes(device, "big")


def test_few_members_are_all_chosen() -> None:
    assert Selection(b"luck").chosen(MEMBERS[:MAX_LINKS], by_number) == set(MEMBERS[:MAX_LINKS])


def test_the_nearest_are_chosen_and_some_by_chance() -> None:
    chosen = Selection(b"luck").chosen(MEMBERS, by_number)
    assert len(chosen) == MAX_LINKS
    assert set(MEMBERS[: MAX_LINKS - BY_CHANCE]) <= chosen
    assert len(chosen - set(MEMBERS[:100])) > 0
    assert chosen != Selection(b"other luck").chosen(MEMBERS, by_number)
    assert chosen == Selection(b"luck").chosen(MEMBERS[::-1], by_number)


def test_only_somebody_not_chosen_loses_a_link_and_the_farthest_first() -> None:
    selection = Selection(b"luck", most=3, by_chance=1)
    chosen = set(MEMBERS[:3])
    assert selection.maybe_surplus(MEMBERS[:3], chosen, by_number) is None
    assert selection.maybe_surplus([*MEMBERS[:2], MEMBERS[7], MEMBERS[5]], chosen, by_number) == MEMBERS[7]
    assert selection.maybe_surplus(MEMBERS[:4], set(MEMBERS[:4]), by_number) is None


def test_two_offices_are_one_net() -> None:
    """Everybody is near to those of his own office alone; by chance the word gets across."""
    offices = [MEMBERS[:500], MEMBERS[500:]]
    links: dict[DeviceId, set[DeviceId]] = {}
    for here, there in (offices, offices[::-1]):
        near, far = set(here), set(there)
        for device in here:
            others = [*near - {device}, *far]
            links[device] = Selection(device).chosen(others, far.__contains__)
    reached, edge = {MEMBERS[0]}, {MEMBERS[0]}
    while edge:
        edge = {other for device in edge for other in links[device]} - reached
        reached |= edge
    assert reached == set(MEMBERS)
