"""Whatever people did to a folder: after a restore the chosen part is what it was, everything else is what it is, and
an undo leads back.

Also where several things want one name: who stands under a conflict name and is not restored keeps it, though what
showed the name goes, or comes back. Only a deleted directory that lived because of what was in it goes with the last of
that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from blake3 import blake3
from hypothesis import event, given
from hypothesis import strategies as st

from syncd.engine.restore import Plan, hold_names, plan_restore, plan_undo
from syncd.engine.timeline import Seen, Tree, tree_of
from syncd.model.ids import ROOT_NODE, NodeId, VersionId
from syncd.model.join import UNKNOWN, NodeState, Stamp, join_record, join_states
from syncd.model.paths import Path
from syncd.model.records import DELETED, DIRECTORY, Attributes, Place, Record
from tests.helpers.model_values import file_with, id32, node_id
from tests.helpers.tasks import device_keys

pytestmark = pytest.mark.long

DEVICES = [device_keys(name).public.id for name in ("ann", "bob", "dan")]
NAMES = (b"a", b"b.txt", b"c")


@dataclass
class Desk:
    """One person's computer: changes what is shown there, and now and then learns what the other one knows."""

    number: int
    states: dict[NodeId, NodeState] = field(default_factory=dict)
    lamport: int = 0

    def publish(self, records: Sequence[Record], version: int) -> None:
        self.lamport += 1
        for index, record in enumerate(records):
            name = VersionId(blake3(id32(version + index)).digest())  # names of copies are made of its first digits
            stamp = Stamp(self.lamport, DEVICES[self.number], index, name, "p")
            self.states[record.node] = join_record(self.states.get(record.node, UNKNOWN), record, stamp)

    def learn(self, other: Desk) -> None:
        self.lamport = max(self.lamport, other.lamport)
        for node, state in other.states.items():
            self.states[node] = join_states(self.states.get(node, UNKNOWN), state)


@st.composite
def lives(draw: st.DrawFn) -> tuple[dict[NodeId, NodeState], dict[NodeId, NodeState]]:
    """What was known at one moment and at a later one, of a folder in which two people worked."""
    desks = [Desk(0), Desk(1)]
    then: dict[NodeId, NodeState] | None = None
    for number in range(draw(st.integers(1, 14))):
        desk = desks[draw(st.integers(0, 1))]
        action = draw(st.sampled_from(["make", "make", "edit", "edit", "move", "delete", "learn", "look"]))
        if action == "learn":
            desk.learn(desks[1 - desk.number])
        elif action == "look" and then is None:
            then = dict(desk.states)
        else:
            desk.publish(draw(_deed(desk, action, number)), 10_000 + 100 * number)
    desks[0].learn(desks[1])
    return then or {}, {
        node: join_states(state, (then or {}).get(node, UNKNOWN)) for node, state in desks[0].states.items()
    }


@st.composite
def _deed(draw: st.DrawFn, desk: Desk, action: str, number: int) -> list[Record]:
    tree = tree_of(desk.states)
    places = [(), *(path for path, seen in tree.items() if seen.is_directory and seen.copy is None)]
    into = draw(st.sampled_from(places))
    path = (*into, draw(st.sampled_from(NAMES)))
    parent = tree[into].node if into else ROOT_NODE
    items = [at for at, seen in tree.items() if seen.copy is None]
    if action == "make" and path not in tree:
        content = draw(st.sampled_from([DIRECTORY, DIRECTORY, file_with(number)]))
        return [
            Record(
                node_id(100 + 2 * number + desk.number),
                content,
                (),
                Place(parent, path[-1]),
                (),
                Attributes(0o644, number),
                (),
            )
        ]
    if not items:
        return []
    chosen = draw(st.sampled_from(items))
    seen = tree[chosen]
    if action == "edit" and not seen.is_directory:
        return [
            Record(seen.node, file_with(50 + number), _heads(desk, seen.node), None, (), Attributes(0o600, number), ())
        ]
    if action == "move" and path not in tree and into[: len(chosen)] != chosen:
        return [Record(seen.node, None, (), Place(parent, path[-1]), ())]
    if action == "delete":
        gone = {one.node for at, one in tree.items() if at[: len(chosen)] == chosen}
        return [Record(node, DELETED, _heads(desk, node)) for node in sorted(gone)]
    return []


