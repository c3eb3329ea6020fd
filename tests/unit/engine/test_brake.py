"""When deletions wait for a person, and when they do not."""

from __future__ import annotations

from syncd.engine.brake import AT_LEAST, MOST_RANSOM, MOST_UNITS, WINDOW_S, Ages, Brake, Change


def gone(files: int, old: int | None = None, units: int = 1) -> Change:
    return Change(files, files if old is None else old, units)


def written(files: int, ransom: int = 0) -> Change:
    return Change(files, files, files, is_stroke=False, ransom=ransom)


def test_many_files_at_one_stroke_are_held_however_young() -> None:
    assert Brake().holds("anna", gone(AT_LEAST, 0), 4 * AT_LEAST - 1, 0.0)


def test_few_files_pass_even_if_they_are_all_there_are() -> None:
    assert not Brake().holds("anna", gone(AT_LEAST - 1, AT_LEAST - 1), AT_LEAST - 1, 0.0)


def test_a_quarter_of_the_files_passes_and_one_more_does_not() -> None:
    assert not Brake().holds("anna", gone(100, 100), 400, 0.0)
    assert Brake().holds("anna", gone(101, 101), 400, 0.0)


def test_old_files_that_vanish_one_by_one_are_held_in_the_end() -> None:
    brake = Brake()
    held = [brake.holds("anna", gone(1, 1), 200 - second, float(second)) for second in range(60)]
    assert held.index(True) == 50  # the 51st of 200: above a quarter of what was there when the window began


def test_files_made_and_removed_all_day_are_never_held() -> None:
    brake = Brake()
    assert not any(brake.holds("anna", gone(1, 0), 1, float(second)) for second in range(1000))


def test_what_vanished_before_the_window_does_not_count() -> None:
    brake = Brake()
    assert not brake.holds("anna", gone(49, 49), 100, 0.0)
    assert not brake.holds("anna", gone(49, 49), 100, WINDOW_S + 1)


def test_origins_are_counted_apart() -> None:
    brake = Brake()
    assert not brake.holds("anna", gone(40, 40), 200, 0.0)
    assert not brake.holds("ben", gone(40, 40), 160, 1.0)


def test_after_approval_the_wave_passes_and_ten_minutes_later_no_more() -> None:
    brake = Brake()
    assert brake.holds("anna", gone(100, 100), 100, 0.0)
    brake.release("anna", 1.0)
    assert not brake.holds("anna", gone(100, 100), 100, 2.0)
    assert brake.holds("anna", gone(100, 100), 100, 3.0 + WINDOW_S)


def test_overwrites_count_like_deletions_and_together_with_them() -> None:
    brake = Brake()
    assert not brake.holds("anna", written(60), 400, 0.0)
    assert brake.holds("anna", gone(41), 400, 1.0)
    assert Brake().holds("anna", written(101), 400, 0.0)


def test_young_files_may_be_written_over_at_will() -> None:
    assert not Brake().holds("anna", Change(300, 0, 0, is_stroke=False), 300, 0.0)


def test_directory_that_goes_is_one_unit_and_a_thousand_units_are_held_in_the_largest_folder() -> None:
    assert not Brake().holds("anna", gone(50_000, units=1), 1_000_000, 0.0)
    assert Brake().holds("anna", gone(1000, units=MOST_UNITS), 1_000_000, 0.0)
    brake = Brake()
    held = [brake.holds("anna", gone(100, units=100), 1_000_000, float(second)) for second in range(10)]
    assert held == [False] * 9 + [True]


def test_few_files_that_look_encrypted_are_held() -> None:
    brake = Brake()
    held = [brake.holds("anna", written(1, ransom=1), 1_000_000, float(second)) for second in range(30)]
    assert held.index(True) == MOST_RANSOM - 1


def test_rows_known_before_the_window_are_old() -> None:
    ages = Ages()
    ages.note(0.0, 10)
    ages.note(300.0, 20)
    assert ages.newest_old == 10
    ages.note(WINDOW_S + 301.0, 30)
    assert ages.newest_old == 20
