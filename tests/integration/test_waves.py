"""Waves of changes: which wait, what a yes does, and what a no undoes, on simulated computers."""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import MockClock

from syncd.engine.brake import WINDOW_S, Measures
from syncd.errors import SyncdError
from syncd.folder.waves import GROWING_S, Waves
from syncd.model.records import Record
from syncd.store import rows
from syncd.store.glance import STEP
from syncd.store.waves import SCAN_ORIGIN, Held, Why, db_hold, db_pass
from syncd.treetypes import Change, IoFailed, Path
from tests.helpers.tasks import PowerCut, SimSite, World

FILES = 80
NOISE = random.Random("noise").randbytes(2000)
A_WHILE_S = 120.0


def name(number: int) -> tuple[bytes]:
    return (b"letter%02d.txt" % number,)


def first(number: int) -> bytes:
    return b"first edition of %d, long enough for everybody" % number


@pytest.fixture
async def world() -> World:
    return World(["ann", "bob"])


async def fill(world: World) -> tuple[SimSite, SimSite]:
    """Eighty files, older than the window of the brake."""
    ann = world["ann"]
    for number in range(FILES):
        ann.disk.write(name(number), first(number))
    await world.settle()
    await trio.sleep(3 * WINDOW_S)
    return ann, world["bob"]


def waves(site: SimSite) -> Waves:
    return site.task.waves


async def the_wave(site: SimSite) -> Held:
    (held,) = await waves(site).held()
    return held


def demand_first_editions(*sites: SimSite) -> None:
    for site in sites:
        for number in range(FILES):
            assert site.disk.read(name(number)) == first(number)


async def test_wave_that_grows_is_counted_whole_and_undone_whole(world: World, autojump_clock: MockClock) -> None:
    """Many deletions pass one by one before it is noticed; the others wait. A no brings all eighty back."""
    async with world.running():
        ann, bob = await fill(world)
        for number in range(FILES):
            ann.disk.delete(name(number))
            await trio.sleep(1)
        await trio.sleep(A_WHILE_S)
        held = await the_wave(ann)
        gone = sum(name(number) not in bob.disk.contents() for number in range(FILES))
        assert held.why is Why.GONE
        assert held.files == FILES - gone > 1
        assert held.passed == gone >= 20
        await waves(ann).deny(held.id)
        await world.settle()
        demand_first_editions(ann, bob)
        world.demand_equal()
        assert not await waves(ann).held()


async def test_wave_is_shown_when_it_is_whole_and_passes_with_one_yes(world: World, autojump_clock: MockClock) -> None:
    """The first files rest, and are held, while the last are still to come. Nobody is shown half of a wave, as what
    follows after a yes has to be approved by somebody else."""
    async with world.running():
        ann, bob = await fill(world)
        for number in range(FILES, 2 * FILES):
            ann.disk.write(name(number), first(number))
        await world.settle()
        for number in range(2 * FILES):
            ann.disk.delete(name(number))
            if number == FILES:
                await trio.sleep(0.15)
        while not (shown := await waves(ann).shown()):
            await ann.task.changed()
        assert [held.files for held in shown] == [2 * FILES]
        assert await waves(ann).approve(shown[0].id)
        await world.settle()
        world.demand_equal()
        assert not bob.disk.contents()
        assert not await waves(ann).held() + await waves(bob).held()


async def test_wave_that_grows_all_the_time_is_shown_all_the_same(world: World, autojump_clock: MockClock) -> None:
    async with world.running():
        ann, _ = await fill(world)
        for number in range(60):
            ann.disk.delete(name(number))
        began = trio.current_time()
        while not await waves(ann).shown():
            ann.disk.write((b"restless",), b"%f" % trio.current_time())
            await trio.sleep(0.1)
        assert trio.current_time() - began < 2 * GROWING_S


async def test_what_came_back_while_it_waited_is_found_by_a_yes(world: World, autojump_clock: MockClock) -> None:
    """Deleted, and put back under another name before the answer: then not only the old names are looked at."""
    async with world.running():
        ann, bob = await fill(world)
        for number in range(FILES):
            ann.disk.delete(name(number))
        await trio.sleep(A_WHILE_S)
        for number in range(0, FILES, 2):
            ann.disk.write(name(number), b"back, and another one")
        ann.disk.write((b"new",), first(3))
        await trio.sleep(A_WHILE_S)
        assert await waves(ann).approve((await the_wave(ann)).id)
        await world.settle()
        for held in await waves(bob).held():
            await waves(bob).approve(held.id)
        await world.settle()
        world.demand_equal()
        assert set(bob.disk.contents()) == {(b"new",), *(name(number) for number in range(0, FILES, 2))}


