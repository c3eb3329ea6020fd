"""The catalogue is complete, and every exception finds its way into it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from syncd.catalogue import CATALOGUE, EXIT_MEANING, Exit, report
from syncd.errors import (
    ConfigError,
    PeerUnavailable,
    RemoteProtocolError,
    StoreBusy,
    StoreCorrupt,
    SyncdError,
    TrustError,
)

ID = re.compile(r"SY-[A-Z]+-\d\d")


def test_every_id_in_the_source_has_an_entry(repository: Path) -> None:
    used = {
        found: path.name
        for package in ("syncd", "ca")
        for path in (repository / package).rglob("*.py")
        for found in ID.findall(path.read_text(encoding="utf-8"))
    }
    assert {trouble_id: file for trouble_id, file in used.items() if trouble_id not in CATALOGUE} == {}


def test_entries_are_whole() -> None:
    for trouble_id, entry in CATALOGUE.items():
        assert ID.fullmatch(trouble_id)
        assert entry.title and entry.why and entry.fix, trouble_id
        assert entry.exit in EXIT_MEANING and entry.exit is not Exit.DONE
        assert "\n" not in entry.title + entry.why + entry.fix


def test_every_exit_code_has_a_meaning() -> None:
    assert set(EXIT_MEANING) == set(Exit)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConfigError("x"), ("SY-CONF-01", 11)),
        (TrustError("x"), ("SY-TRUST-01", 6)),
        (PeerUnavailable("x"), ("SY-PEER-01", 10)),
        (StoreBusy("x"), ("SY-HOME-01", 1)),
        (StoreCorrupt("x"), ("SY-DATA-01", 13)),
        (RemoteProtocolError("x"), ("SY-PEER-02", 1)),
        (SyncdError("x"), ("SY-BUG-01", 1)),
        (KeyError("x"), ("SY-BUG-01", 1)),
        (SyncdError("x", id="SY-PAIR-03"), ("SY-PAIR-03", 9)),
    ],
)
def test_error_without_id_is_told_by_its_class(error: Exception, expected: tuple[str, int]) -> None:
    told = report(error)
    assert (told.id, told.exit) == expected


def test_what_an_error_says_itself_wins_over_the_catalogue() -> None:
    told = report(SyncdError("the code is wrong", id="SY-PAIR-03", why="Because."))
    assert (told.what, told.why, told.fix) == ("the code is wrong", "Because.", CATALOGUE["SY-PAIR-03"].fix)


def test_text_of_a_foreign_exception_is_not_shown() -> None:
    assert "secret" not in str(report(ValueError("secret")).as_json())
