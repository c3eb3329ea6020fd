"""How long it would take is what it took before, in proportion; and nothing where nothing was measured."""

from __future__ import annotations

import pytest

from syncd.engine.rates import NAME_BYTES, REMEMBERED_BYTES, Rates, work_of

MIB = 1 << 20


def test_what_was_never_measured_is_not_known() -> None:
    assert Rates().in_place(1, MIB, 0) is None
    measured = Rates()
    measured.place.note(100 * MIB, 1.0)
    assert measured.in_place(0, 100 * MIB, MIB) is None, "nobody knows how fast peers are"
    assert measured.in_place(0, 0, 0) == 0.0


def test_twice_as_much_takes_twice_as_long_and_what_peers_send_comes_on_top() -> None:
    rates = Rates()
    rates.stage.note(100 * MIB, 1.0)
    rates.place.note(100 * MIB, 2.0)
    rates.fetch.note(10 * MIB, 1.0)
    assert rates.in_place(0, 200 * MIB, 0) == pytest.approx(6.0)
    assert rates.in_place(0, 200 * MIB, 20 * MIB) == pytest.approx(8.0)


def test_many_small_files_take_longer_than_their_bytes() -> None:
    rates = Rates()
    rates.place.note(100 * MIB, 1.0)
    assert work_of(1000, 5) == 1000 * NAME_BYTES + 5
    assert (rates.in_place(1000, 5, 0) or 0) > 100 * (rates.in_place(1, 5000, 0) or 0)


def test_elsewhere_counts_what_was_written_elsewhere_once_that_is_known() -> None:
    rates = Rates()
    rates.place.note(100 * MIB, 1.0)
    assert rates.elsewhere(0, 100 * MIB, 0) == rates.in_place(0, 100 * MIB, 0)
    rates.outside.note(100 * MIB, 5.0)
    assert rates.elsewhere(0, 100 * MIB, 0) == pytest.approx(5.0)


def test_a_disk_that_has_become_slow_is_soon_taken_for_slow() -> None:
    rates = Rates()
    rates.place.note(100 * REMEMBERED_BYTES, 100.0)
    for _ in range(8):
        rates.place.note(REMEMBERED_BYTES, 50.0)
    assert rates.place.time_of(REMEMBERED_BYTES) == pytest.approx(50.0, rel=0.02)


def test_what_was_measured_is_kept_across_a_restart() -> None:
    rates, later = Rates(), Rates()
    rates.fetch.note(10 * MIB, 3.0)
    rates.place.note(10 * MIB, 1.0)
    later.take(rates.as_json())
    assert later == rates
    later.take({})
    assert later == Rates()
