"""The tree suite on a real directory, as this system is and as a poorer one would be, and in memory."""

from __future__ import annotations

import errno
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path as FilePath

import pytest

from syncd.store import syscalls
from syncd.store.syscalls import Renames
from syncd.store.tree import DirTree
from syncd.treetypes import NoSpace
from tests.helpers.odddisks import odd_disk
from tests.helpers.realuser import RealUser
from tests.helpers.simdisk import SimDisk
from tests.helpers.simtree import SimDatabases, SimTree
from tests.suites.tree_suite import MARKER, TreeSuite, World


def real_world(directory: FilePath, renames: Renames) -> Iterator[World]:
    root, home = directory / "root", directory / "home"
    root.mkdir()
    home.mkdir()
    tree = DirTree(bytes(root), str(home), time.monotonic, renames)
    yield World(tree, RealUser(root))
    tree.close()


class TestDirTree(TreeSuite):
    @pytest.fixture
    def world(self, tmp_path: FilePath) -> Iterator[World]:
        yield from real_world(tmp_path, Renames())


class TestDirTreeWithoutAtomicRenames(TreeSuite):
    @pytest.fixture
    def world(self, tmp_path: FilePath) -> Iterator[World]:
        yield from real_world(tmp_path, Renames(atomic=False))


class TestDirTreeOfAnOldKernel(TreeSuite):
    @pytest.fixture
    def world(self, tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
        monkeypatch.setattr(syscalls.Kernel, "openat2", False)
        yield from real_world(tmp_path, Renames())


class OddTreeSuite(TreeSuite):
    """On a disk that FUSE lets us make: a subclass says which."""

    odd: str

    @pytest.fixture(scope="class")
    @classmethod
    def disk(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FilePath]:
        place = tmp_path_factory.mktemp(cls.odd)
        with odd_disk(place / "below", place / "shown", cls.odd) as shown:
            yield shown

    @pytest.fixture
    def world(self, disk: FilePath) -> Iterator[World]:
        yield from real_world(FilePath(tempfile.mkdtemp(dir=disk)), Renames())


@pytest.mark.long
@pytest.mark.needs("fuse")
class TestDirTreeOnADiskThatFoldsCaseAndDecomposes(OddTreeSuite):
    odd = "folding"


class Stopping(Renames):
    """The disk refuses the second half of a new spelling."""

    def noreplace(self, fd: int, name: bytes, to_fd: int, to: bytes) -> None:
        if name.startswith(b"respelled") and to == b"A":
            raise OSError(errno.ENOSPC, "no space left on device")
        super().noreplace(fd, name, to_fd, to)


@pytest.mark.long
@pytest.mark.needs("fuse")
def test_spelling_that_fails_half_way_leaves_the_old_one(tmp_path: FilePath) -> None:
    with odd_disk(tmp_path / "below", tmp_path / "shown", "folding") as shown:
        for world in real_world(shown, Stopping()):
            world.tree.write_marker(MARKER)
            world.user.write((b"a",), b"1")
            with pytest.raises(NoSpace):
                world.tree.move((b"a",), (b"A",), world.tree.stat((b"a",)))
            assert world.user.contents() == {(b"a",): b"1"}
            assert world.tree.list_parked() == []


@pytest.mark.long
@pytest.mark.needs("fuse")
class TestDirTreeOnADiskWithoutXattrsAndWithCoarseTimes(OddTreeSuite):
    odd = "coarse"


@pytest.mark.long
@pytest.mark.needs("fuse")
class TestDirTreeOnAStick(OddTreeSuite):
    odd = "stick"


class TestSimTree(TreeSuite):
    @pytest.fixture
    def world(self) -> Iterator[World]:
        disk, databases = SimDisk(), SimDatabases()
        yield World(SimTree(disk, databases), disk)
        databases.close()
