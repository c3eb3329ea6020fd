"""When changesets came here: by this device's clock, as far as it can be believed."""

from __future__ import annotations

import sqlite3

import pytest

from syncd.store.moments import ARRIVALS_MS, Arrivals, arrivals, note_arrivals

NOW = 50 * ARRIVALS_MS


@pytest.mark.parametrize(
    ("noted", "found"),
    [
        ([], [NOW, NOW, NOW]),
        ([(1, 10)], [10, NOW, NOW]),
        ([(2, 10), (3, 20)], [10, 10, 20]),
        ([(1, 20), (2, 10), (3, 30)], [20, 20, 30]),
        ([(1, 20), (2, NOW + 1), (3, 30)], [20, NOW, 30]),
    ],
    ids=["not noted yet", "come since", "several at once", "a clock that was behind", "a clock that was ahead"],
)
def test_when_it_came(noted: list[tuple[int, int]], found: list[int]) -> None:
    came = Arrivals(noted, NOW)
    assert [came.of(seq) for seq in (1, 2, 3)] == found


def test_what_comes_within_minutes_has_one_row() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE changeset(seq INTEGER PRIMARY KEY)")
    connection.execute("CREATE TABLE came(seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL)")
    note_arrivals(connection, 1)
    times = (ARRIVALS_MS, ARRIVALS_MS + 7, 2 * ARRIVALS_MS - 1, 2 * ARRIVALS_MS)
    for at_ms in times:
        connection.execute("INSERT INTO changeset VALUES (NULL)")
        note_arrivals(connection, at_ms)
        note_arrivals(connection, at_ms + 3 * ARRIVALS_MS)
    assert connection.execute("SELECT count(*) FROM came").fetchone() == (2,)
    came = arrivals(connection, NOW)
    assert all(at_ms <= came.of(seq) < at_ms + ARRIVALS_MS for seq, at_ms in enumerate(times, 1))
