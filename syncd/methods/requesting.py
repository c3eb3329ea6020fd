"""Async. Everything that waits for a person: who asks to join, and waves that the brake holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ca.device import device_text, device_words
from ca.ids import FolderId
from syncd.daemon.app import Daemon
from syncd.daemon.joinrequests import JoinRequest
from syncd.daemon.running import RunningFolder
from syncd.daemon.views import moment
from syncd.methods.governing import role_untrusted
from syncd.store import late
from syncd.store.waves import Held, has_changed

Json = dict[str, Any]
Params = Mapping[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]


class Requests:
    """The methods of the control socket that answer what waits."""

    def __init__(self, daemon: Daemon, find_folder: Callable[[str | None, str | None], RunningFolder]) -> None:
        self._daemon = daemon
        self._find_folder = find_folder

    async def requests(self, params: Params, progress: Progress) -> Json:
        """Everything that waits for a person."""
        wanted = self._maybe_folder(params)
        listed = [request_json(self._daemon, request) for request in self._daemon.inviter.requests(wanted)]
        for folder in self._daemon.folders:
            if folder.task is None or wanted not in (None, folder.id):
                continue
            for held in await folder.task.waves.shown():
                listed.append(
                    {
                        "id": _held_id(folder, held),
                        "kind": "held",
                        "folder": folder.id.hex(),
                        "name": folder.name,
                        "since": moment(held.since),
                        "author": _author(folder, held.origin),
                        "files": held.files,
                        "of_files": held.of_files,
                        "why": held.why.value,
                        "passed": held.passed,
                        "paths": await folder.task.waves.held_paths(held.key),
                        "direction": "here" if held.origin == "here" else "there",
                    }
                )
            listed += [_late_json(folder, one) for one in await folder.task.db(late.db_late, folder.task.store)]
        return {"schema": "syncd.requests/1", "requests": listed}

    async def approve(self, params: Params, progress: Progress) -> Json:
        """Let a joiner in, or a held wave pass."""
        held = await self._held(params["id"])
        if held is not None:
            folder, wave = held
            assert folder.task is not None
            is_for_all = await folder.task.waves.approve(wave)
            answer = _answer("approve", params["id"], "held", folder.id, folder.name, None)
            return answer | {"everywhere": is_for_all}
        waiting = await self._late(params["id"])
        if waiting is not None:
            folder, one = waiting
            await _let_count(folder, one)
            who = _late_author(folder, one)
            return _answer("approve", params["id"], "late", folder.id, folder.name, who) | {"everywhere": True}
        role = None if params["role"] is None else role_untrusted(params["role"])
        request = await self._daemon.inviter.approve(params["id"], role)
        return self._answered("approve", request) | {"everywhere": None}

    async def deny(self, params: Params, progress: Progress) -> Json:
        """Turn a joiner away, or undo a held wave."""
        held = await self._held(params["id"])
        if held is not None:
            folder, wave = held
            assert folder.task is not None
            not_restored = await folder.task.waves.deny(wave)
            answer = _answer("deny", params["id"], "held", folder.id, folder.name, None)
            return answer | {"not_restored": not_restored}
        if (waiting := await self._late(params["id"])) is not None:
            folder, one = waiting
            await _leave_apart(folder, one)
            answer = _answer("deny", params["id"], "late", folder.id, folder.name, _late_author(folder, one))
            return answer | {"not_restored": 0}
        return self._answered("deny", await self._daemon.inviter.deny(params["id"])) | {"not_restored": 0}

    def waiting(self) -> dict[FolderId, int]:
        """How many joiners wait, by folder."""
        waiting: dict[FolderId, int] = {}
        for request in self._daemon.inviter.requests():
            waiting[request.folder] = waiting.get(request.folder, 0) + 1
        return waiting

    async def _held(self, id_: str) -> tuple[RunningFolder, str] | None:
        for folder in self._daemon.folders:
            if folder.task is not None:
                for held in await folder.task.waves.held():
                    if id_ == _held_id(folder, held):
                        return folder, held.id
                    if id_.rpartition("-")[0] == _held_id(folder, held).rpartition("-")[0]:
                        raise has_changed(held)
        return None

    async def _late(self, id_: str) -> tuple[RunningFolder, late.Late] | None:
        for folder in self._daemon.folders:
            if folder.task is not None:
                for one in await folder.task.db(late.db_late, folder.task.store):
                    if id_ == _late_id(folder, one):
                        return folder, one
                    if id_.rpartition("-")[0] == _late_id(folder, one).rpartition("-")[0]:
                        raise late.has_grown(one)
        return None

    def _maybe_folder(self, params: Params) -> FolderId | None:
        if params["folder"] is None:
            return None
        return self._find_folder(params["folder"], params["cwd"]).id

    def _answered(self, verb: str, request: JoinRequest) -> Json:
        folder = self._daemon.folder(request.folder)
        name = "" if folder is None else folder.name
        return _answer(verb, request.id, "join", request.folder, name, request.member_name)


def request_json(daemon: Daemon, request: JoinRequest) -> Json:
    """A joiner who asks, as people see it."""
    folder = daemon.folder(request.folder)
    return {
        "id": request.id,
        "kind": "join",
        "folder": request.folder.hex(),
        "name": "" if folder is None else folder.name,
        "since": moment(request.since),
        "member": request.member_name,
        "host": request.host,
        "system": request.system,
        "address": request.address,
        "words": device_words(request.device.id),
        "role": request.role.name.lower(),
    }


def _answer(verb: str, id_: str, kind: str, folder: FolderId, name: str, member: str | None) -> Json:
    return {
        "schema": f"syncd.{verb}/1",
        "id": id_,
        "kind": kind,
        "folder": folder.hex(),
        "name": name,
        "member": member,
    }


def _held_id(folder: RunningFolder, held: Held) -> str:
    """Short, typeable, and of one folder and one set of changes only."""
    return f"{held.key}-{folder.id.hex()[:4]}-{held.mark}"


def _late_id(folder: RunningFolder, one: late.Late) -> str:
    return f"late-{one.device.hex()[:8]}-{folder.id.hex()[:4]}-{one.newest:x}"


def _late_author(folder: RunningFolder, one: late.Late) -> str:
    return folder.membership.member_name(one.device) or one.author or device_text(one.device)


def _late_json(folder: RunningFolder, one: late.Late) -> Json:
    """What is kept apart of one device, as people are asked about it."""
    return {
        "id": _late_id(folder, one),
        "kind": "late",
        "folder": folder.id.hex(),
        "name": folder.name,
        "since": moment(one.since_ms / 1000),
        "author": _late_author(folder, one),
        "changes": one.changesets,
        "bytes": one.size_bytes,
        "denied": one.denied,
    }


async def _leave_apart(folder: RunningFolder, one: late.Late) -> None:
    task = folder.task
    assert task is not None
    await task.db(late.db_leave_apart, task.store, one)
    await task.recount()
    task.tell()


async def _let_count(folder: RunningFolder, one: late.Late) -> None:
    task = folder.task
    assert task is not None
    await task.db(late.db_let_count, task.store, one, task.now_ms())
    task.announce(await task.db(task.store.journal.newest_seq))
    await task.on_audit("late changes approved", _late_author(folder, one))
    await task.recount()
    task.wake_plan()
    task.tell()


def _author(folder: RunningFolder, origin: str) -> str:
    for device in folder.membership.devices():
        if device.id.hex() == origin:
            return folder.membership.member_name(device.id)
    return "this computer" if origin == "here" else origin[:8]
