"""The law of registers and the view, once as pure functions of the model and once on database rows: the same records in
any order mean the same."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

from hypothesis import event, given
from hypothesis import strategies as st

from ca.ids import DeviceId
from syncd.model.ids import ROOT_NODE, ChangesetHash, NodeId, VersionId, version_id
from syncd.model.join import UNKNOWN, NodeState, Stamp, join_record
from syncd.model.naming import ANY_NAME
from syncd.model.records import DELETED, DIRECTORY, Attributes, Content, Place, Record, symlink_to
from syncd.model.view import settle_places, view
from syncd.store import rows
from syncd.store.db import Transaction, open_database
from syncd.store.forms import FOLDER
from syncd.store.joining import Source, Sources, join_records, read_heads
from syncd.store.rows import ROOT_ROW, NodeRow
from syncd.store.spelling import note_personality
from syncd.store.survey import Survey
from syncd.treetypes import Personality
from tests.helpers.model_values import file_with, id32, node_id

NODES = 5
AUTHORS = ("anna", "ben", "")
NAMES = (b"a", b"b.txt", b"c", b"A", b"B.TXT", "\u00e9".encode(), "e\u0301".encode(), b"a:b", b"\xff")
DISKS = (
    Personality(),
    Personality(case_insensitive=True),
    Personality(normalising=True, utf8_only=True),
    Personality(case_insensitive=True, normalising=True, utf8_only=True, illegal=frozenset(b":"), name_max=40),
)
"""Of three of them some of these are one name, or no name."""

Children = dict[NodeId, dict[bytes, tuple[NodeId, VersionId | None]]]


@dataclass(frozen=True)
class Batch:
    """One changeset: its author, its rank, its records."""

    number: int
    author: int
    lamport: int
    records: tuple[Record, ...]

    @property
    def hash(self) -> ChangesetHash:
        return ChangesetHash(id32(1000 + self.number))

    @property
    def device(self) -> DeviceId:
        return DeviceId(id32(1 + self.author))


def contents() -> st.SearchStrategy[Content]:
    files = st.sampled_from([file_with(1), file_with(2), symlink_to(b"t")])
    return st.one_of(st.just(DIRECTORY), st.just(DIRECTORY), st.just(DELETED), files)


@st.composite
def batches(draw: st.DrawFn) -> list[Batch]:
    """Changesets that know each other at random: nothing says that anybody has seen what he replaces, or his parent."""
    made: list[Batch] = []
    versions: list[VersionId] = [VersionId(id32(5000))]
    names = list(NAMES)
    for number in range(draw(st.integers(1, 8))):
        records = []
        for index, node in enumerate(draw(st.lists(st.integers(1, NODES), min_size=1, max_size=3, unique=True))):
            records.append(draw(_record(node, versions, names)))
            versions.append(version_id(ChangesetHash(id32(1000 + number)), index))
        author = draw(st.integers(0, len(AUTHORS) - 1))
        made.append(Batch(number, author, draw(st.integers(1, 4)), tuple(records)))
        names.append(b"a (conflict %s %s)" % (AUTHORS[author].encode(), versions[-1].hex()[:8].encode()))
    return made


@st.composite
def _record(draw: st.DrawFn, node: int, versions: Sequence[VersionId], names: Sequence[bytes]) -> Record:
    which = draw(st.integers(1, 7))
    content = draw(contents()) if which & 1 else None
    parents = st.sampled_from([ROOT_NODE, ROOT_NODE, *map(node_id, range(1, NODES + 1)), node_id(99)])
    place = Place(draw(parents), draw(st.sampled_from(names))) if which & 2 else None
    replaced = draw(st.sets(st.sampled_from(versions), max_size=2)) if content is not None else set()
    attributes = Attributes(draw(st.sampled_from([0o600, 0o644])), None) if which & 4 else None
    return Record(node_id(node), content, tuple(sorted(replaced)), place, (), attributes, ())


# --- the model's answer ----------------------------------------------------------------------------------------------


def model_states(made: Sequence[Batch]) -> dict[NodeId, NodeState]:
    states: dict[NodeId, NodeState] = {}
    for batch in made:
        for index, record in enumerate(batch.records):
            version = version_id(batch.hash, index)
            stamp = Stamp(batch.lamport, batch.device, index, version, AUTHORS[batch.author])
            states[record.node] = join_record(states.get(record.node, UNKNOWN), record, stamp)
    return states


def model_view(states: dict[NodeId, NodeState], disk: Personality) -> Children:
    return {
        directory: {name: (item.node, item.copy) for name, item in children.items()}
        for directory, children in view(states, disk).children.items()
    }


# --- the rows' answer ------------------------------------------------------------------------------------------------


class Rows:
    """A folder's database and nothing else."""

    def __init__(self, disk: Personality = ANY_NAME) -> None:
        opened = open_database(lambda: sqlite3.connect(":memory:", isolation_level=None), lambda: "", FOLDER)
        self.connection = opened.connection
        self.sources = Sources(self.connection)
        rows.write(self.connection, [NodeRow(ROOT_ROW, ROOT_NODE, kind=rows.DIR, l_kind=rows.DIR)])
        note_personality(self.connection, disk)

    def join(self, seq: int, batch: Batch) -> None:
        source = Source(seq, batch.hash, batch.lamport, batch.device, AUTHORS[batch.author])
        self.sources.add(source)
        with Transaction(self.connection):
            join_records(self.connection, self.sources, source, batch.records)

    def all(self) -> list[NodeRow]:
        return [row for row in rows.read(self.connection, "ORDER BY id") if row.id != ROOT_ROW]

    def settle(self) -> None:
        """As if the disk were as the view says: nobody has to be looked at."""
        survey = Survey(self.connection, self.sources)
        placed = [(survey.parent(row), survey.names.of(row).name, row.id) for row in self.all() if self.lives(row)]
        self.connection.execute("UPDATE node SET pending=0, l_kind=0, l_parent=NULL, l_name=NULL")
        self.connection.executemany("UPDATE node SET l_kind=2, l_parent=?, l_name=? WHERE id=?", placed)

    def lives(self, row: NodeRow) -> bool:
        return Survey(self.connection, self.sources).lineage.lives(row)

    def pending(self) -> set[NodeId]:
        return {row.nid for row in self.all() if row.pending}

    def nid(self, row: int) -> NodeId:
        found = rows.read_ids(self.connection, [row])[row]
        return found.nid

    def view(self) -> Children:
        survey = Survey(self.connection, self.sources)
        children: Children = {}
        for row in self.all():
            if not survey.lineage.lives(row):
                continue
            named = survey.names.of(row)
            below = children.setdefault(self.nid(survey.parent(row)), {})
            assert named.name not in below, "two on one name"
            below[named.name] = (row.nid, None)
            for head, name in named.copies.items():
                assert name not in below, "two on one name"
                below[name] = (row.nid, self.sources.version(head.cs, head.idx))
        return children


