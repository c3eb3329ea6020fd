"""So many per second, and after a quiet time so many at once."""

from __future__ import annotations

from syncd.protocol.allowance import MAX_SOURCES, Allowance, Pace


def test_allowance_is_a_rate_with_a_burst() -> None:
    allowance = Allowance(per_s=2.0, burst=3.0, now=100.0)
    assert [allowance.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [allowance.take(100.5), allowance.take(100.5)] == [True, False]
    assert [allowance.take(1_000.0) for _ in range(4)] == [True, True, True, False]


def test_one_source_does_not_use_up_what_is_for_all() -> None:
    pace = Pace(per_s=10.0, per_source_s=2.0, now=0.0)
    assert sum(pace.take("loud", 0.0) for _ in range(1_000)) == 4
    assert pace.take("quiet", 0.0)
    assert sum(pace.take(f"source {number}", 0.0) for number in range(100)) == 15
    assert pace.take("quiet", 10.0)


def test_sources_are_forgotten_and_not_kept() -> None:
    pace = Pace(per_s=1e6, per_source_s=1.0, now=0.0)
    assert sum(pace.take(f"source {number}", 0.0) for number in range(10 * MAX_SOURCES)) == 10 * MAX_SOURCES
    assert len(pace._sources) == MAX_SOURCES
