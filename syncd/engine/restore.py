"""Pure. What has to be published so that part of a folder is again what it was.

A restore is an ordinary changeset: it names every version it replaces, so it travels like any edit, meets concurrent
edits as conflicts, and can itself be undone. Exact means that what was not there then goes, too; it goes into history.

Nodes come back as themselves wherever that takes nothing away from elsewhere: what was moved out of the part that is
restored stays where it is now, and another node takes its old name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from typing import Final

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.engine.timeline import Seen, Tree, tree_of
from syncd.model.ids import ROOT_NODE, NodeId, VersionId, new_node_id
from syncd.model.join import UNKNOWN, NodeState, Stamp, decide, join_record
from syncd.model.paths import Path
from syncd.model.records import DELETED, DIRECTORY, Attributes, Content, ContentKind, Place, Record, Versions

ROUNDS_OF_NAMES: Final = 8
"""Each holds names that those held before have set free; more than two were never needed."""
_SOMEBODY: Final = DeviceId(bytes(32))

StateOf = Callable[[NodeId], NodeState]
"""What is known of a node now; UNKNOWN for one that nobody has heard of."""

Scope = Callable[[Path, Seen], bool]
"""Whether something belongs to the part that is restored."""


@dataclass(slots=True)
class Plan:
    """Records to publish. `contents`: what has to be put in place for them."""

    records: list[Record] = field(default_factory=list)
    contents: list[Content] = field(default_factory=list)
    deletes: int = 0

    @property
    def size(self) -> int:
        """Bytes of the files that have to be put in place."""
        return sum(content.size for content in self.contents)


def plan_restore(then: Tree, now: Tree, scope: Scope, state_of: StateOf) -> Plan:
    """How to come from `now` to `then` in a part of a folder. Both trees hold all of the part, and every directory
    above it."""
    return _Planner(then, now, scope, state_of).run()


class _Planner:
    def __init__(self, then: Tree, now: Tree, scope: Scope, state_of: StateOf) -> None:
        self._then, self._now, self._state_of = then, now, state_of
        self._wanted = {path: seen for path, seen in then.items() if scope(path, seen)}
        self._present = {path: seen for path, seen in now.items() if scope(path, seen)}
        self._elsewhere = {seen.node for path, seen in now.items() if path not in self._present and seen.copy is None}
        self._copies: dict[NodeId, list[tuple[Path, Seen]]] = {}
        """Conflict copies outside of the part, by their node: they stay."""
        for path, seen in now.items():
            if seen.copy is not None and path not in self._present:
                self._copies.setdefault(seen.node, []).append((path, seen))
        self._nodes: dict[Path, NodeId] = {(): ROOT_NODE}
        self._used: set[NodeId] = set()
        self._plan = Plan()

    def run(self) -> Plan:
        for path in sorted(self._wanted, key=lambda path: (len(path), path)):
            self._want(path, self._wanted[path])
        for seen in self._present.values():
            if seen.node not in self._used:
                self._used.add(seen.node)
                self._delete(seen.node)
        return self._plan

    def _want(self, path: Path, seen: Seen) -> None:
        parent = self._directory(path[:-1])
        node = self._node_for(parent, path, seen)
        self._nodes[path] = node
        self._used.add(node)
        state = self._state_of(node)
        place = None if _stands_at(state, parent, path[-1]) else Place(parent, path[-1])
        if place is not None or any(copy.content.same_as(seen.content) for _, copy in self._copies.get(node, ())):
            self._part_from_copies(node, state)
        content, replaced = self._content(node, state, seen.content)
        attributes = None if _has_attributes(state, seen) else _attributes(seen)
        if content is None and place is None and attributes is None:
            return
        self._plan.records.append(
            Record(
                node,
                content,
                replaced,
                place,
                () if place is None or state.place is None else (state.place.version,),
                attributes,
                () if attributes is None or state.attributes is None else (state.attributes.version,),
            )
        )

    def _directory(self, path: Path) -> NodeId:
        """The node of a directory that is there, or will be."""
        known = self._nodes.get(path)
        if known is not None:
            return known
        here = self._now.get(path)
        if here is not None and here.is_directory and here.copy is None and path not in self._present:
            self._nodes[path] = here.node
            return here.node
        then = self._then.get(path)
        seen = Seen(NodeId(b""), None, DIRECTORY, Attributes(0o755), None, None) if then is None else then
        self._want(path, seen)
        return self._nodes[path]

    def _node_for(self, parent: NodeId, path: Path, seen: Seen) -> NodeId:
        is_free = seen.copy is None and seen.node not in self._elsewhere and seen.node not in self._used
        if is_free and seen.node:
            return seen.node
        node = new_node_id(parent, path[-1], seen.version)
        while node in self._elsewhere or node in self._used:
            node = new_node_id(node, path[-1], seen.version)
        return node

    def _content(self, node: NodeId, state: NodeState, content: Content) -> tuple[Content | None, Versions]:
        shown = decide(state.heads).shown
        replaced = self._replaced(node, state)
        if len(replaced) == 1 and shown is not None and shown.value.same_as(content):
            return None, ()
        if shown is None or not shown.value.same_as(content):
            self._plan.contents.append(content)
        return content, replaced

    def _replaced(self, node: NodeId, state: NodeState) -> Versions:
        spared = {seen.copy for _, seen in self._copies.get(node, ())}
        return tuple(sorted(head.version for head in state.heads if head.version not in spared))

    def _part_from_copies(self, node: NodeId, state: NodeState) -> None:
        """Before a node goes, gets another name, or the content of one of them: its copies outside of the part become
        files of their own, under the names that they have."""
        for path, seen in self._copies.pop(node, ()):
            if state.place is not None:
                parent = state.place.value.parent
                own = self._node_for(parent, path, seen)
                self._used.add(own)
                place, attributes = Place(parent, path[-1]), _attributes(seen)
                self._plan.contents.append(seen.content)
                self._plan.records.append(Record(own, seen.content, (), place, (), attributes, ()))

    def _delete(self, node: NodeId) -> None:
        state = self._state_of(node)
        self._part_from_copies(node, state)
        replaced = self._replaced(node, state)
        if decide(state.heads).shown is not None and replaced:
            self._plan.records.append(Record(node, DELETED, replaced))
            self._plan.deletes += 1


def hold_names(plan: Plan, now: Tree, states: Mapping[NodeId, NodeState], scope: Scope) -> Plan:
    """The same plan with records that hold the names of everything outside of the part, as far as these would change:
    who wanted a name that becomes free, or that somebody takes, keeps the one under which it stands.

    `now`: what the states describe.
    """
    shown = {seen.node: path for path, seen in now.items() if seen.copy is None and not scope(path, seen)}
    touched = {record.node for record in plan.records}
    if not shown:
        return plan
    for _ in range(ROUNDS_OF_NAMES):
        after = {seen.node: path for path, seen in tree_of(_joined(states, plan.records)).items() if seen.copy is None}
        moved = [node for node, path in shown.items() if node in after and after[node] != path and node not in touched]
        held = [record for node in sorted(moved) if (record := _held(node, states[node], shown[node], now)) is not None]
        if not held:
            break
        plan.records += held
        touched |= {record.node for record in held}
    return plan


def _held(node: NodeId, state: NodeState, path: Path, now: Tree) -> Record | None:
    """What lets a node stand under the name that it is shown by, in the directory that it is in."""
    parent = ROOT_NODE if len(path) == 1 else now[path[:-1]].node
    place = state.place
    if place is None or place.value.parent != parent or place.value.name == path[-1]:
        return None  # its directory has moved, or it is not where its place says: that is no matter of its name
    return Record(node, None, (), Place(parent, path[-1]), (place.version,))


def _joined(states: Mapping[NodeId, NodeState], records: Iterable[Record]) -> dict[NodeId, NodeState]:
    """What will be known once these records have been published: by somebody who has seen everything."""
    newest = max((head.stamp.lamport for state in states.values() for head in state.heads), default=0)
    newest = max([newest, *(state.place.stamp.lamport for state in states.values() if state.place is not None)])
    joined = dict(states)
    for index, record in enumerate(records):
        version = VersionId(b"\xff" * 28 + index.to_bytes(4, "big"))
        stamp = Stamp(newest + 1, _SOMEBODY, index, version, "")
        joined[record.node] = join_record(joined.get(record.node, UNKNOWN), record, stamp)
    return joined


def plan_undo(
    before: Mapping[NodeId, NodeState], done: Mapping[NodeId, NodeState], now: Mapping[NodeId, NodeState]
) -> tuple[Plan, list[NodeId]]:
    """How to take back what was done to some nodes, and which of them somebody has changed since: these stay.

    `before`, `done`: what was known of them before and after it.
    """
    plan = Plan()
    changed: list[NodeId] = []
    for node, after in done.items():
        current = now[node]
        if (current.heads, current.place, current.attributes) != (after.heads, after.place, after.attributes):
            changed.append(node)
            continue
        record = _back(node, before.get(node), current, plan)
        if record is not None:
            plan.records.append(record)
    return plan, changed


def _back(node: NodeId, before: NodeState | None, now: NodeState, plan: Plan) -> Record | None:
    verdict = None if before is None else decide(before.heads)
    was = None if verdict is None else verdict.shown
    beside = () if verdict is None else tuple(copy.version for copy in verdict.copies)  # stood there before: they stay
    heads = tuple(sorted(head.version for head in now.heads if head.version not in beside))
    shown = decide(now.heads).shown
    content: Content | None = None
    if was is None:
        content = None if shown is None else DELETED
        plan.deletes += content is not None
    elif shown is None or not shown.value.same_as(was.value):
        content = was.value
        plan.contents.append(was.value)
    place = attributes = None
    if before is not None and before.place is not None and now.place is not None:
        place = None if before.place.value == now.place.value else before.place.value
    if before is not None and before.attributes is not None and now.attributes is not None:
        attributes = None if before.attributes.value == now.attributes.value else before.attributes.value
    if content is None and place is None and attributes is None:
        return None
    return Record(
        node,
        content,
        heads if content is not None else (),
        place,
        (now.place.version,) if place is not None and now.place is not None else (),
        attributes,
        (now.attributes.version,) if attributes is not None and now.attributes is not None else (),
    )


def _stands_at(state: NodeState, parent: NodeId, name: bytes) -> bool:
    return state.place is not None and (state.place.value.parent, state.place.value.name) == (parent, name)


def _has_attributes(state: NodeState, seen: Seen) -> bool:
    if seen.content.kind is ContentKind.SYMLINK:
        return True
    if state.attributes is None:
        return False
    known = state.attributes.value
    same = seen.attributes.mode is None or known.mode == seen.attributes.mode
    if seen.is_directory:
        return same
    return same and seen.attributes.mtime_ns in (None, known.mtime_ns) and seen.attributes.xattrs == known.xattrs


def _attributes(seen: Seen) -> Attributes:
    if seen.is_directory:
        return Attributes(seen.attributes.mode, None, seen.attributes.xattrs)
    return seen.attributes
