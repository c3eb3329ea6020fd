"""Rules that are changed by a command, while people change the same files themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from trio.testing import MockClock

from syncd.model.ignores import SHARED_NAME
from syncd.store.rewriting import read_files, write_files
from syncd.treetypes import LocallyChanged
from tests.helpers.tasks import SimSite, World

FILE, TOKEN = (SHARED_NAME,), b"0" * 24


@pytest.fixture
async def ann() -> AsyncIterator[SimSite]:
    world = World(["ann"])
    world["ann"].disk.write(FILE, b"*.tmp\n")
    async with world.running():
        await world.settle()
        yield world["ann"]


async def test_one_rule_more(ann: SimSite, autojump_clock: MockClock) -> None:
    tree = ann.task.store.tree
    before = read_files(tree)
    write_files(tree, before, before.changed(["*.bak"], [], local=False), TOKEN)
    assert ann.disk.read(FILE) == b"*.tmp\n*.bak\n"
    assert tree.list_old() == []


async def test_program_that_has_the_rules_open_writes_into_the_file_that_stands(
    ann: SimSite, autojump_clock: MockClock
) -> None:
    """What it writes after the exchange would be nowhere."""
    tree = ann.task.store.tree
    before = read_files(tree)
    program = ann.disk.open(FILE)
    with pytest.raises(LocallyChanged):
        write_files(tree, before, before.changed(["*.bak"], [], local=False), TOKEN)
    program.write(b"written late\n", 0)
    program.close()
    assert ann.disk.read(FILE) == b"written late\n"


async def test_own_rules_that_somebody_else_has_changed_stay(ann: SimSite, autojump_clock: MockClock) -> None:
    tree = ann.task.store.tree
    before = read_files(tree)
    tree.write_ignore(b"*.mine\n")
    with pytest.raises(LocallyChanged):
        write_files(tree, before, before.changed(["*.bak"], [], local=True), TOKEN)
    assert tree.read_ignore() == b"*.mine\n"
