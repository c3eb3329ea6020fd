"""What changes on one idle computer is on the other before one has looked up, and a rename moves no content."""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.helpers.computers import SLACK, Computer, sharing_computers, wait_equal, wait_until

pytestmark = pytest.mark.alone

ROUNDS = 20
NEWS_S = 60.0
REST_S = 0.2  # so that each change meets an idle pair
HALF_S, MOST_S = 0.35, 0.7  # what is promised of half of all, and of 95 of 100
FILES, FILE_BYTES = 200, 16 << 10
MOVE_BYTES = 4096  # records, heads and lists of a move; one file's content is four times as much


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Computer]]:
    with sharing_computers(("anna", "ben"), tmp_path_factory.mktemp("pair"), "Notes") as group:
        yield group


def test_new_file_of_a_kilobyte(pair: Sequence[Computer]) -> None:
    anna, ben = pair

    def change(number: int) -> Callable[[], bool]:
        content = os.urandom(1024)
        (anna.folder / f"new {number}").write_bytes(content)
        return lambda: has_content(ben.folder / f"new {number}", content)

    demand_quick(change)


@pytest.mark.long
def test_change_of_a_file(pair: Sequence[Computer]) -> None:
    anna, ben = pair

    def change(number: int) -> Callable[[], bool]:
        content = os.urandom(1024)
        (ben.folder / "changes").write_bytes(content)
        return lambda: has_content(anna.folder / "changes", content)

    demand_quick(change)


@pytest.mark.long
def test_rename(pair: Sequence[Computer]) -> None:
    anna, ben = pair
    prepare(pair, "old")

    def change(number: int) -> Callable[[], bool]:
        (anna.folder / f"old {number}").rename(anna.folder / f"renamed {number}")
        old, new = ben.folder / f"old {number}", ben.folder / f"renamed {number}"
        return lambda: new.exists() and not old.exists()

    demand_quick(change)


@pytest.mark.long
def test_delete(pair: Sequence[Computer]) -> None:
    anna, ben = pair
    prepare(pair, "doomed")

    def change(number: int) -> Callable[[], bool]:
        (anna.folder / f"doomed {number}").unlink()
        return lambda: not (ben.folder / f"doomed {number}").exists()

    demand_quick(change)


def test_renamed_directory_moves_no_content(pair: Sequence[Computer]) -> None:
    anna, ben = pair
    before = anna.folder / "before"
    before.mkdir()
    for number in range(FILES):
        (before / str(number)).write_bytes(os.urandom(FILE_BYTES))
    wait_equal([anna.folder, ben.folder], NEWS_S)
    ben.wait_synced(NEWS_S)
    anna.wait_synced(NEWS_S)
    inodes = {path.name: path.stat().st_ino for path in (ben.folder / "before").iterdir()}
    then = ben.transfer()
    before.rename(anna.folder / "after")
    took_s = wait_until((ben.folder / "after" / "0").exists, NEWS_S, "the renamed directory did not arrive")
    wait_equal([anna.folder, ben.folder], NEWS_S)
    now = ben.transfer()
    assert {path.name: path.stat().st_ino for path in (ben.folder / "after").iterdir()} == inodes
    assert now["blocks_fetched"] == then["blocks_fetched"]
    assert now["received_bytes"] - then["received_bytes"] <= MOVE_BYTES
    print(f"the renamed directory was there after {took_s:.3f} s")  # noqa: T201
    assert took_s <= MOST_S * SLACK


def prepare(pair: Sequence[Computer], name: str) -> None:
    anna, ben = pair
    for number in range(ROUNDS):
        (anna.folder / f"{name} {number}").write_bytes(os.urandom(1024))
    wait_equal([anna.folder, ben.folder], NEWS_S)


def demand_quick(change: Callable[[int], Callable[[], bool]]) -> None:
    """Make a change, again and again, and measure until the condition that it returns holds."""
    took: list[float] = []
    for number in range(ROUNDS):
        time.sleep(REST_S)
        took.append(wait_until(change(number), NEWS_S, "a change did not arrive"))
    took.sort()
    print(f"median {statistics.median(took):.3f} s, worst {took[-1]:.3f} s")  # noqa: T201
    assert statistics.median(took) <= HALF_S * SLACK, took
    assert took[math.ceil(0.95 * ROUNDS) - 1] <= MOST_S * SLACK, took


def has_content(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except FileNotFoundError:
        return False
