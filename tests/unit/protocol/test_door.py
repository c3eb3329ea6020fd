"""The door: who gets a place, who gives way, and that strangers never take a member's place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from syncd.protocol.door import MAX_KNOWN, MAX_MEASURED, Door, DoorLimits, Known, Share, Turned, owner_of

SLOW = Share(4, 2, 1.0, 100.0)
LIMITS = DoorLimits(strangers=SLOW, members=Share(4, 3, 1.0, 100.0), per_s=1.0, burst=1000.0)


def seat(door: Door, host: str, now: float = 0.0) -> tuple[int, int | None]:
    found = door.knock(host, now)
    assert not isinstance(found, Turned)
    return found


def test_oldest_of_an_address_gives_way_to_its_next() -> None:
    door = Door(LIMITS, Known())
    first, second = seat(door, "10.0.0.1")[0], seat(door, "10.0.0.1")[0]
    assert seat(door, "10.0.0.1")[1] == first
    assert seat(door, "10.0.0.1")[1] == second
    assert len(door) == 2


def test_when_all_places_are_taken_the_fullest_address_gives_way() -> None:
    door = Door(LIMITS, Known())
    alone = seat(door, "10.0.0.9")[0]
    first = seat(door, "10.0.0.1")[0]
    seat(door, "10.0.0.1")
    seat(door, "10.0.0.2")
    assert seat(door, "10.0.0.3")[1] == first
    assert seat(door, "10.0.0.4")[1] == alone


def test_members_have_places_of_their_own() -> None:
    known = Known()
    known.note("10.0.0.7")
    door = Door(DoorLimits(strangers=SLOW, members=SLOW, per_s=0.0, burst=4.0), known)
    for number in range(4):
        seat(door, f"10.0.1.{number}")
    assert door.knock("10.0.2.1", 0.0) is Turned.ALL_TOO_FAST
    assert seat(door, "10.0.0.7")[1] is None


def test_one_address_is_kept_slow_and_no_other_with_it() -> None:
    door = Door(DoorLimits(strangers=Share(100, 50, 2.0, 3.0)), Known())
    turns = [door.knock("10.0.0.1", 0.0) for _ in range(4)]
    assert turns[3] is Turned.TOO_FAST
    assert not any(isinstance(turn, Turned) for turn in turns[:3])
    assert not isinstance(door.knock("10.0.0.2", 0.0), Turned)
    assert not isinstance(door.knock("10.0.0.1", 0.6), Turned)


def test_place_is_free_again() -> None:
    door = Door(LIMITS, Known())
    for now in range(100):
        guest, leaving = seat(door, "10.0.0.1", float(now))
        assert leaving is None
        door.leave(guest)
        door.leave(guest)
    assert len(door) == 0


def test_64_bits_of_ipv6_are_one_owner() -> None:
    assert owner_of("2001:db8::1") == owner_of("2001:db8::ffff:1") == "2001:db8::/64"
    assert owner_of("2001:db8:0:1::1") != owner_of("2001:db8::1")
    assert owner_of("::ffff:10.0.0.1") == owner_of("10.0.0.1") == "10.0.0.1"
    assert owner_of("fe80::1%eth0") == owner_of("fe80::2%eth1")


def test_memory_is_bounded_whatever_knocks() -> None:
    known = Known()
    door = Door(DoorLimits(), known)
    for number in range(2 * MAX_MEASURED):
        host = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        door.knock(host, float(number))
        known.note(host)
    assert len(door) <= 128 + 256
    assert len(door._pace) <= MAX_MEASURED
    assert "10.0.0.0" not in known
    assert f"10.0.{(2 * MAX_KNOWN - 1) >> 8}.255" in known


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 9)), max_size=80))
def test_places_hold_whatever_happens(steps: list[tuple[int, bool, int]]) -> None:
    known = Known()
    known.note("10.0.0.0")
    door = Door(LIMITS, known)
    present: set[int] = set()
    for number, leaves, which in steps:
        if leaves and present:
            guest = sorted(present)[which % len(present)]
            door.leave(guest)
            present.remove(guest)
            continue
        guest, leaving = seat(door, f"10.0.0.{number}")
        present -= {leaving}
        present.add(guest)
        assert len(door) == len(present) <= 8
