"""A name is looked at when it rests, and now and then when it never does."""

from __future__ import annotations

from dataclasses import replace

from syncd.store.settle import RESTLESS_S, Settling
from syncd.treetypes import Change, Dirty, RawEvent

DONE = RawEvent(Change.DONE, (b"d",), b"f")
WRITING = RawEvent(Change.WRITING, (b"d",), b"f")
LOOKED_AT = Dirty({(b"d",): frozenset({b"f"})})


def looks(settling: Settling, until_s: float) -> list[float]:
    """The moments at which the one name is looked at, when nothing more happens."""
    moments: list[float] = []
    while (due_s := settling.next_due_s()) is not None and due_s <= until_s:
        if settling.take(due_s) is not None:
            moments.append(round(due_s, 3))
    return moments


def test_closed_file_is_looked_at_after_200_ms() -> None:
    settling = Settling()
    settling.feed([DONE], 10.0)
    assert settling.take(10.19) is None
    assert settling.take(10.2) == LOOKED_AT
    assert settling.take(99.0) is None
    assert settling.next_due_s() is None


def test_open_file_is_looked_at_after_two_quiet_seconds() -> None:
    settling = Settling()
    settling.feed([WRITING], 10.0)
    settling.feed([WRITING], 11.5)
    assert looks(settling, 99.0) == [13.5]


def test_closing_ends_the_long_wait_and_writing_again_begins_it() -> None:
    settling = Settling()
    settling.feed([WRITING], 10.0)
    settling.feed([DONE], 10.5)
    settling.feed([WRITING], 10.6)
    settling.feed([DONE], 10.7)
    assert looks(settling, 99.0) == [10.9]


def test_restless_file_is_looked_at_ever_more_rarely() -> None:
    settling = Settling()
    moments: list[float] = []
    for second in range(3000):
        settling.feed([WRITING], float(second))
        moments += looks(settling, second + 0.99)
    assert moments == [30.0, 90.0, 210.0, 450.0, 930.0, 1530.0, 2130.0, 2730.0]
    assert looks(settling, 9999.0) == [3001.0]


def test_restless_file_that_rested_gets_its_patience_back() -> None:
    settling = Settling()
    for second in range(40):
        settling.feed([WRITING], float(second))
        looks(settling, second + 0.99)
    assert looks(settling, 99.0) == [41.0]
    moments: list[float] = []
    for second in range(100, 140):
        settling.feed([WRITING], float(second))
        moments += looks(settling, second + 0.99)
    assert moments == [130.0]


def test_names_of_one_directory_come_together() -> None:
    settling = Settling()
    settling.feed([RawEvent(Change.DONE, (), b"%d" % number) for number in range(3)], 1.0)
    settling.feed([RawEvent(Change.DONE, (b"x",), b"y")], 1.05)
    assert settling.take(1.3) == Dirty({(): frozenset({b"0", b"1", b"2"}), (b"x",): frozenset({b"y"})})


def test_directory_from_elsewhere_is_looked_at_as_a_whole() -> None:
    settling = Settling()
    settling.feed([RawEvent(Change.TREE, (b"d",), b"new"), RawEvent(Change.DONE, (b"d", b"new"), b"file")], 1.0)
    assert settling.take(2.0) == Dirty({(b"d",): frozenset({b"new"}), (b"d", b"new"): None})


def test_cookie_comes_out_with_the_last_name_that_was_in_unrest_before_it() -> None:
    settling = Settling()
    cookie, behind = RawEvent(Change.COOKIE, name=b"c1"), RawEvent(Change.DONE, (), b"behind")
    settling.feed([DONE, RawEvent(Change.WRITING, (), b"open"), cookie, behind], 1.0)
    settling.feed([behind], 2.9)
    assert settling.next_due_s() == 1.2
    (first, second) = (settling.take(1.3), settling.take(3.05))
    assert first is not None and not first.cookies
    assert second == Dirty({(): frozenset({b"open"})}, cookies=frozenset({b"c1"}), more=True)


def test_cookie_waits_for_what_keeps_changing_until_that_is_looked_at_all_the_same() -> None:
    settling = Settling()
    settling.feed([RawEvent(Change.WRITING, (), b"log"), RawEvent(Change.COOKIE, name=b"c1")], 0.0)
    for second in range(1, 60):
        settling.feed([RawEvent(Change.WRITING, (), b"log")], float(second))
        dirty = settling.take(float(second))
        if dirty is not None:
            assert float(second) == RESTLESS_S
            assert dirty.cookies == {b"c1"}
            return
    raise AssertionError("it was never looked at")


