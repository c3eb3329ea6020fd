"""A node that cannot be dialled: it dials out itself, and still both sides get everything."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.helpers.computers import Computer, computers, join, share, start_all, wait_equal, wait_until

pytestmark = pytest.mark.long

SYNC_S, NEWS_S = 60.0, 20.0
NOT_LISTENING = "[network]\nlisten = []\ndiscovery = false\n"


def test_node_without_a_listener_converges_both_ways(tmp_path: Path) -> None:
    with computers(("anna", "ben"), tmp_path, "Notes") as (anna, ben):
        ben.config = NOT_LISTENING
        start_all([anna, ben])
        (anna.folder / "by anna").write_text("before")
        (ben.folder / "by ben").write_text("before")
        join(ben, share(anna, "Notes"))
        ben.wait_synced(SYNC_S)
        assert ben.ask("folder", "show", "Notes")["tls"]["listen"] == []
        wait_equal([anna.folder, ben.folder], NEWS_S)
        assert names_in(anna) == {"by anna", "by ben"}
        (ben.folder / "later").write_text("from the one that cannot be dialled")
        wait_until((anna.folder / "later").exists, NEWS_S, "what ben writes does not arrive")


@pytest.mark.slowest
def test_it_comes_back_by_itself_when_either_side_was_off(tmp_path: Path) -> None:
    with computers(("anna", "ben"), tmp_path, "Notes") as (anna, ben):
        ben.config = NOT_LISTENING
        start_all([anna, ben])
        join(ben, share(anna, "Notes"))
        ben.wait_synced(SYNC_S)
        for victim, other in ((anna, ben), (ben, anna)):
            victim.kill()
            (other.folder / f"while {victim.name} was off").write_text("news")
            victim.start()
            started = time.monotonic()
            wait_equal([anna.folder, ben.folder], SYNC_S)
            print(f"{victim.name} was back after {time.monotonic() - started:.1f} s")  # noqa: T201
            assert f"while {victim.name} was off" in names_in(victim)


def names_in(computer: Computer) -> set[str]:
    return {path.name for path in computer.folder.iterdir() if path.name != ".syncd"}
