from __future__ import annotations

import itertools

import pytest
from blake3 import blake3

from ca.errors import ConfigError
from ca.words import WORDS, bytes_of_words, words_of


def test_list_never_changes() -> None:
    assert (
        blake3(" ".join(WORDS).encode()).hexdigest()
        == "3f2cdff51e439bff0478ad8beadb6e03231f3e394f50f2f64e4ce0858ef5019d"
    )


def test_there_is_one_word_for_each_byte() -> None:
    assert len(set(WORDS)) == len(WORDS) == 256
    assert bytes_of_words(words_of(bytes(range(256)))) == bytes(range(256))


def test_words_are_short_and_plain() -> None:
    assert all(4 <= len(word) <= 6 and word.isascii() and word.isalpha() and word.islower() for word in WORDS)


def test_three_letters_decide_the_word() -> None:
    assert bytes_of_words(word[:3].upper() for word in WORDS) == bytes(range(256))


@pytest.mark.parametrize("typed", ["", "ac", "acidic", "acit", "zoo", "ácid"])
def test_anything_else_is_no_word(typed: str) -> None:
    with pytest.raises(ConfigError):
        bytes_of_words([typed])


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
