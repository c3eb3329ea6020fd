"""Async. Who writes the audit log: every change that a person asks for is told with the way by which it came, and every
trouble when it begins and when it is over.

A line is on the disk before the call that it tells of is answered. Every line goes to the daemon's own log as well,
which a service manager or a collector may keep where the owner of this account cannot reach it.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import trio

from ca.ids import FolderId
from syncd.catalogue import report
from syncd.daemon.app import Daemon
from syncd.daemon.auditing import AuditLog
from syncd.daemon.views import Json, folder_problems
from syncd.engine.happenings import Happening, Kind, as_line, kind_of, said, short
from syncd.web.control import Api

log = logging.getLogger("syncd.audit")

PACE_S: Final = 5.0
DAEMON: Final = "daemon"
ENDING: Final = "stop"
"""Told before it is done: from then on nothing waits for the disk any more, least of all the answer."""

Params = Mapping[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]
Trouble = tuple[FolderId | None, str]
"""Of which folder (None: of the device), and the id of the catalogue: a hundred files that cannot be read are one."""


async def write(audit: AuditLog, happening: Happening, folder: FolderId | None) -> None:
    """Write a line. A disk that refuses it stops nothing; the daemon's own log has it then."""
    action, about = as_line(happening)
    log.info("%s %s", action, about)
    try:
        await audit.note(action, about, folder=folder)
    except sqlite3.Error as error:
        log.error("the audit log cannot be written: %s", error)


class Witness:
    """The methods of the control socket, with every change written down together with how it was asked for."""

    def __init__(
        self, api: Api, audit: AuditLog, way: str, now: Callable[[], float], user: Callable[[], str] = lambda: ""
    ) -> None:
        """`way`: by which people come here. `user`: as whom the system knows who asks; empty: nobody can tell."""
        self._api = api
        self._audit = audit
        self._way = way
        self._now = now
        self._user = user

    async def call(self, name: str, params: Params, progress: Progress) -> Json:
        """See `web.control.Api`."""
        kind = kind_of(name, params)
        if kind is None:
            return await self._api.call(name, params, progress)
        if name == ENDING:
            await self._note(kind, name, "", None, ok=True)
            return await self._api.call(name, params, progress)
        try:
            result = await self._api.call(name, params, progress)
        except Exception as error:
            told = report(error)
            await self._note(kind, name, f"{said(params)} {told.id}: {told.what}", None, ok=False)
            raise
        await self._note(kind, name, said(params), _maybe_folder(result), ok=True)
        return result

    async def _note(self, kind: Kind, name: str, what: str, folder: FolderId | None, *, ok: bool) -> None:
        user = self._user()
        what = f"user={user} {what}" if user else what
        with trio.CancelScope(shield=True):  # it happened, also if nobody waits for the answer any more
            await write(
                self._audit, Happening(self._now(), kind, self._way, name, None, short(what.strip()), ok), folder
            )


def _maybe_folder(result: Json) -> FolderId | None:
    """The folder that an answer is about: the one it names, or the only one that it lists."""
    about, listed = result.get("folder"), result.get("folders", ())
    if about is None and len(listed) == 1 and isinstance(listed[0], dict):
        about = listed[0].get("id", listed[0].get("folder"))
    return FolderId(bytes.fromhex(about)) if isinstance(about, str) else None


async def tell_troubles(daemon: Daemon) -> None:
    """Write down that the daemon started, and what begins to be wrong and ends, until cancelled."""
    clock, audit = daemon.seams.clock, daemon.audit
    where = f"listening on {', '.join(daemon.listening)}"
    await write(audit, Happening(clock.now(), Kind.OPERATOR, DAEMON, "start", None, where), None)
    known: dict[Trouble, str] = {}
    while True:
        changed, now = daemon.changed, _troubles(daemon)
        for key in sorted(now.keys() - known.keys(), key=str):
            await write(audit, Happening(clock.now(), Kind.FAULT, DAEMON, key[1], None, now[key], ok=False), key[0])
        for key in sorted(known.keys() - now.keys(), key=str):
            over = Happening(clock.now(), Kind.FAULT, DAEMON, key[1], None, f"over: {known[key]}")
            await write(audit, over, key[0])
        known = now
        await changed.wait()
        await trio.sleep(PACE_S)


def _troubles(daemon: Daemon) -> dict[Trouble, str]:
    """What is wrong now, the first of its kind in each folder."""
    found: dict[Trouble, str] = {(None, problem.id): short(problem.why) for problem in daemon.problems.values()}
    for folder in daemon.folders:
        for problem in folder_problems(folder):
            where = f"{problem['path']}: " if problem["path"] else ""
            found.setdefault((folder.id, problem["id"]), short(f"{where}{problem['why']}"))
    return found
