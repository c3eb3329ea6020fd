"""Blocking. The walk over a user's folder, one directory at a time together with its rows.

A `Walk` is stepped until it is through; every step looks at some thousand names and answers with what was found
(`Found`). The files among it are hashed elsewhere, without the database (`examine`), and committed by `store.publish`.
Names that are gone are collected and told only at the end; whether they were moved is found out by looking where their
inode is now.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from dataclasses import field, replace
from enum import Enum
from typing import Any

from ca.values import dataclass
from syncd.engine.detect import Known, compare, is_same_object
from syncd.model.conditions import Facts
from syncd.model.ids import ROOT_NODE, NodeId, new_node_id
from syncd.model.ignores import never_synced
from syncd.model.naming import disk_key, holds_any
from syncd.seams import Tree
from syncd.store import rows
from syncd.store.joining import Sources
from syncd.store.names import maybe_expected
from syncd.store.rows import DIR, FILE, ROOT_ROW, SYMLINK
from syncd.store.spelling import as_named
from syncd.store.standing import BY_INODE, KNOWN, facts_of, known_of, read_strays
from syncd.treetypes import (
    ABSENT,
    ROOT,
    Kind,
    NotThere,
    Path,
    Personality,
    Stat,
    TreeError,
)

GRANULARITY_NS = 10_000_000
"""Kernels stamp files with the time of their last tick: 4 ms at 250 Hz, 10 ms at 100 Hz."""


def tick_of(tree: Tree) -> int:
    """How far apart two changes of a file must be to be told by their times, in ns."""
    return max(GRANULARITY_NS, tree.personality().mtime_step_ns)


Ignored = Callable[[Path, bool, Facts | None], bool]
"""(path, is a directory, what is known of a file) -> not to be synced."""


class Action(Enum):
    """What has to be done about one name."""

    NEW = "new"
    CHANGED = "changed"
    TOUCHED = "touched"
    MOVED = "moved"


@dataclass(frozen=True, slots=True)
class Item:
    """One name that differs. `node`: the id it has, or will have if it is a new directory. `known`: its row, unless
    new. `before`: where something that was moved stood."""

    action: Action
    path: Path
    parent: NodeId
    stat: Stat
    known: Known | None = None
    node: NodeId | None = None
    before: Path | None = None

    @property
    def name(self) -> bytes:
        return self.path[-1]

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where it is to be looked at again if nothing came of it. At its old name, too: no look misses it there any
        more that has found it elsewhere, and what is gone from its new name meanwhile would stay in the rows."""
        return (self.path,) if self.before is None else (self.path, self.before)


@dataclass(frozen=True, slots=True)
class Gone:
    """A row whose name is not there any more. `is_left_out`: what it stands for is, under one that a rule leaves
    out; or nobody took it away, as the directory is an older state of the folder."""

    path: Path
    known: Known
    is_left_out: bool = False


@dataclass(frozen=True, slots=True)
class Trouble:
    """A name or directory that could not be looked at; `error` None: something that is never synced (a pipe, a
    socket)."""

    path: Path
    error: TreeError | None
    stat: Stat | None = None
    before: Path | None = None
    """Where it stood before, as of an `Item`."""


@dataclass(slots=True)
class Found:
    """What one step found."""

    items: list[Item] = field(default_factory=list)
    trouble: list[Trouble] = field(default_factory=list)
    left_out: list[int] = field(default_factory=list)
    """Rows of files that rules leave out as they are now."""
    seen: int = 0

    @property
    def is_empty(self) -> bool:
        """Nothing of it has to be told to anybody."""
        return not (self.items or self.trouble or self.left_out)


@dataclass(frozen=True, slots=True)
class Older:
    """The directory is an older state of the folder, or a copy (`store.older`). `unsure`: what of it was not compared
    with its rows when all was looked at; None until then. All else is an ordinary folder. `above`: what that is in."""

    unsure: frozenset[Path] | None = None
    above: frozenset[Path] = frozenset()

    @classmethod
    def only(cls, unsure: Collection[Path]) -> Older:
        return cls(frozenset(unsure), frozenset(path[:depth] for path in unsure for depth in range(len(path))))

    def holds(self, path: Path) -> bool:
        """Whether what is found there may be of another time than its row."""
        return self.unsure is None or any(path[:depth] in self.unsure for depth in range(len(path) + 1))

    def concerns(self, path: Path) -> bool:
        """Whether it does that of it, or of anything below."""
        return self.holds(path) or path in self.above