def _heads(desk: Desk, node: NodeId) -> tuple[VersionId, ...]:
    return tuple(sorted(head.version for head in desk.states[node].heads))


def published(states: Mapping[NodeId, NodeState], records: Sequence[Record], number: int) -> dict[NodeId, NodeState]:
    """What is known when these records have been joined as well. The author has seen everything."""
    desk = Desk(2, dict(states), 1000 + number)
    desk.publish(records, 90_000 + 1000 * number)
    return desk.states


def plan_for(then: Tree, states: Mapping[NodeId, NodeState], part: Path, only: bytes | None) -> Plan:
    def scope(path: Path, seen: Seen) -> bool:
        inside = path[: len(part)] == part
        return inside and (only is None or (path[-1] == only and not seen.is_directory))

    now = tree_of(states)
    plan = plan_restore(then, now, scope, lambda node: states.get(node, UNKNOWN))
    return hold_names(plan, now, states, scope)


def shown(tree: Tree) -> dict[Path, object]:
    """What a person sees."""
    return {
        path: (
            seen.content.identity,
            None if seen.copy is not None else seen.attributes.mode,
            None if seen.is_directory or seen.copy is not None else seen.attributes.mtime_ns,
        )
        for path, seen in tree.items()
    }


def undated(tree: dict[Path, object]) -> dict[Path, object]:
    """Without the digits in conflict names: they are of the change that gave the name, and an undo is a new one."""
    return {tuple(re.sub(rb" [0-9a-f]{8,}\)", b")", name) for name in path): value for path, value in tree.items()}


def changed(now: Tree, after: Tree, paths: set[Path]) -> list[Path]:
    """Names of these that do not show what they showed. (A copy that has become a file has attributes of its own.)"""
    return [path for path in sorted(paths) if path not in after or not now[path].same_as(after[path])]


def contested(tree: Tree, states: Mapping[NodeId, NodeState]) -> set[Path]:
    """Paths that several things want, each under the name that it was given, and the paths that they got."""
    wanting: dict[Path, set[Path]] = {}
    for path, seen in tree.items():
        place = states[seen.node].place
        wanting.setdefault((*path[:-1], path[-1] if place is None else place.value.name), set()).add(path)
    return {path for wanted, got in wanting.items() if len(got) > 1 for path in (wanted, *got)}


def within(path: Path, tops: set[Path]) -> bool:
    return any(path[:length] in tops for length in range(1, len(path) + 1))


PARTS = st.sampled_from([(), (b"a",), (b"c",), (b"a", b"b.txt"), (b"c", b"a")])


@given(lives(), PARTS)
def test_restored_part_is_what_it_was_and_the_rest_what_it_is(
    life: tuple[dict[NodeId, NodeState], dict[NodeId, NodeState]], part: Path
) -> None:
    then, states = tree_of(life[0]), life[1]
    now = tree_of(states)
    plan = plan_for(then, states, part, None)
    known = published(states, plan.records, 1)
    after = tree_of(known)
    event(f"{min(len(plan.records), 3)} records")
    expected = {path: value for path, value in shown(then).items() if path[: len(part)] == part}
    several = contested(now, states) | contested(after, known)
    event("others want that name" if within(part, several) else "names are enough")
    outside = {path for path in now if path[: len(part)] != part and part[: len(path)] != path}
    if expected or part == ():
        assert changed(now, after, outside) == []
    assert {path: value for path, value in shown(after).items() if path[: len(part)] == part} == expected
    assert plan_for(then, known, part, None).records == []


