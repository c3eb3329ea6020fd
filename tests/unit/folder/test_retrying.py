"""When what gave trouble is looked at again."""

from __future__ import annotations

import math

from syncd.folder.retrying import FIRST_S, LONGEST_S, Retries

PATH, OTHER = (b"one", b"plan"), (b"two",)


def test_first_try_comes_soon_and_no_other_path_comes_with_it() -> None:
    retries = Retries()
    retries.failed(PATH, 10.0)
    retries.failed(OTHER, 11.0)
    assert retries.next_s() == 10.0 + FIRST_S
    assert retries.take(10.0 + FIRST_S) == [PATH]
    assert retries.next_s() == 11.0 + FIRST_S


def test_what_fails_again_and_again_waits_twice_as_long_each_time_up_to_ten_minutes() -> None:
    retries, waits, now = Retries(), [], 0.0
    for _ in range(12):
        retries.failed(PATH, now)
        waits.append(retries.next_s() - now)
        now = retries.next_s()
        assert retries.take(now) == [PATH]
    assert waits[:4] == [2.0, 4.0, 8.0, 16.0]
    assert waits[-1] == LONGEST_S


def test_what_went_well_is_forgotten() -> None:
    retries = Retries()
    for at in (0.0, 2.0):
        retries.failed(PATH, at)
        retries.take(1000.0)
    retries.tried([PATH])
    assert retries.next_s() == math.inf
    retries.failed(PATH, 100.0)
    assert retries.next_s() == 100.0 + FIRST_S


def test_what_failed_in_a_look_at_everything_is_not_forgotten_by_it() -> None:
    retries = Retries()
    retries.failed(PATH, 0.0)
    retries.tried(None)
    assert retries.next_s() == FIRST_S
    retries.take(FIRST_S)
    retries.failed(PATH, FIRST_S)
    assert retries.next_s() == FIRST_S + 2 * FIRST_S
