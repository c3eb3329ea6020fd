"""Async. Remote restore: an admin's signed command, sent from here or obeyed here, told and audited at both ends.

A device obeys only if its person said so (`[restore] remote = true`), and writes outside of the folder only below the
directory that the person named (`[restore] below`). Whether a command counts is decided by `engine.commanding`; that it
was obeyed is on disk before anything is done, so a crash cannot make it work twice. One command is carried out at a
time, and no longer than its signer may command and the person allows it.

What is refused stands in the audit log only if its signer may command and handed it in: nobody fills the log in
another's name. Everything else is counted with the other refusals of the device that handed it in.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import trio

from ca.device import Purpose, device_text, verify
from ca.ids import DeviceId, FolderId
from ca.roles import Action
from syncd.daemon.auditing import AuditLog
from syncd.daemon.host import Host
from syncd.daemon.naming import device_named
from syncd.daemon.restoring import Brought, Heard, Wish, bring
from syncd.daemon.running import RunningFolder
from syncd.daemon.views import Json, as_text, moment
from syncd.engine.commanding import LIFETIME_MS, Claim, Standing, judge
from syncd.errors import PeerUnavailable, SyncdError, TrustError
from syncd.folder.folder import FolderTask
from syncd.folder.problems import problem_of
from syncd.model.paths import Path
from syncd.protocol.commands import NONCE_BYTES, Report, Restore, Rule, Signed, State, issue, signed_untrusted
from syncd.protocol.refusals import Event
from syncd.protocol.requests import Route
from syncd.store.outside import Existing, names_below
from syncd.store.restoring import Moment, Part
from syncd.treetypes import TreeError

log = logging.getLogger("syncd.commands")

Params = Mapping[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]

POLL_S: Final = 1.0
KEPT_REPORTS: Final = 64
PATIENCE_S: Final = 60.0
"""How long the target may be out of reach before the sender gives up asking; the target goes on."""

_EXISTING: Final = {Rule.EXACT: Existing.REFUSE, Rule.KEEP: Existing.KEEP, Rule.ASIDE: Existing.ASIDE}
_RULE: Final = {existing: rule for rule, existing in _EXISTING.items()}


class Obedience:
    """What this device does at another's word. Implements `net.folders.Commands`."""

    def __init__(self, host: Host, audit: AuditLog) -> None:
        self._host = host
        self._audit = audit
        self._reports: dict[bytes, tuple[DeviceId, Report]] = {}
        self._judging = trio.Lock()
        self._carrying_out = trio.Lock()

    async def obey_untrusted(self, folder: FolderId, device: DeviceId, raw: bytes) -> bytes:
        """Take a command that a proved device of the folder handed in; the report. Raises CodecError."""
        signed = signed_untrusted(raw)
        running = self._host.folder(folder)
        try:
            async with self._judging:
                below = self._host.settings.restore_below
                task = await self._accept(running, signed, below)
        except TrustError as error:
            why = error.why or error.what
            self._host.refusals.note(Event.RIGHT, device_text(device), f"command: {why}")
            if running is not None and device == signed.command.signer and _is_of_one_who_may(running, signed):
                await self._audit.note("remote restore refused", why, folder=folder, actor=device)
            return Report(State.REFUSED, trouble=error.id, words=why).encode()
        assert running is not None
        report = self._note(signed.command, Report(State.RUNNING))
        self._host.start(self._run, running, task, signed.command, below)
        return report.encode()

    def report(self, folder: FolderId, device: DeviceId, nonce: bytes) -> bytes | None:
        """How far a command is, for the device that signed it; None for anybody else."""
        signer, report = self._reports.get(nonce, (None, None))
        return None if report is None or signer != device else report.encode()

    async def _accept(self, folder: RunningFolder | None, signed: Signed, below: str | None) -> FolderTask:
        """Judge a command, and write down that it was obeyed. Raises TrustError."""
        own, command = self._host.installation, signed.command
        if folder is None or folder.task is None:
            raise TrustError("the command was refused", id="SY-CMD-01", why="the folder is not at work here")
        _verify(folder, signed)
        known = await own.on_disk(own.db.commands)
        latest: dict[DeviceId, int] = {}
        for _, signer, issued_ms in known:
            latest[signer] = max(issued_ms, latest.get(signer, 0))
        standing = Standing(
            us=own.id,
            head=folder.membership.head,
            signer_may=folder.membership.device_may(command.signer, Action.RESTORE),
            opted_in=self._host.settings.remote_restore,
            seen={nonce for nonce, _, _ in known},
            latest_ms=latest,
        )
        now_ms = int(own.clock.now() * 1000)
        judge(_claim(command), standing, now_ms)
        if command.to is not None:
            await own.workers.run_blocking(refuse_outside, command.to, below, self._taken())
        await own.on_disk(
            own.db.put_command, command.nonce, command.signer, command.issued_ms, command.expires_ms, now_ms
        )
        await self._audit.note("remote restore begun", described(command), folder=folder.id, actor=command.signer)
        return folder.task

    async def _run(self, folder: RunningFolder, task: FolderTask, command: Restore, below: str | None) -> None:
        def heard(files_done: int, files: int, bytes_done: int, size: int) -> None:
            self._note(command, Report(State.RUNNING, files_done, files, bytes_done, size))

        try:
            async with self._carrying_out:
                brought = await self._while_allowed(folder, task, command, below, heard)
            await self._in_place(folder, task, command, brought)
        except (SyncdError, TreeError, sqlite3.Error) as error:
            id_ = problem_of(error, reading=False)[0] if isinstance(error, TreeError) else getattr(error, "id", None)
            await self._end(folder, command, Report(State.FAILED, trouble=id_, words=f"{error}"[:500]))
            return
        files = sum(brought.counts.values())
        words = "" if brought.deed is None else f"syncd undo {brought.deed.id}"
        await self._end(folder, command, Report(State.DONE, files, files, brought.size, brought.size, words=words))

    async def _while_allowed(
        self, folder: RunningFolder, task: FolderTask, command: Restore, below: str | None, heard: Heard
    ) -> Brought:
        """Restore, and stop when the signer may not command any more, or the person here takes back the permission."""

        def why_not() -> str | None:
            settings = self._host.settings
            if not folder.membership.device_may(command.signer, Action.RESTORE):
                return "its signer may not restore for others any more"
            if not settings.remote_restore or (command.to is not None and settings.restore_below != below):
                return "the person at this device does not allow it any more"
            return None

        with trio.CancelScope() as scope:
            self._host.start(_stop_if, why_not, scope)
            try:
                if why_not() is None:
                    return await bring(folder, task, wish_of(command, below), dry_run=False, heard=heard)
            finally:
                scope.cancel()
        raise TrustError("the command was stopped", id="SY-CMD-01", why=why_not() or "it was not allowed for a moment")

    def _taken(self) -> list[bytes]:
        """Directories into which no command writes: syncd's own, and those of folders."""
        home = self._host.installation.home
        return [os.fsencode(folder.row.path) for folder in self._host.folders] + (
            [] if home is None else [os.fsencode(home)]
        )

    async def _in_place(self, folder: RunningFolder, task: FolderTask, command: Restore, brought: Brought) -> None:
        """What was published is restored only when it stands on this disk."""
        files = sum(brought.counts.values())
        while command.to is None and brought.deed is not None and not task.is_settled:
            if folder.why_stopped is not None:
                raise folder.why_stopped.with_traceback(None)
            left, size = task.counts.need_files, task.counts.need_bytes
            done = max(0, files - left), files, max(0, brought.size - size), brought.size
            self._note(command, Report(State.RUNNING, *done))
            await task.changed()

    async def _end(self, folder: RunningFolder, command: Restore, report: Report) -> None:
        self._note(command, report)
        log.info("folder %s: a command was %s: %s", folder.name, report.state.name.lower(), report.words)
        about = f"{described(command)} {report.trouble or ''} {report.words}".rstrip()
        await self._audit.note(
            f"remote restore {report.state.name.lower()}", about, folder=folder.id, actor=command.signer
        )

    def _note(self, command: Restore, report: Report) -> Report:
        while len(self._reports) >= KEPT_REPORTS and command.nonce not in self._reports:
            del self._reports[next(iter(self._reports))]
        self._reports[command.nonce] = command.signer, report
        return report


