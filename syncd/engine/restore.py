"""Pure. What has to be published so that part of a folder is again what it was.

A restore is an ordinary changeset: it names every version it replaces, so it travels like any edit, meets concurrent
edits as conflicts, and can itself be undone. Exact means that what was not there then goes, too; it goes into history.

Nodes come back as themselves wherever that takes nothing away from elsewhere: what was moved out of the part that is
restored stays where it is now, and another node takes its old name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from syncd.engine.timeline import Seen, Tree
from syncd.model.ids import ROOT_NODE, NodeId, new_node_id
from syncd.model.join import NodeState, decide
from syncd.model.paths import Path
from syncd.model.records import DELETED, DIRECTORY, Attributes, Content, ContentKind, Place, Record, Versions

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


def plan_restore(then: Tree, now: Tree, scope: Scope, state_of: StateOf, *, keep_newer: bool = False) -> Plan:
    """How to come from `now` to `then` in a part of a folder. Both trees hold all of the part, and every directory
    above it. `keep_newer`: what is there now stays as it is, only what is missing comes back."""
    if keep_newer:
        return _Planner(then, now, lambda path, seen: path not in now and scope(path, seen), state_of).run()
    return _Planner(then, now, scope, state_of).run()


class _Planner:
    def __init__(self, then: Tree, now: Tree, scope: Scope, state_of: StateOf) -> None:
        self._then, self._now, self._state_of = then, now, state_of
        self._wanted = {path: seen for path, seen in then.items() if scope(path, seen)}
        self._present = {path: seen for path, seen in now.items() if scope(path, seen)}
        self._elsewhere = {seen.node for path, seen in now.items() if path not in self._present}
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
        content, replaced = self._content(state, seen.content)
        place = None if _stands_at(state, parent, path[-1]) else Place(parent, path[-1])
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
        seen = Seen(NodeId(b""), None, DIRECTORY, Attributes(0o755), None, "") if then is None else then
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

    def _content(self, state: NodeState, content: Content) -> tuple[Content | None, Versions]:
        shown = decide(state.heads).shown
        if len(state.heads) == 1 and shown is not None and shown.value.same_as(content):
            return None, ()
        if shown is None or not shown.value.same_as(content):
            self._plan.contents.append(content)
        return content, tuple(sorted(head.version for head in state.heads))

    def _delete(self, node: NodeId) -> None:
        heads = self._state_of(node).heads
        if decide(heads).shown is not None:
            self._plan.records.append(Record(node, DELETED, tuple(sorted(head.version for head in heads))))
            self._plan.deletes += 1


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
    heads = tuple(sorted(head.version for head in now.heads))
    was = None if before is None else decide(before.heads).shown
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
    return same and (seen.is_directory or seen.attributes.mtime_ns in (None, known.mtime_ns))


def _attributes(seen: Seen) -> Attributes:
    if seen.is_directory:
        return Attributes(seen.attributes.mode, None, seen.attributes.xattrs)
    return seen.attributes
