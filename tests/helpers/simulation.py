"""Async. Whole daemons in one process on virtual time: everything is the real thing but the operating system.

A `SimComputer` runs `syncd.daemon.app.Daemon` over simulated seams: disks and databases in memory, the simulated
internet, workers that run inline, a clock of its own that may be wrong, and chance from a seed. People use it as they
would: through the methods of the control socket (`call`) and by what they do on the disk. `simulate` runs a story and
returns the hash of everything that happened, so that the same seed can be held to the same history.
"""

from __future__ import annotations

import gc
import json
import logging
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path as FilePath
from random import Random
from typing import Any, TypeVar, TypeVarTuple

import trio

from ca import recovery
from ca.device import DeviceKeys
from syncd.config import Settings
from syncd.daemon.app import Daemon
from syncd.daemon.devicedb import DATABASE_NAME, DeviceDb
from syncd.daemon.host import Seams
from syncd.daemon.installation import Installation
from syncd.daemon.running import RunningFolder
from syncd.engine.brake import USUAL, Measures
from syncd.methods.api import DaemonApi
from syncd.store.folder import FolderStore
from syncd.store.prepare import Round
from syncd.treetypes import Path, Personality
from syncd.web.methods import parse_params_untrusted
from tests.helpers.sealer import SimulationSealer
from tests.helpers.simclock import JumpingClock
from tests.helpers.simdisk import Kept, SimDisk
from tests.helpers.simnet import SimInternet, SimStream
from tests.helpers.simtree import SimDatabases, SimTrees
from tests.helpers.tasks import (
    MOMENT,
    PowerCut,
    SeededRandom,
    SimWorkers,
    demand_same_pictures,
    deterministic,
    device_keys,
    name_of,
    picture,
)
from tests.helpers.users import NAMES, Book, User

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")
Json = dict[str, Any]

FOLDER = "Photos"
DAY_S = 86_400.0
YEAR_S = 365 * DAY_S
LATENCY_S = 0.002
QUIET_S = 3
CONFLICT = b" (conflict "
LINES_KEPT = 40
HASHED_AT_ONCE = 256


class Trace:
    """Everything that happened, in order, as a hash; and the last lines, for people."""

    def __init__(self, keep: int | None = LINES_KEPT) -> None:
        """`keep`: how many lines are kept; None for all."""
        self.lines: deque[str] = deque(maxlen=keep)
        self.events = 0
        self.shapes: Counter[str] = Counter()
        """Of what the planners' rounds consisted."""
        self._hash = blake2b(digest_size=16)
        self._unhashed: list[str] = []

    def note(self, who: str, what: str) -> None:
        """One more event, now."""
        line = f"{trio.current_time():.6f} {who}: {what}"
        self.lines.append(line)
        self.events += 1
        self._unhashed.append(line)
        if len(self._unhashed) >= HASHED_AT_ONCE:
            self._hash_lines()

    def digest(self) -> str:
        """Names the history so far."""
        self._hash_lines()
        return self._hash.hexdigest()

    def _hash_lines(self) -> None:
        self._hash.update("".join(f"{line}\n" for line in self._unhashed).encode("utf-8", "surrogateescape"))
        self._unhashed.clear()


class LogTrace(logging.Handler):
    """Enters what the daemons log into the trace, and gathers what must never be logged."""

    def __init__(self, trace: Trace) -> None:
        super().__init__(logging.INFO)
        self.faults: list[str] = []
        self._trace = trace

    def emit(self, record: logging.LogRecord) -> None:
        self._trace.note("log", record.getMessage())
        if record.exc_info:
            self.faults.append(logging.Formatter().format(record))

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Instead of whoever else listens to the daemons' log."""
        log = logging.getLogger("syncd")
        before = log.level, log.propagate
        log.setLevel(logging.INFO)
        log.propagate = False
        log.addHandler(self)
        try:
            yield
        finally:
            log.removeHandler(self)
            log.level, log.propagate = before


class TracedInternet(SimInternet):
    """The simulated internet. Each connection and each segment is an event.

    Of segments only the delay counts: TLS draws randomness of its own, and some of its signatures vary in length.
    """

    def __init__(self, seed: int, trace: Trace) -> None:
        super().__init__(seed)
        self.connections = 0
        self._trace = trace

    def draw_delay(self, source: str) -> float:
        delay = super().draw_delay(source)
        self._trace.note("net", f"{delay:.9f}")
        return delay

    def join_streams(self, client: str, server: str) -> tuple[SimStream, SimStream]:
        self.connections += 1
        self._trace.note("net", f"{client} connects to {server}")
        return super().join_streams(client, server)


