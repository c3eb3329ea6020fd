"""Pure. The planner: what must happen on this disk so that Local, Global and Synced become equal.

`plan` sees up to a few thousand pending nodes as plain values (`Case`), each with what its parent and its name's other
claimants are, and answers with operations that can be carried out now. What cannot, because a parent is missing or a
name is taken by something that goes away in the same round, waits for the next round; rounds end because every
operation brings one node closer to its goal. The planner never deletes what this device has not seen: it only retires
what Global has replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field
from enum import IntEnum

from ca.values import dataclass


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
    way_out: Place | None = None  # it is parked, and this is where it can be seen again
    hidden_in: int | None = None  # it stands in this directory that is parked, or below it: nothing can be done to it


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
    obstacle: int | None = None  # what the parent lacks to be ready, if not itself: a directory above it that is parked
    own_below: tuple[int, ...] = ()  # if the parent stands inside this very directory: the parent, and those between
    is_stuck: bool = False  # it or a copy is parked, and cannot go on for now: all to be done is to let it be seen
    hidden_in: int | None = None  # it stands in this directory that is parked, or below it: nothing can be done to it


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


def plan(cases: Sequence[Case], waiting: Waiting | None = None, *, is_last: bool = True) -> Plan:
    """One round, directories before what goes into them. Independent of the order of `cases`, but that a directory is
    made before what is in it.

    Where what is pending is planned page by page, `waiting` goes from page to page of a round, and `is_last` says which
    ends it: who waits for whom in a circle may stand on different pages.
    """
    waiting = Waiting() if waiting is None else waiting
    work = _Planning(waiting)
    for case in cases:
        if case.is_stuck:
            work.show(case)
            continue
        work.node(case)
        for copy in case.copies:
            work.copy(case, copy)
    if not all(isinstance(operation, Settle) for operation in work.operations):
        waiting.has_moved = True
    if is_last and not waiting.has_moved:  # nothing moves on the disk
        work.operations += waiting.park_one() or waiting.hidden
    return Plan(tuple(work.operations), tuple(dict.fromkeys(work.wake)), tuple(dict.fromkeys(work.blocked)))


_Key = tuple[bool, int]
"""(is a copy, row): a node, or one of the conflict copies on the disk."""


@dataclass(slots=True)
class Waiting:
    """Who waits for whom, as far as one round has found out."""

    has_moved: bool = False
    """Something moves on the disk in this round."""
    waits_for: dict[_Key, _Key] = field(default_factory=dict)
    """Who waits for whose name, or for whose directory."""
    holders: dict[_Key, Holder] = field(default_factory=dict)
    """Those on the disk whose name somebody waits for."""
    full: list[int] = field(default_factory=list)
    """Directories that are to go, with something of ours still in them."""
    must_leave: dict[int, list[_Key]] = field(default_factory=dict)
    """Directories that are to move into what is inside them: of that some must come out first."""
    inside: dict[int, list[_Key]] = field(default_factory=dict)
    """Who stands in a directory on this disk."""
    copy_of: dict[int, int] = field(default_factory=dict)
    hidden: list[Move] = field(default_factory=list)
    """What lives and is parked, and where it can be seen again: for when it waits for somebody who does not move."""

    def park_one(self) -> list[Park | Move]:
        """Where waiting for one another goes round in a circle, one is moved aside, and the next round goes on; or one
        that was moved aside is let be seen again, as others must leave it.

        Either names are being swapped, or something is to take the name of the directory that it stands in, or that
        directory is to move into it.
        """
        inside = {node: self.inside.get(node, []) for node in self.full} | self.must_leave
        edges = {one: [other] for one, other in self.waits_for.items()}
        for directory, keys in inside.items():
            edges.setdefault((False, directory), []).extend(keys)
        circle = _find_circle(edges)
        parked = {move.node: move for move in self.hidden if move.copy is None}
        for (is_copy, row), other in zip(circle, [*circle[1:], *circle[:1]], strict=True):
            if not is_copy and other in inside.get(row, ()):
                if row in parked:  # nothing can leave it before it is seen again
                    return [parked[row]]
                return [Park(self.copy_of[other[1]], other[1]) if other[0] else Park(other[1])]
        for key in circle:
            if key in self.holders:
                return [Park(self.holders[key].node, key[1] if key[0] else None)]
        return []


class _Planning:
    def __init__(self, waiting: Waiting) -> None:
        self.operations: list[Operation] = []
        self.wake: list[int] = []
        self.blocked: list[int] = []
        self._waiting = waiting
        self._making: set[int] = set()

    def node(self, case: Case) -> None:
        """Append the next step of one node."""
        if case.disk_parent is not None:
            self._waiting.inside.setdefault(case.disk_parent, []).append((False, case.node))
        if case.hidden_in is not None:
            self._waiting.waits_for[False, case.node] = (False, case.hidden_in)
            return
        if not case.lives:
            self._absence(case)
            return
        if case.way_out is not None:
            self._waiting.hidden.append(Move(case.node, case.way_out))
        if case.own_below:
            self._into_itself(case)
            return
        if not case.parent_ready and case.parent not in self._making:
            self.wake.append(case.parent)
            self._waiting.waits_for[False, case.node] = (False, case.parent if case.obstacle is None else case.obstacle)
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
            elif case.way_out is not None and _stays(case.holder):
                self.operations.append(Move(case.node, case.way_out))
        elif not case.same_content and case.kind != Kind.DIR:
            if case.version is not None and not case.is_busy:
                self.operations.append(Replace(case.node, case.version, case.kind, case.size))
        elif case.same_attributes:
            self.operations.append(Settle(case.node))
        elif case.whole_subtree_ready:  # a directory gets its mode last, it might forbid us to write into it
            self.operations.append(SetAttributes(case.node))

    def _into_itself(self, case: Case) -> None:
        if case.kind == Kind.DIR:
            self.wake.append(case.parent)
            self._waiting.must_leave[case.node] = [(False, node) for node in case.own_below]
        else:
            self._absence(case)

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
        else:
            self._waiting.full.append(case.node)

    def copy(self, case: Case, copy: CopyCase) -> None:
        """The same for one conflict copy."""
        if copy.copy is not None and copy.disk_parent is not None:
            self._waiting.inside.setdefault(copy.disk_parent, []).append((True, copy.copy))
            self._waiting.copy_of[copy.copy] = case.node
        if copy.copy is not None and copy.hidden_in is not None:
            self._waiting.waits_for[True, copy.copy] = (False, copy.hidden_in)
            return
        if copy.wanted_name is None or not case.lives:
            if copy.copy is not None and copy.way_out is not None:
                self.operations.append(Move(case.node, copy.way_out, copy.copy))
            elif copy.copy is not None:
                self.operations.append(Retire(case.node, copy.copy))
            return
        if copy.way_out is not None:
            self._waiting.hidden.append(Move(case.node, copy.way_out, copy.copy))
        if not case.parent_ready:
            return
        place = Place(case.parent, copy.wanted_name)
        if copy.copy is None:
            if self._is_free(case.node, copy.holder, None) and not case.is_busy:
                self.operations.append(Create(case.node, copy.version, copy.kind, copy.size, place, copy=True))
            return
        if (copy.disk_parent, copy.disk_name) == (place.parent, place.name):
            return
        if self._is_free(case.node, copy.holder, (True, copy.copy)):
            self.operations.append(Move(case.node, place, copy.copy))
        elif copy.way_out is not None and _stays(copy.holder):
            self.operations.append(Move(case.node, copy.way_out, copy.copy))

    def show(self, case: Case) -> None:
        """What was taken out of the way, and cannot go on, is not to stay hidden from its user."""
        if case.way_out is not None:
            self.operations.append(Move(case.node, case.way_out))
        for copy in case.copies:
            if copy.way_out is not None:
                self.operations.append(Move(case.node, copy.way_out, copy.copy))

    def _is_free(self, node: int, holder: Holder | None, who: _Key | None) -> bool:
        """Whether a name can be taken now by `who` (None: a copy that stands nowhere, so that nobody waits for it)."""
        if holder is None:
            return True
        if not holder.leaving:
            self.blocked.append(node)
        elif who is not None:
            key = (holder.is_copy, holder.row)
            self._waiting.waits_for[who] = key
            self._waiting.holders[key] = holder
        return False


def _stays(holder: Holder | None) -> bool:
    return holder is not None and not holder.leaving


def _find_circle(edges: dict[_Key, list[_Key]]) -> list[_Key]:
    """Some circle, each followed by whom it waits for; empty when there is none."""
    done: set[_Key] = set()
    for start in edges:
        path: dict[_Key, Iterator[_Key]] = {start: iter(edges[start])}
        while path:
            at, following = next(reversed(path.items()))
            then = next((one for one in following if one not in done), None)
            if then is None:
                done.add(at)
                del path[at]
            elif then in path:
                walked = list(path)
                return walked[walked.index(then) :]
            else:
                path[then] = iter(edges.get(then, ()))
    return []
