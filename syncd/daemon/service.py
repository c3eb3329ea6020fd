"""Async. The daemon as a service: signals, the line that `systemctl status` shows, and the sign of life.

SIGTERM and SIGINT end it in order; a second one finds the handler of the system again and ends it at once. SIGHUP reads
the configuration again: with a mistake in it, everything stays as it was and the log says where the mistake is.
"""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
from dataclasses import replace

import trio

from syncd.config import RELOADABLE, Settings, load_settings
from syncd.daemon.app import Daemon
from syncd.daemon.logs import start_log
from syncd.daemon.systemd import ServiceManager
from syncd.daemon.views import is_in_sync
from syncd.errors import ConfigError

log = logging.getLogger("syncd.service")

STATUS_PACE_S = 1.0


async def obey_signals(
    daemon: Daemon,
    manager: ServiceManager,
    scope: trio.CancelScope,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Act on signals until one of them ends the daemon by cancelling `scope`."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1) as signals:
        task_status.started()
        async for number in signals:
            match number:
                case signal.SIGHUP:
                    await reload(daemon, manager)
                case signal.SIGUSR1:
                    root = trio.lowlevel.current_root_task()
                    assert root is not None
                    log.info("tasks:\n%s", "\n".join(task_lines(root)))
                case _:
                    log.info("stopping: %s", signal.Signals(number).name)
                    manager.stopping()
                    scope.cancel()
                    return


async def reload(daemon: Daemon, manager: ServiceManager) -> None:
    """Read the configuration again and take what can be taken while running."""
    manager.reloading()
    try:
        found = await daemon.seams.workers.run_blocking(_load, daemon.settings)
    except ConfigError as error:
        log.error("the configuration stays as it was: %s: %s", error, error.why)
    else:
        _take(daemon, found)
    manager.ready(status_line(daemon))


def _load(settings: Settings) -> Settings:
    return load_settings(settings.home, socket=settings.socket)


def _take(daemon: Daemon, found: Settings) -> None:
    """Use the settings that can change while running, and say which cannot."""
    old = daemon.settings
    changed = {name for name in Settings.__slots__ if getattr(old, name) != getattr(found, name)}
    now = {name: getattr(found, name) for name in changed & RELOADABLE}
    daemon.use_settings(replace(old, **now))
    start_log(daemon.settings.log_level, daemon.settings.log_format, os.environ)
    log.info("configuration read again; changed: %s", ", ".join(sorted(now)) or "nothing")
    if later := sorted(changed - RELOADABLE):
        log.warning("these settings change with the next start: %s", ", ".join(later))


def status_line(daemon: Daemon) -> str:
    """`3 folders, all in sync; 2 peers connected`."""
    folders = daemon.folders
    level = sum(is_in_sync(folder, len(folder.membership.devices())) for folder in folders)
    peers = {device for folder in folders if folder.task is not None for device in folder.task.links}
    verdict = "all in sync" if level == len(folders) else f"{level} in sync"
    return f"{len(folders)} folders, {verdict}; {len(peers)} peers connected"


async def report_status(daemon: Daemon, manager: ServiceManager) -> None:
    """Keep the line of `systemctl status` true; does nothing while nothing changes."""
    told = ""
    while manager.address is not None:
        changed, line = daemon.changed, status_line(daemon)
        if line != told:
            manager.status(line)
            told = line
        await changed.wait()
        await trio.sleep(STATUS_PACE_S)


async def show_life(daemon: Daemon, manager: ServiceManager) -> None:
    """Tell the watchdog that the event loop turns and the thread of the database comes back.

    A database that answers with an error has answered: a restart would not help, and the folders say what is wrong.
    """
    if manager.watchdog_s is None:
        return
    own = daemon.installation
    while True:
        try:
            await own.on_disk(own.db.touch)
        except sqlite3.Error as error:
            log.warning("the device's database: %s", error)
        manager.alive()
        await trio.sleep(manager.watchdog_s / 2)


def task_lines(task: trio.lowlevel.Task, depth: int = 0) -> list[str]:
    """The tree of tasks, each with the place where it waits."""
    frames = list(task.iter_await_frames())
    frame, line = frames[-1] if frames else (None, 0)
    where = f"{os.path.basename(frame.f_code.co_filename)}:{line} {frame.f_code.co_name}" if frame else "running"
    lines = [f"{'  ' * depth}{task.name}  {where}"]
    for nursery in task.child_nurseries:
        for child in sorted(nursery.child_tasks, key=lambda child: child.name):
            lines += task_lines(child, depth + 1)
    return lines
