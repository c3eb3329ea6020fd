"""Async. History as a person asks for it: looking into the past, restoring, undoing.

The answers come from `store.past` and `store.restoring`; here a folder, a path and a moment are found, and the answers
made into JSON. `daemon.restoring` brings back.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from ca.ids import DeviceId
from syncd.daemon.commanding import Commanding
from syncd.daemon.restoring import Missing, Wish, bring, nothing_there, published, refusals
from syncd.daemon.running import RunningFolder
from syncd.daemon.views import Json, as_text, moment
from syncd.engine.timeline import Seen, counts, difference
from syncd.errors import SyncdError
from syncd.folder.folder import FolderTask
from syncd.folder.gathering import fetch, held_by_peers
from syncd.model.lists import Entry
from syncd.model.paths import Path
from syncd.model.records import ContentKind
from syncd.store import looking, restoring, snapshots
from syncd.store.outside import Existing
from syncd.store.restoring import Deed, Foreseen, Moment, Part

Params = Mapping[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]


class History:
    """The methods of the control socket that are about the past."""

    def __init__(
        self,
        find: Callable[[str | None, str | None], RunningFolder],
        find_by_path: Callable[[str], RunningFolder | None],
        commanding: Commanding | None = None,
    ) -> None:
        self._find = find
        self._find_by_path = find_by_path
        self._commanding = commanding

    # finding what a person named -----------------------------------------------------------------------------

    def _at_path(self, path: str) -> tuple[RunningFolder, FolderTask, Path]:
        folder = self._find_by_path(path)
        if folder is None:
            raise SyncdError("no folder of syncd contains this path", id="SY-FIND-03")
        inside = os.fsencode(os.path.normpath(path))[len(folder.row.path) :].strip(b"/")
        return folder, folder.at_work(), tuple(inside.split(b"/")) if inside else ()

    async def when(self, task: FolderTask, params: Params) -> Moment:
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
            raise nothing_there(path)
        at_peers = await held_by_peers(task, looking.missing_cids(lines))
        return {
            "schema": "syncd.history/1",
            **_about(folder, path),
            "versions": [
                {
                    "id": line.changeset.hex()[:12],
                    "time": moment(line.time_ms / 1000),
                    "by": folder.membership.author_name(line.device),
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
        when = await self.when(task, params)
        tree = await task.db(restoring.db_tree, task.store, when, path)
        if path and not tree:
            raise nothing_there(path)
        return {
            "schema": "syncd.past/1",
            **_about(folder, path),
            "entries": [_entry(folder, at, seen) for at, seen in sorted(tree.items())],
        }

    async def diff(self, params: Params, progress: Progress) -> Json:
        folder, task, path = self._at_path(params["path"])
        before = await task.db(restoring.db_tree, task.store, await self.when(task, params), path)
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
                    "by": "" if one.after is None else _by(folder, one.after),
                    "size_before": None if one.before is None else one.before.content.size,
                    "size": None if one.after is None else one.after.content.size,
                }
                for one in found
            ],
        }

    async def search(self, params: Params, progress: Progress) -> Json:
        folder = self._find(params["folder"], params["cwd"])
        task = folder.at_work()
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
        when = await self.when(task, params)
        if params["on"] is not None:
            return await self._on_another(folder, path, when, params, progress)
        to = None if params["to"] is None else os.fsencode(params["to"])
        existing = _existing(params["existing"])
        part = Part(path, params["only"], keep_newer=to is None and existing is Existing.KEEP)
        wish = Wish(when, part, to, existing, changed=params["changed"], partial=params["partial"])
        found = await bring(folder, task, wish, dry_run=params["dry_run"])
        return {
            "schema": "syncd.restore/1",
            **_about(folder, path),
            "to": params["to"],
            "counts": dict(found.counts),
            "bytes": found.size,
            "from_peers": {"blocks": len(found.lacking), "bytes": sum(one.length for one in found.lacking)},
            "missing_blocks": found.missing,
            "incomplete": [as_text(b"/".join(path)) for path in found.incomplete],
            "differences": [
                {"change": one.change.value, "path": as_text(b"/".join(one.path))} for one in found.differences
            ],
            "estimate_s": None if found.estimate_s is None else round(found.estimate_s, 1),
            "refused": [_refusal(one) for one in found.refused],
            "dry_run": params["dry_run"],
            "undo": None if found.deed is None else found.deed.id,
        }

    async def _on_another(
        self, folder: RunningFolder, path: Path, when: Moment, params: Params, progress: Progress
    ) -> Json:
        """An admin's command to another device, which has its own numbers of changes: only a time means the same."""
        if self._commanding is None or when.at_ms is None or params["dry_run"]:
            raise SyncdError("another device is told a time", id="SY-USE-01", fix="--at TIME or --snapshot NAME")
        existing = _existing(params["existing"])
        return await self._commanding.restore_on(folder, path, when.at_ms, existing, params, progress)

    # undoing -------------------------------------------------------------------------------------------------

    async def undo(self, params: Params, progress: Progress) -> Json:
        folder = self._find(params["folder"], params["cwd"])
        task = folder.at_work()
        deed = await self._deed(task, params["id"])
        foreseen = await task.db(restoring.db_foresee_undo, task.store, deed)
        at_peers = await held_by_peers(task, foreseen.lacking)
        missing = Missing(sum(entry.cid not in at_peers for entry in foreseen.lacking))
        plan = Foreseen((), foreseen.records, foreseen.deletes, foreseen.size, foreseen.lacking, foreseen.parts)
        refused = await refusals(folder, task, plan, missing)
        undo: Deed | None = None
        if not params["dry_run"]:
            if refused:
                raise refused[0]
            if foreseen.lacking:
                await fetch(task, foreseen.lacking, foreseen.parts)
            undo = (await task.db(restoring.db_undo, task.store, deed, task.clock.now())).deed
            await published(task)
        return {
            "schema": "syncd.undo/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "of": await _deed_json(folder, task, deed),
            "names": foreseen.records,
            "deletes": foreseen.deletes,
            "bytes": foreseen.size,
            "changed_since": foreseen.changed,
            "refused": [_refusal(one) for one in refused],
            "dry_run": params["dry_run"],
            "undo": None if undo is None else undo.id,
        }

    async def undo_list(self, params: Params, progress: Progress) -> Json:
        folder = self._find(params["folder"], params["cwd"])
        task = folder.at_work()
        deeds = await task.db(restoring.db_deeds, task.store)
        return {
            "schema": "syncd.undo.list/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "deeds": [await _deed_json(folder, task, deed) for deed in deeds],
        }

    async def _deed(self, task: FolderTask, id_: str | None) -> Deed:
        deeds = await task.db(restoring.db_deeds, task.store)
        for deed in deeds:
            if deed.id == id_ or (id_ is None and deed.undone is None and deed.kind != "undo"):
                return deed
        raise unknown("undo", id_ or "")


