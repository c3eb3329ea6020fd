"""Async. Exports: any moment of a folder as a directory, a tar file or an encrypted store; once, or on a schedule.

A job of the schedule is one line of the folder's database: where to, how often, and what became of the last runs. A run
that was missed is made up for at once; one that failed is tried again after a minute, then after twice as long each
time. Nothing that an export wrote is ever changed by the next one; of tar files the oldest may go (`keep`).
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import asdict, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import trio

from ca.values import dataclass
from syncd.daemon.restoring import Brought, Wish, write_outside
from syncd.daemon.running import RunningFolder
from syncd.daemon.views import Json, moment
from syncd.errors import SyncdError, TrustError
from syncd.folder.folder import FolderTask
from syncd.methods.history import History, Params, Progress
from syncd.store.depot import KEY_BYTES, StoreKeys
from syncd.store.folder import FolderStore
from syncd.store.outside import drop_file, make_place
from syncd.store.restoring import Moment, Part
from syncd.treetypes import TreeError
from syncd.wording import is_number

if TYPE_CHECKING:
    from syncd.daemon.app import Daemon

log = logging.getLogger("syncd.export")

LOOK_S: Final = 60.0
RETRY_S: Final = 60.0
LEAST_EVERY_S: Final = 60.0
RUNS_KEPT: Final = 10
_KEY: Final = "exports"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job. `why`: what went wrong, empty for nothing."""

    at: float
    target: str
    size: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """An export on a schedule. `form`: directory, tar or store."""

    id: int
    to: str
    form: str
    every_s: float
    keep: int | None
    failures: int = 0
    done: float | None = None
    runs: tuple[Run, ...] = field(default=())

    def is_due(self, now: float) -> bool:
        """Whether it is to be run: its time has come, or was missed; after a failure it waits longer each time."""
        last = self.runs[-1].at if self.runs else None
        if self.failures and last is not None:
            return not last <= now < last + min(self.every_s, RETRY_S * 2 ** (self.failures - 1))
        return self.done is None or not self.done <= now < self.done + self.every_s

    def after(self, run: Run) -> Job:
        """The job when a run is over."""
        failed = bool(run.why)
        return replace(
            self,
            failures=self.failures + 1 if failed else 0,
            done=self.done if failed else run.at,
            runs=(*self.runs, run)[-RUNS_KEPT:],
        )


class Exports:
    """The methods of the control socket that are about exports, and the schedule: `run` until cancelled."""

    def __init__(
        self, daemon: Daemon, find: Callable[[str | None, str | None], RunningFolder], history: History
    ) -> None:
        self._daemon = daemon
        self._find = find
        self._history = history
        self._running = trio.Lock()
        self._jobs: WeakKeyDictionary[FolderTask, list[Job]] = WeakKeyDictionary()

    # once ----------------------------------------------------------------------------------------------------

    async def export(self, params: Params, progress: Progress) -> Json:
        """Write a moment of a folder somewhere, now."""
        folder = self._find(params["folder"], params["cwd"])
        task = folder.at_work()
        form = _form(params["to"], params["encrypted"])
        when = await self._history.when(task, params)
        part = Part((), params["only"])
        async with self._running:
            written = await self._write(folder, task, params["to"], form, when, part, dry_run=params["dry_run"])
        return {
            "schema": "syncd.export/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "to": params["to"],
            "form": form,
            "names": sum(written.counts.values()),
            "bytes": written.size,
            "missing_blocks": written.missing,
            "dry_run": params["dry_run"],
        }

    async def _write(
        self,
        folder: RunningFolder,
        task: FolderTask,
        to: str,
        form: str,
        when: Moment,
        part: Part,
        *,
        dry_run: bool = False,
    ) -> Brought:
        keys = self._keys(folder) if form == "store" else None
        return await write_outside(task, Wish(when, part, os.fsencode(to), keys=keys), dry_run=dry_run)

    def _keys(self, folder: RunningFolder) -> StoreKeys:
        own, membership = self._daemon.installation, folder.membership
        secrets = membership.secrets
        if secrets is None or not membership.is_current:
            raise TrustError("the newest epoch of this folder is not open here yet", id="SY-TRUST-01")
        epochs = {**secrets.older, secrets.epoch_id: secrets.epoch}
        roster = membership.roster
        return StoreKeys(epochs, own.random.token(KEY_BYTES), roster.recovery, own.sealer, int(roster.genesis.padding))

    # on a schedule -------------------------------------------------------------------------------------------

    async def jobs(self, params: Params, progress: Progress) -> Json:
        """List the jobs of a folder; with `every_s` one is added first, with `stop` one ends."""
        folder = self._find(params["folder"], params["cwd"])
        task = folder.at_work()
        jobs = await self._jobs_of(task)
        if params["every_s"] is not None:
            jobs = [*jobs, _new_job(jobs, params)]
        if params["stop"] is not None:
            kept = [job for job in jobs if str(job.id) != params["stop"]]
            if len(kept) == len(jobs):
                raise SyncdError(f"there is no export {params['stop']}", id="SY-HIST-06", fix="syncd export --list")
            jobs = kept
        await self._keep(task, jobs)
        return {
            "schema": "syncd.exports/1",
            "folder": folder.id.hex(),
            "name": folder.name,
            "exports": [_job_json(job) for job in jobs],
        }

    async def run(self) -> None:
        """Run what is due, until cancelled."""
        while True:
            for folder in self._daemon.folders:
                if folder.task is not None:
                    try:
                        await self._run_due(folder, folder.task)
                    except (SyncdError, TreeError, sqlite3.Error) as error:  # such as a folder that is just stopped
                        log.warning("folder %s: its exports wait: %s", folder.name, error)
            await trio.sleep(LOOK_S)

    async def _run_due(self, folder: RunningFolder, task: FolderTask) -> None:
        for job in await self._jobs_of(task):
            if job.is_due(task.clock.now()):
                async with self._running:
                    run = await self._run_job(folder, task, job)
                jobs = await self._jobs_of(task)  # somebody may have ended it meanwhile
                await self._keep(task, [one.after(run) if one.id == job.id else one for one in jobs])
                await task.blocking(_let_go, job, run)

    async def _jobs_of(self, task: FolderTask) -> list[Job]:
        """The jobs of a folder; asked of its rows once, so that these may rest."""
        if task not in self._jobs:
            self._jobs[task] = await task.db(_db_jobs, task.store)
        return self._jobs[task]

    async def _keep(self, task: FolderTask, jobs: list[Job]) -> None:
        await task.db(_db_keep, task.store, jobs)
        self._jobs[task] = jobs

    async def _run_job(self, folder: RunningFolder, task: FolderTask, job: Job) -> Run:
        now = task.clock.now()
        target = _target(folder.name, job, now)
        try:
            await task.blocking(make_place, os.fsencode(job.to))
            written = await self._write(folder, task, target, job.form, Moment(at_ms=int(now * 1000)), Part())
        except (SyncdError, TreeError) as error:
            log.error("folder %s: the export to %s failed: %s", folder.name, target, error)
            return Run(now, target, why=f"{error}")
        log.info("folder %s: exported to %s", folder.name, target)
        return Run(now, target, written.size)


