"""Async. A daemon on this computer: the real seams and the control socket around `daemon.app`."""

from __future__ import annotations

import functools
import gc
import logging
import os
import resource
import socket
import time
from collections.abc import Awaitable, Callable

import trio

from ca import keyfiles
from ca.custody import Custody
from ca.values import dataclass
from syncd.config import Settings
from syncd.daemon.app import Daemon
from syncd.daemon.devicedb import DeviceDb
from syncd.daemon.host import Seams
from syncd.daemon.installation import Installation
from syncd.daemon.logs import start_log
from syncd.daemon.rescuing import Keepsakes
from syncd.daemon.resting import give_back_at_rest
from syncd.daemon.service import obey_signals, report_status, show_life, status_line
from syncd.daemon.systemd import ServiceManager, passed_socket, service_manager
from syncd.methods.alerting import tell_alarms
from syncd.methods.api import DaemonApi
from syncd.methods.custodian import seal_the_rest
from syncd.methods.measuring import Observatory, serve_metrics
from syncd.methods.unlocking import Gate
from syncd.methods.witnessing import Witness, tell_troubles
from syncd.net.sockets import Neighbourhood, SocketNetwork
from syncd.seams import Clock, Random
from syncd.store import state
from syncd.store.watch import LocalTrees
from syncd.web.control import asking_user, serve_control, user_names
from syncd.web.lock import Lock
from syncd.web.server import PageServer
from syncd.workers import ThreadWorkers

log = logging.getLogger("syncd")

THREADS = 6
COLLECT_AFTER = (5_000, 10, 10)
"""Objects that came without one that went, before Python looks for circles of them: `gc.set_threshold`. Rows come and
go by tens of thousands here and hold no circles; at Python's own 700 10,000 files took a seventh longer. At 50,000 the
circles that there are kept buffers: 20,000 files took a receiver to 387 MiB."""
FEW = 16
LOAD_S, FEW_LOAD_S = 0.5, 30.0
"""So long, where folders are many or few, is waited until all run, before anybody is told that some are starting."""
MIGRATION_STEP_S = 60.0
"""How long one step of a migration may be silent before the service manager gives up."""


class SystemClock:
    """The clocks of the operating system."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class SystemRandom:
    """The randomness of the operating system."""

    def token(self, length: int) -> bytes:
        return os.urandom(length)


@dataclass(frozen=True, slots=True)
class Machine:
    """What every part of the daemon shares before there is a daemon."""

    clock: Clock
    random: Random
    workers: ThreadWorkers


def run_until_stopped(settings: Settings, listening: socket.socket | None = None) -> None:
    """See `cli.run`. `listening`: the control socket, if it is open already; it stays where it is."""
    gc.set_threshold(*COLLECT_AFTER)
    gc.freeze()  # what is there now stays to the end
    gc.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # what a crash leaves behind would hold every key
    start_log(settings.log_level, settings.log_format, os.environ)
    manager = service_manager(os.environ, os.getpid())
    passed = passed_socket(os.environ, os.getpid()) or listening
    try:
        trio.run(_main, settings, manager, passed, strict_exception_groups=True)
    except BaseExceptionGroup as group:
        raise _only(group) from group


async def _main(settings: Settings, manager: ServiceManager, passed: socket.socket | None) -> None:
    clock: Clock = SystemClock()
    random: Random = SystemRandom()
    workers = ThreadWorkers(THREADS)
    run = workers.run_blocking
    await run(state.refuse_unfinished, settings.home)
    custody = await run(Custody.open, settings.home, random.token)
    gate = Gate(settings, custody, workers, trio.current_time())
    lock = Lock(settings.home, workers, clock.monotonic)
    async with trio.open_nursery() as nursery:
        if custody.is_locked:
            await gate.prepare(os.environ)
        serve = functools.partial(serve_control, settings.socket, gate, passed, gate.observe, lock)
        if custody.is_locked:
            await nursery.start(serve)
            nursery.start_soon(gate.end_when_stopped, nursery.cancel_scope)
            if await gate.wait_unlocked(manager):
                await _serve(settings, manager, gate, Machine(clock, random, workers), None)
        else:
            await _serve(settings, manager, gate, Machine(clock, random, workers), serve)
        nursery.cancel_scope.cancel()


async def _serve(
    settings: Settings,
    manager: ServiceManager,
    gate: Gate,
    machine: Machine,
    serve: Callable[..., Awaitable[object]] | None,
) -> None:
    """Run the daemon, whose keys are open. `serve`: the control socket, if it does not answer yet."""
    clock, random, workers = machine.clock, machine.random, machine.workers
    run, custody = workers.run_blocking, gate.custody
    keys = await run(keyfiles.load_or_create, settings.home, random.token, custody.key)
    tell_migration = functools.partial(_tell_migration, manager)
    db = await run(DeviceDb.open_in, settings.home, tell_migration)
    installation = Installation(
        keys, db, workers, clock, random, settings.home, custody=custody, tell_migration=tell_migration
    )
    if custody.key is not None:
        await installation.on_disk(seal_the_rest, installation)
    network = SocketNetwork(_neighbourhood(random) if settings.discovery else None)
    seams = Seams(clock, random, network, LocalTrees(workers, clock.monotonic), workers)
    daemon = Daemon(settings, seams, installation)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(obey_signals, daemon, manager, nursery.cancel_scope)
            nursery.start_soon(daemon.run)
            await daemon.listed.wait()
            with trio.move_on_after(LOAD_S if len(daemon.folders) > FEW else FEW_LOAD_S):
                await daemon.loaded.wait()
            api = DaemonApi(daemon, nursery.cancel_scope.cancel, manager)
            api.page = PageServer(
                Witness(api, daemon.audit, "page", clock.now),
                network,
                clock,
                random,
                workers,
                settings.home,
                listen=settings.web_listen,
                listen_configured=settings.web_listen_configured,
                hosts=settings.web_hosts,
            )
            await nursery.start(api.page.run)
            observatory = Observatory(daemon)
            users = await run(user_names)
            asking = functools.partial(asking_user, users)
            gate.open(Witness(api, daemon.audit, "command line", clock.now, asking), observatory)
            if serve is not None:
                await nursery.start(serve)
            if settings.metrics_listen is not None:
                await nursery.start(serve_metrics, settings.metrics_listen, observatory)
            log.info("listening on %s", ", ".join(daemon.listening))
            manager.ready(status_line(daemon))
            nursery.start_soon(report_status, daemon, manager)
            nursery.start_soon(show_life, daemon, manager)
            nursery.start_soon(give_back_at_rest, daemon)
            await daemon.loaded.wait()
            await nursery.start(api.linking.run)
            nursery.start_soon(tell_alarms, daemon)
            nursery.start_soon(api.exports.run)
            nursery.start_soon(Keepsakes(daemon).run)
            nursery.start_soon(tell_troubles, daemon)
    finally:
        manager.stopping()
        with trio.CancelScope(shield=True):
            await run(db.close)


def _neighbourhood(random: Random) -> Neighbourhood:
    from syncd.net.discovery import Discovery  # zeroconf takes longer to load than half of syncd

    return Discovery(random.token)


def _tell_migration(manager: ServiceManager, line: str) -> None:
    """A migration may take longer than the service manager waits: it is asked for more while this one moves."""
    log.info("migrating: %s", line)
    manager.extend(MIGRATION_STEP_S, line)


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception in nested groups, so that the command line can show it; the group itself if there are
    several."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup) and len(found.exceptions) == 1:
        found = found.exceptions[0]
    return found
