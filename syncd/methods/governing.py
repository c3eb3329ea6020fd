"""Async. The methods of the control socket that change who may do what: members, devices, lockdown, forks, recovery.

Each hands the new entry to everybody who can be reached before it answers, and says who could not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

from ca import recovery
from ca.device import device_text
from ca.ids import DeviceId
from ca.roles import USUAL_CAPABILITIES, Action, Capability, Role, fits
from syncd.daemon.naming import device_named, member_named
from syncd.daemon.people import MemberInfo
from syncd.daemon.running import RunningFolder
from syncd.daemon.views import Json, moment
from syncd.errors import SyncdError, TrustError
from syncd.methods.enrolling import newcomers_untrusted, read_list
from syncd.wording import escape

if TYPE_CHECKING:
    from syncd.daemon.app import Daemon

Params = Mapping[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]
Push = Callable[[RunningFolder], Awaitable[list[str]]]


class Governing:
    """A part of the control socket's methods."""

    def __init__(
        self, daemon: Daemon, find_folder: Callable[[str | None, str | None], RunningFolder], push: Push
    ) -> None:
        self._daemon = daemon
        self._find_folder = find_folder
        self._push = push

    # members -------------------------------------------------------------------------------------------------

    async def remove(self, params: Params, progress: Progress) -> Json:
        """Take a member out for good."""
        folder = self._find_folder(params["folder"], None)
        member = self._other(folder, params["member"], Action.REMOVE, "remove a member")
        if not params["dry_run"]:
            await folder.membership.remove(member.id, await _heads(folder))
        return await self._answer("member.remove", folder, member, params["dry_run"])

    async def enroll(self, params: Params, progress: Progress) -> Json:
        """Admit everybody in a list, by one entry."""
        folder = self._find_folder(params["folder"], None)
        membership = folder.membership
        if not membership.may(Action.ADMIT):
            raise TrustError("your role does not allow to admit anybody", id="SY-SHARE-04")
        people = newcomers_untrusted(await self._daemon.installation.workers.run_blocking(read_list, params["file"]))
        here = [one for one in people if membership.roster.device(one.devices[0][0].id) is not None]
        people = [one for one in people if one not in here]
        pending: list[str] = []
        if people and not params["dry_run"]:
            await membership.enroll(people)
            pending = await self._push(folder)
        return {
            "schema": "syncd.member.add/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "added": [one.name for one in people],
            "known": len(here),
            "epoch": membership.epoch.number,
            "epoch_id": membership.epoch.id.hex(),
            "pending": pending,
        }

    async def change(self, params: Params, progress: Progress) -> Json:
        """Another role, a suspension or its end, or an end of the membership."""
        folder = self._find_folder(params["folder"], None)
        membership, what, dry_run = folder.membership, params["what"], params["dry_run"]
        match what:
            case "role":
                member = self._other(folder, params["member"], Action.CHANGE_ROLE, "change a role")
                role = role_untrusted(params["role"])
                capabilities = _capabilities(role, params["can"], params["cannot"])
                if not dry_run:
                    await membership.change_role(member.id, role, capabilities, await _heads(folder))
            case "suspend":
                member = self._other(folder, params["member"], Action.REMOVE, "suspend a member")
                if not dry_run:
                    await membership.suspend(member.id, await _heads(folder))
            case "reactivate":
                member = self._other(folder, params["member"], Action.ADMIT, "reactivate a member")
                if not dry_run:
                    await membership.reactivate(member.id)
            case _:
                member = self._other(folder, params["member"], Action.CHANGE_ROLE, "end a membership")
                until = params["until"]
                if not dry_run:
                    await membership.expire(member.id, None if until is None else int(until))
        return await self._answer("member.change", folder, member, dry_run)

    def _other(self, folder: RunningFolder, name: str, action: Action, words: str) -> MemberInfo:
        member = member_named(folder.membership, name)
        if member.is_us:
            why = "Nobody changes their own membership; one can only leave."
            raise SyncdError("this is you", id="SY-SHARE-04", why=why, fix="ask another owner or admin, or leave")
        if not folder.membership.may(action):
            raise TrustError(f"your role does not allow to {words}", id="SY-SHARE-04")
        return member

    async def _answer(self, verb: str, folder: RunningFolder, before: MemberInfo, dry_run: bool) -> Json:
        membership = folder.membership
        if dry_run:
            pending = [other.name for other in membership.members() if not other.is_us and other.id != before.id]
        else:
            pending = await self._push(folder)
        found = membership.roster.members.get(before.id)
        return {
            "schema": f"syncd.{verb}/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "member": {
                "id": before.id.hex(),
                "name": before.name,
                "role": (before.role if found is None else found.role).name.lower(),
                "status": (before.status if found is None else found.status).value,
                "until": None if found is None or found.until is None else moment(found.until),
                "devices": len(before.devices),
            },
            "epoch": membership.epoch.number,
            "epoch_id": membership.epoch.id.hex(),
            "pending": pending,
        }

    async def rotate(self, params: Params, progress: Progress) -> Json:
        """Open an epoch."""
        folder = self._find_folder(params["folder"], params["cwd"])
        membership = folder.membership
        if not membership.may(Action.OPEN_EPOCH):
            raise TrustError("your role does not allow to rotate", id="SY-SHARE-04")
        before = membership.epoch.number
        await membership.rotate()
        pending = await self._push(folder)
        names = [member.name for member in membership.members() if not member.is_us]
        return {
            "schema": "syncd.rotate/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "from": before,
            "epoch": membership.epoch.number,
            "epoch_id": membership.epoch.id.hex(),
            "peers": [{"name": name, "has": name not in pending} for name in names],
        }

    # devices -------------------------------------------------------------------------------------------------

    async def archive(self, params: Params, progress: Progress) -> Json:
        """Take out one device for good; what it wrote stays."""
        folder = self._find_folder(params["folder"], None)
        device = device_named(folder.membership, params["device"])
        if device.id == folder.membership.device:
            raise SyncdError("this is the device you are at", id="SY-SHARE-04", fix="syncd folder leave")
        pending: list[str] = []
        if not params["dry_run"]:
            await folder.membership.take_out_device(device.id, await _heads(folder))
            pending = await self._push(folder)
        return {
            "schema": "syncd.device.archive/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "device": {"id": device_text(device.id), "name": device.name},
            "epoch": folder.membership.epoch.number,
            "pending": pending,
        }

    async def lockdown(self, params: Params, progress: Progress) -> Json:
        """Take out one device in every folder at once."""
        id = self._device_anywhere(params["device"])
        folders: list[Json] = []
        for folder in self._daemon.folders:
            found = folder.membership.roster.device(id)
            if found is None:
                continue
            why = None
            if not params["dry_run"]:
                try:
                    await folder.membership.take_out_device(id, await _heads(folder))
                except TrustError as error:
                    why = error.what
            folders.append({"folder": folder.id.hex(), "name": folder.name, "out": why is None, "why": why})
        pending = set()
        if not params["dry_run"]:
            for folder in self._daemon.folders:
                if any(one["folder"] == folder.id.hex() and one["out"] for one in folders):
                    pending |= set(await self._push(folder))
        return {
            "schema": "syncd.lockdown/1",
            "device": {"id": device_text(id), "name": self._device_name(id)},
            "folders": folders,
            "pending": sorted(pending),
        }

    def _device_anywhere(self, name: str) -> DeviceId:
        ids: set[DeviceId] = set()
        trouble: SyncdError | None = None
        for folder in self._daemon.folders:
            try:
                ids.add(device_named(folder.membership, name).id)
            except SyncdError as error:
                trouble = error if trouble is None or error.id == "SY-FIND-02" else trouble
        if ids == {self._daemon.installation.id}:
            raise SyncdError("this is the device you are at", id="SY-SHARE-04", fix="syncd folder leave")
        ids.discard(self._daemon.installation.id)
        if len(ids) > 1:
            texts = ", ".join(sorted(device_text(id)[:13] for id in ids))
            raise SyncdError(f"{name} is not the name of one device only", id="SY-FIND-02", why=f"it could be {texts}")
        if not ids:
            raise trouble or SyncdError(f"there is no device {name}", id="SY-FIND-01")
        return ids.pop()

    def _device_name(self, device: DeviceId) -> str:
        names = [folder.membership.device_name(device) for folder in self._daemon.folders]
        return next((name for name in names if name), "")

    # forks and recovery --------------------------------------------------------------------------------------

    async def decide(self, params: Params, progress: Progress) -> Json:
        """In a quarrel of two owners, say whose history counts."""
        folder = self._find_folder(params["folder"], None)
        membership = folder.membership
        roster = membership.roster
        if not roster.quarrel:
            raise SyncdError(f"{folder.name} has one history", id="SY-FORK-02", why="there is nothing to decide")
        kept = member_named(membership, params["keep"])
        place = roster.branch_that_keeps(kept.id)
        if kept.id not in roster.quarrel or place is None:
            raise SyncdError(f"{kept.name} is not one of those who took out each other", id="SY-FORK-02")
        gone = sorted(one.name for one in membership.everybody() if one.id in roster.quarrel and one.id != kept.id)
        if not params["dry_run"]:
            await membership.decide(None if place < 0 else place)
        return {
            "schema": "syncd.folder.decide/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "kept": kept.name,
            "gone": gone,
            "pending": [] if params["dry_run"] else await self._push(folder),
        }

    async def recover(self, params: Params, progress: Progress) -> Json:
        """By the printed key: a fresh epoch for the devices that stay, and an owner."""
        folder = self._find_folder(params["folder"], params["cwd"])
        membership = folder.membership
        roster = membership.roster
        key = recovery.parse(params["words"])
        if key.id not in {public.id for public in roster.recovery}:
            raise TrustError("this is the recovery key of another folder", id="SY-TRUST-01")
        staying = self._staying(folder, params["keep"])
        us = roster.device(membership.device)
        if us is None:
            raise TrustError("this device is no longer a member", id="SY-TRUST-02")
        newest = roster.entries[-1]
        result: Json = {
            "schema": "syncd.recover/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "state": {"date": moment(newest.time), "entry": newest.number, "source": "this device"},
            "owner": membership.member_name(membership.device),
            "stays": [_device_json(folder, device) for device in staying],
            "goes": [_device_json(folder, one.id) for one in membership.devices() if one.id not in staying],
            "pending": [],
        }
        if not params["dry_run"]:
            await membership.recover(key, staying, us[0].id, await _heads(folder))
            result["pending"] = await self._push(folder)
        return {**result, "epoch": membership.epoch.number}

    def _staying(self, folder: RunningFolder, names: Sequence[str]) -> list[DeviceId]:
        staying = {folder.membership.device}
        for name in names:
            staying |= {device.id for device in member_named(folder.membership, name).devices}
        return sorted(staying)


