"""Async. Whole folder tasks without a daemon: each over a tree of its own, linked directly, no network, no TLS.

`SimSite` is a computer of the simulation: a `SimDisk`, databases in memory, workers that run inline and take some
virtual time, and a plug that can be pulled between any two steps. `Wire` is a connection in one direction that can be
cut in the middle of any call. `RealSite` is the same task on a real directory with a real watch.
"""

from __future__ import annotations

import functools
import importlib
import random as randomness
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path as FilePath
from typing import Any, TypeVar, TypeVarTuple

import trio

from ca.device import DeviceKeys, generate
from ca.ids import DeviceId, EntryHash, EpochId, FolderId
from syncd.engine.brake import USUAL, Measures
from syncd.errors import PeerUnavailable
from syncd.folder.database import FolderDatabase, OpenDatabases
from syncd.folder.folder import FolderTask
from syncd.folder.ground import Rights
from syncd.folder.metering import ByteBudget, Meter, Transfers
from syncd.folder.pacing import Pace
from syncd.model.ids import Cid, Incarnation
from syncd.protocol.exchange import Frame, HeadsAsked, HeadsPage
from syncd.protocol.frames import FrameReader
from syncd.protocol.possession import ProveAnswer, ProveRequest
from syncd.seams import Buffer, Clock, Lane, Random, Tree, Trees, Workers
from syncd.store.db import open_database
from syncd.store.folder import FolderStore
from syncd.store.forms import FOLDER
from syncd.store.journal import Journal
from syncd.store.keyring import EpochKeys, Keyring
from syncd.store.watch import LocalTrees, watch
from syncd.treetypes import Dirty, Marker
from syncd.workers import ThreadWorkers
from tests.helpers.simclock import doze
from tests.helpers.simdisk import SimDisk
from tests.helpers.simtree import SimDatabases, SimTree

FOLDER_ID = FolderId(b"F" * 32)
EPOCH = EpochId(b"E" * 32)
ROSTER_HEAD = EntryHash(b"H" * 32)
DATABASE = "folder.db"
MOMENT = 1_700_000_000.0
"""Wall clock when a simulation begins."""

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class Members:
    """store.journal.Membership: a fixed set of devices. Viewers publish nothing that counts."""

    def __init__(self, keys: Iterable[DeviceKeys], viewers: Iterable[DeviceId] = ()) -> None:
        self._keys = {one.public.id: one.public.sign for one in keys}
        self.viewers = set(viewers)
        self.seals: dict[tuple[DeviceId, Incarnation], int] = {}

    def others(self, device: DeviceId) -> frozenset[DeviceId]:
        """All devices but this one."""
        return frozenset(self._keys) - {device}

    @property
    def head(self) -> EntryHash:
        return ROSTER_HEAD

    def number_of(self, head: EntryHash) -> int | None:
        return 0 if head == ROSTER_HEAD else None

    def is_on_chain(self, head: EntryHash) -> bool:
        return self.number_of(head) is not None

    def lost_epochs(self) -> frozenset[EpochId]:
        return frozenset()

    def sign_key(self, device: DeviceId) -> bytes | None:
        return self._keys.get(device)

    def may_publish(self, device: DeviceId, head: EntryHash) -> bool:
        return device in self._keys and device not in self.viewers

    def may_delete(self, device: DeviceId, head: EntryHash) -> bool:
        return self.may_publish(device, head)

    def sealed_at(self, device: DeviceId, incarnation: Incarnation) -> int | None:
        return self.seals.get((device, incarnation))


class SeededRandom:
    """seams.Random from a seed."""

    def __init__(self, seed: object) -> None:
        self._random = randomness.Random(str(seed))

    def token(self, length: int) -> bytes:
        return self._random.randbytes(length)


@functools.cache
def device_keys(name: str) -> DeviceKeys:
    """The keys of a device, the same at every run."""
    return generate(SeededRandom(f"keys of {name}").token)