def test_place_undone_for_a_cycle_comes_back_when_the_file_it_was_in_moves_away() -> None:
    """Nothing is in the file any more by then, as the only place in it counts as not made."""
    inner, outer = node_id(3), node_id(4)
    made = [
        Batch(0, 0, 3, (Record(inner, None, (), Place(outer, b"a"), (), None, ()),)),
        Batch(1, 0, 2, (Record(outer, file_with(1), (), Place(inner, b"a"), (), None, ()),)),
        Batch(2, 0, 4, (Record(outer, None, (), Place(ROOT_NODE, b"a"), (), None, ()),)),
    ]
    places = settle_places({node: state.places for node, state in model_states(made).items()})
    for order in permutations(made):
        database = Rows()
        for seq, batch in enumerate(order, start=1):
            database.join(seq, batch)
        found = {row.nid: None if row.p_cs is None else order[row.p_cs - 1].number for row in database.all()}
        expected = {node: places[node] for node in (inner, outer)}
        assert {node: version_id(made[number].hash, 0) for node, number in found.items() if number is not None} == {
            node: place.version for node, place in expected.items() if place is not None
        }


@given(batches(), st.randoms(use_true_random=False))
def test_rows_hold_the_same_registers_as_the_model_in_any_order(made: list[Batch], random: object) -> None:
    order = list(made)
    random.shuffle(order)  # type: ignore[attr-defined]
    database = Rows()
    for seq, batch in enumerate(order, start=1):
        database.join(seq, batch)
    states = model_states(made)
    places = settle_places({node: state.places for node, state in states.items()})
    for row in database.all():
        state = states.get(row.nid, UNKNOWN)
        version = database.sources.version
        heads = {version(head.cs, head.idx) for head in read_heads(database.connection, row)}
        assert heads == {head.version for head in state.heads}
        place = places.get(row.nid)
        assert (None if row.p_cs is None else version(row.p_cs, row.p_idx or 0)) == (
            None if place is None else place.version
        )
        attributes = None if row.a_cs is None else version(row.a_cs, row.a_idx or 0)
        assert attributes == (None if state.attributes is None else state.attributes.version)


@given(batches(), st.sampled_from(DISKS), st.randoms(use_true_random=False))
def test_rows_give_the_same_view_as_the_model_in_any_order(
    made: list[Batch], disk: Personality, random: object
) -> None:
    order = list(made)
    random.shuffle(order)  # type: ignore[attr-defined]
    database = Rows(disk)
    for seq, batch in enumerate(order, start=1):
        database.join(seq, batch)
    expected = model_view(model_states(made), disk)
    event("with a collision name" if any(b" (name " in n for c in expected.values() for n in c) else "plain names")
    event("with a conflict name" if any(b" (conflict" in n for c in expected.values() for n in c) else "plain")
    assert database.view() == expected


@given(batches(), st.sampled_from(DISKS))
def test_everybody_whose_place_in_the_view_changes_is_looked_at(made: list[Batch], disk: Personality) -> None:
    database = Rows(disk)
    for seq, batch in enumerate(made, start=1):
        before = where(database.view())
        database.settle()
        database.join(seq, batch)
        after = where(database.view())
        changed = {node for node, _ in before.items() ^ after.items()}
        assert changed <= database.pending()


def where(children: Children) -> dict[NodeId, tuple[object, ...]]:
    """Of every node, where it and its copies are."""
    found: dict[NodeId, list[object]] = {}
    for directory, names in children.items():
        for name, (node, copy) in names.items():
            found.setdefault(node, []).append((directory, name, copy))
    return {node: tuple(sorted(places, key=repr)) for node, places in found.items()}
