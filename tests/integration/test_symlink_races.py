"""Another program swaps directories and files of the folder for symlinks while every verb of the tree runs.

Beside the folder lies a *sentinel*: files that nobody asked to be synced. A separate process exchanges `d`, `e` and
`f` of the folder for symlinks into the sentinel, as fast as it can. Whatever a verb does then must happen in the
folder or fail: the sentinel keeps every byte, mode and time, and no verb ever returns anything of it."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path as FilePath

import pytest

from syncd.store import syscalls
from syncd.store.tree import DirTree
from syncd.treetypes import ROOT, Attributes, Kind, Path, Read, Stat, TreeError
from tests.suites.tree_suite import MARKER

SWAPS = int(os.environ.get("SYNCD_SWAPS", "1000"))  # per verb; a long run asks for 100000
ROUNDS = 100
SECRET = b"of the sentinel"
PATIENCE_S = float(os.environ.get("SYNCD_SWAP_PATIENCE_S", "120"))

pytestmark = pytest.mark.needs("linux")

_SWAPPER = """
import mmap, os, struct, sys
from syncd.store.syscalls import Renames
counter = mmap.mmap(os.open(sys.argv[2], os.O_RDWR), 8)
here = os.open(sys.argv[1], os.O_PATH)
exchange, count = Renames().exchange, 0
while True:
    for name in (b"d", b"e", b"f"):
        exchange(here, name, here, b"link-" + name)
        count += 1
    counter[:8] = struct.pack("=Q", count)
