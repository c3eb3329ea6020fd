"""Async. Many files, edits, moves, deletes and conflicts on virtual time: random moments are exact on two devices."""

from __future__ import annotations

import bisect
import random
from dataclasses import dataclass, field
from pathlib import Path as FilePath

import trio
import trio.testing

from syncd.engine.timeline import Seen
from syncd.model.cipher import BlockKind
from syncd.model.records import ContentKind
from syncd.store import restoring
from syncd.store.folder import FolderStore, SourceReader
from syncd.store.packing import PACK_AFTER_S
from syncd.store.restoring import Moment
from syncd.treetypes import Kind, Path
from tests.helpers.computers import Disappointment
from tests.helpers.simdisk import Node, SimDisk
from tests.helpers.tasks import SimSite, World

CLAIM = (
    "A folder of 20,000 files through 2,000 random edits, moves, deletes and conflicts under a virtual clock: at 1,000 "
    "random moments the tree is exact on both devices, absences included, and so is every byte that one of them kept"
)

FILES, PER_DIRECTORY = 20_000, 200
BURSTS, EDITS = 80, 25
MOMENTS = 1_000
SEED = 6

Picture = dict[Path, bytes | None]


@dataclass
class Life:
    """What stood there whenever all was quiet: (from, until, what), in milliseconds."""

    quiet: list[tuple[int, int, Picture]] = field(default_factory=list)
    conflicts: int = 0
    lost_at: dict[str, set[bytes]] = field(default_factory=lambda: {"ann": set(), "bob": set()})
    """What somebody overwrote or deleted on that computer: the other one is to keep it, unless they did the same."""

    def lose(self, site: SimSite, path: Path) -> None:
        self.lost_at[site.name].add(site.disk.read(path))

    def at(self, chance: random.Random) -> tuple[int, Picture]:
        """A random moment of a random quiet time, and what stood there then."""
        begin, end, picture = chance.choice(self.quiet)
        return chance.randint(begin, end - 1), picture


def prove(place: FilePath) -> str:
    return trio.run(_prove, clock=trio.testing.MockClock(autojump_threshold=0))


async def _prove() -> str:
    world = World(["ann", "bob"], SEED)
    chance = random.Random(SEED)
    fill(world["ann"].disk, chance)
    async with world.running():
        await world.settle(86_400.0)
        life = await live(world, chance)
        world.cut()
        await trio.sleep(3 * PACK_AFTER_S)
        return compare(world, life, chance)


