"""Blocking. Restoring in rows: what a restore or undo would do, whether all of it is to be had, and doing it.

Nothing is touched before everything is known to be there: the right to publish, the space, every block here or asked
for from a peer first. Then one transaction holds the changesets and the note by which they can be undone; the ordinary
work of the folder carries them to this disk and to everybody else's. All of it is `db_`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from ca.values import dataclass
from syncd.engine.restore import Plan, hold_names, plan_restore, plan_undo
from syncd.engine.timeline import Change, Difference, Seen, Tree, difference, tree_of
from syncd.model.changesets import Changeset
from syncd.model.ids import NodeId
from syncd.model.join import UNKNOWN, NodeState, decide
from syncd.model.lists import BlockList, Entry
from syncd.model.paths import Path
from syncd.model.records import Content, ContentKind, Record
from syncd.store import blocks, rows
from syncd.store.contents import packed_entries, part_plain
from syncd.store.db import Transaction
from syncd.store.folder import FolderStore
from syncd.store.locating import Places
from syncd.store.past import Counts, Past

WAVE_S = 3600.0
"""A person who is asked by the brake may take so long to answer; only then the rest of a wave goes."""
DELETE = "delete"
"""A deed: many names were deleted at once."""
RESOLVE = "resolve"
"""A deed by which a person ended a conflict."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Which moment is meant: a time, or, exactly, everything this device knew before an arrival number."""

    at_ms: int | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of the folder: what stands at a path and in it, and of that only names that match."""

    path: Path = ()
    only: str | None = None
    keep_newer: bool = False
    """What is there now stays as it is; only what is missing comes back."""
    without: frozenset[Path] = frozenset()
    """Names that are left out: what stands there now stays."""
    names: frozenset[Path] | None = None
    """If there are any: these and no others."""

    def holds(self, path: Path, seen: Seen) -> bool:
        if path[: len(self.path)] != self.path or path in self.without:
            return False
        if self.names is not None:
            return path in self.names
        if self.only is None:
            return True
        inside = b"/".join(path[len(self.path) :] or path[-1:]).decode("utf-8", "surrogateescape")
        name = path[-1].decode("utf-8", "surrogateescape")
        return not seen.is_directory and (fnmatchcase(inside, self.only) or fnmatchcase(name, self.only))


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a restore would do. `lacking`: blocks and parts of lists that are nowhere on this disk."""

    differences: tuple[Difference, ...]
    records: int
    deletes: int
    size: int
    lacking: tuple[Entry, ...]
    parts: frozenset[bytes]
    """Cids of those of `lacking` that are parts of lists: more may be lacking once they are here."""


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that was done with the past, and can be undone."""

    id: str
    kind: str
    at: float
    first: int
    last: int
    about: str
    undone: str | None


def db_tree(store: FolderStore, moment: Moment, path: Path = ()) -> dict[Path, Seen]:
    """What stood at a path and in it. Raises EpochKeyMissing."""
    past = Past(store)
    return past.tree(_counts(past, moment), path)


WHOLE, DRAWN = 1_000, 60
"""Of a folder with no more nodes all is looked at, of a larger one so many nodes that are drawn by chance: a tree of a
million files takes a gigabyte."""
DRAWN_OPENED = 4
"""Changesets kept open while these are read, in the order in which they lie."""


def db_some_of_tree(store: FolderStore, moment: Moment, chances: Sequence[float]) -> dict[Path, Seen]:
    """Some of what stood in the folder, drawn by `chances` (0 to 1, `DRAWN` of them do), and the directories above it.
    Raises EpochKeyMissing."""
    (most,) = store.connection.execute("SELECT max(id) FROM node").fetchone()
    if most <= WHOLE:
        return db_tree(store, moment)
    past, query = Past(store, DRAWN_OPENED), "SELECT id FROM node WHERE id>? ORDER BY id LIMIT 1"
    drawn = (store.connection.execute(query, (int(chance * most),)).fetchone() for chance in chances)
    return past.tree_with(_counts(past, moment), [found[0] for found in drawn if found is not None])


def db_called_then(store: FolderStore, moment: Moment, path: Path) -> Path | None:
    """What that was called at a moment which stands at a path now, if nothing was called so then."""
    past = Past(store)
    counts, standing = _counts(past, moment), past.tree(lambda seq: True, path).get(path)
    row = None if standing is None else rows.read_nids(store.connection, [standing.node]).get(standing.node)
    if row is None or standing is None or past.tree(counts, path):
        return None
    then = past.tree_with(counts, [row.id])
    return next((name for name, seen in then.items() if seen.node == standing.node), None)


def _counts(past: Past, moment: Moment) -> Counts:
    before = moment.before
    if before is not None:
        return lambda seq: seq < before
    return past.counts_at(moment.at_ms)


def db_foresee(store: FolderStore, moment: Moment, part: Part) -> Foreseen:
    """What a restore of that part would do now."""
    plan, then, now = _plan(store, moment, part)
    lacking, parts = db_lacking(store, plan.contents)
    differences = difference(_inside(now, part), _inside(then, part))
    if part.keep_newer:
        differences = [one for one in differences if one.change is Change.ADDED]
    return Foreseen(tuple(differences), len(plan.records), plan.deletes, plan.size, lacking, parts)


def _inside(tree: Tree, part: Part) -> dict[Path, Seen]:
    return {path: seen for path, seen in tree.items() if part.holds(path, seen)}


def _plan(store: FolderStore, moment: Moment, part: Part) -> tuple[Plan, Tree, Tree]:
    past = Past(store)
    then = past.tree(_counts(past, moment), part.path, above=True)
    around = past.states_around(lambda seq: True, part.path)
    now = tree_of(around)

    def state_of(node: NodeId) -> NodeState:
        row = rows.read_nids(store.connection, [node]).get(node)
        return UNKNOWN if row is None else past.states_of([row.id], lambda seq: True).get(node, UNKNOWN)

    nodes = {seen.node for tree in (then, now) for seen in tree.values()}
    known = rows.read_nids(store.connection, sorted(nodes))
    states = past.states_of([row.id for row in known.values()], lambda seq: True)

    def scope(path: Path, seen: Seen) -> bool:
        return part.holds(path, seen) and not (part.keep_newer and path in now)

    plan = plan_restore(then, now, scope, lambda node: states[node] if node in states else state_of(node))
    known_now = around | {one.node: states[one.node] for one in plan.records if one.node in states}
    return hold_names(plan, now, known_now, scope), then, now


def db_restore(store: FolderStore, moment: Moment, part: Part, about: str, now: float) -> Deed | None:
    """Publish what brings a part back. None if it is already as it was then. Raises NoRight."""
    plan, _, _ = _plan(store, moment, part)
    return publish(store, plan.records, "restore", about, now)


def publish(
    store: FolderStore, records: Sequence[Record], kind: str, about: str, now: float, undoes: str | None = None
) -> Deed | None:
    """Publish something that a person may want to take back. Raises NoRight."""
    if not records:
        return None
    with Transaction(store.connection):
        first = store.journal.newest_seq() + 1
        store.journal.author(records, store.keyring, store.membership, int(now * 1000))
        last = store.journal.newest_seq()
        head, _ = store.journal.sealed_body(last)
        deed = Deed(head.changeset.hex()[:8], kind, now, first, last, about, None)
        store.connection.execute("DELETE FROM deed WHERE first BETWEEN ? AND ?", (first, last))  # its own deletions
        row = deed.id, kind, now, first, last, about.encode("utf-8", "surrogateescape")  # names need not be UTF-8
        store.connection.execute("INSERT INTO deed VALUES (?,?,?,?,?,?,NULL)", row)
        store.connection.execute("UPDATE deed SET undone=? WHERE id=?", (deed.id, undoes))
    return deed


# --- undo ------------------------------------------------------------------------------------------------------------


def db_deeds(store: FolderStore) -> list[Deed]:
    """What can be undone, the newest first."""
    found = store.connection.execute(
        "SELECT id, kind, at, first, last, CAST(about AS BLOB), undone FROM deed ORDER BY first DESC"
    )
    return [
        Deed(id_, kind, at, first, last, about.decode("utf-8", "surrogateescape"), undone)
        for id_, kind, at, first, last, about, undone in found
    ]


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo does. `changed`: how many names it leaves alone, because they were changed since."""

    records: int
    deletes: int
    size: int
    changed: int
    lacking: tuple[Entry, ...]
    parts: frozenset[bytes]
    deed: Deed | None = None