def keyring(current: EpochId = EPOCH) -> Keyring:
    """What every member of the one folder has."""
    keys = EpochKeys(b"k" * 32, b"m" * 32)
    epochs = {EPOCH: keys, current: keys}
    return Keyring(FOLDER_ID, id_key=b"i" * 32, cut_seed=b"c" * 32, current=current, epochs=epochs)


def marker_of(keys: DeviceKeys) -> Marker:
    return Marker(FOLDER_ID, keys.public.id, b"r" * 16)


def open_store(tree: Tree, keys: DeviceKeys, members: Members, random: Random, name: str) -> FolderStore:
    """The folder's database and tree, ready for a task."""
    marker = marker_of(keys)
    tree.check_root(marker)
    if tree.read_marker() is None:
        tree.write_marker(marker)
    opened = open_database(lambda: tree.open_database(DATABASE), lambda: tree.set_database_aside(DATABASE), FOLDER)
    journal = Journal(opened.connection, FOLDER_ID, keys, random, name)
    return FolderStore(opened.connection, tree, journal, keyring(), members)


def unlimited() -> Transfers:
    """What the folders of a computer share."""
    return Transfers(ByteBudget(64 << 20), ByteBudget(16 << 20), Meter(), Pace())


def make_task(
    store: FolderStore,
    workers: Workers,
    clock: Clock,
    keys: DeviceKeys,
    name: str,
    transfers: Transfers | None = None,
    measures: Measures = USUAL,
) -> FolderTask:
    """A task with rights as the members say."""
    publishes = store.membership.may_publish(keys.public.id, ROSTER_HEAD)
    shared, rights = transfers or unlimited(), Rights(publishes=publishes)
    database = FolderDatabase(store.connection, workers, Lane(name), OpenDatabases())
    return FolderTask(name, store, marker_of(keys), workers, clock, database, shared, rights, measures)


# --- links -----------------------------------------------------------------------------------------------------------


class DirectLink:
    """daemon.links.Link: calls the other task's methods, after a delay, until it is cut."""

    lanes = 2

    def __init__(self, here: DeviceId, other: FolderTask, device: DeviceId, delay: Callable[[], float]) -> None:
        self._here, self._other, self._device, self._delay = here, other, device, delay
        self._scopes: set[trio.CancelScope] = set()
        self._is_cut = False
        self._first = True

    @property
    def device(self) -> DeviceId:
        return self._device

    def cut(self) -> None:
        """As when the connection breaks: what is under way fails, and so does all that comes."""
        self._is_cut = True
        for scope in self._scopes:
            scope.cancel()

    async def _ask(self, ask: Callable[[*Arguments], Awaitable[Result]], *arguments: *Arguments) -> Result:
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                await trio.sleep(self._delay())
                if not self._is_cut:
                    return await ask(*arguments)
            except PowerCut as cut:
                raise PeerUnavailable("the other computer went down") from cut
            finally:
                self._scopes.discard(scope)
        raise PeerUnavailable("the connection was cut")

    async def tell_needs(self, files: int, size: int, word: int) -> None:
        await self._ask(self._tell, files, size, word)

    async def _tell(self, files: int, size: int, word: int) -> None:
        self._other.server.peer_needs_now(self._here, files, size, word)

    async def heads(self, log: bytes, after: int, word: int, is_level: bool) -> HeadsPage:
        wait_s, self._first = 0.0 if self._first else 55.0, False
        return await self._ask(
            self._other.server.heads_after, self._here, HeadsAsked(log, after, wait_s, word, is_level)
        )

    async def have(self, cids: Sequence[Cid]) -> bytes:
        return await self._ask(self._other.server.have, cids)

    async def prove(self, request: ProveRequest) -> ProveAnswer:
        raw = await self._ask(self._other.server.prove, self._here, request)
        return ProveAnswer.decode_untrusted(raw.encode(), len(request.cids))

    @asynccontextmanager
    async def blocks(
        self, cids: Sequence[Cid], limits: Sequence[int], place: memoryview | None = None
    ) -> AsyncIterator[AsyncIterator[Sequence[Frame]]]:
        served = self._other.server.serve_blocks(cids)
        try:
            async with aclosing(self._frames(served, FrameReader(limits, place))) as frames:
                yield frames
        finally:
            await served.aclose()  # type: ignore[attr-defined]

    async def _frames(
        self, served: AsyncIterator[Buffer], reader: FrameReader
    ) -> AsyncGenerator[Sequence[Frame], None]:
        """One by one, so that a connection can be cut between any two."""
        while (part := await self._ask(_next, served)) is not None:
            for frame in reader.feed_untrusted(part):
                yield [frame]
                await self._ask(trio.lowlevel.checkpoint)


