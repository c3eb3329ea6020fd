"""Async. Sharing and joining as a person does it: invite, find, look before, join; and everything that waits for a
person."""

from __future__ import annotations

import os
import platform
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from ca.device import device_words
from ca.ids import FolderId
from ca.roles import Role
from syncd.daemon.app import Daemon
from syncd.daemon.beginning import create_folder
from syncd.daemon.explaining import compare
from syncd.daemon.folder import FolderTask
from syncd.daemon.inviting import AttemptFailed, InviterEvent, Joined, JoinRequest, Requested
from syncd.daemon.joining import Invitation, Joiner, network_dial
from syncd.daemon.membership import FolderMembership
from syncd.daemon.running import RunningFolder, refuse_root
from syncd.daemon.transferring import Transfer
from syncd.daemon.views import as_text, moment
from syncd.engine.invites import Invite
from syncd.errors import ConfigError, PeerUnavailable, SyncdError, TrustError
from syncd.protocol.links import Code, Link, parse_code_untrusted, parse_link_untrusted
from syncd.treetypes import RootState, TreeError

Json = dict[str, Any]
Params = Mapping[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]

FIRST_SCAN_S = 2.0
"""What `share --no-wait` gives the first scan, for a summary; it goes on behind."""
FIND_S = 20.0
HANDLE_LIFETIME_S = 15 * 60.0
PROGRESS_S = 0.25


