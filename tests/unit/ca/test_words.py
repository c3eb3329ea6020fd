from __future__ import annotations

import itertools

from blake3 import blake3

from ca.words import WORDS


def test_list_never_changes() -> None:
    assert (
        blake3(" ".join(WORDS).encode()).hexdigest()
        == "ffee3511f511645a81d60cc4e82c34b2dcd5cab6f25c1f2f00461347067ac7ad"
    )


def test_there_is_one_word_for_each_byte() -> None:
    assert len(set(WORDS)) == len(WORDS) == 256
    assert list(WORDS) == sorted(WORDS)


def test_words_are_short_and_plain() -> None:
    assert all(4 <= len(word) <= 7 and word.isascii() and word.isalpha() and word.islower() for word in WORDS)


def test_three_letters_decide_the_word() -> None:
    assert len({word[:3] for word in WORDS}) == 256


def test_two_slips_never_make_another_word() -> None:
    assert [pair for pair in itertools.combinations(WORDS, 2) if edits(*pair) < 3] == []


def edits(one: str, other: str) -> int:
    """Levenshtein distance."""
    row = list(range(len(other) + 1))
    for start, letter in enumerate(one, 1):
        previous, row = row, [start]
        for column, target in enumerate(other):
            row.append(min(previous[column + 1] + 1, row[column] + 1, previous[column] + (letter != target)))
    return row[-1]