def test_messages_about_the_watch_itself_wait_for_nothing() -> None:
    settling = Settling()
    settling.feed([RawEvent(Change.LOST), RawEvent(Change.COOKIE, name=b"c1"), DONE], 1.0)
    assert settling.next_due_s() == 0.0
    assert settling.take(1.0) == Dirty(rescan=True, cookies=frozenset({b"c1"}), more=True)
    settling.feed([RawEvent(Change.LIMITED), RawEvent(Change.IGNORE)], 1.0)
    assert settling.take(1.0) == Dirty(limited=True, ignore_changed=True, more=True)
    assert looks(settling, 9.0) == [1.2]


def test_file_that_changes_all_the_time_costs_one_place_in_the_queue() -> None:
    settling = Settling()
    for tenth in range(10_000):
        settling.feed([WRITING, DONE], tenth / 10)
        settling.take(tenth / 10)
    assert len(settling._queue) <= 2


OLD = RawEvent(Change.DONE, (), b"old", 7)
NEW = RawEvent(Change.DONE, (b"d",), b"new", 7)
BOTH = Dirty({(): frozenset({b"old"}), (b"d",): frozenset({b"new"})})


def test_old_name_of_a_rename_rests_with_the_new_one_that_is_read_later() -> None:
    settling = Settling()
    settling.feed([OLD], 10.0)
    settling.feed([NEW], 10.15)
    assert settling.take(10.3) is None
    assert settling.take(10.36) == BOTH
    assert settling.next_due_s() is None


def test_old_name_waits_while_the_new_one_is_written() -> None:
    settling = Settling()
    settling.feed([OLD, NEW], 10.0)
    settling.feed([RawEvent(Change.WRITING, (b"d",), b"new")], 10.1)
    assert settling.take(12.0) is None
    assert settling.take(12.1) == BOTH


def test_old_name_of_what_is_written_for_ever_is_looked_at_with_it() -> None:
    settling = Settling()
    settling.feed([OLD], 10.0)
    settling.feed([NEW], 10.1)
    taken: list[Dirty] = []
    for tenth in range(102, 412):
        settling.feed([RawEvent(Change.WRITING, (b"d",), b"new")], tenth / 10)
        if (dirty := settling.take(tenth / 10)) is not None:
            taken.append(dirty)
    assert taken == [replace(BOTH, more=True)]  # it is still written to


def test_name_that_leaves_the_folder_waits_for_nothing() -> None:
    settling = Settling()
    settling.feed([OLD], 10.0)
    assert settling.take(10.21) == Dirty({(): frozenset({b"old"})}, halves=frozenset({(b"old",)}))
    settling.feed([NEW], 11.0)
    assert settling.take(11.21) == Dirty({(b"d",): frozenset({b"new"})}, halves=frozenset({(b"d", b"new")}))


def test_names_that_go_round_in_a_circle_rest_together() -> None:
    settling = Settling()
    steps = [(b"a", b"t"), (b"b", b"a"), (b"t", b"b")]
    for number, (old, new) in enumerate(steps, 1):
        pair = [RawEvent(Change.DONE, (), name, number) for name in (old, new)]
        settling.feed(pair[:1], 10.0 + number / 10)
        settling.feed(pair[1:], 10.05 + number / 10)
    assert settling.take(10.54) is None
    assert settling.take(10.56) == Dirty({(): frozenset({b"a", b"b", b"t"})})
    assert settling.next_due_s() is None


def test_saving_by_ever_new_names_holds_few_of_them_back() -> None:
    settling = Settling()
    for save in range(1, 2001):
        now_s = 10.0 + save / 100
        settling.feed(
            [RawEvent(Change.DONE, (), b"tmp%d" % save, save), RawEvent(Change.DONE, (), b"file", save)], now_s
        )
        settling.take(now_s)
    waiting = 0
    while (due_s := settling.next_due_s()) is not None:
        taken = settling.take(due_s)
        waiting += sum(len(names or ()) for names in taken.names.values()) if taken else 0
    assert waiting < 200
