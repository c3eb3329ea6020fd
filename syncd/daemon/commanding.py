"""Async. Remote restore: an admin's signed command, sent from here or obeyed here, told and audited at both ends.

A device obeys only if its person said so (`[restore] remote = true`), and writes outside of the folder only below the
directory that the person named (`[restore] below`). Whether a command counts is decided by `engine.commanding`; that it
was obeyed is on disk before anything is done, so a crash cannot make it work twice.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import trio

from ca.device import Purpose, device_text, verify
from ca.ids import DeviceId, FolderId
from ca.roles import Action
from syncd.daemon.auditing import AuditLog
from syncd.daemon.folder import FolderTask
from syncd.daemon.naming import device_named
from syncd.daemon.problems import problem_of
from syncd.daemon.restoring import Brought, Wish, bring
from syncd.daemon.running import RunningFolder
from syncd.daemon.views import Json, as_text, moment
from syncd.engine.commanding import LIFETIME_MS, Claim, Standing, judge
from syncd.errors import PeerUnavailable, SyncdError, TrustError
from syncd.model.paths import Path
from syncd.protocol.commands import NONCE_BYTES, Report, Restore, Rule, Signed, State, issue, signed_untrusted
from syncd.protocol.refusals import Event
from syncd.protocol.requests import Route
from syncd.store.outside import Existing
from syncd.store.restoring import Moment, Part
from syncd.treetypes import TreeError

if TYPE_CHECKING:
    from syncd.daemon.app import Daemon

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

    def __init__(self, daemon: Daemon, audit: AuditLog) -> None:
        self._daemon = daemon
        self._audit = audit
        self._reports: dict[bytes, tuple[DeviceId, Report]] = {}
        self._judging = trio.Lock()

    async def obey_untrusted(self, folder: FolderId, device: DeviceId, raw: bytes) -> bytes:
        """Take a command that a proved device of the folder handed in; the report. Raises CodecError."""
        signed = signed_untrusted(raw)
        running = self._daemon.folder(folder)
        try:
            async with self._judging:
                task = await self._accept(running, signed)
        except TrustError as error:
            why = error.why or error.what
            self._daemon.refusals.note(Event.RIGHT, device_text(device), f"command: {why}")
            await self._audit.note("remote restore refused", why, folder=folder, actor=signed.command.signer)
            return Report(State.REFUSED, trouble=error.id, words=why).encode()
        assert running is not None
        report = self._note(signed.command, Report(State.RUNNING))
        self._daemon.start(self._run, running, task, signed.command)
        return report.encode()

    def report(self, folder: FolderId, device: DeviceId, nonce: bytes) -> bytes | None:
        """How far a command is, for the device that signed it; None for anybody else."""
        signer, report = self._reports.get(nonce, (None, None))
        return None if report is None or signer != device else report.encode()

    async def _accept(self, folder: RunningFolder | None, signed: Signed) -> FolderTask:
        """Judge a command, and write down that it was obeyed. Raises TrustError."""
        own, command = self._daemon.installation, signed.command
        if folder is None or folder.task is None:
            raise TrustError("the command was refused", id="SY-CMD-01", why="the folder is not at work here")
        public = folder.membership.roster.public_of(command.signer)
        if public is None:
            raise TrustError("the command was refused", id="SY-CMD-01", why="nobody knows its signer")
        verify(public.sign, Purpose.COMMAND, folder.id, signed.body, signed.signature)
        known = await own.on_disk(own.db.commands)
        latest: dict[DeviceId, int] = {}
        for _, signer, issued_ms in known:
            latest[signer] = max(issued_ms, latest.get(signer, 0))
        standing = Standing(
            us=own.id,
            head=folder.membership.head,
            signer_may=folder.membership.device_may(command.signer, Action.RESTORE),
            opted_in=self._daemon.settings.remote_restore,
            seen={nonce for nonce, _, _ in known},
            latest_ms=latest,
        )
        now_ms = int(own.clock.now() * 1000)
        judge(_claim(command), standing, now_ms)
        if command.to is not None:
            await own.workers.run_blocking(refuse_outside, command.to, self._daemon.settings.restore_below)
        await own.on_disk(
            own.db.put_command, command.nonce, command.signer, command.issued_ms, command.expires_ms, now_ms
        )
        await self._audit.note("remote restore begun", described(command), folder=folder.id, actor=command.signer)
        return folder.task

    async def _run(self, folder: RunningFolder, task: FolderTask, command: Restore) -> None:
        def heard(files_done: int, files: int, bytes_done: int, size: int) -> None:
            self._note(command, Report(State.RUNNING, files_done, files, bytes_done, size))

        try:
            brought = await bring(folder, task, wish_of(command), dry_run=False, heard=heard)
            await self._in_place(folder, task, command, brought)
        except (SyncdError, TreeError, sqlite3.Error) as error:
            id_ = problem_of(error, reading=False)[0] if isinstance(error, TreeError) else getattr(error, "id", None)
            await self._end(folder, command, Report(State.FAILED, trouble=id_, words=f"{error}"[:500]))
            return
        files = sum(brought.counts.values())
        words = "" if brought.deed is None else f"syncd undo {brought.deed.id}"
        await self._end(folder, command, Report(State.DONE, files, files, brought.size, brought.size, words=words))

    async def _in_place(self, folder: RunningFolder, task: FolderTask, command: Restore, brought: Brought) -> None:
        """What was published is restored only when it stands on this disk."""
        files = sum(brought.counts.values())
        while command.to is None and brought.deed is not None and not task.is_settled:
            if folder.why_stopped is not None:
                raise folder.why_stopped
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


def wish_of(command: Restore) -> Wish:
    """What a command asks for, as it is done."""
    part = Part(command.path, command.only, keep_newer=command.to is None and command.rule is Rule.KEEP)
    return Wish(Moment(at_ms=command.at_ms), part, command.to, _EXISTING[command.rule])


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


def refuse_outside(to: bytes, below: str | None) -> None:
    """Raises TrustError for a directory that does not lie below the one that the person at this device named."""
    allowed = None if below is None else os.path.realpath(os.fsencode(below))
    meant = os.path.realpath(to)
    if allowed is None or not (meant + b"/").startswith(allowed + b"/") or meant == allowed:
        raise TrustError(
            "this device does not let others write there",
            id="SY-CMD-02",
            why="its [restore] below names " + ("no directory" if below is None else below),
        )


class Commanding:
    """The sender's side: a method of the control socket."""

    def __init__(self, daemon: Daemon, audit: AuditLog) -> None:
        self._daemon = daemon
        self._audit = audit

    async def restore_on(
        self, folder: RunningFolder, path: Path, at_ms: int, existing: Existing, params: Params, progress: Progress
    ) -> Json:
        """Have another device restore, and follow it to its end."""
        device = device_named(folder.membership, params["on"])
        member = folder.membership.member_name(device.id)
        if not folder.membership.may(Action.RESTORE):
            raise TrustError("your role does not allow to restore for others", id="SY-CMD-03")
        keeper = self._daemon.keeper(folder.id)
        if keeper is None:
            raise SyncdError(f"the folder {folder.name} is not running", id="SY-FIND-01")
        own = self._daemon.installation
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
        keeper = self._daemon.keeper(folder.id)
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
