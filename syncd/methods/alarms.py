"""Pure. What people want to be told about while they do not look: who is stale, what went wrong, what runs short.

A `Situation` is what the daemon knows at a moment; `alarms` says which conditions of a hook hold. Whoever tells them
compares with what was told before: an alarm is told once when it begins, and its end once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field

from ca.values import dataclass
from syncd.config import Condition


@dataclass(frozen=True, slots=True)
class PeerSituation:
    """`last_seen` in unix seconds; None: never since it became a member."""

    name: str
    connected: bool
    last_seen: float | None


@dataclass(frozen=True, slots=True)
class FolderSituation:
    """What could be worth telling about one folder. `problems`: (id, where and why)."""

    name: str
    added: float
    conflicts: int = 0
    held: int = 0
    certificate_since: float | None = None
    problems: Sequence[tuple[str, str]] = ()
    peers: Sequence[PeerSituation] = ()
    state: str = ""
    in_sync_at: float | None = None
    """When it was last in sync; None: not since this start, which `added` then stands for."""
    copies: int | None = None
    """Computers that are known to have all of it; None while that cannot be known yet."""


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk on which something lies, and how many percent of it are free."""

    what: str
    free_percent: float


@dataclass(frozen=True, slots=True)
class Situation:
    """All of a device. `problems`: of the device itself."""

    folders: Sequence[FolderSituation] = ()
    problems: Sequence[tuple[str, str]] = ()
    disks: Sequence[Disk] = field(default_factory=tuple)
    refused: int = 0
    """Connections and requests that were refused within the last hour."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """`key` is the same as long as it is the same trouble."""

    condition: Condition
    key: str
    text: str
    fix: str


def alarms(situation: Situation, on: Sequence[tuple[Condition, float]], now: float) -> dict[str, Alarm]:
    """The alarms that a hook with these conditions has now, by key."""
    found: dict[str, Alarm] = {}
    for condition, limit in on:
        for alarm in _of(condition, limit, situation, now):
            found[alarm.key] = alarm
    return found


def _of(condition: Condition, limit: float, situation: Situation, now: float) -> Iterator[Alarm]:
    match condition:
        case "disk":
            for disk in situation.disks:
                if disk.free_percent < limit:
                    text = f"{disk.free_percent:.1f} % are free on the disk of {disk.what}"
                    yield Alarm(condition, f"disk {disk.what}", text, "make room; transfers wait when it is full")
        case "refused":
            if situation.refused > limit:
                text = f"{situation.refused} connections or requests were refused within an hour"
                yield Alarm(condition, "refused", text, "syncd security")
        case "digest":
            yield Alarm(condition, f"digest {int(now // limit)}", _digest(situation), "syncd storage list")
        case "error":
            for id_, why in situation.problems:
                yield Alarm(condition, f"error {id_}", why, f"syncd help {id_}")
            for folder in situation.folders:
                for id_, why in folder.problems:
                    yield Alarm(condition, f"error {folder.name} {id_}", f"{folder.name}: {why}", f"syncd help {id_}")
        case _:
            for folder in situation.folders:
                yield from _of_folder(condition, limit, folder, now)


def _of_folder(condition: Condition, limit: float, folder: FolderSituation, now: float) -> Iterator[Alarm]:
    if condition == "conflict" and folder.conflicts:
        text = f"{folder.name}: {folder.conflicts} files were changed in two places; both versions are kept"
        yield Alarm(condition, f"conflict {folder.name} {folder.conflicts}", text, f"syncd conflicts {folder.name}")
    elif condition == "mass-delete" and folder.held:
        text = f"{folder.name}: {folder.held} files would vanish; that is held until somebody decides"
        yield Alarm(condition, f"mass-delete {folder.name}", text, f"syncd requests {folder.name}")
    elif condition == "behind" and folder.in_sync_at is not None and now - folder.in_sync_at > limit:
        text = f"{folder.name}: not in sync for {(now - folder.in_sync_at) / 86_400:.1f} days"
        yield Alarm(condition, f"behind {folder.name}", text, f"syncd status {folder.name}")
    elif condition == "copies" and folder.copies is not None and folder.copies < limit:
        text = f"{folder.name}: {folder.copies} of {limit:.0f} computers are known to have all of it"
        yield Alarm(condition, f"copies {folder.name}", text, f"syncd storage list {folder.name}")
    elif condition == "certificate" and folder.certificate_since and now - folder.certificate_since > limit:
        days = (now - folder.certificate_since) / 86_400
        text = f"{folder.name}: its certificate is {days:.0f} days old"
        yield Alarm(condition, f"certificate {folder.name}", text, f"syncd rotate {folder.name}")
    elif condition == "stale":
        for peer in folder.peers:
            silent = now - (folder.added if peer.last_seen is None else peer.last_seen)
            if not peer.connected and silent > limit:
                text = f"{folder.name}: {peer.name} was not seen for {silent / 86_400:.1f} days"
                yield Alarm(condition, f"stale {folder.name} {peer.name}", text, "syncd peers; start syncd there")


def _digest(situation: Situation) -> str:
    """How everything is, in one line for each folder."""
    lines = []
    for folder in situation.folders:
        copies = "" if folder.copies is None else f", {folder.copies} full copies"
        troubles = f", {len(folder.problems)} problems" if folder.problems else ""
        conflicts = f", {folder.conflicts} conflicts" if folder.conflicts else ""
        away = [peer.name for peer in folder.peers if not peer.connected]
        missing = f", not connected: {', '.join(away)}" if away else ""
        lines.append(f"{folder.name}: {folder.state}{copies}{troubles}{conflicts}{missing}")
    return "\n".join(lines or ["There are no folders."])
