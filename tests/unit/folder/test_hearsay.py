"""Who is taken for one that knows what came from others."""

from __future__ import annotations

from ca.ids import DeviceId
from syncd.folder.hearsay import SPANS, Hearsay

ANN, BOB, CAT = (DeviceId(letter * 32) for letter in (b"a", b"b", b"c"))


def test_who_told_and_who_is_told_as_well_need_not_hear_it() -> None:
    hearsay = Hearsay()
    hearsay.note(10, 12, ANN, {BOB})
    assert [hearsay.news_for(device, 12) for device in (ANN, BOB, CAT)] == [10, 10, 12]
    assert [hearsay.knows(ANN, number) for number in (10, 11, 12, 13)] == [False, True, True, False]
    assert not hearsay.knows(CAT, 11)


def test_what_is_our_own_is_news_for_everybody() -> None:
    hearsay = Hearsay()
    hearsay.note(10, 12, ANN, {BOB})
    assert hearsay.news_for(ANN, 13) == 13
    hearsay.note(13, 14, BOB, {ANN})
    assert hearsay.news_for(ANN, 14) == 13
    assert hearsay.knows(ANN, 12)
    assert not hearsay.knows(ANN, 13)


def test_what_several_told_one_after_the_other_is_no_news_for_those_who_know_all_of_it() -> None:
    hearsay = Hearsay()
    hearsay.note(10, 12, ANN, {BOB})
    hearsay.note(12, 13, BOB, {ANN})
    hearsay.note(13, 14, CAT, {ANN})
    assert [hearsay.news_for(device, 14) for device in (ANN, BOB, CAT)] == [10, 14, 13]


def test_only_what_a_device_told_itself_counts_as_read() -> None:
    hearsay = Hearsay()
    hearsay.note(10, 12, ANN, {BOB})
    assert [hearsay.untold_by(device, 12) for device in (ANN, BOB)] == [10, 12]


def test_a_device_that_is_to_hear_all_is_still_not_told_its_own_news() -> None:
    hearsay = Hearsay()
    hearsay.note(10, 12, ANN, {BOB, CAT})
    hearsay.forget(BOB)
    hearsay.forget(ANN)
    assert [hearsay.news_for(device, 12) for device in (ANN, BOB, CAT)] == [10, 12, 10]


def test_of_much_news_the_oldest_are_told_again() -> None:
    hearsay = Hearsay()
    for number in range(2 * SPANS):
        hearsay.note(number, number + 1, ANN, {BOB})
    assert hearsay.news_for(BOB, 2 * SPANS) == SPANS
    assert not hearsay.knows(BOB, SPANS)
