"""Blocking. A person at a real folder who does one random thing after another, and the book of what may not be lost.

Everything written is unlike anything before. A content is *given up* by whoever overwrites or deletes it, and what is
given up is read from the very file that goes: through the descriptor that then overwrites it, or after it was moved out
of the folder. So a version that syncd puts there in the last moment is never taken for one that was seen.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

NAMES = ("a", "b.txt", "c", "notes.md", "übung", "x y", "report.final")
DIRECTORIES = ("one", "two", "three", "four")
LARGE_BYTES = 400_000
DEEPEST = 4
PRIVATE = ".syncd"


@dataclass(slots=True)
class RealBook:
    """Contents ever written, and those that were given up."""

    written: set[bytes] = field(default_factory=set)
    given_up: set[bytes] = field(default_factory=set)
    acts: int = 0

    def new(self, chance: Random) -> bytes:
        content = b"%d " % len(self.written) + chance.randbytes(chance.choice([0, 8, 2_000, LARGE_BYTES]))
        self.written.add(content)
        return content

    def lost(self, folder: Path) -> list[bytes]:
        """The beginnings of contents that nobody gave up and that are not in a folder."""
        there = {path.read_bytes() for path in files_in(folder)}
        return sorted(content[:20] for content in self.written - self.given_up - there)


def files_in(folder: Path) -> list[Path]:
    """All regular files of a folder."""
    return [path for place, names in _walk(folder) for name in names if not (path := place / name).is_symlink()]


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    for place, directories, names in os.walk(folder):
        if PRIVATE in directories:
            directories.remove(PRIVATE)
        yield Path(place), names


class Person:
    """Works in one folder. `aside`: a directory outside of it on the same file system."""

    def __init__(self, folder: Path, aside: Path, book: RealBook, chance: Random) -> None:
        self._folder, self._aside, self._book, self._chance = folder, aside, book, chance
        aside.mkdir(parents=True, exist_ok=True)

    def act(self) -> None:
        """Do one thing. What is impossible just now, because syncd was quicker or the disk is full, is not done."""
        act = self._chance.choice(
            [self._create, self._create, self._edit, self._edit, self._save, self._delete, self._rename, self._move]
        )
        try:
            act()
        except OSError:  # gone, taken, full: people shrug and go on
            return
        self._book.acts += 1

    def _files(self) -> list[Path]:
        return files_in(self._folder)

    def _directories(self) -> list[Path]:
        found = [place for place, _ in _walk(self._folder)]
        return [path for path in found if len(path.relative_to(self._folder).parts) < DEEPEST]

    def _free(self, names: tuple[str, ...]) -> Path:
        return self._chance.choice(self._directories()) / self._chance.choice(names)

    def _write(self, path: Path) -> None:
        """A new file. Counts as written only once all of it is on the disk."""
        content = self._book.new(self._chance)
        try:
            with path.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            self._book.given_up.add(content)
            raise

    def _give_up(self, path: Path) -> None:
        """Take it out of the folder, then read what it was."""
        kept = self._aside / f"{self._book.acts}-{self._chance.random()}"
        path.rename(kept)
        self._book.given_up.add(kept.read_bytes())
        kept.unlink()

    def _create(self) -> None:
        if self._chance.random() < 0.3:
            self._free(DIRECTORIES).mkdir()
        else:
            self._write(self._free(NAMES))

    def _edit(self) -> None:
        path = self._chance.choice(self._files() or [self._folder / "a"])
        content = self._book.new(self._chance)
        try:
            with path.open("r+b") as file:
                self._book.given_up.add(file.read())
                file.seek(0)
                file.write(content)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            self._book.given_up.add(content)
            raise

    def _save(self) -> None:
        path = self._chance.choice(self._files() or [self._folder / "a"])
        self._give_up(path)
        self._write(path)

    def _delete(self) -> None:
        self._give_up(self._chance.choice(self._files() or [self._folder / "a"]))

    def _rename(self) -> None:
        source, target = self._chance.choice(self._files() or [self._folder / "a"]), self._free(NAMES)
        os.link(source, target)  # never over anything
        source.unlink()

    def _move(self) -> None:
        source, target = self._chance.choice(self._directories()), self._free(DIRECTORIES)
        if source != self._folder and not target.exists():
            source.rename(target)
