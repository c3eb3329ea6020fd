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
class Holder:
    """Who stands on this disk at the wanted name: a node, or a conflict copy of one."""

    row: int
    is_copy: bool
    leaving: bool  # it is pending itself, so it may make room


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
    kind: Kind  # of the greatest head
    lives: bool  # kind is not a deletion, or it is a directory with a living child
    version: Version | None
    size: int
    parent: int | None  # row of the parent in the view
    parent_ready: bool  # it stands on this disk as a directory
    wanted_name: bytes
    holder: Holder | None  # somebody else at (parent, wanted_name) on this disk
    disk_kind: Kind
    disk_parent: int | None
    disk_name: bytes | None
    same_content: bool  # the bytes, or the link target, on disk are those of `version`
    same_attributes: bool
    disk_children: int = 0  # entries of ours standing in it, for a directory
    copies: tuple[CopyCase, ...] = ()
    whole_subtree_ready: bool = True  # nothing below still waits for this directory to be writable


@dataclass(frozen=True, slots=True)
class Place:
    """Where on the disk: the row of the directory, and the name in it."""

    parent: int
    name: bytes


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
    """Operations for now, the parents that must be looked at first, and the nodes that wait for another's turn."""

    operations: tuple[Operation, ...]
    wake: tuple[int, ...]
    waiting: tuple[int, ...]


def plan(cases: Sequence[Case]) -> Plan:
    """One round, directories before what goes into them. Independent of the order of `cases` except that earlier ones
    may claim a free name first."""
    operations: list[Operation] = []
    wake: list[int] = []
    waiting: list[int] = []
    blocked: list[tuple[Case, Holder]] = []
    claimed: set[Place] = set()
    making: set[int] = set()
    for case in cases:
        before = len(operations)
        stands_in_way = _plan_node(case, operations, wake, claimed, making)
        if stands_in_way is not None:
            blocked.append((case, stands_in_way))
        for copy in case.copies:
            _plan_copy(case, copy, operations, claimed)
        if len(operations) == before:
            waiting.append(case.node)
    if not operations:
        # Everyone waits for someone: names are being swapped. Moving one aside frees its name, and the next round goes
        # on.
        for _, holder in blocked:
            if holder.leaving:
                operations.append(Park(holder.row, holder.row if holder.is_copy else None))
                break
    return Plan(tuple(operations), tuple(dict.fromkeys(wake)), tuple(waiting))


def _plan_node(
    case: Case, operations: list[Operation], wake: list[int], claimed: set[Place], making: set[int]
) -> Holder | None:
    """Append the next step of one node; answer who stands in its way, if somebody does."""
    if not case.lives:
        _plan_absence(case, operations)
        return None
    if case.version is None or case.parent is None:
        return None  # nothing is known of its content yet
    if not case.parent_ready and case.parent not in making:
        wake.append(case.parent)
        return None
    place = Place(case.parent, case.wanted_name)
    if case.disk_kind == Kind.NONE:
        if case.holder is not None or place in claimed:
            return case.holder
        claimed.add(place)
        operations.append(_creation(case, case.version, place))
        if isinstance(operations[-1], MakeDir):
            making.add(case.node)
        return None
    kind = Kind.DIR if case.kind == Kind.DELETED else case.kind
    if (case.disk_kind == Kind.DIR) != (kind == Kind.DIR):
        # A directory cannot be exchanged with a file in one step: the old one leaves first.
        operations.append(RemoveDir(case.node) if case.disk_kind == Kind.DIR else Retire(case.node))
        return None
    if (case.disk_parent, case.disk_name) != (place.parent, place.name):
        if case.holder is not None or place in claimed:
            return case.holder
        claimed.add(place)
        operations.append(Move(case.node, place))
    elif not case.same_content and kind != Kind.DIR:
        operations.append(Replace(case.node, case.version, kind, case.size))
    elif case.same_attributes:
        operations.append(Settle(case.node))
    elif case.whole_subtree_ready:  # a directory gets its mode last, it might forbid us to write into it
        operations.append(SetAttributes(case.node))
    return None


def _creation(case: Case, version: Version, place: Place) -> Operation:
    if case.kind in (Kind.DIR, Kind.DELETED):  # a deleted directory that lives for its children
        return MakeDir(case.node, place)
    return Create(case.node, version, case.kind, case.size, place)


def _plan_absence(case: Case, operations: list[Operation]) -> None:
    if case.disk_kind == Kind.NONE:
        operations.append(Settle(case.node))
    elif case.disk_kind != Kind.DIR:
        operations.append(Retire(case.node))
    elif case.disk_children == 0:
        operations.append(RemoveDir(case.node))


def _plan_copy(case: Case, copy: CopyCase, operations: list[Operation], claimed: set[Place]) -> None:
    if copy.wanted_name is None or not case.lives:
        if copy.copy is not None:
            operations.append(Retire(case.node, copy.copy))
        return
    if case.parent is None or not case.parent_ready:
        return
    place = Place(case.parent, copy.wanted_name)
    if copy.copy is None:
        if copy.holder is None and place not in claimed:
            claimed.add(place)
            operations.append(Create(case.node, copy.version, copy.kind, copy.size, place, copy=True))
        return
    moved = (copy.disk_parent, copy.disk_name) != (place.parent, place.name)
    if moved and copy.holder is None and place not in claimed:
        claimed.add(place)
        operations.append(Move(case.node, place, copy.copy))
