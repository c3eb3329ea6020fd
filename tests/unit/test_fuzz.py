"""Every way in keeps its promise on the corpus, on what went wrong once, and on variations. More by `make fuzz`."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.run import CORPUS, REGRESSIONS, by_chance, seeds, varied
from tests.fuzz.targets import TARGETS, Target

SLOW = {"database", "roster"}
NAMES = sorted(TARGETS)


@pytest.mark.parametrize("name", NAMES)
def test_known_inputs_are_understood_or_refused(name: str) -> None:
    for data in seeds(name):
        TARGETS[name].run(data)


@pytest.mark.parametrize("name", NAMES)
def test_variations_are_understood_or_refused(name: str) -> None:
    random, known = Random(name), [b"", *seeds(name)]
    for _ in range(20 if name in SLOW else 300):
        TARGETS[name].run(varied(random.choice(known), known, random))


@settings(max_examples=200)
@given(st.sampled_from(sorted(set(NAMES) - SLOW)), st.binary(max_size=400))
def test_anything_is_understood_or_refused(name: str, data: bytes) -> None:
    TARGETS[name].run(data)


def test_corpus_belongs_to_targets() -> None:
    for place in (CORPUS, REGRESSIONS):
        found = {one.name for one in place.iterdir()} if place.is_dir() else set()
        assert found <= set(TARGETS)
    assert len(list(CORPUS.iterdir())) > 30


def test_what_was_not_declared_is_noted() -> None:
    noted: list[bytes] = []
    broken = Target("codec", lambda data: data[0])
    assert by_chance(broken, 0.05, 1, lambda data, error: noted.append(data)) > 0
    assert noted
    assert set(noted) == {b""}
