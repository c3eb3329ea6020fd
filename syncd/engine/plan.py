"""Pure. The planner: what must happen on this disk so that Local, Global and Synced become equal.

`plan` sees up to a few thousand pending nodes as plain values (`Case`), each with what its parent and its name's other
claimants are, and answers with operations that can be carried out now. What cannot, because a parent is missing or a
name is taken by something that goes away in the same round, waits for the next round; rounds end because every
operation brings one node closer to its goal. The planner never deletes what this device has not seen: it only retires
what Global has replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Kind(IntEnum):
    """What a node is, in Global or on this disk."""

    NONE = 0
    FILE = 1
    DIR = 2
    SYMLINK = 3
    DELETED = 4


@dataclass(frozen=True, slots=True)
class Version:
    """A content version as the database names it: arrival number of its changeset, place in it."""

    cs: int
    idx: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where on the disk: the row of the directory, and the name in it."""

    parent: int
    name: bytes


@dataclass(frozen=True, slots=True)
class Holder:
    """Who stands on this disk at the wanted name: a node, or a conflict copy of one."""

    row: int  # of the node, or of the copy
    is_copy: bool
    node: int
    leaving: bool  # it belongs elsewhere, so it will make room


@dataclass(frozen=True, slots=True)
class CopyCase:
    """One conflict copy: wanted by Global (`wanted_name`), standing on this disk (`copy`), or both."""

    version: Version
    kind: Kind
    size: int
    wanted_name: bytes | None
    copy: int | None
    disk_parent: int | None
    disk_name: bytes | None
    holder: Holder | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One pending node with everything the planner may look at."""

    node: int
    kind: Kind  # what it is to be: of the greatest head, or DIR for what only lives by something living in it
    lives: bool
    version: Version | None
    size: int
    parent: int  # row of the parent in the view
    parent_ready: bool  # it stands on this disk as a directory, and can be reached
    wanted_name: bytes
    holder: Holder | None  # somebody else at (parent, wanted_name) on this disk
    disk_kind: Kind
    disk_parent: int | None
    disk_name: bytes | None
    same_content: bool  # the bytes, or the link target, on disk are those of `version`
    same_attributes: bool
    disk_children: int = 0  # entries of ours standing in it, for a directory that is to go
    copies: tuple[CopyCase, ...] = ()
    whole_subtree_ready: bool = True  # nothing below still waits for this directory to be writable
    is_busy: bool = False  # contents of it are on their way already
    way_out: Place | None = None  # it is parked, and this is where it can be seen again


@dataclass(frozen=True, slots=True)
class MakeDir:
    node: int
    place: Place


@dataclass(frozen=True, slots=True)
class Create:
    """Stage the content of `version`, then put it where nothing stands. `copy`: as a conflict copy."""

    node: int
    version: Version
    kind: Kind
    size: int
    place: Place
    copy: bool = False


@dataclass(frozen=True, slots=True)
class Replace:
    """Stage the content of `version`, then exchange it with what stands there."""

    node: int
    version: Version
    kind: Kind
    size: int


@dataclass(frozen=True, slots=True)
class Move:
    node: int
    place: Place
    copy: int | None = None


@dataclass(frozen=True, slots=True)
class Park:
    """Take it out of the way, still ours, until its own name is free: two names are being swapped."""

    node: int
    copy: int | None = None


@dataclass(frozen=True, slots=True)
class Retire:
    """Into `.syncd/old`: a deletion. `copy`: that conflict copy only."""

    node: int
    copy: int | None = None


@dataclass(frozen=True, slots=True)
class RemoveDir:
    node: int


@dataclass(frozen=True, slots=True)
class SetAttributes:
    node: int


@dataclass(frozen=True, slots=True)
class Settle:
    """The disk already is what Global says: take note of the versions."""

    node: int


Operation = MakeDir | Create | Replace | Move | Park | Retire | RemoveDir | SetAttributes | Settle


@dataclass(frozen=True, slots=True)
class Plan:
    """Operations for now, the parents that must be looked at first, and the nodes whose name is taken for good."""

    operations: tuple[Operation, ...]
    wake: tuple[int, ...]
    blocked: tuple[int, ...]


def plan(cases: Sequence[Case]) -> Plan:
    """One round, directories before what goes into them. Independent of the order of `cases`, but that a directory is
    made before what is in it."""
    work = _Planning()
    for case in cases:
        work.node(case)
        for copy in case.copies:
            work.copy(case, copy)
    if not work.operations:
        work.park_one()
    return Plan(tuple(work.operations), tuple(dict.fromkeys(work.wake)), tuple(dict.fromkeys(work.blocked)))


_Key = tuple[bool, int]
"""(is a copy, row): a node, or one of the conflict copies on the disk."""


class _Planning:
    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.wake: list[int] = []
        self.blocked: list[int] = []
        self._waits_for: dict[_Key, _Key] = {}
        """Who waits for whose name, or for whose directory."""
        self._holders: dict[_Key, Holder] = {}
        """Those on the disk whose name somebody waits for."""
        self._making: set[int] = set()

    def node(self, case: Case) -> None:
        """Append the next step of one node."""
        if not case.lives:
            self._absence(case)
            return
        if not case.parent_ready and case.parent not in self._making:
            self.wake.append(case.parent)
            self._waits_for[False, case.node] = (False, case.parent)
            return
        place = Place(case.parent, case.wanted_name)
        if case.disk_kind == Kind.NONE:
            if self._is_free(case.node, case.holder, (False, case.node)):
                self._creation(case, place)
        elif (case.disk_kind == Kind.DIR) != (case.kind == Kind.DIR):
            # A directory cannot be exchanged with a file in one step: the old one leaves first.
            self._absence(case)
        elif (case.disk_parent, case.disk_name) != (place.parent, place.name):
            if self._is_free(case.node, case.holder, (False, case.node)):
                self.operations.append(Move(case.node, place))
        elif not case.same_content and case.kind != Kind.DIR:
            if case.version is not None and not case.is_busy:
                self.operations.append(Replace(case.node, case.version, case.kind, case.size))
        elif case.same_attributes:
            self.operations.append(Settle(case.node))
        elif case.whole_subtree_ready:  # a directory gets its mode last, it might forbid us to write into it
            self.operations.append(SetAttributes(case.node))

    def _creation(self, case: Case, place: Place) -> None:
        if case.kind == Kind.DIR:
            self._making.add(case.node)
            self.operations.append(MakeDir(case.node, place))
        elif case.version is not None and not case.is_busy:
            self.operations.append(Create(case.node, case.version, case.kind, case.size, place))

    def _absence(self, case: Case) -> None:
        if case.disk_kind == Kind.NONE:
            self.operations.append(Settle(case.node))
        elif case.way_out is not None:
            self.operations.append(Move(case.node, case.way_out))
        elif case.disk_kind != Kind.DIR:
            self.operations.append(Retire(case.node))
        elif case.disk_children == 0:
            self.operations.append(RemoveDir(case.node))

    def copy(self, case: Case, copy: CopyCase) -> None:
        """The same for one conflict copy."""
        if copy.wanted_name is None or not case.lives:
            if copy.copy is not None:
                self.operations.append(Retire(case.node, copy.copy))
            return
        if not case.parent_ready:
            return
        place = Place(case.parent, copy.wanted_name)
        if copy.copy is None:
            if self._is_free(case.node, copy.holder, None) and not case.is_busy:
                self.operations.append(Create(case.node, copy.version, copy.kind, copy.size, place, copy=True))
            return
        is_right = (copy.disk_parent, copy.disk_name) == (place.parent, place.name)
        if not is_right and self._is_free(case.node, copy.holder, (True, copy.copy)):
            self.operations.append(Move(case.node, place, copy.copy))

    def _is_free(self, node: int, holder: Holder | None, who: _Key | None) -> bool:
        """Whether a name can be taken now by `who` (None: a copy that stands nowhere, so that nobody waits for it)."""
        if holder is None:
            return True
        if not holder.leaving:
            self.blocked.append(node)
        elif who is not None:
            key = (holder.is_copy, holder.row)
            self._waits_for[who] = key
            self._holders[key] = holder
        return False

    def park_one(self) -> None:
        """Where waiting for one another goes round in a circle, names are being swapped: moving one aside frees its
        name, and the next round goes on."""
        for start in self._waits_for:
            walked: dict[_Key, None] = {}
            at: _Key | None = start
            while at is not None and at not in walked:
                walked[at] = None
                at = self._waits_for.get(at)
            if at is None:
                continue
            circle = list(walked)[list(walked).index(at) :]
            holder = next((self._holders[key] for key in circle if key in self._holders), None)
            if holder is not None:
                self.operations.append(Park(holder.node, holder.row if holder.is_copy else None))
                return
