"""Async. Taking part in a folder as a person does it: find, look before, join, or think better of it."""

from __future__ import annotations

import os
import platform
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import trio

from ca.device import device_words
from ca.values import dataclass
from syncd.daemon.app import Daemon
from syncd.daemon.membership import FolderMembership
from syncd.daemon.running import RunningFolder, absolute, refuse_ours, refuse_root
from syncd.daemon.views import as_text, folder_problems
from syncd.errors import ConfigError, PeerUnavailable, SyncdError, TrustError
from syncd.methods.explaining import compare
from syncd.methods.filtering import understood
from syncd.methods.joining import Invitation, Joiner, network_dial
from syncd.methods.transferring import Transfer, arriving_bytes
from syncd.protocol.links import Code, Link, parse_code_untrusted, parse_link_untrusted
from syncd.store.rewriting import add_own
from syncd.treetypes import RootState

Json = dict[str, Any]
Params = Mapping[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]

FIND_S = 20.0
HANDLE_LIFETIME_S = 15 * 60.0
PROGRESS_S = 0.25
STUCK_S = 10.0
"""So long nothing arrives, with a reason that a person has to see, before a join stops waiting."""


@dataclass(slots=True)
class _Join:
    """A join between finding the folder and taking part in it."""

    invitation: Invitation
    began: float
    member_name: str
    folder: RunningFolder | None = None
    path: bytes = b""


class Entering:
    """The methods of the control socket that lead into a folder."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._joins: dict[str, _Join] = {}

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
        host = daemon.settings.device_name
        joiner = Joiner(
            daemon.installation,
            ticket,
            network_dial(daemon.seams.network, daemon.seams.clock),
            host=host,
            system=platform.system(),
        )
        invitation: Invitation | None = None
        try:
            with trio.move_on_after(FIND_S):
                invitation = await joiner.find(
                    self._addresses(ticket, params["via"]), refuses=lambda id_: _here_already(daemon.folder(id_))
                )
        except PeerUnavailable as error:
            if error.id != "SY-PAIR-01" or not params["via"]:
                raise
            raise PeerUnavailable(f"no syncd answers at {', '.join(params['via'])}", id="SY-PAIR-08") from error
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
        path = absolute(params["path"])
        await self._refuse_root(join, path)
        state, empty = await self._target(join, path)
        answer: Json = {"path": as_text(path), "exists": state is RootState.OK, "empty": empty}
        nothing = dict.fromkeys(("same", "only_here", "differ", "fetch_bytes", "fetch_files"))
        if empty:
            return {**answer, **nothing}
        folder = await self._enter(join, path, progress, held=True)
        await progress({"event": "phase", "phase": "metadata"})
        while not folder.at_work().heads_reached:
            await folder.at_work().changed()
        await progress({"event": "phase", "phase": "comparing"})
        return {**answer, **await compare(folder.at_work())}

    async def join(self, params: Params, progress: Progress) -> Json:
        """Take part in a folder."""
        join = self._join(params["join"])
        path = absolute(params["path"])
        await self._refuse_root(join, path)
        await self._target(join, path)
        rules = understood(params["filter"])
        folder = await self._enter(join, path, progress, held=bool(rules.lines), name=params["name"])
        self._joins.pop(params["join"], None)
        await progress({"event": "phase", "phase": "admitted"})
        task = folder.at_work()
        if rules.lines:
            await task.blocking(add_own, task.store.tree, rules.lines)
        task.go()
        if params["wait"]:
            transfer, patience = Transfer(folder.id.hex(), None), _Patience(folder)
            while not (task.is_settled and task.heads_reached) and folder.why_stopped is None:
                counts = task.counts
                done = counts.size + arriving_bytes(task)
                patience.look(counts.files, done)
                if counts.need_files or transfer.has_begun:
                    total = counts.size + counts.need_bytes
                    await progress(transfer.line(counts.files, counts.files + counts.need_files, done, total))
                else:
                    await progress({"event": "phase", "phase": "metadata"})  # all of nothing would be 100 %
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
        if (keeper := daemon.keeper(membership.folder_id)) is not None:
            keeper.was_met(join.invitation.address, join.invitation.offer.device.id)
        await join.invitation.aclose()
        return join.folder

    async def _target(self, join: _Join, path: bytes) -> tuple[RootState, bool]:
        """(state of the directory, whether it holds nothing)."""
        daemon = self._daemon
        open_tree = partial(daemon.seams.trees.open, home=str(daemon.settings.home))
        tree = open_tree(path)
        run = daemon.seams.workers.run_blocking
        try:
            state = await run(tree.check_root, None)
            if state is RootState.MISSING:
                return state, True
            if state is not RootState.OK:
                raise ConfigError(f"{as_text(path)} cannot be used", id="SY-ROOT-05")
            others = [folder for folder in daemon.folders if folder is not join.folder]
            await refuse_ours(path, tree, others, daemon.installation, open_tree)
            names, _, _ = await run(daemon.seams.trees.count, path)
            return state, names == 0
        finally:
            await run(tree.close)

    async def _make_target(self, path: bytes) -> None:
        await self._daemon.make_root(path)

    async def _refuse_root(self, join: _Join, path: bytes) -> None:
        others = [folder for folder in self._daemon.folders if folder is not join.folder]
        await refuse_root(path, others, os.fsencode(self._daemon.settings.home), self._daemon.seams.workers)

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


@dataclass(slots=True)
class _Patience:
    """How long somebody at a terminal waits for what cannot be put in place: not for ever."""

    folder: RunningFolder
    _done: tuple[int, int] = (-1, -1)
    _since: float = 0.0

    def look(self, files: int, size: int) -> None:
        """Raises SyncdError SY-SHARE-08 when no more has arrived for a while and there is a reason that lasts."""
        now = trio.current_time()
        if files > self._done[0] or size > self._done[1]:  # what is begun anew on a full disk is no progress
            self._done, self._since = (max(files, self._done[0]), max(size, self._done[1])), now
        problems = folder_problems(self.folder)
        if not problems or now - self._since < STUCK_S:
            return
        first = problems[0]
        raise SyncdError(
            f"{self.folder.name} was joined, but not everything could be put in place",
            id="SY-SHARE-08",
            why=f"{first['path'] or self.folder.name}: {first['why']} ({first['id']})",
            fix=first["try"] or "",
        )


def _here_already(folder: RunningFolder | None) -> SyncdError | None:
    """Why a folder cannot be joined: it is here, or what is here of it is of a membership that has ended."""
    if folder is None:
        return None
    if not folder.membership.is_out:
        return TrustError("this device is already a member", id="SY-PAIR-06")
    why = "What it had of the folder is still here, and no new membership takes it over."
    fix = f"syncd folder leave {folder.name}, which keeps all files; then join again"
    return TrustError(f"this device was taken out of {folder.name}", id="SY-PAIR-06", why=why, fix=fix)


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
