"""Async. Every state in which a power cut can leave a computer: taken at each step of a run, and brought back to life.

A workload is up to three things that people do: on this computer (`HERE`), which publishes them; on another one
(`THERE`), so that this one carries them out; or there, after a file was changed here as well (`BOTH`). While it goes
on, whatever this disk and its database could hold after a power cut in just that moment is written down: every length
of the file system's journal, with no content that was not flushed, with all of it, and with half of each. States that
are equal to the last byte count once. Then each is brought to life, with the other computer beside it as it was then,
and has to come to the right end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import product

import trio

from syncd.model.cipher import BlockKind
from syncd.model.lists import BlockList
from syncd.store.contents import packed_on_disk
from syncd.store.db import Transaction
from syncd.store.rows import DIR, FILE, ROOT_ROW, SYMLINK, NodeRow, read_ids
from syncd.store.survey import Survey
from syncd.treetypes import PRIVATE, Kind, Path, TreeError
from tests.helpers.computers import Disappointment
from tests.helpers.simclock import JumpingClock
from tests.helpers.simdisk import Kept, SimDisk
from tests.helpers.tasks import DATABASE, SimSite, World, picture

HERE, THERE, BOTH = "here", "there", "both"
SIDES = (THERE, HERE, BOTH)
NAMES = ("ann", "bob")
"""Bob is the one whose power fails."""

Image = dict[int, Kept]
Picture = dict[bytes, tuple[object, ...]]

BY_BOB = b"bob's own edition of a"
A, B, DIRECTORY, IN_IT, LINK = (b"a",), (b"b",), (b"dir",), (b"dir", b"c"), (b"link",)
BASE: tuple[tuple[Path, bytes], ...] = ((A, b"first a"), (B, b"first b"), (IN_IT, b"first c"))


# --- what people do --------------------------------------------------------------------------------------------------


def _create(disk: SimDisk, number: int) -> None:
    disk.write((b"new %d" % number,), b"content of new %d" % number)


def _edit(disk: SimDisk, number: int) -> None:
    disk.write(disk_path(disk, A), b"edition %d of a" % number)


def _delete(disk: SimDisk, number: int) -> None:
    disk.delete(B)


def _move(disk: SimDisk, number: int) -> None:
    disk.rename(disk_path(disk, A), (*directory(disk), b"a %d" % number))


def _move_directory(disk: SimDisk, number: int) -> None:
    disk.rename(directory(disk), (b"dir %d" % number,))


def _mkdir(disk: SimDisk, number: int) -> None:
    disk.mkdir((*directory(disk), b"inner %d" % number))


def _remove_directory(disk: SimDisk, number: int) -> None:
    disk.delete(directory(disk))


def _link(disk: SimDisk, number: int) -> None:
    disk.delete(LINK)
    disk.symlink(LINK, b"target %d" % number)


def _dress(disk: SimDisk, number: int) -> None:
    path = disk_path(disk, B)
    disk.chmod(path, 0o600 + number)
    disk.utime(path, 1_600_000_000_000_000_000 + number)


def _swap(disk: SimDisk, number: int) -> None:
    path = disk_path(disk, A)
    disk.stat(B)
    disk.rename(path, (b"between",))
    disk.rename(B, path)
    disk.rename((b"between",), B)


def _turn_into_directory(disk: SimDisk, number: int) -> None:
    disk.delete(B)
    disk.mkdir(B)
    disk.write((*B, b"in it"), b"in what was b %d" % number)


DEEDS: dict[str, Callable[[SimDisk, int], None]] = {
    "create": _create,
    "edit": _edit,
    "delete": _delete,
    "move": _move,
    "move directory": _move_directory,
    "mkdir": _mkdir,
    "remove directory": _remove_directory,
    "link": _link,
    "attributes": _dress,
    "swap": _swap,
    "turn into directory": _turn_into_directory,
}


def disk_path(disk: SimDisk, wanted: Path) -> Path:
    """Where the file with that first letter stands by now."""
    for path, content in disk.contents().items():
        if path[-1][:1] == wanted[-1] and content is not None and path[-1] not in (b"between",):
            return path
    disk.stat(wanted)  # raises NotThere
    return wanted


def directory(disk: SimDisk) -> Path:
    for path, content in disk.contents().items():
        if len(path) == 1 and path[0].startswith(b"dir") and content is None:
            return path
    disk.stat(DIRECTORY)
    return DIRECTORY


WEIGHTS = {"swap": 2, "turn into directory": 2}
"""These are made of others, and count as two."""


STEADY = {"create", "edit", "mkdir", "link", "attributes"}
"""These take no name from anything."""


@dataclass(frozen=True, slots=True)
class Workload:
    side: str
    deeds: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.side}: {', '.join(self.deeds)}"


def workloads(most: int) -> Iterator[Workload]:
    """All of up to `most` deeds, on both sides."""
    for length in range(1, most + 1):
        for deeds in product(DEEDS, repeat=length):
            if sum(WEIGHTS.get(deed, 1) for deed in deeds) <= most:
                yield from (Workload(side, deeds) for side in SIDES)


# --- states ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Machine:
    """A computer that is off: its disk, and its database."""

    image: Image
    database: bytes


@dataclass(frozen=True, slots=True)
class State:
    """Both computers, in the moment when bob's power failed."""

    ann: Machine
    bob: Machine
    at: str


