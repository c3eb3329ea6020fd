"""What is deleted in the very moment it got its name did get its name: a verb that says otherwise makes a conflict."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path as FilePath

import pytest

from syncd.store.tree import DirTree
from syncd.treetypes import Kind, LocallyChanged, NameTaken, Stat
from tests.suites.tree_suite import MARKER

pytestmark = pytest.mark.long


TRIES = 3000
_DELETER = """
import os, sys
here = os.open(sys.argv[1], os.O_PATH)
while True:
    try:
        os.unlink(b"file", dir_fd=here)
    except FileNotFoundError:
        pass
"""


@pytest.fixture
def tree(tmp_path: FilePath) -> Iterator[DirTree]:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "home").mkdir()
    tree = DirTree(bytes(root), str(tmp_path / "home"), time.monotonic)
    tree.write_marker(MARKER)
    deleter = subprocess.Popen([sys.executable, "-c", _DELETER, str(root)])
    yield tree
    deleter.kill()
    deleter.wait()
    tree.close()


def create_when_free(tree: DirTree, token: bytes) -> Stat:
    """NameTaken is the only refusal, as long as the file before has not been deleted yet."""
    while True:
        try:
            return tree.create(token, (b"file",))
        except NameTaken:
            continue


@pytest.mark.slowest
def test_created_file_is_never_said_not_to_be_there(tree: DirTree) -> None:
    for number in range(TRIES):
        tree.stage_small(b"t%d" % number, b"new", 0o600, None)
        assert create_when_free(tree, b"t%d" % number).kind is Kind.FILE


@pytest.mark.slowest
def test_replaced_file_is_in_old_or_was_not_touched(tree: DirTree) -> None:
    """LocallyChanged before the exchange, else an outcome: the caller always knows which."""
    replaced = 0
    for number in range(TRIES):
        tree.stage_small(b"a%d" % number, b"first", 0o600, None)
        expected = create_when_free(tree, b"a%d" % number)
        tree.stage_small(b"b%d" % number, b"second", 0o600, None)
        try:
            outcome = tree.exchange(b"b%d" % number, (b"file",), expected)
        except LocallyChanged:
            assert tree.open_staged(b"b%d" % number).stat().size == 6
            continue
        replaced += 1
        assert tree.stat_old(b"b%d" % number).ino == outcome.old.ino
    assert replaced