def _claim(command: Restore) -> Claim:
    return Claim(
        command.target,
        command.nonce,
        command.issued_ms,
        command.expires_ms,
        command.roster_head,
        command.signer,
    )


async def _stop_if(why_not: Callable[[], str | None], scope: trio.CancelScope) -> None:
    while not scope.cancel_called:
        if why_not() is not None:
            scope.cancel()
        await trio.sleep(POLL_S)


def _verify(folder: RunningFolder, signed: Signed) -> None:
    """Raises TrustError for a signature that is not the signer's."""
    public = folder.membership.roster.public_of(signed.command.signer)
    if public is None:
        raise TrustError("the command was refused", id="SY-CMD-01", why="nobody knows its signer")
    verify(public.sign, Purpose.COMMAND, folder.id, signed.body, signed.signature)


def _is_of_one_who_may(folder: RunningFolder, signed: Signed) -> bool:
    try:
        _verify(folder, signed)
    except TrustError:
        return False
    return folder.membership.device_may(signed.command.signer, Action.RESTORE)


def wish_of(command: Restore, below: str | None) -> Wish:
    """What a command asks for, as it is done."""
    part = Part(command.path, command.only, keep_newer=command.to is None and command.rule is Rule.KEEP)
    top = None if command.to is None or below is None else os.fsencode(below)
    return Wish(Moment(at_ms=command.at_ms), part, command.to, _EXISTING[command.rule], below=top)


