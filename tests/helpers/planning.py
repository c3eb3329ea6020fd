"""Pure. A disk and a goal as plain values, and the planner between them: carries plans out until nothing is left to do.

What the rows say in the program is here a handful of dictionaries: `Goal` is what Global wants on this disk, `Disk` is
what stands there. `rounds_until_equal` asks `engine.plan` again and again, as the folder's task does, and holds every
single operation to what it may never do.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import assert_never

from syncd.engine.plan import (
    Case,
    CopyCase,
    Create,
    Holder,
    Kind,
    MakeDir,
    Move,
    Operation,
    Park,
    Place,
    RemoveDir,
    Replace,
    Retire,
    SetAttributes,
    Settle,
    Version,
    Waiting,
    plan,
)

ROOT = 0
PARKED = -1
NAMES = tuple(bytes([letter]) for letter in b"abcdef")
CONTENT_KINDS = (Kind.FILE, Kind.SYMLINK)


@dataclass(frozen=True, slots=True)
class Thing:
    """A node as it is to be, or as it stands on the disk."""

    kind: Kind
    parent: int
    name: bytes
    version: int = 0
    attributes: int = 0


@dataclass(frozen=True, slots=True)
class Copy:
    """A conflict copy on the disk."""

    node: int
    version: int
    parent: int
    name: bytes


@dataclass(slots=True)
class Goal:
    """What Global wants: living nodes, and by node and version the names of conflict copies."""

    things: dict[int, Thing] = field(default_factory=dict)
    copies: dict[int, dict[int, bytes]] = field(default_factory=dict)

    def taken(self, parent: int) -> set[bytes]:
        names = {thing.name for thing in self.things.values() if thing.parent == parent}
        for node, copies in self.copies.items():
            if self.things[node].parent == parent:
                names.update(copies.values())
        return names

    def below(self, node: int) -> set[int]:
        """A node with all that is in it."""
        found = {node}
        while more := {one for one, thing in self.things.items() if thing.parent in found} - found:
            found |= more
        return found


@dataclass(slots=True)
class Disk:
    """What stands on this disk: nodes and conflict copies."""

    things: dict[int, Thing] = field(default_factory=dict)
    copies: dict[int, Copy] = field(default_factory=dict)

    def at(self, parent: int, name: bytes) -> tuple[int | None, int | None]:
        """Who stands at a name: a node, a copy, or nobody."""
        for node, thing in self.things.items():
            if (thing.parent, thing.name) == (parent, name):
                return node, None
        for row, copy in self.copies.items():
            if (copy.parent, copy.name) == (parent, name):
                return None, row
        return None, None

    def is_reachable(self, node: int) -> bool:
        """It stands below the root, in directories."""
        while node != ROOT:
            thing = self.things.get(node)
            if thing is None or thing.kind is not Kind.DIR:
                return False
            node = thing.parent
        return True

    def parked_above(self, node: int) -> int | None:
        """The directory at or above this one that is parked."""
        while node in self.things:
            if self.things[node].parent == PARKED:
                return node
            node = self.things[node].parent
        return None

    def between(self, node: int, parent: int) -> list[int]:
        """From `parent` up to a directory that it stands in; nothing when it does not."""
        passed = []
        while parent not in (ROOT, PARKED, node) and parent in self.things:
            passed.append(parent)
            parent = self.things[parent].parent
        return passed if parent == node else []

    def children(self, node: int) -> int:
        nodes = sum(thing.parent == node for thing in self.things.values())
        return nodes + sum(copy.parent == node for copy in self.copies.values())


# --- trees by chance -------------------------------------------------------------------------------------------------


def random_goal(chance: Random, size: int) -> Goal:
    """Some tree."""
    goal = Goal()
    for node in range(1, size + 1):
        add(goal, chance, node)
    return goal


def add(goal: Goal, chance: Random, node: int) -> None:
    """One more node, somewhere."""
    parent, name = some_place(goal, chance, [])
    kind = chance.choice([Kind.DIR, Kind.FILE, Kind.FILE, Kind.SYMLINK])
    goal.things[node] = Thing(kind, parent, name, chance.randint(1, 3), chance.randint(0, 1))


def some_place(goal: Goal, chance: Random, without: Iterable[int]) -> tuple[int, bytes]:
    """A directory and a free name in it."""
    excluded = set(without)
    directories = [node for node, one in goal.things.items() if one.kind is Kind.DIR and node not in excluded]
    parent = chance.choice([ROOT, *directories])
    taken = goal.taken(parent)
    free = [name for name in (*NAMES, *(b"%d" % number for number in range(40))) if name not in taken][:6]
    return parent, chance.choice(free)


def perturb(goal: Goal, chance: Random, times: int, next_node: int) -> Goal:
    """Another tree, some changes away."""
    changed = Goal(dict(goal.things), {node: dict(copies) for node, copies in goal.copies.items()})
    for _ in range(times):
        next_node += 1
        change(changed, chance, next_node)
    return changed


def change(goal: Goal, chance: Random, new: int) -> None:
    """One thing that people do, and what becomes of it in Global."""
    what = chance.randrange(8)
    if what == 0 or not goal.things:
        add(goal, chance, new)
        return
    node = chance.choice(list(goal.things))
    thing = goal.things[node]
    if what == 1:
        for gone in goal.below(node):
            del goal.things[gone]
            goal.copies.pop(gone, None)
    elif what in (2, 3):
        parent, name = some_place(goal, chance, goal.below(node))
        goal.things[node] = replace(thing, parent=parent, name=name)
        rename_copies(goal, chance, node)
    elif what == 4:
        swap(goal, chance, node)
    elif what == 5 and thing.kind in CONTENT_KINDS:
        goal.things[node] = replace(thing, version=chance.randint(1, 9), kind=chance.choice(CONTENT_KINDS))
    elif what == 6 and thing.kind in CONTENT_KINDS:
        goal.copies.setdefault(node, {})[chance.randint(10, 19)] = b""
        rename_copies(goal, chance, node)
    elif what == 7:
        goal.things[node] = replace(thing, attributes=1 - thing.attributes)


def swap(goal: Goal, chance: Random, node: int) -> None:
    other = chance.choice(list(goal.things))
    if node in goal.below(other) or other in goal.below(node):
        return
    one, two = goal.things[node], goal.things[other]
    goal.things[node] = replace(one, parent=two.parent, name=two.name)
    goal.things[other] = replace(two, parent=one.parent, name=one.name)
    for moved in (node, other):
        rename_copies(goal, chance, moved)


def rename_copies(goal: Goal, chance: Random, node: int) -> None:
    """Copies stand beside their node, under free names, sometimes one that was another's."""
    copies = goal.copies.pop(node, {})
    for version in copies:
        taken = goal.taken(goal.things[node].parent)
        name = b"%s (%d)" % (goal.things[node].name, chance.choice([0, version]))
        goal.copies.setdefault(node, {})[version] = name if name not in taken else b"%s (%d %d)" % (name, node, version)


