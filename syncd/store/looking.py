"""Blocking. What people ask about the past: the versions of a path, and names. All of it is `db_`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.model.ids import ChangesetHash
from syncd.model.lists import Entry
from syncd.model.paths import MAX_NAME_BYTES, Path
from syncd.model.records import ContentKind, Record
from syncd.store import rows
from syncd.store.folder import FolderStore
from syncd.store.past import Past, Told
from syncd.store.restoring import db_lacking
from syncd.store.rows import PARKED_ROW, ROOT_ROW

SEARCH_MOST = 1000


@dataclass(frozen=True, slots=True)
class VersionLine:
    """One thing that happened to what has, or had, a path. `lacking`: blocks of it that are not on this disk."""

    changeset: ChangesetHash
    time_ms: int
    device: DeviceId
    by: str
    action: str
    size: int | None
    is_current: bool
    lacking: tuple[Entry, ...]


def db_versions(store: FolderStore, path: Path, most: int) -> list[VersionLine]:
    """What happened at a path, the newest first."""
    past = Past(store)
    told = [(node, one) for node, many in past.told(past.ever_at(path)).items() for one in many]
    told.sort(key=lambda item: item[1].order)
    current = {(row.c_cs, row.c_idx) for row in rows.read_ids(store.connection, {node for node, _ in told}).values()}
    known: set[int] = set()
    lines: list[VersionLine] = []
    for node, one in told:
        action = _action(one.record, node in known)
        known.add(node)
        lines.append(_line(store, one, action, one.order in current))
    return lines[: -most - 1 : -1]


def _action(record: Record, is_known: bool) -> str:
    if record.content is not None and record.content.is_deleted:
        return "deleted"
    if not is_known:
        return "created"
    if record.content is not None:
        return "changed"
    return "moved" if record.place is not None else "attributes"


def _line(store: FolderStore, told: Told, action: str, is_current: bool) -> VersionLine:
    content = told.record.content
    is_file = content is not None and content.kind is ContentKind.FILE
    lacking = db_lacking(store, [content])[0] if content is not None and is_file else ()
    hash_ = store.journal.sources[told.seq].hash
    size = content.size if content is not None and is_file else None
    return VersionLine(hash_, told.time_ms, told.device, told.author, action, size, is_current, lacking)


def db_find_changeset(store: FolderStore, prefix: str) -> list[int]:
    """Arrival numbers of the changesets whose hash begins so."""
    query = "SELECT seq FROM changeset WHERE substr(lower(hex(hash)),1,?)=? ORDER BY seq LIMIT 3"
    return [seq for (seq,) in store.connection.execute(query, (len(prefix), prefix.lower()))]


def db_search(store: FolderStore, text: str, most: int) -> list[tuple[Path, bool]]:
    """Paths that are, or once were, known and whose last name contains a text; and whether it is there now.

    Letters of the Latin alphabet count the same in both cases.
    """
    if len(text) > MAX_NAME_BYTES:
        return []
    pattern = "%" + "".join("\\" + char if char in "%_\\" else char for char in text) + "%"
    found: list[tuple[int, bytes, bool]] = []
    limit = min(most, SEARCH_MOST)
    spelled = _spelled(store)
    for parent, name, node in store.connection.execute(
        f"SELECT parent, name, id FROM node INDEXED BY node_place WHERE {spelled('name')} LIKE ? ESCAPE '\\' LIMIT ?",
        (pattern, limit),
    ).fetchall():
        row = rows.read_ids(store.connection, [node])[node]
        found.append((parent, name, row.alive))
    query = (
        "SELECT DISTINCT p.parent, p.name FROM place p JOIN node n ON n.id=p.node WHERE (p.parent,p.name) IS NOT "
        f"(n.parent,n.name) AND {spelled('p.name')} LIKE ? ESCAPE '\\' LIMIT ?"
    )
    found += [(parent, name, False) for parent, name in store.connection.execute(query, (pattern, limit))]
    paths: dict[Path, bool] = {}
    for parent, name, alive in found:
        path = (*_path_of(store, parent), name)
        paths[path] = paths.get(path, False) or alive
    return sorted(paths.items())[:limit]


def _spelled(store: FolderStore) -> Callable[[str], str]:
    """How a column of bytes is written to the left of LIKE. Most builds of SQLite take bytes for text there, and then
    a million names take half the time that a cast takes."""
    takes_bytes: bool = store.connection.execute("SELECT x'61' LIKE 'a'").fetchone()[0]
    return (lambda column: column) if takes_bytes else (lambda column: f"CAST({column} AS TEXT)")


def _path_of(store: FolderStore, node: int) -> Path:
    names: list[bytes] = []
    seen: set[int] = set()
    while node not in (ROOT_ROW, PARKED_ROW) and node not in seen:
        seen.add(node)
        found = store.connection.execute("SELECT parent, name FROM node WHERE id=?", (node,)).fetchone()
        if found is None or found[0] is None:
            break
        node, name = found
        names.append(name)
    return tuple(reversed(names))


def missing_cids(lines: Sequence[VersionLine]) -> list[Entry]:
    """Every block that some of these versions lack, once."""
    return list({entry.cid: entry for line in lines for entry in line.lacking}.values())