def _form(to: str, is_store: bool) -> str:
    return "store" if is_store else "tar" if to.endswith(".tar") else "directory"


def _target(name: str, job: Job, now: float) -> str:
    """Where a run writes: into a store, or to a new name in the job's directory."""
    if job.form == "store":
        return job.to
    stem = name.replace("/", "-").strip(".") or "folder"
    when = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    return os.path.join(job.to, f"{stem} {when}" + (".tar" if job.form == "tar" else ""))


def _let_go(job: Job, run: Run) -> None:
    """Of the tar files that this job wrote, all but the newest go, if it was told how many to keep."""
    if job.keep is None or run.why:
        return
    written = [one.target for one in (*job.runs, run) if not one.why]
    for target in written[: -job.keep]:
        drop_file(os.fsencode(target))


def _new_job(jobs: list[Job], params: Params) -> Job:
    form = "store" if params["encrypted"] else "tar" if params["tar"] else "directory"
    every_s, keep = params["every_s"], params["keep"]
    if every_s < LEAST_EVERY_S:
        raise SyncdError("that is too often", id="SY-USE-01", fix="--every 1h, 12h, 7d")
    if keep is not None and (form != "tar" or not is_number(keep) or not 1 <= int(keep) < RUNS_KEPT):
        raise SyncdError("only tar files are let go, and one to nine are kept", id="SY-USE-01", fix="--tar --keep 7")
    number = max((job.id for job in jobs), default=0) + 1
    return Job(number, params["to"], form, every_s, None if keep is None else int(keep))


def _job_json(job: Job) -> Json:
    return {
        "id": job.id,
        "to": job.to,
        "form": job.form,
        "every_s": job.every_s,
        "keep": job.keep,
        "failures": job.failures,
        "done": moment(job.done),
        "runs": [
            {"time": moment(run.at), "target": run.target, "bytes": run.size, "why": run.why or None}
            for run in job.runs
        ],
    }


def _db_jobs(store: FolderStore) -> list[Job]:
    found = store.connection.execute("SELECT value FROM meta WHERE key=?", (_KEY,)).fetchone()
    values: list[Mapping[str, Any]] = [] if found is None else json.loads(found[0])
    return [Job(**{**value, "runs": tuple(Run(**run) for run in value["runs"])}) for value in values]


def _db_keep(store: FolderStore, jobs: list[Job]) -> None:
    value = json.dumps([asdict(job) for job in jobs]).encode()
    store.connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_KEY, value))
