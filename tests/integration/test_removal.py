"""A member is removed: cut off within seconds, refused for good, and the others do not even stumble."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.helpers.computers import (
    Computer,
    Stolen,
    computers,
    demand_equal,
    join,
    share,
    sharing_computers,
    start_all,
    steal_certificate,
    wait_equal,
    wait_until,
)
from tests.helpers.foreigners import ask_by_openssl, open_connection, wait_cut
from tests.helpers.machinetime import Stopwatch

MIB = 1 << 20
FOLDER = "Notes"
CUT_S = 5.0
SYNC_S = 120.0
NEWS_S = 15.0
SILENCE_S = 3.0
FILM_BYTES = 160 * MIB
RETURN_S = 40.0


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[Computer]]:
    with sharing_computers(("anna", "ben", "carla"), tmp_path, FOLDER) as group:
        wait_linked(group)
        yield group


def wait_linked(group: Sequence[Computer]) -> None:
    """Everybody is connected with everybody."""
    for computer in group:
        wait_until(lambda one=computer: len(connected(one)) == len(group) - 1, NEWS_S, f"{computer.name} lacks peers")  # type: ignore[misc]


def connected(computer: Computer) -> set[str]:
    """Names of the peers to whom there is a connection."""
    (folder,) = computer.ask("status")["folders"]
    return {peer["name"] for peer in folder["peers"] if peer["connected"]}


@pytest.mark.alone
@pytest.mark.needs("openssl")
def test_removed_member_is_cut_everywhere_and_its_certificate_refused(three: list[Computer]) -> None:
    anna, ben, carla = three
    held = steal_certificate(carla, FOLDER)
    for server in (anna, ben):
        assert ask_by_openssl(server, held)[0].startswith("HTTP/1.1 404"), "the partner: before, it is answered"
    with ExitStack() as stack:
        open_ones = [stack.enter_context(open_connection(server, held)) for server in (anna, ben)]
        watch = Stopwatch()
        anna.ask("member", "remove", FOLDER, "carla", "--yes")
        wait_cut(open_ones, CUT_S)
        cut_s = watch.seconds()
    print(f"cut everywhere after {cut_s:.2f} s")  # noqa: T201
    assert cut_s <= CUT_S
    for server in (anna, ben):
        answer, said = ask_by_openssl(server, held)
        assert answer == ""
        assert "alert" in said.lower()
        fresh = steal_certificate(server, FOLDER)
        assert ask_by_openssl(server, fresh)[0].startswith("HTTP/1.1 404"), "the partner: the new one is answered"
    wait_until(lambda: not connected(carla), CUT_S, "the removed one still believes to be connected")
    assert "carla" not in connected(anna) | connected(ben)
    wait_until(lambda: connected(anna) == {"ben"}, NEWS_S, "who stayed did not find each other again in the new epoch")


def test_nothing_reaches_the_removed_nor_comes_from_it_and_others_go_on(three: list[Computer]) -> None:
    anna, ben, carla = three
    (anna.folder / "before").write_text("for all three")
    wait_equal([computer.folder for computer in three], NEWS_S)
    anna.ask("member", "remove", FOLDER, "carla", "--yes")
    received = carla.transfer()["received_bytes"]
    (carla.folder / "from outside").write_text("nobody reads this")
    (carla.folder / "before").write_text("nor this")
    for writer in (anna, ben):
        (writer.folder / f"after, by {writer.name}").write_text("not for everybody")
    wait_equal([anna.folder, ben.folder], NEWS_S)
    time.sleep(SILENCE_S)
    demand_equal(anna.folder, ben.folder)
    assert (anna.folder / "before").read_text() == "for all three"
    assert names_in(ben.folder) == {"before", "after, by anna", "after, by ben"}
    assert names_in(carla.folder) == {"before", "from outside"}
    assert carla.transfer()["received_bytes"] == received
    wait_until(lambda: state_of(carla) == "stopped", RETURN_S, "carla was not told that she is out")
    members = {member["name"] for member in anna.ask("members", FOLDER)["members"]}
    assert "carla" not in members and "ben" in members


def test_removed_member_stays_out_after_restarts_of_everybody(three: list[Computer]) -> None:
    anna, ben, carla = three
    carla.kill()
    anna.ask("member", "remove", FOLDER, "carla", "--yes")
    wait_until(lambda: epoch_of(ben) == epoch_of(anna), NEWS_S, "ben did not hear of the removal")
    anna.kill()
    ben.kill()
    start_all([anna, ben, carla])
    (anna.folder / "news").write_text("not for carla")
    (carla.folder / "from outside").write_text("nobody reads this")
    wait_until((ben.folder / "news").exists, RETURN_S, "ben gets no news")
    wait_until(lambda: state_of(carla) == "stopped", RETURN_S, "carla was not told that she is out")
    assert names_in(carla.folder) == {"from outside"}
    assert names_in(anna.folder) == names_in(ben.folder) == {"news"}


@pytest.mark.long
def test_no_verified_block_is_fetched_again_after_a_removal(tmp_path: Path) -> None:
    with computers(("anna", "ben", "carla"), tmp_path, FOLDER) as group:
        anna, ben, carla = group
        start_all(group)
        link = share(anna, FOLDER, uses=2)
        join(carla, link)
        carla.wait_synced(SYNC_S)
        carla.stop()
        (anna.folder / "film").write_bytes(random.Random("film").randbytes(FILM_BYTES))
        ben.ask("limits", "--down", "20 MB/s")  # so that the removal comes in the midst of it, on any machine
        join(ben, link)
        wait_until(lambda: ben.transfer()["received_bytes"] > FILM_BYTES // 4, SYNC_S, "nothing is fetched")
        anna.ask("member", "remove", FOLDER, "carla", "--yes")
        assert not (ben.folder / "film").exists(), "the removal came too late to prove anything"
        ben.ask("limits", "--clear")
        ben.wait_synced(SYNC_S)
        demand_equal(anna.folder, ben.folder)
        fetched = ben.transfer()
        print(fetched)  # noqa: T201
        assert fetched["duplicate_bytes"] == 0
        assert fetched["received_bytes"] <= FILM_BYTES * 1.01


def test_member_that_was_off_during_two_rotations_comes_back_by_itself(three: list[Computer]) -> None:
    anna, ben, carla = three
    old = steal_certificate(ben, FOLDER)
    ben.stop()
    first = anna.ask("rotate", FOLDER)["epoch"]
    second = anna.ask("rotate", FOLDER)["epoch"]
    assert second == first + 1
    (carla.folder / "while ben slept").write_text("news")
    wait_until((anna.folder / "while ben slept").exists, NEWS_S, "the others do not go on")
    ben.start()
    took_s = wait_until((ben.folder / "while ben slept").exists, RETURN_S, "ben does not come back")
    print(f"back after {took_s:.2f} s")  # noqa: T201
    (ben.folder / "good morning").write_text("all")
    wait_equal([computer.folder for computer in three], NEWS_S)
    assert epoch_of(ben) == epoch_of(anna) == second
    assert not is_answered(anna, old)


def is_answered(server: Computer, held: Stolen) -> bool:
    return ask_by_openssl(server, held)[0] != ""


def epoch_of(computer: Computer) -> int:
    (folder,) = computer.ask("status")["folders"]
    return int(folder["epoch"])


def state_of(computer: Computer) -> str:
    (folder,) = computer.ask("status")["folders"]
    return str(folder["state"])


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name != ".syncd"}
