"""The view is total: any states of any nodes on any disk give a tree, and it is the same on every device."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from syncd.model.ids import ROOT_NODE, NodeId
from syncd.model.join import NodeState, Versioned, decide
from syncd.model.naming import ANY_NAME, disk_key, is_legal
from syncd.model.paths import conflict_name, validate_name_untrusted
from syncd.model.records import DELETED, DIRECTORY, Place, symlink_to
from syncd.model.view import View, view
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
@example({NODES[1]: NodeState(heads=(head(1, DIRECTORY),), places=(at(1, 1, b"a"),))})
def test_a_disk_that_holds_every_name_keeps_names_that_nobody_else_wants(nodes: dict[NodeId, NodeState]) -> None:
    tree = view(nodes, ANY_NAME)
    for children in tree.children.values():
        wanted = [each.name for item in children.values() for each in [place(nodes, item.node, item.copy)] if each]
        for item in children.values():
            mine = place(nodes, item.node, item.copy)
            if mine is not None and wanted.count(mine.name) == 1 and mine == only_place(nodes, item.node):
                assert item.name == mine.name


def place(nodes: dict[NodeId, NodeState], node: NodeId, copy: bytes | None) -> Place | None:
    known = nodes[node].place
    return known.value if known is not None and copy is None else None


def only_place(nodes: dict[NodeId, NodeState], node: NodeId) -> Place | None:
    """Its place, if no other could have come to count."""
    known = nodes[node].places
    return known[0].value if len(known) == 1 and known[0].value.parent != node else None