def db_foresee_undo(store: FolderStore, deed: Deed) -> Undone:
    """What taking a deed back would do now."""
    plan, changed = _plan_undo(store, deed)
    lacking, parts = db_lacking(store, plan.contents)
    return Undone(len(plan.records), plan.deletes, plan.size, len(changed), lacking, parts)


def db_undo(store: FolderStore, deed: Deed, now: float) -> Undone:
    """Take a deed back, as far as nobody has changed since what it did. Raises NoRight."""
    plan, changed = _plan_undo(store, deed)
    done = publish(store, plan.records, "undo", f"undo of {deed.id}", now, undoes=deed.id)
    return Undone(len(plan.records), plan.deletes, plan.size, len(changed), (), frozenset(), done)


def _plan_undo(store: FolderStore, deed: Deed) -> tuple[Plan, list[NodeId]]:
    if deed.kind == DELETE:
        deed = _whole_wave(store, deed)
    plan, changed, before = _plan_states(store, deed)
    if deed.kind == RESOLVE:
        return (plan if changed else _plan_unresolve(store, deed)), changed
    return _with_copies(store, deed, plan, before), changed


def _whole_wave(store: FolderStore, deed: Deed) -> Deed:
    """A wave of deletions with what of it went before it was one: names in directories that went with the wave, deleted
    right before it, soon before, and by the same author."""
    past, sources = Past(store), store.journal.sources
    author, first = sources[deed.first].device, deed.first
    gone = {record.node for seq in range(deed.first, deed.last + 1) for record in past.open(seq).records}

    def belongs(seq: int) -> bool:
        if seq < 1 or sources[seq].device != author:
            return False
        changeset = past.open(seq)
        is_soon = past.open(first).time_ms - changeset.time_ms <= WAVE_S * 1000
        return is_soon and all(_only_deletes(record) for record in changeset.records) and stood_in_them(changeset, seq)

    def stood_in_them(changeset: Changeset, seq: int) -> bool:
        nodes = [row.id for row in rows.read_nids(store.connection, [one.node for one in changeset.records]).values()]
        places = [state.place for state in past.states_of(nodes, lambda one: one < seq).values()]
        return all(place is not None and place.value.parent in gone for place in places)

    while belongs(first - 1):
        first -= 1
    return replace(deed, first=first)


