"""Async. What happened, in five kinds, out of the four places where it is kept: the audit log of this device, its
refusals, the signed rosters, and the journals of its folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, assert_never

from ca.entries import (
    Admit,
    Change,
    ChangeCapabilities,
    ChangeRole,
    DeviceLost,
    Expire,
    Genesis,
    Leave,
    Link,
    Merge,
    Reactivate,
    Recover,
    Remove,
    Rotate,
    SetPolicy,
    SignedEntry,
    Suspend,
)
from ca.ids import MemberId
from syncd.daemon.app import Daemon
from syncd.daemon.auditing import Line
from syncd.daemon.running import RunningFolder
from syncd.daemon.views import Json, moment
from syncd.engine.happenings import Happening, Kind, of_line
from syncd.errors import ConfigError
from syncd.store.changes import Change as FileChange
from syncd.store.changes import db_changes

MOST: int = 5000
CHANGES_EACH = 500
"""Of each folder's changes to files, the newest."""
DAY_S = 86_400
DAYS = 30
OWN = "this device"


class Reviewing:
    """The method `audit` of the control socket."""

    def __init__(self, daemon: Daemon, find_folder: Callable[[str | None, str | None], RunningFolder]) -> None:
        self._daemon = daemon
        self._find_folder = find_folder

    async def audit(self, params: Mapping[str, Any], progress: object) -> Json:
        """The newest of the kinds and in the time asked for, the oldest of them first; and whether the log is whole."""
        kinds = _kinds(params["kinds"])
        folder = None if params["folder"] is None else self._find_folder(params["folder"], params["cwd"])
        lines, wrong = await self._daemon.audit.lines()
        since, actor = params["since_s"] or 0.0, params["actor"]
        found = [
            one
            for one in [
                *self._kept(lines),
                *self._refusals(),
                *self._rosters(folder),
                *await self._changes(folder, kinds),
            ]
            if one.kind in kinds
            and one.time >= since
            and actor in (None, one.actor)
            and (folder is None or one.folder == folder.name)
        ]
        found.sort(key=lambda one: one.time)
        return {
            "schema": "syncd.audit/1",
            "lines": len(lines),
            "wrong": wrong,
            "audit": [_json(one) for one in found[-min(params["last"], MOST) :]],
            "total": len(found),
            "days": _days(found, self._daemon.seams.clock.now()),
        }

    def _kept(self, lines: list[Line]) -> Iterator[Happening]:
        folders = {folder.id: folder for folder in self._daemon.folders}
        for line in lines:
            folder = None if line.folder is None else folders.get(line.folder)
            who = "" if line.actor is None else line.actor.hex()[:8]
            if line.actor is not None and folder is not None:
                who = OWN if line.actor == folder.membership.device else folder.membership.member_name(line.actor)
            yield of_line(line.time_ms / 1000, None if folder is None else folder.name, who, line.action, line.about)

    def _refusals(self) -> Iterator[Happening]:
        for burst in self._daemon.refusals.recent():
            what = f"{burst.count} times: {burst.why}" if burst.count > 1 else burst.why
            yield Happening(burst.last, Kind.AUDIT, burst.host, f"refused {burst.event.value}", None, what, ok=False)

    def _rosters(self, only: RunningFolder | None) -> Iterator[Happening]:
        for folder in self._daemon.folders:
            if only is None or folder is only:
                names = {member.id: member.name for member in folder.membership.members()}
                for entry in folder.membership.roster.entries:
                    yield _of_entry(folder, entry, names)

    async def _changes(self, only: RunningFolder | None, kinds: frozenset[Kind]) -> list[Happening]:
        found: list[Happening] = []
        for folder in self._daemon.folders:
            if Kind.EVENT in kinds and folder.task is not None and (only is None or folder is only):
                changes = await folder.task.db(db_changes, folder.task.store, CHANGES_EACH, folder.task.now_ms())
                author_name = folder.membership.author_name
                found += [_of_change(folder.name, author_name(one.author), one) for one in changes]
        return found


