"""Blocking. The rules of a folder on its disk, and what other rules would change."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import field

from ca.values import dataclass
from syncd.model.conditions import Facts
from syncd.model.ignores import SHARED_NAME, Ignores, parse_ignores
from syncd.seams import Tree
from syncd.store import rows
from syncd.store.folder import FolderStore
from syncd.store.joining import IGNORED, PENDING
from syncd.store.rows import DIR, FILE, ROOT_ROW
from syncd.store.survey import Survey
from syncd.treetypes import (
    ABSENT,
    ROOT,
    IsADirectory,
    Kind,
    LocallyChanged,
    NotAFile,
    Path,
    Stat,
    TooLarge,
    TreeError,
)

MAX_BYTES = 1 << 20
MAX_NAMED = 10


@dataclass(slots=True)
class Effect:
    """Files and bytes that rules would do something with, and some of their names."""

    files: int = 0
    size: int = 0
    paths: list[Path] = field(default_factory=list)

    def add(self, path: Path, size: int) -> None:
        self.files += 1
        self.size += size
        if len(self.paths) < MAX_NAMED:
            self.paths.append(path)


@dataclass(slots=True)
class Effects:
    """What rules would do. `leave`, `enter`: what stands on this disk. `not_fetched`, `fetch`: what others have."""

    leave: Effect = field(default_factory=Effect)
    enter: Effect = field(default_factory=Effect)
    not_fetched: Effect = field(default_factory=Effect)
    fetch: Effect = field(default_factory=Effect)


def read_rules(tree: Tree) -> Ignores:
    """The rules that all members share, and then this device's own.

    Raises TreeError where there are some and they cannot be read: what they leave out would be told to everybody."""
    own = parse_ignores(tree.read_ignore() or b"")
    (shared,) = tree.read_many([(SHARED_NAME,)], MAX_BYTES)
    if isinstance(shared, (*ABSENT, IsADirectory, NotAFile)):  # what is no file holds no rules
        return own
    if isinstance(shared, LocallyChanged) and shared.actual is not None and shared.actual.size > MAX_BYTES:
        raise TooLarge(f"{SHARED_NAME.decode()} is larger than 1 MiB", shared.path) from shared
    if isinstance(shared, TreeError):
        raise shared
    return parse_ignores(shared.content).and_own(own)


def db_rules_before(connection: sqlite3.Connection, rules: Ignores) -> Ignores | None:
    """The rules under which the whole folder was last looked at, if these are others by now. What went while they left
    it out was not deleted for others."""
    found = connection.execute("SELECT value FROM meta WHERE key='rules'").fetchone()
    return None if found is None or found[0] == _as_value(rules) else parse_ignores(found[0])


def db_note_rules(connection: sqlite3.Connection, rules: Ignores) -> None:
    """The whole folder was looked at under these, and what is missing was taken for gone or left out."""
    value = _as_value(rules)
    known = connection.execute("SELECT value FROM meta WHERE key='rules'").fetchone()
    if known is None or known[0] != value:  # what is known already need not be flushed to the disk each hour
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('rules', ?)", (value,))


def _as_value(rules: Ignores) -> bytes:
    return "\n".join(rules.lines).encode("utf-8", "surrogateescape")


def db_reconsider_elsewhere(connection: sqlite3.Connection) -> None:
    """What others have and rules had put aside is planned anew, and put aside again if they still match."""
    query = "UPDATE node SET pending=? WHERE pending=? AND pending<>0 AND l_kind=0"
    connection.execute(query, (PENDING, IGNORED))


def db_reconsider_here(connection: sqlite3.Connection, left_out: Collection[int], *, every_kind: bool) -> None:
    """The same for what stands here (files, or all of it), but for those that a walk has just found left out. Called
    after the walk: what it misses was left out until then."""
    kinds = "l_kind<>0" if every_kind else f"l_kind={FILE}"
    query = f"SELECT id FROM node WHERE pending={IGNORED} AND pending<>0 AND {kinds}"
    found = [(PENDING, node) for (node,) in connection.execute(query) if node not in left_out]
    connection.executemany("UPDATE node SET pending=? WHERE id=?", found)


def db_put_aside(connection: sqlite3.Connection, nodes: Sequence[int]) -> None:
    """Files that a rule leaves out as they are now: what others have in their place does not come here."""
    query = "UPDATE node SET pending=? WHERE id=? AND pending IN (0,?)"
    connection.executemany(query, [(IGNORED, node, PENDING) for node in nodes])


class Comparison:
    """What other rules would do, found out without doing it; in steps, as a disk may be large."""

    def __init__(self, store: FolderStore, before: Ignores, after: Ignores, now_ns: int) -> None:
        self._db = store.connection
        self._tree = store.tree
        self._survey = Survey(store.connection, store.journal.sources)
        self._was, self._will = before.at(now_ns), after.at(now_ns)
        self._stack: list[tuple[Path, int | None]] = [(ROOT, ROOT_ROW)]
        self._after: int | None = 0
        self.effects = Effects()

    def db_step(self, most: int) -> bool:
        """Look at about `most` more names; False when there are none."""
        seen = 0
        while self._stack and seen < most:
            seen += self._directory(*self._stack.pop())
        if seen == 0 and self._after is not None:
            self._after = self._elsewhere(self._after, most)
            return True
        return seen > 0

    def _directory(self, at: Path, row: int | None) -> int:
        """Everything in a directory on this disk."""
        try:
            listed = self._tree.list_dir(at)
        except TreeError:
            return 1  # what cannot be read is not synced either
        query = "SELECT l_name, id, l_kind FROM node WHERE l_parent=? AND l_kind<>0"
        known = {name: (node, kind) for name, node, kind in self._db.execute(query, (row,))}
        for name, stat in listed:
            node, kind = known.get(name, (None, None))
            if stat.kind is Kind.DIR:
                self._stack.append(((*at, name), node if kind == DIR else None))
            elif stat.kind in (Kind.FILE, Kind.SYMLINK):
                self._standing((*at, name), stat, has_entered=kind == FILE)
        return len(listed) + 1

    def _standing(self, path: Path, stat: Stat, *, has_entered: bool) -> None:
        facts = Facts(stat.size, stat.mtime_ns, has_entered) if stat.kind is Kind.FILE else None
        was, will = self._was(path, False, facts), self._will(path, False, facts)
        if was != will:
            (self.effects.leave if will else self.effects.enter).add(path, stat.size)

    def _elsewhere(self, after: int, most: int) -> int | None:
        """A page of what only others have; where the next one begins."""
        page = rows.read(self._db, "WHERE l_kind=0 AND kind IN (1,3) AND id>? ORDER BY id LIMIT ?", (after, most))
        for row in page:
            facts = Facts(row.size or 0, row.mtime) if row.kind == FILE else None
            path = self._survey.shared_path(row)
            was, will = self._was(path, False, facts), self._will(path, False, facts)
            if was != will:
                (self.effects.not_fetched if will else self.effects.fetch).add(path, row.size or 0)
        return page[-1].id if len(page) == most else None
