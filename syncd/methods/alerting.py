"""Async. Looks at the device whenever something changes, and tells the hooks which alarms began and which ended.

Nothing runs without a hook. What was told is remembered until the daemon ends; after a restart, a trouble that is still
there is told again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import field
from typing import Any

import trio

from ca.ids import FolderId
from ca.values import dataclass
from syncd.config import Hook
from syncd.daemon.app import Daemon
from syncd.daemon.host import DeviceProblem
from syncd.daemon.running import RunningFolder
from syncd.daemon.views import as_text, folder_problems, is_in_sync, moment
from syncd.engine.protection import judge
from syncd.methods.alarms import Alarm, Disk, FolderSituation, PeerSituation, Situation, alarms
from syncd.methods.storing import copies_of
from syncd.treetypes import TreeError

log = logging.getLogger("syncd.notify")

PACE_S = 5.0
LOOK_S = 600.0
"""What comes by time alone (a silent peer, an old certificate, a disk that others fill) is looked at this often."""
TRIES_AFTER_S = (0.0, 5.0, 60.0)
SETTLED_S = 900.0
"""So long after a start peers may still be on their way: how many copies there are is not told before."""
REFUSED_WITHIN_S = 3600.0
TOLD_BY_OTHER_NAMES = frozenset({"SY-BRAKE-01"})


@dataclass(slots=True)
class Memory:
    """What the looks since the start have seen. Times in unix seconds."""

    began: float
    in_sync_at: dict[FolderId, float] = field(default_factory=dict)


async def tell_alarms(daemon: Daemon) -> None:
    """Tell what begins and what ends, until cancelled."""
    told: dict[Hook, dict[str, Alarm]] = {}
    memory = Memory(daemon.seams.clock.now())
    while True:
        changed, hooks = daemon.changed, daemon.settings.hooks
        if hooks:
            situation = await look(daemon, memory)
            told = {hook: await _tell(daemon, hook, told.get(hook), situation) for hook in hooks}
        with trio.move_on_after(LOOK_S if hooks else float("inf")):
            await changed.wait()
        await trio.sleep(PACE_S)


async def _tell(daemon: Daemon, hook: Hook, before: dict[str, Alarm] | None, situation: Situation) -> dict[str, Alarm]:
    """`before`: what this hook was told of and still held; None at its first look, from which on a digest is due."""
    now = alarms(situation, hook.on, daemon.seams.clock.now())
    known = before or {}
    for key in sorted(now.keys() - known.keys()):
        if before is not None or now[key].condition != "digest":
            await _send(daemon, hook, now[key], began=True)
    for key in sorted(known.keys() - now.keys()):
        if known[key].condition != "digest":
            await _send(daemon, hook, known[key], began=False)
    return now


async def _send(daemon: Daemon, hook: Hook, alarm: Alarm, *, began: bool) -> None:
    """Try three times; what then has not arrived is in the log and in `status`."""
    from syncd.daemon.hooks import HookFailed, deliver, described  # clients for web and mail only where a hook is

    told = notification(daemon, alarm.condition if began else f"{alarm.condition}-over", alarm.text, alarm.fix)
    for wait_s in TRIES_AFTER_S:
        await trio.sleep(wait_s)
        try:
            await daemon.seams.workers.run_blocking(deliver, hook.target, told)
        except HookFailed as error:
            log.warning("%s: %s", error, error.why)
            failure = error
        else:
            log.info("told %s: %s", described(hook.target), alarm.text)
            daemon.problems.pop(f"hook {described(hook.target)}", None)
            return
    fix = "syncd notify test, and correct it in config.toml"
    daemon.problems[f"hook {described(hook.target)}"] = DeviceProblem("SY-HOOK-01", f"{failure}: {failure.why}", fix)


def notification(daemon: Daemon, event: str, text: str, fix: str) -> dict[str, Any]:
    """What a hook gets."""
    return {
        "schema": "syncd.notification/1",
        "event": event,
        "text": text,
        "try": fix,
        "device": daemon.settings.device_name,
        "time": moment(daemon.seams.clock.now()),
    }


async def look(daemon: Daemon, memory: Memory) -> Situation:
    """The situation now."""
    folders = [_folder(daemon, folder, memory) for folder in daemon.folders]
    now = daemon.seams.clock.now()
    refused = sum(one.count for one in daemon.refusals.recent() if now - one.last <= REFUSED_WITHIN_S)
    problems = [(problem.id, problem.why) for problem in daemon.problems.values() if problem.id != "SY-HOOK-01"]
    return Situation(folders, problems, await daemon.seams.workers.run_blocking(_disks, daemon.folders), refused)


def _folder(daemon: Daemon, folder: RunningFolder, memory: Memory) -> FolderSituation:
    now = daemon.seams.clock.now()
    if folder.paused_until is not None or is_in_sync(folder, len(folder.membership.devices())):
        memory.in_sync_at[folder.id] = now
    is_settled = now - memory.began >= SETTLED_S
    task, contacts = folder.task, daemon.contacts(folder.id)
    peers = []
    for device in folder.membership.devices():
        contact = contacts.get(device.id)
        connected = contact is not None and contact.is_reached
        seen = None if contact is None else contact.last_seen
        peers.append(PeerSituation(folder.membership.member_name(device.id), connected, seen))
    return FolderSituation(
        folder.name,
        folder.row.added,
        0 if task is None else task.counts.conflicts,
        0 if task is None else task.counts.held,
        float(folder.membership.epoch.opened_at),
        list(_problems(folder)),
        peers,
        state=folder.state.value,
        in_sync_at=memory.in_sync_at.setdefault(folder.id, memory.began),
        copies=judge(copies_of(folder, now), now).copies if is_settled else None,
    )


def _problems(folder: RunningFolder) -> Iterator[tuple[str, str]]:
    """One line for each id: a hundred files that cannot be read are one trouble."""
    seen: set[str] = set()
    for problem in folder_problems(folder):
        if problem["id"] not in seen | TOLD_BY_OTHER_NAMES:
            seen.add(problem["id"])
            where = f"{problem['path']}: " if problem["path"] else ""
            yield problem["id"], f"{where}{problem['why']}"


def _disks(folders: list[RunningFolder]) -> list[Disk]:
    found = []
    for folder in folders:
        try:
            space = folder.tree.space()
        except TreeError:
            continue  # the folder says itself that its root is gone
        if space.total:
            found.append(Disk(as_text(folder.row.path), 100 * space.free / space.total))
    return found
