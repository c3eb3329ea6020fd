"""A large content is copied by several threads: all of it, or none of them writes to a file that was closed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from syncd.store import staging as staging_module
from syncd.store.files import FileWriter
from syncd.store.folder import Needed
from syncd.store.packs import Packs
from syncd.store.staging import Stager, Staging
from syncd.store.tree import DirTree
from syncd.store.writing import GATHERED_BYTES
from syncd.treetypes import NoSpace
from tests.helpers.tasks import FOLDER_ID, device_keys, keyring, marker_of
from tests.unit.store.test_staging import HERE, LENGTH, placed, wanted

THREADS = 3


class Bench:
    """A content of several runs that lies in the folder, and is begun."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(staging_module, "SHARED_BYTES", 0)
        root = place / "root"
        root.mkdir()
        self.content = random.Random(1).randbytes(8 * GATHERED_BYTES)
        (root / "here").write_bytes(self.content)
        self.tree = DirTree(bytes(root), str(place / "home"), time.monotonic)
        marker = marker_of(device_keys("x"))
        self.tree.check_root(marker)
        self.tree.write_marker(marker)
        self.want = wanted([self.content[at : at + LENGTH] for at in range(0, len(self.content), LENGTH)])
        self.staging = Staging(self.want)
        blocks = placed(self.want)
        self.needed = Needed(self.want, blocks=blocks, local={entry.pid: ((HERE, at),) for at, entry in blocks})
        self.database = self.tree.open_database("folder.db")
        packs = Packs(self.database, self.tree.open_shelf("shelf"), FOLDER_ID)
        self.stager = Stager(self.tree, keyring(), packs)
        self.stager.begin([(self.staging, self.needed)], frozenset())

    def copy(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        whole = [(self.staging, self.needed)]
        threads = [threading.Thread(target=self.stager.copy, args=(whole,)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        meanwhile()
        for thread in threads:
            thread.join()
        self.stager.begun(whole)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    (tmp_path / "home").mkdir(mode=0o700)
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    bench.tree.close()
    bench.database.close()


def test_all_of_it_is_there_and_it_is_finished(bench: Bench) -> None:
    assert len(bench.staging.to_copy) > THREADS
    assert not bench.staging.copied_bytes
    bench.copy()
    assert bench.staging.copied_bytes == len(bench.content)
    assert not bench.staging.missing
    assert bench.staging.is_complete
    assert bench.staging.writer is None
    reader, got = bench.tree.open_staged(b"token"), bytearray(len(bench.content))
    assert reader.read_into(0, got) == len(got)
    assert got == bench.content
    reader.close()


def test_who_lets_go_of_it_waits_for_those_who_write(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    write_at, in_the_middle = FileWriter.write_at, threading.Barrier(2)
    gone, closed = threading.Event(), threading.Event()
    after_closing: list[bool] = []

    def write(writer: FileWriter, offset: int, data: memoryview) -> None:
        in_the_middle.wait(60)
        gone.wait(60)
        write_at(writer, offset, data)
        after_closing.append(closed.is_set())

    def let_go() -> None:
        in_the_middle.wait(60)
        bench.staging.is_gone = True
        gone.set()
        bench.stager.abandon([bench.staging])
        closed.set()

    monkeypatch.setattr(FileWriter, "write_at", write)
    bench.copy(meanwhile=let_go)
    assert after_closing == [False]
    assert bench.staging.writer is None
    assert not bench.staging.is_complete
    assert bench.staging.error is None


def test_disk_that_refuses_one_run_ends_all_of_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    write_at = FileWriter.write_at

    def write(writer: FileWriter, offset: int, data: memoryview) -> None:
        if offset >= 2 * GATHERED_BYTES:
            raise NoSpace("full", (b"new",))
        write_at(writer, offset, data)

    monkeypatch.setattr(FileWriter, "write_at", write)
    bench.copy()
    assert isinstance(bench.staging.error, NoSpace)
    assert bench.staging.writer is None
    assert not bench.staging.is_complete
    assert bench.staging.missing


def test_file_that_cannot_be_made_again_ends_all_of_it(bench: Bench) -> None:
    bench.stager.abandon([bench.staging])
    bench.tree.drop_staged(bench.staging.want.token)
    bench.copy()
    assert bench.staging.error is not None
    assert not bench.staging.is_complete
