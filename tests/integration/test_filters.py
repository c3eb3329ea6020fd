"""Rules that all members share, rules of one's own, and what more of them would do."""

from __future__ import annotations

from trio.testing import MockClock

from syncd.model.ignores import SHARED_NAME, parse_ignores
from syncd.store.filtering import Comparison, Effect, Effects, read_rules
from syncd.treetypes import PRIVATE, Path
from tests.helpers.tasks import MOMENT, SimClock, SimSite, World

RULES = (SHARED_NAME,)
OWN_RULES = (PRIVATE, b"ignore")
FILE = (b"letter",)
LONG_AGO_NS = int((MOMENT - 3 * 366 * 86_400) * 1e9)


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
    world = World(["ann", "bob"])
    async with world.running():
        ann = world["ann"]
        ann.disk.write(RULES, b"*.tmp\nsize>5 new*\n")
        await world.settle()
        ann.disk.mkdir((b"dir",))
        ann.disk.write((b"dir", b"a.iso"), b"12345")
        ann.disk.write((b"b.iso",), b"123")
        ann.disk.write((b"c.tmp",), b"1")
        ann.disk.write((b"old",), b"22")
        ann.disk.write((b"new and old",), b"666666")
        for name in (b"old", b"new and old"):
            ann.disk.utime((name,), LONG_AGO_NS)
        await world.settle()
        effects = would(ann, b"*.iso\n!c.tmp\n")
        assert told(effects.leave) == (2, 8, {(b"dir", b"a.iso"), (b"b.iso",)})
        assert told(effects.enter) == (1, 1, {(b"c.tmp",)})
        assert told(would(ann, b"size>4\n").leave) == (1, 5, {(b"dir", b"a.iso")})
        assert told(would(ann, b"type:disk\n").leave)[:2] == (2, 8)
        assert told(would(ann, b"!new*\n").enter)[:2] == (1, 6)
        assert told(would(ann, b"!new*\nage>1y\n").enter)[:2] == (0, 0), "it never came in, and is old"
        assert told(would(ann, b"age>1y\n").leave)[:2] == (0, 0), "what has come in stays"
        assert contents(world["bob"]) == {b"dir", b"b.iso", b"old", *RULES}