def copy_of(image: Image) -> Image:
    return {ino: replace(kept, names=dict(kept.names)) for ino, kept in image.items()}


def images(disk: SimDisk) -> Iterator[Image]:
    """What could lie on the disk if the power failed now."""
    for keep in range(disk.unflushed + 1):
        image = disk.after_crash(keep)
        yield image
        unwritten = [node for node in disk.unwritten if node.ino in image and image[node.ino].kind is Kind.FILE]
        if unwritten:
            for share in (1.0, 0.5):
                part = copy_of(image)
                for node in unwritten:
                    part[node.ino].data = bytes(node.data[: int(len(node.data) * share)])
                yield part


def tree_of(image: Image) -> dict[Path, Kept]:
    found: dict[Path, Kept] = {}
    walk: list[tuple[Path, int]] = [((), 1)]
    while walk:
        path, ino = walk.pop()
        found[path] = image[ino]
        walk += [((*path, name), below) for name, below in image[ino].names.values()]
    return found


def digest_of(image: Image) -> bytes:
    reachable = sorted((path, repr(kept)) for path, kept in tree_of(image).items())
    return blake2b(repr(reachable).encode(), digest_size=16).digest()


class Recorder:
    """Writes down every state that bob's computer could be found in."""

    def __init__(self, ann: SimSite, bob: SimSite) -> None:
        self.states: list[State] = []
        self.cuts = 0
        """How many power cuts these stand for."""
        self._ann, self._bob = ann, bob
        self._seen: set[bytes] = set()
        self._databases: dict[bytes, bytes] = {}
        self._committed = b""
        self._changes = -1
        self._moment: tuple[object, ...] = ()
        self._cuts_then = 0

    def note(self, at: str) -> None:
        """The power could fail in this moment."""
        if not self._bob.is_running:
            return
        connection = self._bob.task.store.connection
        if not connection.in_transaction and connection.total_changes != self._changes:
            self._changes = connection.total_changes
            self._committed = self._kept(self._bob.databases.copy(DATABASE))
        disk = self._bob.disk
        unwritten = tuple((node.ino, len(node.data)) for node in disk.unwritten)
        moment = (disk.flushes, disk.unflushed, unwritten, id(self._committed))
        if moment == self._moment:
            self.cuts += self._cuts_then
            return
        before, self._moment = self.cuts, moment
        ann: Machine | None = None
        for image in images(disk):
            self.cuts += 1
            name = digest_of(image) + blake2b(self._committed, digest_size=16).digest()
            if name in self._seen:
                continue
            self._seen.add(name)
            ann = ann or Machine(self._ann.disk.image(), self._kept(self._ann.databases.copy(DATABASE)))
            self.states.append(State(ann, Machine(copy_of(image), self._committed), at))
        self._cuts_then = self.cuts - before

    def _kept(self, database: bytes) -> bytes:
        return self._databases.setdefault(blake2b(database, digest_size=16).digest(), database)


@dataclass(frozen=True, slots=True)
class Expected:
    """What must be so, whenever the power fails."""

    side: str
    before: frozenset[bytes]
    """Contents that bob had: they are his own or were reported as synced."""
    after: Picture
    contents: frozenset[bytes]
    """All that ever were."""
    steady: frozenset[Path]
    """Names at which something stands before and after, and therefore always."""
    changesets: int


async def base() -> tuple[Machine, Machine]:
    """Two computers that are in sync, and off."""
    if not _base:
        world = World(NAMES, latency_s=0.0)
        async with world.running():
            ann = world["ann"]
            ann.disk.mkdir(DIRECTORY)
            for path, content in BASE:
                ann.disk.write(path, content)
            ann.disk.symlink(LINK, b"target")
            await world.settle()
            _base.extend(Machine(site.disk.image(), site.databases.copy(DATABASE)) for site in world)
    return _base[0], _base[1]


