"""Deleted files by the thousand (`store.deaths`, `store.retiring`) and one by one: the same rows in every table,
whatever else is said, stands on the disk or waits."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from functools import partial
from random import Random

import pytest

from syncd.engine.detect import Known
from syncd.engine.plan import Retire, plan
from syncd.model.ids import ROOT_NODE, ChangesetHash, VersionId, version_id
from syncd.model.records import DELETED, DIRECTORY, Attributes, Place, Record, symlink_to
from syncd.store import blocks, retiring, rows
from syncd.store.apply import Done
from syncd.store.blocks import SourceKind, source_of
from syncd.store.commit import Committer
from syncd.store.contents import packed_on_disk
from syncd.store.db import Transaction
from syncd.store.deaths import NO_DEATHS, Leaving
from syncd.store.departures import Departures
from syncd.store.draft import Desk
from syncd.store.joining import Joined, Source, Sources, join_records
from syncd.store.prepare import Step, prepare
from syncd.store.rows import ROOT_ROW, NodeRow
from syncd.store.scan import Gone
from syncd.store.spelling import note_personality
from syncd.store.survey import Survey
from syncd.treetypes import Replaced
from tests.helpers.model_values import file_with, id32, node_id
from tests.property.test_rows import AUTHORS, DISKS, Batch, Rows

NODES = 7
NAMES = (b"a", b"a", b"A", b"b", b"c", b"b (conflict anna 00000001)")
CONTENTS = (file_with(1), file_with(1), file_with(2), symlink_to(b"t"), DIRECTORY)
NEVER_SEEN = VersionId(id32(5000))
SEEDS = 100
NOW = 5_000.0

Contents = Mapping[str, Sequence[tuple[object, ...]]]


# --- what is said ----------------------------------------------------------------------------------------------------


def batches(random: Random) -> list[Batch]:
    """Most of the nodes are files; many are deleted, by people who had seen all, some or nothing of them."""
    made: list[Batch] = []
    versions: dict[int, list[VersionId]] = {node: [] for node in range(1, NODES + 1)}
    for number in range(random.randint(2, 5)):
        nodes = list(versions) if number == 0 else random.sample(list(versions), random.randint(1, NODES))
        records = []
        for index, node in enumerate(nodes):
            records.append(_first(random, node) if number == 0 else _later(random, node, versions[node]))
            if records[-1].content is not None:
                versions[node].append(version_id(ChangesetHash(id32(1000 + number)), index))
        lamport = number + 1 if random.random() < 0.8 else random.randint(1, 3)
        made.append(Batch(number, random.randrange(len(AUTHORS)), lamport, tuple(records)))
    return made


def _place(random: Random) -> Place:
    return Place(random.choice([ROOT_NODE, ROOT_NODE, node_id(1), node_id(2), node_id(99)]), random.choice(NAMES))


def _attributes(random: Random) -> Attributes:
    return Attributes(random.choice([0o600, 0o644]), random.choice([None, 7]))


def _first(random: Random, node: int) -> Record:
    content = DIRECTORY if node == 1 else random.choice(CONTENTS[:4])
    return Record(node_id(node), content, (), _place(random), (), _attributes(random), ())


def _later(random: Random, node: int, known: Sequence[VersionId]) -> Record:
    if random.random() < 0.7:
        return Record(node_id(node), DELETED, tuple(known[-1:]))
    content = random.choice([None, DELETED, *CONTENTS])
    seen = [] if content is None else random.sample([*known, NEVER_SEEN], random.randint(0, min(2, len(known))))
    place = _place(random) if random.random() < 0.5 else None
    is_dressed = random.random() < 0.5 or (content is None and place is None)
    attributes = _attributes(random) if is_dressed else None
    return Record(node_id(node), content, tuple(sorted(seen)), place, (), attributes, ())


# --- what stands on the disk -----------------------------------------------------------------------------------------


def dress(database: Rows, random: Random) -> None:
    """As if a scan and the planner had left the rows so: most as all say, of some it is another story."""
    connection = database.connection
    for table in ("copy", "problem", "held_node", "block"):
        connection.execute(f"DELETE FROM {table}")
    for row in database.all():
        is_usual = random.random() < 0.7
        kind = 0 if row.kind == rows.DELETED else row.kind
        row.leave_disk()
        row.pending = 0 if is_usual else random.randint(0, 3)
        if kind and not is_usual:
            kind = random.choice([kind, kind, rows.NONE, rows.FILE, rows.SYMLINK, rows.DIR])
        if kind:
            _stand(row, kind, Random(random.random()) if not is_usual else None)
            blocks.add(connection, [(source_of(SourceKind.NODE, row.id), packed_on_disk(connection, row))])
        rows.write(connection, [row])
        if not is_usual:
            _trouble(database, row.id, random.choice(["", "", "copy", "problem", "held", "replaced"]))


def _stand(row: NodeRow, kind: int, random: Random | None) -> None:
    row.l_kind, row.l_parent = kind, ROOT_ROW if row.parent is None else row.parent
    row.l_name = b"elsewhere" if row.name is None or (random is not None and random.random() < 0.3) else row.name
    row.l_ino, row.l_size, row.l_mtime, row.l_ctime, row.l_mode, row.l_seen = row.id, 1, 2, 3, 0o600, 10**12
    if random is not None and kind != rows.DIR and (kind != row.kind or random.random() < 0.5):
        file = random.choice([file_with(1), file_with(4)])
        row.l_blocks, row.l_listed, row.l_cls = file.blocks if kind == rows.FILE else b"t", 0, 1
    if random is None or random.random() < 0.7:
        row.s_ccs, row.s_cidx, row.s_pcs, row.s_pidx = row.c_cs, row.c_idx, row.p_cs, row.p_idx
        row.s_acs, row.s_aidx = row.a_cs, row.a_idx


def _trouble(database: Rows, row: int, what: str) -> None:
    run = database.connection.execute
    match what:
        case "copy":
            run(
                "INSERT INTO copy(node, cs, idx, l_parent, l_name, l_kind, l_ino, l_size, l_mtime, l_ctime, l_mode, "
                "l_seen, l_listed, l_cls, l_blocks) VALUES (?,1,0,1,x'63',1,90,1,2,3,384,9,0,1,x'')",
                (row,),
            )
        case "problem":
            run("INSERT INTO problem(node, path, code, why, fix, since) VALUES (?,x'','','','',0)", (row,))
        case "held":
            run("INSERT INTO held_node(node, wave) VALUES (?,'wave')", (row,))
        case "replaced":
            run("INSERT OR IGNORE INTO replaced VALUES (?,?)", (row, NEVER_SEEN))


# --- both ways -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair() -> tuple[Rows, Rows]:
    return Rows(), Rows()


def empty(database: Rows, random: Random) -> None:
    for table in ("node", "past", "departed", "replaced", "head", "place", "odd", "old", "step", "meta", "changeset"):
        database.connection.execute(f"DELETE FROM {table}")
    rows.write(database.connection, [NodeRow(ROOT_ROW, ROOT_NODE, kind=rows.DIR, l_kind=rows.DIR)])
    note_personality(database.connection, random.choice(DISKS))
    database.sources = Sources(database.connection)


def contents(database: Rows) -> Contents:
    """All rows of all tables. Of what is nowhere it is the same whether somebody looks at it once more, and what lies
    in `.syncd/old` is known by its token: the numbers there are those of the order in which it was noted."""
    run = database.connection.execute
    nowhere = "kind=4 AND l_kind=0 AND heads<=1 AND id NOT IN (SELECT parent FROM node WHERE parent IS NOT NULL)"
    run(f"UPDATE node SET pending=0 WHERE pending=1 AND {nowhere}")
    tables = run("SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE '%migrations%'").fetchall()
    found = {name: run(f"SELECT * FROM {name}").fetchall() for (name,) in tables}
    tokens = {source_of(SourceKind.OLD, old): token for old, token, *_ in found["old"]}
    found["block"] = [(ck, pk, tokens.get(src, src), *rest) for ck, pk, src, *rest in found["block"]]
    found["old"] = [old[1:] for old in found["old"]]
    return {name: sorted(lines, key=repr) for name, lines in found.items()}


def source_for(database: Rows, seq: int, batch: Batch) -> Source:
    source = Source(seq, batch.hash, batch.lamport, batch.device, AUTHORS[batch.author])
    database.sources.add(source)
    return source


def join(database: Rows, seq: int, batch: Batch, *, one_by_one: bool) -> Joined:
    deaths = NO_DEATHS if one_by_one else None
    source = source_for(database, seq, batch)
    with Transaction(database.connection):
        return join_records(database.connection, database.sources, source, batch.records, deaths=deaths)


class OneByOne(Departures):
    """Nothing is plain to it."""

    def _plain(self, gone: Sequence[Gone]) -> dict[int, Leaving]:
        return {}


class NotedOneByOne(Committer):
    """The same."""

    def _retired(self, done: Sequence[Done]) -> set[int]:
        return set()


def missed(database: Rows, nodes: Iterable[int]) -> list[Gone]:
    """A scan has not found these."""
    gone = []
    for row in rows.read_ids(database.connection, nodes).values():
        if row.on_disk and row.l_parent is not None and row.l_name is not None:
            stat = (row.l_ino or 0, row.l_size or 0, row.l_mtime or 0, row.l_ctime or 0, row.l_mode or 0)
            known = Known(row.id, False, row.l_parent, row.l_name, row.l_kind, *stat, row.l_seen or 0)
            gone.append(Gone((row.l_name,), known))
    return gone


def depart(database: Rows, seq: int, nodes: Sequence[int], way: type[Departures]) -> tuple[set[Record], int]:
    connection = database.connection
    source = source_for(database, seq, Batch(seq, 0, 50, ()))
    with Transaction(connection):
        desk = Desk(connection, database.sources, publishes=True)
        draft = way(desk).deletions(missed(database, nodes))
        order = sorted(range(len(draft.records)), key=lambda index: draft.records[index].node)
        draft.records = [draft.records[index] for index in order]
        draft.settle = [draft.settle[index] for index in order]
        settle = partial(draft.before_write, source=source, first=0)
        join_records(connection, database.sources, source, draft.records, settle, deaths=draft.deaths)
    assert len({record.node for record in draft.records}) == len(draft.records)
    return set(draft.records), len(draft.deaths)


def retired(database: Rows) -> dict[int, Step]:
    """What is only to be retired, by its node."""
    steps, following = retiring.steps(Survey(database.connection, database.sources), 0, 1000, NOW)
    assert following is None
    return {step.operation.node: step for step in steps}


def planned(database: Rows, nodes: Container[int]) -> dict[int, Step]:
    """What is to be done about these. A directory that moves would have them all wait for a round."""
    survey = Survey(database.connection, database.sources)
    database.connection.execute("BEGIN")
    cases = [case for case in survey.cases(0, 1000, NOW)[0] if case.node in nodes]
    steps = prepare(database.connection, survey, plan(cases).operations).steps
    database.connection.execute("ROLLBACK")  # whoever was woken in passing
    assert [step.operation for step in steps] == [Retire(case.node) for case in cases]
    return {step.operation.node: step for step in steps}


def note(database: Rows, steps: Mapping[int, Step], random: Random, way: type[Committer]) -> None:
    """Of every third the row says something else by now."""
    done = []
    for node, step in sorted(steps.items()):
        assert step.expected is not None
        step.is_last = step.is_last and random.random() < 0.8
        done.append(Done(step, Replaced(step.expected, random.random() < 0.3, None)))
        if random.random() < 0.2:
            database.connection.execute("UPDATE node SET pending=? WHERE id=?", (random.randint(0, 3), node))
    with Transaction(database.connection):
        way(database.connection, database.sources, NOW, 1).note(done)


# --- the properties --------------------------------------------------------------------------------------------------


def test_the_same_rows_both_ways(pair: tuple[Rows, Rows]) -> None:
    died = left = gone = 0
    for seed in range(SEEDS):
        for database in pair:
            empty(database, Random(seed))
        many, single = pair
        for seq, batch in enumerate(batches(Random(seed)), start=1):
            for database in pair:
                dress(database, Random(f"{seed} {seq}"))
            joined, other = join(many, seq, batch, one_by_one=False), join(single, seq, batch, one_by_one=True)
            assert sorted(joined.nodes) == sorted(other.nodes), seed
            assert contents(many) == contents(single), seed
            died += len(joined.died)
        steps = retired(many)
        others = planned(single, steps)
        for node, step in steps.items():
            same = others[node]
            assert (step.path, step.expected, step.is_last) == (same.path, same.expected, same.is_last), seed
            same.token = step.token
        gone += len(steps)
        note(many, steps, Random(seed), Committer)
        note(single, others, Random(seed), NotedOneByOne)
        assert contents(many) == contents(single), seed
        for database in pair:
            dress(database, Random(f"{seed} here"))
        here = Random(seed).sample(range(2, NODES + 3), NODES // 2)
        told, deaths = depart(many, 90, here, Departures)
        assert told == depart(single, 90, here, OneByOne)[0], seed
        assert contents(many) == contents(single), seed
        left += deaths
    assert min(died, left, gone) > SEEDS // 5, "too little of it went the short way"
