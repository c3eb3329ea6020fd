"""Async. What whoever looks after this daemon asks of it: the doctor's findings, its settings, a test of the hooks."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from ca.device import device_text
from ca.ids import DeviceId
from ca.roles import Role
from ca.state import Status
from syncd import __version__
from syncd.checks import Check, installation_checks
from syncd.config import RELOADABLE_KEYS, settings_with_origin
from syncd.daemon.app import Daemon
from syncd.daemon.people import MemberInfo
from syncd.daemon.running import RunningFolder
from syncd.daemon.service import reload
from syncd.daemon.systemd import ServiceManager
from syncd.daemon.views import Json, apart_lines, as_text, folder_problems, moment
from syncd.folder.folder import State
from syncd.methods.alerting import notification
from syncd.methods.attacks import attack_checks
from syncd.methods.inventory import DAY_S, UNUSED_DAYS, Holder, Keys, key_checks

Params = Mapping[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]
FindFolder = Callable[[str | None, str | None], RunningFolder]


class Operating:
    """The methods of the control socket that are about the daemon and not about folders."""

    def __init__(self, daemon: Daemon, manager: ServiceManager, find: FindFolder) -> None:
        self._daemon = daemon
        self._manager = manager
        self._find = find

    async def doctor(self, params: Params, progress: Progress) -> Json:
        daemon = self._daemon
        paths = [as_text(folder.row.path) for folder in daemon.folders]
        outside = await daemon.seams.workers.run_blocking(self._installation_checks, paths)
        own = [Check("daemon", True, f"syncd {__version__} listens on {', '.join(daemon.listening)}")]
        own += [Check("daemon", False, problem.why, problem.fix, problem.id) for problem in daemon.problems.values()]
        own += attack_checks(daemon.refusals, daemon.seams.clock.now())
        for folder in daemon.folders:
            own += _folder_checks(daemon, folder)
        checks = [check.as_json() for check in [*own, *outside]]
        return {"schema": "syncd.doctor/1", "ok": all(check["ok"] for check in checks), "checks": checks}

    def _installation_checks(self, paths: list[str]) -> list[Check]:
        return installation_checks(self._daemon.settings.home, paths, daemon_runs=True)

    async def keys(self, params: Params, progress: Progress) -> Json:
        """Which keys there are: of what age, until when, and who has them."""
        daemon, named = self._daemon, params["folder"]
        folders = daemon.folders if named is None else [self._find(named, params["cwd"])]
        now = daemon.seams.clock.now()
        days = UNUSED_DAYS if params["unused_s"] is None else int(params["unused_s"] // DAY_S)
        return {
            "schema": "syncd.key.list/1",
            "folders": [{"folder": one.id.hex(), **_keys(daemon, one).as_json(now, days)} for one in folders],
        }

    async def config_show(self, params: Params, progress: Progress) -> Json:
        run = self._daemon.seams.workers.run_blocking
        return {"settings": await run(settings_with_origin, self._daemon.settings.home)}

    async def config_set(self, params: Params, progress: Progress) -> Json:
        """Change one setting in the file, as `syncd config set` does without a daemon; null takes it out."""
        home, dry_run = self._daemon.settings.home, params["dry_run"]
        from syncd.configfile import change_setting  # loads tomlkit, which only a change of the file needs

        change = functools.partial(change_setting, home, params["key"], params["value"], dry_run=dry_run)
        await self._daemon.seams.workers.run_blocking(change)
        if not dry_run:
            await reload(self._daemon, self._manager)
        return {"schema": "syncd.config.set/1", "key": params["key"], "at_once": params["key"] in RELOADABLE_KEYS}

    async def config_reload(self, params: Params, progress: Progress) -> Json:
        await reload(self._daemon, self._manager)
        return {"schema": "syncd.config.reload/1"}

    async def notify_test(self, params: Params, progress: Progress) -> Json:
        from syncd.daemon.hooks import HookFailed, deliver, described  # clients for web and mail, needed here alone

        daemon, told = self._daemon, []
        text, fix = "This is a test: alarms of syncd arrive here.", "nothing"
        for hook in daemon.settings.hooks:
            why: str | None = None
            try:
                run = daemon.seams.workers.run_blocking
                await run(deliver, hook.target, notification(daemon, "test", text, fix))
            except HookFailed as error:
                why = error.why
            told.append({"target": described(hook.target), "why": why})
        return {"schema": "syncd.notify/1", "told": told}


def _folder_checks(daemon: Daemon, folder: RunningFolder) -> list[Check]:
    """What stands in its way, and whether anybody else has what is in it."""
    name = f"folder {folder.name}"
    found = [
        Check(name, False, (f"{one['path']}: " if one["path"] else "") + one["why"], one["try"] or "", one["id"])
        for one in folder_problems(folder)
    ]
    others = folder.membership.devices()
    connected = 0 if folder.task is None else len(folder.task.links)
    if folder.state is State.PAUSED:
        why, fix = "it is paused: nothing is looked at, sent or received", f"syncd resume {folder.name}"
        found.append(Check(name, False, why, fix, "SY-FIND-05"))
    elif others and not connected:
        why = f"none of its {len(others)} other devices is connected"
        fix = "start syncd there; if it runs, see that one of the two can reach the other:  syncd peers"
        found.append(Check(name, False, why, fix, "SY-PEER-01"))
    through = sum(bool(contact.through) for contact in daemon.contacts(folder.id).values())
    reached = f"{connected} of {len(others)} other devices are connected" if others else "nobody else is a member"
    if through:
        reached += f", {through} more are reached through them"
    found += _drill_check(name, folder)
    found += key_checks(_keys(daemon, folder), daemon.seams.clock.now())
    found += [Check(name, True, told) for told in apart_lines(folder)]
    return (
        found
        if any(not check.ok for check in found)
        else [Check(name, True, f"{folder.state.value}; {reached}"), *found]
    )


def _keys(daemon: Daemon, folder: RunningFolder) -> Keys:
    membership, contacts = folder.membership, daemon.contacts(folder.id)
    members = membership.members()
    holders = [
        Holder(
            membership.member_name(device.id),
            membership.device_name(device.id),
            None if (contact := contacts.get(device.id)) is None else contact.last_seen,
            device_text(device.id),
            "" if (role := membership.role_of(device.id)) is None else role.name.lower(),
            _since(members, device.id),
            contact is not None and contact.is_reached,
        )
        for device in membership.devices()
    ]
    owners = sum(member.role is Role.OWNER and member.status is Status.ACTIVE for member in members)
    epoch = membership.epoch
    recovery = [device_text(key.id) for key in membership.roster.recovery]
    return Keys(folder.name, epoch.number, epoch.opened_at, epoch.valid_until, owners, len(members), holders, recovery)


def _since(members: Sequence[MemberInfo], device: DeviceId) -> int:
    return next((one.since for one in members if any(own.id == device for own in one.devices)), 0)


def _drill_check(name: str, folder: RunningFolder) -> list[Check]:
    """How old the last restore drill is. (One that failed is among the problems.)"""
    last = None if folder.task is None else folder.task.driller.last
    if last is None or last.failed:
        return []
    return [Check(name, True, f"restore drill of {moment(last.at)}: {last.files} files were as they should be")]
