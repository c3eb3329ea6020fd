from __future__ import annotations

import itertools

from blake3 import blake3

from ca.words import WORDS


def test_list_never_changes() -> None:
    assert (
        blake3(" ".join(WORDS).encode()).hexdigest()
        == "b1feb18ae66fa725710126a2a713ee891a61c8a7d5920a5776bdf23c9984b7c1"
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
