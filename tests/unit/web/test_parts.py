"""What the page asks a person, in the words of what is asked."""

from __future__ import annotations

import pytest

from syncd.web.render import Pages


@pytest.mark.parametrize(
    ("kind", "says_no", "says_yes"),
    [
        ("held", "Keep the files", "Let them go"),
        ("late", "Leave them apart", "Let them count, everywhere"),
        ("join", "Turn away", "Allow"),
    ],
)
def test_buttons_say_what_they_do(kind: str, says_no: str, says_yes: str) -> None:
    macros = (
        Pages()
        ._environment.get_template("_parts.html")
        .make_module({"read_only": False, "csrf": "x", "here": "/", "back": "/"})
    )
    shown = str(macros.answers({"kind": kind, "id": "one", "denied": False}))  # type: ignore[attr-defined]
    forms = {action: shown.partition(f"/do/{action}")[2].partition("</button>")[0] for action in ("deny", "approve")}
    assert (forms["deny"].rpartition(">")[2], forms["approve"].rpartition(">")[2]) == (says_no, says_yes)


def test_what_was_denied_can_still_be_let_count_and_is_not_denied_again() -> None:
    macros = (
        Pages()
        ._environment.get_template("_parts.html")
        .make_module({"read_only": False, "csrf": "x", "here": "/", "back": "/"})
    )
    shown = str(macros.answers({"kind": "late", "id": "one", "denied": True}))  # type: ignore[attr-defined]
    assert "/do/approve" in shown and "/do/deny" not in shown
