"""Pure. The view: which tree all accepted records describe on one kind of disk.

Total: any states of any nodes give a tree in which every living node stands exactly once, below the root, under a name
of its own (tests/property/test_view.py). The rules, in this order:

1. Moves that form a cycle: in each cycle the latest counts as not made, and the node is where it was before.
2. A parent that nobody knows, or none at all: the root. A parent that is no directory: that one's own parent.
3. A deleted directory lives while something living is in it.
4. Names: see `naming`.

The small functions are the rules themselves; a store that holds the nodes in rows applies them where more than the
trivial happens, and must come to the same tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from ca.ids import DeviceId
from ca.values import dataclass
from syncd.model.ids import HASH_BYTES, ROOT_NODE, NodeId, VersionId
from syncd.model.join import NodeState, Stamp, Verdict, Versioned, decide
from syncd.model.naming import ANY_NAME, Child, name_children
from syncd.model.paths import Path
from syncd.model.records import Attributes, Content, Place
from syncd.treetypes import Personality

Places = Sequence[Versioned[Place]]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing in the view."""

    node: NodeId
    copy: VersionId | None
    """None for the node itself, else the version of the conflict copy."""
    parent: NodeId
    name: bytes
    content: Versioned[Content] | None
    """None for a directory that lives only because of what is in it."""
    attributes: Versioned[Attributes] | None

    @property
    def is_directory(self) -> bool:
        return self.content is None or self.content.value.is_directory


@dataclass(frozen=True, slots=True)
class View:
    """A named tree: for every directory its children by name."""

    children: Mapping[NodeId, Mapping[bytes, Item]]

    def walk(self) -> Iterator[tuple[Path, Item]]:
        """Every item with its path, a directory before what is in it, names ascending."""
        waiting: list[tuple[Path, NodeId]] = [((), ROOT_NODE)]
        while waiting:
            path, directory = waiting.pop()
            below = []
            for name, item in sorted(self.children.get(directory, {}).items()):
                yield (*path, name), item
                if item.is_directory and item.copy is None:
                    below.append(((*path, name), item.node))
            waiting.extend(reversed(below))


def view(nodes: Mapping[NodeId, NodeState], personality: Personality = ANY_NAME) -> View:
    """The tree that these states describe on a disk of this personality."""
    states = {node: state for node, state in nodes.items() if node != ROOT_NODE}
    verdicts = {node: decide(state.heads) for node, state in states.items()}
    places = settle_places({node: state.places for node, state in states.items()})
    parents = _directory_parents(places, verdicts)
    children: dict[NodeId, list[Child]] = {}
    for node in _visible(parents, verdicts):
        children.setdefault(parents[node], []).extend(children_of_node(node, places[node], verdicts[node]))
    return View(
        {
            directory: {
                name: _item(child, directory, name, states[child.node], verdicts[child.node])
                for name, child in name_children(group, personality).items()
            }
            for directory, group in children.items()
        }
    )


def settle_places(places: Mapping[NodeId, Places]) -> dict[NodeId, Versioned[Place] | None]:
    """Where every node is, once no cycle is left. None: it has no place that could count.

    Independent of the order of the nodes: a cycle stays until its own latest move is undone, whatever else happens.
    """
    count = {node: len(known) for node, known in places.items()}
    settled: set[NodeId] = set()
    for start in places:
        walk: list[NodeId] = []
        on_walk: dict[NodeId, int] = {}
        node = start
        while node in places and node not in settled and count[node]:
            if node in on_walk:
                cycle = walk[on_walk[node] :]
                undone = max(cycle, key=lambda member: places[member][count[member] - 1].stamp)
                count[undone] -= 1
                walk, on_walk, node = [], {}, start
                continue
            on_walk[node] = len(walk)
            walk.append(node)
            node = places[node][count[node] - 1].value.parent
        settled.update(walk)
    return {node: known[count[node] - 1] if count[node] else None for node, known in places.items()}


def _directory_parents(
    places: Mapping[NodeId, Versioned[Place] | None], verdicts: Mapping[NodeId, Verdict]
) -> dict[NodeId, NodeId]:
    """For every node the directory it is in: the nearest ancestor that can be one."""
    parents: dict[NodeId, NodeId] = {}
    for node in places:
        parent = node
        while True:
            place = places[parent]
            parent = ROOT_NODE if place is None or place.value.parent not in places else place.value.parent
            if parent == ROOT_NODE or can_hold_children(verdicts[parent]):
                break
        parents[node] = parent
    return parents


def can_hold_children(verdict: Verdict) -> bool:
    """Whether children of such a node are in it: not when it lives as something else than a directory."""
    return verdict.shown is None or verdict.is_directory


def _visible(parents: Mapping[NodeId, NodeId], verdicts: Mapping[NodeId, Verdict]) -> list[NodeId]:
    """Living nodes, and the deleted directories above them."""
    visible: dict[NodeId, None] = {}
    for node, verdict in verdicts.items():
        if verdict.shown is None:
            continue
        while node != ROOT_NODE and node not in visible:
            visible[node] = None
            node = parents[node]
    return list(visible)


_NOWHERE: Final = "unnamed "


def children_of_node(node: NodeId, place: Versioned[Place] | None, verdict: Verdict) -> list[Child]:
    """What one visible node puts into its directory: itself, and its conflict copies."""
    if place is None:
        name, stamp = (_NOWHERE + node.hex()[:8]).encode(), Stamp(0, _NOBODY, 0, VersionId(node), "")
    else:
        name, stamp = place.value.name, place.stamp
    itself = Child(node, None, name, verdict.shown is None or verdict.is_directory, stamp)
    return [
        itself,
        *(Child(node, copy.version, name, copy.value.is_directory, copy.stamp) for copy in verdict.copies),
    ]


_NOBODY: Final = DeviceId(bytes(HASH_BYTES))


def _item(child: Child, parent: NodeId, name: bytes, state: NodeState, verdict: Verdict) -> Item:
    content = verdict.shown
    if child.copy is not None:
        content = next(copy for copy in verdict.copies if copy.version == child.copy)
    return Item(child.node, child.copy, parent, name, content, state.attributes)
