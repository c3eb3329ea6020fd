"""The tree suite on a real directory, as this system is and as a poorer one would be, and in memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path as FilePath

import pytest

from syncd.store import syscalls
from syncd.store.syscalls import Renames
from syncd.store.tree import DirTree
from tests.helpers.realuser import RealUser
from tests.helpers.simdisk import SimDisk
from tests.helpers.simtree import SimDatabases, SimTree
from tests.suites.tree_suite import TreeSuite, World


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


class TestSimTree(TreeSuite):
    @pytest.fixture
    def world(self) -> Iterator[World]:
        disk, databases = SimDisk(), SimDatabases()
        yield World(SimTree(disk, databases), disk)
        databases.close()
