"""Blocking. Files and links that others have deleted, and that stand here as nothing but that: planned and noted by the
thousand, without an object for each row.

What `engine.plan` says of such a node is always the same, that it goes to `.syncd/old`. Whatever is more than that, a
conflict copy, something inside, a name that is parked, is left to the planner.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from blake3 import blake3

from syncd.engine.plan import Retire
from syncd.store import rows
from syncd.store.counts import MAX_RETRY_S
from syncd.store.prepare import Step, unused
from syncd.store.survey import Survey
from syncd.treetypes import Kind, Stat

_STANDS = (
    "kind=4 AND heads<=1 AND l_kind IN (1,3) AND l_parent<>0 AND l_name IS NOT NULL "
    "AND NOT EXISTS (SELECT 1 FROM node c WHERE c.parent=node.id) "
    "AND NOT EXISTS (SELECT 1 FROM copy c WHERE c.node=node.id)"
)
_PENDING = (
    "SELECT id, nid, l_parent, l_name, l_kind, l_ino, l_size, l_mtime, l_ctime, l_mode FROM node "
    "WHERE pending=1 AND pending<>0 AND id>?1 AND id NOT IN "
    f"(SELECT node FROM problem WHERE retry_at>?2 AND retry_at<=?2+{MAX_RETRY_S}) "
    f"AND id NOT IN (SELECT node FROM held_node) AND {_STANDS} "
    "ORDER BY id LIMIT ?3"
)
_TAKEN = "SELECT token FROM old WHERE token IN ({0})"
_LISTED = "coalesce(CASE WHEN l_blocks IS NULL THEN listed ELSE l_listed END, 0)"
_NOTED = (
    "SELECT id, s_ccs, s_cidx, l_name, l_parent, l_ctime, l_seen, l_kind, "
    "CASE WHEN l_blocks IS NULL THEN blocks ELSE l_blocks END FROM node WHERE id IN ({0}) AND pending=1 "
    f"AND {_STANDS} AND (l_kind=3 OR NOT {_LISTED})"
)
_LEAVE = (
    "UPDATE node SET l_parent=NULL, l_name=NULL, l_kind=0, l_ino=NULL, l_size=NULL, l_mtime=NULL, l_ctime=NULL, "
    "l_mode=NULL, l_xattrs=NULL, l_seen=NULL, l_listed=NULL, l_cls=NULL, l_blocks=NULL, s_ccs=NULL, s_cidx=NULL, "
    "s_pcs=NULL, s_pidx=NULL, s_acs=NULL, s_aidx=NULL, pending=0 WHERE id IN ({0})"
)


def steps(survey: Survey, after: int, limit: int, now: float) -> tuple[list[Step], int | None]:
    """What is to go, of rows above `after`, and where to go on; None at the end."""
    found = survey.connection.execute(_PENDING, (after, now, limit)).fetchall()
    generation = survey.sources.generation
    made: list[Step] = []
    for id_, nid, parent, name, kind, ino, size, mtime, ctime, mode in found:
        path = survey.path(parent, name)
        if path is None:
            continue
        stat = (ino or 0, size or 0, mtime or 0, ctime or 0, mode or 0)
        token = blake3(nid + repr((stat, path)).encode()).digest(12).hex().encode()
        expected = Stat(Kind.FILE if kind == rows.FILE else Kind.SYMLINK, *stat, 1, 0)
        made.append(Step(Retire(id_), path, expected, token=token, generation=generation, is_last=True))
    following = found[-1][0] if len(found) == limit else None
    return _under_free_tokens(survey.connection, made), following


def _under_free_tokens(connection: sqlite3.Connection, made: list[Step]) -> list[Step]:
    taken: set[str] = set()
    for part in rows.chunks([step.token.decode() for step in made]):
        taken.update(token for (token,) in connection.execute(_TAKEN.format(rows.marks(part)), part))
    if not taken:
        return made
    return [
        replace(step, token=unused(connection, step.token)) if step.token.decode() in taken else step for step in made
    ]


class Standing(NamedTuple):
    """What a row said of something that went to `.syncd/old`. `content`: packed entries, or a link's target."""

    id: int
    cs: int | None
    idx: int | None
    name: bytes
    parent: int | None
    ctime_ns: int | None
    seen_ns: int | None
    kind: int
    content: bytes | None


def standing(connection: sqlite3.Connection, nodes: Sequence[int]) -> dict[int, Standing]:
    """Of nodes that were retired, those of which no more than this has to be known, and nothing is left to be done:
    whatever was told of others since that was planned."""
    found: dict[int, Standing] = {}
    for part in rows.chunks(nodes):
        for row in connection.execute(_NOTED.format(rows.marks(part)), part):
            found[row[0]] = Standing(*row)
    return found


def leave(connection: sqlite3.Connection, nodes: Sequence[int]) -> None:
    """They do not stand on this disk any more, and nothing is left to be done about them."""
    for part in rows.chunks(nodes):
        connection.execute(_LEAVE.format(rows.marks(part)), part)
