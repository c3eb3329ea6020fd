"""Async. What a person does with a whole folder here, or with a conflict in it: pause, resume, move, check,
resolve."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import trio

from syncd.daemon.app import Daemon
from syncd.daemon.running import RunningFolder, absolute, pause_text, refuse_root
from syncd.daemon.views import as_text, moment
from syncd.errors import ConfigError, SyncdError, TrustError
from syncd.folder.folder import State
from syncd.methods.explaining import inside_of, row_at
from syncd.store import resolving
from syncd.store.db import is_sound
from syncd.store.reoffer import db_reoffer
from syncd.store.rows import ROOT_ROW
from syncd.treetypes import NameTaken, RootState, TreeError

BEGINS_S = 10.0
"""A folder that takes longer to open its database goes on doing so, and nobody waits for that."""

Json = dict[str, Any]
Params = Mapping[str, Any]
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]
FindFolder = Callable[[str | None, str | None], RunningFolder]


class Tending:
    """The methods of the control socket for folders and conflicts."""

    def __init__(
        self, daemon: Daemon, find_folder: FindFolder, folder_of_path: Callable[[str], RunningFolder | None]
    ) -> None:
        self._daemon = daemon
        self._find_folder = find_folder
        self._folder_of_path = folder_of_path

    # pausing -------------------------------------------------------------------------------------------------

    async def pause(self, params: Params, progress: Progress) -> Json:
        """Let folders rest: nothing is looked at, sent or received."""
        until = None if params["for_s"] is None else self._daemon.seams.clock.now() + params["for_s"]
        folders = self._named(params)
        for folder in folders:
            await self._set_pause(folder, float("inf") if until is None else until)
        return {
            "schema": "syncd.pause/1",
            "until": moment(until),
            "folders": [{"id": folder.id.hex(), "name": folder.name} for folder in folders],
        }

    async def resume(self, params: Params, progress: Progress) -> Json:
        """Let folders work again; whoever asks something of them next is answered."""
        folders = [folder for folder in self._named(params) if folder.paused_until is not None]
        before = [folder.task for folder in folders]  # one that a pause has just told to end, or none any more
        for folder in folders:
            await self._set_pause(folder, None)
        with trio.move_on_after(BEGINS_S):
            for folder, ended in zip(folders, before, strict=True):
                while folder.task in (None, ended) and folder.state not in (State.STOPPED, State.PAUSED):
                    await self._daemon.changed.wait()
        return {
            "schema": "syncd.resume/1",
            "folders": [{"id": folder.id.hex(), "name": folder.name} for folder in folders],
        }

    def _named(self, params: Params) -> list[RunningFolder]:
        if params["folder"] is None:
            return list(self._daemon.folders)
        return [self._find_folder(params["folder"], params["cwd"])]

    async def _set_pause(self, folder: RunningFolder, until: float | None) -> None:
        own = self._daemon.installation
        folder.row = replace(folder.row, state=pause_text(until))
        await own.on_disk(own.db.put_folder, folder.row)
        folder.pause(until)

    # moving --------------------------------------------------------------------------------------------------

    async def move(self, params: Params, progress: Progress) -> Json:
        """Let a folder lie at another path: moved there now, or moved there already by its owner."""
        daemon = self._daemon
        folder = self._find_folder(params["folder"], params["cwd"])
        path = absolute(params["path"])
        others = [other for other in daemon.folders if other is not folder]
        await refuse_root(path, others, os.fsencode(daemon.settings.home), daemon.seams.workers)
        tree = daemon.seams.trees.open(path, str(daemon.settings.home))
        run = daemon.seams.workers.run_blocking
        state = await run(tree.check_root, folder.marker)
        await run(tree.close)
        before = folder.row.path
        if state not in (RootState.OK, RootState.MISSING):
            raise ConfigError(
                f"{as_text(path)} is something else",
                id="SY-ROOT-03",
                why="a folder moves to a place where nothing is, or where its own directory lies already",
            )
        if not params["dry_run"]:
            try:
                await daemon.move_folder(folder, path, is_there=state is RootState.OK)
            except NameTaken as error:
                raise ConfigError(
                    f"{as_text(path)} is something else",
                    id="SY-ROOT-03",
                    why="a file or a symlink stands there, and no folder is looked at through a symlink",
                    fix="take it away, or name the place to which it leads",
                ) from error
            except TreeError as error:
                raise ConfigError(
                    f"{folder.name} stays where it is: it cannot be moved to {as_text(path)}",
                    id="SY-SHARE-02",
                    why=error.what,
                    fix="make the directory above it; to another disk move it yourself, then tell by the same command",
                ) from error
        return {
            "schema": "syncd.folder.move/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "from": as_text(before),
            "path": as_text(path),
            "moved": state is RootState.MISSING,
        }

    # checking ------------------------------------------------------------------------------------------------

    async def check(self, params: Params, progress: Progress) -> Json:
        """Database against disk against blocks: every file is read. Repairs nothing at once and deletes nothing."""
        checked = []
        for folder in self._named(params):
            task = folder.at_work()
            number = task.scanner.rescan()
            while task.progress.scans_done < number:
                await task.changed()
            read = suspects = rotten = 0
            began = self._daemon.seams.clock.now()
            while True:
                step = await task.doubter.step(everything=True, before=began)
                await progress({"event": "check", "name": folder.name, "files": read + step.read})
                if not step.read:
                    break
                read, suspects, rotten = read + step.read, suspects + len(step.suspects), rotten + len(step.rotten)
            problems = await task.db(is_sound, task.store.connection)
            checked.append(
                {
                    "id": folder.id.hex(),
                    "name": folder.name,
                    "files": read,
                    "suspect": suspects,
                    "rotten": rotten,
                    "database": problems,
                }
            )
        good = all(not (one["suspect"] or one["rotten"] or one["database"]) for one in checked)
        return {"schema": "syncd.check/1", "good": good, "folders": checked}

    # what is gone here alone ---------------------------------------------------------------------------------

    async def reoffer(self, params: Params, progress: Progress) -> Json:
        """Put there again what was deleted on this disk without the right to delete it for all."""
        folder, inside = self._place(params["path"])
        task = folder.at_work()
        names = tuple(inside.split(b"/")) if inside else ()

        def find() -> int:
            row = row_at(task, names)
            top = ROOT_ROW if not names else None if row is None else row.id
            return 0 if top is None else db_reoffer(task.store.connection, top, dry_run=params["dry_run"])

        count = await task.db(find)
        task.wake_plan()
        return {
            "schema": "syncd.restore.here/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "path": as_text(inside),
            "files": count,
            "dry_run": params["dry_run"],
        }

    # conflicts -----------------------------------------------------------------------------------------------

    async def resolve(self, params: Params, progress: Progress) -> Json:
        """Say which version of a file counts; the others stay in its history."""
        folder, inside = self._place(params["path"])
        task = folder.at_work()
        if not task.rights.publishes:
            raise TrustError("your role does not allow to settle conflicts for all", id="SY-SHARE-04")
        try:
            done = await task.db(
                resolving.db_resolve, task.store, tuple(inside.split(b"/")), params["keep"], task.now_ms()
            )
        except resolving.NoConflict as error:
            raise SyncdError(str(error), id="SY-FIND-04", why=error.why, fix="syncd conflicts") from error
        task.announce(await task.db(task.store.journal.newest_seq))
        task.look_again(done.look_again)
        task.wake_plan()
        with trio.move_on_after(10):
            while not task.is_settled:
                await task.changed()
        return {
            "schema": "syncd.resolve/1",
            "folder": folder.id.hex(),
            "path": as_text(b"/".join(done.path)),
            "kept": params["keep"],
            "undo": None if done.deed is None else done.deed.id,
            "by": None if done.by is None else folder.membership.author_name(done.by),
            "versions": done.versions,
        }

    def _place(self, path: str) -> tuple[RunningFolder, bytes]:
        """The folder that a path is in, and where there. Raises SyncdError."""
        folder = self._folder_of_path(path)
        if folder is None:
            raise SyncdError("no folder of syncd contains this path", id="SY-FIND-03")
        return folder, inside_of(folder.row.path, path)
