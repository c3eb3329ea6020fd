"""Async. What the page and the command line show of contents: files on their way, who has what, and the traffic."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import trio

from ca.device import device_text
from ca.ids import DeviceId
from syncd.daemon.app import Daemon
from syncd.daemon.running import RunningFolder
from syncd.daemon.views import as_text, have_ratio, moment
from syncd.errors import ConfigError, PeerUnavailable, SyncdError
from syncd.folder.gathering import held_by
from syncd.folder.traffic import SPANS
from syncd.model.ids import Cid
from syncd.model.lists import ENTRY_BYTES, Entry
from syncd.protocol.exchange import Link
from syncd.store.changes import Change, db_changes
from syncd.store.listing import PAGE, Listed, db_list
from syncd.store.rows import DIR, SYMLINK
from syncd.store.staging import Staging

Json = dict[str, Any]

MAX_SHOWN: Final = 20
"""Files of which the blocks are told; the others on their way are only counted."""
STRIP_CELLS: Final = 120
HAVE_S: Final = 2.0
"""What a peer may take to say which blocks it has, before it counts as not knowing."""
MAX_PEERS: Final = 32
MAX_CHANGES: Final = 500
BINS: Final = 60
CHANGE_KINDS: Final = ("added", "changed", "deleted", "moved")
_KINDS: Final = {DIR: "directory", SYMLINK: "link"}


class Looking:
    """Methods of the control socket that only look."""

    def __init__(self, daemon: Daemon, find_folder: Callable[[str | None, str | None], RunningFolder]) -> None:
        self._daemon = daemon
        self._find_folder = find_folder

    # transfers -----------------------------------------------------------------------------------------------

    async def transfers(self, params: Mapping[str, Any], progress: object) -> Json:
        """Files on their way here, each with the state of its blocks."""
        daemon = self._daemon
        rate = daemon.meter.receive_rate(daemon.seams.clock.monotonic())
        shown: list[Json] = []
        total = need = 0
        for folder in daemon.folders:
            if folder.task is None:
                continue
            stagings = [staging for staging in folder.task.puller.stagings if staging.want.size]
            total += len(stagings)
            need += folder.task.counts.need_bytes
            stagings.sort(key=lambda staging: -staging.want.size)
            shown += [self._transfer(folder, staging) for staging in stagings[: MAX_SHOWN - len(shown)]]
        return {
            "schema": "syncd.transfers/1",
            "receive_rate": rate,
            "total": total,
            "need_bytes": need,
            "eta_s": round(need / rate) if rate and need else None,
            "files": shown,
        }

    def _transfer(self, folder: RunningFolder, staging: Staging) -> Json:
        want, task = staging.want, folder.task
        assert task is not None
        missing = dict(staging.missing)  # a worker thread may be taking from it
        runs = _runs(self._cells(folder, staging, missing))
        return {
            "folder": folder.id.hex(),
            "name": folder.name,
            "path": as_text(b"/".join(want.path)),
            "bytes": want.size,
            "done_bytes": 0 if staging.parts else max(0, want.size - sum(entry.length for entry in missing.values())),
            "peers": sorted({run["by"] for run in runs if run["by"] is not None}),
            "strip": runs,
        }

    def _cells(
        self, folder: RunningFolder, staging: Staging, missing: Mapping[int, Entry]
    ) -> list[tuple[str, str | None, int]]:
        """(state, from whom, holders) of every block in the order of the file; of a long file, of some of them."""
        task = folder.task
        assert task is not None
        count = max(1, len(staging.want.packed) // ENTRY_BYTES)
        if staging.parts:  # its list is not here yet, so nothing else is known of it
            return [("nobody" if not task.links else "held", None, len(task.links))]
        cells: list[tuple[str, str | None, int]] = [("have", None, 0)] * count
        for offset, entry in missing.items():
            assigned, holders = task.puller.pull.holders(entry.cid)
            who = None if assigned is None else folder.membership.member_name(assigned)
            state = "arriving" if assigned is not None else "held" if holders else "nobody"
            cells[min(count - 1, offset * count // staging.want.size)] = state, who, holders
        step = -(-count // STRIP_CELLS)
        return [max(cells[at : at + step], key=_weight) for at in range(0, count, step) for _ in cells[at : at + step]]

    # who has what --------------------------------------------------------------------------------------------

    async def ls(self, params: Mapping[str, Any], progress: object) -> Json:
        """A directory of a folder: what is in it, and which connected peer has it. Peers are asked now."""
        folder = self._find_folder(params["folder"], params["cwd"])
        task = folder.at_work()
        raw = (params["path"] or "").encode("utf-8", "surrogateescape").strip(b"/")
        path = tuple(raw.split(b"/")) if raw else ()
        after = _cursor_untrusted(params["after"])
        entries = await task.db(db_list, task.store.connection, path, after)
        if entries is None:
            raise SyncdError("there is no such directory", id="SY-FIND-01", why=f"in {folder.name}")
        have = await self._ask_peers(folder, entries)
        contacts = self._daemon.contacts(folder.id)
        devices = sorted(folder.membership.devices(), key=lambda device: folder.membership.member_name(device.id))
        return {
            "schema": "syncd.ls/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "path": as_text(raw),
            "peers": [
                {
                    "id": device_text(device.id),
                    "name": folder.membership.member_name(device.id),
                    "connected": (contact := contacts.get(device.id)) is not None and contact.connected,
                    "have_ratio": have_ratio(task, device.id),
                }
                for device in devices[:MAX_PEERS]
            ],
            "entries": [
                {
                    "name": as_text(entry.name),
                    "kind": _KINDS.get(entry.kind, "file"),
                    "bytes": entry.size,
                    "mtime": None if entry.mtime_ns is None else moment(entry.mtime_ns / 1e9),
                    "state": "here" if entry.is_here and not entry.is_pending else "waiting",
                    "peers": {device_text(device): has for device, has in have.get(entry.name, {}).items()},
                }
                for entry in entries
            ],
            "after": base64.urlsafe_b64encode(entries[-1].name).decode() if len(entries) == PAGE else None,
        }

    async def _ask_peers(self, folder: RunningFolder, entries: list[Listed]) -> dict[bytes, dict[DeviceId, bool]]:
        """By name: which of the connected peers has all the blocks that were picked of it."""
        task = folder.task
        assert task is not None
        found: dict[bytes, dict[DeviceId, bool]] = {}

        async def ask(device: DeviceId, link: Link) -> None:
            cids = list(dict.fromkeys(cid for entry in entries for cid in entry.blocks))
            held = await _held(link, cids)
            if held is None:
                return
            for entry in entries:
                if entry.blocks:
                    found.setdefault(entry.name, {})[device] = held.issuperset(entry.blocks)
                elif entry.kind != DIR and task.peer_is_whole(device):
                    found.setdefault(entry.name, {})[device] = True

        async with trio.open_nursery() as nursery:
            for device, state in sorted(task.links.items())[:MAX_PEERS]:
                nursery.start_soon(ask, device, state.link)
        return found

    # changes -------------------------------------------------------------------------------------------------

    async def changes(self, params: Mapping[str, Any], progress: object) -> Json:
        """The latest changes of a folder, and all of them together in equal steps of the time they span."""
        folder = self._find_folder(params["folder"], params["cwd"])
        task = folder.at_work()
        found = await task.db(db_changes, task.store, min(params["most"], MAX_CHANGES), task.now_ms())
        return {
            "schema": "syncd.changes/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "path": as_text(folder.row.path),
            "bins": _bins(found, self._daemon.seams.clock.now()),
            "changes": [
                {
                    "id": change.id,
                    "time": moment(change.time_ms / 1000),
                    "by": folder.membership.author_name(change.author),
                    **{kind: getattr(change, kind) for kind in CHANGE_KINDS},
                    "approves": change.approves,
                }
                for change in found
            ],
        }

    # traffic -------------------------------------------------------------------------------------------------

    async def traffic(self, params: Mapping[str, Any], progress: object) -> Json:
        """Bytes by peer and step of a time, the present step last."""
        span = params["span"]
        if span not in SPANS:
            raise ConfigError(f"{span} is not a time of which traffic is kept", id="SY-USE-01", fix="15m, 24h or 30d")
        daemon = self._daemon
        clock = daemon.seams.clock
        daemon.meter.traffic.sample(clock.monotonic())  # also what moved since the last look at it
        series = daemon.meter.traffic.series(span, clock.monotonic())
        step_s, steps = SPANS[span].step_s, SPANS[span].steps
        names = {
            device.id: folder.membership.member_name(device.id)
            for folder in daemon.folders
            for device in folder.membership.devices()
        }
        return {
            "schema": "syncd.traffic/1",
            "span": span,
            "step_s": step_s,
            "began": moment(clock.now() - step_s * steps),
            "peers": [
                {
                    "id": device_text(device),
                    "name": names.get(device, device_text(device)[:12]),
                    "received": [received for received, _ in moved],
                    "sent": [sent for _, sent in moved],
                }
                for device, moved in sorted(series.items())
            ],
        }


async def _held(link: Link, cids: list[Cid]) -> set[Cid] | None:
    """Which blocks a peer says it has; None if it does not say so in time."""
    if not cids:
        return set()
    with trio.move_on_after(HAVE_S):
        try:
            return await held_by(link, cids)
        except PeerUnavailable:
            return None
    return None


def _bins(changes: Sequence[Change], now: float) -> list[Json]:
    """Sums of changes over time, from the oldest of them until now, in `BINS` steps."""
    if not changes:
        return []
    began = min(change.time_ms for change in changes) / 1000
    step = max(now - began, 60.0) / BINS
    bins: list[Json] = [
        {"began": moment(began + number * step), **dict.fromkeys(CHANGE_KINDS, 0)} for number in range(BINS)
    ]
    for change in changes:
        found = bins[max(0, min(BINS - 1, int((change.time_ms / 1000 - began) / step)))]
        for kind in CHANGE_KINDS:
            found[kind] += getattr(change, kind)
    return bins


def _weight(cell: tuple[str, str | None, int]) -> int:
    """Which of several blocks speaks for all of them: the one that a person would want to know of."""
    return ("have", "held", "arriving", "nobody").index(cell[0])


def _runs(cells: Iterable[tuple[str, str | None, int]]) -> list[Json]:
    """Equal neighbours as one."""
    runs: list[Json] = []
    for state, who, holders in cells:
        last = runs[-1] if runs else None
        if last is not None and (last["state"], last["by"], last["holders"]) == (state, who, holders):
            last["blocks"] += 1
        else:
            runs.append({"state": state, "by": who, "holders": holders, "blocks": 1})
    return runs


def _cursor_untrusted(text: str | None) -> bytes:
    try:
        return b"" if text is None else base64.urlsafe_b64decode(text.encode())
    except ValueError as error:
        raise SyncdError("this page of the directory does not exist", id="SY-FIND-01") from error