def disk_of(goal: Goal, chance: Random) -> Disk:
    """A disk on which that goal was reached; here and there something was not fetched yet."""
    disk = Disk(dict(goal.things))
    for node, thing in goal.things.items():
        if thing.kind in CONTENT_KINDS and chance.random() < 0.1:
            del disk.things[node]
    rows = (
        Copy(node, version, goal.things[node].parent, name)
        for node, copies in goal.copies.items()
        for version, name in copies.items()
    )
    disk.copies.update(enumerate(rows, 1))
    return disk


# --- one round -------------------------------------------------------------------------------------------------------


def cases(goal: Goal, disk: Disk, among: Container[int] | None = None) -> Iterator[Case]:
    """What the planner is told of every node that is not as it should be, or of some of these."""
    standing_copies = {copy.node for copy in disk.copies.values()}
    for node in sorted(goal.things.keys() | disk.things.keys() | standing_copies | goal.copies.keys()):
        if among is not None and node not in among:
            continue
        has_copies = node in standing_copies or node in goal.copies
        if not has_copies and goal.things.get(node) == disk.things.get(node):
            continue  # right, at a glance
        case = _case(goal, disk, node)
        if not _is_right(case):
            yield case


def _is_right(case: Case) -> bool:
    if any((copy.wanted_name, case.parent) != (copy.disk_name, copy.disk_parent) for copy in case.copies):
        return False
    if not case.lives:
        return case.disk_kind is Kind.NONE
    here = (case.disk_kind, case.disk_parent, case.disk_name)
    return here == (case.kind, case.parent, case.wanted_name) and case.same_content and case.same_attributes


