from __future__ import annotations

import pytest

from ca import recovery
from ca.errors import ConfigError
from ca.recovery import PublicRecovery
from tests.helpers.rosters import seeded

KEY = recovery.generate(seeded("recovery"))


def test_words_and_text_bring_the_key_back() -> None:
    assert len(KEY.words) == 33
    assert recovery.parse(" ".join(KEY.words)).seed == KEY.seed
    assert recovery.parse(KEY.text).seed == KEY.seed


def test_typed_words_may_be_short_capital_and_joined_by_dashes() -> None:
    assert recovery.parse("-".join(word[:3].upper() for word in KEY.words)).seed == KEY.seed


def test_wrong_missing_exchanged_or_unknown_word_is_noticed() -> None:
    words = KEY.words
    other = "tulip" if words[0] != "tulip" else "orbit"
    wrong = [
        [other, *words[1:]],
        words[:-1],
        words[1:],
        [words[1], words[0], *words[2:]],
        ["xylophone", *words[1:]],
        [],
    ]
    for typed in wrong:
        with pytest.raises(ConfigError) as refused:
            recovery.parse(" ".join(typed))
        assert refused.value.id == "SY-KEY-14"


def test_right_check_word_after_too_few_words_is_noticed() -> None:
    short = recovery.RecoveryKey(KEY.seed[:-1])
    with pytest.raises(ConfigError, match="not complete"):
        recovery.parse(" ".join(short.words))


def test_wrong_letter_in_the_text_is_noticed() -> None:
    wrong = KEY.text[:-1] + ("a" if KEY.text[-1] != "a" else "c")
    for typed in (wrong, KEY.text[:-3], recovery.PREFIX):
        with pytest.raises(ConfigError) as refused:
            recovery.parse(typed)
        assert refused.value.id == "SY-KEY-14"


def test_public_half_is_stable_and_has_its_own_id() -> None:
    assert KEY.public == recovery.RecoveryKey(KEY.seed).public
    assert PublicRecovery(KEY.public.sign, bytes(1216)).id != KEY.public.id


def test_seed_does_not_show_when_printed() -> None:
    assert repr(KEY.seed) not in repr(KEY)
