"""Which address is dialled when."""

from __future__ import annotations

from math import inf

import pytest

from ca.ids import DeviceId
from syncd.net.contacts import (
    KICK_S,
    LONGEST_WAIT_S,
    MAX_OF_DEVICE,
    MAX_UNKNOWN,
    SHORT_S,
    STAGGER_S,
    Contacts,
    Source,
)

BOB = DeviceId(b"b" * 32)
EVE = DeviceId(b"e" * 32)


@pytest.fixture
def contacts() -> Contacts:
    return Contacts(lambda: 0.0)


def test_new_addresses_are_due_at_once_and_taken_once(contacts: Contacts) -> None:
    contacts.note(["bob:1"], Source.TOLD, 5.0, BOB)
    assert contacts.next_due({BOB}) == 5.0
    assert contacts.take_due(5.0, {BOB}) == ["bob:1"]
    assert contacts.take_due(5.0, {BOB}) == []
    assert contacts.next_due({BOB}) == inf


def test_devices_that_are_not_lacking_are_left_alone(contacts: Contacts) -> None:
    contacts.note(["bob:1"], Source.TOLD, 0.0, BOB)
    contacts.note(["somewhere:1"], Source.STATIC, 0.0)
    assert contacts.take_due(0.0, {EVE}) == ["somewhere:1"]
    assert contacts.next_due(set()) == inf


def test_addresses_of_one_device_are_tried_one_after_the_other_and_the_last_one_reached_first(
    contacts: Contacts,
) -> None:
    contacts.note(["bob:1", "bob:2"], Source.TOLD, 0.0, BOB)
    contacts.take_due(0.0, {BOB})
    contacts.take_due(STAGGER_S, {BOB})
    contacts.reached("bob:2", BOB, 1.0)
    contacts.ended("bob:2", 1.0 + SHORT_S)
    contacts.failed("bob:1", 1.0)
    assert contacts.addresses_of(BOB) == ["bob:2", "bob:1"]
    assert contacts.take_due(20.0, {BOB}) == ["bob:2"]
    assert contacts.take_due(20.0, {BOB}) == []
    assert contacts.take_due(contacts.next_due({BOB}), {BOB}) == ["bob:1"]


def test_failures_put_an_address_off_up_to_a_minute(contacts: Contacts) -> None:
    contacts.note(["bob:1"], Source.TOLD, 0.0, BOB)
    now, waits = 0.0, []
    for _ in range(9):
        assert contacts.take_due(now, {BOB}) == ["bob:1"]
        contacts.failed("bob:1", now)
        waits.append(contacts.next_due({BOB}) - now)
        now = contacts.next_due({BOB})
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_chance_spreads_attempts_and_never_exceeds_the_longest_wait() -> None:
    unlucky = Contacts(lambda: 1.0)
    unlucky.note(["bob:1"], Source.TOLD, 0.0, BOB)
    assert unlucky.next_due({BOB}) == KICK_S
    for _ in range(20):
        unlucky.failed("bob:1", 0.0)
    assert unlucky.next_due({BOB}) == LONGEST_WAIT_S


def test_whoever_has_just_let_us_in_is_called_without_leaving_anything_to_chance() -> None:
    unlucky = Contacts(lambda: 1.0)
    unlucky.note(["bob:1", "bob:2"], Source.TOLD, 5.0, BOB)
    unlucky.call_now("bob:1", 5.0)
    assert unlucky.take_due(5.0, {BOB}) == ["bob:1"]
    assert unlucky.next_due({BOB}) == 5.0 + KICK_S, "its other addresses wait as ever"
    unlucky.call_now("eve:1", 5.0)
    assert unlucky.device_at("eve:1") is None, "an address that nobody knows is not learned by that"


def test_a_kick_makes_a_failing_address_due_soon_and_forgives(contacts: Contacts) -> None:
    contacts.note(["bob:1", "eve:1"], Source.STATIC, 0.0)
    contacts.reached("bob:1", BOB, 0.0)
    contacts.reached("eve:1", EVE, 0.0)
    for _ in range(8):
        contacts.failed("bob:1", 0.0)
        contacts.failed("eve:1", 0.0)
    contacts.kick(1.0, BOB)
    assert contacts.next_due({BOB}) <= 1.0 + KICK_S
    assert contacts.next_due({EVE}) > 20
    contacts.kick(1.0)
    assert contacts.next_due({EVE}) <= 1.0 + KICK_S
    contacts.failed("bob:1", 2.0)
    assert contacts.next_due({BOB}) <= 3.0


def test_a_connection_that_lasted_is_renewed_at_once_and_a_short_one_is_a_failure(contacts: Contacts) -> None:
    contacts.note(["bob:1"], Source.TOLD, 0.0, BOB)
    contacts.take_due(0.0, {BOB})
    contacts.reached("bob:1", BOB, 0.0)
    contacts.ended("bob:1", 1.0)
    first = contacts.next_due({BOB}) - 1.0
    contacts.reached("bob:1", BOB, 2.0)
    contacts.ended("bob:1", 3.0)
    assert contacts.next_due({BOB}) - 3.0 > first > 0
    contacts.reached("bob:1", BOB, 10.0)
    contacts.ended("bob:1", 10.0 + SHORT_S)
    assert contacts.next_due({BOB}) <= 10.0 + SHORT_S + KICK_S


def test_another_device_at_an_address_takes_it_over(contacts: Contacts) -> None:
    contacts.note(["house:1"], Source.TOLD, 0.0, BOB)
    contacts.reached("house:1", EVE, 1.0)
    assert contacts.addresses_of(BOB) == []
    assert contacts.device_at("house:1") == EVE
    contacts.note(["house:1"], Source.TOLD, 2.0, BOB)
    assert contacts.device_at("house:1") == EVE  # what was proved counts more than what is told


def test_our_own_address_is_never_tried_again(contacts: Contacts) -> None:
    contacts.note(["us:1"], Source.STATIC, 0.0)
    contacts.take_due(0.0, set())
    contacts.is_us("us:1")
    contacts.note(["us:1"], Source.FOUND, 1.0)
    assert contacts.take_due(100.0, set()) == []
    assert contacts.unknown() == []


def test_a_goodbye_forgets_what_was_only_announced(contacts: Contacts) -> None:
    contacts.note(["bob:1", "bob:2"], Source.FOUND, 0.0)
    contacts.note(["bob:3"], Source.STATIC, 0.0)
    contacts.reached("bob:2", BOB, 0.0)
    contacts.forget(["bob:1", "bob:2", "bob:3"])
    assert contacts.unknown() == ["bob:3"]
    assert contacts.addresses_of(BOB) == ["bob:2"]


def test_nobody_can_fill_the_memory_with_addresses(contacts: Contacts) -> None:
    contacts.note(["bob:good"], Source.TOLD, 0.0, BOB)
    contacts.reached("bob:good", BOB, 1.0)
    contacts.note([f"bob:{n}" for n in range(1000)], Source.TOLD, 2.0, BOB)
    contacts.note([f"x:{n}" for n in range(1000)], Source.FOUND, 2.0)
    contacts.note(["y:1"], Source.STATIC, 2.0)
    assert len(contacts.addresses_of(BOB)) == MAX_OF_DEVICE
    assert contacts.addresses_of(BOB)[0] == "bob:good"
    assert len(contacts.unknown()) == MAX_UNKNOWN
    assert "y:1" in contacts.unknown()