async def test_what_others_have_counts_too(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        bob.disk.write(OWN_RULES, b"type:video\n")
        await world.settle()
        ann.disk.write((b"film.mkv",), b"12345")
        ann.disk.write((b"text",), b"1")
        await world.settle()
        assert contents(bob) == {b"text"}
        assert told(would(bob, b"!size<10\n").fetch) == (1, 5, {(b"film.mkv",)})
        assert told(would(bob, b"!size<10\n").enter)[0] == 0
        assert told(would(ann, b"type:video\n").leave) == (1, 5, {(b"film.mkv",)})
        bob.disk.write(OWN_RULES, b"type:video\n!size<10\n")
        await world.settle()
        assert contents(bob) == {b"text", b"film.mkv"}


async def test_file_that_grows_over_the_limit_stays_with_others_as_it_was(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        ann.disk.write(RULES, b"size>10\n")
        await world.settle()
        ann.disk.write(FILE, b"small")
        ann.disk.write((b"large",), b"larger than that")
        await world.settle()
        assert contents(bob) == {*RULES, *FILE}
        ann.disk.write(FILE, b"by now it is large")
        await world.settle()
        assert bob.disk.read(FILE) == b"small"
        bob.disk.write(FILE, b"by bob")
        await world.settle()
        assert ann.disk.read(FILE) == b"by now it is large", "nothing of what a rule leaves out is overwritten"
        ann.disk.write(FILE, b"small anew")
        await world.settle()
        assert {ann.disk.read(path) for path in ann.disk.contents()} >= {b"small anew", b"by bob"}, "a conflict"
        assert bob.disk.contents() == {path: data for path, data in ann.disk.contents().items() if path != (b"large",)}


async def test_nothing_that_a_rule_leaves_out_is_deleted_elsewhere(autojump_clock: MockClock) -> None:
    """Neither under its old name, once it has another, nor when it goes."""
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        ann.disk.write(RULES, b"size>10\n")
        await world.settle()
        ann.disk.write(FILE, b"small")
        ann.disk.write((b"other",), b"small")
        await world.settle()
        ann.disk.write(FILE, b"by now it is large")
        ann.disk.write((b"other",), b"so is this one")
        await world.settle()
        ann.disk.rename(FILE, (b"renamed",))
        ann.disk.delete((b"other",))
        await world.settle()
        assert bob.disk.read(FILE) == b"small" and bob.disk.read((b"other",)) == b"small"
        assert ann.disk.read((b"renamed",)) == b"by now it is large"
        assert ann.disk.read(FILE) == b"small", "what others have is here again"
        ann.disk.delete(FILE)
        await world.settle()
        assert contents(bob) == {*RULES, b"other"}, "a deletion is still one"


async def test_rename_and_limit_at_once_is_no_deletion(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        ann.disk.write(RULES, b"size>10\n")
        await world.settle()
        ann.disk.write(FILE, b"small")
        await world.settle()
        ann.disk.write(FILE, b"by now it is large")
        ann.disk.rename(FILE, (b"renamed",))
        await world.settle()
        assert bob.disk.read(FILE) == b"small"


async def test_age_decides_only_whether_a_file_comes_in(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob", "cem"])
    async with world.running():
        ann, bob, cem = world["ann"], world["bob"], world["cem"]
        cem.disk.write(OWN_RULES, b"age>1y\n")
        ann.disk.write(FILE, b"letter")
        ann.disk.write((b"photo",), b"photo")
        await world.settle()
        assert contents(cem) == {*FILE, b"photo"}
        ann.disk.utime(FILE, LONG_AGO_NS)
        ann.disk.write((b"old",), b"old")
        ann.disk.utime((b"old",), LONG_AGO_NS)
        await world.settle()
        cem.task.scanner.rescan()
        await world.settle()
        assert contents(cem) == {*FILE, b"photo"}
        assert cem.disk.stat(FILE).mtime_ns == LONG_AGO_NS, "what has come in is kept as others have it"
        cem.disk.rename(FILE, (b"renamed",))
        await world.settle()
        assert contents(bob) == {b"renamed", b"photo", b"old"}, "and may be renamed"
        bob.disk.write((b"old",), b"new again")
        await world.settle()
        assert cem.disk.read((b"old",)) == b"new again"
        cem.disk.write((b"cem's",), b"very old")
        cem.disk.utime((b"cem's",), LONG_AGO_NS)
        await world.settle()
        assert b"cem's" not in contents(ann)


def would(site: SimSite, rules: bytes) -> Effects:
    store = site.task.store
    before = read_rules(store.tree)
    comparison = Comparison(store, before, before.and_own(parse_ignores(rules)), site.task.now_ns())
    while comparison.db_step(2):
        pass
    return comparison.effects


def told(effect: Effect) -> tuple[int, int, set[Path]]:
    return effect.files, effect.size, set(effect.paths)


def contents(site: SimSite) -> set[bytes]:
    """The names at the root."""
    return {path[0] for path in site.disk.contents()}


async def test_what_went_while_a_rule_left_it_out_comes_back_when_the_rule_goes(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        gone = [(b"whole",), (b"inside", b"a"), (b"below", b"a"), (b"by name.iso",)]
        for directory in (b"whole", b"inside", b"below"):
            ann.disk.mkdir((directory,))
            ann.disk.write((directory, b"a"), directory)
        ann.disk.write((b"by name.iso",), b"name")
        ann.disk.write((b"other",), b"other")
        await world.settle()
        everything = ann.disk.contents()
        bob.disk.write(OWN_RULES, b"/whole/\n/inside\n/below/*\n*.iso\n")
        await world.settle()
        bob.disk.delete((b"whole", b"a"))
        for path in gone:
            bob.disk.delete(path)
        await world.settle()
        bob.disk.write(OWN_RULES, b"*.nothing\n")
        bob.disk.delete((b"other",))  # and no rule speaks of this one
        await world.settle()
        del everything[(b"other",)]
        assert ann.disk.contents() == everything
        assert bob.disk.contents() == everything
        world.demand_no_trouble()
        bob.disk.delete((b"by name.iso",))
        await world.settle()
        assert (b"by name.iso",) not in ann.disk.contents(), "by now it counts again"


async def test_what_went_from_under_a_rule_while_nobody_ran_comes_back(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        bob.disk.write(OWN_RULES, b"size>10\n/dir/\n")
        ann.disk.mkdir((b"dir",))
        names = [(b"dir", b"a"), (b"grown",), (b"grown, and no rule any more",)]
        for path in names:
            ann.disk.write(path, b"small")
        bob.disk.write(OWN_RULES, b"")
        await world.settle()
        bob.disk.write(OWN_RULES, b"size>10\n/dir/\n")
        for path in names[1:]:
            bob.disk.write(path, b"by now it is large")
        await world.settle()
        await bob.stop()
        bob.disk.delete(names[1])
        await world.start(bob)
        await world.settle()
        await bob.stop()
        bob.disk.delete(names[0])
        bob.disk.delete(names[2])
        bob.disk.write(OWN_RULES, b"")
        await world.start(bob)
        await world.settle()
        for path in names:
            assert ann.disk.read(path) == bob.disk.read(path) == b"small"
        world.demand_no_trouble()


async def test_clock_that_was_wrong_keeps_nothing_out_for_good(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        bob.disk.write(OWN_RULES, b"age>1y\n")
        await world.settle()
        bob.task.clock = AheadClock()
        ann.disk.write(FILE, b"new")
        await world.settle()
        assert contents(bob) == set()
        bob.task.clock = bob.clock
        bob.task.scanner.rescan()  # as each hour
        await world.settle()
        assert bob.disk.read(FILE) == b"new"


class AheadClock(SimClock):
    """Three years ahead."""

    def now(self) -> float:
        return super().now() + 3 * 366 * 86_400


async def test_rename_to_a_name_that_a_rule_leaves_out_deletes_nothing_elsewhere(autojump_clock: MockClock) -> None:
    """Neither a file nor a directory with all that is in it: what others have of them is here again, beside."""
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        ann.disk.write(RULES, b"*.off\n")
        ann.disk.write(FILE, b"a letter")
        ann.disk.mkdir((b"dir",))
        ann.disk.mkdir((b"dir", b"inner"))
        ann.disk.write((b"dir", b"inner", b"a"), b"in a directory")
        await world.settle()
        everything = bob.disk.contents()
        ann.disk.rename(FILE, (b"letter.off",))
        ann.disk.rename((b"dir",), (b"dir.off",))
        await world.settle()
        assert bob.disk.contents() == everything
        assert ann.disk.contents().items() >= everything.items()
        assert ann.disk.read((b"dir.off", b"inner", b"a")) == b"in a directory"
        ann.disk.delete((b"dir",))
        ann.disk.mkdir((b"other.off",))  # it may have the inode of what has gone
        await world.settle()
        assert contents(bob) == {*RULES, *FILE}, "a deletion is still one"


async def test_directory_that_is_renamed_so_and_saved_in_while_nobody_ran_is_kept_elsewhere(
    autojump_clock: MockClock,
) -> None:
    """Programs save by a new file under the old name, so that nothing in it is the object that it was."""
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        ann.disk.write(RULES, b"*.off\n")
        ann.disk.mkdir((b"dir",))
        ann.disk.write((b"dir", b"a"), b"in a directory")
        await world.settle()
        everything = bob.disk.contents()
        await ann.stop()
        ann.disk.rename((b"dir",), (b"dir.off",))
        ann.disk.write((b"new",), b"saved")
        ann.disk.delete((b"dir.off", b"a"))
        ann.disk.rename((b"new",), (b"dir.off", b"a"))
        await world.start(ann)
        await world.settle()
        assert bob.disk.contents() == everything
        assert ann.disk.read((b"dir.off", b"a")) == b"saved"
