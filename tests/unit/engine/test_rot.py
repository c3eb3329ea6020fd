"""What a second look at a suspect file leads to."""

from __future__ import annotations

from dataclasses import replace

from syncd.engine.rot import AGAIN_S, STAT_AGE_S, Look, Verdict, judge

ROTTEN = Look(is_sound=False, is_same_stat=True, digest=b"seen", stat_age_s=STAT_AGE_S, is_open_for_writing=False)


def verdict(look: Look, since_s: float = AGAIN_S, *, is_local: bool = True) -> Verdict:
    return judge(b"seen", since_s, look, is_local=is_local)


def test_same_wrong_bytes_twice_under_an_old_stat_are_rot() -> None:
    assert verdict(ROTTEN) is Verdict.ROT


def test_young_stat_or_a_remote_disk_makes_it_an_edit() -> None:
    assert verdict(replace(ROTTEN, stat_age_s=STAT_AGE_S - 1)) is Verdict.EDIT
    assert verdict(ROTTEN, is_local=False) is Verdict.EDIT


def test_whatever_is_still_being_written_waits() -> None:
    assert verdict(replace(ROTTEN, digest=b"other")) is Verdict.WAIT
    assert verdict(replace(ROTTEN, is_open_for_writing=True)) is Verdict.WAIT
    assert verdict(ROTTEN, since_s=AGAIN_S - 1) is Verdict.WAIT


def test_right_bytes_and_a_new_stat_end_the_doubt() -> None:
    assert verdict(replace(ROTTEN, is_sound=True)) is Verdict.SOUND
    assert verdict(replace(ROTTEN, is_same_stat=False)) is Verdict.CHANGED
