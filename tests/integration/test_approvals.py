"""One approval frees a wave on all computers, if who gives it may delete; of anybody else it frees only his own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.computers import Computer, sharing_computers
from tests.helpers.faults import look, wait_for

pytestmark = pytest.mark.long


FILES = 80
GONE = 60
RENAMED = 25
WHOLE = (GONE, RENAMED)
"""How many files the waves of these tests have when they do not grow any more."""
SOON_S = 60.0


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Computer]]:
    with sharing_computers(["anna", "ben", "cara"], tmp_path_factory.mktemp("approvals"), "First") as group:
        yield group


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of Anna, of Ben who is an editor but may delete nothing, and of Cara who only looks."""

    name: str
    computers: list[Computer]

    def of(self, computer: Computer) -> Path:
        return computer.place / self.name

    def count(self, computer: Computer, pattern: str) -> int:
        return len(list(self.of(computer).rglob(pattern)))

    def wait_files(self, pattern: str, count: int, *computers: Computer) -> None:
        for computer in computers or self.computers:
            has_all = partial(self._has, computer, pattern, count)
            wait_for(has_all, SOON_S, f"not {count} at {computer.name}")

    def _has(self, computer: Computer, pattern: str, count: int) -> bool:
        return self.count(computer, pattern) == count

    def held(self, computer: Computer) -> list[str]:
        return [str(request["id"]) for request in self._waves(computer)]

    def wait_held(self, computer: Computer) -> str:
        """A wave, when it does not grow any more: until then its id changes."""

        def whole() -> list[str]:
            return [str(request["id"]) for request in self._waves(computer) if request["files"] in WHOLE]

        wait_for(lambda: bool(whole()), SOON_S, f"nothing is held at {computer.name}")
        return whole()[0]

    def _waves(self, computer: Computer) -> list[dict[str, Any]]:
        found = look(computer, "requests", folder=self.name)["requests"]
        return [request for request in found if request["kind"] == "held"]


def share(group: list[Computer], name: str) -> Folder:
    folder, (anna, ben, cara) = Folder(name, group), group
    place = folder.of(anna)
    (place / "many").mkdir(parents=True)
    for number in range(FILES):
        (place / ("many" if number < GONE else ".") / f"file{number:02}.txt").write_bytes(b"content %d" % number)
    for joiner, role in ((ben, "editor"), (cara, "viewer")):
        options = ["--name", name, "--role", role, "--link", "--uses", "1", "--yes", "--no-wait"]
        link = str(anna.ask("share", str(place), *options)["link"])
        joiner.ask("join", link, str(folder.of(joiner)), "--as", joiner.name, "--yes", "--no-wait")
    anna.ask("member", "role", name, "ben", "editor", "--cannot", "delete", "--yes")
    folder.wait_files("file*", FILES)
    return folder


def disguise(folder: Folder, computer: Computer) -> None:
    """Rename files as ransomware does, all of them between two looks of the daemon."""
    computer.stop()
    for path in sorted(folder.of(computer).glob("many/*"))[:RENAMED]:
        path.rename(path.with_name(path.name + ".locked"))
    computer.start()


def test_wave_of_deletions_wants_one_approval_where_it_began(three: list[Computer]) -> None:
    folder, (anna, ben, cara) = share(three, "Once"), three
    (folder.of(anna) / "many").rename(anna.place / "taken out")
    wave = folder.wait_held(anna)
    assert folder.count(ben, "file*") == folder.count(cara, "file*") == FILES
    done = anna.ask("approve", wave)
    assert done["everywhere"]
    folder.wait_files("file*", FILES - GONE)
    for other in (ben, cara):
        wait_for(lambda one=other: not folder.held(one), SOON_S, f"it waits at {other.name} as well")  # type: ignore[misc]


@pytest.mark.slowest
def test_approval_without_the_right_to_delete_frees_no_other_computer(three: list[Computer]) -> None:
    folder, (anna, ben, cara) = share(three, "Mine"), three
    disguise(folder, ben)
    assert "on this computer only" in ben.run("approve", folder.wait_held(ben)).stdout
    at_anna = folder.wait_held(anna)
    done = cara.ask("approve", folder.wait_held(cara))
    assert not done["everywhere"]
    folder.wait_files("*.locked", RENAMED, cara)
    assert folder.held(anna) == [at_anna]
    assert folder.count(anna, "*.locked") == 0


def test_approval_of_somebody_elses_wave_frees_it_on_every_computer(three: list[Computer]) -> None:
    folder, (anna, ben, cara) = share(three, "Ours"), three
    disguise(folder, ben)
    ben.ask("approve", folder.wait_held(ben))
    folder.wait_held(cara)
    assert anna.ask("approve", folder.wait_held(anna))["everywhere"]
    folder.wait_files("*.locked", RENAMED)
    wait_for(lambda: not folder.held(cara), SOON_S, "it is still held at cara")


@pytest.mark.slowest
def test_wave_of_somebody_else_is_undone_for_all_by_a_no(three: list[Computer]) -> None:
    folder, (anna, ben, cara) = share(three, "Back"), three
    disguise(folder, ben)
    ben.ask("approve", folder.wait_held(ben))
    folder.wait_held(cara)
    anna.ask("deny", folder.wait_held(anna))
    folder.wait_files("*.locked", 0)
    folder.wait_files("file*.txt", FILES)
    wait_for(lambda: not folder.held(cara), SOON_S, "it is still held at cara")