def _kinds(names: list[str]) -> frozenset[Kind]:
    """Raises ConfigError SY-USE-01 for a word that is no kind."""
    words = {kind.value: kind for kind in Kind}
    for name in names:
        if name not in words:
            what = f"there is no kind of happening called {name.encode('unicode_escape').decode()[:40]}"
            raise ConfigError(what, id="SY-USE-01", why=f"The kinds are {', '.join(words)}.", fix="syncd audit")
    return frozenset(words[name] for name in names) or frozenset(Kind)


def _json(one: Happening) -> Json:
    return {
        "time": moment(one.time),
        "kind": one.kind.value,
        "actor": one.actor,
        "action": one.action,
        "folder": one.folder,
        "what": one.what,
        "ok": one.ok,
    }


def _days(found: list[Happening], now: float) -> list[Json]:
    """How many there were on each of the last days, the oldest first."""
    today = int(now // DAY_S)
    counts = {day: dict.fromkeys((kind.value for kind in Kind), 0) for day in range(today - DAYS + 1, today + 1)}
    for one in found:
        day = counts.get(int(one.time // DAY_S))
        if day is not None:
            day[one.kind.value] += 1
    return [{"began": moment(day * DAY_S), **kinds} for day, kinds in counts.items()]


def _of_change(folder: str, by: str, change: FileChange) -> Happening:
    counts = ((kind, getattr(change, kind)) for kind in ("added", "changed", "moved", "deleted"))
    what = ", ".join(f"{count:,} {kind}" for kind, count in counts if count)
    return Happening(change.time_ms / 1000, Kind.EVENT, by, "files", folder, f"{what or 'no files'} ({change.id})")


def _of_entry(folder: RunningFolder, entry: SignedEntry, names: Mapping[MemberId, str]) -> Happening:
    told = [_of_roster(change, names) for change in entry.changes]
    if entry.epoch is not None and not any(isinstance(change, Rotate) for change in entry.changes):
        told.append(("rotate", "a new certificate and key"))
    actions, words = [action for action, _ in told], [what for _, what in told if what]
    signer = folder.membership.roster.device(entry.signer)
    actor = OWN if entry.signer == folder.membership.device else names.get(signer[0].id, "") if signer else ""
    what = f"{', '.join(words)} (entry {entry.number})".strip()
    return Happening(float(entry.time), Kind.AUDIT, actor or entry.signer.hex()[:8], actions[0], folder.name, what)


def _of_roster(change: Change, names: Mapping[MemberId, str]) -> tuple[str, str]:
    """One change of the membership in words."""

    def who(member: MemberId) -> str:
        return names.get(member) or f"member {member.hex()[:8]}"

    match change:
        case Genesis():
            return "found", "the folder was founded"
        case Admit(member=member, role=role):
            return "admit", f"{who(member)} as {role.name.lower()}"
        case Remove(member=member):
            return "remove", who(member)
        case Suspend(member=member):
            return "suspend", who(member)
        case Reactivate(member=member):
            return "reactivate", who(member)
        case ChangeRole(member=member, role=role):
            return "role", f"{who(member)} is {role.name.lower()}"
        case ChangeCapabilities(member=member):
            return "capabilities", who(member)
        case SetPolicy():
            return "policy", "name, settings or address rules"
        case Rotate():
            return "rotate", "a new certificate and key"
        case Leave(member=member):
            return "leave", who(member)
        case DeviceLost(device=device):
            return "device lost", f"device {device.hex()[:8]}"
        case Link():
            return "link", "keys of an epoch that a fork left behind"
        case Merge():
            return "merge", "two histories became one"
        case Recover():
            return "recover", "by the printed recovery key"
        case Expire(member=member, until=until):
            return "expire", f"{who(member)} until {moment(until) if until else 'no end'}"
    assert_never(change)
