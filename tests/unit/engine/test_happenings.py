"""What is worth keeping of what people asked for, and how a line of the audit log says it."""

from __future__ import annotations

import math

import pytest

from syncd.engine.happenings import (
    ADMIN_METHODS,
    MAX_WHAT,
    OPERATOR_METHODS,
    TOLD,
    WHEN_GIVEN,
    Happening,
    Kind,
    as_line,
    kind_of,
    of_line,
    said,
)
from syncd.web.methods import METHODS


@pytest.mark.parametrize("ok", [True, False])
@pytest.mark.parametrize("kind", Kind)
def test_line_comes_back_as_it_was(kind: Kind, ok: bool) -> None:
    one = Happening(1234.5, kind, "command line", "member.change", "Photos", "member=ben: role=viewer", ok)
    assert of_line(1234.5, "Photos", "", *as_line(one)) == one


def test_line_without_a_kind_is_an_audit_event_of_its_signer() -> None:
    told = of_line(1.0, "Photos", "ben", "remote restore refused", "not allowed here")
    assert told == Happening(1.0, Kind.AUDIT, "ben", "remote restore refused", "Photos", "not allowed here", ok=False)
    assert of_line(1.0, None, "ben", "remote restore sent", "x").ok


def test_what_is_said_stays_in_its_line_and_is_short() -> None:
    assert said({"reason": "a\nb\x1b[2J\u202e" + "x" * 1000}).isprintable()
    assert len(said({"reason": "x" * 1000})) == MAX_WHAT


@pytest.mark.parametrize(
    ("until", "told"),
    [
        (1577840400.0, "until=2020-01-01T01:00:00Z"),
        (1577840400, "until=2020-01-01T01:00:00Z"),
        (1e300, "until=1e+300"),
        (math.nan, "until=nan"),
        (-1.0, "until=-1"),
    ],
)
def test_time_is_told_as_people_read_it(until: float, told: str) -> None:
    assert said({"until": until}) == told


# --- which calls are kept -------------------------------------------------------------------------------------------

ONLY_LOOKS = {
    "status", "folders", "folder.show", "peers", "members", "invites", "links", "link.show", "requests", "conflicts",
    "compare", "preview",
    "filter", "explain", "history", "past", "diff", "search", "undo.list", "snapshots", "ls", "transfers", "traffic",
    "changes", "security", "wait", "key.show", "key.list", "key.unlock", "doctor", "config.show", "version", "storage",
    "audit",
    "join.find", "join.preview", "join.cancel",
}  # fmt: skip


def test_every_method_either_looks_or_is_kept() -> None:
    """Whoever adds a method decides here which it is."""
    assert ONLY_LOOKS | ADMIN_METHODS | OPERATOR_METHODS | WHEN_GIVEN.keys() == METHODS.keys()
    assert not ONLY_LOOKS & (ADMIN_METHODS | OPERATOR_METHODS)
    assert [name for name in METHODS if (kind_of(name, {}) is None) != (name in ONLY_LOOKS | WHEN_GIVEN.keys())] == []


def test_rules_of_a_folder_are_kept_when_they_change_alone() -> None:
    assert kind_of("retention", {"keep": None, "space": None}) is None
    assert kind_of("retention", {"keep": "all 90d", "space": None}) is Kind.ADMIN
    assert kind_of("folder.addresses", {"allow": [], "deny": [], "clear": True}) is Kind.ADMIN


def test_what_would_happen_is_not_kept() -> None:
    assert kind_of("member.remove", {"dry_run": True}) is None


def test_secrets_are_never_written() -> None:
    assert not {"code", "link", "words", "pin", "join"} & set(TOLD)
    secrets = {"code": "7-a-b-c", "link": "syncd://x#secret", "words": "abacus zebra", "pin": "4711", "join": "00"}
    assert said({**secrets, "role": "viewer", "can": [], "uses": 1}) == "role=viewer"
