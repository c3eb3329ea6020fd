"""Two computers, a cable between them, no address configured: from nothing to equal folders, as two people do it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.helpers.computers import (
    Computer,
    join_by_code,
    share_by_code,
    snapshot,
    start_all,
    wait_equal,
    wait_until,
)
from tests.helpers.namespaces import Machine, two_machines
from tests.helpers.oddities import copy_standard_library, write_oddities

pytestmark = pytest.mark.needs("linux", "netns")

NO_CONFIG = "# nothing\n"
SYNC_S = 60.0
LEAST_ENTRIES = 2000
NOTICED_S = 100.0
"""The kernel knows after 30 s that nothing comes back (`net.sockets`); without that it took three minutes."""
MOMENT_NS = 1_700_000_000_123_456_789


@pytest.fixture
def machines() -> Iterator[tuple[Machine, Machine]]:
    with two_machines("10.78.1") as both:
        yield both


@pytest.fixture
def pair(tmp_path: Path, machines: tuple[Machine, Machine]) -> Iterator[tuple[Computer, Computer]]:
    anna, ben = (
        Computer(name, tmp_path / name, tmp_path / name / "Source", 22067, NO_CONFIG, tuple(machine.command()))
        for name, machine in zip(("anna", "ben"), machines, strict=True)
    )
    try:
        start_all([anna, ben])
        yield anna, ben
    finally:
        anna.stop()
        ben.stop()


def join_with_a_code(anna: Computer, ben: Computer) -> None:
    join_by_code(ben, share_by_code(anna, "Source"), anna)
    ben.wait_synced(SYNC_S)
    anna.wait_synced(SYNC_S)


def test_real_tree_and_odd_names_arrive_identical_by_code_and_multicast(pair: tuple[Computer, Computer]) -> None:
    anna, ben = pair
    copy_standard_library(anna.folder)
    write_oddities(anna.folder)
    join_with_a_code(anna, ben)
    assert wait_equal([anna.folder, ben.folder], SYNC_S) > LEAST_ENTRIES


def test_two_folders_with_things_in_them_keep_everything(pair: tuple[Computer, Computer]) -> None:
    anna, ben = pair
    own = [*write_own_things(anna).values(), *write_own_things(ben).values()]
    join_with_a_code(anna, ben)
    wait_equal([anna.folder, ben.folder], SYNC_S)
    for computer in pair:
        contents = contents_of(computer.folder)
        assert set(own) <= set(contents.values())
        assert [name for name in contents if name.startswith("same")] == ["same"]
        assert sorted(contents[name] for name in contents if name.startswith("differs")) == [b"by anna", b"by ben"]
        assert {"only anna", "only ben", "room/of anna", "room/of ben"} <= contents.keys()
        computer.wait_synced(SYNC_S)  # what lies there is also counted
        assert computer.ask("status")["folders"][0]["conflicts"] == 1


def test_a_file_that_both_had_is_neither_fetched_nor_touched(pair: tuple[Computer, Computer]) -> None:
    anna, ben = pair
    content = os.urandom(4 << 20)
    for computer in pair:
        (computer.folder / "same").write_bytes(content)
        os.utime(computer.folder / "same", ns=(MOMENT_NS, MOMENT_NS))
    before = snapshot(ben.folder), (ben.folder / "same").stat().st_ino
    join_with_a_code(anna, ben)
    assert (snapshot(ben.folder), (ben.folder / "same").stat().st_ino) == before
    assert ben.transfer()["received_bytes"] < 4096


def test_edits_of_one_file_while_the_cable_was_out_are_both_kept(
    pair: tuple[Computer, Computer], machines: tuple[Machine, Machine]
) -> None:
    anna, ben = pair
    (anna.folder / "plan.txt").write_text("as agreed")
    (anna.folder / "old").write_text("to be deleted here and edited there")
    join_with_a_code(anna, ben)
    machines[0].set_cable(plugged=False)
    for computer in pair:
        (computer.folder / "plan.txt").write_text(f"as {computer.name} likes it")
        (computer.folder / f"alone, by {computer.name}").write_text(computer.name)
    (anna.folder / "old").unlink()
    (ben.folder / "old").write_text("edited")
    for computer in pair:
        computer.run("wait", "--for", "scanned", "--timeout", "10")
    machines[0].set_cable(plugged=True)
    wait_until(lambda: (anna.folder / "alone, by ben").exists(), SYNC_S, "the two do not find each other again")
    wait_equal([anna.folder, ben.folder], SYNC_S)
    contents = contents_of(anna.folder)
    plans = [name for name in contents if name.startswith("plan")]
    assert sorted(contents[name] for name in plans) == [b"as anna likes it", b"as ben likes it"]
    assert "plan.txt" in plans
    assert contents["old"] == b"edited"
    assert {"alone, by anna", "alone, by ben"} <= contents.keys()


@pytest.mark.long
def test_nobody_is_called_connected_behind_a_cable_that_is_out(
    pair: tuple[Computer, Computer], machines: tuple[Machine, Machine]
) -> None:
    """Neither while there is nothing to say nor while what was said is not acknowledged."""
    anna, ben = pair
    (anna.folder / "plan.txt").write_text("as agreed")
    join_with_a_code(anna, ben)
    wait_until(lambda: says_that_peer_is_there(anna), SYNC_S, "ben was never connected")
    machines[0].set_cable(plugged=False)
    (anna.folder / "alone").write_text("nobody has this")
    for computer in pair:
        took = wait_until(partial(has_lost_sight, computer), NOTICED_S, f"{computer.name} believes in the other")
        print(f"{computer.name} knew after {took:.0f} s")  # noqa: T201
        assert computer.run("status").stdout.startswith("All is here; no other member is reached now.")
    machines[0].set_cable(plugged=True)
    wait_until(lambda: (ben.folder / "alone").exists(), SYNC_S, "the two do not find each other again")
    wait_until(lambda: anna.run("status").stdout.startswith("All in sync."), SYNC_S, "anna does not hear of it")


def says_that_peer_is_there(computer: Computer) -> bool:
    [peer] = computer.ask("status")["folders"][0]["peers"]
    return bool(peer["connected"])


def has_lost_sight(computer: Computer) -> bool:
    return not says_that_peer_is_there(computer)


def write_own_things(computer: Computer) -> dict[str, bytes]:
    """Something equal, something different, something of one's own, and a directory that both have."""
    words = computer.name.encode()
    things = {
        "same": b"same",
        "differs.txt": b"by " + words,
        f"only {computer.name}": words,
        f"room/of {computer.name}": words,
    }
    (computer.folder / "room").mkdir()
    for name, content in things.items():
        (computer.folder / name).write_bytes(content)
    os.utime(computer.folder / "same", ns=(MOMENT_NS, MOMENT_NS))
    return things


def contents_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".syncd" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
