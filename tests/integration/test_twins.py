"""A home that was copied and runs twice: everybody says so and what to do, and doing that loses nothing."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.helpers.computers import (
    Computer,
    free_ports,
    join,
    loopback_config,
    share,
    sharing_computers,
    wait_equal,
    wait_until,
)

pytestmark = pytest.mark.slowest


SOON_S = 120.0


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[Computer]]:
    with sharing_computers(["anna", "ben"], tmp_path, "Docs", lambda folder: (folder / "one").write_text("1")) as pair:
        yield pair


def clone(computer: Computer, place: Path) -> Computer:
    """What a copied disk makes on another machine, but for the path at which the folder lies there."""
    computer.stop()
    shutil.copytree(computer.place, place)
    computer.start()
    (port,) = free_ports(1)
    twin = Computer(computer.name, place, place / computer.folder.name, port)
    (twin.home / "config.toml").write_text(loopback_config(port))
    with closing(sqlite3.connect(twin.home / "device.db")) as database, database:
        database.execute("UPDATE folder SET path=?", (bytes(twin.folder),))
    return twin


def problems(computer: Computer) -> set[str]:
    return {problem["id"] for folder in computer.ask("status")["folders"] for problem in folder["problems"]}


def wait_told(computer: Computer, code: str) -> None:
    wait_until(lambda: code in problems(computer), SOON_S, f"{computer.place.name} does not say {code}")


def test_two_clones_are_told_and_what_to_do_loses_nothing(two: list[Computer], tmp_path: Path) -> None:
    anna, ben = two
    twin = clone(ben, tmp_path / "ben-again")
    twin.start()
    try:
        (ben.folder / "of ben").write_text("written at the first")
        (twin.folder / "of the twin").write_text("written at the second")
        wait_told(ben, "SY-TWIN-01")
        wait_told(twin, "SY-TWIN-01")
        wait_told(anna, "SY-TWIN-02")
        for computer in (ben, twin):
            assert computer.run("status", "--check").returncode == 4
            said = computer.run("status").stdout
            assert "another computer runs with the keys" in said
            assert "join again" in said
        twin.stop()
        shutil.move(twin.home, twin.place / "old-home")
        shutil.rmtree(twin.folder / ".syncd")
        twin.start()
        join(twin, share(anna, "Docs"))
        assert wait_equal([anna.folder, ben.folder, twin.folder], SOON_S) == 3
    finally:
        twin.stop()
