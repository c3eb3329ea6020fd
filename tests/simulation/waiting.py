"""Async. Stories of folder tasks without daemons in which nearly everything waits for a person, while names are given,
swapped and taken away on all sides, in the very moment of a step too; names are taken that something else is about to
have; the power fails, and disks refuse single steps.

Claimed is, after every visit to the rows, that no two of them stand at one name; and in the end, where all can be had,
that all trees are equal when everybody says so, and that what nobody gave up is there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import Random

import trio

from syncd.engine.brake import Measures
from syncd.errors import SyncdError
from syncd.store import rows, waves
from syncd.store.survey import Survey
from syncd.store.waves import Held
from syncd.treetypes import IoFailed, Kind, Path, TreeError
from tests.helpers.simclock import JumpingClock
from tests.helpers.simulation import what_is_shared
from tests.helpers.tasks import PowerCut, SimSite, World, demand_same_pictures, deterministic
from tests.helpers.users import Book, User, superseded
from tests.simulation.asking import ODD_ENDINGS, TOO_LATE
from tests.simulation.claim import two_at_a_name

ROUNDS = 5
CUT_WHILE_ANSWERED = 9
BEFORE_S = 30.0
PATIENCE_S = 60.0
FIRST_ANSWERS, MOST_ANSWERS = 3, 20
SETTLED_S = 600.0
NOT_KEPT = "SY-FILE-11"
STEPS = ("create", "exchange", "move", "retire", "make_dir", "remove_dir", "park", "unpark", "flush", "flush_dirs")


class Story:
    """One seed."""

    def __init__(self, seed: int) -> None:
        self.log: list[str] = []
        self._chance = chance = Random(f"waiting {seed}")
        self._world = World(["ann", "bob", "cem"][: chance.choice([2, 2, 3])], seed, latency_s=0.05)
        self._book = Book()
        self._users: dict[str, User] = {}
        self._shown: dict[str, list[Held]] = {}
        self._is_acting = False
        measures = Measures(0.02, chance.randint(1, 3), chance.randint(1, 4), chance.randint(1, 2))
        for site in self._world:
            site.measures = measures
            names = ODD_ENDINGS[-6:]
            self._users[site.name] = User(site.name, site.disk, self._book, chance, large=False, names=names)
            site.on_call = self._looks_at(site)

    async def tell(self) -> None:
        async with self._world.running():
            first = next(iter(self._world))
            first.disk.mkdir((b"one",))
            for number, name in enumerate(ODD_ENDINGS):
                path = (b"one", name) if number % 2 else (name,)
                first.disk.write(path, self._book.new(first.name, self._chance))
            first.disk.flush()
            await self._world.settle()
            await trio.sleep(BEFORE_S)
            for _ in range(ROUNDS):
                await self._round()
            await self._settle()
            self._demand_nothing_lost()

    def _note(self, what: str) -> None:
        self.log.append(f"{trio.current_time():.3f} {what}")

    def _looks_at(self, site: SimSite) -> Callable[[str], None]:
        def look(name: str) -> None:
            if site.maybe_task is not None:
                found = two_at_a_name(site.task.store.connection)
                assert not found, f"{site.name} has several rows at one name since {name}: {found}"

        return look

    # people --------------------------------------------------------------------------------------------------

    def _act(self, site: SimSite) -> None:
        user = self._users[site.name]
        act = self._chance.choice([user.disguise, user.disguise, user.turn_over, None, None, None, None])
        if act is None or not act():
            user.act()
        self._note(user.log[-1])

    def _quick(self, site: SimSite) -> Callable[[], None]:
        """A person who acts in the moment of a step."""

        def before() -> None:
            if self._is_acting or self._chance.random() > 0.1:
                return
            self._is_acting = True
            try:
                self._act(site)
            finally:
                self._is_acting = False

        return before

    def _take_wanted_names(self, site: SimSite) -> None:
        """Files are given names that something has for others and is about to get here, and so wait for a person."""
        connection, disk = site.task.store.connection, site.disk
        survey = Survey(connection, site.task.store.journal.sources)
        for row in rows.read(connection, "WHERE pending=1 AND l_kind=0 AND kind IN (1,3) AND name IS NOT NULL"):
            path = survey.path(row.parent, row.name)
            if path is None or not path[-1].endswith(b".locked"):
                continue
            source = (*path[:-1], path[-1].removesuffix(b".locked"))
            if self._is_file(site, source) and disk.maybe(disk.directory(path[:-1]), path[-1]) is None:
                disk.rename(source, path)
                disk.flush_names()
                self._note(f"{site.name}: takes the name {path}")

    def _is_file(self, site: SimSite, path: Path) -> bool:
        try:
            return site.disk.at(path).kind is Kind.FILE
        except TreeError:
            return False

    def _free_names(self, site: SimSite) -> None:
        """What waits under a new name goes away from there, and nobody is told of that yet."""
        store = site.task.store
        for held in waves.db_held(store.connection):
            for row in rows.read_ids(store.connection, waves.moved_of(store.connection, held.key)).values():
                path = waves.path_of(store.connection, row)
                try:
                    node = None if path is None else site.disk.at(path)
                except TreeError:
                    continue
                if path is not None and node is not None and self._chance.random() < 0.7:
                    self._book.given_up.add(bytes(node.data) or node.target)
                    site.disk.delete(path)
                    site.disk.flush_names()
                    self._note(f"{site.name}: deletes what waits, {path}")

    async def _answer(self, site: SimSite, *, may_deny: bool = True) -> None:
        """Say yes or no to what waits, or to what waited when it was last asked."""
        if not site.is_running:
            return
        late = self._shown.get(site.name, [])
        try:
            with trio.move_on_after(PATIENCE_S):
                now = self._shown[site.name] = await site.task.waves.held()
                for held in late if self._chance.random() < 0.2 else now:
                    await self._say(site, held, may_deny=may_deny)
        except SyncdError as error:
            if error.id not in TOO_LATE:
                raise
        except PowerCut:
            self._note("the power was gone before the answer")

    async def _say(self, site: SimSite, held: Held, *, may_deny: bool) -> None:
        if not may_deny or self._chance.random() < 0.6:
            self._note(f"{site.name} says yes to {held.id}")
            await site.task.waves.approve(held.id)
            return
        self._note(f"{site.name} says no to {held.id}")
        connection = site.task.store.connection
        passed = [one.node for one in waves.db_passed(connection, held.origin, held.since)]
        for row in rows.read_ids(connection, {*waves.nodes_of(connection, held.key), *passed}).values():
            for one in self._world:
                if one.is_running:
                    self._give_up(one, row.nid)
        await site.task.waves.deny(held.id)

    def _give_up(self, site: SimSite, nid: bytes) -> None:
        connection = site.task.store.connection
        for row in rows.read(connection, "WHERE nid=? AND l_kind IN (1,3)", (nid,)):
            path = waves.path_of(connection, row)
            try:
                node = None if path is None else site.disk.at(path)
            except TreeError:
                continue
            if node is not None and node.kind is not Kind.DIR:
                self._book.given_up.add(bytes(node.data) or node.target)

    # rounds --------------------------------------------------------------------------------------------------

    async def _round(self) -> None:
        chance, world = self._chance, self._world
        site, trouble = chance.choice(world.sites), chance.randrange(12)
        self._note(f"trouble {trouble} at {site.name}")
        match trouble:
            case 0:
                world.cut()
            case 1:
                site.disk.fail_at(chance.randint(1, 3), IoFailed("simulated"), chance.choice(STEPS))
            case 2:
                site.pull_plug_after(chance.randint(5, 150))
            case 3 | 4:
                site.on_step = self._quick(site)
            case 5 | 6:
                await self._wanted_names(site)
            case _:
                pass
        for _ in range(chance.randint(1, 4)):
            for one in world:
                for _ in range(chance.randint(0, 3)):
                    self._act(one)
                if chance.random() < 0.5:
                    await trio.sleep(chance.choice([0.05, 0.2, 0.3, 0.5]))
            if chance.random() < 0.3:
                await self._answer(chance.choice(world.sites))
        await trio.sleep(chance.choice([0, 0.3, 1, 5]))
        if trouble >= CUT_WHILE_ANSWERED:
            site.pull_plug_after(chance.randint(1, 30))
            await self._answer(site)
        for one in world:
            if chance.random() < 0.7:
                await self._answer(one)
            one.on_step = None
            one.disk.mend()
        if trouble == 2 or trouble >= CUT_WHILE_ANSWERED:
            await site.crash()
            await world.start(site)
        world.mend()

    async def _wanted_names(self, site: SimSite) -> None:
        """Somebody else has made files, and before their contents come the names are another's here for a while."""
        other = self._chance.choice([one for one in self._world if one is not site])
        user = self._users[other.name]
        for path, node in list(other.disk.walk((), other.disk.root)):
            target = (*path[:-1], path[-1] + b".locked")
            if node.kind is Kind.FILE and path[0] != b".syncd" and not path[-1].endswith(b".locked"):
                try:
                    other.disk.at(target)
                except TreeError:
                    other.disk.write(target, self._book.new(user.name, self._chance))
                    other.disk.flush_file(target)
        other.disk.flush_names()
        with trio.move_on_after(5):
            while not site.task.puller.busy:  # noqa: ASYNC110 (looks as a stranger would)
                await trio.sleep(0.01)
        self._world.cut()
        self._take_wanted_names(site)
        await trio.sleep(2)
        self._free_names(site)
        await trio.sleep(self._chance.choice([0, 2]))
        self._world.mend()
        await trio.sleep(5)

    async def _settle(self) -> None:
        """Until nobody is asked any more, and all have everything; but where the only copy of something was given up by
        who wrote it before anybody else had it, so that a no has nothing to bring back: then that is said."""
        with trio.fail_after(SETTLED_S) as patience:
            while True:
                await trio.sleep(5)
                await self._answer_all()
                if await self._is_over():
                    break
                if self._lacks_what_nobody_has() and trio.current_time() > patience.deadline - SETTLED_S / 2:
                    return
        if not self._lacks_what_nobody_has():
            demand_same_pictures({one.name: what_is_shared(one.disk) for one in self._world})

    async def _answer_all(self) -> None:
        for number in range(MOST_ANSWERS):
            waiting = [one for one in self._world if await one.task.waves.held()]
            if not waiting:
                return
            for one in waiting:
                await self._answer(one, may_deny=number < FIRST_ANSWERS)
            await trio.sleep(10)
        raise AssertionError("something waits for ever")

    async def _is_over(self) -> bool:
        """Everybody says that nothing is left, and knows the same."""
        tasks = [one.task for one in self._world]
        if any([not task.is_settled or task.problems or await task.waves.held() for task in tasks]):
            return False
        return len({await task.server.digest() for task in tasks}) == 1

    def _lacks_what_nobody_has(self) -> bool:
        return any(problem.code == NOT_KEPT for one in self._world for problem in one.task.problems)

    def _demand_nothing_lost(self) -> None:
        there = [set(one.disk.contents().values()) | superseded(one.disk) for one in self._world]
        everywhere = {one.removeprefix(b"-> ") for one in set[bytes | None]().union(*there) if one is not None}
        lost = self._book.written.keys() - everywhere - self._book.given_up
        assert not lost, lost


class _Heard(logging.Handler):
    """What is logged that never should be."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.faults: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.faults.append(record.getMessage())


def hold(seed: int) -> None:
    """The claim holds for this seed. Raises AssertionError with what was done."""
    heard, log = _Heard(), logging.getLogger("syncd")
    log.addHandler(heard)
    done: list[str] = []

    async def main() -> None:
        story = Story(seed)
        story.log = done
        await story.tell()

    try:
        with deterministic(seed):
            trio.run(main, clock=JumpingClock())
        assert not heard.faults, heard.faults
    except Exception as error:
        error.add_note(f"seed {seed}:\n" + "\n".join(done[-60:]))
        raise
    finally:
        log.removeHandler(heard)