_base: list[Machine] = []


def revived(machines: Sequence[Machine]) -> World:
    """Ann's and bob's computers, about to be turned on."""
    world = World(NAMES, latency_s=0.0)
    for site, machine in zip(world, machines, strict=True):
        turn_back(site, machine)
    return world


def turn_back(site: SimSite, machine: Machine) -> None:
    """A computer that is off becomes what it was."""
    site.disk.put_image(machine.image)
    site.databases.restore(DATABASE, machine.database)


async def record(workload: Workload) -> tuple[list[State], int, Expected] | None:
    """Both computers through a workload; None where some deed of it cannot be done."""
    world = revived(await base())
    ann, bob = world["ann"], world["bob"]
    actor = bob if workload.side == HERE else ann
    async with world.running():
        await world.settle()
        world.cut()
        contents = {content for content in ann.disk.contents().values() if content is not None}
        recorder = Recorder(ann, bob)
        if workload.side == BOTH:
            bob.disk.write(A, BY_BOB)
            contents.add(BY_BOB)
            await world.settle()
        try:
            for number, deed in enumerate(workload.deeds):
                DEEDS[deed](actor.disk, number)
                contents |= {one for one in actor.disk.contents().values() if one is not None}
                if actor is ann:
                    await world.settle()
        except TreeError:
            return None
        actor.disk.flush()
        stood = bob.disk.contents()
        before = frozenset(one for one in stood.values() if one is not None)
        bob.disk.flush()
        bob.on_step = lambda: recorder.note("step")
        bob.on_call = recorder.note
        world.mend()
        recorder.note("beginning")
        await world.settle()
        bob.on_step, bob.on_call = None, None
        world.demand_equal()
        is_steady = workload.side != BOTH and STEADY.issuperset(workload.deeds)
        steady = frozenset(stood.keys() & bob.disk.contents().keys()) if is_steady else frozenset[Path]()
        newest = ann.task.store.journal.newest_seq()
        expected = Expected(workload.side, before, picture(ann.disk), frozenset(contents), steady, newest)
    return recorder.states, recorder.cuts, expected


# --- what must be true of each ---------------------------------------------------------------------------------------


def demand_whole(state: State, expected: Expected) -> None:
    """Before anything is done about it: nothing is half, and nothing that bob had is gone."""
    tree = tree_of(state.bob.image)
    shown = {_shown(kept) for path, kept in tree.items() if path[:1] != (PRIVATE,) and kept.kind is not Kind.DIR}
    if strange := shown - expected.contents:
        raise Disappointment(f"contents that nobody ever wrote: {sorted(strange)}")
    if missing := expected.steady - tree.keys():
        raise Disappointment(f"nothing stands at {sorted(missing)}")
    kept_apart = {(PRIVATE, b"old"), (PRIVATE, b"parked")}
    beside = {
        _shown(kept) for path, kept in tree.items() if path[:2] in kept_apart and kept.kind in (Kind.FILE, Kind.SYMLINK)
    }
    if lost := expected.before - shown - beside:
        raise Disappointment(f"lost: {sorted(lost)}")


def _shown(kept: Kept) -> bytes:
    return b"-> " + kept.target if kept.kind is Kind.SYMLINK else kept.data


async def demand_recovers(world: World, state: State, expected: Expected) -> None:
    """Bob's computer on again, as it was then: both come to the right end, and nothing is left over."""
    ann, bob = world["ann"], world["bob"]
    await bob.crash()
    turn_back(bob, state.bob)
    await world.start(bob)
    await world.settle()
    world.demand_no_trouble()
    if picture(ann.disk) != expected.after:
        raise Disappointment(f"ann has {picture(ann.disk)}, not {expected.after}")
    world.demand_equal()
    if expected.side != HERE and ann.task.store.journal.newest_seq() != expected.changesets:
        raise Disappointment("something was published that nobody did")
    demand_rows_agree(bob)
    kept = {_seen for _seen in bob.disk.contents().values() if _seen is not None}
    old = bob.disk.directory((PRIVATE, b"old")).names.values()
    kept |= {b"-> " + node.target if node.kind is Kind.SYMLINK else bytes(node.data) for _, node in old}
    if lost := expected.before - kept:
        raise Disappointment(f"lost after all: {sorted(lost)}")


