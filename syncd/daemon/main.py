"""Async. A daemon on this computer: the real seams, the control socket, signals, the log."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time

import trio

from ca import keyfiles
from syncd.config import Settings
from syncd.daemon.api import DaemonApi
from syncd.daemon.app import Daemon, Seams
from syncd.daemon.devicedb import DeviceDb
from syncd.daemon.installation import Installation
from syncd.net.discovery import Discovery
from syncd.net.sockets import SocketNetwork
from syncd.seams import Clock, Random
from syncd.store.watch import LocalTrees
from syncd.web.control import serve_control
from syncd.workers import ThreadWorkers

log = logging.getLogger("syncd")

STOP_S = 8.0
THREADS = 6


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


def run_until_stopped(settings: Settings) -> None:
    """See `daemon.run`."""
    _start_log(settings)
    try:
        trio.run(_main, settings, strict_exception_groups=True)
    except BaseExceptionGroup as group:
        raise _only(group) from group


async def _main(settings: Settings) -> None:
    clock: Clock = SystemClock()
    random: Random = SystemRandom()
    workers = ThreadWorkers(THREADS)
    run = workers.run_blocking
    keys = await run(keyfiles.load_or_create, settings.home, random.token)
    db = await run(DeviceDb.open_in, settings.home)
    installation = Installation(keys, db, workers, clock, random, settings.home)
    network = SocketNetwork(Discovery(random.token) if settings.discovery else None)
    seams = Seams(clock, random, network, LocalTrees(workers, clock.monotonic), workers)
    daemon = Daemon(settings, seams, installation)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, nursery.cancel_scope)
            await nursery.start(daemon.run)
            api = DaemonApi(daemon, nursery.cancel_scope.cancel)
            await nursery.start(serve_control, settings.socket, api)
            log.info("listening on %s", ", ".join(daemon.listening))
    finally:
        with trio.CancelScope(shield=True):
            await run(db.close)


async def _stop_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("stopping: %s", signal.Signals(number).name)
            scope.cancel()
            return


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception in nested groups, so that the command line can show it; the group itself if there are
    several."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup) and len(found.exceptions) == 1:
        found = found.exceptions[0]
    return found


class LineFormatter(logging.Formatter):
    """One line for each message, whatever names of files, folders and computers are in it. (Tracebacks follow it.)"""

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        return line if line.isprintable() else "".join(map(_visible, line))


def _visible(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode()


def _start_log(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