def fill(disk: SimDisk, chance: random.Random) -> None:
    for number in range(FILES):
        directory = b"room-%03d" % (number // PER_DIRECTORY)
        if number % PER_DIRECTORY == 0:
            disk.mkdir((directory,))
        disk.write((directory, b"file-%05d" % number), chance.randbytes(chance.choice([7, 40, 900])))


async def live(world: World, chance: random.Random) -> Life:
    life = Life()
    ann, bob = world["ann"], world["bob"]
    await note(world, life, chance)
    for number in range(BURSTS):
        is_apart = number % 4 == 3
        if is_apart:
            world.cut()
        names = list(ann.disk.contents())
        for _ in range(EDITS):
            site = chance.choice((ann, bob))
            edit(site, chance, names, life)
            if is_apart and chance.random() < 0.3:
                same = chance.choice(names)
                for one in (ann, bob):  # both change the same file while they know nothing of each other
                    if is_file(one.disk, same):
                        life.lose(one, same)
                        one.disk.write(same, b"by " + one.name.encode() + b" %d" % number)
            await trio.sleep(chance.choice([0, 1, 7]))
        if is_apart:
            await trio.sleep(10)
            world.mend()
        await world.settle(86_400.0)
        await note(world, life, chance)
    return life


async def note(world: World, life: Life, chance: random.Random) -> None:
    """All is quiet: for a while what stands there is what stands there."""
    picture = dict(world["ann"].disk.contents())
    if picture != dict(world["bob"].disk.contents()):
        raise Disappointment("the two are not equal")
    begin = now_ms(world["ann"]) + 1
    await trio.sleep(chance.choice([3, 60, 4000]))
    life.quiet.append((begin, now_ms(world["ann"]), picture))
    life.conflicts = max(life.conflicts, sum(b"(conflict " in path[-1] for path in picture))


def now_ms(site: SimSite) -> int:
    return int(site.clock.now() * 1000)


def is_file(disk: SimDisk, path: Path) -> bool:
    node = maybe_node(disk, path)
    return node is not None and node.kind is Kind.FILE


def edit(site: SimSite, chance: random.Random, names: list[Path], life: Life) -> None:
    """One thing that somebody does to a name that may be gone already."""
    disk = site.disk
    path = chance.choice(names)
    room = (b"room-%03d" % chance.randrange(FILES // PER_DIRECTORY),)
    match chance.choice(["write", "write", "new", "move", "delete", "directory"]):
        case "write" if is_file(disk, path):
            life.lose(site, path)
            disk.write(path, chance.randbytes(chance.choice([0, 5, 3000])))
        case "new" if exists(disk, room):
            disk.write((*room, b"new-%08x" % chance.getrandbits(32)), chance.randbytes(20))
        case "move" if is_file(disk, path) and exists(disk, room):
            disk.rename(path, (*room, b"moved-%08x" % chance.getrandbits(32)))
        case "delete" if is_file(disk, path):
            life.lose(site, path)
            disk.delete(path)
        case "directory" if exists(disk, room):
            disk.mkdir((*room, b"box-%08x" % chance.getrandbits(32)))
        case _:
            pass


def exists(disk: SimDisk, path: Path) -> bool:
    return maybe_node(disk, path) is not None


def maybe_node(disk: SimDisk, path: Path) -> Node | None:
    node = disk.root
    for name in path:
        found = next((below for known, below in node.names.values() if known == name), None)
        if found is None:
            return None
        node = found
    return node


# --- comparing -------------------------------------------------------------------------------------------------------


def compare(world: World, life: Life, chance: random.Random) -> str:
    moments = sorted((life.at(chance) for _ in range(MOMENTS)), key=lambda one: one[0])
    starts = [begin for begin, _, _ in life.quiet]
    lacking: dict[str, set[bytes]] = {}
    for site in world:
        reader = Contents(site.task.store)
        trees: dict[tuple[int, ...], dict[Path, Seen]] = {}
        lacking[site.name] = set()
        checked: set[int] = set()
        for at_ms, picture in moments:
            counting = tuple(counting_at(site.task.store, at_ms))
            if counting not in trees:
                trees.clear()
                trees[counting] = restoring.db_tree(site.task.store, Moment(at_ms=at_ms))
                checked.clear()
            interval = bisect.bisect_right(starts, at_ms) - 1
            if interval in checked:
                continue  # made of the very same changesets as the moment before, and compared with the same picture
            checked.add(interval)
            lacking[site.name] |= reader.compare(trees[counting], picture, at_ms)
    nowhere = lacking["ann"] & lacking["bob"]
    if nowhere - (life.lost_at["ann"] & life.lost_at["bob"]):
        raise Disappointment("a version is kept by nobody, though only one computer let it go")
    return (
        f"{MOMENTS} moments in {len(life.quiet)} quiet times between {BURSTS * EDITS} edits of {FILES} files exact on "
        f"both ({life.conflicts} conflict copies at once); of versions, ann has not kept {len(lacking['ann'])} and bob "
        f"{len(lacking['bob'])}, both of them only {len(nowhere)} that were overwritten on both at once"
    )


def counting_at(store: FolderStore, at_ms: int) -> list[int]:
    query = "SELECT seq FROM moment WHERE at_ms<=? ORDER BY seq"
    return [seq for (seq,) in store.connection.execute(query, (at_ms,))]


class Contents:
    """Bytes of versions, read once each."""

    def __init__(self, store: FolderStore) -> None:
        self._store = store
        self._reader = SourceReader(store.tree, store.packs, store.keyring)
        self._known: dict[bytes, bytes | None] = {}

    def compare(self, tree: dict[Path, Seen], picture: Picture, at_ms: int) -> set[bytes]:
        """Contents that this device has not; raises for everything that is not as it was."""
        if tree.keys() != picture.keys():
            strange = sorted(tree.keys() ^ picture.keys())[:3]
            raise Disappointment(f"at {at_ms} the names are others: {strange}")
        lacking = set()
        for path, seen in tree.items():
            if seen.content.kind is ContentKind.DIRECTORY:
                if picture[path] is not None:
                    raise Disappointment(f"at {at_ms} {path!r} was no directory")
                continue
            found = self._bytes(restoring.db_packed(self._store, seen.content))
            if found is None:
                lacking.add(picture[path] or b"")
            elif found != picture[path]:
                raise Disappointment(f"at {at_ms} {path!r} held other bytes")
        return lacking

    def _bytes(self, packed: bytes) -> bytes | None:
        if packed not in self._known:
            self._known[packed] = self._read(packed)
        return self._known[packed]

    def _read(self, packed: bytes) -> bytes | None:
        whole = b""
        for entry, places in restoring.db_places(self._store, packed):
            view = memoryview(bytearray(entry.length))
            if not any(self._reader.read(source, offset, entry, view) for source, offset in places):
                return None
            if self._store.keyring.cipher().pid(BlockKind.DATA, view) != entry.pid:
                return None
            whole += bytes(view)
        return whole