def _case(goal: Goal, disk: Disk, node: int) -> Case:
    wanted, standing = goal.things.get(node), disk.things.get(node)
    parent = wanted.parent if wanted else (standing.parent if standing else ROOT)
    name = wanted.name if wanted else (standing.name if standing else b"")
    is_parked = standing is not None and standing.parent == PARKED
    gives_way = standing is not None and standing.kind is Kind.DIR and (not wanted or wanted.kind is not Kind.DIR)
    return Case(
        node=node,
        kind=wanted.kind if wanted else Kind.DELETED,
        lives=wanted is not None,
        version=Version(wanted.version, 0) if wanted and wanted.kind is not Kind.DIR else None,
        size=1,
        parent=parent,
        parent_ready=disk.is_reachable(parent),
        wanted_name=name,
        holder=_holder(goal, disk, parent, name, node, None) if wanted else None,
        disk_kind=standing.kind if standing else Kind.NONE,
        disk_parent=standing.parent if standing else None,
        disk_name=standing.name if standing else None,
        same_content=bool(wanted and standing and _content(wanted) == _content(standing)),
        same_attributes=bool(wanted and standing and wanted.attributes == standing.attributes),
        disk_children=disk.children(node) if gives_way else 0,
        copies=tuple(_copies(goal, disk, node, parent)),
        whole_subtree_ready=True,
        way_out=Place(ROOT, standing.name) if standing and is_parked else None,
        obstacle=disk.parked_above(parent),
        own_below=tuple(disk.between(node, parent)) if standing else (),
        hidden_in=disk.parked_above(standing.parent) if standing else None,
    )


def _content(thing: Thing) -> tuple[Kind, int]:
    return thing.kind, 0 if thing.kind is Kind.DIR else thing.version


def _copies(goal: Goal, disk: Disk, node: int, parent: int) -> Iterator[CopyCase]:
    wanted = goal.copies.get(node, {})
    standing = {copy.version: (row, copy) for row, copy in disk.copies.items() if copy.node == node}
    for version in sorted(wanted.keys() | standing.keys()):
        row, copy = standing.get(version, (None, None))
        name = wanted.get(version)
        holder = None if name is None else _holder(goal, disk, parent, name, None, row)
        parent_now, name_now = (copy.parent, copy.name) if copy else (None, None)
        out = Place(ROOT, copy.name) if copy and copy.parent == PARKED else None
        hidden_in = disk.parked_above(copy.parent) if copy else None
        yield CopyCase(Version(version, 0), Kind.FILE, 1, name, row, parent_now, name_now, holder, out, hidden_in)


def _holder(goal: Goal, disk: Disk, parent: int, name: bytes, node: int | None, copy: int | None) -> Holder | None:
    there, other = disk.at(parent, name)
    if there is not None and there != node:
        wanted = goal.things.get(there)
        return Holder(there, False, there, wanted is None or (wanted.parent, wanted.name) != (parent, name))
    if other is not None and other != copy:
        owner = disk.copies[other]
        living = goal.things.get(owner.node)
        stays = living is not None and living.parent == parent
        wanted_name = goal.copies.get(owner.node, {}).get(owner.version) if stays else None
        return Holder(other, True, owner.node, wanted_name != name)
    return None


class Refused(Exception):
    """The disk cannot do that now: it is planned again in the next round."""


