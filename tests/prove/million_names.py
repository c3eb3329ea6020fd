"""Blocking. A folder of a million files: finding a name, and what it takes to bring one file back, in its rows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from syncd.model.ids import ROOT_NODE, NodeId, VersionId, new_node_id
from syncd.model.records import DIRECTORY, Attributes, Content, ContentKind, Place, Record
from syncd.store import restoring
from syncd.store.db import Transaction
from syncd.store.folder import FolderStore
from syncd.store.looking import db_search
from syncd.store.restoring import Moment, Part
from syncd.store.watch import LocalTrees
from syncd.workers import ThreadWorkers
from tests.helpers.computers import Disappointment
from tests.helpers.tasks import Members, SeededRandom, device_keys, open_store

CLAIM = (
    "Among 1,000,000 files `search` takes at most 200 ms for any text, and to find out what a restore of one file "
    "would do, to see that all of it is there and to publish it takes at most 1 s (of processor time)"
)

DIRECTORIES, FILES = 1000, 1000
NOW_MS = 1_700_000_000_000
SEARCH_S, RESTORE_S = 0.2, 1.0
TEXTS = ("file-0777-0123", "777-", "e", "no such name", "FILE-0001-09", "zz")


def prove(place: Path) -> str:
    root, home = place / "folder", place / "home"
    root.mkdir()
    home.mkdir(mode=0o700)
    keys = device_keys("anna")
    tree = LocalTrees(ThreadWorkers(2), time.monotonic).open(bytes(root), str(home))
    store = open_store(tree, keys, Members([keys]), SeededRandom("million"), "anna")
    store.db_begin()
    with Transaction(store.connection):
        store.journal.begin_incarnation()
    fill(store)
    searches = {text: median_s(lambda text=text: db_search(store, text, 100)) for text in TEXTS}  # type: ignore[misc]
    restores = [restore_one(store, number) for number in (1, 500_500, 999_998)]
    worst = max(searches, key=lambda text: searches[text])
    measured = (
        f"search: worst {searches[worst] * 1000:.0f} ms ({worst!r}), median "
        f"{statistics.median(searches.values()) * 1000:.0f} ms; one file: "
        f"foreseen and published in {max(restores) * 1000:.0f} ms at most"
    )
    store.connection.close()
    if searches[worst] > SEARCH_S or max(restores) > RESTORE_S:
        raise Disappointment(measured)
    return measured


def fill(store: FolderStore) -> None:
    """A thousand directories of a thousand files."""
    content = file_of(store, b"first")
    for number in range(DIRECTORIES):
        directory, records = directory_record(number)
        records += [file_record(directory, number, file, content) for file in range(FILES)]
        publish(store, records, NOW_MS + number)


def file_of(store: FolderStore, plain: bytes) -> Content:
    hashed = store.keyring.hasher().small(plain)
    return Content(ContentKind.FILE, hashed.cut_class, len(plain), hashed.packed)


def directory_record(number: int) -> tuple[NodeId, list[Record]]:
    name = b"directory-%04d" % number
    node = new_node_id(ROOT_NODE, name, None)
    return node, [Record(node, DIRECTORY, (), Place(ROOT_NODE, name), (), Attributes(0o755), ())]


def file_record(directory: NodeId, number: int, file: int, content: Content) -> Record:
    name = b"file-%04d-%04d" % (number, file)
    node = new_node_id(directory, name, None)
    return Record(node, content, (), Place(directory, name), (), Attributes(0o644, NOW_MS * 1_000_000), ())


def publish(store: FolderStore, records: list[Record], now_ms: int) -> None:
    with Transaction(store.connection):
        store.journal.author(records, store.keyring, store.membership, now_ms)


def median_s(work: Callable[[], object]) -> float:
    took = []
    for _ in range(5):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return statistics.median(took)


def restore_one(store: FolderStore, number: int) -> float:
    """Somebody overwrote one file; the seconds until the records that bring it back are published."""
    directory, file = divmod(number, FILES)
    path = (b"directory-%04d" % directory, b"file-%04d-%04d" % (directory, file))
    before_ms = NOW_MS + DIRECTORIES + number
    seen = restoring.db_tree(store, Moment(), path)[path]
    assert seen.version is not None
    versions: tuple[VersionId, ...] = (seen.version,)
    publish(store, [Record(seen.node, file_of(store, b"by mistake"), versions)], before_ms + 1)
    began = time.process_time()
    moment, part = Moment(at_ms=before_ms), Part(path)
    foreseen = restoring.db_foresee(store, moment, part)
    deed = restoring.db_restore(store, moment, part, "one file", before_ms / 1000)
    took = time.process_time() - began
    now = restoring.db_tree(store, Moment(), path)[path]
    if deed is None or foreseen.records != 1 or not now.content.same_as(seen.content):
        raise Disappointment(f"{path!r} was not restored")
    return took
