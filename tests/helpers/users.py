"""Pure. People at simulated computers who do one random thing after another, and the book of what may not be lost.

Everything a person writes is unlike anything written before. A content is *given up* when somebody overwrites or
deletes it who had it before his eyes; every other content must be somewhere in everybody's folder in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from syncd.treetypes import PRIVATE, Kind, Path, TreeError
from tests.helpers.simdisk import Node, SimDisk, UserFile

NAMES = (b"a", b"b.txt", b"c", b"d.md", "é".encode(), b"x y")
ODD_NAMES = (*NAMES, b"A", b"B.TXT", b"C", "e\u0301".encode(), b"what?", b"a:b", b"STRASSE", "straße".encode())
"""Some of them are one name, or no name, on some disks."""
DIRECTORIES = (b"one", b"two", b"three")
LARGE = 150_000
DAY_NS = 86_400 * 10**9


@dataclass(slots=True)
class Book:
    """Every content ever written, and those that somebody who had seen them gave up."""

    written: dict[bytes, str] = field(default_factory=dict)
    given_up: set[bytes] = field(default_factory=set)

    def new(self, who: str, chance: Random, *, large: bool = False) -> bytes:
        """A content that nobody has written before."""
        content = b"%d by %s " % (len(self.written), who.encode())
        if large:
            content += chance.randbytes(LARGE // 8) * 8
        self.written[content] = who
        return content

    def lost(self, disks: list[SimDisk], *, kept: Sequence[SimDisk] = ()) -> list[str]:
        """Contents that nobody gave up and that are missing in somebody's folder. Those that lie in `.syncd/old` of the
        disks `kept` do not count."""
        held = set[bytes]().union(*(superseded(disk) for disk in kept))
        missing = []
        for number, disk in enumerate(disks):
            there = {content.removeprefix(b"-> ") for content in disk.contents().values() if content is not None}
            for content, who in self.written.items():
                if content not in there and content not in self.given_up and content not in held:
                    missing.append(f"disk {number} lacks {content[:30]!r} by {who}")
        return missing


def superseded(disk: SimDisk) -> set[bytes]:
    """What lies in `.syncd/old`."""
    try:
        old = disk.directory((PRIVATE, b"old"))
    except TreeError:
        return set()
    return {bytes(node.data) or node.target for _, node in old.names.values()}


@dataclass(frozen=True, slots=True)
class HeldFile:
    """A file that a program holds open. `path` is where it was opened."""

    path: Path
    disk: SimDisk
    file: UserFile
    node: Node
    user: User

    def write_and_close(self) -> None:
        """Write a new content over all that is in it, wherever it is now."""
        book = self.user.book
        content = book.new(self.user.name, self.user.chance)
        padded = content.ljust(len(self.node.data), b".")
        book.written[padded] = book.written.pop(content)
        book.given_up.add(bytes(self.node.data))
        self.file.write(padded, 0)
        self.file.close()
        self.disk.flush()


class User:
    """One person. What they do is durable at once, as far as they can see to it."""

    def __init__(
        self,
        name: str,
        disk: SimDisk,
        book: Book,
        chance: Random,
        *,
        large: bool = True,
        names: tuple[bytes, ...] = NAMES,
    ) -> None:
        self.name, self.disk, self.book, self.chance = name, disk, book, chance
        self._names = names
        self._large = large
        self.log: list[str] = []
        self._acts: list[tuple[int, Callable[[], str | None]]] = [
            (8, self._create),
            (6, self._edit),
            (4, self._save),
            (4, self._delete),
            (4, self._rename),
            (3, self._make_directory),
            (3, self._move_directory),
            (2, self._delete_directory),
            (2, self._swap),
            (2, self._change_kind),
            (2, self._chmod),
            (1, self._chmod_directory),
            (2, self._utime),
            (2, self._symlink),
            (1, self._copy),
            (1, self._back_up_and_write),
        ]

    def act(self) -> None:
        """Do one thing that is possible just now."""
        while True:
            act = self.chance.choices([act for _, act in self._acts], [weight for weight, _ in self._acts])[0]
            before = len(self.book.written)
            try:
                done = act()
            except TreeError:  # somebody, perhaps syncd, was quicker; or the disk has no such names
                done = None
                self._never_written(list(self.book.written)[before:])
            if done is not None:
                self.log.append(f"{self.name}: {done}")
                self.disk.flush_names()
                return

    def _never_written(self, contents: list[bytes]) -> None:
        """Of what somebody just wanted to write, forget what did not come to the disk."""
        if contents:
            there = {content for content in self.disk.contents().values() if content is not None}
            for content in contents:
                if content not in there and b"-> " + content not in there:
                    del self.book.written[content]

    def overwrite(self, path: Path) -> bool:
        """Save another content into this very file, if it is there and is one."""
        try:
            node = self.disk.at(path)
        except TreeError:
            return False
        if node.kind is not Kind.FILE:
            return False
        self._give_up(path)
        self._write(path, content := self._content())
        self.log.append(f"{self.name}: overwrite {path} {content[:20]!r}")
        return True

    def turn_over(self) -> bool:
        """A directory comes out of one that it stands in, and that one goes into it; whether there is one."""
        pool = [path for path in self._directories() if len(path) > 1]
        inner = self._any(pool)
        if inner is None:
            return False
        outer = inner[: self.chance.randrange(1, len(inner))]
        free = [path for path in ((*outer[:-1], name) for name in (*DIRECTORIES, b"four")) if not self._is_there(path)]
        if not free or self._is_there((*inner, outer[-1])):
            return False
        out = self.chance.choice(free)
        try:
            self.disk.rename(inner, out)
            self.disk.rename(outer, (*out, outer[-1]))
        except TreeError:  # syncd was quicker
            return False
        self.log.append(f"{self.name}: turn over {outer} into {inner}, now {out}")
        self.disk.flush_names()
        return True

    def disguise(self) -> bool:
        """A file gets an ending that nobody knows, as one that was encrypted for ransom; whether there is one."""
        path = self._any([path for path in self._files() if b"." in path[-1] and not path[-1].endswith(b".locked")])
        if path is None or self._is_there(target := (*path[:-1], path[-1] + b".locked")):
            return False
        self.disk.rename(path, target)
        self.log.append(f"{self.name}: disguise {path}")
        self.disk.flush_names()
        return True

    def hold_open(self) -> HeldFile | None:
        """Open some file, as a program that will write into it later."""
        path = self._any(self._files())
        return None if path is None else HeldFile(path, self.disk, self.disk.open(path), self.disk.at(path), self)

    # what there is ---------------------------------------------------------------------------------------------------

    def _all(self, *kinds: Kind) -> list[Path]:
        return [path for path, node in self.disk.walk((), self.disk.root) if path[0] != PRIVATE and node.kind in kinds]

    def _files(self) -> list[Path]:
        return self._all(Kind.FILE)

    def _directories(self) -> list[Path]:
        return self._all(Kind.DIR)

    def _any(self, paths: list[Path]) -> Path | None:
        return self.chance.choice(paths) if paths else None

    def _somewhere(self, names: tuple[bytes, ...], *, free: bool = True) -> Path | None:
        for _ in range(8):
            path = (*self.chance.choice([(), (), *self._directories()]), self.chance.choice(names))
            if len(path) <= 5 and (not free or not self._is_there(path)):
                return path
        return None

    def _is_there(self, path: Path) -> bool:
        try:
            self.disk.at(path)
        except TreeError:
            return False
        return True

    def _content(self) -> bytes:
        return self.book.new(self.name, self.chance, large=self._large and self.chance.random() < 0.1)

    def _give_up(self, path: Path) -> None:
        """All that is at, or below, a path has been seen and is not wanted any more."""
        node = self.disk.at(path)
        if node.kind is Kind.DIR:
            for _, below in self.disk.walk(path, node):
                self.book.given_up.add(bytes(below.data) or below.target)
        else:
            self.book.given_up.add(bytes(node.data) or node.target)

    # acts: what was done, or None when it cannot be done now ---------------------------------------------------------

    def _write(self, path: Path, content: bytes) -> None:
        self.disk.write(path, content)
        self.disk.flush_file(path)

    def _create(self) -> str | None:
        path = self._somewhere(self._names)
        if path is None:
            return None
        self._write(path, content := self._content())
        return f"create {path} {content[:20]!r}"

    def _edit(self) -> str | None:
        path = self._any(self._files())
        if path is None:
            return None
        self._give_up(path)
        self._write(path, content := self._content())
        return f"edit {path} {content[:20]!r}"

    def _save(self) -> str | None:
        path = self._any(self._files())
        if path is None:
            return None
        self._give_up(path)
        self.disk.save(path, content := self._content())
        self.disk.flush_file(path)
        return f"save {path} {content[:20]!r}"

    def _delete(self) -> str | None:
        path = self._any(self._all(Kind.FILE, Kind.SYMLINK))
        if path is None:
            return None
        self._give_up(path)
        self.disk.delete(path)
        return f"delete {path}"

    def _rename(self) -> str | None:
        source = self._any(self._all(Kind.FILE, Kind.SYMLINK))
        target = self._somewhere(self._names, free=self.chance.random() < 0.7)
        if source is None or target is None or source == target:
            return None
        if self._is_there(target):
            if self.disk.at(target).kind is Kind.DIR:
                return None
            if self.disk.at(target) is not self.disk.at(source):  # else it is another spelling of one name
                self._give_up(target)
        self.disk.rename(source, target)
        return f"rename {source} to {target}"

    def _make_directory(self) -> str | None:
        path = self._somewhere(DIRECTORIES)
        if path is None:
            return None
        self.disk.mkdir(path)
        return f"mkdir {path}"

    def _move_directory(self) -> str | None:
        source, target = self._any(self._directories()), self._somewhere(DIRECTORIES)
        if source is None or target is None or target[: len(source)] == source:
            return None
        self.disk.rename(source, target)
        return f"move directory {source} to {target}"

    def _delete_directory(self) -> str | None:
        path = self._any(self._directories())
        if path is None:
            return None
        self._give_up(path)
        self.disk.delete(path)
        return f"delete directory {path}"

    def _swap(self) -> str | None:
        pool = self._files() if self.chance.random() < 0.6 else self._directories()
        one, other = self._any(pool), self._any(pool)
        if one is None or other is None or one[: len(other)] == other or other[: len(one)] == one:
            return None
        aside = (*one[:-1], b"aside")
        if self._is_there(aside):
            return None
        self.disk.rename(one, aside)
        self.disk.rename(other, one)
        self.disk.rename(aside, other)
        return f"swap {one} with {other}"

    def _change_kind(self) -> str | None:
        path = self._any(self._all(Kind.FILE, Kind.DIR, Kind.SYMLINK))
        if path is None:
            return None
        was = self.disk.at(path).kind
        self._give_up(path)
        self.disk.delete(path)
        if was is Kind.DIR:
            self._write(path, self._content())
        elif self.chance.random() < 0.5 and self.disk.personality.symlinks:
            self.disk.symlink(path, self.book.new(self.name, self.chance))
        else:
            self.disk.mkdir(path)
            self._write((*path, b"a"), self._content())
        return f"another kind at {path}, was {was.name}"

    def _chmod(self) -> str | None:
        path = self._any(self._files())
        if path is None:
            return None
        self.disk.chmod(path, mode := self.chance.choice([0o600, 0o644, 0o755]))
        self._rate(path, mode)
        return f"chmod {path} {mode:o}"

    def _rate(self, path: Path, mode: int) -> None:
        """With some modes goes an extended attribute, with others one is taken away."""
        self.disk.set_xattr(path, b"user.rating of " + self.name.encode(), None if mode % 0o10 else b"%o" % mode)

    def _chmod_directory(self) -> str | None:
        path = self._any(self._directories())
        if path is None:
            return None
        self.disk.chmod(path, mode := self.chance.choice([0o700, 0o750, 0o755]))
        self._rate(path, mode)
        return f"chmod {path} {mode:o}"

    def _utime(self) -> str | None:
        path = self._any(self._files())
        if path is None:
            return None
        self.disk.utime(path, 1_600_000_000 * 10**9 + self.chance.randrange(DAY_NS))
        return f"utime {path}"

    def _symlink(self) -> str | None:
        path = self._somewhere(self._names)
        if path is None or not self.disk.personality.symlinks:
            return None
        self.disk.symlink(path, target := self.book.new(self.name, self.chance))
        return f"symlink {path} {target!r}"

    def _copy(self) -> str | None:
        source, target = self._any(self._files()), self._somewhere(self._names)
        if source is None or target is None:
            return None
        self._write(target, self.disk.read(source))
        return f"copy {source} to {target}"

    def _back_up_and_write(self) -> str | None:
        path = self._any(self._files())
        if path is None or self._is_there((*path[:-1], b"backup~")):
            return None
        self.disk.rename(path, (*path[:-1], b"backup~"))
        self._write(path, content := self._content())
        return f"back up and write {path} {content[:20]!r}"
