"""What owners do with members and devices through the command line, with real daemons: it holds on every device."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ca.keyfiles import load_recovery
from syncd.methods.enrolling import keys_text
from tests.helpers.computers import (
    Computer,
    computers,
    contents_below,
    join,
    share,
    sharing_computers,
    wait_equal,
    wait_until,
)
from tests.helpers.rosters import public_of

FOLDER = "Notes"
NEWS_S = 20.0
HEARD_S = 20.0


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[Computer]]:
    with sharing_computers(("anna", "ben", "carla"), tmp_path, FOLDER) as group:
        for computer in group:
            wait_until(lambda one=computer: len(connected(one)) == 2, NEWS_S, f"{computer.name} lacks peers")  # type: ignore[misc]
        yield group


def connected(computer: Computer) -> set[str]:
    (folder,) = computer.ask("status")["folders"]
    return {peer["name"] for peer in folder["peers"] if peer["connected"]}


def members_of(computer: Computer) -> set[str]:
    return {member["name"] for member in computer.ask("members", FOLDER)["members"]}


def only_here(computer: Computer) -> int:
    return int(computer.ask("status")["folders"][0]["only_here"])


def role_of(computer: Computer, name: str) -> tuple[str, str]:
    members = computer.ask("members", FOLDER)["members"]
    return next((member["role"], member["status"]) for member in members if member["name"] == name)


def test_editor_who_may_not_delete_deletes_nothing_elsewhere(three: list[Computer]) -> None:
    anna, ben, carla = three
    (anna.folder / "kept").write_text("words")
    wait_equal([computer.folder for computer in three], NEWS_S)
    changed = anna.ask("member", "role", FOLDER, "carla", "editor", "--cannot", "delete", "--yes")
    assert changed["member"]["role"] == "editor" and changed["pending"] == []
    (carla.folder / "kept").unlink()
    (carla.folder / "added").write_text("she may")
    for other in (anna, ben):
        wait_until((other.folder / "added").exists, NEWS_S, "what she may write does not arrive")
        assert (other.folder / "kept").read_text() == "words"
    assert not (carla.folder / "kept").exists(), "on her own disk she does as she likes"
    wait_until(lambda: only_here(carla) == 1, NEWS_S, "what is only here is not counted")
    assert "1 change only here" in carla.run("status").stdout
    assert "deleted only here" in carla.ask("explain", str(carla.folder / "kept"))["why"]
    assert carla.ask("restore", str(carla.folder / "kept"), "--gone-here", "--dry-run")["files"] == 1
    assert carla.ask("restore", str(carla.folder), "--gone-here")["files"] == 1
    wait_until((carla.folder / "kept").exists, NEWS_S, "what the others have is not offered again")
    assert (carla.folder / "kept").read_text() == "words"
    wait_until(lambda: only_here(carla) == 0, NEWS_S, "what is back is said to be gone")
    assert carla.ask("restore", str(carla.folder), "--gone-here")["files"] == 0


def test_what_a_viewer_wrote_is_sent_once_the_role_allows_it(three: list[Computer]) -> None:
    anna, ben, carla = three
    (anna.folder / "plan").write_text("as agreed")
    wait_equal([computer.folder for computer in three], NEWS_S)
    anna.ask("member", "role", FOLDER, "carla", "viewer", "--yes")
    wait_until(lambda: role_of(carla, "carla")[0] == "viewer", HEARD_S, "carla did not hear that she is a viewer")
    (carla.folder / "plan").write_text("as carla sees it")
    (carla.folder / "own").mkdir()
    (carla.folder / "own" / "notes").write_text("hers")
    wait_until(lambda: only_here(carla) == 3, NEWS_S, "what is only here is not counted")
    told = carla.ask("explain", str(carla.folder / "own" / "notes"))
    assert "your role is viewer" in told["why"] and [peer["has"] for peer in told["peers"]] == [None, None]
    anna.ask("member", "role", FOLDER, "carla", "editor", "--yes")
    wait_until(lambda: only_here(carla) == 0, NEWS_S, "what may go is still only here")
    wait_equal([computer.folder for computer in three], NEWS_S)
    assert (ben.folder / "plan").read_text() == "as carla sees it"


def test_suspended_member_is_out_and_comes_back(three: list[Computer]) -> None:
    anna, ben, carla = three
    anna.ask("member", "suspend", FOLDER, "carla", "--yes")
    wait_until(lambda: role_of(ben, "carla") == ("editor", "suspended"), HEARD_S, "ben did not hear of it")
    (anna.folder / "meanwhile").write_text("not for carla yet")
    wait_until((ben.folder / "meanwhile").exists, NEWS_S, "the others do not go on")
    assert not (carla.folder / "meanwhile").exists() and "carla" not in connected(anna) | connected(ben)
    wait_until(lambda: connected(anna) == {"ben"}, NEWS_S, "ben does not come back with the new certificate")
    anna.ask("member", "reactivate", FOLDER, "carla", "--yes")
    wait_until((carla.folder / "meanwhile").exists, NEWS_S, "carla does not come back")
    (carla.folder / "here again").write_text("all")
    wait_equal([computer.folder for computer in three], NEWS_S)


def test_new_admin_can_remove_and_an_editor_cannot(three: list[Computer]) -> None:
    anna, ben, _ = three
    refused = ben.run("member", "remove", FOLDER, "carla", "--yes")
    assert refused.returncode == 6 and "SY-SHARE-04" in refused.stderr
    anna.ask("member", "role", FOLDER, "ben", "admin", "--yes")
    wait_until(lambda: role_of(ben, "ben")[0] == "admin", HEARD_S, "ben did not hear that he is an admin")
    ben.ask("member", "remove", FOLDER, "carla", "--yes")
    wait_until(lambda: "carla" not in members_of(anna), HEARD_S, "anna did not hear of the removal")
    assert "ben" in members_of(anna)


def test_membership_ends_at_its_time(three: list[Computer]) -> None:
    anna, ben, carla = three
    anna.ask("member", "expire", FOLDER, "carla", "3s", "--yes")
    wait_until(lambda: role_of(ben, "carla")[1] == "suspended", 60.0, "nobody ended the membership")
    (anna.folder / "later").write_text("not for carla")
    wait_until((ben.folder / "later").exists, NEWS_S, "the others do not go on")
    assert not (carla.folder / "later").exists()
    again = anna.run("member", "reactivate", FOLDER, "carla", "--yes")
    assert again.returncode != 0 and "ended" in again.stderr


def test_folder_asks_everybody_to_keep_more_and_nobody_to_keep_less(three: list[Computer]) -> None:
    anna, ben, carla = three
    ben.ask("retention", FOLDER, "--keep", "all 30d")
    refused = ben.run("retention", FOLDER, "--everybody", "--keep", "all 1d")
    assert refused.returncode == 6 and "SY-SHARE-04" in refused.stderr
    anna.ask("retention", FOLDER, "--everybody", "--keep", "all 1d, monthly 10y")
    asked = "all 1d, monthly 3650d"
    for computer in (ben, carla):
        wait_until(
            lambda one=computer: one.ask("retention", FOLDER)["asked"] == asked,  # type: ignore[misc]
            NEWS_S,
            f"{computer.name} is not asked",
        )
    assert ben.ask("retention", FOLDER)["keep"] == "all 30d"
    kept = ben.ask("prune", FOLDER, "--dry-run")["keep"]
    assert "all 30d" in kept and "monthly 3650d" in kept
    anna.ask("retention", FOLDER, "--everybody", "--keep", "none")
    wait_until(lambda: ben.ask("retention", FOLDER)["asked"] is None, NEWS_S, "ben is still asked")


def test_lockdown_takes_a_device_out_of_every_folder(three: list[Computer]) -> None:
    anna, ben, carla = three
    done = anna.ask("lockdown", "carla", "--yes")
    assert [one["out"] for one in done["folders"]] == [True] and done["pending"] == []
    assert "carla" not in connected(anna)
    wait_until(lambda: connected(anna) == {"ben"}, NEWS_S, "ben does not come back with the new certificate")
    (anna.folder / "after").write_text("not for carla")
    wait_until((ben.folder / "after").exists, NEWS_S, "the others do not go on")
    assert not (carla.folder / "after").exists()
    assert anna.run("lockdown", "carla", "--yes").returncode == 7


def test_printed_key_makes_an_owner_when_every_owner_is_gone(three: list[Computer]) -> None:
    anna, ben, carla = three
    key = load_recovery(anna.home)
    assert key is not None
    anna.kill()
    wrong = recover(ben, "abandon " * 33)
    assert wrong.returncode != 0
    done = recover(ben, " ".join(key.words))
    assert done.returncode == 0, done.stderr
    assert role_of(ben, "ben") == ("owner", "active")
    wait_until(lambda: role_of(carla, "ben")[0] == "owner", HEARD_S, "carla did not hear of it")
    wait_until(lambda: len(members_of(carla)) == 2, HEARD_S, "somebody who is gone is a member still")
    assert members_of(carla) == {"ben", "carla"}
    (ben.folder / "new start").write_text("without anna")
    wait_until((carla.folder / "new start").exists, NEWS_S, "they do not go on")


def test_archived_device_is_out_for_good_and_what_it_wrote_stays(three: list[Computer]) -> None:
    anna, ben, carla = three
    (carla.folder / "hers").write_text("her first words")
    wait_equal([computer.folder for computer in three], NEWS_S)
    (carla.folder / "hers").write_text("from before")
    wait_equal([computer.folder for computer in three], NEWS_S)
    only_looked = anna.ask("device", "archive", FOLDER, "carla", "--dry-run")
    assert only_looked["name"] == FOLDER and "carla" in connected(anna)
    refused = ben.run("device", "archive", FOLDER, "carla", "--yes")
    assert refused.returncode == 6
    done = anna.ask("device", "archive", FOLDER, "carla", "--yes")
    assert done["schema"] == "syncd.device.archive/1" and done["pending"] == []
    wait_until(lambda: connected(anna) == {"ben"}, NEWS_S, "ben does not come back with the new certificate")
    assert (ben.folder / "hers").read_text() == "from before"
    (anna.folder / "after").write_text("not for carla")
    wait_until((ben.folder / "after").exists, NEWS_S, "the others do not go on")
    assert not (carla.folder / "after").exists()
    carla.stop()
    versions = ben.ask("history", str(ben.folder / "hers"))["versions"]
    assert len(versions) == 2, versions
    ben.ask("restore", str(ben.folder / "hers"), "--before", str(versions[0]["id"]), "--yes")
    wait_until(lambda: (anna.folder / "hers").read_text() == "her first words", NEWS_S, "what she wrote is lost")


@pytest.mark.slowest
def test_third_owner_decides_a_quarrel_of_two_who_could_not_hear_each_other(three: list[Computer]) -> None:
    anna, ben, carla = three
    for name in ("ben", "carla"):
        anna.ask("member", "role", FOLDER, name, "owner", "--yes")
    wait_until(lambda: role_of(ben, "carla")[0] == "owner", HEARD_S, "ben did not hear of it")
    wait_until(lambda: role_of(carla, "carla")[0] == "owner", HEARD_S, "carla did not hear of it")
    assert anna.run("folder", "decide", FOLDER, "--keep", "ben", "--yes").returncode != 0  # the partner: no quarrel yet
    founder = next(member["name"] for member in anna.ask("members", FOLDER)["members"] if member["you"])
    carla.kill()
    ben.kill()
    anna.ask("member", "remove", FOLDER, "ben", "--yes")
    anna.kill()
    ben.start()
    ben.ask("member", "remove", FOLDER, founder, "--yes")
    for computer in (anna, carla):
        computer.start()
    for computer in three:
        wait_until(lambda one=computer: "SY-FORK-01" in problems(one), 60.0, f"{computer.name} sees no quarrel")  # type: ignore[misc]
    (anna.folder / "meanwhile").write_text("goes nowhere")
    carla.ask("folder", "decide", FOLDER, "--keep", founder, "--yes")
    wait_until(lambda: "SY-FORK-01" not in problems(anna), 60.0, "anna did not hear of the decision")
    wait_until((carla.folder / "meanwhile").exists, 60.0, "the two do not go on")
    assert role_of(carla, founder) == ("owner", "active")
    assert not (ben.folder / "meanwhile").exists()


def epoch_of(computer: Computer) -> int:
    return int(computer.ask("folder", "show", FOLDER)["epoch"])


def problems(computer: Computer) -> set[str]:
    (folder,) = computer.ask("status")["folders"]
    return {problem["id"] for problem in folder["problems"]}


@pytest.mark.slowest
def test_fifty_rotations_in_a_minute_while_files_travel(three: list[Computer]) -> None:
    anna, ben, _ = three
    before = epoch_of(anna)
    written = 0
    for number in range(50):
        if number % 5 == 0:
            for writer in three:
                (writer.folder / f"{writer.name} {number}").write_bytes(bytes(200_000))
                written += 1
        anna.ask("rotate", FOLDER)
    assert epoch_of(anna) >= before + 50
    wait_until(lambda: {epoch_of(one) for one in three} == {epoch_of(anna)},
               60.0, "not all have the newest epoch")  # fmt: skip
    wait_equal([computer.folder for computer in three], 60.0)
    assert len([path for path in ben.folder.iterdir() if path.name != ".syncd"]) >= written


def test_devices_of_a_list_are_admitted_at_once_and_join_by_any_link(tmp_path: Path) -> None:
    with computers(("anna", "ben"), tmp_path, FOLDER) as group:
        anna, ben = group
        for computer in group:
            computer.start()
        link = share(anna, FOLDER)
        keys = ben.ask("key", "show")["keys"]
        assert ben.run("key", "show", "--keys").stdout.strip() == keys
        crowd = "".join(f"guest {number},viewer,{keys_text(public_of(str(number)))}\n" for number in range(499))
        people = tmp_path / "people.csv"
        people.write_text(f"name,role,keys\nBen,viewer,{keys}\n{crowd}")
        assert len(anna.ask("member", "add", FOLDER, str(people), "--dry-run")["added"]) == 500
        assert len(anna.ask("members", FOLDER)["members"]) == 1
        before = epoch_of(anna)
        assert len(anna.ask("member", "add", FOLDER, str(people), "--yes")["added"]) == 500
        assert epoch_of(anna) == before + 1
        again = anna.ask("member", "add", FOLDER, str(people), "--yes")
        assert again["added"] == [] and again["known"] == 500 and epoch_of(anna) == before + 1
        join(ben, link)
        ben.wait_synced(NEWS_S)
        assert role_of(ben, "Ben") == ("viewer", "active"), "as the list says, not as the link"
        refused = ben.run("member", "add", FOLDER, str(people), "--yes")
        assert refused.returncode == 6


def recover(computer: Computer, words: str) -> subprocess.CompletedProcess[str]:
    command = computer.command("recover", FOLDER, "--keep", "carla", "--yes")
    return subprocess.run(command, input=words + "\n", capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slowest
def test_admin_who_may_not_read_is_given_nothing_and_removes_all_the_same(three: list[Computer]) -> None:
    anna, ben, carla = three
    anna.ask("member", "role", FOLDER, "carla", "admin", "--cannot", "read", "--yes")
    (anna.folder / "secret").write_text("not for carla")
    wait_until((ben.folder / "secret").exists, NEWS_S, "the others do not go on")
    wait_until(lambda: problems(carla) == {"SY-TRUST-05"}, HEARD_S, "carla is not told why nothing comes")
    assert not carla.ask("status")["in_sync"] and "carla" not in connected(anna)
    wait_until(lambda: connected(anna) == {"ben"}, NEWS_S, "ben does not come back with the new certificate")
    assert not [path for path, content in contents_below(carla.home) if b"not for carla" in content]
    assert not (carla.folder / "secret").exists()
    epoch = epoch_of(anna)

    carla.ask("member", "remove", FOLDER, "ben", "--yes")
    wait_until(lambda: connected(anna) == set(), HEARD_S, "ben keeps his connection")
    wait_until(lambda: epoch_of(anna) > epoch, 60.0, "nobody who reads changes the keys")
    (anna.folder / "after").write_text("not for ben either")
    anna.ask("member", "role", FOLDER, "carla", "admin", "--yes")
    wait_until((carla.folder / "after").exists, 60.0, "carla does not come back")
    assert (carla.folder / "secret").read_text() == "not for carla"
    assert not (ben.folder / "after").exists()