class TracedWorkers(SimWorkers):
    """Inline workers. Each call is an event, and so is what one tells `count`."""

    def __init__(self, seed: object, latency_s: float, note: Callable[[str], None], shapes: Counter[str]) -> None:
        super().__init__(seed, latency_s)
        self._note = note
        self._shapes = shapes

    async def _run(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        self._note(f"runs {name_of(function, *arguments)}")
        result = await super()._run(function, *arguments)
        if isinstance(result, tuple) and result and isinstance(result[0], Round):
            self._shapes.update(shapes_of(result[0]))
        return result


def shapes_of(round_: Round) -> Iterator[str]:
    """What a round of the planner consists of, for statistics."""
    for step in round_.steps:
        yield type(step.operation).__name__
    for want in round_.wants:
        yield want.what.name.capitalize()
    if round_.settled:
        yield "Settle"
    if round_.blocked:
        yield "name taken for good"


class ComputerClock:
    """seams.Clock of one computer: trio's virtual time, shown wrong by `ahead_s` seconds (behind, if negative)."""

    def __init__(self, ahead_s: float) -> None:
        self.ahead_s = ahead_s

    def now(self) -> float:
        return MOMENT + self.ahead_s + trio.current_time()

    def monotonic(self) -> float:
        return trio.current_time()

    def now_ns(self) -> int:
        return int((MOMENT + self.ahead_s) * 1e9) + int(trio.current_time() * 1e9)


@dataclass(frozen=True, slots=True)
class Backup:
    """What a person may play back: every database of a home by name, and the folder's disk."""

    databases: Mapping[str, bytes]
    disk: dict[int, Kept]


class SimComputer:
    """One computer with one daemon, which can be started, stopped and cut from its power."""

    def __init__(
        self,
        name: str,
        seed: int,
        internet: SimInternet,
        trace: Trace,
        ahead_s: float = 0.0,
        personality: Personality | None = None,
        measures: Measures = USUAL,
    ) -> None:
        self.name = self.host = name
        self._measures = measures
        self.clock = ComputerClock(ahead_s)
        self.chance = Random(f"{seed} {name}")
        self.personality = personality
        self.trees = SimTrees(lambda: SimDisk(now_ns=self.clock.now_ns, personality=personality))
        self.starts = 0
        self.on_step: Callable[[str, Path], None] | None = None
        """Called before every step that syncd takes on this disk: where a person gets in between."""
        self.told: list[Mapping[str, Any]] = []
        """What people were told while a command was at work."""
        self._seed = seed
        self._internet = internet
        self._trace = trace
        self._keys = device_keys(name)
        self._recovery = recovery.generate(SeededRandom(f"recovery of {name}").token).public
        self._settings = Settings(FilePath("/home", name), FilePath("/home", name, "socket"), device_name=name)
        self._workers = self._new_workers()
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._daemon: Daemon | None = None
        self._api: DaemonApi | None = None

    # what people do ------------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """Where this computer has the folder."""
        return f"/{self.name}/{FOLDER}"

    @property
    def disk(self) -> SimDisk:
        """The disk below `path`."""
        return self.trees.disk(self.path.encode())

    async def call(self, method: str, **params: object) -> Json:
        """Ask the daemon, as the command line would through the control socket. Raises SyncdError."""
        assert self._api is not None, f"{self.name} is not running"
        self.note(f"call {method}")
        complete = parse_params_untrusted(method, json.dumps(params).encode())
        return await self._api.call(method, complete, self._progress)

    async def _progress(self, line: Mapping[str, Any]) -> None:
        self.note(f"progress {line['event']}")
        self.told.append(line)
        await trio.lowlevel.checkpoint()

    async def share(self, *, uses: int) -> str:
        """Make the folder of what is on the disk; a link that lets `uses` people in without a question."""
        made = await self.call("share", path=self.path, name=FOLDER, role="editor", link=True, uses=uses, yes=True)
        return str(made["link"])

    async def join(self, link: str) -> None:
        """Join by a link, and have everything."""
        found = await self.call("join.find", link=link, via=[])
        joined = await self.call("join", join=found["join"], path=self.path, wait=True)
        assert joined["synced"], f"{self.name} has joined, but is not synced"

    async def status(self) -> Json:
        """What `syncd status` says of the folder; `in_sync` included."""
        whole = await self.call("status")
        return {"in_sync": whole["in_sync"], **whole["folders"][0]}

    # life ----------------------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        return self._api is not None and not self._workers.is_down

    @property
    def keys(self) -> DeviceKeys:
        return self._keys

    @property
    def daemon(self) -> Daemon:
        """The daemon that runs, for oracles that look inside."""
        assert self._daemon is not None, f"{self.name} is not running"
        return self._daemon

    @property
    def folder(self) -> RunningFolder:
        """The one folder of this daemon, for oracles that look inside."""
        assert self._daemon is not None, f"{self.name} is not running"
        (folder,) = self._daemon.folders
        return folder

    @property
    def store(self) -> FolderStore:
        """The folder's rows, for whoever looks at them past its task: its database may be at rest."""
        task = self.folder.task
        assert task is not None
        task.database.connection.wake()
        return task.store

    def note(self, what: str) -> None:
        """Enter something into the trace."""
        self._trace.note(self.host, what)

    async def live(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """From a start to a stop or a power cut. What the daemon raises comes through."""
        self.starts += 1
        self.note("starts")
        self._ended, self._scope = trio.Event(), trio.CancelScope()
        self._workers = self._new_workers()
        self._workers.on_down = self._fall_silent
        self.trees.set_hook(self._reached)
        try:
            with self._scope:
                await self._run_daemon(task_status)
        finally:
            self._daemon, self._api = None, None
            self.trees.set_hook(None)
            self._internet.crash(self.host)  # an orderly end has left nothing to be cut
            self.note("is down")
            self._ended.set()

    async def _run_daemon(self, task_status: trio.TaskStatus[None]) -> None:
        random = SeededRandom((self._seed, self.host, self.starts))
        databases = self.trees.homes.setdefault(str(self._settings.home), SimDatabases())
        db = DeviceDb.open(lambda: databases.open(DATABASE_NAME), lambda: databases.set_aside(DATABASE_NAME))
        installation = Installation(
            self._keys,
            db,
            self._workers,
            self.clock,
            random,
            None,
            SimulationSealer(),
            self._recovery,
            measures=self._measures,
        )
        seams = Seams(self.clock, random, self._internet.network(self.host), self.trees, self._workers)
        daemon = Daemon(self._settings, seams, installation)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(daemon.run)
                self._daemon, self._api = daemon, DaemonApi(daemon, self._scope.cancel)
                task_status.started()
        except* (PowerCut, Exception):
            if not self._workers.is_down:  # what a computer without power still does is nobody's fault
                raise
        finally:
            db.close()

    def _new_workers(self) -> TracedWorkers:
        return TracedWorkers((self._seed, self.host, self.starts), LATENCY_S, self.note, self._trace.shapes)

    def _reached(self, step: str, path: Path) -> None:
        self._workers.step()
        if self.on_step is not None:
            self.on_step(step, path)

    def _fall_silent(self) -> None:
        self.note("power cut")
        self._scope.cancel()
        self._internet.crash(self.host)

    # backups ---------------------------------------------------------------------------------------------------

    @property
    def databases(self) -> SimDatabases:
        """Those in this computer's home."""
        return self.trees.homes.setdefault(str(self._settings.home), SimDatabases())

    def back_up(self) -> Backup:
        """A copy of home and folder as they are now."""
        return Backup(self.databases.copies(), self.disk.image())

    def restore(self, backup: Backup, *, names: Callable[[str], bool] = lambda name: True, disk: bool = False) -> None:
        """Play back those databases of a backup whose names are wanted, and with `disk` the folder. Only while it is
        down."""
        assert not self.is_running
        for name, content in backup.databases.items():
            if names(name):
                self.databases.restore(name, content)
        if disk:
            self.disk.put_image(backup.disk)

    def clone(self, host: str) -> SimComputer:
        """Another machine made from an image of this one: same keys, same home, same files, another address."""
        known = (self._internet, self._trace, self.clock.ahead_s, self.personality, self._measures)
        twin = SimComputer(self.name, self._seed, *known)
        twin.host = host
        twin.chance = Random(f"{self._seed} {host}")
        twin.restore(self.back_up(), disk=True)
        return twin

    async def stop(self) -> None:
        """As `syncd stop`."""
        self._scope.cancel()
        await self._ended.wait()

    async def crash(self, *, keep: int | None = None) -> None:
        """The power fails now (or has failed). The disk had got the first `keep` steps that were not flushed; any
        number of them without one. Databases keep what was committed."""
        if not self._workers.is_down:
            self._workers.is_down = True
            self._fall_silent()
        await self._ended.wait()
        self.trees.crash(self.chance.randint(0, self.disk.unflushed) if keep is None else keep)

    def fail_now(self) -> None:
        """The power fails in this very step of syncd: for `on_step`. Then `crash`."""
        self._workers.steps_left = 1
        self._workers.step()

    async def crash_within(self, steps: int) -> None:
        """Let the power fail before one of the next `steps` steps of syncd, whichever the seed says."""
        self._workers.steps_left = self.chance.randint(1, steps)
        await self._ended.wait()
        await self.crash()


class Simulation:
    """Some computers, the internet between them, and people who use them."""

    def __init__(
        self,
        names: Sequence[str],
        seed: int,
        trace: Trace,
        ahead_s: Mapping[str, float],
        personalities: Mapping[str, Personality] | None = None,
        measures: Measures = USUAL,
    ) -> None:
        """`ahead_s`: clocks that are wrong, by name. `personalities`: file systems that are not the usual one.
        `measures`: from which on changes are a wave that waits for a person."""
        odd = personalities or {}
        self.seed = seed
        self.trace = trace
        self.internet = TracedInternet(seed, trace)
        self.book = Book()
        self.names: tuple[bytes, ...] = NAMES
        self.computers = [
            SimComputer(name, seed, self.internet, trace, ahead_s.get(name, 0.0), odd.get(name), measures)
            for name in names
        ]
        self._nursery: trio.Nursery | None = None

    def __iter__(self) -> Iterator[SimComputer]:
        return iter(self.computers)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Simulation]:
        """Everything up; everything down at the end."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for computer in self.computers:
                await self.start(computer)
            yield self
            nursery.cancel_scope.cancel()
        for computer in self.computers:
            computer.trees.close()

    async def start(self, computer: SimComputer) -> None:
        assert self._nursery is not None
        await self._nursery.start(computer.live)

    async def share_with_all(self, files: int = 3) -> None:
        """The first shares a folder with some files in it; all others join by one link."""
        first, *others = self.computers
        self.act([first], files)
        link = await first.share(uses=len(others))
        for other in others:
            await other.join(link)

    # people --------------------------------------------------------------------------------------------------

    def user(self, computer: SimComputer, book: Book | None = None) -> User:
        """Somebody at this computer. `book`: where what they write is remembered; usually that of all."""
        return User(computer.name, computer.disk, book or self.book, computer.chance, names=self.names)

    def act(self, computers: Iterable[SimComputer], times: int, book: Book | None = None) -> None:
        """Everybody does some things, at once."""
        for computer in computers:
            user = self.user(computer, book)
            for _ in range(times):
                user.act()
                computer.note(user.log[-1])

    async def be_busy(self, computers: Sequence[SimComputer], times: int, pause_s: float = 2.0) -> None:
        """Everybody does one thing after another, while the daemons work."""
        for _ in range(times):
            self.act(computers, 1)
            await trio.sleep(self.internet.random.uniform(0, pause_s))

    # oracles -------------------------------------------------------------------------------------------------

    async def settle(
        self,
        computers: Sequence[SimComputer] | None = None,
        timeout_s: float = 1800.0,
        demand: Callable[[Sequence[SimComputer]], None] | None = None,
    ) -> float:
        """Wait until all say that they are in sync, and are, for some seconds on end; how long that took, in virtual
        seconds. `demand` raises AssertionError while trees differ; all that is shared counts, if nothing is said."""
        demand = demand or self.demand_equal
        chosen = self.computers if computers is None else computers
        began, quiet = trio.current_time(), 0
        with trio.move_on_after(timeout_s) as patience:
            while quiet < QUIET_S:
                await trio.sleep(1)
                quiet = quiet + 1 if await self._are_level(chosen, demand) else 0
        if patience.cancelled_caught:
            states = [await describe(one) for one in chosen]
            raise AssertionError("\n".join(["not settled:", *states, _difference(demand, chosen)]))
        return trio.current_time() - began

    async def _are_level(
        self, computers: Sequence[SimComputer], demand: Callable[[Sequence[SimComputer]], None]
    ) -> bool:
        for computer in computers:
            if not (await computer.status())["in_sync"]:
                return False
        return not _difference(demand, computers)

    def demand_equal(self, computers: Sequence[SimComputer] | None = None) -> None:
        """All have the same tree, attributes included."""
        chosen = self.computers if computers is None else computers
        demand_same_pictures({computer.host: what_is_shared(computer.disk) for computer in chosen})

    def demand_nothing_lost(
        self, computers: Sequence[SimComputer] | None = None, *, kept: Sequence[SimComputer] = ()
    ) -> None:
        """Whatever anybody wrote, and nobody gave up who had seen it, is with everybody, or at least in `.syncd/old` of
        one of `kept`."""
        chosen = self.computers if computers is None else computers
        lost = self.book.lost([computer.disk for computer in chosen], kept=[computer.disk for computer in kept])
        assert not lost, "\n".join(lost)


def _difference(demand: Callable[[Sequence[SimComputer]], None], computers: Sequence[SimComputer]) -> str:
    try:
        demand(computers)
    except AssertionError as error:
        return str(error)
    return ""


def what_is_shared(disk: SimDisk) -> dict[bytes, tuple[object, ...]]:
    """What everybody must see alike. Conflict copies are views, made on each computer by itself: of them only name,
    kind and content."""
    return {
        name: (seen[0], seen[-2:]) if CONFLICT in name and seen[0] == "file" else seen
        for name, seen in picture(disk).items()
    }


async def describe(computer: SimComputer) -> str:
    """The state of one computer, for the message of a failed test."""
    if not computer.is_running:
        return f"{computer.name}: down"
    status = await computer.status()
    peers = {peer["name"]: (peer["connected"], peer["have_ratio"]) for peer in status["peers"]}
    task = computer.folder.task
    query = "SELECT id, name, kind, heads, l_parent, l_name, l_kind, pending FROM node WHERE pending<>0 LIMIT 20"
    pending = [] if task is None else await task.db(lambda: task.store.connection.execute(query).fetchall())
    return (
        f"{computer.name}: {status['state']} in_sync={status['in_sync']} epoch={status['epoch']} "
        f"need={status['need']} files={status['files']} peers={peers} problems={status['problems']} "
        f"sees={len(picture(computer.disk))}\n    pending={pending}"
    )


# --- running a story ---------------------------------------------------------------------------------------------

Story = Callable[[Simulation], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class History:
    """What came of a story."""

    seed: int
    digest: str
    events: int
    connections: int
    virtual_s: float
    real_s: float
    lines: Sequence[str]
    shapes: Counter[str]
    """How often the planners' rounds held each operation."""


def simulate(
    story: Story,
    seed: int,
    names: Sequence[str] = ("ana", "bert", "cleo"),
    *,
    ahead_s: Mapping[str, float] | None = None,
    personalities: Mapping[str, Personality] | None = None,
    measures: Measures = USUAL,
    keep: int | None = LINES_KEPT,
) -> History:
    """Run a story from a seed, from before the first start until after the last end.

    What goes wrong carries the seed and the last `keep` events as a note.
    """
    trace = Trace(keep)
    log = LogTrace(trace)
    ended_at, connections = 0.0, 0

    async def run() -> None:
        nonlocal ended_at, connections
        simulation = Simulation(names, seed, trace, ahead_s or {}, personalities, measures)
        async with simulation.running():
            await story(simulation)
            assert not log.faults, "a daemon has logged a fault:\n" + "\n".join(log.faults)
            ended_at, connections = trio.current_time(), simulation.internet.connections

    began = time.perf_counter()
    try:
        with deterministic(seed), _no_collector(), log.listening():
            trio.run(run, clock=JumpingClock())
    except BaseException as error:
        error.add_note(f"seed {seed}; the last events:\n  " + "\n  ".join((*trace.lines, *log.faults)))
        raise
    took_s = time.perf_counter() - began
    return History(seed, trace.digest(), trace.events, connections, ended_at, took_s, list(trace.lines), trace.shapes)


@contextmanager
def _no_collector() -> Iterator[None]:
    """No cyclic garbage collection: when it comes depends on what the process did before, and it ends generators."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