@dataclass(slots=True)
class _Join:
    """A join between finding the folder and taking part in it."""

    invitation: Invitation
    began: float
    member_name: str
    folder: RunningFolder | None = None
    path: bytes = b""


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
        self._joins: dict[str, _Join] = {}
        self._listeners: list[_Listener] = []
        daemon.inviter.on_event.append(self._heard)

    # share ---------------------------------------------------------------------------------------------------

    async def share(self, params: Params, progress: Progress) -> Json:
        """Make a folder of a directory, or take one that is there, and open an invitation to it."""
        daemon = self._daemon
        path = _absolute(params["path"])
        folder = next((f for f in daemon.folders if f.row.path == path), None)
        if folder is None and params["target"] is not None:
            folder = next((f for f in daemon.folders if f.name == params["target"]), None)
        if folder is None:
            refuse_root(path, daemon.folders, os.fsencode(daemon.settings.home))
            await self._refuse_unusable(path)
            if params["dry_run"]:
                return await self._share_preview(params, path)
            folder = await self._new_folder(path, params["name"])
        if folder.why_stopped is not None:
            raise folder.why_stopped
        role = Role[params["role"].upper()]
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
        wanted = name or as_text(os.path.basename(path)) or "folder"
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
        tree = daemon.seams.trees.open(path, str(daemon.settings.home))
        run = daemon.seams.workers.run_blocking
        try:
            state = await run(tree.check_root, None)
            if state is RootState.UNREADABLE:
                raise ConfigError(f"{as_text(path)} cannot be read", id="SY-ROOT-05")
            if state is not RootState.OK:
                raise ConfigError(f"{as_text(path)} is not a directory", id="SY-SHARE-01")
        finally:
            await run(tree.close)

    async def _share_preview(self, params: Params, path: bytes) -> Json:
        trees = self._daemon.seams.trees
        _, files, size = await self._daemon.seams.workers.run_blocking(trees.count, path)
        return {
            "schema": "syncd.share/1",
            "folder": None,
            "name": params["name"] or as_text(os.path.basename(path)),
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
                        await progress({"event": "request", **self._request_json(event.request)})
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

    # invitations and requests --------------------------------------------------------------------------------

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

    async def requests(self, params: Params, progress: Progress) -> Json:
        """Everything that waits for a person."""
        wanted = self._maybe_folder(params)
        listed = [self._request_json(request) for request in self._daemon.inviter.requests(wanted)]
        for folder in self._daemon.folders:
            if folder.task is None or wanted not in (None, folder.id):
                continue
            for held in await folder.task.held():
                listed.append(
                    {
                        "id": _held_id(folder, held.id),
                        "kind": "held",
                        "folder": folder.id.hex(),
                        "name": folder.name,
                        "since": moment(held.since),
                        "author": _author(folder, held.origin),
                        "files": held.files,
                        "of_files": held.of_files,
                        "paths": await folder.task.held_paths(held.id),
                        "direction": "here" if held.origin == "here" else "there",
                    }
                )
        return {"schema": "syncd.requests/1", "requests": listed}

    async def approve(self, params: Params, progress: Progress) -> Json:
        """Let a joiner in, or a held wave pass."""
        held = await self._held(params["id"])
        if held is not None:
            folder, wave = held
            assert folder.task is not None
            await folder.task.approve(wave)
            return _answer("approve", params["id"], "held", folder.id, folder.name, None)
        role = None if params["role"] is None else Role[params["role"].upper()]
        request = await self._daemon.inviter.approve(params["id"], role)
        return self._answered("approve", request)

    async def deny(self, params: Params, progress: Progress) -> Json:
        """Turn a joiner away, or undo a held wave."""
        held = await self._held(params["id"])
        if held is not None:
            folder, wave = held
            assert folder.task is not None
            await folder.task.deny(wave)
            return _answer("deny", params["id"], "held", folder.id, folder.name, None)
        return self._answered("deny", await self._daemon.inviter.deny(params["id"]))

    def waiting_requests(self) -> dict[FolderId, int]:
        """How many joiners wait, by folder."""
        waiting: dict[FolderId, int] = {}
        for request in self._daemon.inviter.requests():
            waiting[request.folder] = waiting.get(request.folder, 0) + 1
        return waiting

    async def _held(self, id_: str) -> tuple[RunningFolder, str] | None:
        for folder in self._daemon.folders:
            if folder.task is not None:
                for held in await folder.task.held():
                    if id_ in (held.id, _held_id(folder, held.id)):
                        return folder, held.id
        return None

    def _maybe_folder(self, params: Params) -> FolderId | None:
        if params["folder"] is None:
            return None
        return self._find_folder(params["folder"], params["cwd"]).id

    def _request_json(self, request: JoinRequest) -> Json:
        folder = self._daemon.folder(request.folder)
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

    def _answered(self, verb: str, request: JoinRequest) -> Json:
        folder = self._daemon.folder(request.folder)
        name = "" if folder is None else folder.name
        return _answer(verb, request.id, "join", request.folder, name, request.member_name)

    # join ----------------------------------------------------------------------------------------------------

    async def find(self, params: Params, progress: Progress) -> Json:
        """Follow a code or link to the folder it leads to; nothing is asked for yet."""
        daemon = self._daemon
        self._forget_stale()
        await progress({"event": "phase", "phase": "looking"})
        ticket: Code | Link
        if params["link"] is not None:
            ticket = parse_link_untrusted(params["link"])
        else:
            ticket = parse_code_untrusted(params["code"] or "")
        host = platform.node()
        joiner = Joiner(
            daemon.installation,
            ticket,
            network_dial(daemon.seams.network, daemon.seams.clock),
            host=host,
            system=platform.system(),
        )
        invitation: Invitation | None = None
        with trio.move_on_after(FIND_S):
            invitation = await joiner.find(
                self._addresses(ticket, params["via"]), is_known=lambda id_: daemon.folder(id_) is not None
            )
        if invitation is None:
            raise PeerUnavailable("the inviter did not answer in time", id="SY-PAIR-08")
        handle = daemon.seams.random.token(8).hex()
        name = params["as"] or daemon.settings.device_name
        self._joins[handle] = _Join(invitation, daemon.seams.clock.monotonic(), name)
        offer = invitation.offer
        return {
            "join": handle,
            "folder": offer.folder.hex(),
            "name": offer.folder_name,
            "role": offer.role.name.lower(),
            "inviter": {
                "name": offer.inviter,
                "words": device_words(offer.device.id),
                "address": invitation.address,
            },
            "files": offer.files,
            "bytes": offer.size_bytes,
            "path": _suggested(offer.folder_name),
        }

    async def _addresses(self, ticket: Code | Link, via: Sequence[str]) -> AsyncGenerator[Sequence[str], None]:
        if via:
            yield via
        if isinstance(ticket, Link):
            yield ticket.addresses
        if isinstance(ticket, Code) and self._daemon.settings.peers:
            yield self._daemon.settings.peers
        if isinstance(ticket, Code) and self._daemon.settings.discovery and not via:
            async for group in self._daemon.announced(ticket.number):
                yield group

    async def preview(self, params: Params, progress: Progress) -> Json:
        """What joining into a directory would do to it."""
        join = self._join(params["join"])
        path = _absolute(params["path"])
        refuse_root(path, [f for f in self._daemon.folders if f is not join.folder], self._home())
        state, empty = await self._target(path)
        answer: Json = {"path": as_text(path), "exists": state is RootState.OK, "empty": empty}
        nothing = dict.fromkeys(("same", "only_here", "differ", "fetch_bytes", "fetch_files"))
        if empty:
            return {**answer, **nothing}
        folder = await self._enter(join, path, progress, held=True)
        await progress({"event": "phase", "phase": "metadata"})
        assert folder.task is not None
        while not folder.task.heads_reached:
            await folder.task.changed()
        await progress({"event": "phase", "phase": "comparing"})
        return {**answer, **await compare(folder.task)}

    async def join(self, params: Params, progress: Progress) -> Json:
        """Take part in a folder."""
        join = self._join(params["join"])
        path = _absolute(params["path"])
        others = [folder for folder in self._daemon.folders if folder is not join.folder]
        refuse_root(path, others, self._home())
        await self._target(path)
        folder = await self._enter(join, path, progress, held=False, name=params["name"])
        self._joins.pop(params["join"], None)
        await progress({"event": "phase", "phase": "admitted"})
        task = folder.task
        assert task is not None
        task.go()
        if params["wait"]:
            transfer = Transfer(folder.id.hex(), None)
            while not (task.is_settled and task.heads_reached) and folder.why_stopped is None:
                counts = task.counts
                await progress(
                    transfer.line(
                        counts.files, counts.files + counts.need_files, counts.size, counts.size + counts.need_bytes
                    )
                )
                with trio.move_on_after(PROGRESS_S):
                    await task.changed()
        role = folder.membership.role_of(folder.membership.device)
        return {
            "schema": "syncd.join/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "path": as_text(folder.row.path),
            "role": None if role is None else role.name.lower(),
            "epoch": folder.membership.epoch.number,
            "synced": task.is_settled and task.heads_reached,
        }

    async def cancel(self, params: Params, progress: Progress) -> Json:
        """Forget a join; leave again if we were let in already."""
        join = self._joins.pop(params["join"], None)
        if join is not None:
            await join.invitation.aclose()
            if join.folder is not None:
                await self._leave(join.folder)
        return {}

    async def _leave(self, folder: RunningFolder) -> None:
        membership: FolderMembership = folder.membership
        heads = [] if folder.task is None else await folder.task.journal_heads()
        try:
            await membership.leave(heads)
            keeper = self._daemon.keeper(folder.id)
            if keeper is not None:
                with trio.move_on_after(3):
                    await keeper.push()
        finally:
            await self._daemon.remove_folder(folder)

    async def _enter(
        self, join: _Join, path: bytes, progress: Progress, *, held: bool, name: str | None = None
    ) -> RunningFolder:
        """Be admitted, once, and have the folder run; `held`: it looks at nothing and changes nothing yet."""
        if join.folder is not None:
            if join.path != path:
                raise ConfigError("this join has begun in another directory", id="SY-PAIR-09", why=as_text(join.path))
            return join.folder
        daemon = self._daemon
        await self._make_target(path)
        await progress({"event": "phase", "phase": "approval"})
        taken = {folder.name for folder in daemon.folders}
        row = daemon.new_row(path, _free(name or join.invitation.offer.folder_name or "folder", taken))
        await daemon.mark_root(row(join.invitation.offer.folder))  # before anybody is asked: it may be impossible
        membership = await join.invitation.ask(join.member_name, also=lambda db, id_: db.put_folder(row(id_)))
        join.folder = await daemon.add_folder(membership, row(membership.folder_id), joined=True, held=held)
        join.path = path
        await join.invitation.aclose()
        return join.folder

    async def _target(self, path: bytes) -> tuple[RootState, bool]:
        """(state of the directory, whether it holds nothing)."""
        daemon = self._daemon
        tree = daemon.seams.trees.open(path, str(daemon.settings.home))
        run = daemon.seams.workers.run_blocking
        try:
            state = await run(tree.check_root, None)
            if state is RootState.MISSING:
                return state, True
            if state is not RootState.OK:
                raise ConfigError(f"{as_text(path)} cannot be used", id="SY-ROOT-05")
            names, _, _ = await run(daemon.seams.trees.count, path)
            return state, names == 0
        finally:
            await run(tree.close)

    async def _make_target(self, path: bytes) -> None:
        await self._daemon.make_root(path)

    def _home(self) -> bytes:
        return os.fsencode(self._daemon.settings.home)

    def _join(self, handle: str) -> _Join:
        self._forget_stale()
        join = self._joins.get(handle)
        if join is None:
            raise TrustError("this join is over", id="SY-PAIR-09", fix="begin again:  syncd join")
        return join

    def _forget_stale(self) -> None:
        now = self._daemon.seams.clock.monotonic()
        for handle, join in list(self._joins.items()):
            if join.began < now - HANDLE_LIFETIME_S and join.folder is None:
                del self._joins[handle]


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


def _answer(verb: str, id_: str, kind: str, folder: FolderId, name: str, member: str | None) -> Json:
    return {
        "schema": f"syncd.{verb}/1",
        "id": id_,
        "kind": kind,
        "folder": folder.hex(),
        "name": name,
        "member": member,
    }


def _held_id(folder: RunningFolder, wave: str) -> str:
    """Short, typeable, and of one folder only."""
    return f"{wave}-{folder.id.hex()[:4]}"


def _author(folder: RunningFolder, origin: str) -> str:
    for device in folder.membership.devices():
        if device.id.hex() == origin:
            return folder.membership.member_name(device.id)
    return "this computer" if origin == "here" else origin[:8]


def _absolute(path: str) -> bytes:
    """A path from the command line, which has made it absolute already."""
    return os.fsencode(os.path.normpath(path))


def _suggested(name: str) -> str:
    """Where a folder of that name would usually go."""
    return os.path.join(os.path.expanduser("~"), _file_name(name))


def _file_name(name: str) -> str:
    """A folder's name as the name of a directory."""
    return name.replace("/", "-").replace("\0", "").strip(".") or "folder"


def _free(name: str, taken: set[str]) -> str:
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free
