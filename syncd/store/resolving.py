"""Blocking. Ending a conflict: one record that replaces all versions of a file by the one that a person chose, or names
of their own for all. (`db_`)"""

from __future__ import annotations

from dataclasses import field

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.errors import SyncdError
from syncd.model.ids import VersionId
from syncd.model.records import MAX_REPLACES, Record
from syncd.store import rows
from syncd.store.folder import FolderStore
from syncd.store.joining import HeadRow, read_heads
from syncd.store.prepare import standing_copy
from syncd.store.restoring import RESOLVE, Deed, publish
from syncd.store.rows import DELETED, NodeRow
from syncd.store.survey import Survey
from syncd.treetypes import NameTaken, Path


class NoConflict(SyncdError):
    """There is nothing to resolve at a path."""


@dataclass(slots=True)
class Resolved:
    """What became of a conflict."""

    path: Path
    by: DeviceId | None
    """Whose version counts now; None if all were kept."""
    versions: int
    look_again: list[Path] = field(default_factory=list)
    deed: Deed | None = None
    """What takes it back; nothing has to be where all were kept."""


def db_resolve(store: FolderStore, path: Path, keep: str, now_ms: int) -> Resolved:
    """`keep`: mine, theirs, newest or both. `path` is that of the file or of one of its conflict copies: then `mine`
    and `theirs` aside, `this` keeps what stands there."""
    row, this = conflict_at(store, path)
    heads = [head for head in read_heads(store.connection, row) if head.kind != DELETED]
    where = Survey(store.connection, store.journal.sources).path(row.l_parent, row.l_name) or path
    if len(heads) < 2:
        raise NoConflict(f"there is one version only of {b'/'.join(path).decode('utf-8', 'backslashreplace')}")
    if keep == "both":
        return Resolved(where, None, len(heads), _keep_all(store, row))
    chosen = _choose(store, heads, keep, this or (row.c_cs or 0, row.c_idx or 0))
    content = store.db_records(chosen.cs)[chosen.idx].content
    replaced = sorted(VersionId(store.journal.sources.version(head.cs, head.idx)) for head in heads)
    record = Record(row.nid, content, tuple(replaced[:MAX_REPLACES]))  # of more the rest is a conflict still
    deed = publish(store, [record], RESOLVE, b"/".join(where).decode("utf-8", "surrogateescape"), now_ms / 1000)
    return Resolved(where, store.journal.sources[chosen.cs].device, len(heads), deed=deed)


def conflict_at(store: FolderStore, path: Path) -> tuple[NodeRow, tuple[int, int] | None]:
    """The node whose file, or conflict copy, stands at a path; and the version that this is, if a copy.

    Raises NoConflict where nothing is known.
    """
    at, row = rows.ROOT_ROW, None
    for name in path[:-1]:
        found = rows.read(store.connection, "WHERE l_parent=? AND l_name=? AND l_kind=2", (at, name))
        if not found:
            raise NoConflict("nothing of that name is known")
        at = found[0].id
    copy = store.connection.execute(
        "SELECT node, cs, idx FROM copy WHERE l_parent=? AND l_name=?", (at, path[-1])
    ).fetchone()
    if copy is not None:
        return rows.read_ids(store.connection, [copy[0]])[copy[0]], (copy[1], copy[2])
    found = rows.read(store.connection, "WHERE l_parent=? AND l_name=? AND l_kind<>0", (at, path[-1]))
    row = found[0] if found else None
    if row is None:
        raise NoConflict("nothing of that name is known")
    return row, None


def _choose(store: FolderStore, heads: list[HeadRow], keep: str, this: tuple[int, int]) -> HeadRow:
    sources = store.journal.sources
    if keep == "this":
        return next((head for head in heads if (head.cs, head.idx) == this), heads[0])
    own = [head for head in heads if sources[head.cs].device == store.journal.device]
    candidates = {"mine": own, "theirs": [head for head in heads if head not in own]}.get(keep, heads)
    if not candidates:
        what = "no version is yours" if keep == "mine" else "every version is yours"
        raise NoConflict(what, why="The versions are by others." if keep == "mine" else "All were written here.")

    def age(head: HeadRow) -> tuple[int, tuple[int, bytes, int, bytes]]:
        (time_ms,) = store.connection.execute("SELECT time_ms FROM changeset WHERE seq=?", (head.cs,)).fetchone()
        return time_ms, sources.stamp(head.cs, head.idx)

    return max(candidates, key=age)


def _keep_all(store: FolderStore, row: NodeRow) -> list[Path]:
    """Every copy gets a name without the mark of a conflict, as if a person had renamed it."""
    survey = Survey(store.connection, store.journal.sources)
    looked: list[Path] = []
    query = "SELECT id, cs FROM copy WHERE node=?"
    for copy, cs in store.connection.execute(query, (row.id,)).fetchall():
        standing = standing_copy(store.connection, copy)
        path = None if standing is None else survey.path(standing[0], standing[1])
        if standing is None or path is None:
            continue
        target = _move_to_free_name(store, path, row.l_name or path[-1], store.journal.sources[cs].author_name)
        looked += [path, target]
    return looked


def _move_to_free_name(store: FolderStore, path: Path, name: bytes, author: str) -> Path:
    stem, dot, ending = name.rpartition(b".") if b"." in name.lstrip(b".") else (name, b"", b"")
    for number in range(1, 1000):
        suffix = f" ({author})" if number == 1 else f" ({author} {number})"
        target = (*path[:-1], stem + suffix.encode() + dot + ending)
        try:
            store.tree.move(path, target, store.tree.stat(path))
        except NameTaken:
            continue
        return target
    raise NameTaken("every name that it could have is taken", path)