def _only_deletes(record: Record) -> bool:
    return record.content is not None and record.content.kind is ContentKind.DELETED and record.place is None


def _plan_unresolve(store: FolderStore, deed: Deed) -> Plan:
    """The versions that a person did not choose come back, each under the name of a conflict copy that it had: two
    versions of one file cannot become concurrent once more."""
    moment, past = Moment(before=deed.first), Past(store)
    touched = {record.node for record in past.open(deed.first).records}
    then, now = past.tree(_counts(past, moment)), past.tree(lambda seq: True)
    stood = {path for path, seen in then.items() if seen.node in touched}
    free = {path for path in stood if path not in now or now[path].node in touched}
    return _plan(store, moment, Part(names=frozenset(free)))[0]


def _with_copies(store: FolderStore, deed: Deed, plan: Plan, before: Mapping[NodeId, NodeState | None]) -> Plan:
    """The same plan with what stood beside these nodes as conflict copies, each under the name that it had: a node by
    itself knows of one content to come back to. `before`: the nodes that nobody has changed since."""
    copied = {node for node, state in before.items() if state is not None and decide(state.heads).copies}
    if not copied:
        return plan
    moment, past = Moment(before=deed.first), Past(store)
    then, now = past.tree(_counts(past, moment)), past.tree(lambda seq: True)
    copies = {path for path, seen in then.items() if seen.copy is not None and seen.node in copied}
    # Where the deed itself has put one as a file of its own, that stays; what others have put there stays, too.
    lost = {path for path in copies if path not in now or (now[path].copy is None and now[path].node in before)}
    back = _plan(store, moment, Part(names=frozenset(lost)))[0]
    settled = {now[path].node for path in lost if path in now} | {record.node for record in back.records}
    records = [record for record in plan.records if record.node not in settled] + back.records
    deletes = sum(record.content is not None and record.content.is_deleted for record in records)
    return Plan(records, plan.contents + back.contents, deletes)


