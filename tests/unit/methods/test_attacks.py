"""What the doctor tells of refusals: every kind with advice, quiet days as quiet, floods as a finding."""

from __future__ import annotations

import pytest

from syncd.catalogue import CATALOGUE
from syncd.methods.attacks import ADVICE, DAY_S, HOUR_S, MANY, attack_checks
from syncd.protocol.refusals import BURST_S, Event, Refusals
from tests.unit.protocol.test_refusals import HandClock


def test_a_day_without_refusals_is_told_too() -> None:
    clock = HandClock()
    (check,) = attack_checks(Refusals(clock), clock.now())
    assert check.ok and check.why == "nobody was refused within the last day"


@pytest.mark.parametrize("event", Event)
def test_every_kind_is_told_with_what_to_do(event: Event) -> None:
    clock = HandClock()
    refusals = Refusals(clock)
    for number in range(MANY):
        refusals.note(event, f"10.0.0.{1 + (number % 4 == 0)}:{number}", "whatever it was")
    (check,) = attack_checks(refusals, clock.now())
    assert not check.ok
    assert check.id is not None and check.id in CATALOGUE
    assert check.fix == ADVICE[event][1] != ""
    assert check.why.startswith(f"{MANY} times refused within the hour: {ADVICE[event][0]}; from 2 addresses: ")
    assert "10.0.0.1 (75), 10.0.0.2 (25)" in check.why
    assert "since 2001-09-09T02:03:20Z, last 2001-09-09T02:03:20Z" in check.why


def test_the_few_of_every_day_are_no_finding() -> None:
    clock = HandClock()
    refusals = Refusals(clock)
    for _ in range(MANY - 1):
        refusals.note(Event.LABEL, "10.0.0.1:1", "no such name")
    refusals.note(Event.HELLO, "10.0.0.9:1", "a reflection")
    checks = list(attack_checks(refusals, clock.now()))
    assert [check.ok for check in checks] == [True, True]
    assert checks[0].why.startswith(f"{MANY - 1} times refused within the day")
    assert checks[1].why.startswith("once refused within the day: false proofs")
    assert "from 1 address: 10.0.0.9 (1)" in checks[1].why


def test_a_flood_is_no_finding_any_more_after_an_hour_and_forgotten_after_a_day() -> None:
    clock = HandClock()
    refusals = Refusals(clock)
    for _ in range(10 * MANY):
        refusals.note(Event.CROWD, "10.0.0.1:1", "too many")
    clock.moment += HOUR_S + BURST_S
    (check,) = attack_checks(refusals, clock.now())
    assert check.ok and "1000 times refused within the day" in check.why
    clock.moment += DAY_S
    (check,) = attack_checks(refusals, clock.now())
    assert check.ok and "nobody" in check.why


def test_each_kind_is_judged_by_itself_and_the_largest_comes_first() -> None:
    clock = HandClock()
    refusals = Refusals(clock)
    for _ in range(MANY - 1):
        refusals.note(Event.LABEL, "10.0.0.1:1", "no such name")
    for _ in range(MANY + 5):
        refusals.note(Event.REQUEST, "10.0.0.2:1", "not HTTP")
    first, second = attack_checks(refusals, clock.now())
    assert (first.ok, second.ok) == (False, True)
    assert "malformed" in first.why and "not here under that name" in second.why
