"""Real daemons, one of them on a disk that FUSE makes odd: both end with the same contents, nothing is lost, and no
name that only that disk has is ever published."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.computers import Computer, computers, join, share, start_all
from tests.helpers.faults import demand_quiet_log, wait_for
from tests.helpers.odddisks import ODD_DISKS, OddDisk, odd_disk

pytestmark = [pytest.mark.slowest, pytest.mark.needs("fuse")]

SYNC_S = 90.0
COMPOSED, DECOMPOSED = "caf\u00e9".encode(), "cafe\u0301".encode()

Contents = dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Odd:
    """Anna's disk is the usual one, ben's is not."""

    anna: Computer
    ben: Computer
    disk: OddDisk

    def wait_anna(self, expected: Contents) -> None:
        """Until anna has exactly this, and ben the same contents under whatever names."""
        words = sorted(expected.values())

        def is_so() -> bool:
            return contents(self.anna.folder) == expected and sorted(contents(self.ben.folder).values()) == words

        try:
            wait_for(is_so, SYNC_S, "they have not become equal")
        except Exception as error:
            error.add_note(f"anna has {contents(self.anna.folder)}, ben {contents(self.ben.folder)}, not {expected}")
            error.add_note(f"{self.anna.last_words()}\n{self.ben.last_words()}")
            raise

    def ben_has(self, content: bytes) -> Path:
        """Where a content stands on ben's disk."""
        (name,) = [name for name, found in contents(self.ben.folder).items() if found == content]
        return self.ben.folder / os.fsdecode(name)


@pytest.fixture(params=sorted(ODD_DISKS))
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Odd]:
    name = str(request.param)
    with (
        odd_disk(tmp_path / "below", tmp_path / "shown", name) as shown,
        computers(("anna", "ben"), tmp_path, "Notes") as (anna, ben),
    ):
        ben.place.mkdir()
        ben.folder = shown / "Notes"
        start_all([anna, ben])
        join(ben, share(anna, "Notes"))
        yield Odd(anna, ben, ODD_DISKS[name])
        demand_quiet_log(anna)
        demand_quiet_log(ben)


def contents(folder: Path) -> Contents:
    """Every file below a folder, by name; empty where something goes while we look."""
    found: Contents = {}
    top = os.fsencode(folder)
    for place, directories, files in os.walk(top):
        if place == top and b".syncd" in directories:
            directories.remove(b".syncd")
        for name in files:
            path = os.path.join(place, name)
            try:
                with open(path, "rb") as file:
                    found[os.path.relpath(path, top)] = file.read()
            except FileNotFoundError:
                return {}
    return found


def write(computer: Computer, name: bytes, content: bytes) -> None:
    path = computer.folder / os.fsdecode(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def rename(computer: Computer, name: bytes, to: bytes) -> None:
    """By way of a third name, as people have to do where a disk takes both for the same."""
    between = computer.folder / "between two names"
    (computer.folder / os.fsdecode(name)).rename(between)
    between.rename(computer.folder / os.fsdecode(to))


def test_everything_that_people_do_converges(odd: Odd) -> None:
    expected: Contents = {
        b"plan": b"a plan",
        b"dir/in it": b"in a directory",
        COMPOSED: b"composed",
        b"trailing.": b"ends in a dot",
        b"what?": b"a question",
    }
    for name, content in expected.items():
        write(odd.anna, name, content)
    odd.wait_anna(expected)

    # A name that is only spelled otherwise, from both sides.
    rename(odd.anna, b"plan", b"Plan")
    rename(odd.anna, b"dir", b"Dir")
    expected[b"Plan"], expected[b"Dir/in it"] = expected.pop(b"plan"), expected.pop(b"dir/in it")
    odd.wait_anna(expected)
    wait_for(lambda: (odd.ben.folder / "Plan").name in os.listdir(odd.ben.folder), SYNC_S, "it is not spelled so")
    rename(odd.ben, b"Plan", b"PLAN")
    expected[b"PLAN"] = expected.pop(b"Plan")
    odd.wait_anna(expected)

    # Edits on the odd disk, whatever the file is called there; some within one tick of its clock.
    for content in (b"a question", b"composed", b"in a directory", b"ends in a dot"):
        name = next(name for name, found in expected.items() if found == content)
        odd.ben_has(content).write_bytes(content + b", answered")
        expected[name] = content + b", answered"
    odd.wait_anna(expected)
    for number in range(4):
        expected[b"PLAN"] = b"plan %d" % number
        write(odd.ben, b"PLAN", expected[b"PLAN"])
        time.sleep(0.3)
    odd.wait_anna(expected)

    # Away for a while: an edit that neither size nor time tells of, and names that the disk takes for the same.
    odd.ben.stop()
    file = odd.ben.folder / "PLAN"
    before = file.stat()
    time.sleep(2.1)
    file.write_bytes(b"PLAN 3")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    write(odd.ben, b"Report", b"of ben")
    write(odd.anna, b"report", b"of anna")
    write(odd.anna, DECOMPOSED, b"decomposed")
    (odd.anna.folder / "what?").unlink()
    odd.ben.start()
    del expected[b"what?"]
    expected |= {b"PLAN": b"PLAN 3", b"Report": b"of ben", b"report": b"of anna", DECOMPOSED: b"decomposed"}
    odd.wait_anna(expected)
    odd.ben_has(b"decomposed").write_bytes(b"decomposed, by ben")
    odd.ben_has(b"of anna").unlink()
    del expected[b"report"]
    expected[DECOMPOSED] = b"decomposed, by ben"
    odd.wait_anna(expected)

    # Once more from the beginning: what stands there is nothing new to anybody.
    odd.ben.stop()
    odd.ben.start()
    odd.ben.ask("folder", "rescan", "Notes")
    odd.ben.wait_synced(SYNC_S)
    odd.anna.wait_synced(SYNC_S)
    odd.wait_anna(expected)
