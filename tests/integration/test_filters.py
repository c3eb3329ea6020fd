"""Rules that all members share, rules of one's own, and what more of them would do."""

from __future__ import annotations

from trio.testing import MockClock

from syncd.model.ignores import SHARED_NAME, parse_ignores
from syncd.store.filtering import compare_rules, read_rules
from tests.helpers.tasks import World

RULES = (SHARED_NAME,)


async def test_shared_rule_holds_for_everybody_and_can_be_taken_back(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        ann.disk.write(RULES, b"*.tmp\n")
        await world.settle()
        assert bob.disk.read(RULES) == b"*.tmp\n"
        bob.disk.write((b"bob.tmp",), b"stays with bob")
        ann.disk.write((b"both.txt",), b"travels")
        await world.settle()
        assert bob.disk.read((b"both.txt",)) == b"travels"
        assert (b"bob.tmp",) not in ann.disk.contents()
        bob.disk.write(RULES, b"*.nothing\n")
        await world.settle()
        assert ann.disk.read((b"bob.tmp",)) == b"stays with bob"


async def test_no_rule_leaves_out_the_rules(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        ann.disk.write(RULES, b"*\n")
        await world.settle()
        ann.disk.write((b"left out",), b"1")
        await world.settle()
        assert (b"left out",) not in bob.disk.contents()
        bob.disk.write(RULES, b"")
        await world.settle()
        assert bob.disk.read((b"left out",)) == b"1"


async def test_what_rules_would_do_is_told_in_files_and_bytes(autojump_clock: MockClock) -> None:
    world = World(["ann"])
    async with world.running():
        ann = world["ann"]
        ann.disk.mkdir((b"dir",))
        ann.disk.write((b"dir", b"a.iso"), b"12345")
        ann.disk.write((b"b.iso",), b"123")
        ann.disk.write((b"c.tmp",), b"1")
        ann.disk.write(RULES, b"*.tmp\n")
        await world.settle()
        tree = ann.task.store.tree
        rules = read_rules(tree)
        leaving, entering = compare_rules(tree, rules, rules.and_own(parse_ignores(b"*.iso\n!c.tmp\n")))
        assert (leaving.files, leaving.size) == (2, 8)
        assert (entering.files, entering.size, entering.paths) == (1, 1, [(b"c.tmp",)])
