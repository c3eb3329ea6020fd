from __future__ import annotations

from syncd.model.ids import ROOT_NODE, NodeId
from syncd.model.join import NodeState, Versioned
from syncd.model.naming import ANY_NAME
from syncd.model.records import DELETED, DIRECTORY, Content, Place
from syncd.model.view import settle_places, view
from syncd.treetypes import Personality
from tests.helpers.model_values import at, file_with, head, node_id, version


def node(*places: Versioned[Place], contents: tuple[Versioned[Content], ...]) -> NodeState:
    return NodeState(heads=contents, places=places)


def directory(*places: Versioned[Place]) -> NodeState:
    return node(*places, contents=(head(1, DIRECTORY),))


def file(*places: Versioned[Place]) -> NodeState:
    return node(*places, contents=(head(1, file_with(1)),))


def deleted(*places: Versioned[Place]) -> NodeState:
    return node(*places, contents=(head(1, DELETED),))


def paths(nodes: dict[int, NodeState], personality: Personality = ANY_NAME) -> dict[bytes, int]:
    """Path → number of the node, in the order of the walk."""
    tree = view({node_id(number): state for number, state in nodes.items()}, personality)
    return {b"/".join(path): int.from_bytes(item.node, "big") for path, item in tree.walk()}


def test_an_empty_folder_shows_nothing() -> None:
    assert paths({}) == {}


def test_a_tree_is_shown_as_placed_and_walked_in_order() -> None:
    nodes = {1: directory(at(1, 0, b"d")), 2: file(at(2, 1, b"f")), 3: file(at(3, 0, b"a")), 4: file(at(4, 0, b"z"))}
    assert list(paths(nodes).items()) == [(b"a", 3), (b"d", 1), (b"z", 4), (b"d/f", 2)]


def test_deleted_nodes_are_not_shown() -> None:
    assert paths({1: deleted(at(1, 0, b"a")), 2: file(at(2, 0, b"b"))}) == {b"b": 2}


def test_what_was_only_named_but_has_no_content_is_not_shown() -> None:
    assert paths({1: node(at(1, 0, b"a"), contents=())}) == {}


def test_a_move_takes_along_what_is_in_a_directory() -> None:
    nodes = {1: directory(at(1, 0, b"old"), at(5, 0, b"new")), 2: file(at(2, 1, b"f"))}
    assert paths(nodes) == {b"new": 1, b"new/f": 2}


def test_a_deleted_directory_lives_while_something_living_is_in_it() -> None:
    nodes = {
        1: deleted(at(1, 0, b"d")),
        2: deleted(at(2, 1, b"e")),
        3: file(at(3, 2, b"f")),
        4: deleted(at(4, 1, b"gone")),
    }
    assert paths(nodes) == {b"d": 1, b"d/e": 2, b"d/e/f": 3}
    tree = view({node_id(number): state for number, state in nodes.items()})
    assert tree.children[ROOT_NODE][b"d"].is_directory
    assert tree.children[ROOT_NODE][b"d"].content is None


def test_an_unknown_parent_is_the_root() -> None:
    assert paths({2: file(at(1, 99, b"f"))}) == {b"f": 2}


def test_a_node_without_a_place_is_in_the_root() -> None:
    assert paths({2: file()}) == {b"unnamed 00000000": 2}


def test_a_parent_that_is_a_file_passes_its_children_up() -> None:
    nodes = {
        1: directory(at(1, 0, b"d")),
        2: file(at(2, 1, b"f")),
        3: file(at(3, 2, b"g")),
        4: file(at(4, 3, b"h")),
    }
    assert paths(nodes) == {b"d": 1, b"d/f": 2, b"d/g": 3, b"d/h": 4}


def test_of_two_moves_that_form_a_cycle_the_later_is_undone() -> None:
    nodes = {
        1: directory(at(1, 0, b"a"), at(10, 2, b"a")),
        2: directory(at(2, 0, b"b"), at(11, 1, b"b")),
    }
    assert paths(nodes) == {b"b": 2, b"b/a": 1}