def _plan_states(store: FolderStore, deed: Deed) -> tuple[Plan, list[NodeId], dict[NodeId, NodeState | None]]:
    """How to take a deed back node by node, which were changed since, and what the others were before."""
    past = Past(store)
    touched = [record.node for seq in range(deed.first, deed.last + 1) for record in past.open(seq).records]
    nodes = [row.id for row in rows.read_nids(store.connection, touched).values()]
    before = past.states_of(nodes, lambda seq: seq < deed.first)
    done = past.states_of(nodes, lambda seq: seq <= deed.last)
    plan, changed = plan_undo(before, done, past.states_of(nodes, lambda seq: True))
    return plan, changed, {node: before.get(node) for node in done.keys() - set(changed)}


# --- what is here ----------------------------------------------------------------------------------------------------


def db_lacking(
    store: FolderStore, contents: Iterable[Content], gone: Container[int] = ()
) -> tuple[tuple[Entry, ...], frozenset[bytes]]:
    """Blocks of files, and parts of their lists, that are nowhere on this disk; and which of them are parts. `gone`:
    sources (`blocks.source_of`) that are known to hold no more what they held."""
    wanted: dict[bytes, Entry] = {}
    parts: dict[bytes, Entry] = {}
    for content in contents:
        if content.kind is not ContentKind.FILE:
            continue
        if content.is_index:
            missing = [entry for entry in content.list if part_plain(store.connection, entry.cid) is None]
            parts.update((entry.cid, entry) for entry in missing)
        for entry in BlockList(db_packed(store, content)):
            wanted[entry.pid] = entry
    places = blocks.by_pid(store.connection, [entry.pid for entry in wanted.values()])
    known = {pid for pid, found in places.items() if any(place.source not in gone for place in found)}
    lacking = [entry for pid, entry in wanted.items() if pid not in known]
    return (*parts.values(), *lacking), frozenset(parts)


def db_incomplete(store: FolderStore, tree: Tree, cids: Container[bytes]) -> list[Path]:
    """Names in a tree whose files need one of these blocks, or of these parts of lists."""
    found = []
    for path, seen in sorted(tree.items()):
        content = seen.content
        if content.kind is ContentKind.FILE:
            parts = [entry.cid for entry in content.list] if content.is_index else []
            needed = [*parts, *(entry.cid for entry in BlockList(db_packed(store, content)))]
            if any(cid in cids for cid in needed):
                found.append(path)
    return found


def db_packed(store: FolderStore, content: Content) -> bytes:
    """Packed entries of all blocks of a file; none if a part of its list is not here."""
    value = rows.value_of(content)
    return packed_entries(store.connection, value.kind, value.listed, value.blocks)


Placed = tuple[Entry, Places]
"""A block, and where on this disk it may lie."""


def db_places(store: FolderStore, packed: bytes) -> list[Placed]:
    """Every block of a file with the places on this disk where it may lie."""
    entries = list(BlockList(packed))
    found = blocks.by_pid(store.connection, {entry.pid for entry in entries})
    places = store.db_places(found)
    return [(entry, places.get(entry.pid, ())) for entry in entries]
