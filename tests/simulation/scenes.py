"""Async. Scenes: short situations that random people come into only rarely, each with one thing in mind that is easily
done wrong. One story in four has one, behind its troubles; which one, and who is in it, the seed says.

A scene has a directory of its own, so that nothing that was there before is in its way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

import trio

from syncd.treetypes import Denied, IoFailed, Path
from tests.helpers.simulation import SimComputer
from tests.simulation.claim import settle
from tests.simulation.tale import Tale

SCENE_ONE_IN = 4
PLACE = b"scene"
SOON_S = 20.0
LOOK_S = 0.001
MODES = (0o600, 0o640, 0o755)


@dataclass(slots=True)
class Stage:
    """Where a scene is set: two computers, and what people do at them."""

    tale: Tale
    here: SimComputer
    there: SimComputer

    def write(self, computer: SimComputer, path: Path) -> bytes:
        """Save a content that nobody has written before, as long as any other of a scene; what stood there was seen."""
        book, content = self.tale.simulation.book, b"%08d in a scene " % len(self.tale.simulation.book.written)
        if computer.disk.maybe(computer.disk.directory(path[:-1]), path[-1]) is not None:
            book.given_up.add(computer.disk.read(path))
        book.written[content] = computer.name
        computer.disk.write(path, content)
        computer.disk.flush_file(path)
        computer.note(f"scene: write {path}")
        return content

    def rename(self, computer: SimComputer, source: Path, target: Path) -> None:
        computer.disk.rename(source, target)
        computer.disk.flush_names()
        computer.note(f"scene: rename {source} to {target}")

    def part(self) -> None:
        """The two do not reach each other, nor anybody else."""
        self.tale.simulation.internet.partition([self.here.host], [self.there.host])

    async def settle(self) -> None:
        await settle(self.tale)

    async def meet(self) -> None:
        """After both have told their own what they did."""
        await trio.sleep(SOON_S)
        self.tale.simulation.internet.heal()

    async def files(self, *paths: Path) -> None:
        """Files, with the directories that they are in, on every disk."""
        disk = self.here.disk
        for path in paths:
            for depth in range(1, len(path)):
                if disk.maybe(disk.directory(path[: depth - 1]), path[depth - 1]) is None:
                    disk.mkdir(path[:depth])
            self.write(self.here, path)
        await self.settle()

    async def restart(self, computer: SimComputer, *, names_only: bool) -> None:
        """The power fails now; all names had reached the disk, contents only if they were flushed (`names_only`)."""
        if not names_only:
            computer.disk.flush()
        await computer.crash(keep=computer.disk.unflushed)
        await self.tale.simulation.start(computer)


Scene = Callable[[Stage], Awaitable[None]]


async def two_edits_in_one_moment(stage: Stage) -> None:
    """A file is written twice in the moment in which it is read, to the same size: the second has the times that were
    noted for the first."""
    path = (PLACE, b"ticks")
    await stage.files(path)
    written = 0

    def before(step: str, at: Path) -> None:
        nonlocal written
        if at == path and (step, written) in (("read_many", 0), ("read_many.after", 1)):
            written += 1
            stage.write(stage.here, path)

    stage.here.on_step = before
    stage.write(stage.here, path)
    await trio.sleep(SOON_S)
    stage.here.on_step = None


async def edit_behind_the_reading(stage: Stage) -> None:
    """A file is written when it has just been read, and before anything else is asked of it."""
    path = (PLACE, b"read")
    await stage.files(path)
    was_read = False

    def before(step: str, at: Path) -> None:
        nonlocal was_read
        if at != path:
            return
        if was_read and step == "stat":
            stage.here.on_step = None
            stage.write(stage.here, path)
        was_read |= step == "read_many.after"

    stage.here.on_step = before
    stage.write(stage.here, path)
    await trio.sleep(SOON_S)
    stage.here.on_step = None


async def room_that_cannot_be_read(stage: Stage) -> None:
    """A directory with a file in it cannot be opened for a while."""
    room = (PLACE, b"room")
    await stage.files((*room, b"inside"))

    def before(step: str, at: Path) -> None:
        if at[:2] == room and (len(at) > 2 or step == "list_dir"):
            raise Denied("simulated", at)

    stage.here.on_step = before
    await stage.here.call("folder.rescan", folder=None, wait=True)
    await trio.sleep(SOON_S)
    stage.here.on_step = None


async def one_file_two_names(stage: Stage) -> None:
    """Two who cannot reach each other give one file two names."""
    await stage.files((PLACE, b"name"))
    stage.part()
    stage.rename(stage.here, (PLACE, b"name"), (PLACE, b"here"))
    await trio.sleep(stage.tale.chance.uniform(0, 5))
    stage.rename(stage.there, (PLACE, b"name"), (PLACE, b"there"))
    await stage.meet()


async def one_file_two_modes(stage: Stage) -> None:
    """The same with modes and extended attributes."""
    path = (PLACE, b"mode")
    await stage.files(path)
    stage.part()
    for computer, mode in zip((stage.here, stage.there), stage.tale.chance.sample(MODES, 2), strict=True):
        computer.disk.chmod(path, mode)
        computer.disk.set_xattr(path, b"user.by", computer.name.encode())
        computer.disk.flush_names()
        await trio.sleep(stage.tale.chance.uniform(0, 5))
    await stage.meet()


async def each_into_the_other(stage: Stage) -> None:
    """Of two directories one is moved into the other, and on another computer the other into the one."""
    one, other = (PLACE, b"east"), (PLACE, b"west")
    await stage.files((*one, b"inside"), (*other, b"inside"))
    stage.part()
    stage.rename(stage.here, one, (*other, b"east"))
    stage.rename(stage.there, other, (*one, b"west"))
    await stage.meet()


async def file_into_what_is_being_moved(stage: Stage) -> None:
    """Somebody puts a file into a directory that syncd gives another name in this moment."""
    before_it, after_it = (PLACE, b"attic"), (PLACE, b"cellar")
    await stage.files((*before_it, b"inside"))

    def before(step: str, at: Path) -> None:
        if step == "move" and at == before_it:
            stage.there.on_step = None
            stage.write(stage.there, (*before_it, b"new"))

    stage.there.on_step = before
    stage.rename(stage.here, before_it, after_it)
    await trio.sleep(SOON_S)
    stage.there.on_step = None


def swap_rooms(stage: Stage) -> None:
    aside = (PLACE, b"aside")
    stage.rename(stage.here, (PLACE, b"left"), aside)
    stage.rename(stage.here, (PLACE, b"right"), (PLACE, b"left"))
    stage.rename(stage.here, aside, (PLACE, b"right"))


async def rooms_that_are_swapped(stage: Stage) -> None:
    """Two directories change names."""
    await stage.files((PLACE, b"left", b"one"), (PLACE, b"right", b"two"))
    swap_rooms(stage)
    await trio.sleep(SOON_S)


async def dark_between_two_names(stage: Stage) -> None:
    """The same, and where that is done after them the power fails as soon as one of them has no name."""
    await stage.files((PLACE, b"left", b"one"), (PLACE, b"right", b"two"))
    is_parked = False

    def before(step: str, at: Path) -> None:
        nonlocal is_parked
        if is_parked:
            stage.there.on_step = None
            stage.there.fail_now()
        is_parked = step == "park"

    stage.there.on_step = before
    swap_rooms(stage)
    await trio.sleep(SOON_S)
    stage.there.on_step = None
    if not stage.there.is_running:
        await stage.restart(stage.there, names_only=False)


async def dark_after_it_was_done(stage: Stage) -> None:
    """The power fails as soon as a file that arrived counts as synced."""
    path = (PLACE, b"arrived")
    await stage.files((PLACE, b"other"))
    stage.write(stage.here, path)
    await until_synced(stage.there, path)
    await stage.restart(stage.there, names_only=True)


async def dark_after_a_flush_that_failed(stage: Stage) -> None:
    """The same, and the disk had said that it could not save it."""
    path = (PLACE, b"arrived")
    await stage.files((PLACE, b"other"))
    stage.there.disk.fail_at(1, IoFailed("simulated"), "flush")
    stage.write(stage.here, path)
    await until_synced(stage.there, path)
    stage.there.disk.mend()
    await stage.restart(stage.there, names_only=True)


async def until_synced(computer: SimComputer, path: Path) -> None:
    """The database of a computer says of a file that it is in place."""
    query = "SELECT 1 FROM node WHERE l_name=? AND l_kind=1 AND s_ccs=c_cs"
    for _ in range(round(SOON_S * 10 / LOOK_S)):
        if computer.store.connection.execute(query, path[-1:]).fetchone() is not None:
            return
        await trio.sleep(LOOK_S)
    raise AssertionError(f"{computer.name}: {path} has not come")


SCENES: tuple[Scene, ...] = (
    two_edits_in_one_moment,
    edit_behind_the_reading,
    room_that_cannot_be_read,
    one_file_two_names,
    one_file_two_modes,
    each_into_the_other,
    file_into_what_is_being_moved,
    rooms_that_are_swapped,
    dark_between_two_names,
    dark_after_it_was_done,
    dark_after_a_flush_that_failed,
)


def scene_of(seed: int) -> Scene | None:
    """Which scene the story of a seed has."""
    chance = Random(f"scene {seed}")
    return None if chance.randrange(SCENE_ONE_IN) else chance.choice(SCENES)


async def play(tale: Tale, scene: Scene) -> None:
    """Two who are in it, on disks that hold everything, if there are two."""
    usual = [one for one in tale.honest if one.personality is None]
    if len(usual) < 2:
        return
    here, there = Random(f"scene {tale.simulation.seed} {scene.__name__}").sample(usual, 2)
    if here.disk.maybe(here.disk.root, PLACE) is not None:
        return
    tale.faults[f"scene: {scene.__name__.replace('_', ' ')}"] += 1
    await scene(Stage(tale, here, there))
