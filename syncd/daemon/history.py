"""Async. History as a person asks for it: looking into the past, restoring, undoing.

The answers come from `store.past` and `store.restoring`; here is the order: find the folder and the moment, see what a
restore would take, fetch what is lacking from peers into packs of our own, and only then publish or write.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from syncd.daemon.folder import FolderTask
from syncd.daemon.gathering import fetch, held_by_peers
from syncd.daemon.running import RunningFolder
from syncd.daemon.views import Json, as_text, moment
from syncd.engine.timeline import Seen, counts, difference
from syncd.errors import SyncdError, TrustError
from syncd.model.lists import Entry
from syncd.model.paths import Path
from syncd.model.records import ContentKind
from syncd.store import looking, restoring, snapshots
from syncd.store.folder import SourceReader
from syncd.store.outside import DirectoryTarget, Target, TarTarget, Writing, write_all
from syncd.store.restoring import Deed, Foreseen, Moment, Part

Params = Mapping[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]

SPARE_BYTES = 64 << 20
"""What a restore leaves free on the disk."""
FILES_AT_ONCE = 256
"""Things that are written outside in one hop to a thread."""


class History:
    """The methods of the control socket that are about the past."""

    def __init__(
        self,
        find: Callable[[str | None, str | None], RunningFolder],
        find_by_path: Callable[[str], RunningFolder | None],
    ) -> None:
        self._find = find
        self._find_by_path = find_by_path

    # finding what a person named -----------------------------------------------------------------------------

    def _at_path(self, path: str) -> tuple[RunningFolder, FolderTask, Path]:
        folder = self._find_by_path(path)
        if folder is None:
            raise SyncdError("no folder of syncd contains this path", id="SY-FIND-03")
        inside = os.fsencode(os.path.normpath(path))[len(folder.row.path) :].strip(b"/")
        return folder, task_of(folder), tuple(inside.split(b"/")) if inside else ()

    async def _moment(self, task: FolderTask, params: Params) -> Moment:
        """The moment that is meant: a time, just before a change, or a snapshot; now, if none is named."""
        store = task.store
        if params["snapshot"] is not None:
            found = await task.db(snapshots.db_find, store, params["snapshot"])
            if found is None:
                raise unknown("snapshot", params["snapshot"])
            return Moment(at_ms=found.at_ms)
        if params["before"] is not None:
            prefix = params["before"]
            deeds = [deed for deed in await task.db(restoring.db_deeds, store) if deed.id == prefix]
            if deeds:
                return Moment(before=deeds[0].first)
            seqs = await task.db(looking.db_find_changeset, store, prefix)
            if len(seqs) != 1:
                raise unknown("change", prefix)
            return Moment(before=seqs[0])
        return Moment(at_ms=moment_ms(params["at_s"]))

    # looking -------------------------------------------------------------------------------------------------

    async def history(self, params: Params, progress: Progress) -> Json:
        folder, task, path = self._at_path(params["path"])
        lines = await task.db(looking.db_versions, task.store, path, params["most"])
        if not lines:
            raise _nothing_there(path)
        at_peers = await held_by_peers(task, looking.missing_cids(lines))
        return {
            "schema": "syncd.history/1",
            **_about(folder, path),
            "versions": [
                {
                    "id": line.changeset.hex()[:12],
                    "time": moment(line.time_ms / 1000),
                    "by": line.by,
                    "device": folder.membership.member_name(line.device),
                    "action": line.action,
                    "size": line.size,
                    "current": line.is_current,
                    "kept": _kept(line.lacking, at_peers),
                }
                for line in lines
            ],
        }

    async def tree(self, params: Params, progress: Progress) -> Json:
        folder, task, path = self._at_path(params["path"])
        when = await self._moment(task, params)
        tree = await task.db(restoring.db_tree, task.store, when, path)
        if path and not tree:
            raise _nothing_there(path)
        return {
            "schema": "syncd.past/1",
            **_about(folder, path),
            "entries": [_entry(at, seen) for at, seen in sorted(tree.items())],
        }

    async def diff(self, params: Params, progress: Progress) -> Json:
        folder, task, path = self._at_path(params["path"])
        before = await task.db(restoring.db_tree, task.store, await self._moment(task, params), path)
        after = await task.db(restoring.db_tree, task.store, Moment(at_ms=moment_ms(params["to_s"])), path)
        found = difference(before, after)
        return {
            "schema": "syncd.diff/1",
            **_about(folder, path),
            "counts": {change.value: count for change, count in counts(found).items()},
            "differences": [
                {
                    "change": one.change.value,
                    "path": as_text(b"/".join(one.path)),
                    "from": None if one.moved_from is None else as_text(b"/".join(one.moved_from)),
                    "by": "" if one.after is None else one.after.by,
                    "size_before": None if one.before is None else one.before.content.size,
                    "size": None if one.after is None else one.after.content.size,
                }
                for one in found
            ],
        }

    async def search(self, params: Params, progress: Progress) -> Json:
        folder = self._find(params["folder"], params["cwd"])
        task = task_of(folder)
        found = await task.db(looking.db_search, task.store, params["text"], params["most"])
        return {
            "schema": "syncd.search/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "found": [{"path": as_text(b"/".join(path)), "exists": exists} for path, exists in found],
        }

    # restoring -----------------------------------------------------------------------------------------------

    async def restore(self, params: Params, progress: Progress) -> Json:
        folder, task, path = self._at_path(params["path"])
        when = await self._moment(task, params)
        part = Part(path, params["only"])
        if params["to"] is not None:
            return await self._restore_outside(folder, task, when, part, params)
        foreseen = await task.db(restoring.db_foresee, task.store, when, part)
        if not foreseen.records and not await task.db(restoring.db_tree, task.store, when, path):
            raise _nothing_there(path)
        at_peers = await held_by_peers(task, foreseen.lacking)
        missing = [entry for entry in foreseen.lacking if entry.cid not in at_peers]
        deed: Deed | None = None
        if not params["dry_run"]:
            await self._demand(folder, task, foreseen, missing)
            await self._gather(task, when, part, foreseen)
            about = f"{folder.name}/{as_text(b'/'.join(path))}".rstrip("/")
            deed = await task.db(restoring.db_restore, task.store, when, part, about, task.clock.now())
            await _published(task)
        return {
            "schema": "syncd.restore/1",
            **_about(folder, path),
            "to": None,
            "counts": {change.value: count for change, count in counts(foreseen.differences).items()},
            "bytes": foreseen.size,
            "from_peers": {"blocks": len(foreseen.lacking), "bytes": sum(one.length for one in foreseen.lacking)},
            "missing_blocks": len(missing),
            "differences": [
                {"change": one.change.value, "path": as_text(b"/".join(one.path))} for one in foreseen.differences
            ],
            "dry_run": params["dry_run"],
            "undo": None if deed is None else deed.id,
        }

    async def _demand(
        self, folder: RunningFolder, task: FolderTask, foreseen: Foreseen, missing: Sequence[Entry]
    ) -> None:
        """Refuse before anything is touched."""
        if missing:
            raise _not_kept(len(missing))
        membership, device = folder.membership, task.store.journal.device
        if not task.rights.publishes or not membership.may_publish(device, membership.head):
            raise TrustError("your role does not allow to change this folder", id="SY-TRUST-02", fix=_ELSEWHERE)
        if foreseen.deletes and not membership.may_delete(device, membership.head):
            raise TrustError("your role does not allow to delete in this folder", id="SY-TRUST-02", fix=_ELSEWHERE)
        free, _ = await task.blocking(task.store.tree.space)
        if foreseen.size + SPARE_BYTES > free:
            raise SyncdError(f"the restore needs {foreseen.size:,} bytes, the disk has {free:,} free", id="SY-HIST-03")

    async def _gather(self, task: FolderTask, when: Moment, part: Part, foreseen: Foreseen) -> None:
        """Bring here what is lacking; parts of lists first, as they tell of further blocks."""
        while foreseen.lacking:
            got = await fetch(task, foreseen.lacking, foreseen.parts)
            again = await task.db(restoring.db_foresee, task.store, when, part)
            if not got and again.lacking:
                raise _not_kept(len(again.lacking))
            foreseen = again

    async def _restore_outside(
        self, folder: RunningFolder, task: FolderTask, when: Moment, part: Part, params: Params
    ) -> Json:
        store = task.store
        tree = await task.db(restoring.db_tree, store, when, part.path)
        chosen = _chosen(tree, part)
        if not chosen:
            raise _nothing_there(part.path)
        contents = [seen.content for seen in chosen.values()]
        size = sum(content.size for content in contents)
        lacking, parts = await task.db(restoring.db_lacking, store, contents)
        at_peers = await held_by_peers(task, lacking)
        missing = [entry for entry in lacking if entry.cid not in at_peers]
        if not params["dry_run"]:
            while lacking:
                if missing or not await fetch(task, lacking, parts):
                    raise _not_kept(len(missing or lacking))
                lacking, parts = await task.db(restoring.db_lacking, store, contents)
            await self._write_outside(task, chosen, part.path, os.fsencode(params["to"]))
        return {
            "schema": "syncd.restore/1",
            **_about(folder, part.path),
            "to": params["to"],
            "counts": {"added": len(chosen)},
            "bytes": size,
            "from_peers": {"blocks": len(lacking), "bytes": sum(one.length for one in lacking)},
            "missing_blocks": len(missing),
            "differences": [],
            "dry_run": params["dry_run"],
            "undo": None,
        }

    async def _write_outside(self, task: FolderTask, chosen: Mapping[Path, Seen], top: Path, to: bytes) -> None:
        store = task.store
        make: Callable[[bytes], Target] = TarTarget if to.endswith(b".tar") else DirectoryTarget
        target = await task.blocking(make, to)
        reader = SourceReader(store.tree, store.packs, store.keyring)
        items = sorted(chosen.items())
        skip = max(0, len(top) - 1)  # of a path below the root, its last name is the top of what is written
        try:
            with target:
                for start in range(0, len(items), FILES_AT_ONCE):
                    some = items[start : start + FILES_AT_ONCE]
                    writings = await task.db(_writings, task, some, skip)
                    await task.blocking(write_all, target, writings, reader, store.keyring)
        finally:
            reader.close()

    # undoing -------------------------------------------------------------------------------------------------

    async def undo(self, params: Params, progress: Progress) -> Json:
        folder = self._find(params["folder"], params["cwd"])
        task = task_of(folder)
        deed = await self._deed(task, params["id"])
        foreseen = await task.db(restoring.db_foresee_undo, task.store, deed)
        undo: Deed | None = None
        if not params["dry_run"]:
            at_peers = await held_by_peers(task, foreseen.lacking)
            missing = [entry for entry in foreseen.lacking if entry.cid not in at_peers]
            plan = Foreseen((), foreseen.records, foreseen.deletes, foreseen.size, foreseen.lacking, foreseen.parts)
            await self._demand(folder, task, plan, missing)
            if foreseen.lacking:
                await fetch(task, foreseen.lacking, foreseen.parts)
            undo = (await task.db(restoring.db_undo, task.store, deed, task.clock.now())).deed
            await _published(task)
        return {
            "schema": "syncd.undo/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "of": _deed_json(deed),
            "names": foreseen.records,
            "deletes": foreseen.deletes,
            "bytes": foreseen.size,
            "changed_since": foreseen.changed,
            "dry_run": params["dry_run"],
            "undo": None if undo is None else undo.id,
        }

    async def undo_list(self, params: Params, progress: Progress) -> Json:
        folder = self._find(params["folder"], params["cwd"])
        task = task_of(folder)
        deeds = await task.db(restoring.db_deeds, task.store)
        return {
            "schema": "syncd.undo.list/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "deeds": [_deed_json(deed) for deed in deeds],
        }

    async def _deed(self, task: FolderTask, id_: str | None) -> Deed:
        deeds = await task.db(restoring.db_deeds, task.store)
        for deed in deeds:
            if deed.id == id_ or (id_ is None and deed.undone is None and deed.kind != "undo"):
                return deed
        raise unknown("undo", id_ or "")


_ELSEWHERE = "restore to a directory of your own: --to DIR"


def task_of(folder: RunningFolder) -> FolderTask:
    if folder.task is None:
        raise SyncdError(f"the folder {folder.name} is not running", id="SY-FIND-01", fix="syncd status")
    return folder.task


def moment_ms(at_s: float | None) -> int | None:
    """A time as a person gives it, to the millisecond; a whole second means all of it."""
    if at_s is None:
        return None
    return int(at_s) * 1000 + 999 if at_s == int(at_s) else int(at_s * 1000)


async def _published(task: FolderTask) -> None:
    task.announce(await task.db(task.store.journal.newest_seq))
    task.wake_plan()


def _writings(task: FolderTask, items: Sequence[tuple[Path, Seen]], skip: int) -> list[Writing]:
    store = task.store
    found = []
    for path, seen in items:
        packed = restoring.db_packed(store, seen.content) if seen.content.kind is ContentKind.FILE else b""
        found.append(Writing(path[skip:], seen, restoring.db_places(store, packed)))
    return found


def _chosen(tree: Mapping[Path, Seen], part: Part) -> dict[Path, Seen]:
    """What matches, with the directories that lead there."""
    chosen = {path: seen for path, seen in tree.items() if part.holds(path, seen)}
    above = {path[:end] for path in chosen for end in range(max(1, len(part.path)), len(path))}
    return {path: seen for path, seen in tree.items() if path in chosen or path in above}


def _about(folder: RunningFolder, path: Path) -> Json:
    return {"folder": folder.id.hex(), "name": folder.name, "path": as_text(b"/".join(path))}


def _entry(path: Path, seen: Seen) -> Json:
    kinds = {ContentKind.FILE: "file", ContentKind.DIRECTORY: "directory", ContentKind.SYMLINK: "link"}
    mtime_ns = seen.attributes.mtime_ns
    return {
        "path": as_text(b"/".join(path)),
        "kind": kinds[seen.content.kind],
        "size": seen.content.size,
        "mode": seen.attributes.mode,
        "mtime": None if mtime_ns is None or seen.is_directory else moment(mtime_ns / 1e9),
        "by": seen.by,
    }


def _deed_json(deed: Deed) -> Json:
    return {
        "id": deed.id,
        "kind": deed.kind,
        "time": moment(deed.at),
        "about": deed.about,
        "undone": deed.undone,
    }


def _kept(lacking: Sequence[Entry], at_peers: set[bytes]) -> str:
    if not lacking:
        return "here"
    return "peer" if all(entry.cid in at_peers for entry in lacking) else "no"


def _nothing_there(path: Path) -> SyncdError:
    name = as_text(b"/".join(path)) or "the folder"
    return SyncdError(f"there was nothing called {name} then", id="SY-HIST-01")


def _not_kept(count: int) -> SyncdError:
    return SyncdError(f"{count:,} blocks of that moment are nowhere to be had", id="SY-HIST-02")


def unknown(what: str, name: str) -> SyncdError:
    return SyncdError(f"there is no {what} {name}".rstrip(), id="SY-HIST-06")