def demand_rows_agree(site: SimSite) -> None:
    """The database says what stands on the disk, all of it, and no word of something under way is left."""
    store = site.task.store
    for table in ("intent", "step"):
        if store.connection.execute(f"SELECT 1 FROM {table}").fetchone() is not None:
            raise Disappointment(f"words of what was under way are left in {table}")
    known = {token.encode() for (token,) in store.connection.execute("SELECT token FROM old")}
    if strays := set(site.disk.directory((PRIVATE, b"old")).names) - known:
        raise Disappointment(f"no row knows of {sorted(strays)} in .syncd/old")
    if store.connection.execute("SELECT 1 FROM old WHERE node=0").fetchone() is not None:
        raise Disappointment("something lies in .syncd/old of which nobody knows what it was")
    with Transaction(store.connection):
        survey = Survey(store.connection, store.journal.sources)
        ids = [row for (row,) in store.connection.execute("SELECT id FROM node WHERE l_kind<>0")]
        found: list[Path] = []
        for row in read_ids(store.connection, [one for one in ids if one != ROOT_ROW]).values():
            path = survey.path(row.l_parent, row.l_name) if row.l_parent is not None else None
            if path is None or row.pending:
                raise Disappointment(f"a row of nothing: {row}")
            _demand_row(site, row, path)
            found.append(path)
        for parent, name, inode in store.connection.execute("SELECT l_parent, l_name, l_ino FROM copy").fetchall():
            path = survey.path(parent, name)
            if path is None or site.disk.at(path).ino != inode:
                raise Disappointment(f"a row of no conflict copy: {name!r}")
            found.append(path)
    if sorted(found) != sorted(site.disk.contents()):
        raise Disappointment(f"the rows have {sorted(found)}, the disk {sorted(site.disk.contents())}")


def _demand_row(site: SimSite, row: NodeRow, path: Path) -> None:
    node = site.disk.at(path)
    if row.l_kind != {Kind.FILE: FILE, Kind.DIR: DIR, Kind.SYMLINK: SYMLINK}[node.kind] or row.l_ino != node.ino:
        raise Disappointment(f"{path} is another thing than its row says")
    if node.kind is not Kind.FILE:
        return
    cipher, offset = site.task.store.keyring.cipher(), 0
    for entry in BlockList(packed_on_disk(site.task.store.connection, row)):
        if cipher.pid(BlockKind.DATA, bytes(node.data[offset : offset + entry.length])) != entry.pid:
            raise Disappointment(f"{path} holds other bytes than its row says")
        offset += entry.length
    if offset != len(node.data):
        raise Disappointment(f"{path} has {len(node.data)} bytes, not {offset}")


# --- a workload and all its states -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    states: int
    cuts: int
    bad: tuple[str, ...]


def try_workload(workload: Workload, among: Callable[[int], bool] = lambda number: True) -> Verdict | None:
    """All its states (or some of them, by number); None where it cannot be done."""
    return trio.run(_try_workload, workload, among, clock=JumpingClock())


async def _try_workload(workload: Workload, among: Callable[[int], bool]) -> Verdict | None:
    recorded = await record(workload)
    if recorded is None:
        return None
    states, cuts, expected = recorded
    chosen = [state for number, state in enumerate(states) if among(number)]
    bad: list[str] = []
    tried = 0
    while tried < len(chosen):
        tried += await _try_states(chosen[tried:], expected, bad)
    return Verdict(len(chosen), cuts, tuple(f"{workload.name}; {words}" for words in bad))


async def _try_states(states: Sequence[State], expected: Expected, bad: list[str]) -> int:
    """One after the other beside one and the same ann, who has nothing to learn from bob that she does not know; where
    she has, and after a bad one, beside another ann. How many were tried."""
    world = revived((states[0].ann, states[0].bob))
    tried = 0
    async with world.running(start=False):
        await world.start(world["ann"])
        for state in states:
            tried += 1
            words = await _words_about(world, state, expected)
            if words:
                bad.append(words)
            if words or expected.side == HERE:
                break
    return tried


async def _words_about(world: World, state: State, expected: Expected) -> str:
    """What is wrong with a state; nothing if it is right."""
    try:
        demand_whole(state, expected)
        await demand_recovers(world, state, expected)
    except (Disappointment, AssertionError) as error:
        return f"at {state.at}: {error}"
    except BaseExceptionGroup as group:
        others = group.split((Disappointment, AssertionError))[1]
        if others is not None:
            raise
        return f"at {state.at}: {_first(group)}"
    return ""


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
