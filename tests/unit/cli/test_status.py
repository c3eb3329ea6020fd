"""The verdict and the lines below it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from syncd.cli.status import peer_lines, problem_lines, status_lines
from syncd.verdict import state_of, verdict
from tests.unit.cli.values import folder, peer, problem, status

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
NEED = {"files": 1, "bytes": 99}
AWAY = peer("nas", connected=False, have_ratio=None)
LATE = peer("nas\n", have_ratio=0.3399)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (status(), "No folders yet.  syncd share PATH, or syncd join"),
        (status(folder()), "All in sync."),
        (status(folder(), folder("Work", held=102)), "All in sync except 102 held changes.  syncd requests"),
        (status(folder(peers=[LATE])), "All is here; nas\\n does not have everything yet."),
        (
            status(folder(peers=[LATE]), folder("Work", peers=[LATE])),
            "All is here; nas\\n does not have everything yet.",
        ),
        (
            status(folder(peers=[LATE, peer("attic", have_ratio=0)])),
            "All is here; 2 others do not have everything yet.",
        ),
        (status(folder(peers=[peer(have_ratio=None), {**LATE, "connected": False}])), "All in sync."),
        (status(folder(peers=[AWAY, AWAY])), "All is here; no other member is reached now."),
        (status(folder(), folder("Work", peers=[AWAY])), "All is here; no other member of Work is reached now."),
        (status(folder(peers=[{**AWAY, "through": ["nas"]}])), "All in sync."),
        (status(folder(peers=[])), "All in sync."),
        (
            status(folder(held=1, peers=[LATE])),
            "All in sync except 1 held change.  syncd requests",
        ),
        (status(folder(need=NEED, state="syncing"), in_sync=False), "All in sync except 1 file."),
        (status(folder(), folder("Work", state="stopped"), in_sync=False), "1 folder stopped: Work."),
        (status(folder(state="scanning"), in_sync=False), "Not yet known: Photos is being compared."),
        (status(folder(state="waiting"), in_sync=False), "Not known: no other member of Photos was reached."),
        (status(folder(state="paused"), in_sync=False), "Not all in sync."),
    ],
)
def test_verdict_never_says_more_than_is_known(found: dict[str, Any], sentence: str) -> None:
    assert verdict(found) == sentence


def test_folder_whose_changes_are_held_is_not_shown_as_in_sync() -> None:
    assert state_of(folder(held=1, state="synced")) == ("◐", "1 change held")
    assert state_of(folder(held=7, need=NEED, state="syncing"))[1].startswith("1 file waiting")
    assert state_of(folder(state="synced")) == ("●", "in sync")


def test_screen_has_folders_peers_and_problems() -> None:
    away = peer("nas", connected=False, last_seen="2026-11-17T12:00:00Z")
    work = folder("Work", state="syncing", need=NEED, files=1, bytes=10, peers=[away], problems=[problem()])
    assert status_lines(status(folder(), work, in_sync=False), NOON) == [
        f"{'All in sync except 1 file.':<66}  ben-desktop · syncd 0.4.0",
        "Photos  ● in sync               12,408 files  48.1 GiB  anna-laptop ●",
        "Work    ◐ 1 file waiting, 99 B  1 file        10 B      nas ○ last seen 3 days ago",
        "Problems",
        "  1  Work/plan.xlsx: not sent. It is open and changing.  syncd explain Work/plan.xlsx",
    ]


def test_nobody_says_no_files_of_a_folder_that_rests_since_the_start() -> None:
    resting = status(folder(state="paused", files=0, bytes=0), folder("Work", state="paused"), in_sync=False)
    lines = status_lines(resting, NOON)
    assert "0 files" not in lines[1] and "12,408 files" in lines[2]


def test_member_who_lacks_something_is_shown_with_what_it_has() -> None:
    late = [peer(have_ratio=0.34), peer("nas", have_ratio=0.9999)]
    assert status_lines(status(folder(peers=late)), NOON)[1].endswith("anna-laptop ● has 34 %  nas ● has 99 %")


def test_requests_and_conflicts_are_pointed_at() -> None:
    lines = status_lines(status(folder(requests=2, conflicts=1)), NOON)
    assert lines[-2:] == ["2 requests for you:  syncd requests", "1 conflict, both versions kept:  syncd conflicts"]


def test_an_attack_is_pointed_at_and_daily_life_is_not() -> None:
    few, many = ({"count": count, "hosts": 3, "most": "10.0.0.9\n"} for count in (99, 1200))
    assert "refusal" not in "".join(status_lines(status(refused=few), NOON))
    line = "1,200 refusals within the hour to 3 addresses, most to 10.0.0.9\\n:  syncd security"
    assert line in status_lines(status(refused=many), NOON)


def test_problem_of_the_device_and_of_a_whole_folder_have_no_path() -> None:
    port = problem(path=None, why="port taken", **{"try": None})
    found = status(folder(problems=[problem(path=None, why="root missing")]), problems=[port])
    assert problem_lines(found) == ["  1  port taken", "  2  Photos: root missing  syncd explain Work/plan.xlsx"]


def test_hostile_names_are_escaped_everywhere() -> None:
    evil = "x\x1b]0;owned\x07\u202e"
    found = status(folder(evil, peers=[peer(evil)], problems=[problem(path=evil, why=evil)]))
    found["device"]["name"] = evil
    for lines in (status_lines(found, NOON), peer_lines(found, NOON), problem_lines(found)):
        assert all(line.isprintable() for line in lines)


def test_peers_are_listed_with_what_they_have() -> None:
    found = status(
        folder(peers=[peer(have_ratio=0.999), peer("nas", connected=False, last_seen=None, have_ratio=None)])
    )
    assert peer_lines(found, NOON) == [
        "FOLDER  PEER         ROLE    HAS   SEEN",
        "Photos  anna-laptop  editor  99 %  ● connected",
        "Photos  nas          editor  ?     ○ never",
    ]