async def test_what_came_into_a_directory_that_waits_is_found_by_a_yes(world: World, autojump_clock: MockClock) -> None:
    """A directory was deleted with all in it, and another one made there before the answer."""
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        ann.disk.mkdir((b"d",))
        for number in range(FILES):
            ann.disk.write((b"d", *name(number)), first(number))
        await world.settle()
        await trio.sleep(3 * WINDOW_S)
        for number in range(FILES):
            ann.disk.delete((b"d", *name(number)))
        ann.disk.delete((b"d",))
        await trio.sleep(A_WHILE_S)
        await the_wave(ann)
        ann.disk.mkdir((b"d",))
        ann.disk.write((b"d", b"new"), first(3))
        ann.disk.mkdir((b"d", b"sub"))
        ann.disk.write((b"d", b"sub", b"new"), first(4))
        await trio.sleep(A_WHILE_S)
        assert await waves(ann).approve((await the_wave(ann)).id)
        await world.settle()
        for held in await waves(bob).held():
            await waves(bob).approve(held.id)
        await world.settle()
        world.demand_equal()
        assert set(bob.disk.contents()) >= {(b"d", b"new"), (b"d", b"sub", b"new")}


async def test_what_moved_while_a_yes_was_given_is_found(world: World, autojump_clock: MockClock) -> None:
    """A look that began before the answer leaves alone what waited then, wherever it meets that."""
    async with world.running():
        ann, bob = await fill(world)
        ann.disk.mkdir((b"z",))
        taken_out = ann.disk.at(name(0))
        for number in range(FILES):
            parent, last = ann.disk.parent_of(name(number))
            ann.disk.emit(Change.DONE, ann.disk.at(name(number)))
            ann.disk.unlink(parent, last, drop=False)
        await trio.sleep(A_WHILE_S)
        held = await the_wave(ann)
        ann.disk.take_name(ann.disk.at((b"z",)), b"moved", taken_out)
        ann.disk.mkdir((b"many",))
        for number in range(STEP):
            ann.disk.symlink((b"many", b"%d" % number), b"nowhere")
        begun = trio.Event()
        ann.on_call = lambda called: begun.set() if called == "Scanner._scan.<locals>.begin" else None
        await begun.wait()
        assert await waves(ann).approve(held.id)
        await world.settle()
        for held in await waves(bob).held():
            await waves(bob).approve(held.id)
        await world.settle()
        world.demand_equal()
        assert bob.disk.read((b"z", b"moved")) == first(0)


async def test_no_brings_back_what_links_stand_for_by_now(world: World, autojump_clock: MockClock) -> None:
    """Something of another kind has each name, and a link stands where a directory was."""
    async with world.running():
        ann, bob = await fill(world)
        ann.disk.mkdir((b"dir",))
        ann.disk.write((b"dir", b"inside"), b"inside")
        await world.settle()
        for path in ((b"dir",), *map(name, range(FILES))):
            ann.disk.delete(path)
            ann.disk.symlink(path, b"nowhere")
        await trio.sleep(A_WHILE_S)
        await waves(ann).deny((await the_wave(ann)).id)
        await world.settle()
        demand_first_editions(bob)
        await waves(bob).approve((await the_wave(bob)).id)  # the links, which are still there
        await world.settle()
        world.demand_equal()
        contents = set(ann.disk.contents().values())
        assert contents >= {first(number) for number in range(FILES)} | {b"inside"}


async def test_wave_of_overwrites_waits_and_passes_with_a_yes(world: World, autojump_clock: MockClock) -> None:
    async with world.running():
        ann, bob = await fill(world)
        for number in range(FILES):
            ann.disk.write(name(number), b"second edition %d" % number)
        await trio.sleep(A_WHILE_S)
        held = await the_wave(ann)
        assert (held.why, held.files, held.passed) == (Why.CHANGED, FILES, 0)
        demand_first_editions(bob)
        ann.disk.write((b"new",), b"whatever else changes flows")
        await trio.sleep(A_WHILE_S)
        assert bob.disk.read((b"new",)) == b"whatever else changes flows"
        assert await waves(ann).approve(held.id)
        await world.settle()  # nobody has to say yes a second time
        assert bob.disk.read(name(7)) == b"second edition 7"
        world.demand_equal()
        assert not await waves(bob).held()


