"""kill -9 while people move, overwrite and delete: at the end both have what the last edit of each thing says."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.helpers.computers import Computer, sharing_computers, wait_equal

pytestmark = pytest.mark.slowest

ROUNDS = 5
EDITS_A_ROUND = 12
FILE_BYTES = 400_000
SYNC_S = 60.0


class Person:
    """Edits a directory that nobody else edits, and remembers what it ought to be."""

    def __init__(self, computer: Computer, chance: random.Random) -> None:
        self.root = computer.folder / f"of {computer.name}"
        self.files: dict[str, bytes] = {}
        self.diary: list[str] = []
        self._chance = chance
        self._number = 0
        self.root.mkdir()

    def edit(self) -> None:
        """One edit of some kind."""
        kinds = [self._write, self._write, self._overwrite, self._append, self._rename, self._delete, self._move_room]
        try:
            self._chance.choice(kinds)()
        except FileNotFoundError as error:
            raise AssertionError(f"{error}: only {self.root.name} edits here:\n" + "\n".join(self.diary)) from error

    def note(self, what: str) -> None:
        self.diary.append(f"{time.strftime('%H:%M:%S')} {time.time() % 1:.3f} {what}")

    def _new_name(self) -> str:
        self._number += 1
        return f"room {self._chance.randrange(4)}/{self._number}"

    def _some_name(self) -> str:
        return self._chance.choice(sorted(self.files)) if self.files else self._write()

    def _write(self) -> str:
        name = self._new_name()
        self.files[name] = self._chance.randbytes(self._chance.randrange(FILE_BYTES))
        (self.root / name).parent.mkdir(exist_ok=True)
        (self.root / name).write_bytes(self.files[name])
        self.note(f"wrote {name}")
        return name

    def _overwrite(self) -> None:
        """As careful editors do: a new file takes the name."""
        name = self._some_name()
        self.files[name] = self._chance.randbytes(self._chance.randrange(FILE_BYTES))
        (self.root / "aside").write_bytes(self.files[name])
        (self.root / "aside").rename(self.root / name)
        self.note(f"overwrote {name}")

    def _append(self) -> None:
        name = self._some_name()
        more = self._chance.randbytes(1000)
        self.files[name] += more
        with (self.root / name).open("ab") as file:
            file.write(more)
        self.note(f"appended to {name}")

    def _rename(self) -> None:
        old, new = self._some_name(), self._new_name()
        self.files[new] = self.files.pop(old)
        (self.root / new).parent.mkdir(exist_ok=True)
        (self.root / old).rename(self.root / new)
        self.note(f"renamed {old} to {new}")

    def _delete(self) -> None:
        name = self._some_name()
        del self.files[name]
        (self.root / name).unlink()
        self.note(f"deleted {name}")

    def _move_room(self) -> None:
        """Rename a directory with all that is in it."""
        room = self._some_name().split("/")[0]
        self._number += 1
        other = f"moved {self._number}"
        (self.root / room).rename(self.root / other)
        self.note(f"renamed {room} to {other}")
        for name in [name for name in self.files if name.startswith(f"{room}/")]:
            self.files[other + name[len(room) :]] = self.files.pop(name)


def test_last_edit_of_everything_wins_whoever_was_killed(tmp_path: Path) -> None:
    chance = random.Random(os.environ.get("SEED", "15"))
    with sharing_computers(("anna", "ben"), tmp_path, "Work") as group:
        people = [Person(computer, chance) for computer in group]
        for _ in range(ROUNDS):
            for _ in range(EDITS_A_ROUND):
                chance.choice(people).edit()
                time.sleep(chance.uniform(0, 0.08))
            victim = chance.choice(group)
            victim.kill()
            for person in people:
                person.note(f"{victim.name} was killed")
            chance.choice(people).edit()
            victim.start()
        wait_equal([computer.folder for computer in group], SYNC_S)
        for computer in group:
            for person in people:
                demand_as_meant(computer, person)
        assert all(computer.ask("status")["folders"][0]["conflicts"] == 0 for computer in group)


def demand_as_meant(computer: Computer, person: Person) -> None:
    found, meant = contents_of(computer.folder / person.root.name), person.files
    strange = sorted(name for name in found.keys() | meant.keys() if found.get(name) != meant.get(name))
    story = "\n".join(person.diary)
    assert not strange, f"{computer.name}: {strange}; in {person.root.name}:\n{story}"


def contents_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