def _device_json(folder: RunningFolder, device: DeviceId) -> Json:
    membership = folder.membership
    return {"id": device_text(device), "name": membership.device_name(device), "member": membership.member_name(device)}


def role_untrusted(name: str | None) -> Role:
    """Raises SyncdError SY-USE-01 for a word that is no role."""
    found = Role.__members__.get((name or "").upper())
    if found is None:
        known = ", ".join(role.name.lower() for role in reversed(Role))
        raise SyncdError(f"there is no role {escape((name or '')[:40])!r}", id="SY-USE-01", fix=f"there are {known}")
    return found


def _capabilities(role: Role, can: Sequence[str], cannot: Sequence[str]) -> Capability | None:
    """The usual capabilities of a role with some more and some less; None for the usual ones."""
    if not can and not cannot:
        return None
    more, less = (reduce(or_, map(_capability, names), Capability.NONE) for names in (can, cannot))
    given = (USUAL_CAPABILITIES[role] | more) & ~less
    if not fits(role, given):
        raise SyncdError(f"the role {role.name.lower()} cannot have this", id="SY-SHARE-07")
    return given


def _capability(name: str) -> Capability:
    try:
        return Capability[name.upper()]
    except KeyError:
        known = ", ".join(str(one.name).lower() for one in Capability if one.name)
        raise SyncdError(f"there is no right called {name}", id="SY-SHARE-07", why=f"there are {known}") from None


async def _heads(folder: RunningFolder) -> Any:
    """The newest changesets known, which a removal seals."""
    return [] if folder.task is None else await folder.task.journal_heads()
