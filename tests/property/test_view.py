"""The view is total: any states of any nodes on any disk give a tree, and it is the same on every device."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from syncd.model.ids import ROOT_NODE, NodeId
from syncd.model.join import NodeState, Versioned, decide
from syncd.model.naming import ANY_NAME, disk_key, is_legal
from syncd.model.paths import conflict_name, validate_name_untrusted
from syncd.model.records import DELETED, DIRECTORY, Place, symlink_to
from syncd.model.view import View, settle_places, view
from syncd.treetypes import Personality
from tests.helpers.model_values import at, file_with, head, node_id, version

NODES = [node_id(number) for number in range(8)]  # the first is the root, which no state may change

# Few names, so that they meet: in case, in Unicode form, and with names that the view itself makes up.
NAMES = [
    b"a",
    b"A",
    b"a.txt",
    "é".encode(),
    "e\u0301".encode(),
    b"\xff",
    b"x?",
    b"n" * 255,
    conflict_name(b"a", "anna", version(3)),
    conflict_name(b"a", "anna", version(3), 16),
]

personalities = st.builds(
    Personality,
    case_insensitive=st.booleans(),
    normalising=st.booleans(),
    utf8_only=st.booleans(),
    illegal=st.sampled_from([frozenset[int](), frozenset(b"?:")]),
    name_max=st.sampled_from([255, 143]),
)
contents = st.sampled_from([DELETED, DIRECTORY, file_with(1), file_with(2), symlink_to(b"a")])


@st.composite
def folders(draw: st.DrawFn) -> dict[NodeId, NodeState]:
    """Any nodes in any places: cycles, orphans, files as parents, everything deleted."""
    nodes: dict[NodeId, NodeState] = {}
    rank = 0
    for number in draw(st.lists(st.integers(0, 7), unique=True)):
        places: list[Versioned[Place]] = []
        for parent, name in draw(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(NAMES)), max_size=3)):
            rank += 1
            places.append(at(rank, parent, name))
        heads = []
        for content in draw(st.lists(contents, max_size=3)):
            # Often the version that also gave the place, as when a record sets both.
            rank += draw(st.integers(0, 1))
            heads.append(head(rank, content))
        nodes[NODES[number]] = NodeState(
            heads=tuple({each.version: each for each in heads}.values()), places=tuple(places)
        )
    return nodes


def living(nodes: dict[NodeId, NodeState]) -> set[NodeId]:
    return {node for node, state in nodes.items() if node != ROOT_NODE and decide(state.heads).shown is not None}


@given(folders(), personalities)
def test_every_living_node_and_copy_stands_in_the_tree_exactly_once(
    nodes: dict[NodeId, NodeState], personality: Personality
) -> None:
    tree = view(nodes, personality)
    walked = [(item.node, item.copy) for _, item in tree.walk()]
    assert len(set(walked)) == len(walked) == sum(map(len, tree.children.values()))
    expected = {(node, None) for node in living(nodes)} | {
        (node, copy.version) for node in living(nodes) for copy in decide(nodes[node].heads).copies
    }
    revived = {(item.node, None) for _, item in tree.walk() if item.content is None}
    assert set(walked) == expected | revived


@given(folders(), personalities)
def test_only_directories_hold_something_and_revived_ones_always_do(
    nodes: dict[NodeId, NodeState], personality: Personality
) -> None:
    tree = view(nodes, personality)
    items = {item.node: item for _, item in tree.walk() if item.copy is None}
    assert all(parent == ROOT_NODE or items[parent].is_directory for parent in tree.children)
    for item in items.values():
        if item.content is None:
            assert tree.children[item.node]
            assert all(each.value.is_deleted for each in nodes[item.node].heads)


@given(folders(), personalities)
def test_names_are_legal_and_distinct_on_the_disk(nodes: dict[NodeId, NodeState], personality: Personality) -> None:
    for children in view(nodes, personality).children.values():
        assert len({disk_key(name, personality) for name in children}) == len(children)
        for name, item in children.items():
            assert item.name == name
            assert is_legal(name, personality)
            validate_name_untrusted(name)


@given(folders(), personalities, st.data())
def test_the_order_in_which_nodes_became_known_does_not_matter(
    nodes: dict[NodeId, NodeState], personality: Personality, data: st.DataObject
) -> None:
    shuffled = dict(data.draw(st.permutations(list(nodes.items()))))
    assert view(shuffled, personality) == view(nodes, personality)


@given(folders(), personalities)
def test_a_disk_changes_names_and_nothing_else(nodes: dict[NodeId, NodeState], personality: Personality) -> None:
    def shape(tree: View) -> dict[NodeId, set[tuple[NodeId, bytes | None]]]:
        return {parent: {(item.node, item.copy) for item in items.values()} for parent, items in tree.children.items()}

    assert shape(view(nodes, personality)) == shape(view(nodes))


@given(folders())
def test_a_name_that_one_node_wants_is_its_own(nodes: dict[NodeId, NodeState]) -> None:
    """Whoever else needs a made-up name: no node loses its real one to that."""
    settled = settle_places({node: state.places for node, state in nodes.items() if node != ROOT_NODE})
    for children in view(nodes, ANY_NAME).children.values():
        own = [item for item in children.values() if item.copy is None and settled[item.node] is not None]
        wanted = {item.node: place.value.name for item in own if (place := settled[item.node]) is not None}
        for item in own:
            if list(wanted.values()).count(wanted[item.node]) == 1:
                assert item.name == wanted[item.node]


@given(folders())
def test_a_node_is_moved_only_out_of_a_cycle(nodes: dict[NodeId, NodeState]) -> None:
    places = {node: state.places for node, state in nodes.items() if node != ROOT_NODE}
    for node, place in settle_places(places).items():
        if place != nodes[node].place:
            assert leads_back(node, places)


def leads_back(node: NodeId, places: dict[NodeId, tuple[Versioned[Place], ...]]) -> bool:
    """Whether a node can reach itself through any places that it and its ancestors ever had."""
    seen: set[NodeId] = set()
    waiting = [node]
    while waiting:
        for place in places.get(waiting.pop(), ()):
            if place.value.parent == node:
                return True
            if place.value.parent not in seen:
                seen.add(place.value.parent)
                waiting.append(place.value.parent)
    return False
