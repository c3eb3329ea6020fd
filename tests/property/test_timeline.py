"""The tree of any moment, read out of the changesets by path, is the one that the law of registers gives for the
changesets of that moment: whatever the clocks said, and whatever was moved, deleted, in conflict or in a circle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import event, given
from hypothesis import strategies as st

from syncd.engine.timeline import Change, Seen, below, counting, counts, difference, tree_of
from syncd.model.ids import ROOT_NODE, NodeId, VersionId, version_id
from syncd.model.join import UNKNOWN, NodeState, join_record, stamps
from syncd.model.records import DELETED, DIRECTORY, Attributes, Place, Record
from syncd.store.folder import Arrived, FolderStore
from syncd.store.journal import Verdict
from syncd.store.moments import counting_at
from syncd.store.past import Past
from tests.helpers.authors import Author
from tests.helpers.model_values import file_with, node_id
from tests.helpers.simdisk import SimDisk
from tests.helpers.simtree import SimDatabases, SimTree
from tests.helpers.tasks import Members, SeededRandom, device_keys, open_store

WHO = ("ann", "bob", "cid")
NODES = 6
NAMES = (b"a", b"b.txt", b"c")


@dataclass(frozen=True)
class Told:
    """A changeset, when its author said that it was, and what it names by number."""

    arrived: Arrived
    time_ms: int
    seen: tuple[int, ...]


@st.composite
def stories(draw: st.DrawFn) -> list[Told]:
    authors = [Author(name) for name in WHO]
    newest: dict[str, int] = {}
    told: list[Told] = []
    versions: list[VersionId] = []
    for number in range(draw(st.integers(1, 9))):
        author = authors[draw(st.integers(0, len(authors) - 1))]
        others = [other for other in authors if other is not author and other.newest is not None]
        seen = draw(st.lists(st.sampled_from(others), unique_by=id)) if others else []
        records = [
            draw(_record(node, versions))
            for node in draw(st.lists(st.integers(1, NODES), min_size=1, max_size=3, unique=True))
        ]
        time_ms = draw(st.integers(1, 12))
        named = [newest[other.name] for other in seen] + ([newest[author.name]] if author.name in newest else [])
        arrived = author.publish(*records, seen=seen, time_ms=time_ms)
        told.append(Told(arrived, time_ms, tuple(named)))
        newest[author.name] = number
        versions += [version_id(arrived.head.changeset, index) for index in range(len(records))]
    return told


@st.composite
def _record(draw: st.DrawFn, node: int, versions: Sequence[VersionId]) -> Record:
    which = draw(st.integers(1, 7))
    contents = st.sampled_from([DIRECTORY, DIRECTORY, DELETED, file_with(1), file_with(2)])
    content = draw(contents) if which & 1 else None
    parents = st.sampled_from([ROOT_NODE, ROOT_NODE, *map(node_id, range(1, NODES + 1)), node_id(99)])
    place = Place(_other(draw(parents), node), draw(st.sampled_from(NAMES))) if which & 2 else None
    replaced = draw(st.sets(st.sampled_from(versions), max_size=2)) if content is not None and versions else set()
    attributes = Attributes(draw(st.sampled_from([0o600, 0o644])), 7) if which & 4 else None
    return Record(node_id(node), content, tuple(sorted(replaced)), place, (), attributes, ())


def _other(parent: NodeId, node: int) -> NodeId:
    return ROOT_NODE if parent == node_id(node) else parent


def open_with(told: Sequence[Told], databases: SimDatabases) -> FolderStore:
    keys = [device_keys(name) for name in (*WHO, "dan")]
    store = open_store(SimTree(SimDisk(), databases), keys[-1], Members(keys), SeededRandom("dan"), "dan")
    store.db_begin()
    verdicts = {accepted.verdict for accepted in store.db_accept([one.arrived for one in told])}
    assert verdicts == {Verdict.APPLIED}
    return store


def states_of(told: Sequence[Told], numbers: set[int]) -> dict[NodeId, NodeState]:
    """The definition: the records of these changesets, in any order."""
    states: dict[NodeId, NodeState] = {}
    for number in sorted(numbers, reverse=True):
        head, changeset = told[number].arrived.head, told[number].arrived.changeset
        for record, stamp in zip(changeset.records, stamps(head.changeset, changeset), strict=True):
            states[record.node] = join_record(states.get(record.node, UNKNOWN), record, stamp)
    return states


@given(stories(), st.integers(0, 13))
def test_tree_of_any_moment_is_what_its_changesets_say(told: list[Told], at: int) -> None:
    databases = SimDatabases()
    try:
        store = open_with(told, databases)
        numbers = counting(
            {number: one.time_ms for number, one in enumerate(told)},
            {number: one.seen for number, one in enumerate(told)},
            at,
        )
        assert counting_at(store.connection, at) == {number + 1 for number in numbers}
        expected = tree_of(states_of(told, numbers))
        past = Past(store)
        assert past.tree(past.counts_at(at)) == expected
        for path in [*expected, (b"a",), (b"c", b"a")]:
            assert past.tree(past.counts_at(at), path) == below(expected, path)
        event(f"{min(len(expected), 4)} names")
    finally:
        databases.close()


@given(stories(), st.integers(0, 13), st.integers(0, 13))
def test_difference_leads_from_one_moment_to_the_other(told: list[Told], first: int, second: int) -> None:
    labels = {number: one.time_ms for number, one in enumerate(told)}
    seen = {number: one.seen for number, one in enumerate(told)}
    before, after = (tree_of(states_of(told, counting(labels, seen, at))) for at in (first, second))
    found = difference(before, after)
    rebuilt = dict(before)
    for one in found:
        if one.moved_from is not None:
            rebuilt.pop(one.moved_from, None)
        if one.change is Change.DELETED:
            rebuilt.pop(one.path)
    for one in found:
        if one.after is not None:
            rebuilt[one.path] = one.after
    assert {path: seen.content.identity for path, seen in rebuilt.items()} == {
        path: seen.content.identity for path, seen in after.items()
    }
    assert sum(counts(found).values()) == len(found)
    assert difference(after, after) == []


def test_what_took_the_name_of_something_moved_is_added_however_equal_it_is() -> None:
    """Else whoever follows the differences would take the name away with the move, and give it to nobody."""
    old, new = (Seen(node_id(number), None, DIRECTORY, Attributes(0o755), None, None) for number in (1, 2))
    found = difference({(b"a",): old}, {(b"a",): new, (b"c",): old})
    assert [(one.change, one.path, one.moved_from) for one in found] == [
        (Change.ADDED, (b"a",), None),
        (Change.MOVED, (b"c",), (b"a",)),
    ]
    found = difference({(b"a",): old}, {(b"a",): new})
    assert found == []  # the same to whoever looks: nothing left that name
