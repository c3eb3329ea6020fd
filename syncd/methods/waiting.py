"""Async. `syncd wait`: until folders are what the caller asked for, or the time is up.

A folder is synced when everything that was on its disk at the call has been looked at, everything that connected peers
had has been taken in, nothing is pending, and, if it has other members, the heads of at least one were reached since
this start.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import trio

from ca.device import device_text
from syncd.daemon.app import Daemon
from syncd.daemon.running import RunningFolder
from syncd.daemon.views import folder_problems, has_twin
from syncd.errors import SyncdError
from syncd.folder.folder import FolderTask, State

Json = dict[str, Any]

PEER = "peer="
STOPPED_S = 10.0
"""What ends by itself, such as a disk that comes back, mostly ends within that time."""


async def wait_for(daemon: Daemon, folders: Sequence[RunningFolder], goal: str, timeout_s: float | None) -> Json:
    """Wait for every folder; answers with `done` false when the time is up first."""
    began = trio.current_time()
    # A person who gave no limit waits for work to be done, not for a folder that nobody works on.
    patience_s = STOPPED_S if timeout_s is None else float("inf")
    done = {folder.id: False for folder in folders}
    with trio.move_on_after(float("inf") if timeout_s is None else timeout_s):
        async with trio.open_nursery() as nursery:
            for folder in folders:
                nursery.start_soon(_wait_one, daemon, folder, goal, done, patience_s)
    return {
        "schema": "syncd.wait/1",
        "done": all(done.values()),
        "waited_s": round(trio.current_time() - began, 3),
        "folders": [_folder_json(folder, done[folder.id]) for folder in folders],
    }


async def _wait_one(daemon: Daemon, folder: RunningFolder, goal: str, done: dict[Any, bool], patience_s: float) -> None:
    """Until it is done, or the folder has stood still for longer than the caller is patient."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_when_stopped, daemon, folder, patience_s, nursery.cancel_scope)
        await _until_done(daemon, folder, goal, done)
        nursery.cancel_scope.cancel()


async def _end_when_stopped(daemon: Daemon, folder: RunningFolder, patience_s: float, scope: trio.CancelScope) -> None:
    while True:
        with trio.move_on_after(patience_s) as patience:
            while folder.state in (State.STOPPED, State.PAUSED):
                await daemon.changed.wait()
        if patience.cancelled_caught:
            scope.cancel()
        await _moved(daemon, folder)


async def _moved(daemon: Daemon, folder: RunningFolder) -> None:
    """Something of a folder may have changed. Of one that is at work it says so itself: whoever waits for a thousand is
    not to be woken a thousand times for each."""
    if folder.task is None:
        await daemon.changed.wait()
    else:
        await folder.task.changed()


async def _until_done(daemon: Daemon, folder: RunningFolder, goal: str, done: dict[Any, bool]) -> None:
    """A folder that stops and begins anew meanwhile is waited for anew."""
    while not done[folder.id]:
        while (task := folder.task) is None or folder.why_stopped is not None:
            await daemon.changed.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_with, task, folder, nursery.cancel_scope)
            await _wait_task(daemon, folder, task, goal)
            done[folder.id] = True
            nursery.cancel_scope.cancel()


async def _end_with(task: FolderTask, folder: RunningFolder, scope: trio.CancelScope) -> None:
    while folder.task is task and folder.why_stopped is None:
        await task.changed()
    scope.cancel()


async def _wait_task(daemon: Daemon, folder: RunningFolder, task: FolderTask, goal: str) -> None:
    device = _device_named(folder, goal.removeprefix(PEER)) if goal.startswith(PEER) else None
    await _scanned(task)
    if goal == "scanned":
        return
    await _everything_asked_of_peers(task)
    keeper = daemon.keeper(folder.id)
    with nullcontext() if device is None or keeper is None else keeper.asking_for(device):
        while has_twin(folder) or not _is_reached(folder, task, device):
            if device is not None and task.is_settled:
                task.tell_now(device)
            await task.changed()


def _is_reached(folder: RunningFolder, task: FolderTask, device: Any) -> bool:
    if not task.is_settled:
        return False
    if device is not None:
        return bool(task.peer_is_level(device))
    return not folder.membership.devices() or task.heads_reached


async def _scanned(task: FolderTask) -> None:
    """What is on the disk now has been looked at: a cookie comes back through the watch behind everything before it."""
    await task.scanner.pass_cookie()


async def _everything_asked_of_peers(task: FolderTask) -> None:
    """What connected peers have now has been taken in."""
    for state in list(task.links.values()):
        while task.links.get(state.link.device) is state and not state.reached:
            await task.changed()


def _device_named(folder: RunningFolder, name: str) -> Any:
    membership = folder.membership
    for device in membership.devices():
        if membership.member_name(device.id) == name or device_text(device.id).startswith(name):
            return device.id
    raise SyncdError(f"there is no peer {name}", id="SY-FIND-01", fix="syncd peers")


def _folder_json(folder: RunningFolder, done: bool) -> Json:
    task = folder.task
    why: str | None = None
    if not done:
        problems = folder_problems(folder)
        if problems:
            why = str(problems[0]["why"])
        elif folder.state is State.PAUSED:
            why = "it is paused"
        elif task is not None and folder.membership.devices() and not task.links:
            why = "no other member can be reached"
        elif task is not None and not task.is_settled:
            why = f"{task.counts.need_files} files are still to come"
        else:
            why = "a peer has not said yet that it has everything"
    return {
        "id": folder.id.hex(),
        "name": folder.name,
        "state": folder.state.value,
        "done": done,
        "need": {
            "files": 0 if task is None else task.counts.need_files,
            "bytes": 0 if task is None else task.counts.need_bytes,
        },
        "why": why,
    }
