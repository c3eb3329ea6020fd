"""An admin has another device restore: it does so only if its person allowed it, and both keep a log that shows it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.computers import SYNC_S, Computer, sharing_computers, wait_until

pytestmark = pytest.mark.slowest


FOLDER = "Notes"


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[Computer]]:
    with sharing_computers(("anna", "ben"), tmp_path, FOLDER) as group:
        yield group


def moment_between(computers: list[Computer]) -> str:
    """A time after everything that was written until now, and before everything that is written from now on."""
    for computer in computers:
        computer.wait_synced(SYNC_S)
    time.sleep(1.1)
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    time.sleep(1.1)
    return moment


def allow(computer: Computer, below: Path | None = None) -> None:
    computer.ask("config", "set", "restore.remote", "true")
    if below is not None:
        computer.ask("config", "set", "restore.below", str(below))


def actions(computer: Computer) -> list[str]:
    found = computer.ask("audit")
    assert found["wrong"] is None
    return [line["action"] for line in found["audit"] if line["action"].startswith("remote")]


def spoil(two: list[Computer]) -> str:
    """A folder as it was at the moment returned, and then spoilt."""
    anna, ben = two
    (anna.folder / "plan").write_text("as agreed")
    (anna.folder / "room").mkdir()
    (anna.folder / "room" / "list").write_text("one, two")
    moment = moment_between(two)
    (anna.folder / "plan").write_text("by mistake")
    (anna.folder / "room" / "list").unlink()
    (anna.folder / "new").write_text("since then")
    anna.wait_synced(SYNC_S)
    wait_until(lambda: (ben.folder / "new").exists(), SYNC_S, "the mistake does not arrive")
    wait_until(lambda: not (ben.folder / "room" / "list").exists(), SYNC_S, "the deletion does not arrive")
    return moment


def test_restores_in_place_and_both_logs_show_it(two: list[Computer]) -> None:
    anna, ben = two
    moment = spoil(two)
    allow(ben)
    done = anna.ask("restore", str(anna.folder), "--at", moment, "--on", "ben", "--yes")
    assert done["device"]["name"] == "ben"
    assert (ben.folder / "plan").read_text() == "as agreed"
    assert (ben.folder / "room" / "list").read_text() == "one, two"
    assert not (ben.folder / "new").exists()
    wait_until(lambda: not (anna.folder / "new").exists(), SYNC_S, "the result does not come back")
    assert actions(anna) == ["remote restore sent", "remote restore done"]
    assert actions(ben) == ["remote restore begun", "remote restore done"]


def test_device_that_did_not_opt_in_refuses(two: list[Computer]) -> None:
    anna, ben = two
    moment = spoil(two)
    refused = anna.run("restore", str(anna.folder), "--at", moment, "--on", "ben", "--yes")
    assert refused.returncode == 6
    assert (ben.folder / "plan").read_text() == "by mistake"
    assert actions(ben) == ["remote restore refused"]
    allow(ben)
    anna.ask("restore", str(anna.folder), "--at", moment, "--on", "ben", "--yes")
    assert (ben.folder / "plan").read_text() == "as agreed"


def test_writes_outside_only_below_the_directory_that_was_named(two: list[Computer], tmp_path: Path) -> None:
    anna, ben = two
    moment = spoil(two)
    below = tmp_path / "allowed"
    below.mkdir()
    allow(ben, below)
    command = ("restore", str(anna.folder), "--at", moment, "--on", "ben", "--yes", "--to")
    for outside in (tmp_path / "elsewhere", below, below / ".." / "elsewhere"):
        assert anna.run(*command, str(outside)).returncode == 6
        assert not (tmp_path / "elsewhere").exists()
    (below / "way out").symlink_to(tmp_path)
    assert anna.run(*command, str(below / "way out" / "elsewhere")).returncode == 6
    anna.ask(*command, str(below / "then"), "--only", "list")
    assert (below / "then" / "room" / "list").read_text() == "one, two"
    assert not (below / "then" / "plan").exists()


def test_what_stands_in_the_way_outside_is_refused_kept_or_put_aside(two: list[Computer], tmp_path: Path) -> None:
    anna, ben = two
    moment = spoil(two)
    allow(ben, tmp_path)
    target = tmp_path / "there"
    target.mkdir()
    (target / "plan").write_text("in the way")
    command = ("restore", str(anna.folder), "--at", moment, "--on", "ben", "--yes", "--to", str(target))
    assert anna.run(*command).returncode == 1
    anna.ask(*command, "--existing", "keep")
    assert (target / "plan").read_text() == "in the way"
    assert (target / "room" / "list").read_text() == "one, two"
    anna.ask(*command, "--existing", "aside")
    assert (target / "plan").read_text() == "as agreed"
    assert (target / "plan (before restore 1)").read_text() == "in the way"


def test_editor_has_nobody_else_restore(two: list[Computer]) -> None:
    anna, ben = two
    moment = spoil(two)
    allow(anna)
    refused = ben.run("restore", str(ben.folder), "--at", moment, "--on", anna.ask("key", "show")["id"], "--yes")
    assert refused.returncode == 6
    assert "SY-CMD-03" in refused.stderr
    assert actions(anna) == []
