"""Blocking. Reading the past out of a folder's changesets: which tree was it, and which versions did a path have.

A changeset is opened as it travelled; nothing of the past is kept a second time. What is asked about one path opens
only the changesets that tell of its nodes: `past` has every record by its node, `place` every place a node ever had.
All of it is `db_`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.engine.timeline import Seen, below, tree_of
from syncd.model.changesets import Changeset
from syncd.model.ids import NodeId, VersionId, version_id
from syncd.model.join import UNKNOWN, NodeState, Stamp, join_record
from syncd.model.paths import Path
from syncd.model.records import Record
from syncd.store import rows
from syncd.store.db import Transaction
from syncd.store.folder import FolderStore
from syncd.store.journal import QUARANTINED
from syncd.store.moments import count_from, counting_at, note_apart
from syncd.store.rows import ROOT_ROW

OPENED_AT_ONCE = 64
"""Changesets that are kept open while a question is answered; the largest take some megabytes each."""

Counts = Callable[[int], bool]
"""Whether a changeset (arrival number) belongs to the moment that is looked at."""


@dataclass(frozen=True, slots=True)
class Told:
    """One record about a node, and who published it when."""

    seq: int
    index: int
    device: DeviceId
    author: str
    time_ms: int
    record: Record

    @property
    def order(self) -> tuple[int, int]:
        return self.seq, self.index


class Past:
    """Answers about the past of one folder. Made for one question: it remembers what it has opened."""

    def __init__(self, store: FolderStore, opened_at_once: int = OPENED_AT_ONCE) -> None:
        self._store = store
        self._db = store.connection
        self._opened: dict[int, Changeset] = {}
        self._most_opened = opened_at_once

    # records -------------------------------------------------------------------------------------------------

    def open(self, seq: int) -> Changeset:
        """A changeset that is here. Raises EpochKeyMissing."""
        found = self._opened.get(seq)
        if found is None:
            if len(self._opened) >= self._most_opened:
                self._opened.pop(next(iter(self._opened)))
            found = self._opened[seq] = self._store.open_changeset_untrusted(*self._store.journal.sealed_body(seq))
        return found

    def told(self, nodes: Iterable[int]) -> dict[int, list[Told]]:
        """Every record that counts about some nodes (row numbers), in the order of arrival."""
        lines: list[tuple[int, int, int]] = []
        for part in rows.chunks(sorted(set(nodes))):
            lines += self._db.execute(f"SELECT cs, idx, node FROM past WHERE node IN ({rows.marks(part)})", part)
        found: dict[int, list[Told]] = {}
        for seq, index, node in sorted(lines):
            changeset = self.open(seq)
            record = changeset.records[index]
            one = Told(seq, index, changeset.device, changeset.author_name, changeset.time_ms, record)
            found.setdefault(node, []).append(one)
        return found

    def stamp(self, told: Told) -> Stamp:
        """Its rank among all records."""
        source = self._store.journal.sources[told.seq]
        version = version_id(source.hash, told.index)
        return Stamp(source.lamport, source.device, told.index, version, source.author_name)

    def version(self, told: Told) -> VersionId:
        return self._store.journal.sources.version(told.seq, told.index)

    # states --------------------------------------------------------------------------------------------------

    def states_of(self, nodes: Iterable[int], counts: Counts) -> dict[NodeId, NodeState]:
        """What was known of some nodes."""
        states: dict[NodeId, NodeState] = {}
        for told in self.told(nodes).values():
            for one in told:
                if counts(one.seq):
                    node = one.record.node
                    states[node] = join_record(states.get(node, UNKNOWN), one.record, self.stamp(one))
        return states

    def all_states(self, counts: Counts) -> dict[NodeId, NodeState]:
        """What was known of every node."""
        states: dict[NodeId, NodeState] = {}
        for (seq,) in self._db.execute("SELECT seq FROM changeset WHERE state<>? ORDER BY seq", (QUARANTINED,)):
            if not counts(seq):
                continue
            changeset = self.open(seq)
            for index, record in enumerate(changeset.records):
                told = Told(seq, index, changeset.device, changeset.author_name, changeset.time_ms, record)
                states[record.node] = join_record(states.get(record.node, UNKNOWN), record, self.stamp(told))
        return states

    # trees ---------------------------------------------------------------------------------------------------

    def counts_at(self, at_ms: int | None) -> Counts:
        """The changesets of a moment; None: all there are."""
        if at_ms is None:
            return lambda seq: True
        return counting_at(self._db, at_ms).__contains__

    def tree(self, counts: Counts, path: Path = (), *, above: bool = False) -> dict[Path, Seen]:
        """What stood at a path and in it, by its whole path; `above`: also the directories that lead there."""
        whole = tree_of(self.states_around(counts, path))
        found = below(whole, path)
        if above:
            found.update((path[:end], whole[path[:end]]) for end in range(1, len(path)) if path[:end] in whole)
        return found

    def tree_with(self, counts: Counts, nodes: Iterable[int]) -> dict[Path, Seen]:
        """What some nodes were, and the directories above them. A file whose name others had as well may stand under
        another one of its names here: those others are not looked at."""
        return tree_of(
            self.all_states(counts) if self._is_odd() else self.states_of(self._with_parents(set(nodes)), counts)
        )

    def states_around(self, counts: Counts, path: Path = ()) -> dict[NodeId, NodeState]:
        """What was known of the nodes that decide what stood at a path and in it, and of the directories above them."""
        if not path or self._is_odd():
            return self.all_states(counts)
        return self.states_of(self._with_parents(self._around(path, counts)), counts)

    def _with_parents(self, nodes: set[int]) -> set[int]:
        """These nodes and every directory in which one of them, or of those, ever was."""
        found, level = set(nodes), set(nodes)
        while level:
            above: set[int] = set()
            for part in rows.chunks(sorted(level)):
                marks = rows.marks(part)
                query = (
                    f"SELECT parent FROM node WHERE id IN ({marks}) AND parent IS NOT NULL "
                    f"UNION SELECT parent FROM place WHERE node IN ({marks})"
                )
                above.update(parent for (parent,) in self._db.execute(query, [*part, *part]))
            level = above - found
            found |= level
        return found

    def _is_odd(self) -> bool:
        """Some node stands elsewhere than its place says, so that no path can be followed name by name."""
        query = (
            "SELECT 1 FROM odd o JOIN node n ON n.id=o.node WHERE n.parent IS NULL AND n.id<>? "
            "AND (n.c_cs IS NOT NULL OR n.a_cs IS NOT NULL) "
            "UNION ALL SELECT 1 FROM odd o WHERE EXISTS (SELECT 1 FROM node c WHERE c.parent=o.node) "
            "OR EXISTS (SELECT 1 FROM place p WHERE p.parent=o.node) "
            "UNION ALL SELECT 1 FROM meta WHERE key='undone' LIMIT 1"
        )
        return self._db.execute(query, (ROOT_ROW,)).fetchone() is not None

    def _around(self, path: Path, counts: Counts) -> set[int]:
        """Nodes that decide what stood at a path and in it: who had these names then, and all that was ever below."""
        around: set[int] = set()
        level = {ROOT_ROW}
        for name in path:
            named = self._named(level, name)
            if not self._any_there(named, name, counts):
                named = self.children(level)  # a conflict copy has a name that no record gives
            around |= named
            level = named
        while level:
            level = self.children(level) - around
            around |= level
        return around

    def _any_there(self, nodes: set[int], name: bytes, counts: Counts) -> bool:
        states = self.states_of(nodes, counts)
        return any(state.place is not None and state.place.value.name == name for state in states.values())

    def _named(self, parents: Iterable[int], name: bytes) -> set[int]:
        """Nodes that ever had a name in some directories."""
        found: set[int] = set()
        for parent in parents:
            query = (
                "SELECT id FROM node WHERE parent=?1 AND name=?2 "
                "UNION SELECT node FROM place WHERE parent=?1 AND name=?2"
            )
            found.update(node for (node,) in self._db.execute(query, (parent, name)))
        return found

    def children(self, parents: Iterable[int]) -> set[int]:
        """Nodes that ever were in some directories."""
        found: set[int] = set()
        for part in rows.chunks(sorted(parents)):
            marks = rows.marks(part)
            query = (
                f"SELECT id FROM node WHERE parent IN ({marks}) UNION SELECT node FROM place WHERE parent IN ({marks})"
            )
            found.update(node for (node,) in self._db.execute(query, [*part, *part]))
        return found

    def ever_at(self, path: Path) -> set[int]:
        """Nodes that ever had a path, whatever the directories above were then."""
        level = {ROOT_ROW}
        for name in path:
            level = self._named(level, name)
        return level


def db_note_past(store: FolderStore) -> int:
    """Note the records of changesets that an older version of this program took in. How many changesets."""
    query = (
        "SELECT c.seq, c.state FROM changeset c WHERE NOT EXISTS (SELECT 1 FROM moment m WHERE m.seq=c.seq) "
        "ORDER BY c.seq"
    )
    missing = store.connection.execute(query).fetchall()
    for seq, state in missing:
        changeset = store.open_changeset_untrusted(*store.journal.sealed_body(seq))
        seen = [kept.seq for kept in store.named_by(changeset)]
        known = rows.read_nids(store.connection, [record.node for record in changeset.records])
        with Transaction(store.connection):
            note_apart(store.connection, seq, changeset.time_ms, seen)
            if state != QUARANTINED:
                count_from(store.connection, seq, changeset.time_ms)
                _note_records(store.connection, seq, changeset.records, {nid: row.id for nid, row in known.items()})
    return len(missing)


def _note_records(
    connection: sqlite3.Connection, seq: int, records: Sequence[Record], known: dict[NodeId, int]
) -> None:
    lines = [(known[record.node], seq, index) for index, record in enumerate(records) if record.node in known]
    connection.executemany("INSERT OR IGNORE INTO past VALUES (?,?,?)", lines)