async def _next(served: AsyncIterator[Buffer]) -> Buffer | None:
    return await anext(served, None)


# --- simulated computers ---------------------------------------------------------------------------------------------


class PowerCut(BaseException):
    """The computer went down in the middle of something."""


class SimClock:
    """seams.Clock on trio's (virtual) time, for code that runs inline."""

    def now(self) -> float:
        return MOMENT + trio.current_time()

    def monotonic(self) -> float:
        return trio.current_time()

    def now_ns(self) -> int:
        return int(MOMENT) * 1_000_000_000 + int(trio.current_time() * 1e9)


def name_of(function: Callable[..., object], *arguments: object) -> str:
    """What a worker is asked to do; of questions about rows, which."""
    if arguments and isinstance(arguments[0], functools.partial):
        function = arguments[0].func
    return str(getattr(function, "__qualname__", type(function).__name__))


class SimWorkers:
    """seams.Workers: inline, some virtual time before and after, lanes in order, and a plug to pull."""

    def __init__(self, seed: object, latency_s: float) -> None:
        self._random = randomness.Random(str(seed))
        self.latency_s = latency_s
        """The most that a call takes, before or after it is done."""
        self._lanes: dict[str, trio.Lock] = {}
        self.steps_left: int | None = None
        """Steps until the power fails."""
        self.is_down = False
        self.on_down: Callable[[], None] = lambda: None
        self.on_call: Callable[[str], None] = lambda name: None

    async def run_blocking(
        self, function: Callable[[*Arguments], Result], *arguments: *Arguments, lane: Lane | None = None
    ) -> Result:
        if lane is None:
            return await self._run(function, *arguments)
        lock = self._lanes.get(lane.name) or self._lanes.setdefault(lane.name, trio.Lock())
        try:
            lock.acquire_nowait()  # as `ThreadWorkers` does
        except trio.WouldBlock:
            await lock.acquire()
        try:
            return await self._run(function, *arguments)
        finally:
            lock.release()

    async def _run(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        waits_s = self._random.uniform(-self.latency_s, self.latency_s)  # before it begins, or after it has ended
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._pass_time(waits_s)
        try:
            self.step()
            self.on_call(name_of(function, *arguments))
            result = function(*arguments)
            self.on_call(name_of(function, *arguments))
            self.step()
        finally:
            await self._pass_time(-waits_s)
        return result

    async def _pass_time(self, seconds: float) -> None:
        if self.is_down:
            raise PowerCut
        if seconds > 0:
            await doze(seconds)  # a thread is never abandoned
            if self.is_down:
                raise PowerCut

    def step(self) -> None:
        """One more thing that is about to happen."""
        if self.steps_left is not None and not self.is_down:
            self.steps_left -= 1
            if self.steps_left <= 0:
                self.is_down = True
                self.on_down()
        if self.is_down:
            raise PowerCut


class SimSite:
    """One simulated computer with one task."""

    def __init__(self, name: str, members: Members, seed: int, *, latency_s: float = 0.02) -> None:
        self.name = name
        self.keys = device_keys(name)
        self.device = self.keys.public.id
        self.members = members
        self.clock = SimClock()
        self.disk = SimDisk(now_ns=self.clock.now_ns)
        self.databases = SimDatabases()
        self.random = SeededRandom((seed, name))
        self.chance = randomness.Random(f"{seed} {name}")
        self.maybe_task: FolderTask | None = None
        self.joins = False
        """Its first start waits until it has reached a peer."""
        self.measures = USUAL
        """From which on changes are a wave, from its next start."""
        self.on_step: Callable[[], None] | None = None
        """Called before every step that syncd takes on this disk: where a user gets in between."""
        self.on_call: Callable[[str], None] | None = None
        """Called before and after every call of its workers, with the function's name."""
        self._latency_s = latency_s
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._ended.set()
        self._workers = SimWorkers(0, 0)
        self.starts = 0
        self.transfers = unlimited()
        self._tree: SimTree | None = None

    @property
    def task(self) -> FolderTask:
        assert self.maybe_task is not None, f"{self.name} is not running"
        return self.maybe_task

    @property
    def is_running(self) -> bool:
        return self.maybe_task is not None and not self._workers.is_down

    async def live(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """From a start to a stop or a power cut. Errors of the task come through."""
        self.starts += 1
        self._ended, self._scope = trio.Event(), trio.CancelScope()
        workers = self._workers = SimWorkers((self.name, self.starts, self.chance.random()), self._latency_s)
        workers.on_down = self._scope.cancel
        workers.on_call = self._called
        tree = self._tree = SimTree(self.disk, self.databases)
        self.disk.hook = None
        try:
            with self._scope:
                store = open_store(tree, self.keys, self.members, self.random, self.name)
                store.others = self.members.others(self.device)
                self.transfers = unlimited()
                task = make_task(store, workers, self.clock, self.keys, self.name, self.transfers, self.measures)
                self.disk.hook = self._reached
                try:
                    async with trio.open_nursery() as nursery:
                        await nursery.start(
                            lambda task_status: task.run(wait_for_peer=self.joins, task_status=task_status)
                        )
                        self.maybe_task = task
                        nursery.start_soon(_feed, task, tree.disk.watch(), nursery.start_soon)
                        task_status.started()
                except* PowerCut:
                    pass
        finally:
            self.maybe_task = None
            self.disk.hook = None
            self._ended.set()

    def _called(self, name: str) -> None:
        if self.on_call is not None:
            self.on_call(name)

    def _reached(self, step: str, path: object) -> None:
        self._workers.step()
        if self.on_step is not None:
            self.on_step()

    async def stop(self) -> None:
        """As `syncd stop`."""
        self._scope.cancel()
        await self._ended.wait()

    def pull_plug_after(self, steps: int) -> None:
        """Let the power fail before the given number of further steps."""
        self._workers.steps_left = steps

    async def crash(self, *, keep: int = 0) -> None:
        """The power fails now (or has failed). `keep`: entries of the disk's journal that had still reached it."""
        self._workers.is_down = True
        self._scope.cancel()
        await self._ended.wait()
        self.disk.crash(keep)
        self.databases.crash()

    async def ended(self) -> None:
        await self._ended.wait()

    def problems(self) -> list[str]:
        """Codes of all problems that a person would see."""
        return [f"{problem.code} {problem.path!r} {problem.why}" for problem in self.task.problems]


async def _feed(task: FolderTask, events: object, start_soon: Callable[..., None]) -> None:
    send, receive = trio.open_memory_channel[Dirty](16)
    start_soon(watch, events, send)
    async for dirty in receive:
        task.scanner.dirty(dirty)


class Wire:
    """A connection by which `here` asks `other`, dialled again a second after it was lost."""

    def __init__(self, here: SimSite, other: SimSite, seed: int, *, latency_s: float = 0.02) -> None:
        self.here, self.other = here, other
        self.is_up = True
        self._random = randomness.Random(f"{seed} {here.name} {other.name}")
        self._latency_s = latency_s
        self._link: DirectLink | None = None
        self._changed = trio.Event()

    async def run(self) -> None:
        while True:
            if self.is_up and self.here.is_running and self.other.is_running:
                await self._exchange()
            with trio.move_on_after(1):
                await self._changed.wait()

    async def _exchange(self) -> None:
        here, other = self.here.task, self.other.task
        link = self._link = DirectLink(
            self.here.device, other, self.other.device, lambda: self._random.random() * self._latency_s
        )
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_ends, here, other, link, nursery.cancel_scope)
                await here.follower.run_link(link)
                nursery.cancel_scope.cancel()
        except* PowerCut:
            pass

    async def _watch_ends(self, here: FolderTask, other: FolderTask, link: DirectLink, scope: trio.CancelScope) -> None:
        while self.here.maybe_task is here and self.other.maybe_task is other and self.is_up:
            with trio.move_on_after(0.1 if self._latency_s else 1.0):
                await self._changed.wait()
        link.cut()
        await trio.sleep(0.1)
        scope.cancel()

    def cut(self) -> None:
        """Break it, and keep it broken."""
        self.is_up = False
        self._wake()
        if self._link is not None:
            self._link.cut()

    def mend(self) -> None:
        self.is_up = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class World:
    """Some simulated computers, wired each with each."""

    def __init__(
        self, names: Sequence[str], seed: int = 0, *, viewers: Sequence[str] = (), latency_s: float = 0.02
    ) -> None:
        keys = {name: device_keys(name) for name in names}
        self.members = Members(keys.values(), [keys[name].public.id for name in viewers])
        self.sites = [SimSite(name, self.members, seed, latency_s=latency_s) for name in names]
        for site in self.sites[1:]:
            site.joins = True
        self.wires = [
            Wire(here, other, seed, latency_s=latency_s)
            for here in self.sites
            for other in self.sites
            if here is not other
        ]
        self._nursery: trio.Nursery | None = None

    def __getitem__(self, name: str) -> SimSite:
        return next(site for site in self.sites if site.name == name)

    def __iter__(self) -> Iterator[SimSite]:
        return iter(self.sites)

    @asynccontextmanager
    async def running(self, *, start: bool = True) -> AsyncIterator[World]:
        """Everything up; everything down at the end."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for wire in self.wires:
                nursery.start_soon(wire.run)
            if start:
                for site in self.sites:
                    await self.start(site)
            yield self
            nursery.cancel_scope.cancel()
        for site in self.sites:
            site.databases.close()

    async def start(self, site: SimSite) -> None:
        assert self._nursery is not None
        await self._nursery.start(site.live)

    async def restart(self, site: SimSite) -> None:
        await site.stop()
        await self.start(site)

    def between(self, one: SimSite, other: SimSite) -> list[Wire]:
        """Both directions."""
        return [wire for wire in self.wires if {wire.here, wire.other} == {one, other}]

    def cut(self) -> None:
        for wire in self.wires:
            wire.cut()

    def mend(self) -> None:
        for wire in self.wires:
            wire.mend()

    async def settle(self, timeout_s: float = 1800.0) -> None:
        """Wait until nothing is left to be done anywhere and all know the same, for three seconds on end."""
        quiet = 0
        with trio.move_on_after(timeout_s) as patience:
            while quiet < 3:
                await trio.sleep(1)
                quiet = quiet + 1 if await self._is_quiet() else 0
        assert not patience.cancelled_caught, "not settled:\n" + "\n".join(map(describe, self.sites))

    async def _is_quiet(self) -> bool:
        running = [site for site in self.sites if site.is_running]
        if not all(site.task.is_settled for site in running):
            return False
        if any(wire.is_up for wire in self.wires):
            return len({await site.task.server.digest() for site in running}) == 1
        return True

    def demand_equal(self) -> None:
        """All trees are the same, attributes included."""
        demand_same_pictures({site.name: picture(site.disk) for site in self.sites})

    def demand_no_trouble(self) -> None:
        """Nobody is shown a problem, and nothing is left over in syncd's own places."""
        for site in self.sites:
            assert not site.problems(), f"{site.name}: {site.problems()}"
            assert site.task.counts.need_files == 0, describe(site)
            parked = site.disk.directory((b".syncd", b"parked")).names
            assert not parked, f"{site.name}: still parked: {list(parked)}"


def picture(disk: SimDisk) -> dict[bytes, tuple[object, ...]]:
    """What a user sees, attributes included: mode and extended attributes of files and directories, mtime of files."""
    seen: dict[bytes, tuple[object, ...]] = {}
    for path, content in disk.contents().items():
        node = disk.at(path)
        stat, name = node.stat(), b"/".join(path)
        xattrs = tuple(sorted(node.xattrs.items()))
        if content is None:
            seen[name] = ("directory", oct(stat.mode), xattrs)
        elif content.startswith(b"-> "):
            seen[name] = ("link", content)
        else:
            seen[name] = ("file", oct(stat.mode), stat.mtime_ns, xattrs, content[:60], len(content))
    return seen


def demand_same_pictures(pictures: Mapping[str, dict[bytes, tuple[object, ...]]]) -> None:
    """All these computers (by name) show the same."""
    first: dict[bytes, tuple[object, ...]] = next(iter(pictures.values()), {})
    for name, other in pictures.items():
        assert other == first, f"{name} differs:\n{_difference(first, other)}"


def _difference(one: dict[bytes, tuple[object, ...]], other: dict[bytes, tuple[object, ...]]) -> str:
    names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    return "\n".join(f"  {name!r}: {one.get(name)} != {other.get(name)}" for name in names)


def describe(site: SimSite) -> str:
    """The state of one site, for the message of a failed test."""
    if site.maybe_task is None:
        return f"{site.name}: down"
    task = site.task
    pending = task.store.connection.execute(
        "SELECT id, name, kind, heads, l_parent, l_name, l_kind, pending FROM node WHERE pending<>0 LIMIT 20"
    ).fetchall()
    return (
        f"{site.name}: {task.state.value} settled={task.is_settled} {task.counts} busy={task.puller.busy} "
        f"problems={site.problems()}\n    pending={pending}"
    )


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """The same seed gives the same order of tasks."""
    run: Any = importlib.import_module("trio._core._run")  # private: Hypothesis' plugin of trio uses the same two names
    before = run._ALLOW_DETERMINISTIC_SCHEDULING
    run._ALLOW_DETERMINISTIC_SCHEDULING = True
    run._r.seed(seed)
    try:
        yield
    finally:
        run._ALLOW_DETERMINISTIC_SCHEDULING = before


# --- a real directory ------------------------------------------------------------------------------------------------


class WallClock:
    """seams.Clock for tests that really wait."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class RealSite:
    """A task on a real directory, with a real watch."""

    def __init__(self, name: str, place: FilePath, members: Members, *, joins: bool = False) -> None:
        self.name, self.joins = name, joins
        self.keys = device_keys(name)
        self.device = self.keys.public.id
        self.root, self.home = place / name / "folder", place / name / "home"
        self.root.mkdir(parents=True, exist_ok=True)
        self.home.mkdir(parents=True, exist_ok=True)
        self._members = members
        self.clock: Clock = WallClock()
        self.workers: Workers = ThreadWorkers()
        self.trees: Trees = LocalTrees(self.workers, time.monotonic)
        self.maybe_task: FolderTask | None = None

    @property
    def task(self) -> FolderTask:
        assert self.maybe_task is not None
        return self.maybe_task

    async def live(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        tree = self.trees.open(bytes(self.root), str(self.home))
        random = SeededRandom(self.name)
        store = await trio.to_thread.run_sync(open_store, tree, self.keys, self._members, random, self.name)
        store.others = self._members.others(self.device)
        task = make_task(store, self.workers, self.clock, self.keys, self.name)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(lambda task_status: task.run(wait_for_peer=self.joins, task_status=task_status))
                self.maybe_task = task
                nursery.start_soon(_feed, task, self.trees.watch(tree), nursery.start_soon)
                task_status.started()
        finally:
            self.maybe_task = None
            store.connection.close()
            tree.close()
