"""A user's program writes into a file, and saves over it, while syncd replaces the same file: no word of the user is
lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path as FilePath

import pytest

from syncd.store.tree import DirTree
from syncd.treetypes import LocallyChanged
from tests.helpers.machinetime import Stopwatch
from tests.suites.tree_suite import MARKER, A

EXCHANGES = int(os.environ.get("SYNCD_EXCHANGES", "300"))
PATIENCE_S = 120.0

# Each word is appended through a descriptor that was opened before, or saved together with all that was there.
_USER = """
import os, sys
path, number = sys.argv[1], 0
while not os.path.exists(path + "-stop"):
    number += 1
    word = b"<%d>" % number
    if number % 2:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.write(fd, word)
        os.close(fd)
    else:
        with open(path, "rb") as file:
            content = file.read()
        with open(path + "~", "wb") as file:
            file.write(content + word)
        os.rename(path + "~", path)
print(number)
"""


@pytest.fixture
def tree(tmp_path: FilePath) -> Iterator[DirTree]:
    (tmp_path / "root").mkdir()
    (tmp_path / "home").mkdir()
    tree = DirTree(bytes(tmp_path / "root"), str(tmp_path / "home"), time.monotonic)
    tree.write_marker(MARKER)
    yield tree
    tree.close()


@pytest.mark.needs("linux")
def test_no_word_of_the_user_is_lost(tree: DirTree, tmp_path: FilePath) -> None:
    path = tmp_path / "root/a"
    path.write_bytes(b"")
    user = subprocess.Popen([sys.executable, "-c", _USER, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        exchanged = exchange_often(tree)
    finally:
        path.with_name("a-stop").touch()
        output, _ = user.communicate(timeout=PATIENCE_S)
    assert exchanged == EXCHANGES
    kept = path.read_bytes() + b"".join(file.read_bytes() for file in (tmp_path / "root/.syncd/old").iterdir())
    lost = [number for number in range(1, int(output) + 1) if b"<%d>" % number not in kept]
    assert lost == []


def exchange_often(tree: DirTree) -> int:
    done = 0
    watch = Stopwatch()
    while done < EXCHANGES and watch.seconds() < PATIENCE_S:
        token = b"t%d" % done
        tree.stage_small(token, b"", 0o644, None)
        with suppress(LocallyChanged):
            tree.exchange(token, A, tree.stat(A))
            done += 1
    return done