def moment_ms(at_s: float | None) -> int | None:
    """A time as a person gives it, to the millisecond; a whole second means all of it."""
    if at_s is None:
        return None
    return int(at_s) * 1000 + 999 if at_s == int(at_s) else int(at_s * 1000)


def _existing(word: str | None) -> Existing:
    try:
        return Existing.REFUSE if word is None else Existing(word)
    except ValueError:
        raise SyncdError(f"{word} is not refuse, keep or aside", id="SY-USE-01") from None


def _about(folder: RunningFolder, path: Path) -> Json:
    return {"folder": folder.id.hex(), "name": folder.name, "path": as_text(b"/".join(path))}


def _entry(folder: RunningFolder, path: Path, seen: Seen) -> Json:
    kinds = {ContentKind.FILE: "file", ContentKind.DIRECTORY: "directory", ContentKind.SYMLINK: "link"}
    mtime_ns = seen.attributes.mtime_ns
    return {
        "path": as_text(b"/".join(path)),
        "kind": kinds[seen.content.kind],
        "size": seen.content.size,
        "mode": seen.attributes.mode,
        "mtime": None if mtime_ns is None or seen.is_directory else moment(mtime_ns / 1e9),
        "by": _by(folder, seen),
    }


def _by(folder: RunningFolder, seen: Seen) -> str:
    return "" if seen.author is None else folder.membership.author_name(seen.author)


async def _deed_json(folder: RunningFolder, task: FolderTask, deed: Deed) -> Json:
    about = deed.about
    if deed.kind == restoring.DELETE:  # what is written there is what its author calls himself
        about = f"deletions by {folder.membership.author_name(await task.db(_author, task, deed.first))}"
    return {
        "id": deed.id,
        "kind": deed.kind,
        "time": moment(deed.at),
        "about": about,
        "undone": deed.undone,
    }


def _author(task: FolderTask, seq: int) -> DeviceId:
    return task.store.journal.sources[seq].device


def _refusal(error: SyncdError) -> Json:
    return {"id": error.id, "what": error.what, "why": error.why, "fix": error.fix}


def _kept(lacking: Sequence[Entry], at_peers: set[bytes]) -> str:
    if not lacking:
        return "here"
    return "peer" if all(entry.cid in at_peers for entry in lacking) else "no"


def unknown(what: str, name: str) -> SyncdError:
    return SyncdError(f"there is no {what} {name}".rstrip(), id="SY-HIST-06")