@dataclass(frozen=True, slots=True)
class _Directory:
    path: Path
    row: int | None  # None: a new directory, nothing below it is known
    nid: NodeId
    names: frozenset[bytes] | None  # only these
    deep: bool  # go down into known directories too


class Walk:
    """One pass over all of a folder, or over the names that a watch reported."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        sources: Sources,
        tree: Tree,
        ignored: Ignored,
        dirty: Mapping[Path, frozenset[bytes] | None] | None,
        deep: Collection[Path] = (),
        ignored_before: Ignored | None = None,
        older: Older | None = None,
    ) -> None:
        """`dirty` None: the whole folder. `deep`: directories to be looked at with everything in them.
        `ignored_before`: what rules left out that held when all was last looked at. `older`: where what stands here may
        be an older state."""
        self._db = connection
        self._sources = sources
        self._tree = tree
        self._tick_ns = tick_of(tree)
        self._disk = tree.personality()
        self._ignored = ignored
        self._ignored_before = ignored_before
        self._older = older
        self._stack: list[_Directory] = []
        self.gone: list[Gone] = []
        self._moved: set[int] = set()
        """Rows whose object was found elsewhere."""
        self._kept: set[int] = set()
        """Rows of directories in whose place another one was found that became theirs."""
        self._left_out: set[int] = set()
        """Inodes of files that rules leave out, as they are now."""
        self._directories_left_out: dict[int, Path] = {}
        """And of directories, with where they stand."""
        self.left_out: set[int] = set()
        """And their rows."""
        self._objects: dict[int, list[tuple[Any, ...]]] = {}
        """Rows by inode, as far as the directory that is being looked at has asked for them."""
        self._is_whole = dirty is None
        self.is_long = dirty is None or bool(deep)
        """Not only what a watch told is looked at: what is missed may have gone to where this look was already."""
        self.is_blind = False
        """Something could not be looked at: what was not met may be there."""
        self.unsure: set[Path] = set()
        """Where that is so and rows say that something stands."""
        self.doubled: list[Gone] = []
        """Rows at names at which other rows stand as well. There may be none: no look would ever miss them. They are
        said to be nowhere, so that what others have of them comes back, and nobody hears that anything was deleted."""
        self._refused: list[Trouble] = []
        """What could not be looked at on the way to something else, and was not told yet."""
        self._met: set[Path] | None = None if dirty is None else set()
        """New paths already found: a new directory is gone through whole, and events name what is in it as well."""
        if dirty is None:
            self._stack.append(_Directory(ROOT, ROOT_ROW, ROOT_NODE, None, deep=True))
        else:
            for path in sorted(dirty, reverse=True):
                self._start_at(path, dirty[path])
            for path in sorted(deep, reverse=True):
                self._start_at(path, None, deep=True)

    def step(self, most: int) -> Found | None:
        """Look at about `most` more names; None when the pass is through."""
        if self.is_through:
            return None
        found = Found()
        while self._stack and found.seen < most:
            self._directory(self._stack.pop(), found)
        found.trouble += self._refused
        self._refused.clear()
        self.is_blind |= any(trouble.error is not None for trouble in found.trouble)
        return found

    def also(self, names: Mapping[Path, frozenset[bytes] | None]) -> None:
        """Look at these as well: a watch told them meanwhile, and what was missed may stand there. Not at missed names
        nor below: until what is gone has been published, their rows do not say what stands there."""
        missed = {gone.path for gone in self.gone}
        self._met = set() if self._met is None else self._met
        for path in sorted(names, reverse=True):
            told = names[path]
            if any(path[:depth] in missed for depth in range(1, len(path) + 1)):
                continue
            self._start_at(path, told and frozenset(name for name in told if (*path, name) not in missed))

    @property
    def is_through(self) -> bool:
        """Whether everything was looked at, and told."""
        return not (self._stack or self._refused)

    @property
    def misses_nothing(self) -> bool:
        """Whether that is certain without another look at the rows: only names were looked at, and all were there."""
        return self.is_through and not (self.gone or self.doubled or self._is_whole)

    def missing(self) -> list[Gone]:
        """After the pass: rows that are gone and did not turn up elsewhere. What cannot be said of them is told by
        `refused`."""
        gone = [gone for gone in self.gone if gone.known.is_copy or gone.known.row not in self._moved]
        stands = self._standing([item.known for item in gone])
        missing = [self._judged(item) for item, one_stands in zip(gone, stands, strict=True) if not one_stands]
        missing += [gone for gone in self.doubled if gone.known.is_copy or gone.known.row not in self._moved]
        may_have_moved = self.is_blind and (self._older is None or self._older.unsure is not None)
        return missing + self._strays() if self._is_whole and not may_have_moved else missing

    def refused(self) -> list[Trouble]:
        """After `missing`: what the disk would not say."""
        refused, self._refused = self._refused, []
        return refused

    def _judged(self, gone: Gone) -> Gone:
        known = gone.known
        if self._older is not None and self._older.concerns(gone.path):
            return replace(gone, is_left_out=True)
        is_left_out = known.kind == FILE and known.ino in self._left_out
        is_left_out |= known.kind == DIR and self._is_renamed(known)
        if self._ignored_before is not None:  # nobody looked at it any more, so it may have gone then
            is_left_out |= self._ignored_before(gone.path, known.kind == DIR, facts_of(known))
        return replace(gone, is_left_out=True) if is_left_out else gone

    def _is_renamed(self, known: Known) -> bool:
        """Whether a directory that is gone stands under a name that rules leave out: by its inode, which another one
        may have by now, and by something in it that was there before: the object, or the name, under which programs
        save anew."""
        path = self._directories_left_out.get(known.ino)
        if path is None:
            return False
        query = "SELECT l_name, l_ino FROM node WHERE l_parent=? AND l_kind<>0"
        before = {one for name_and_inode in self._db.execute(query, (known.row,)) for one in name_and_inode}
        try:
            return any(name in before or stat.ino in before for name, stat in self._tree.list_dir(path))
        except TreeError:
            return True  # it cannot be looked at: nothing is deleted for that

    def _strays(self) -> list[Gone]:
        """Rows whose directory is none on this disk any more, so that no walk comes to them: where all was looked at
        and they did not turn up, they are gone with it."""
        told = {(gone.known.is_copy, gone.known.row) for gone in self.gone}
        strays = [known for known in read_strays(self._db) if known.is_copy or known.row not in self._moved]
        is_older = self._older is not None  # their path is not known
        gone = [Gone((known.name,), known, is_older) for known in strays if (known.is_copy, known.row) not in told]
        return [self._judged(one) for one in gone]

    def _standing(self, missed: Sequence[Known]) -> list[bool]:
        """Which of them are where their rows say after all: they were missed in another directory, or put there
        meanwhile. So they are, too, where the disk does not say: that is asked again."""
        names: dict[int | None, list[bytes]] = {}
        for known in missed:
            names.setdefault(known.parent, []).append(known.name)
        found: dict[tuple[int | None, bytes], Stat | None] = {}
        refused: set[tuple[int | None, bytes]] = set()
        for parent, missed_here in names.items():
            directory = self._directory_path(parent)
            if directory is None:
                continue
            for name, stat in zip(missed_here, self._stats(directory, missed_here), strict=True):
                if not isinstance(stat, TreeError):
                    found[parent, name] = stat
                elif not isinstance(stat, ABSENT):
                    refused.add((parent, name))
                    self._refused.append(Trouble((*directory, name), stat))
                    self.unsure.add((*directory, name))
                    self.is_blind = True
        return [self._stands(known, found.get((known.parent, known.name)), refused) for known in missed]

    @staticmethod
    def _stands(known: Known, found: Stat | None, refused: Container[tuple[int | None, bytes]]) -> bool:
        if (known.parent, known.name) in refused:
            return True
        return found is not None and (found.ino, int(found.kind)) == (known.ino, known.kind)

    def _stats(self, directory: Path, names: Sequence[bytes]) -> Sequence[Stat | TreeError]:
        try:
            return self._tree.stat_many(directory, names)
        except TreeError as error:
            return [error] * len(names)

    def _directory_path(self, row: int | None) -> Path | None:
        path = self._disk_path(row, b"")
        return None if path is None else path[:-1]

    def _start_at(self, path: Path, names: frozenset[bytes] | None, *, deep: bool = False) -> None:
        """Begin at the deepest directory on the way to `path` that has a row, and stands where that says; below it
        everything is new, or has come from elsewhere. What is syncd's own, of another folder that lies inside of this
        one or was copied into it, is looked at by nobody."""
        if never_synced(path):
            return
        if names is not None:
            names = frozenset(name for name in names if not never_synced((name,)))
        row, nid = ROOT_ROW, ROOT_NODE
        for depth, name in enumerate(path):
            found = self._db.execute(
                "SELECT id, nid, l_ino FROM node WHERE l_parent=? AND l_name=? AND l_kind=2 AND l_kind<>0", (row, name)
            ).fetchone()
            try:
                is_there = found is not None and self._is_directory(path[: depth + 1], found[2])
            except TreeError as error:  # nobody knows what stands there: it is looked at again, with all that is in it
                self._refused.append(Trouble(path[: depth + 1], error))
                return
            if not is_there:
                self._stack.append(_Directory(path[:depth], row, nid, frozenset((name,)), deep=False))
                return
            row, nid = found[:2]
        self._stack.append(_Directory(path, row, nid, names, deep=deep))

    def _is_directory(self, path: Path, ino: int | None) -> bool:
        """Whether the directory of that inode stands there. Raises TreeError if the disk does not say."""
        found = self._maybe_stat(path)
        return found is not None and found.kind is Kind.DIR and found.ino == ino

    def _maybe_stat(self, path: Path) -> Stat | None:
        """What stands there; None for nothing. Raises TreeError if the disk does not say."""
        try:
            return self._tree.stat(path)
        except ABSENT:
            return None

    def _directory(self, at: _Directory, found: Found) -> None:
        self._objects = {}
        try:
            listed = self._list(at)
        except ABSENT:
            found.seen += 1
            if at.row is not None and at.path:
                # Gone with everything in it: the directory above is looked at, where that will be seen. Which row that
                # has is asked anew, as the one of this directory may have been given up meanwhile.
                self._start_at(at.path[:-1], frozenset(at.path[-1:]))
            return
        except TreeError as error:
            found.seen += 1
            found.trouble.append(Trouble(at.path, error))
            if at.row is not None:
                self.unsure.add(at.path)
            return
        known = {} if at.row is None else self._one_by_name(at, self._known(at.row, at.names), listed)
        if self._disk.normalising:
            listed = as_known(listed, known, self._disk)
        listed, known = self._without_left_out(at.path, listed, known, found)
        found.seen += len(listed) + 1
        differences = compare(listed, known, self._tick_ns)
        for name, stat in differences.skipped:
            found.trouble.append(Trouble((*at.path, name), None, stat))
            if name in known and stat.kind is Kind.BROKEN:
                self.unsure.add((*at.path, name))
        for name, stat, was in differences.changed:
            found.items.append(Item(Action.CHANGED, (*at.path, name), at.nid, stat, was))
        inodes = {stat.ino for _, stat in listed}
        others = {name for name, stat, was in differences.touched if self._is_another_directory(stat, was, inodes)}
        for name, stat, was in differences.touched:
            if name not in others:
                found.items.append(Item(Action.TOUCHED, (*at.path, name), at.nid, stat, was))
                if stat.kind is Kind.DIR and stat.ino != was.ino:  # in its place, but not what it was
                    self._kept.add(was.row)
                if stat.kind is Kind.DIR and stat.ino != was.ino and not at.deep:
                    self._stack.append(_Directory((*at.path, name), was.row, self._nid(was.row), None, deep=True))
                continue
            self.gone.append(Gone((*at.path, name), was))
            self._new((*at.path, name), stat, at, found)
        for name, was in differences.gone:
            self.gone.append(Gone((*at.path, name), was))
        self._read_objects([stat for _, stat in differences.new])
        for name, stat in differences.new:
            self._new((*at.path, name), stat, at, found)
        if at.deep:
            for name, was in differences.directories:
                if name not in others:
                    self._stack.append(_Directory((*at.path, name), was.row, self._nid(was.row), None, deep=True))

    def _without_left_out(
        self, path: Path, listed: list[tuple[bytes, Stat]], known: dict[bytes, Known], found: Found
    ) -> tuple[list[tuple[bytes, Stat]], dict[bytes, Known]]:
        """What rules say something about: a name that they leave out now is not there, and not missing either."""
        if self._ignored is never_synced and not never_synced((*path, *known, *[name for name, _ in listed])):
            return listed, known
        stays, left_out = [], set()
        for name, stat in listed:
            was = known.get(name)
            if not self._is_left_out((*path, name), stat, was):
                stays.append((name, stat))
                continue
            left_out.add(name)
            if stat.kind is Kind.FILE:
                self._left_out.add(stat.ino)
            elif stat.kind is Kind.DIR:
                self._directories_left_out[stat.ino] = (*path, name)
            if was is not None and not was.is_copy and was.kind == FILE:
                found.left_out.append(was.row)
                self.left_out.add(was.row)
        return stays, {
            name: was
            for name, was in known.items()
            if name not in left_out and not self._ignored((*path, name), was.kind == DIR, facts_of(was))
        }

    def _is_left_out(self, path: Path, stat: Stat, was: Known | None) -> bool:
        if stat.kind is not Kind.FILE:
            return self._ignored(path, stat.kind is Kind.DIR, None)
        facts = Facts(stat.size, stat.mtime_ns, was is not None and was.kind == FILE)
        if not self._ignored(path, False, facts):
            return False
        # What has another name now has entered as well.
        is_known = not facts.has_entered and self._db.execute(BY_INODE, (stat.ino,)).fetchone() is not None
        return not is_known or self._ignored(path, False, facts._replace(has_entered=True))

    def _is_another_directory(self, stat: Stat, was: Known, inodes: Container[int]) -> bool:
        """A directory that has a row of its own was moved to the name of another; or that other one is known to stand
        elsewhere, maybe at one of the names next to it (`inodes`)."""
        if stat.kind is not Kind.DIR or stat.ino == was.ino or was.row in self._kept or self._older:
            return False
        if was.row in self._moved or was.ino in inodes:
            return True
        query = "SELECT 1 FROM node WHERE l_ino=? AND l_kind=? AND l_kind<>0 AND id<>?"
        return self._db.execute(query, (stat.ino, DIR, was.row)).fetchone() is not None

    def _list(self, at: _Directory) -> list[tuple[bytes, Stat]]:
        if at.names is None:
            return self._tree.list_dir(at.path)
        if not holds_any(self._disk):  # what is asked for by one name may stand there under another
            keys = {disk_key(name, self._disk) for name in at.names}
            return [item for item in self._tree.list_dir(at.path) if disk_key(item[0], self._disk) in keys]
        names = sorted(at.names)
        listed = []
        for name, stat in zip(names, self._tree.stat_many(at.path, names), strict=True):
            if isinstance(stat, NotThere):
                continue
            if isinstance(stat, TreeError):
                raise stat
            listed.append((name, stat))
        return listed

    def _one_by_name(
        self, at: _Directory, every: Sequence[Known], listed: Sequence[tuple[bytes, Stat]]
    ) -> dict[bytes, Known]:
        """Of several rows at a name, the one that has the object that stands there; if none has it, none of them."""
        known = {one.name: one for one in every}
        if len(known) == len(every):
            return known
        times = Counter(one.name for one in every)
        objects = {name: (stat.ino, int(stat.kind)) for name, stat in listed}
        right = {one.name: one for one in every if objects.get(one.name) == (one.ino, one.kind)}
        known = {name: one for name, one in (known | right).items() if times[name] == 1 or name in right}
        self.doubled += [
            Gone((*at.path, one.name), one, True)
            for one in every
            if times[one.name] > 1 and known.get(one.name) is not one
        ]
        return known

    def _known(self, row: int, names: frozenset[bytes] | None) -> list[Known]:
        query = (
            f"SELECT id, 0, {KNOWN} FROM node WHERE l_parent=?1 AND l_kind<>0 "
            f"UNION ALL SELECT id, 1, {KNOWN} FROM copy WHERE l_parent=?1"
        )
        if names is None or not holds_any(self._disk):
            every = [known_of(line) for line in self._db.execute(query, (row,))]
            if names is None:
                return every
            keys = {disk_key(name, self._disk) for name in names}
            return [one for one in every if disk_key(one.name, self._disk) in keys]
        # A large directory in which a few names changed is not read whole.
        known: list[Known] = []
        for part in rows.chunks(sorted(names)):
            marks = ",".join(f"?{number}" for number in range(2, len(part) + 2))
            query = (
                f"SELECT id, 0, {KNOWN} FROM node WHERE l_parent=?1 AND l_name IN ({marks}) AND l_kind<>0 "
                f"UNION ALL SELECT id, 1, {KNOWN} FROM copy WHERE l_parent=?1 AND l_name IN ({marks})"
            )
            known += [known_of(line) for line in self._db.execute(query, (row, *part))]
        return known

    def _nid(self, row: int) -> NodeId:
        (nid,) = self._db.execute("SELECT nid FROM node WHERE id=?", (row,)).fetchone()
        return NodeId(nid)

    def _new(self, path: Path, stat: Stat, at: _Directory, found: Found) -> None:
        if self._met is not None:
            if path in self._met:
                return
            self._met.add(path)
        try:
            moved = self._moved_from(stat, path)
        except TreeError as error:  # whether its old name still stands: until that is known, neither is told
            self._refused.append(Trouble(path, error))
            return
        if moved is not None:
            row, nid, known, before = moved
            self._moved.add(row)
            if self._met is not None and before is not None:
                # Something else may have the old name by now: two names were swapped.
                self._start_at(before[:-1], frozenset(before[-1:]))
            found.items.append(Item(Action.MOVED, path, at.nid, stat, known, nid, before))
            if stat.kind is Kind.DIR:
                self._stack.append(_Directory(path, row, nid, None, deep=True))
            return
        node = None
        if stat.kind is Kind.DIR:
            row_or_none, node = self._directory_id(at, path[-1])
            self._stack.append(_Directory(path, row_or_none, node, None, deep=True))
        found.items.append(Item(Action.NEW, path, at.nid, stat, None, node))

    def _read_objects(self, stats: Sequence[Stat]) -> None:
        """Find, for all that is new in a directory, the rows that have its inodes."""
        self._objects = {stat.ino: [] for stat in stats}
        for part in rows.chunks(list(self._objects)):
            query = (
                "SELECT id, nid, l_parent, l_name, l_kind, l_ino, l_size, l_mtime, l_ctime, l_mode, l_seen FROM node "
                f"WHERE l_ino IN ({rows.marks(part)}) AND l_kind<>0"
            )
            for row in self._db.execute(query, part):
                self._objects[row[5]].append(row)

    def _moved_from(self, stat: Stat, path: Path) -> tuple[int, NodeId, Known, Path | None] | None:
        """The row whose object this is at `path`, if it does not stand where that says any more; and where that is.
        Raises TreeError if the disk does not say."""
        if self._older is not None and self._older.unsure is None:  # others have these inodes there
            return None
        if stat.ino not in self._objects:
            self._read_objects([stat])
        for row, nid, *rest in self._objects[stat.ino]:
            if rest[2] != stat.kind:
                continue
            known = Known(row, False, *rest)
            if row in self._moved or row in self._kept or not is_same_object(stat, known):
                continue
            before = self._disk_path(known.parent, known.name)
            if self._older is not None and (before is None or self._older.concerns(before)):
                continue
            if before is None or self._is_respelled(before, path):
                return row, NodeId(nid), known, before
            try:
                has_gone = not self._still_there(before, stat)
            except TreeError:
                self._moved.add(row)
                raise
            if has_gone:
                return row, NodeId(nid), known, before
        return None

    def _is_respelled(self, before: Path, path: Path) -> bool:
        """Whether only the spelling of a name changed, on a disk that finds it by either."""
        if before == path or before[:-1] != path[:-1] or holds_any(self._disk):
            return False
        return disk_key(before[-1], self._disk) == disk_key(path[-1], self._disk)

    def _still_there(self, path: Path, stat: Stat) -> bool:
        """Whether the old name did not go away. A file that has another's place there is the next version of the node,
        as when an editor renames the old one to keep it."""
        found = self._maybe_stat(path)
        if found is None:
            return False
        return found.kind == stat.kind if stat.kind is not Kind.DIR else found.ino == stat.ino

    def _disk_path(self, parent: int | None, name: bytes) -> Path | None:
        """Where rows say that it stands; None where they do not say it, or that it stands in itself."""
        parts, passed = [name], set()
        while parent != ROOT_ROW:
            row = self._db.execute("SELECT l_parent, l_name FROM node WHERE id=? AND l_kind=2", (parent,)).fetchone()
            if row is None or row[0] is None or not row[0] or parent in passed:
                return None
            passed.add(parent)
            parts.append(row[1])
            parent = row[0]
        return tuple(reversed(parts))

    def _directory_id(self, at: _Directory, name: bytes) -> tuple[int | None, NodeId]:
        """Row and id of a directory that appeared: that of a directory Global expects here, else a new id."""
        if at.row is not None:
            expected = maybe_expected(self._db, self._sources, at.row, name, DIR)
            if expected is not None:
                return expected.row.id, expected.row.nid
        nid = fresh_node_id(self._db, self._sources, at.nid, at.row, name)
        known = rows.read_nids(self._db, [nid]).get(nid)
        return (None if known is None else known.id), nid


def as_known(
    listed: Sequence[tuple[bytes, Stat]], known: Mapping[bytes, Known], disk: Personality
) -> list[tuple[bytes, Stat]]:
    """What a disk lists that changes the Unicode form of names, under the names by which the rows know it."""
    missing = known.keys() - {name for name, _ in listed}
    return [(name if name in known else as_named(name, missing, disk), stat) for name, stat in listed]


def fresh_node_id(
    connection: sqlite3.Connection, sources: Sources, parent: NodeId, parent_row: int | None, name: bytes
) -> NodeId:
    """The id of something that appears at a path: from the parent, the name, and what last left that path."""
    left = None
    if parent_row is not None:
        departed = connection.execute(
            "SELECT cs, idx FROM departed WHERE parent=? AND name=?", (parent_row, name)
        ).fetchone()
        if departed is not None:
            left = sources.version(*departed)
    while True:
        nid = new_node_id(parent, name, left)
        taken = rows.read_nids(connection, [nid]).get(nid)
        if taken is None or not taken.on_disk or taken.p_cs is None or taken.p_idx is None:
            return nid
        # The node that had this id stands elsewhere on this disk and Global does not know yet: go on from its place.
        version = sources.version(taken.p_cs, taken.p_idx)
        if version == left:
            version = sources.version(taken.c_cs or taken.p_cs, taken.c_idx or 0)
        left = version


def disk_rows(connection: sqlite3.Connection) -> tuple[int, int]:
    """(files and links, bytes) that stand on this disk according to the rows."""
    count, size = connection.execute(
        "SELECT count(*), coalesce(sum(l_size),0) FROM node WHERE l_kind IN (?,?)", (FILE, SYMLINK)
    ).fetchone()
    return int(count), int(size)


def below(connection: sqlite3.Connection, directories: Sequence[int]) -> tuple[list[int], list[int]]:
    """Conflict copies and nodes that stand on the disk inside some directories, deepest last."""
    copies: list[int] = []
    nodes: list[int] = []
    level, passed = list(directories), set(directories)
    while level:
        children: list[int] = []
        for part in rows.chunks(level):
            query = f"SELECT id, l_kind FROM node WHERE l_parent IN ({rows.marks(part)}) AND l_kind<>0"
            for row, kind in connection.execute(query, part):
                nodes.append(row)
                if kind == DIR and row not in passed:
                    passed.add(row)
                    children.append(row)
            query = f"SELECT id FROM copy WHERE l_parent IN ({rows.marks(part)})"
            copies += [copy for (copy,) in connection.execute(query, part)]
        level = children
    return copies, nodes
