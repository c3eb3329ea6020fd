"""A fork that spread before two sides meet, with real daemons: the computers of a side hear each other and nobody else.

One side runs at a time, which is what a partition is to whoever is in it. When all run again there is one outcome on
all, whoever is out by it has no access, and no file is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.computers import (
    Computer,
    Stolen,
    computers,
    is_served,
    join,
    loopback_config,
    share,
    snapshot,
    start_all,
    steal_certificate,
    wait_equal,
    wait_until,
)

FOLDER = "Notes"
NEWS_S = 60.0
MEET_S = 180.0


def members(computer: Computer) -> dict[str, tuple[str, str]]:
    found = computer.ask("members", FOLDER)["members"]
    return {member["name"]: (member["role"], member["status"]) for member in found}


def standing(computer: Computer) -> tuple[object, ...]:
    """All that the membership list of a computer says of the present."""
    shown = computer.ask("folder", "show", FOLDER)
    return shown["epoch_id"], sorted(members(computer).items())


def connected(computer: Computer) -> set[str]:
    (folder,) = computer.ask("status")["folders"]
    return {peer["name"] for peer in folder["peers"] if peer["connected"]}


def write(computer: Computer, name: str, readers: Sequence[Computer]) -> None:
    (computer.folder / name).write_text(f"{name}, by {computer.name}")
    for reader in readers:
        wait_until((reader.folder / name).exists, NEWS_S, f"{name} does not reach {reader.name}")


@contextmanager
def side(*group: Computer) -> Iterator[None]:
    """Only these run."""
    start_all(group)
    try:
        for computer in group:
            others = {other.name for other in group} - {computer.name}
            wait_until(lambda one=computer, others=others: others <= connected(one), NEWS_S, "a side does not meet")  # type: ignore[misc]
        yield
    finally:
        for computer in group:
            computer.stop()


@pytest.fixture
def five(tmp_path: Path) -> Iterator[list[Computer]]:
    """anna owns, ben and carla administrate, dora edits; eva is not in it yet. Nobody runs."""
    with computers(("anna", "ben", "carla", "dora", "eva"), tmp_path, FOLDER) as group:
        anna, ben, carla, dora, _ = group
        anna.config = f'{loopback_config(anna.port)}[device]\nname = "anna"\n'
        start_all(group)
        (anna.folder / "before").write_text("before the two sides part")
        link = share(anna, FOLDER, uses=3)
        for other in (ben, carla, dora):
            join(other, link)
        for name in ("ben", "carla"):
            anna.ask("member", "role", FOLDER, name, "admin", "--yes")
        for computer in (anna, ben, carla, dora):
            wait_until(lambda one=computer: members(one).get("carla") == ("admin", "active"), NEWS_S, "no news")  # type: ignore[misc]
        wait_equal([computer.folder for computer in (anna, ben, carla, dora)], NEWS_S)
        for computer in group:
            computer.stop()
        yield group


def meet(group: Sequence[Computer], insiders: Sequence[Computer]) -> None:
    """All run; the insiders come to one standing, and stay with it until each has the others."""
    start_all(group)
    wait_until(
        lambda: (
            len({repr(standing(one)) for one in insiders}) == 1
            and all({other.name for other in insiders} - {one.name} <= connected(one) for one in insiders)
        ),
        MEET_S,
        "the sides do not come to one standing",
    )
    wait_equal([computer.folder for computer in insiders], MEET_S)


def demand_out(gone: Computer, last_day: Stolen, insiders: Sequence[Computer], name: str) -> None:
    """No connection, no new file, and the certificate of its last day opens nothing."""
    write(insiders[0], name, insiders[1:])
    for insider in insiders:
        assert gone.name not in connected(insider)
        assert not is_served(insider, last_day)
    assert not (gone.folder / name).exists()


@pytest.mark.slowest
def test_neither_side_touched_the_other_and_both_count(five: list[Computer]) -> None:
    """ben removes dora; carla, who does not know, admits eva and goes on with dora."""
    anna, ben, carla, dora, eva = five
    with side(anna, ben):
        ben.ask("member", "remove", FOLDER, "dora", "--yes")
        wait_until(lambda: "dora" not in members(anna), NEWS_S, "anna did not hear of the removal")
        write(ben, "of the one side", [anna])
    with side(carla, dora):
        eva.start()
        join(eva, share(carla, FOLDER))
        write(dora, "by dora, whom carla heard", [carla, eva])
        write(carla, "of the other side", [dora, eva])
        write(eva, "by the newcomer", [carla, dora])
        last_day = steal_certificate(dora, FOLDER)
        assert is_served(carla, last_day)
        eva.stop()
    insiders = [anna, ben, carla, eva]
    meet(five, insiders)
    found = members(anna)
    assert "dora" not in found and found["eva"] == ("editor", "active")
    assert found["ben"] == found["carla"] == ("admin", "active")
    expected = {"before", "of the one side", "of the other side", "by the newcomer", "by dora, whom carla heard"}
    assert {path.name for path in eva.folder.iterdir()} - {".syncd"} == expected
    demand_out(dora, last_day, insiders, "after both met")


@pytest.mark.slowest
def test_who_was_removed_on_the_other_side_gains_nothing_by_what_was_signed_meanwhile(five: list[Computer]) -> None:
    """anna removes carla; carla, who does not know, removes dora and admits eva."""
    anna, ben, carla, dora, eva = five
    with side(anna, ben):
        anna.ask("member", "remove", FOLDER, "carla", "--yes")
        wait_until(lambda: "carla" not in members(ben), NEWS_S, "ben did not hear of the removal")
        write(ben, "of the one side", [anna])
    with side(carla, dora):
        write(dora, "by dora, in time", [carla])
        carla.ask("member", "remove", FOLDER, "dora", "--yes")
        eva.start()
        join(eva, share(carla, FOLDER))
        write(carla, "by carla, too late", [eva])
        write(eva, "by eva, whom carla let in", [carla])
        last_days = [(gone, steal_certificate(gone, FOLDER)) for gone in (carla, eva)]
        assert is_served(carla, last_days[1][1])
        eva.stop()
    before = snapshot(carla.folder), snapshot(eva.folder)
    insiders = [anna, ben, dora]
    meet(five, insiders)
    found = members(dora)
    assert found["dora"] == ("editor", "active")
    assert "carla" not in found and "eva" not in found
    assert {path.name for path in anna.folder.iterdir()} - {".syncd"} == {
        "before",
        "of the one side",
        "by dora, in time",
    }
    for gone, last_day in last_days:
        demand_out(gone, last_day, insiders, f"not for {gone.name}")
    after = snapshot(carla.folder), snapshot(eva.folder)
    assert before == after, "what the losing side wrote stays on its own disks"