def described(command: Restore) -> str:
    """A command as the audit log has it."""
    return json.dumps(
        {
            "at": moment(command.at_ms / 1000),
            "path": as_text(b"/".join(command.path)),
            "only": command.only,
            "to": None if command.to is None else as_text(command.to),
            "rule": command.rule.name.lower(),
            "target": device_text(command.target),
            "nonce": command.nonce.hex(),
        }
    )


def refuse_outside(to: bytes, below: str | None, taken: Sequence[bytes]) -> None:
    """Raises TrustError for a directory that does not lie below the one that the person at this device named, and lead
    there through no symlink, or that is, holds, or lies in one of those that are taken."""
    if below is None:
        raise _not_there("its [restore] below names no directory")
    top = os.path.realpath(os.fsencode(below))
    names = names_below(to, os.fsencode(below))
    meant = top if names is None else os.path.join(top, *names)
    if names is None or os.path.realpath(meant) != meant:
        raise _not_there(f"its [restore] below names {below}")
    for other in map(os.path.realpath, taken):
        if _holds(meant, other) or _holds(other, meant):
            raise _not_there("syncd's own files or those of a folder are there")


def _holds(directory: bytes, path: bytes) -> bool:
    return (path + b"/").startswith(directory.rstrip(b"/") + b"/")


def _not_there(why: str) -> TrustError:
    return TrustError("this device does not let others write there", id="SY-CMD-02", why=why)


class Commanding:
    """The sender's side: a method of the control socket."""

    def __init__(self, host: Host, audit: AuditLog) -> None:
        self._host = host
        self._audit = audit

    async def restore_on(
        self, folder: RunningFolder, path: Path, at_ms: int, existing: Existing, params: Params, progress: Progress
    ) -> Json:
        """Have another device restore, and follow it to its end."""
        device = device_named(folder.membership, params["on"])
        member = folder.membership.member_name(device.id)
        if not folder.membership.may(Action.RESTORE):
            raise TrustError("your role does not allow to restore for others", id="SY-CMD-03")
        keeper = self._host.keeper(folder.id)
        if keeper is None:
            raise SyncdError(f"the folder {folder.name} is not running", id="SY-FIND-01")
        own = self._host.installation
        nonce = own.random.token(NONCE_BYTES)
        command: Restore | None = None

        def make() -> bytes:
            nonlocal command
            now_ms = int(own.clock.now() * 1000)
            command = Restore(
                device.id,
                nonce,
                now_ms,
                now_ms + LIFETIME_MS,
                folder.membership.head,
                own.id,
                at_ms,
                path,
                params["only"],
                None if params["to"] is None else os.fsencode(params["to"]),
                _RULE[existing],
            )
            return issue(own.keys, folder.id, command).encode()

        report = Report.decode_untrusted(await keeper.ask(device.id, Route.COMMAND, make))
        assert command is not None
        about = described(command)
        await self._audit.note("remote restore sent", about, folder=folder.id, actor=own.id)
        report = await self._follow(folder, device.id, nonce, report, progress)
        await self._audit.note(
            f"remote restore {report.state.name.lower()}",
            f"{about} {report.words}".rstrip(),
            folder=folder.id,
            actor=own.id,
        )
        if report.state is State.REFUSED:
            raise TrustError(f"{member} refused", id="SY-CMD-01", why=report.words)
        if report.state is State.FAILED:
            raise SyncdError(f"{member} could not restore", id="SY-CMD-04", why=report.words)
        return {
            "schema": "syncd.restore.remote/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "path": as_text(b"/".join(path)),
            "device": {"id": device_text(device.id), "name": member},
            "to": params["to"],
            "files": report.files_total,
            "bytes": report.bytes_total,
            "said": report.words,
        }

    async def _follow(
        self, folder: RunningFolder, device: DeviceId, nonce: bytes, report: Report, progress: Progress
    ) -> Report:
        """Ask how far it is until it is over. Raises PeerUnavailable."""
        keeper = self._host.keeper(folder.id)
        assert keeper is not None
        heard_at = trio.current_time()
        while not report.state.is_final:
            await progress(
                {
                    "event": "restore",
                    "files_done": report.files_done,
                    "files_total": report.files_total,
                    "bytes_done": report.bytes_done,
                    "bytes_total": report.bytes_total,
                }
            )
            await trio.sleep(POLL_S)
            try:
                report = Report.decode_untrusted(await keeper.ask(device, Route.REPORT, nonce=nonce))
                heard_at = trio.current_time()
            except PeerUnavailable:
                if trio.current_time() > heard_at + PATIENCE_S:
                    raise
        return report
