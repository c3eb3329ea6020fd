"""Async. Where the contents of folders are kept: how much room they take, who has all of it, and when it was last read
again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ca.device import PublicDevice, device_text
from ca.ids import DeviceId
from syncd.daemon.app import Daemon
from syncd.daemon.running import RunningFolder
from syncd.daemon.views import Json, as_text, is_in_sync, moment
from syncd.engine.protection import Copy, is_fresh, judge
from syncd.engine.retention import Policy, show_tiers
from syncd.folder.folder import FolderTask
from syncd.store import pruning, snapshots
from syncd.treetypes import TreeError

DAY_S = 86_400
DAYS = 28
THIS = "this computer"


class Storing:
    """The method `storage` of the control socket."""

    def __init__(self, daemon: Daemon, find_folder: Callable[[str | None, str | None], RunningFolder]) -> None:
        self._daemon = daemon
        self._find_folder = find_folder

    async def storage(self, params: Mapping[str, Any], progress: object) -> Json:
        """Of one folder, or of all that are at work."""
        folders = self._daemon.folders
        if params["folder"] is not None:
            folders = [self._find_folder(params["folder"], params["cwd"])]
        return {
            "schema": "syncd.storage/1",
            "folders": [await self._folder(one, one.task) for one in folders if one.task is not None],
        }

    async def _folder(self, folder: RunningFolder, task: FolderTask) -> Json:
        now = self._daemon.seams.clock.now()
        kept: Json = await task.db(_kept, task, now)
        space: Json = await task.blocking(_space, folder)
        copies = copies_of(folder, now)
        found = judge(copies, now)
        counts = task.counts
        return {
            "id": folder.id.hex(),
            "name": folder.name,
            "path": as_text(folder.row.path),
            "files": counts.files,
            "bytes": counts.size,
            "plain": {"files": counts.old_files, "bytes": counts.old_bytes},
            "packs": {"packs": counts.packs, "bytes": counts.packed_bytes, "read_since": moment(counts.read_since)},
            **kept,
            **space,
            "copies": self._copies_json(folder, copies, now),
            "level": found.level,
            "why": found.why,
        }

    def _copies_json(self, folder: RunningFolder, copies: list[Copy], now: float) -> list[Json]:
        contacts = self._daemon.contacts(folder.id)
        ids = [folder.membership.device, *(device.id for device in _others(folder))]
        shown = []
        for id_, copy in zip(ids, copies, strict=True):
            contact, role = contacts.get(id_), folder.membership.role_of(id_)
            shown.append(
                {
                    "id": device_text(id_),
                    "name": copy.name,
                    "role": None if role is None else role.name.lower(),
                    "connected": copy.name == THIS or (contact is not None and contact.connected),
                    "whole_at": moment(copy.whole_at),
                    "fresh": is_fresh(copy, now),
                }
            )
        return shown


def copies_of(folder: RunningFolder, now: float) -> list[Copy]:
    """This device's copy of a folder, then those of the others by their names."""
    is_apart = folder.task is not None and folder.task.counts.only_here > 0
    own = Copy(THIS, now if is_in_sync(folder, 0) and not is_apart else None)
    return [own, *(_copy(folder, device.id, now) for device in _others(folder))]


def _others(folder: RunningFolder) -> list[PublicDevice]:
    return sorted(folder.membership.devices(), key=lambda device: folder.membership.member_name(device.id))


def _copy(folder: RunningFolder, device: DeviceId, now: float) -> Copy:
    task, name = folder.task, folder.membership.member_name(device)
    if task is None:
        return Copy(name, None)
    is_whole = device in task.links and task.peer_is_whole(device)
    return Copy(name, now if is_whole else task.level_until.get(device))


def _kept(task: FolderTask, now: float) -> Json:
    """What the rows say of history: the promise, snapshots, and the packs by the day on which they were last read."""
    connection = task.store.connection
    policy: Policy = pruning.db_policy(task.store)
    taken = [one.made for one in snapshots.db_list(task.store)]
    (newest_ms,) = connection.execute("SELECT max(time_ms) FROM changeset").fetchone()
    pages, page_bytes = (connection.execute(f"PRAGMA page_{word}").fetchone()[0] for word in ("count", "size"))
    today = int(now // DAY_S)
    days = dict.fromkeys(range(today - DAYS + 1, today + 1), 0)
    for (verified,) in connection.execute("SELECT verified FROM pack"):
        days[max(int(verified // DAY_S), today - DAYS + 1)] += 1
    return {
        "keep": show_tiers(policy.tiers),
        "always": show_tiers(policy.floor),
        "space_bytes": policy.space_bytes,
        "newest_snapshot": moment(max(taken, default=None)),
        "newest_change": None if newest_ms is None else moment(newest_ms / 1000),
        "database_bytes": pages * page_bytes,
        "days": [{"began": moment(day * DAY_S), "packs": packs} for day, packs in sorted(days.items())],
    }


def _space(folder: RunningFolder) -> Json:
    """Of the disk on which the folder lies; null where it does not say."""
    try:
        space = folder.tree.space()
    except TreeError:
        return {"free_bytes": None, "disk_bytes": None}
    return {"free_bytes": space.free, "disk_bytes": space.total}
