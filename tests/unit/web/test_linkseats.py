"""Seats and pace of those who come with share links."""

from __future__ import annotations

import pytest

from syncd.web import linkseats
from syncd.web.linkseats import Lines, Seats


def test_strangers_who_sit_there_keep_nobody_out() -> None:
    seats = Seats()
    sitting = [seats.sit(f"address {number % 4}")[0] for number in range(linkseats.MAX_STRANGERS)]
    seat, leaving = seats.sit("honest")
    assert leaving == sitting[0], "the oldest of those who hold most"
    for number in range(200):
        assert seats.sit(f"address {number % 4}")[1] not in (None, seat)
    assert len(seats) == linkseats.MAX_STRANGERS


def test_one_address_has_so_many_seats() -> None:
    seats = Seats()
    first = [seats.sit("one")[0] for _ in range(linkseats.MAX_STRANGERS_PER_ADDRESS)]
    other, _ = seats.sit("other")
    assert seats.sit("one")[1] == first[0]
    seats.leave(first[1])
    assert seats.sit("one")[1] is None
    seats.leave(first[1])
    assert len(seats) == linkseats.MAX_STRANGERS_PER_ADDRESS + 1 and not seats.has_proved(other)


def test_who_has_shown_a_proof_gives_way_to_nobody() -> None:
    seats = Seats()
    proved, _ = seats.sit("honest")
    seats.prove(proved)
    left = {seats.sit(f"{number}")[1] for number in range(500)}
    assert seats.has_proved(proved) and proved not in left
    seats.leave(proved)
    assert not seats.has_proved(proved)


@pytest.mark.parametrize(
    ("address", "most"),
    [("one", linkseats.MAX_PROVED_PER_ADDRESS), ("address {}", linkseats.MAX_PROVED)],
)
def test_seats_of_those_with_a_proof_are_bounded(address: str, most: int) -> None:
    seats = Seats()
    proved = 0
    for number in range(200):
        seat, _ = seats.sit(address.format(number))
        seats.prove(seat)
        proved += seats.has_proved(seat)
    assert proved == most and len(seats) <= linkseats.MAX_STRANGERS + linkseats.MAX_PROVED


def test_who_asks_like_a_person_never_waits() -> None:
    lines = Lines()
    for second in range(60):
        assert all(lines.wait_s("person", False, second + part / 10) == 0 for part in range(10))


@pytest.mark.parametrize(("proved", "rate"), [(False, linkseats.STRANGERS_S), (True, linkseats.PROVED_S)])
def test_all_together_are_looked_at_so_often_a_second(proved: bool, rate: float) -> None:
    """However many addresses there are: what waits for more than ten seconds after ten came too much."""
    lines = Lines()
    looked_at = sum(10 * n / 10_000 + lines.wait_s(f"{n}", proved, 10 * n / 10_000) <= 10 for n in range(10_000))
    assert looked_at == pytest.approx(rate * (10 + linkseats.BURST_S), rel=0.02)
    assert lines.wait_s("other", not proved, 10) == 0, "the others do not wait with them"


def test_one_address_is_looked_at_so_often_a_second() -> None:
    lines = Lines()
    waits = [lines.wait_s("one", True, 0.0) for _ in range(300)]
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(300 / linkseats.PER_ADDRESS_S - linkseats.BURST_S, rel=0.05)
    assert lines.wait_s("other", False, 0.0) == 0


def test_addresses_without_number_take_no_memory_without_bound() -> None:
    lines = Lines()
    for number in range(2 * linkseats.MAX_MEASURED):
        lines.wait_s(f"{number}", False, 0.0)
    assert len(lines._of) == linkseats.MAX_MEASURED