"""


@dataclass(frozen=True)
class Rig:
    tree: DirTree
    sentinel: FilePath
    swaps: Callable[[], int]
    inodes: frozenset[int]  # of the sentinel
    before: object

    def run(self, act: Callable[[int], object]) -> None:
        """Act until enough swaps have happened, and some acts have succeeded; then look at the sentinel."""
        deadline, start, rounds, successes = time.monotonic() + PATIENCE_S, self.swaps(), 0, 0
        while rounds < ROUNDS or successes == 0 or self.swaps() - start < SWAPS:
            with suppress(TreeError, OSError):
                self.examine(act(rounds))
                successes += 1
            rounds += 1
            assert time.monotonic() < deadline, "too few swaps, or no act ever succeeds"
        assert look(self.sentinel) == self.before

    def examine(self, result: object) -> None:
        """Nothing of the sentinel is in what a verb returned."""
        match result:
            case Stat():
                assert result.ino not in self.inodes
            case Read(stat=stat, content=content):
                assert SECRET not in content
                assert stat.ino not in self.inodes
            case list() | tuple():
                for each in result:
                    self.examine(each)
            case bytes():
                assert SECRET not in result


def look(top: FilePath) -> list[tuple[object, ...]]:
    """Every name with everything that an act on it would change."""
    found: list[tuple[object, ...]] = []
    for path in [top, *sorted(top.rglob("*"))]:
        stat = path.lstat()
        content = path.read_bytes() if path.is_file() else os.listdir(path)
        found.append((path, content, stat.st_mode, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_nlink, stat.st_ino))
    return found


@pytest.fixture(params=["openat2", "walking"])
def rig(tmp_path: FilePath, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    if request.param == "walking":
        monkeypatch.setattr(syscalls.Kernel, "openat2", False)
    root, sentinel, counter = tmp_path / "root", tmp_path / "sentinel", tmp_path / "counter"
    for place in (root, root / "d", root / "e", tmp_path / "home", sentinel, sentinel / "sub"):
        place.mkdir()
    (root / "f").write_bytes(b"of the folder")
    for place in (root / "d", root / "e", sentinel, sentinel / "sub"):
        (place / "file").write_bytes(SECRET if place.is_relative_to(sentinel) else b"of the folder")
    for name, target in (("d", "../sentinel"), ("e", "../sentinel/sub"), ("f", "../sentinel/file")):
        (root / f"link-{name}").symlink_to(target)
    counter.write_bytes(bytes(8))
    tree = DirTree(bytes(root), str(tmp_path / "home"), time.monotonic)
    tree.write_marker(MARKER)
    inodes = frozenset(path.lstat().st_ino for path in [sentinel, *sentinel.rglob("*")])
    swapper = subprocess.Popen([sys.executable, "-c", _SWAPPER, str(root), str(counter)])
    with open(counter, "r+b") as file, mmap.mmap(file.fileno(), 8) as shared:
        try:
            yield Rig(tree, sentinel, lambda: int(struct.unpack("=Q", shared[:8])[0]), inodes, look(sentinel))
        finally:
            swapper.kill()
            swapper.wait()
            tree.close()


def test_program_that_follows_symlinks_is_caught(rig: Rig) -> None:
    """The rig itself: with ordinary paths the sentinel is reached at once."""
    path = rig.sentinel.with_name("root") / "d/file"
    deadline = time.monotonic() + PATIENCE_S
    while path.read_bytes() != SECRET:
        assert time.monotonic() < deadline


def test_looking(rig: Rig) -> None:
    tree = rig.tree
    verbs: list[Callable[[], object]] = [
        lambda: tree.list_dir((b"d",)),
        lambda: tree.stat((b"d", b"file")),
        lambda: tree.stat_many((b"e",), [b"file"]),
        lambda: list(tree.read_many([(b"d", b"file"), (b"e", b"file"), (b"f",)], 100)),
        lambda: tree.xattrs((b"d", b"file")),
        lambda: tree.xattr_names((b"d", b"file")),
        lambda: read_all(tree, (b"d", b"file")),
        lambda: read_all(tree, (b"f",)),
        lambda: tree.list_subdirs((b"d",)),
    ]
    for verb in verbs:
        rig.run(lambda _, verb=verb: verb())  # type: ignore[misc]


def read_all(tree: DirTree, path: Path) -> Read:
    reader = tree.open_read(path)
    try:
        buffer = bytearray(100)
        return Read(reader.stat(), bytes(buffer[: reader.read_into(0, buffer)]))
    finally:
        reader.close()


def test_creating_and_deleting(rig: Rig) -> None:
    tree = rig.tree

    def create_and_retire(number: int) -> object:
        token, path = b"a%d" % number, (b"d", b"new%d" % (number % 7))
        tree.stage_small(token, b"new", 0o600, None)
        created = tree.create(token, path)
        return created, tree.retire(path, token, created)

    def make_and_remove(number: int) -> object:
        path = (b"d", b"dir%d" % (number % 7))
        with suppress(TreeError):
            rig.examine(tree.make_dir(path, 0o700))
        return tree.remove_dir(path)

    def retire_and_put_back(number: int) -> object:
        token, path = b"b%d" % number, (b"d", b"file")
        retired = tree.retire(path, token, tree.stat(path))
        while True:
            with suppress(TreeError):
                return retired, tree.put_back(token, path)

    for act in (create_and_retire, make_and_remove, retire_and_put_back):
        rig.run(act)


def test_replacing(rig: Rig) -> None:
    tree = rig.tree

    def exchange(path: Path, name: bytes) -> Callable[[int], object]:
        def act(number: int) -> object:
            token = name + b"%d" % number
            tree.stage_small(token, b"newer", 0o600, None)
            replaced = tree.exchange(token, path, tree.stat(path))
            assert replaced.new is None or replaced.new.kind in (Kind.FILE, Kind.SYMLINK)
            return replaced

        return act

    rig.run(exchange((b"d", b"file"), b"a"))
    rig.run(exchange((b"e", b"file"), b"b"))
    rig.run(exchange((b"f",), b"c"))


def test_moving(rig: Rig) -> None:
    tree = rig.tree

    def move(source: Path, target: Path) -> Callable[[int], object]:
        def act(_: int) -> object:
            there = tree.move(source, target, tree.stat(source))
            while True:
                with suppress(TreeError):
                    return there, tree.move(target, source, there)

        return act

    def park(number: int) -> object:
        path, token = (b"e", b"file"), b"p%d" % number
        parked = tree.park(path, token, tree.stat(path))
        while True:
            with suppress(TreeError):
                return parked, tree.unpark(token, path)

    rig.run(move((b"d", b"file"), (b"e", b"moved")))
    rig.run(move((b"d", b"file"), (b"moved",)))
    rig.run(park)


def test_attributes_and_flushing(rig: Rig) -> None:
    tree = rig.tree

    def attributes(path: Path) -> Callable[[int], object]:
        def act(number: int) -> object:
            wanted = Attributes(0o600 + number % 8, 10**18 + number, {b"user.n": b"%d" % number})
            return tree.set_attributes(path, wanted, tree.stat(path))

        return act

    rig.run(attributes((b"d", b"file")))
    rig.run(attributes((b"f",)))
    rig.run(lambda number: tree.set_attributes((b"e",), Attributes(0o700 + number % 8), tree.stat((b"e",))))
    rig.run(lambda number: tree.flush_dirs([(b"d",)]) if number % 50 == 0 else tree.list_dir(ROOT))
