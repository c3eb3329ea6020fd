"""The brake: when more than a quarter of the files (and at least 50) vanish, that waits for a person."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.computers import Computer
from tests.helpers.faults import (
    Shared,
    demand_others_go_on,
    explained,
    look,
    refusal,
    share_another,
    wait_for,
    wait_no_problem,
    wait_problem,
)

pytestmark = pytest.mark.long

FILES = 80
GONE = 60


def fill(two: tuple[Computer, Computer], name: str) -> Shared:
    """A folder with 60 files in a directory and 20 beside it."""
    shared = share_another(*two, name)
    (shared.here / "many").mkdir()
    for number in range(FILES):
        (shared.here / place_of(number)).write_bytes(b"content %d" % number)
    wait_files(shared, FILES, FILES)
    shared.wait_synced()
    return shared


def place_of(number: int) -> str:
    return f"many/file{number:02}" if number < GONE else f"file{number:02}"


def wait_files(shared: Shared, here: int, there: int) -> None:
    def counts() -> tuple[int, int]:
        return len(list(shared.here.rglob("file*"))), len(list(shared.there.rglob("file*")))

    try:
        wait_for(lambda: counts() == (here, there), 30, f"not {here} and {there} files")
    except Exception as error:
        error.add_note(f"{counts()}\n{shared.anna.last_words()}\n{shared.ben.last_words()}")
        raise


def remove_most(shared: Shared) -> None:
    """In one step, so that no part of it is seen before the rest."""
    (shared.here / "many").rename(shared.anna.place / f"taken-out-of-{shared.name}")


def held(computer: Computer, folder: str) -> list[dict[str, Any]]:
    found = look(computer, "requests", folder=folder)["requests"]
    return [request for request in found if request["kind"] == "held"]


def wait_held(computer: Computer, folder: str) -> dict[str, Any]:
    wait_for(lambda: bool(held(computer, folder)), 20, f"nothing is held at {computer.name}")
    return held(computer, folder)[0]


def test_wave_here_is_held_and_brought_back_by_a_no(two: tuple[Computer, Computer]) -> None:
    shared = fill(two, "undone")
    remove_most(shared)
    wave = wait_held(shared.anna, "undone")
    assert (wave["direction"], wave["files"], wave["of_files"], wave["name"]) == ("here", GONE, FILES, "undone")
    assert wave["paths"]
    wait_problem(shared.anna, "SY-BRAKE-01", folder="undone")
    assert explained(shared.anna, shared.here / "many" / "file10")["state"] == "held"
    shared.wait_equal_file("flows", b"whatever else changes flows")
    assert len(list(shared.there.rglob("file*"))) == FILES
    outdated = str(wave["id"]).rpartition("-")[0] + "-00000000"
    assert [refusal(shared.anna, verb, outdated).id for verb in ("approve", "deny")] == ["SY-BRAKE-02"] * 2
    answer = shared.anna.ask("deny", str(wave["id"]))
    assert answer["kind"] == "held"
    wait_files(shared, FILES, FILES)
    wait_no_problem(shared.anna, "undone")
    assert not held(shared.anna, "undone")
    demand_others_go_on(*two)


def test_wave_passes_everywhere_when_somebody_approves(two: tuple[Computer, Computer]) -> None:
    shared = fill(two, "approved")
    remove_most(shared)
    wave = wait_held(shared.anna, "approved")
    shared.wait_equal_file("flows", b"whatever else changes flows")
    assert len(list(shared.there.rglob("file*"))) == FILES
    shared.anna.ask("approve", str(wave["id"]))
    wait_files(shared, FILES - GONE, FILES - GONE)
    wait_no_problem(shared.anna, "approved")
    wait_no_problem(shared.ben, "approved")


def test_held_wave_outlives_a_kill(two: tuple[Computer, Computer]) -> None:
    shared = fill(two, "killed")
    remove_most(shared)
    wave = wait_held(shared.anna, "killed")
    shared.anna.kill()
    shared.anna.start()
    assert wait_held(shared.anna, "killed")["id"] == wave["id"]
    assert len(list(shared.there.rglob("file*"))) == FILES
    shared.anna.ask("deny", str(wave["id"]))
    wait_files(shared, FILES, FILES)


def test_few_files_and_moves_are_no_wave(two: tuple[Computer, Computer]) -> None:
    shared = fill(two, "moved")
    (shared.here / "many").rename(shared.here / "renamed")
    wait_for(lambda: len(list((shared.there / "renamed").glob("file*"))) == GONE, 20, "the move does not arrive")
    for number in range(GONE, FILES):
        (shared.here / place_of(number)).unlink()
    wait_files(shared, GONE, GONE)
    assert not held(shared.anna, "moved")
    assert not held(shared.ben, "moved")


def test_answer_to_a_wave_that_is_not_there_is_refused(two: tuple[Computer, Computer]) -> None:
    assert refusal(two[0], "approve", "held-here-0000").exit == 7
    assert refusal(two[0], "deny", "held-here-0000").exit == 7