@given(lives())
def test_restore_of_some_names_touches_no_others(life: tuple[dict[NodeId, NodeState], dict[NodeId, NodeState]]) -> None:
    then, states = tree_of(life[0]), life[1]
    now = tree_of(states)
    known = published(states, plan_for(then, states, (), b"b.txt").records, 1)
    after = tree_of(known)
    several = contested(now, states) | contested(after, known)
    event("some want one name" if several else "names are enough")

    files = {path for path, seen in then.items() if path[-1] == b"b.txt" and not seen.is_directory}
    files -= {path for path, seen in now.items() if seen.is_directory}  # it keeps the name, as directories always do
    assert {path: shown(after)[path] for path in files} == {path: shown(then)[path] for path in files}

    chosen = {path for path, seen in now.items() if path[-1] == b"b.txt" and not seen.is_directory}
    gone = chosen - then.keys()
    assert not gone & after.keys()
    lasting = {path for path, seen in now.items() if not (seen.is_directory and seen.version is None)}
    assert changed(now, after, lasting - chosen) == []


def test_who_wanted_the_same_name_keeps_its_own_when_the_restored_file_goes() -> None:
    """Two people made `b.txt`, and nobody had at the moment that is restored: the one that shows it goes. The other was
    not chosen, for it stood under a conflict name, and there it stays: nothing is called `b.txt`, as then."""
    first, second = Desk(0), Desk(1, lamport=6)
    for desk, node in ((first, node_id(1)), (second, node_id(2))):
        made = file_with(desk.number)
        desk.publish(
            [Record(node, made, (), Place(ROOT_NODE, b"b.txt"), (), Attributes(0o644, 1), ())], 100 + desk.lamport
        )
    first.learn(second)
    now = tree_of(first.states)
    assert now[(b"b.txt",)].node == node_id(1)
    assert len(now) == 2
    (conflict,) = now.keys() - {(b"b.txt",)}
    plan = plan_for({}, first.states, (), b"b.txt")
    after = tree_of(published(first.states, plan.records, 1))
    assert {path: seen.node for path, seen in after.items()} == {conflict: node_id(2)}


def test_deleted_directory_goes_with_the_restored_file_that_kept_it() -> None:
    desk, other = Desk(0), Desk(1)
    desk.publish([Record(node_id(1), DIRECTORY, (), Place(ROOT_NODE, b"a"), (), Attributes(0o755), ())], 100)
    other.learn(desk)
    other.publish([Record(node_id(1), DELETED, _heads(other, node_id(1)))], 200)
    place = Place(node_id(1), b"b.txt")
    desk.publish([Record(node_id(2), file_with(1), (), place, (), Attributes(0o644, 1), ())], 300)
    desk.learn(other)
    assert set(tree_of(desk.states)) == {(b"a",), (b"a", b"b.txt")}
    plan = plan_for({}, desk.states, (), b"b.txt")
    assert [record.node for record in plan.records] == [node_id(2)]
    assert tree_of(published(desk.states, plan.records, 1)) == {}


@given(lives(), PARTS)
def test_undo_of_a_restore_leads_back(
    life: tuple[dict[NodeId, NodeState], dict[NodeId, NodeState]], part: Path
) -> None:
    then, states = tree_of(life[0]), life[1]
    plan = plan_for(then, states, part, None)
    done = published(states, plan.records, 1)
    touched = {record.node for record in plan.records}
    before = {node: states[node] for node in touched if node in states}
    undo, changed = plan_undo(before, {node: done[node] for node in touched}, done)
    assert changed == []
    back, was = (undated(shown(tree_of(tree))) for tree in (published(done, undo.records, 2), states))
    copies = {path for path, seen in tree_of(states).items() if seen.copy is not None}
    event("with copies" if copies else "without copies")
    if not copies:
        assert back == was


@given(lives())
def test_undo_leaves_alone_what_was_changed_since(
    life: tuple[dict[NodeId, NodeState], dict[NodeId, NodeState]],
) -> None:
    then, states = tree_of(life[0]), life[1]
    plan = plan_for(then, states, (), None)
    done = published(states, plan.records, 1)
    touched = [record.node for record in plan.records]
    edits = [Record(node, file_with(99), tuple(sorted(head.version for head in done[node].heads))) for node in touched]
    since = published(done, edits, 2)
    undo, changed = plan_undo(states, {node: done[node] for node in touched}, since)
    assert undo.records == []
    assert changed == touched
