"""Refusals: one entry for a burst, bounded whatever comes, and nothing raw in it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from syncd.protocol.refusals import BURST_S, MAX_HOSTS, MAX_KEPT, MAX_WHY_CHARS, OTHERS, Attack, Burst, Event, Refusals


class HandClock:
    """A clock that a test moves. Implements `seams.Clock`."""

    def __init__(self) -> None:
        self.moment = 1000.0

    def now(self) -> float:
        return 1e9 + self.moment

    def monotonic(self) -> float:
        return self.moment


def test_who_writes_them_down_is_called_once_for_all_that_is_to_be_written() -> None:
    refusals, called = Refusals(HandClock()), list[int]()
    refusals.on_changed = lambda: called.append(1)
    for _ in range(3):
        refusals.note(Event.LABEL, "10.0.0.1:1", "no such name")
    assert len(called) == 1
    (burst,) = refusals.take_changed()
    assert burst.count == 3
    refusals.note(Event.LABEL, "10.0.0.1:1", "no such name")
    assert len(called) == 2 and refusals.take_changed() == [burst]


def test_a_burst_is_told_once_and_counted() -> None:
    clock, told = HandClock(), list[Burst]()
    refusals = Refusals(clock, told.append)
    for _ in range(1000):
        refusals.note(Event.LABEL, "1.2.3.4:5", "no such name")
        clock.moment += 0.01
    refusals.note(Event.RIGHT, "1.2.3.4:6", "another thing")
    clock.moment += BURST_S
    refusals.note(Event.LABEL, "1.2.3.4:7", "no such name")
    assert [(burst.event, burst.count) for burst in told] == [(Event.LABEL, 1000), (Event.RIGHT, 1), (Event.LABEL, 1)]
    assert refusals.counts[Event.LABEL] == 1001
    assert told[0].last - told[0].began > 9


def test_many_addresses_at_a_time_are_counted_together() -> None:
    told = list[Burst]()
    refusals = Refusals(HandClock(), told.append)
    for number in range(10_000):
        refusals.note(Event.CROWD, f"10.0.{number >> 8}.{number & 255}:1", "too many")
    assert len(told) == MAX_HOSTS + 1
    assert told[-1].host == OTHERS
    assert sum(burst.count for burst in told) == 10_000


def test_what_is_kept_is_bounded() -> None:
    clock = HandClock()
    refusals = Refusals(clock)
    for _ in range(2 * MAX_KEPT):
        refusals.note(Event.CROWD, "10.0.0.1:1", "too many")
        clock.moment += BURST_S
    assert len(refusals.recent()) == MAX_KEPT


def test_attack_is_summed_up_for_a_time() -> None:
    clock = HandClock()
    refusals = Refusals(clock)
    refusals.note(Event.LABEL, "10.0.0.1:1", "early")
    clock.moment += 7200.0
    for number in range(5):
        refusals.note(Event.LABEL, f"10.0.0.{2 + number % 2}:1", "late")
    now = clock.now()
    assert refusals.since(now - 3600) == Attack(5, 2, "10.0.0.2")
    assert refusals.since(now - 10_000).count == 6 and refusals.since(now + 1) == Attack(0, 0, None)


def test_changes_are_given_out_once() -> None:
    refusals = Refusals(HandClock())
    refusals.note(Event.CROWD, "10.0.0.1:1", "too many")
    refusals.note(Event.CROWD, "10.0.0.1:2", "too many")
    assert [burst.count for burst in refusals.take_changed()] == [2]
    assert refusals.take_changed() == []
    refusals.note(Event.CROWD, "10.0.0.1:3", "too many")
    assert [burst.count for burst in refusals.take_changed()] == [3]


@given(st.text(max_size=400), st.text(max_size=100))
def test_whatever_was_in_it_stays_in_its_line(why: str, address: str) -> None:
    refusals = Refusals(HandClock())
    refusals.note(Event.REQUEST, address, why)
    burst = refusals.recent()[0]
    assert burst.why.isprintable()
    assert burst.host.isprintable()
    assert len(burst.why) <= MAX_WHY_CHARS
