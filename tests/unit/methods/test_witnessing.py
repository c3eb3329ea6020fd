"""Every change that a person asks for is written down, with the way by which it came and how it went."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

import pytest

from ca.ids import FolderId
from syncd.errors import TrustError
from syncd.methods.witnessing import Witness
from tests.helpers.control_server import ScriptedApi

FOLDER = "ab" * 32
Line = tuple[str, str, FolderId | None]


class Book:
    """Keeps what an audit log would."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    async def note(self, action: str, about: str, *, folder: FolderId | None = None) -> None:
        self.lines.append((action, about, folder))


class FullDisk(Book):
    """An audit log that cannot be written."""

    async def note(self, action: str, about: str, *, folder: FolderId | None = None) -> None:
        raise sqlite3.OperationalError("database or disk is full")


async def no_progress(progress: Mapping[str, Any]) -> None:
    """Nobody looks."""


def witness(book: Book, user: str = "", **script: Any) -> Witness:
    return Witness(ScriptedApi(script), book, "page", lambda: 1234.0, lambda: user)  # type: ignore[arg-type]


async def test_changes_are_told_and_looks_are_not() -> None:
    book = Book()
    api = witness(
        book,
        pause={"folders": [{"id": FOLDER}]},
        resume={"folders": []},
        status={"folders": []},
        rotate={"folder": FOLDER},
    )
    await api.call("status", {}, no_progress)
    await api.call("pause", {"folder": "ab", "for_s": 60.0}, no_progress)
    await api.call("resume", {"folder": None}, no_progress)
    await api.call("rotate", {"folder": "ab", "reason": "because"}, no_progress)
    ours = FolderId(bytes.fromhex(FOLDER))
    assert book.lines == [
        ("operator:pause", "page: for_s=60", ours),
        ("operator:resume", "page: ", None),
        ("admin:rotate", "page: reason=because", ours),
    ]


async def test_failures_are_told_with_their_id() -> None:
    book = Book()
    with pytest.raises(TrustError):
        await witness(book, rotate=TrustError("no", id="SY-SHARE-04")).call("rotate", {"folder": "ab"}, no_progress)
    assert book.lines == [("admin!rotate", "page: SY-SHARE-04: no", None)]


async def test_user_who_asks_is_told_where_the_system_knows_one() -> None:
    book = Book()
    api = witness(book, "anna", stop={}, resume={"folders": []})
    await api.call("resume", {"id": "ab"}, no_progress)
    await api.call("stop", {}, no_progress)
    assert [about for _, about, _ in book.lines] == ["page: user=anna id=ab", "page: user=anna"]


async def test_end_is_told_before_it_comes() -> None:
    book = Book()
    told_before: list[int] = []

    async def stop(params: Mapping[str, Any], progress: object) -> dict[str, Any]:
        told_before.append(len(book.lines))
        return {"pid": 1}

    assert await witness(book, stop=stop).call("stop", {}, no_progress) == {"pid": 1}
    assert told_before == [1] and book.lines == [("operator:stop", "page: ", None)]


async def test_disk_that_refuses_the_log_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    result = await witness(FullDisk(), pause={"folders": []}).call("pause", {"folder": None}, no_progress)
    assert result == {"folders": []}
    assert "the audit log cannot be written" in caplog.text