def test_a_node_that_is_its_own_parent_is_in_the_root() -> None:
    assert paths({1: directory(at(1, 1, b"a"))}) == {b"unnamed 00000000": 1}


def test_undoing_a_move_may_form_another_cycle_that_is_broken_too() -> None:
    nodes = {
        1: directory(at(1, 0, b"a"), at(5, 3, b"a"), at(10, 2, b"a")),
        2: directory(at(2, 0, b"b"), at(9, 1, b"b")),
        3: directory(at(3, 0, b"c"), at(4, 1, b"c")),
    }
    # 1 in 2 in 1: the move of 1 (rank 10) is undone, so 1 is in 3; 3 in 1 in 3: that of 1 (rank 5) is undone as well.
    assert paths(nodes) == {b"a": 1, b"a/b": 2, b"a/c": 3}


def test_a_cycle_of_deleted_directories_is_broken_before_it_hides_anything() -> None:
    nodes = {
        1: deleted(at(1, 0, b"a"), at(10, 2, b"a")),
        2: deleted(at(2, 0, b"b"), at(11, 1, b"b")),
        3: file(at(3, 2, b"f")),
    }
    assert paths(nodes) == {b"b": 2, b"b/f": 3}


def test_places_settle_without_regard_to_the_order_of_nodes() -> None:
    known: dict[NodeId, tuple[Versioned[Place], ...]] = {
        node_id(number): (at(number, 0, b"x"), at(10 + number, number % 6 + 1, b"x")) for number in range(1, 7)
    }
    backwards = dict(reversed(known.items()))
    assert settle_places(known) == settle_places(backwards)


def test_deep_trees_need_no_deep_stack() -> None:
    depth = 20_000
    nodes = {number: directory(at(number, number - 1, b"d")) for number in range(1, depth + 1)}
    tree = view({node_id(number): state for number, state in nodes.items()})
    assert len(tree.children) == depth


def test_conflicting_contents_are_shown_beside_each_other() -> None:
    contents = (head(1, file_with(1), "anna"), head(2, file_with(2), "ben"))
    tree = view({node_id(1): node(at(1, 0, b"a.txt"), contents=contents)})
    items = tree.children[ROOT_NODE]
    assert set(items) == {b"a.txt", b"a (conflict anna 00000000).txt"}
    assert items[b"a.txt"].content == contents[1]
    copy = items[b"a (conflict anna 00000000).txt"]
    assert (copy.node, copy.copy, copy.content) == (node_id(1), version(1), contents[0])


def test_a_node_that_is_file_and_directory_keeps_its_children() -> None:
    nodes = {
        1: node(at(1, 0, b"a"), contents=(head(1, DIRECTORY), head(2, file_with(2)))),
        2: file(at(3, 1, b"inside")),
    }
    assert paths(nodes) == {b"a": 1, b"a (conflict anna 00000000)": 1, b"a/inside": 2}


def test_two_directories_on_one_name_are_both_shown() -> None:
    nodes = {
        1: directory(at(1, 0, b"d")),
        2: directory(at(2, 0, b"d", "ben")),
        3: file(at(3, 1, b"f")),
        4: file(at(4, 2, b"f")),
    }
    assert paths(nodes) == {b"d": 1, b"d (conflict ben 00000000)": 2, b"d/f": 3, b"d (conflict ben 00000000)/f": 4}


def test_names_differ_by_personality_and_nodes_do_not() -> None:
    nodes = {1: file(at(1, 0, b"Foo")), 2: file(at(2, 0, b"foo"))}
    assert paths(nodes) == {b"Foo": 1, b"foo": 2}
    assert paths(nodes, Personality(case_insensitive=True)) == {b"Foo": 1, b"foo (name 00000000)": 2}
