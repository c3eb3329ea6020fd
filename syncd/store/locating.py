"""Blocking. From rows that say where a block lies to what can be read: a path, a file in `.syncd/old`, a pack.

Every source is looked up once, however many of its blocks are asked for: the 8,000 blocks of a file of 2 GiB lie in a
handful of sources.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from syncd.store import rows
from syncd.store.blocks import Location, SourceKind, source_row
from syncd.store.joining import Sources
from syncd.store.packs import Packs
from syncd.store.survey import Survey
from syncd.treetypes import Path

Name = TypeVar("Name", bound=bytes)
Places = tuple[tuple["BlockSource", int], ...]
"""Where the bytes of a block may lie, and at which offset."""


class BlockSource(NamedTuple):
    """Where a block's bytes are read: the path of a file in the tree, the token of one in `.syncd/old` or in the
    stage, or the name of a pack, and then the epoch under which that has it."""

    kind: SourceKind
    path: Path = ()
    name: bytes = b""
    epoch_prefix: bytes = b""


def db_places_of(
    connection: sqlite3.Connection, sources: Sources, packs: Packs, found: Mapping[Name, Sequence[Location]]
) -> dict[Name, Places]:
    """The places of blocks, by the names under which they were found. Sources that are gone are left out."""
    numbers = {location.source for locations in found.values() for location in locations}
    survey = Survey(connection, sources)
    nodes = {row: number for number in numbers for kind, row in (source_row(number),) if kind is SourceKind.NODE}
    readable: dict[int, BlockSource | None] = _files(connection, survey, nodes)
    for number in numbers - readable.keys():
        readable[number] = _source(connection, survey, packs, *source_row(number))
    return {name: tuple(_readable(locations, readable)) for name, locations in found.items()}


def _readable(
    locations: Iterable[Location], sources: Mapping[int, BlockSource | None]
) -> Iterable[tuple[BlockSource, int]]:
    for location in locations:
        source = sources[location.source]
        if source is None:
            continue
        if source.kind is SourceKind.PACK:
            source = source._replace(epoch_prefix=location.entry.epoch_prefix)
        yield source, location.offset


def _files(connection: sqlite3.Connection, survey: Survey, nodes: Mapping[int, int]) -> dict[int, BlockSource | None]:
    """Where nodes stand, by the numbers that are given with them: most are neighbours, below one directory."""
    found: dict[int, BlockSource | None] = dict.fromkeys(nodes.values())
    above: dict[int, Path | None] = {}
    for part in rows.chunks(list(nodes)):
        query = f"SELECT id, l_parent, l_name FROM node WHERE id IN ({rows.marks(part)}) AND l_name IS NOT NULL"
        for row, parent, name in connection.execute(query, part):
            if parent not in above:
                path = survey.path(parent, name)
                above[parent] = None if path is None else path[:-1]
            directory = above[parent]
            if directory is not None:
                found[nodes[row]] = BlockSource(SourceKind.NODE, (*directory, name))
    return found


def _source(
    connection: sqlite3.Connection, survey: Survey, packs: Packs, kind: SourceKind, id_: int
) -> BlockSource | None:
    if kind is SourceKind.PACK:
        name = packs.db_name(id_)
        return None if name is None else BlockSource(kind, (), name.encode())
    if kind is SourceKind.OLD:
        found = connection.execute("SELECT token FROM old WHERE id=?", (id_,)).fetchone()
        return None if found is None else BlockSource(kind, (), found[0].encode())
    found = connection.execute("SELECT l_parent, l_name FROM copy WHERE id=?", (id_,)).fetchone()
    path = None if found is None else survey.path(*found)
    return None if path is None else BlockSource(kind, path)
