"""Two daemons of one device are told from one that was started anew."""

from __future__ import annotations

from ca.ids import DeviceId
from syncd.protocol.twins import LATELY_S, MOST_RUNS, Twins

CLEO = DeviceId(b"c" * 32)
BERT = DeviceId(b"b" * 32)
ONE, TWO, THREE = b"1" * 16, b"2" * 16, b"3" * 16


def heard_both() -> Twins:
    """One was heard first, and the other ten seconds later."""
    twins = Twins()
    twins.heard(CLEO, ONE, "10.0.0.1:5", 100.0)
    twins.heard(CLEO, TWO, "10.0.0.2:5", 110.0)
    return twins


def test_daemon_that_was_started_anew_is_one() -> None:
    twins = heard_both()
    twins.answered(CLEO, ONE, 109.0, 112.0)  # sent before the new one was heard, however late it arrives
    twins.answered(CLEO, TWO, 120.0, 121.0)
    assert twins.addresses(CLEO, 121.0) == ()
    assert twins.other_than(CLEO, TWO, 121.0) is None


def test_older_one_that_answers_to_something_later_makes_two() -> None:
    twins = heard_both()
    twins.answered(CLEO, ONE, 111.0, 112.0)
    assert set(twins.addresses(CLEO, 112.0)) == {"10.0.0.1:5", "10.0.0.2:5"}
    assert twins.other_than(CLEO, ONE, 112.0) == "10.0.0.2:5"
    assert twins.other_than(CLEO, TWO, 112.0) == "10.0.0.1:5"
    assert twins.addresses(BERT, 112.0) == ()


def test_when_one_of_them_falls_silent_it_is_over() -> None:
    twins = heard_both()
    twins.answered(CLEO, ONE, 111.0, 112.0)
    later = 113.0 + LATELY_S
    twins.answered(CLEO, TWO, later - 1, later)
    assert twins.addresses(CLEO, later) == ()
    assert twins.other_than(CLEO, TWO, later) is None


def test_each_one_that_is_started_beside_another_is_noticed_when_that_answers() -> None:
    """Who notices cuts its connections, so that it calls again and is told before it says that all is in sync."""
    twins = heard_both()
    assert twins.answered(CLEO, ONE, 111.0, 112.0)
    assert not twins.answered(CLEO, ONE, 112.0, 113.0)
    twins.heard(CLEO, THREE, "10.0.0.2:5", 120.0)  # the second was started anew
    assert not twins.answered(CLEO, ONE, 119.0, 121.0)
    assert twins.answered(CLEO, ONE, 121.0, 122.0)
    assert not twins.answered(CLEO, THREE, 122.0, 123.0)


def test_what_a_stranger_to_us_answers_means_nothing() -> None:
    twins = Twins()
    twins.answered(CLEO, ONE, 1.0, 2.0)
    assert twins.other_than(CLEO, ONE, 2.0) is None


def test_who_invents_runs_costs_no_memory() -> None:
    twins = heard_both()
    for number in range(1000):
        twins.heard(CLEO, number.to_bytes(16, "big"), "10.0.0.3:5", 200.0 + number)
    assert len(twins.addresses(CLEO, 1200.0)) <= MOST_RUNS


def test_claims_about_ourselves_are_believed_until_they_are_taken_back_or_old() -> None:
    twins = Twins()
    assert twins.ours(0.0) is None
    twins.told(BERT, "10.0.0.9:5", 10.0)
    assert twins.ours(11.0) == (BERT, "10.0.0.9:5")
    twins.met("10.0.0.7:5", 12.0)
    assert twins.ours(13.0) == (None, "10.0.0.7:5")
    twins.told(BERT, None, 14.0)
    assert twins.ours(13.0 + LATELY_S) is None
