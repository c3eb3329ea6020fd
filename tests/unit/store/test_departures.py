"""What left the disk: whoever notes that something is to be looked at says so, or nobody ever looks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from syncd.engine.detect import Known
from syncd.model.ids import ROOT_NODE
from syncd.model.records import Place, Record
from syncd.store import rows
from syncd.store.folder import FolderStore
from syncd.store.joining import PENDING
from syncd.store.rows import FILE, ROOT_ROW
from syncd.store.scan import Gone
from tests.helpers.authors import Author
from tests.helpers.model_values import file_with, node_id
from tests.helpers.simdisk import SimDisk
from tests.helpers.simtree import SimDatabases, SimTree
from tests.helpers.tasks import SeededRandom, device_keys, open_store
from tests.unit.store.test_journal import Roster, accept

COPY = b"plan (conflict bob 01234567).txt"


@pytest.fixture
def store() -> Iterator[FolderStore]:
    databases = SimDatabases()
    made = open_store(SimTree(SimDisk(), databases), device_keys("ann"), Roster(), SeededRandom("ann"), "ann")
    made.db_begin()
    yield made
    databases.close()


def test_copy_that_went_and_has_the_contents_of_its_file_lets_the_planner_look(store: FolderStore) -> None:
    accept(store, Author("bob").publish(Record(node_id(1), file_with(1), place=Place(ROOT_NODE, b"plan.txt"))))
    (row,) = rows.read(store.connection, "WHERE nid=?", (node_id(1),))
    connection = store.connection
    connection.execute(
        "INSERT INTO copy(node, cs, idx, l_parent, l_name, l_kind, l_ino, l_size, l_mtime, l_ctime, l_mode, l_seen, "
        "l_listed, l_cls, l_blocks) VALUES (?,?,?,?,?,?,7,1,1,1,384,1,?,?,?)",
        (row.id, row.c_cs, row.c_idx, ROOT_ROW, COPY, FILE, row.listed, row.cls, row.blocks),
    )
    connection.execute("UPDATE node SET pending=0 WHERE id=?", (row.id,))
    (copy,) = connection.execute("SELECT id FROM copy").fetchone()
    gone = Gone((COPY,), Known(copy, True, ROOT_ROW, COPY, FILE, 7, 1, 1, 1, 384, 1))
    draft = store.db_delete([gone], 0, publishes=True)
    assert not draft.records
    (row,) = rows.read(store.connection, "WHERE nid=?", (node_id(1),))
    assert row.pending == PENDING
    assert draft.unchanged, "nobody is told to look"
