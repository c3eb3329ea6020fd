"""What no command line of ours sends to a daemon, and another program could: it is told what is wrong, and nothing of
it counts as a bug."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from syncd.cli import client
from syncd.errors import SyncdError
from tests.helpers.computers import Computer, computers

ANSWER_S = 30.0


@pytest.fixture(scope="module")
def anna(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Computer]:
    with computers(("anna",), tmp_path_factory.mktemp("odd"), "Notes") as (anna,):
        anna.folder.mkdir(parents=True)
        (anna.folder / "plan").write_text("a plan")
        anna.start()
        anna.ask("share", str(anna.folder), "--yes", "--no-wait")
        anna.ask("wait", "--for", "scanned", "--timeout", "30")
        yield anna
        assert "Traceback" not in anna.log.read_text(), anna.last_words(60)


def call(anna: Computer, method: str, **params: Any) -> dict[str, Any]:
    return dict(client.call(anna.home / "control.sock", method, params, timeout_s=ANSWER_S))


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("share", {"role": "king", "dry_run": True}),
        ("share", {"role": "", "dry_run": True}),
        ("approve", {"id": "x", "role": "\u202e"}),
        ("member.change", {"folder": "Notes", "member": "anna", "what": "role", "dry_run": True}),
        ("retention", {"folder": "Notes", "copies": "9" * 5_000}),
        ("retention", {"folder": "Notes", "space": "9" * 5_000 + "G"}),
        ("retention", {"folder": "Notes", "space": "\u00b2G"}),
        ("exports", {"folder": "Notes", "to": "/somewhere", "every_s": 86_400, "tar": True, "keep": "\u00b2"}),
        ("explain", {"path": "/a\0b"}),
        ("folder.move", {"folder": "Notes", "path": "/\ud800", "dry_run": True}),
    ],
)
def test_it_is_told_what_is_wrong(anna: Computer, method: str, params: dict[str, Any]) -> None:
    given = {"path": str(anna.folder), **params} if method == "share" else params
    with pytest.raises(SyncdError) as refused:
        call(anna, method, **given)
    assert refused.value.id not in (None, "SY-BUG-01")


def test_search_for_more_than_a_name_has_finds_nothing(anna: Computer) -> None:
    assert call(anna, "search", folder="Notes", text="x" * 200_000, most=10)["found"] == []
    assert call(anna, "search", folder="Notes", text="LAN", most=10)["found"]