@pytest.mark.long
async def test_wave_that_all_others_hold_is_freed_by_one_of_them(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob", "cid"])
    async with world.running():
        ann, bob = await fill(world)
        await write_over_slowly(world, ann)
        for site in (bob, world["cid"]):
            assert (await the_wave(site)).files > FILES / 2
        assert await waves(bob).approve((await the_wave(bob)).id)
        await world.settle()
        for site in world:
            assert not await waves(site).held()
            assert site.disk.read(name(7)) == b"written over 7"
        world.demand_equal()


@pytest.mark.parametrize("answer", ["deny", "approve"])
async def test_answer_holds_for_what_was_shown(world: World, answer: str, autojump_clock: MockClock) -> None:
    async with world.running():
        ann, bob = await fill(world)
        await write_over_slowly(world, ann)
        shown = await the_wave(bob)
        waits = next(number for number in range(FILES) if bob.disk.read(name(number)) == first(number))
        ann.disk.write(name(waits), b"one more change")
        await trio.sleep(A_WHILE_S)
        assert (await the_wave(bob)).files == shown.files
        with pytest.raises(SyncdError, match="has changed since it was shown") as refused:
            await (waves(bob).deny if answer == "deny" else waves(bob).approve)(shown.id)
        assert refused.value.id == "SY-BRAKE-02"
        await trio.sleep(A_WHILE_S)
        assert bob.disk.read(name(waits)) == first(waits)
        assert await waves(bob).approve((await the_wave(bob)).id)
        await world.settle()
        assert bob.disk.read(name(waits)) == b"one more change"


@pytest.mark.slowest
async def test_what_its_author_does_after_a_yes_waits_again(world: World, autojump_clock: MockClock) -> None:
    async with world.running():
        ann, bob = await fill(world)
        await write_over_slowly(world, ann)
        shown = await the_wave(bob)
        world.cut()
        for number in range(FILES):
            ann.disk.write(name(number), b"written once more %d" % number)
            await trio.sleep(2 * WINDOW_S / 19)
        assert await waves(bob).approve(shown.id)
        world.mend()
        await trio.sleep(A_WHILE_S)
        held = (await the_wave(bob)).files
        untouched = sum(bob.disk.read(name(n)) != b"written once more %d" % n for n in range(FILES))
        assert untouched == held > FILES / 2


@pytest.mark.long
async def test_viewer_frees_only_his_own_disk(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob", "cid"], viewers=["bob"])
    async with world.running():
        ann, bob = await fill(world)
        await write_over_slowly(world, ann)
        assert not await waves(bob).approve((await the_wave(bob)).id)
        await trio.sleep(A_WHILE_S)
        assert bob.disk.read(name(7)) == b"written over 7"
        untouched = sum(world["cid"].disk.read(name(number)) == first(number) for number in range(FILES))
        assert (await the_wave(world["cid"])).files == untouched > FILES / 2


@pytest.mark.long
async def test_overwrites_are_undone_by_a_no_and_kept_aside(world: World, autojump_clock: MockClock) -> None:
    async with world.running():
        ann, bob = await fill(world)
        for number in range(FILES):
            ann.disk.write(name(number), b"written over %d" % number)
        await trio.sleep(A_WHILE_S)
        await waves(ann).deny((await the_wave(ann)).id)
        await world.settle()
        demand_first_editions(ann, bob)
        old = ann.disk.directory((b".syncd", b"old")).names
        kept = {ann.disk.read((b".syncd", b"old", token)) for token in old}
        assert kept >= {b"written over %d" % number for number in range(FILES)}


@pytest.mark.parametrize(("retired", "keep"), [(1, 1000), (FILES // 2, 0), (FILES // 2, 1000), (FILES, 1000)])
async def test_no_that_a_power_cut_ends_leaves_the_wave_as_it_was(
    world: World, retired: int, keep: int, autojump_clock: MockClock
) -> None:
    """What was set aside by then is at its name again: a yes would publish it as deleted."""
    async with world.running():
        ann, bob = await fill(world)
        for number in range(FILES):
            ann.disk.write(name(number), b"written over %d" % number)
        ann.disk.flush()
        await trio.sleep(A_WHILE_S)
        shown = await the_wave(ann)
        reached = ann.disk.hook
        steps: list[Path] = []
        assert reached is not None

        def hook(step: str, path: Path) -> None:
            if step == "retire.rename":
                steps.append(path)
                if len(steps) == retired:
                    ann.pull_plug_after(2)
            reached(step, path)

        ann.disk.hook = hook
        with pytest.raises(PowerCut):
            await waves(ann).deny(shown.id)
        await ann.crash(keep=keep)
        await world.start(ann)
        await trio.sleep(A_WHILE_S)
        held = await the_wave(ann)
        assert held.files == FILES
        demand_first_editions(bob)
        await waves(ann).approve(held.id)
        await world.settle()
        for site in (ann, bob):
            for number in range(FILES):
                assert site.disk.read(name(number)) == b"written over %d" % number


async def write_over_slowly(world: World, ann: SimSite) -> None:
    """So slowly that ann's brake lets it pass, while nobody hears of it; then all of it arrives at one moment."""
    world.cut()
    for number in range(FILES):
        ann.disk.write(name(number), b"written over %d" % number)
        await trio.sleep(2 * WINDOW_S / 19)
    assert not await waves(ann).held()
    world.mend()
    await trio.sleep(A_WHILE_S)


async def test_overwrites_of_somebody_else_are_undone_for_all_by_a_no(world: World, autojump_clock: MockClock) -> None:
    async with world.running():
        ann, bob = await fill(world)
        await write_over_slowly(world, ann)
        await waves(bob).deny((await the_wave(bob)).id)
        await trio.sleep(A_WHILE_S)
        for held in await waves(ann).held():  # bob's undoing is many overwrites as well
            await waves(ann).approve(held.id)
        await world.settle()
        demand_first_editions(ann, bob)


@pytest.mark.parametrize("answer", ["deny", "approve"])
async def test_few_files_that_are_encrypted_wait(world: World, answer: str, autojump_clock: MockClock) -> None:
    """Far below a half of the files, one by one: nineteen pass, the rest waits, and a no undoes all."""
    async with world.running():
        ann, bob = await fill(world)
        for number in range(30):
            ann.disk.write(name(number), NOISE + b"%d" % number)
            await trio.sleep(2)
        await trio.sleep(A_WHILE_S)
        held = await the_wave(ann)
        assert held.why is Why.ENCRYPTED
        assert bob.disk.read(name(29)) == first(29)
        if answer == "deny":
            await waves(ann).deny(held.id)
            await world.settle()
            demand_first_editions(ann, bob)
        else:
            await waves(ann).approve(held.id)
            await world.settle()
            assert bob.disk.read(name(29)) == NOISE + b"29"
        world.demand_equal()


@pytest.mark.parametrize("answer", ["deny", "approve"])
async def test_storm_of_renames_waits(world: World, answer: str, autojump_clock: MockClock) -> None:
    async with world.running():
        ann, bob = await fill(world)
        for number in range(FILES):
            ann.disk.rename(name(number), (name(number)[0] + b".locked",))
        await trio.sleep(A_WHILE_S)
        held = await the_wave(ann)
        assert (held.why, held.files) == (Why.ENCRYPTED, FILES)
        demand_first_editions(bob)
        if answer == "deny":
            await waves(ann).deny(held.id)
            await world.settle()
            demand_first_editions(ann, bob)
        else:
            await waves(ann).approve(held.id)
            await world.settle()
            assert bob.disk.read((b"letter07.txt.locked",)) == first(7)
        world.demand_equal()


async def test_renames_that_passed_before_the_storm_was_noticed_are_undone_by_a_no(
    world: World, autojump_clock: MockClock
) -> None:
    async with world.running():
        ann, bob = await fill(world)
        for number in range(30):
            ann.disk.rename(name(number), (name(number)[0] + b".locked",))
            await trio.sleep(2)
        await trio.sleep(A_WHILE_S)
        held = await the_wave(ann)
        assert held.why is Why.ENCRYPTED
        assert held.passed > 0
        await waves(ann).deny(held.id)
        await world.settle()
        demand_first_editions(ann, bob)
        world.demand_equal()


@pytest.mark.long
async def test_ordinary_work_never_waits(world: World, autojump_clock: MockClock) -> None:
    """New files, all of them edited again and again, moved and removed one by one: young files are nobody's loss."""
    async with world.running():
        ann = world["ann"]
        await world.settle()
        await trio.sleep(3 * WINDOW_S)
        for round_ in range(3):
            for number in range(FILES):
                ann.disk.write(name(number), b"edition %d of %d" % (round_, number))
            await world.settle()
        for number in range(FILES):
            ann.disk.delete(name(number))
            await trio.sleep(2)
        await world.settle()
        assert not await waves(ann).held()
        assert not await waves(world["bob"]).held()
        world.demand_equal()


@pytest.mark.parametrize("step", ["stat", "retire.rename", "flush_dirs"])
async def test_no_that_the_disk_lets_come_true_in_part_frees_nothing_else(
    world: World, step: str, autojump_clock: MockClock
) -> None:
    """What cannot be looked at or set aside waits on: it would be taken for an edit, and go to everybody."""
    async with world.running():
        ann, bob = await fill(world)
        for number in range(FILES):
            ann.disk.write(name(number), b"second edition %d" % number)
        await trio.sleep(A_WHILE_S)
        shown = await the_wave(ann)
        ann.disk.fail_at(1 if step == "flush_dirs" else FILES // 2, IoFailed("simulated"), step, for_ever=True)
        with pytest.raises(SyncdError, match="could not be undone, and wait as before") as refused:
            await waves(ann).deny(shown.id)
        assert (refused.value.id, refused.value.why) == ("SY-BRAKE-03", "simulated")
        ann.disk.mend()
        await trio.sleep(A_WHILE_S)
        left = await the_wave(ann)
        assert 0 < left.files <= (FILES if step == "flush_dirs" else FILES - 1)
        demand_first_editions(bob)
        await waves(ann).deny(left.id)
        await world.settle()
        demand_first_editions(ann, bob)
        assert not await waves(ann).held()


async def begin_overwritten(world: World) -> None:
    """Something of ann's waits, and before that she wrote over something else, of which only bob has the former
    content."""
    ann = world["ann"]
    for one in (b"plan", b"other"):
        ann.disk.write((one,), b"the first " + one)
    await world.settle()
    store = ann.task.store
    plan, other = (rows.read(store.connection, "WHERE l_name=?", (one,))[0].id for one in (b"plan", b"other"))
    db_pass(store.connection, SCAN_ORIGIN, [plan], ann.clock.now())
    ann.disk.write((b"plan",), b"written over it")
    await world.settle()
    db_hold(store.connection, "held-here", SCAN_ORIGIN, Why.CHANGED, [other], ann.clock.now(), 2)


@pytest.mark.parametrize("has_it", [True, False])
async def test_no_brings_nothing_back_that_nobody_has(has_it: bool, autojump_clock: MockClock) -> None:
    """What was written over it stays: without that there would be neither."""
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        await begin_overwritten(world)
        if not has_it:
            await bob.stop()
        assert await waves(ann).deny((await the_wave(ann)).id) == (0 if has_it else 1)
        if not has_it:
            await world.start(bob)
        await world.settle()
        assert ann.disk.read((b"plan",)) == (b"the first plan" if has_it else b"written over it")
        world.demand_equal()
        world.demand_no_trouble()


async def test_no_that_fetches_is_no_answer_to_what_was_let_pass_meanwhile(autojump_clock: MockClock) -> None:
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        await begin_overwritten(world)
        shown, fetching = await the_wave(ann), trio.Event()

        async def deny() -> None:
            with pytest.raises(SyncdError, match="waits no more"):
                await waves(ann).deny(shown.id)

        async with trio.open_nursery() as nursery:
            bob.on_call = lambda called: fetching.set() if called == "FolderStore.db_have" else None
            nursery.start_soon(deny)
            await fetching.wait()
            assert await waves(ann).approve(shown.id)
        await world.settle()
        world.demand_equal()
        assert ann.disk.read((b"plan",)) == b"written over it"


@pytest.mark.parametrize("answer", ["deny", "approve"])
async def test_answer_holds_although_who_gave_it_does_not_wait_for_its_end(
    answer: str, autojump_clock: MockClock
) -> None:
    """Once the rows say so it is followed by all that belongs to it, and not left to the next look at everything."""
    world = World(["ann", "bob"])
    async with world.running():
        ann, bob = world["ann"], world["bob"]
        ann.disk.write((b"plan",), b"the plan")
        await world.settle()
        store = ann.task.store
        [plan] = rows.read(store.connection, "WHERE l_name=?", (b"plan",))
        db_hold(store.connection, "held-here", SCAN_ORIGIN, Why.GONE, [plan.id], ann.clock.now(), 1)
        ann.disk.delete((b"plan",))
        await world.settle()
        await trio.sleep(A_WHILE_S)
        shown = await the_wave(ann)
        with trio.CancelScope() as person:
            step = "db_deny" if answer == "deny" else "db_let_pass"
            ann.on_call = lambda called: person.cancel() if called == step else None
            await (waves(ann).deny if answer == "deny" else waves(ann).approve)(shown.id)
        await trio.sleep(A_WHILE_S)
        assert not await waves(ann).held()
        for disk in (ann.disk, bob.disk):
            assert disk.contents() == ({(b"plan",): b"the plan"} if answer == "deny" else {})


@pytest.mark.parametrize("act", ["edit", "delete", "move"])
async def test_what_was_done_to_a_file_while_it_waited_is_found_when_somebody_else_decides(
    act: str, autojump_clock: MockClock
) -> None:
    """A no that comes from elsewhere leaves nothing to be done to the file, so that no step would meet what people did
    to it, and the look that had met it has left it alone."""
    world = World(["ann", "bob", "cem"])
    ann, bob, cem = world
    for cautious in (bob, cem):
        cautious.measures = Measures(0.0, 1, 1, 1)
    async with world.running():
        for number in range(3):
            ann.disk.write(name(number), first(number))
        await world.settle()
        await trio.sleep(3 * WINDOW_S)
        ann.disk.delete(name(1))
        await trio.sleep(10)
        assert [len(await waves(site).held()) for site in world] == [0, 1, 1]
        if act == "edit":
            bob.disk.write(name(1), b"an edition by bob")
        elif act == "delete":
            bob.disk.delete(name(1))
        else:
            bob.disk.rename(name(1), name(3))
        await trio.sleep(10)
        await waves(cem).deny((await the_wave(cem)).id)
        await world.settle()
        assert {held.origin for site in world for held in await waves(site).held()} <= {SCAN_ORIGIN}
        for site in (bob, cem):
            for _ in range(2):
                for held in await waves(site).held():
                    await waves(site).approve(held.id)
                await world.settle()
        world.demand_equal()
        there = {"edit": {name(1): b"an edition by bob"}, "delete": {}, "move": {name(3): first(1)}}[act]
        assert ann.disk.contents() == {name(0): first(0), name(2): first(2)} | there


async def test_wave_that_its_author_takes_back_waits_for_nobody(autojump_clock: MockClock) -> None:
    """The brake of the author did not hold it, as that of another did."""
    world = World(["ann", "bob"])
    ann, bob = world
    bob.measures = Measures(0.0, 1, 1, 1)
    async with world.running():
        for number in range(2):
            ann.disk.write(name(number), first(number))
        await world.settle()
        store = ann.task.store
        [before] = rows.read(store.connection, "WHERE l_name=?", name(1))
        ann.disk.delete(name(1))
        await trio.sleep(10)
        assert (await the_wave(bob)).files == 1
        [now] = rows.read(store.connection, "WHERE id=?", (before.id,))
        assert before.c_cs is not None and before.c_idx is not None and now.c_cs is not None and now.c_idx is not None
        content = store.db_records(before.c_cs)[before.c_idx].content
        deleted = store.journal.sources.version(now.c_cs, now.c_idx)
        record = Record(before.nid, content, (deleted,))
        store.journal.author([record], store.keyring, store.membership, ann.task.now_ms())
        ann.task.announce(store.journal.newest_seq())
        ann.task.wake_plan()
        await trio.sleep(10)
        assert not await waves(bob).held()
        await world.settle()
        world.demand_equal()
        assert bob.disk.read(name(1)) == first(1)
