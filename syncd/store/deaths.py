"""Blocking. Files and links that are deleted and of which nothing else is to be said, thousands at a time.

A wave of deletions is made of these: one content, known to whoever deleted it, and neither conflicts nor anything in
it. What becomes of their rows follows from that, without an object for each; everything else goes the long way
(`joining`), which comes to the same.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from syncd.model.ids import NodeId, VersionId
from syncd.model.records import DELETED as DELETED_CONTENT
from syncd.model.records import Record
from syncd.store import rows

Version: TypeAlias = Callable[[int, int], VersionId]
"""What names a version by its changeset and its place in that."""


class Death(NamedTuple):
    """A row that dies, and its place."""

    id: int
    parent: int
    name: bytes


class Leaving(NamedTuple):
    """The same of one that is gone from this disk, whose version was the newest; and the blocks that stood there."""

    death: Death
    node: NodeId
    disk: tuple[object, ...]
    """Where it stood, and its stat, as in the row."""
    cs: int
    idx: int
    packed: bytes


Deaths: TypeAlias = Mapping[NodeId, Death]
NO_DEATHS: Final[Deaths] = {}

_VALUE = rows.value_of(DELETED_CONTENT)
_DIES = f"c_cs=?, c_idx=?, kind={_VALUE.kind}, cls={_VALUE.cls}, size={_VALUE.size}, listed={_VALUE.listed}, blocks=x''"
_IS_ALONE = "kind IN (1,3) AND heads=1 AND p_cs IS NOT NULL AND parent IS NOT NULL AND name IS NOT NULL"
_KEPT = "CASE WHEN l_kind<>0 AND l_blocks IS NULL THEN {0} ELSE l_{0} END"
_LEFT = ("parent", "name", "ino", "size", "mtime", "ctime", "mode", "xattrs", "seen", "listed", "cls", "blocks")

_TOLD = (
    f"UPDATE node SET {_DIES}, {', '.join(f'l_{one}={_KEPT.format(one)}' for one in ('blocks', 'listed', 'cls'))}, "
    "pending=1 WHERE id=?"
)
"""Somebody else has deleted it: what stands here is to go."""
_GONE = (
    f"UPDATE node SET {_DIES}, {', '.join(f'l_{one}=NULL' for one in _LEFT)}, l_kind=0, "
    "s_ccs=NULL, s_cidx=NULL, s_pcs=NULL, s_pidx=NULL, s_acs=NULL, s_aidx=NULL WHERE id=?"
)
"""It was deleted here, and nothing is left to be done."""


def find(connection: sqlite3.Connection, version: Version, records: Sequence[Record]) -> Deaths:
    """Of records that others have made, those that delete the one content that a file or link has here."""
    named = {record.place.parent for record in records if record.place is not None}
    replaced = {
        record.node: record.replaces_content[0]
        for record in records
        if _says_only_that(record) and len(record.replaces_content) == 1 and record.node not in named
    }
    found: dict[NodeId, Death] = {}
    for part in rows.chunks(list(replaced)):
        query = (
            "SELECT nid, c_cs, c_idx, id, parent, name FROM node "
            f"WHERE nk IN ({rows.marks(part)}) AND {_IS_ALONE} AND pending<>2 "
            "AND NOT EXISTS (SELECT 1 FROM replaced r WHERE r.node=node.id)"
        )
        for node, cs, idx, *row in connection.execute(query, [rows.prefix(node) for node in part]):
            if node in replaced and replaced[node] == version(cs, idx):
                found[node] = Death(*row)
    return found


def _says_only_that(record: Record) -> bool:
    content = record.content
    return content is not None and content.is_deleted and record.place is None and record.attributes is None


def leaving(connection: sqlite3.Connection, ids: Iterable[int]) -> dict[int, Leaving]:
    """Of rows whose file or link was missed on this disk, those that are nothing but the newest version."""
    found: dict[int, Leaving] = {}
    for part in rows.chunks(list(ids)):
        query = (
            "SELECT nid, c_cs, c_idx, CASE kind WHEN 1 THEN blocks ELSE x'' END, id, parent, name, "
            "l_parent, l_name, l_kind, l_ino, l_size, l_mtime, l_ctime, l_mode FROM node "
            f"WHERE id IN ({rows.marks(part)}) AND {_IS_ALONE} AND pending=0 AND l_kind=kind AND l_blocks IS NULL "
            "AND (kind=3 OR listed=0) AND s_ccs=c_cs AND s_cidx=c_idx "
            "AND NOT EXISTS (SELECT 1 FROM copy WHERE copy.node=node.id)"
        )
        for node, cs, idx, packed, id_, parent, name, *disk in connection.execute(query, part):
            death = Death(id_, parent, name)
            found[id_] = Leaving(death, NodeId(node), tuple(disk), cs, idx, packed or b"")
    return found


def write(connection: sqlite3.Connection, seq: int, died: Sequence[tuple[Death, int]], *, leaves_disk: bool) -> None:
    """What the rows say after that: each with its place in the changeset."""
    connection.executemany(_GONE if leaves_disk else _TOLD, [(seq, index, death.id) for death, index in died])
