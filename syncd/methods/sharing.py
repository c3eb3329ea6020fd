"""Async. Sharing as a person does it: make a folder of a directory, open an invitation, see who comes."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from functools import partial
from typing import Any

import trio

from ca.device import device_words
from ca.ids import FolderId
from ca.roles import Role
from ca.values import dataclass
from syncd.daemon.app import Daemon
from syncd.daemon.beginning import create_folder
from syncd.daemon.inviting import AttemptFailed, InviterEvent, Joined, Requested
from syncd.daemon.running import RunningFolder, absolute, refuse_ours, refuse_root
from syncd.daemon.views import as_text, moment
from syncd.engine.invites import Invite
from syncd.errors import ConfigError, SyncdError
from syncd.folder.folder import FolderTask
from syncd.methods.governing import role_untrusted
from syncd.methods.requesting import request_json
from syncd.methods.transferring import Transfer
from syncd.treetypes import RootState, TreeError

Json = dict[str, Any]
Params = Mapping[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]

FIRST_SCAN_S = 0.05
"""What `share --no-wait` gives the first scan, for a summary of a small folder; it goes on behind."""
PROGRESS_S = 0.25


@dataclass(slots=True)
class _Listener:
    """Someone who runs `share` and wants to hear of one invitation."""

    invite: bytes
    send: trio.MemorySendChannel[InviterEvent] = field(repr=False)


class Sharing:
    """The methods of the control socket that concern invitations."""

    def __init__(self, daemon: Daemon, find_folder: Callable[[str | None, str | None], RunningFolder]) -> None:
        self._daemon = daemon
        self._find_folder = find_folder
        self._listeners: list[_Listener] = []
        daemon.inviter.on_event.append(self._heard)

    # share ---------------------------------------------------------------------------------------------------

    async def share(self, params: Params, progress: Progress) -> Json:
        """Make a folder of a directory, or take one that is there, and open an invitation to it."""
        daemon = self._daemon
        path = absolute(params["path"])
        folder = next((f for f in daemon.folders if f.row.path == path), None)
        if folder is None and params["target"] is not None:
            folder = next((f for f in daemon.folders if f.name == params["target"]), None)
        if folder is None:
            await refuse_root(path, daemon.folders, os.fsencode(daemon.settings.home), daemon.seams.workers)
            await self._refuse_unusable(path)
            if params["dry_run"]:
                return await self._share_preview(params, path)
            folder = await self._new_folder(path, params["name"])
        if folder.why_stopped is not None:
            raise folder.why_stopped.with_traceback(None)
        role = role_untrusted(params["role"])
        if params["dry_run"]:
            return _share_json(folder, role, None, None, None, params["uses"])
        await self._first_scan(folder, progress, None if params["wait"] else FIRST_SCAN_S)
        invite = await self._open(folder, role, params)
        code, link = self._texts(invite)
        result = _share_json(folder, role, code, link, invite, params["uses"])
        await progress(
            {
                "event": "invite",
                "folder": folder.id.hex(),
                "name": folder.name,
                "code": code,
                "link": link,
                "expires": moment(invite.expires),
            }
        )
        if params["wait"]:
            await self._accompany(folder, invite, progress)
        return result

    async def _open(self, folder: RunningFolder, role: Role, params: Params) -> Invite:
        inviter = self._daemon.inviter
        lifetime = {} if params["expires_s"] is None else {"lifetime_s": int(params["expires_s"])}
        if params["link"]:
            return await inviter.open_link(folder.id, role, uses=params["uses"], asks=not params["yes"], **lifetime)
        return await inviter.open_code(folder.id, role, **lifetime)

    def _texts(self, invite: Invite) -> tuple[str | None, str | None]:
        inviter = self._daemon.inviter
        if invite.is_code:
            return inviter.code_text(invite), None
        return None, inviter.link_text(invite, self._daemon.reachable_at())

    async def _new_folder(self, path: bytes, name: str | None) -> RunningFolder:
        daemon = self._daemon
        wanted = name or _as_name(os.path.basename(path)) or "folder"
        if any(folder.name == wanted for folder in daemon.folders):
            raise ConfigError(f"a folder is called {wanted} already", id="SY-SHARE-06", fix="give it another:  --name")
        device_name = daemon.settings.device_name
        row = daemon.new_row(path, wanted)
        membership = await create_folder(
            daemon.installation,
            folder_name=wanted,
            member_name=device_name,
            device_name=device_name,
            also=lambda db, id_: db.put_folder(row(id_)),
        )
        try:
            return await daemon.add_folder(membership, row(membership.folder_id), joined=False)
        except TreeError:
            await daemon.installation.on_disk(daemon.installation.db.forget_folder, membership.folder_id)
            raise

    async def _refuse_unusable(self, path: bytes) -> None:
        daemon = self._daemon
        open_tree = partial(daemon.seams.trees.open, home=str(daemon.settings.home))
        tree = open_tree(path)
        run = daemon.seams.workers.run_blocking
        try:
            state = await run(tree.check_root, None)
            if state is RootState.UNREADABLE:
                raise ConfigError(f"{as_text(path)} cannot be read", id="SY-ROOT-05")
            if state is not RootState.OK:
                raise ConfigError(f"{as_text(path)} is not a directory", id="SY-SHARE-01")
            await refuse_ours(path, tree, daemon.folders, daemon.installation, open_tree)
        finally:
            await run(tree.close)

    async def _share_preview(self, params: Params, path: bytes) -> Json:
        trees = self._daemon.seams.trees
        _, files, size = await self._daemon.seams.workers.run_blocking(trees.count, path)
        return {
            "schema": "syncd.share/1",
            "folder": None,
            "name": params["name"] or _as_name(os.path.basename(path)),
            "path": as_text(path),
            "role": params["role"],
            "code": None,
            "link": None,
            "expires": None,
            "uses": params["uses"],
            "files": files,
            "bytes": size,
        }

    async def _first_scan(self, folder: RunningFolder, progress: Progress, most_s: float | None) -> None:
        task = folder.task
        if task is None:
            return
        began = trio.current_time()

        async def report(done: bool) -> None:
            await progress(
                {
                    "event": "scan",
                    "files": task.counts.files,
                    "bytes": task.counts.size,
                    "done": done,
                    "seconds": round(trio.current_time() - began, 3),
                }
            )

        with trio.move_on_after(float("inf") if most_s is None else most_s):
            while task.progress.scans_done == 0 and folder.why_stopped is None:
                with trio.move_on_after(PROGRESS_S):
                    await task.changed()
                await report(False)
        await report(task.progress.scans_done > 0)

    async def _accompany(self, folder: RunningFolder, invite: Invite, progress: Progress) -> None:
        """Tell of everything that happens with an invitation, until somebody has joined and has everything."""
        send, receive = trio.open_memory_channel[InviterEvent](64)
        listener = _Listener(invite.id, send)
        self._listeners.append(listener)
        try:
            async for event in receive:
                match event:
                    case AttemptFailed():
                        await progress({"event": "attempt", "left": event.invite.guesses_left})
                    case Requested():
                        await progress({"event": "request", **request_json(self._daemon, event.request)})
                    case Joined():
                        name = folder.membership.member_name(event.device)
                        await progress(
                            {
                                "event": "joined",
                                "name": name,
                                "device": event.device.hex(),
                                "words": device_words(event.device),
                            }
                        )
                        await self._until_level(folder, event, name, progress)
                        return
        finally:
            self._listeners.remove(listener)

    async def _until_level(self, folder: RunningFolder, event: Joined, name: str, progress: Progress) -> None:
        task = folder.task
        if task is None:
            return
        transfer = Transfer(folder.id.hex(), name)
        while not task.peer_is_level(event.device):
            files, size = task.peer_needs.get(event.device, (task.counts.files, task.counts.size))
            await progress(
                transfer.line(task.counts.files - files, task.counts.files, task.counts.size - size, task.counts.size)
            )
            if task.is_settled:
                task.tell_now(event.device)  # also what it is said to know from others: it answers the sooner
            with trio.move_on_after(PROGRESS_S):
                await task.changed()
        await progress(transfer.line(task.counts.files, task.counts.files, task.counts.size, task.counts.size))

    def _heard(self, event: InviterEvent) -> None:
        match event:
            case Requested():
                id_ = event.request.invite
            case AttemptFailed() | Joined():
                id_ = event.invite.id
        for listener in self._listeners:
            if listener.invite == id_:
                try:
                    listener.send.send_nowait(event)
                except trio.WouldBlock:
                    continue  # whoever reads so slowly sees the state by `syncd requests`

    # invitations ---------------------------------------------------------------------------------------------

    async def invites(self, params: Params, progress: Progress) -> Json:
        """Open codes and links."""
        wanted = self._maybe_folder(params)
        listed = []
        for invite in self._daemon.inviter.invites(wanted):
            folder = self._daemon.folder(invite.folder)
            listed.append(
                {
                    "id": invite.id.hex(),
                    "folder": invite.folder.hex(),
                    "name": "" if folder is None else folder.name,
                    "kind": "code" if invite.is_code else "link",
                    "code": self._daemon.inviter.code_text(invite) if invite.is_code else None,
                    "role": invite.role.name.lower(),
                    "uses_left": invite.uses_left,
                    "attempts_left": invite.guesses_left if invite.is_code else None,
                    "opened": moment(invite.made),
                    "expires": moment(invite.expires),
                }
            )
        return {"schema": "syncd.invites/1", "invites": listed}

    async def revoke(self, params: Params, progress: Progress) -> Json:
        """Take an invitation back, named by id, id prefix or code."""
        inviter = self._daemon.inviter
        wanted = params["invite"].strip().lower()
        found = [
            invite
            for invite in inviter.invites()
            if invite.id.hex().startswith(wanted) or (invite.is_code and inviter.code_text(invite) == wanted)
        ]
        if len(found) != 1:
            id_ = "SY-FIND-01" if not found else "SY-FIND-02"
            raise SyncdError(f"no single invitation is called {params['invite']}", id=id_, fix="syncd invites")
        invite = await inviter.revoke(found[0].id)
        folder = self._daemon.folder(invite.folder)
        return {
            "schema": "syncd.invite.revoke/1",
            "id": invite.id.hex(),
            "folder": invite.folder.hex(),
            "name": "" if folder is None else folder.name,
        }

    def _maybe_folder(self, params: Params) -> FolderId | None:
        if params["folder"] is None:
            return None
        return self._find_folder(params["folder"], params["cwd"]).id


def _as_name(name: bytes) -> str:
    """What a folder is called after its directory; a name is text, and a directory's need not be."""
    return name.decode("utf-8", "replace").replace("\ufffd", "_")


def _share_json(
    folder: RunningFolder, role: Role, code: str | None, link: str | None, invite: Invite | None, uses: int
) -> Json:
    task: FolderTask | None = folder.task
    return {
        "schema": "syncd.share/1",
        "folder": folder.id.hex(),
        "name": folder.name,
        "path": as_text(folder.row.path),
        "role": role.name.lower(),
        "code": code,
        "link": link,
        "expires": None if invite is None else moment(invite.expires),
        "uses": uses,
        "files": 0 if task is None else task.counts.files,
        "bytes": 0 if task is None else task.counts.size,
    }
