"""Blocking. The rules of a folder on its disk, and what other rules would change."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field

from syncd.model.ignores import SHARED_NAME, Ignores, parse_ignores
from syncd.seams import Tree
from syncd.store.joining import IGNORED, PENDING
from syncd.treetypes import ROOT, Kind, Path, Stat, TreeError

MAX_BYTES = 1 << 20


@dataclass(slots=True)
class Effect:
    """What rules would do: files and bytes on this disk that would leave the folder, or enter it, and some names."""

    files: int = 0
    size: int = 0
    paths: list[Path] = field(default_factory=list)

    def add(self, path: Path, stat: Stat) -> None:
        self.files += 1
        self.size += stat.size
        if len(self.paths) < 10:
            self.paths.append(path)


def read_rules(tree: Tree) -> Ignores:
    """The rules that all members share, and then this device's own."""
    (shared,) = tree.read_many([(SHARED_NAME,)], MAX_BYTES)
    own = parse_ignores(tree.read_ignore() or b"")
    return own if isinstance(shared, TreeError) else parse_ignores(shared.content).and_own(own)


def db_reconsider(connection: sqlite3.Connection) -> None:
    """The rules are others now: what they had put aside is planned anew, and put aside again if they still match."""
    connection.execute("UPDATE node SET pending=? WHERE pending=? AND pending<>0", (PENDING, IGNORED))


def compare_rules(tree: Tree, before: Ignores, after: Ignores) -> tuple[Effect, Effect]:
    """(what would leave, what would enter), of all that is on this disk."""
    leaving, entering = Effect(), Effect()
    for path, stat in _files(tree):
        was, will = before.match(path, False), after.match(path, False)
        if will and not was:
            leaving.add(path, stat)
        elif was and not will:
            entering.add(path, stat)
    return leaving, entering


def _files(tree: Tree) -> Iterator[tuple[Path, Stat]]:
    stack: list[Path] = [ROOT]
    while stack:
        at = stack.pop()
        try:
            listed = tree.list_dir(at)
        except TreeError:
            continue  # what cannot be read is not synced either
        for name, stat in listed:
            if stat.kind is Kind.DIR:
                stack.append((*at, name))
            elif stat.kind in (Kind.FILE, Kind.SYMLINK):
                yield (*at, name), stat
