"""What the disk refuses to say is no answer: not that nothing stands there, not that nothing changed, not that it was
done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from syncd.engine.plan import MakeDir, Place
from syncd.store import packing
from syncd.store.apply import carry_out
from syncd.store.prepare import Step
from syncd.store.recovery import db_recheck_old, publish_late_edits
from syncd.treetypes import Denied, IoFailed, LocallyChanged, Path, TreeError
from tests.helpers.simdisk import Node
from tests.helpers.tasks import MOMENT, SimSite, World

RULES, SECRET, PLAN, OTHER, MOVED = (b".syncdignore",), (b"secret",), (b"plan",), (b"other",), (b"moved",)
PRIVATE = (b"private",)
INSIDE = (*PRIVATE, b"inside")


@contextmanager
def refusing(site: SimSite, error: TreeError, *refused: tuple[str, Path]) -> Iterator[None]:
    """These steps of these paths fail, until the end."""
    before: Callable[[str, Path], None] | None = site.disk.hook
    assert before is not None

    def reach(step: str, path: Path) -> None:
        before(step, path)
        if (step, path) in refused:
            raise error

    site.disk.hook = reach
    try:
        yield
    finally:
        site.disk.hook = before


@pytest.fixture
async def pair() -> AsyncIterator[World]:
    """Ann has rules that leave a file out, and a file in a directory; bob has what she told."""
    world = World(["ann", "bob"])
    async with world.running():
        disk = world["ann"].disk
        disk.write(RULES, b"secret\n")
        disk.mkdir(PRIVATE)
        disk.write(INSIDE, b"inside")
        await world.settle()
        disk.write(SECRET, b"nobody is to know")
        await world.settle()
        yield world


def names(site: SimSite) -> set[Path]:
    return set(site.disk.contents())


# --- rules that cannot be read ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [IoFailed("simulated", RULES), Denied("simulated", RULES), LocallyChanged("", RULES)])
async def test_what_rules_leave_out_is_told_to_nobody_while_they_cannot_be_read(
    pair: World, autojump_clock: MockClock, error: TreeError
) -> None:
    ann, bob = pair["ann"], pair["bob"]
    with refusing(ann, error, ("read_many", RULES)):
        ann.disk.write(PLAN, b"plan")
        number = ann.task.scanner.rescan()
        await trio.sleep(300)
        assert SECRET not in names(bob)
        assert ann.task.progress.scans_done < number, "and that was no look at the disk"
        assert not ann.task.is_settled
        assert any(".syncdignore" in problem for problem in ann.problems())
    await pair.settle()
    assert names(bob) == names(ann) - {SECRET}
    pair.demand_no_trouble()


async def test_rules_that_are_too_large_to_be_read_stop_the_look_and_are_named(
    pair: World, autojump_clock: MockClock
) -> None:
    ann, bob = pair["ann"], pair["bob"]
    ann.disk.write(RULES, b"secret\n" * 200_000)
    await trio.sleep(300)
    assert SECRET not in names(bob)
    assert any("SY-FILE-12" in problem for problem in ann.problems())
    ann.disk.write(RULES, b"secret\n")
    await pair.settle()
    assert SECRET not in names(bob)
    pair.demand_no_trouble()


async def test_look_that_the_disk_stops_is_tried_again_at_ever_longer_intervals(
    pair: World, autojump_clock: MockClock
) -> None:
    ann = pair["ann"]
    with refusing(ann, IoFailed("simulated", RULES), ("read_many", RULES)):
        ann.task.scanner.rescan()
        before = ann.task.progress.scans_begun
        await trio.sleep(600)
        assert 8 <= ann.task.progress.scans_begun - before <= 20
    await pair.settle()


# --- a name that cannot be asked for ---------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [IoFailed("simulated", INSIDE), Denied("simulated", INSIDE)])
async def test_file_whose_old_name_cannot_be_asked_for_waits_alone(
    pair: World, autojump_clock: MockClock, error: TreeError
) -> None:
    """Whether it was moved, or has two names, is not known: neither is told, and everything else goes on."""
    ann, bob = pair["ann"], pair["bob"]
    nid = ann.task.store.connection.execute("SELECT nid FROM node WHERE name=?", INSIDE[-1:]).fetchone()
    with refusing(ann, error, ("stat", INSIDE)):
        ann.disk.rename(INSIDE, MOVED)
        ann.disk.write(OTHER, b"other")
        await trio.sleep(60)
        assert {INSIDE, OTHER} <= names(bob)
        assert MOVED not in names(bob)
        assert any("moved" in problem for problem in ann.problems())
    await trio.sleep(700)
    await pair.settle()
    assert names(bob) == names(ann) - {SECRET}
    assert ann.task.store.connection.execute("SELECT nid FROM node WHERE name=?", MOVED).fetchone() == nid
    pair.demand_no_trouble()


# --- what was done, and could not be looked at after that ------------------------------------------------------------


@contextmanager
def refusing_after(site: SimSite, done: tuple[str, Path], refused: tuple[str, Path]) -> Iterator[list[str]]:
    """A step fails once, the first time that it is taken after another one. What has failed."""
    before = site.disk.hook
    assert before is not None
    reached: list[str] = []

    def reach(step: str, path: Path) -> None:
        before(step, path)
        if not reached and (step, path[: len(done[1])]) == done:
            reached.append(step)
        elif len(reached) == 1 and (step, path) == refused:
            reached.append(step)
            raise IoFailed("simulated", path)

    site.disk.hook = reach
    try:
        yield reached
    finally:
        site.disk.hook = before


async def test_name_that_only_this_disk_needs_is_told_to_nobody_although_the_move_to_it_was_not_confirmed(
    autojump_clock: MockClock,
) -> None:
    """It was moved, and then the disk does not say what its directory is: what was written down before tells."""
    world = World(["ann", "bob"])
    ann, bob = world["ann"], world["bob"]
    bob.disk.personality = replace(bob.disk.personality, case_insensitive=True)
    async with world.running():
        ann.disk.mkdir(PRIVATE)
        ann.disk.write((*PRIVATE, b"plan"), b"plan")
        ann.disk.write((b"PLAN",), b"another")
        await world.settle()
        with refusing_after(bob, ("move", (b"PLAN",)), ("stat", PRIVATE)) as reached:
            ann.disk.rename((b"PLAN",), (*PRIVATE, b"PLAN"))
            await world.settle()
        assert reached == ["move", "stat"]
        assert names(ann) == {PRIVATE, (*PRIVATE, b"plan"), (*PRIVATE, b"PLAN")}
        assert len(names(bob)) == 3
        told = bob.task.store.connection.execute(
            "SELECT count(*) FROM changeset c JOIN author a ON a.id=c.author WHERE a.device=?", (bob.device,)
        ).fetchone()
        assert told == (0,), "bob has nothing to say about what ann did"
        world.demand_no_trouble()


async def test_names_that_came_are_not_noted_where_their_directory_may_not_have_been_flushed(
    pair: World, autojump_clock: MockClock
) -> None:
    """A power cut would take them away, and the rows would say that somebody deleted them."""
    pair.cut()
    tree = pair["ann"].task.store.tree
    steps = [Step(MakeDir(99, Place(2, name)), (*PRIVATE, name), None, mode=0o755) for name in (b"one", b"two")]
    with refusing(pair["ann"], IoFailed("simulated"), ("stat", PRIVATE)), pytest.raises(IoFailed):
        carry_out(tree, steps[:1])
    with refusing(pair["ann"], Denied("simulated"), ("make_dir", steps[1].path)):
        (done,) = carry_out(tree, steps[1:])
    assert isinstance(done.outcome, Denied), "of what was not done nothing has to be flushed"


async def test_file_keeps_what_somebody_here_noted_on_it_although_the_disk_did_not_say_so_at_once(
    pair: World, autojump_clock: MockClock
) -> None:
    """Extended attributes that were told to nobody go over to what replaces a file."""
    ann, bob = pair["ann"], pair["bob"]
    with refusing_after(bob, ("stage_small", ()), ("xattrs", INSIDE)) as reached:
        bob.disk.at(INSIDE).xattrs[b"user.colour"] = b"red"  # without an event: the look at it is still to come
        ann.disk.write(INSIDE, b"by ann")
        await pair.settle()
    assert reached == ["stage_small", "xattrs"]
    assert bob.disk.read(INSIDE) == b"by ann"
    assert bob.disk.at(INSIDE).xattrs == {b"user.colour": b"red"}


async def test_planner_rests_after_the_disk_has_failed_once(pair: World, autojump_clock: MockClock) -> None:
    ann, bob = pair["ann"], pair["bob"]
    ann.disk.write(PLAN, b"plan")
    await pair.settle()
    bob.disk.fail_at(1, IoFailed("simulated"), "flush_dirs")
    ann.disk.rename(PLAN, (*PRIVATE, *PLAN))
    await pair.settle()
    pair.cut()
    calls: list[str] = []
    bob.on_call = calls.append
    await trio.sleep(60)
    assert len(calls) < 120
    assert bob.disk.failed == 1


# --- what lies in .syncd/old -----------------------------------------------------------------------------------------


async def test_old_inode_that_cannot_be_read_delays_no_other(pair: World, autojump_clock: MockClock) -> None:
    ann, bob = pair["ann"], pair["bob"]
    for content in (b"second", b"third"):
        ann.disk.write(INSIDE, content)
        await pair.settle()
    pair.cut()
    store, old = bob.task.store, (b".syncd", b"old")
    first, second = (token for (token,) in store.connection.execute("SELECT token FROM old ORDER BY id").fetchall())
    for token in (first, second):
        bob.disk.write((*old, token.encode()), b"late " + token.encode())
    with refusing(bob, IoFailed("simulated"), ("read", (*old, first.encode()))):
        assert publish_late_edits(store, db_recheck_old(store, MOMENT + 86_400), int(MOMENT * 1000)) == 1
        assert publish_late_edits(store, db_recheck_old(store, MOMENT + 86_400), int(MOMENT * 1000)) == 0
    assert publish_late_edits(store, db_recheck_old(store, MOMENT + 86_400), int(MOMENT * 1000)) == 1, (
        "and it is compared until it can be read"
    )


# --- bytes that cannot be read any more ------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["open_read", "read"])
async def test_file_that_cannot_be_read_any_more_is_no_file_in_order(
    pair: World, autojump_clock: MockClock, step: str
) -> None:
    """Its stat is what it was, so no look at the names tells; the slow reading of everything does."""
    ann, bob = pair["ann"], pair["bob"]
    await trio.sleep(5)
    with refusing(ann, IoFailed("bad sector", INSIDE), (step, INSIDE), ("read_many", INSIDE)):
        await ann.task.doubter.step(everything=True)
        await trio.sleep(10)
        assert any("SY-DISK-03" in problem and "inside" in problem for problem in ann.problems())
        bob.disk.write(INSIDE, b"by bob")
        await trio.sleep(60)
        assert ann.disk.read(INSIDE) == b"by bob", "what others make of it still takes its place"
    await pair.settle()
    await trio.sleep(700)
    assert names(bob) == names(ann) - {SECRET}
    pair.demand_no_trouble()


async def test_file_that_could_not_be_read_once_is_in_order_when_it_can_be(
    pair: World, autojump_clock: MockClock
) -> None:
    ann = pair["ann"]
    await trio.sleep(5)
    with refusing(ann, IoFailed("bad cable", INSIDE), ("open_read", INSIDE)):
        await ann.task.doubter.step(everything=True)
    await trio.sleep(60)
    pair.demand_no_trouble()
    told = ann.task.store.connection.execute("SELECT heads FROM node WHERE name=?", INSIDE[-1:]).fetchone()
    assert told == (1,)


@pytest.mark.parametrize("is_suspect", [False, True])
async def test_rot_behind_an_error_of_the_disk_is_no_edit(
    pair: World, autojump_clock: MockClock, is_suspect: bool
) -> None:
    """A sector that could not be read, and holds something else when it can be: its stat is what it was."""
    ann, bob = pair["ann"], pair["bob"]
    await trio.sleep(5)
    before = bob.disk.read(INSIDE)
    ann.disk.rot(INSIDE, bytes(len(before)))
    if is_suspect:
        await ann.task.doubter.step(everything=True)
        await trio.sleep(700)
    with refusing(ann, IoFailed("bad sector", INSIDE), ("open_read", INSIDE)):
        await ann.task.doubter.step(everything=True)
    await trio.sleep(60)
    assert bob.disk.read(INSIDE) == before


@pytest.mark.parametrize("size", [100, 1_000_000])
async def test_content_that_a_flush_did_not_save_is_written_into_another_file(
    autojump_clock: MockClock, size: int
) -> None:
    """What can be read of the first one are pages that the kernel counts as saved: it would never come to the disk."""
    staged: list[Node] = []
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        await world.settle()

        def fail(step: str, path: Path) -> None:
            if step == "flush" and not staged:
                stage = ann.disk.directory((b".syncd", b"stage"))
                staged.extend(node for _, node in stage.names.values())
                raise IoFailed("simulated")

        ann.disk.hook = fail
        bob.disk.write((b"news",), bytes(range(250)) * (size // 250 + 1))
        await world.settle()
        assert staged
        assert ann.disk.at((b"news",)) not in staged


@pytest.mark.parametrize("is_edited", [False, True])
async def test_old_inode_that_cannot_be_read_keeps_none_from_being_packed_and_is_told(
    pair: World, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, is_edited: bool
) -> None:
    """As large as all that is read in one round, it would be the whole of every round."""
    monkeypatch.setattr(packing, "BYTES_PER_ROUND", 6)
    ann, bob = pair["ann"], pair["bob"]
    for content in (b"second", b"third", b"fourth"):
        ann.disk.write(INSIDE, content)
        await pair.settle()
        await trio.sleep(1)
    pair.cut()
    old, connection = (b".syncd", b"old"), bob.task.store.connection
    (bad,) = connection.execute("SELECT token FROM old ORDER BY since LIMIT 1").fetchone()
    if is_edited:
        bob.disk.write((*old, bad.encode()), b"edited")
    with refusing(bob, IoFailed("bad sector"), ("read", (*old, bad.encode()))):
        await trio.sleep(3 * packing.PACK_AFTER_S)
        assert connection.execute("SELECT token FROM old").fetchall() == [(bad,)]
        assert bob.task.unread_old == 1
    await trio.sleep(packing.PACK_AFTER_S)
    assert bob.task.unread_old == 0
    heads = connection.execute("SELECT heads FROM node WHERE name=?", INSIDE[-1:]).fetchone()
    assert heads == (1 + is_edited,)
