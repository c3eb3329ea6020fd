"""What a watch tells of names that we gave is passed over once, and only where it tells of them for certain."""

from __future__ import annotations

from syncd.store.echoes import FEWEST, MOST_GROUPS, RULES, Echoes
from syncd.treetypes import Path


def paths(directory: bytes) -> list[Path]:
    return [(directory, b"%d" % number) for number in range(FEWEST)]


def test_name_in_a_watched_directory_is_ours_once() -> None:
    echoes = Echoes()
    directory = echoes.watched()
    echoes.expect(paths(b"d"))
    assert [echoes.is_own((b"d", b"7"), directory) for _ in range(2)] == [True, False]
    assert not echoes.is_own((b"d", b"x"), directory)


def test_what_is_heard_in_a_directory_that_was_not_watched_then_is_looked_at() -> None:
    echoes = Echoes()
    echoes.watched()
    echoes.expect(paths(b"d"))
    later = echoes.watched()
    assert not echoes.is_own((b"d", b"7"), later)
    assert not echoes.is_own((b"d", b"7"), later)


def test_name_that_could_not_be_given_is_heard_of() -> None:
    echoes = Echoes()
    directory = echoes.watched()
    group = echoes.expect(paths(b"d"))
    assert echoes.withdraw(group, (b"d", b"7"))
    assert not echoes.is_own((b"d", b"7"), directory)


def test_name_that_was_told_and_not_given_was_somebody_elses() -> None:
    echoes = Echoes()
    directory = echoes.watched()
    group = echoes.expect(paths(b"d"))
    assert echoes.is_own((b"d", b"7"), directory)
    assert not echoes.withdraw(group, (b"d", b"7"))


def test_without_a_watch_nothing_is_kept() -> None:
    echoes = Echoes()
    echoes.expect(paths(b"d"))
    assert not echoes.is_own((b"d", b"7"), 0)


def test_few_names_and_rules_are_looked_at() -> None:
    echoes = Echoes()
    directory = echoes.watched()
    echoes.expect(paths(b"d")[1:])
    assert not echoes.is_own((b"d", b"7"), directory)
    group = echoes.expect([*paths(b"e"), RULES])
    assert not echoes.is_own(RULES, directory)
    assert echoes.withdraw(group, RULES)


def test_after_a_move_of_a_directory_or_a_loss_all_is_looked_at() -> None:
    echoes = Echoes()
    directory = echoes.watched()
    echoes.expect(paths(b"d"))
    echoes.forget()
    assert not echoes.is_own((b"d", b"7"), directory)


def test_only_the_last_groups_are_remembered() -> None:
    echoes = Echoes()
    directory = echoes.watched()
    for number in range(MOST_GROUPS + 1):
        echoes.expect(paths(b"%d" % number))
    heard = [echoes.is_own((b"%d" % number, b"7"), directory) for number in range(MOST_GROUPS + 1)]
    assert heard == [False] + [True] * MOST_GROUPS


def test_name_that_stayed_behind_in_an_older_group_hides_nobody() -> None:
    """Given where nothing was watched yet, deleted, and given again: it is heard of once, and what follows is somebody
    else's."""
    echoes = Echoes()
    echoes.watched()
    echoes.expect(paths(b"d"))
    directory = echoes.watched()
    echoes.expect(paths(b"d"))
    echoes.is_own((b"d", b"7"), directory)
    assert not echoes.is_own((b"d", b"7"), directory)