def carry_out(operation: Operation, goal: Goal, disk: Disk) -> None:
    """Do it, as the tree would. AssertionError for what must never be asked."""
    _require_reach(operation, disk)
    match operation:
        case MakeDir(node, place):
            assert node not in disk.things, "a directory made twice"
            _require_free(disk, place)
            disk.things[node] = Thing(Kind.DIR, place.parent, place.name, goal.things[node].version, 0)
        case Create(node, version, kind, _, place, copy):
            _require_free(disk, place)
            if copy:
                disk.copies[max(disk.copies, default=0) + 1] = Copy(node, version.cs, place.parent, place.name)
            else:
                assert node not in disk.things, "a content created beside another of the same node"
                disk.things[node] = Thing(kind, place.parent, place.name, version.cs, goal.things[node].attributes)
        case Replace(node, version, kind, _):
            before = disk.things[node]
            assert before.kind is not Kind.DIR, "a directory replaced by a content"
            assert (before.kind, before.version) != (kind, version.cs), "a content replaced by itself"
            attributes = goal.things[node].attributes
            disk.things[node] = replace(before, kind=kind, version=version.cs, attributes=attributes)
        case Move(node, place, row):
            _require_free(disk, place)
            if row is not None:
                disk.copies[row] = replace(disk.copies[row], parent=place.parent, name=place.name)
            elif disk.between(node, place.parent):
                raise Refused
            else:
                disk.things[node] = replace(disk.things[node], parent=place.parent, name=place.name)
        case Park(node, row):
            token = b"token %d %d" % (node, row or 0)
            if row is not None:
                disk.copies[row] = replace(disk.copies[row], parent=PARKED, name=token)
            else:
                disk.things[node] = replace(disk.things[node], parent=PARKED, name=token)
        case Retire(node, row):
            _retire(node, row, goal, disk)
        case RemoveDir(node):
            assert disk.things[node].kind is Kind.DIR
            if disk.children(node):
                raise Refused
            assert node not in goal.things or goal.things[node].kind is not Kind.DIR, "a wanted directory removed"
            del disk.things[node]
        case SetAttributes(node):
            disk.things[node] = replace(disk.things[node], attributes=goal.things[node].attributes)
        case Settle():
            pass
        case other:
            assert_never(other)


def _retire(node: int, row: int | None, goal: Goal, disk: Disk) -> None:
    wanted = goal.things.get(node)
    if row is not None:
        version = disk.copies[row].version
        assert disk.copies[row].parent != PARKED, "a parked conflict copy retired"
        assert wanted is None or version not in goal.copies.get(node, {}), "a wanted conflict copy retired"
        del disk.copies[row]
        return
    standing = disk.things[node]
    assert standing.kind is not Kind.DIR, "a directory retired"
    assert standing.parent != PARKED, "a parked content retired"
    assert wanted is None or _content(wanted) != _content(standing), "a wanted content retired"
    del disk.things[node]


def _require_reach(operation: Operation, disk: Disk) -> None:
    """What stands in a directory that is parked has no path: nothing can be done to it."""
    if isinstance(operation, MakeDir | Create | Settle):
        return
    row = operation.copy if isinstance(operation, Move | Park | Retire) else None
    parent = disk.things[operation.node].parent if row is None else disk.copies[row].parent
    if disk.parked_above(parent) is not None:
        raise Refused


def _require_free(disk: Disk, place: Place) -> None:
    if disk.at(place.parent, place.name) != (None, None) or not disk.is_reachable(place.parent):
        raise Refused


# --- all rounds ------------------------------------------------------------------------------------------------------


def is_reached(goal: Goal, disk: Disk) -> bool:
    """The disk is exactly what Global wants."""
    if disk.things.keys() != goal.things.keys() or any(True for _ in cases(goal, disk)):
        return False
    wanted = {(node, version) for node, copies in goal.copies.items() for version in copies}
    return {(copy.node, copy.version) for copy in disk.copies.values()} == wanted


def rounds_until_equal(goals: Sequence[Goal], disk: Disk, chance: Random, most: int, page: int | None = None) -> int:
    """Rounds until the disk is the last goal. Others are given up for the next one on the way, as news arrives.

    `page`: how many nodes the planner sees at a time; all, if nothing is said.
    """
    at = 0
    for round_ in range(most + 1):
        goal = goals[at]
        pending = list(cases(goal, disk))
        if not pending and is_reached(goal, disk):
            if at == len(goals) - 1:
                return round_
            at += 1
            continue
        if at < len(goals) - 1 and chance.random() < 0.3:
            at += 1
            continue
        _one_round(goal, disk, [case.node for case in pending], page or len(pending))
    raise AssertionError(f"not equal after {most} rounds: {list(cases(goals[at], disk))}")


def _one_round(goal: Goal, disk: Disk, nodes: Sequence[int], page: int) -> None:
    waiting = Waiting()
    for start in range(0, max(1, len(nodes)), max(1, page)):
        part = set(nodes[start : start + page])
        chosen = list(cases(goal, disk, part))
        for operation in plan(chosen, waiting, is_last=start + page >= len(nodes)).operations:
            try:
                carry_out(operation, goal, disk)
            except Refused:
                continue
