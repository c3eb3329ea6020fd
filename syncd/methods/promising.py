"""Async. What a device promises to keep of a folder's past, as a person asks for it: snapshots, retention, pruning,
scrub."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from ca.roles import Action
from syncd.daemon.running import RunningFolder
from syncd.daemon.views import Json, drill_json, moment, withheld_json
from syncd.engine.retention import (
    COPIES_SETTING,
    MAX_COPIES,
    Policy,
    Tier,
    copies_untrusted,
    parse_tiers,
    settings_of,
    show_tiers,
    tiers_untrusted,
)
from syncd.errors import SyncdError, TrustError
from syncd.folder.folder import FolderTask
from syncd.methods.history import Params, Progress, moment_ms, unknown
from syncd.store import pruning, snapshots
from syncd.wording import is_number

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Promises:
    """The methods of the control socket that are about what is kept."""

    def __init__(self, find: Callable[[str | None, str | None], RunningFolder]) -> None:
        self._find = find

    # snapshots -----------------------------------------------------------------------------------------------

    async def snapshots(self, params: Params, progress: Progress) -> Json:
        folder = self._find(params["folder"], params["cwd"])
        task = folder.at_work()
        return await self._snapshots_json(folder, task)

    async def _snapshots_json(self, folder: RunningFolder, task: FolderTask) -> Json:
        return {
            "schema": "syncd.snapshots/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "others": len(folder.membership.devices()),
            "snapshots": [
                {
                    "name": one.name,
                    "time": moment(one.at_ms / 1000),
                    "made": moment(one.made),
                    "scheduled": one.is_scheduled,
                }
                for one in await task.db(snapshots.db_list, task.store)
            ],
        }

    async def snapshot_add(self, params: Params, progress: Progress) -> Json:
        folder = self._find(params["folder"], params["cwd"])
        task = folder.at_work()
        now = task.clock.now()
        at_ms = moment_ms(params["at_s"])
        at_ms = int(now * 1000) if at_ms is None else at_ms
        if not await task.db(snapshots.db_add_new, task.store, params["name"], at_ms, now):
            raise SyncdError(
                f"there is a snapshot {params['name']} already",
                id="SY-USE-01",
                why="What was there then is kept until that name is removed.",
                fix=f"another name; or first: syncd snapshot remove {shlex.quote(params['name'])} {folder.name}",
            )
        return await self._snapshots_json(folder, task)

    async def snapshot_remove(self, params: Params, progress: Progress) -> Json:
        folder = self._find(params["folder"], params["cwd"])
        task = folder.at_work()
        if not await task.db(snapshots.db_remove, task.store, params["name"]):
            raise unknown("snapshot", params["name"])
        return await self._snapshots_json(folder, task)

    # what is kept --------------------------------------------------------------------------------------------

    async def retention(self, params: Params, progress: Progress) -> Json:
        folder = self._find(params["folder"], params["cwd"])
        task = folder.at_work()
        policy: Policy = await task.db(pruning.db_policy, task.store)
        if params["everybody"]:
            await self._ask_everybody(folder, params["keep"], params["copies"])
        elif any(params[name] is not None for name in ("keep", "space", "copies")):
            tiers = policy.tiers if params["keep"] is None else _tiers(params["keep"])
            space = policy.space_bytes if params["space"] is None else _space(params["space"])
            copies = policy.copies if params["copies"] is None else _copies(params["copies"])
            policy = Policy(tiers, space_bytes=space, copies=copies)
            await task.db(pruning.db_set_policy, task.store, policy)
        return {
            "schema": "syncd.retention/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "keep": show_tiers(policy.tiers),
            "space_bytes": policy.space_bytes,
            "asked": show_tiers(tiers_untrusted(folder.membership.roster.settings)) or None,
            "always": show_tiers(policy.floor),
            "copies": policy.copies,
            "asked_copies": copies_untrusted(folder.membership.roster.settings),
            "others": len(task.store.others),
        }

    async def _ask_everybody(self, folder: RunningFolder, keep: str | None, copies: str | None) -> None:
        """Have the roster ask every member to keep so much; `none` asks for nothing. And for so many copies."""
        if not folder.membership.may(Action.SET_POLICY):
            raise TrustError("your role does not allow to set the folder's policy", id="SY-SHARE-04")
        settings: tuple[tuple[int, int], ...] = ()
        if keep is not None:
            settings = settings_of(() if keep == "none" else _tiers(keep))
        if copies is not None:
            settings = (*settings, (COPIES_SETTING, _copies(copies)))
        await folder.membership.change_settings(settings)

    async def prune(self, params: Params, progress: Progress) -> Json:
        folder = self._find(params["folder"], params["cwd"])
        pruned = await folder.at_work().archivist.prune(dry_run=params["dry_run"])
        return {
            "schema": "syncd.prune/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "versions": pruned.versions,
            "freed_bytes": pruned.freed,
            "kept_bytes": pruned.kept_bytes,
            "packs": pruned.packs,
            "keep": pruned.keep,
            "short_of_space": pruned.is_short,
            "copies": withheld_json(pruned.withheld),
            "dry_run": params["dry_run"],
        }

    async def scrub(self, params: Params, progress: Progress) -> Json:
        folder = self._find(params["folder"], params["cwd"])
        found = await folder.at_work().archivist.scrub(0.0)
        return {
            "schema": "syncd.scrub/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "packs": found.packs,
            "bytes": found.size,
            "damaged": found.damaged,
            "healed_blocks": found.healed,
            "lost_blocks": found.lost,
        }

    async def drill(self, params: Params, progress: Progress) -> Json:
        folder = self._find(params["folder"], params["cwd"])
        drilled = await folder.at_work().driller.drill()
        return {
            "schema": "syncd.drill/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "drill": drill_json(drilled),
            "why": None if drilled is None or not drilled.failed else drilled.why,
        }


def _tiers(text: str) -> tuple[Tier, ...]:
    try:
        return parse_tiers(text)
    except ValueError as error:
        raise SyncdError(f"{error}", id="SY-USE-01", fix='--keep "all 90d, daily 1y, monthly 5y"') from error


def _copies(text: str) -> int:
    if not is_number(text) or int(text) > MAX_COPIES:
        raise SyncdError(f"{text!r} is no number of copies", id="SY-USE-01", fix=f"--copies 0, up to {MAX_COPIES}")
    return int(text)


def _space(text: str) -> int | None:
    """`10G`, or `none`."""
    if text == "none":
        return None
    number, unit = text[:-1], text[-1:].upper()
    if unit not in _UNITS or not is_number(number):
        raise SyncdError(f"{text!r} is not a size", id="SY-USE-01", fix="--space 500M, 20G, 1T or none")
    return int(number) * _UNITS[unit]
