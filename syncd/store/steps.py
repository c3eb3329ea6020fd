"""Blocking. After a crash: which steps that need no content (moves, directories, deletions) were done, but never noted.

They are written down before they are done (`prepare.write_steps`), so that a crash between the disk and the rows is
never read as something that the user did. Without that, what a step had moved would be published as a move by the user,
a name included that only this disk has; and what it had deleted would lie in `.syncd/old` without a row.
"""

from __future__ import annotations

from syncd.engine.plan import MakeDir, Move, Place, RemoveDir, Retire
from syncd.seams import Tree
from syncd.store.apply import Done
from syncd.store.commit import Committed, Committer
from syncd.store.db import Transaction
from syncd.store.folder import FolderStore
from syncd.store.prepare import Step, StepKind, expected_stat, forget_steps, standing_copy
from syncd.store.rows import DIR, PARKED_ROW
from syncd.store.scan import tick_of
from syncd.store.survey import Survey
from syncd.treetypes import Kind, NotThere, Path, Replaced, Stat


def db_recover_steps(store: FolderStore, now: float) -> Committed:
    """Take note of the steps that were done when the crash came, in the order in which they were to be done."""
    connection = store.connection
    every = Committed()
    for what, node, copy, token, parent, name in connection.execute(
        "SELECT what, node, copy, token, parent, name FROM step ORDER BY id"
    ).fetchall():
        place = Place(parent, name) if parent is not None else Place(PARKED_ROW, b"")
        done = _Recovery(store, node, copy, token).find(StepKind(what), place)
        if done is not None:
            with Transaction(connection):
                committed = Committer(connection, store.journal.sources, now, tick_of(store.tree)).note([done])
            every.edited += committed.edited
            every.look_again += committed.look_again
            every.moved += committed.moved
    with Transaction(connection):
        forget_steps(connection)
    return every


class _Recovery:
    """One step, and what the disk says of it."""

    def __init__(self, store: FolderStore, node: int, copy: int | None, token: bytes) -> None:
        self._store = store
        self._tree: Tree = store.tree
        self._survey = Survey(store.connection, store.journal.sources)
        self._node, self._copy, self._token = node, copy, token
        self._row = self._survey.row(node)

    def find(self, what: StepKind, place: Place) -> Done | None:
        """The step with its outcome, if it was done."""
        match what:
            case StepKind.MAKE_DIR:
                return self._made(place)
            case StepKind.MOVE:
                return self._moved(place)
            case StepKind.RETIRE:
                return self._retired()
            case StepKind.REMOVE_DIR:
                return self._removed()
            case StepKind.SET_ASIDE:
                return None  # `denying.db_put_back` has undone it

    def _made(self, place: Place) -> Done | None:
        path = self._survey.path(place.parent, place.name)
        if path is None or self._row is None or self._row.on_disk:
            return None
        stat = self._stat(path)
        if stat is None or stat.kind is not Kind.DIR:
            return None
        return Done(Step(MakeDir(self._node, place), path, None), stat)

    def _moved(self, place: Place) -> Done | None:
        standing = self._standing()
        target = self._survey.path(place.parent, place.name)
        if standing is None or target is None:
            return None
        parent, name, expected = standing
        source = None if parent == PARKED_ROW else self._survey.path(parent, name)
        stat = self._stat(target)
        if stat is None or (stat.kind, stat.ino) != (expected.kind, expected.ino):
            return None
        if source is not None and self._is_there(source, stat):
            return None  # two names of one inode: the user's own link
        step = Step(Move(self._node, place, self._copy), source or (), expected, target, self._token)
        return Done(step, stat)

    def _retired(self) -> Done | None:
        standing = self._standing()
        found = self._store.connection.execute("SELECT 1 FROM old WHERE token=?", (self._token.decode(),)).fetchone()
        if standing is None or found is not None:
            return None
        try:
            old = self._tree.stat_old(self._token)
        except NotThere:
            return None
        step = Step(Retire(self._node, self._copy), (), standing[2], token=self._token)
        return Done(step, Replaced(old, not standing[2].same_but_moved(old)))

    def _removed(self) -> Done | None:
        row = self._row
        path = None if row is None else self._survey.path(row.l_parent, row.l_name)
        if row is None or row.l_kind != DIR or path is None or self._stat(path) is not None:
            return None
        return Done(Step(RemoveDir(self._node), path, expected_stat(row)), None)

    def _standing(self) -> tuple[int, bytes, Stat] | None:
        """Where its row says that it stands."""
        if self._copy is not None:
            return standing_copy(self._store.connection, self._copy)
        row = self._row
        if row is None or not row.on_disk or row.l_name is None:
            return None
        return (PARKED_ROW if row.l_parent is None else row.l_parent, row.l_name, expected_stat(row))

    def _is_there(self, path: Path, stat: Stat) -> bool:
        there = self._stat(path)
        return there is not None and there.ino == stat.ino

    def _stat(self, path: Path) -> Stat | None:
        """None for nothing. A disk that does not answer ends the recovery: it is tried again when the root is back."""
        try:
            return self._tree.stat(path)
        except NotThere:
            return None
