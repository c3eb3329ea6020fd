"""So many per second, and after a quiet time so many at once."""

from __future__ import annotations

from syncd.protocol.allowance import Allowance


def test_allowance_is_a_rate_with_a_burst() -> None:
    allowance = Allowance(per_s=2.0, burst=3.0, now=100.0)
    assert [allowance.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [allowance.take(100.5), allowance.take(100.5)] == [True, False]
    assert [allowance.take(1_000.0) for _ in range(4)] == [True, True, True, False]
