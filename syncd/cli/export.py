"""Blocking. `syncd export`: a moment of a folder as a directory, a tar file or an encrypted store, once or on a
schedule."""

from __future__ import annotations

import os
from typing import Annotated

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.history import At, Before, SnapshotName, moment_of
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command, here, seconds, usage


@command()
def export(
    session: Session,
    folder: Annotated[str | None, Argument(metavar="FOLDER", help="Default: the one you stand in.")] = None,
    to: Annotated[str | None, Option("--to", metavar="PATH", help="New directory, .tar, or store.")] = None,
    at: At = None,
    before: Before = None,
    snapshot: SnapshotName = None,
    only: Annotated[str | None, Option("--only", metavar="GLOB", help="Only files that match.")] = None,
    encrypted: Annotated[bool, Option("--encrypted", help="A store; the recovery key opens it.")] = False,
    every: Annotated[str | None, Option("--every", metavar="TIME", help="On a schedule: 12h, 7d.")] = None,
    tar: Annotated[bool, Option("--tar", help="With --every: a tar file each time.")] = False,
    keep: Annotated[str | None, Option("--keep", metavar="N", help="With --tar: the newest N.")] = None,
    list_: Annotated[bool, Option("--list", help="List the exports on a schedule, and how they went.")] = False,
    stop: Annotated[str | None, Option("--stop", metavar="NUMBER", help="End an export on a schedule.")] = None,
) -> None:
    """Write a folder as it is, or was, to a directory or tar file, or encrypted. `--json` prints syncd.export/1.

    With `--every`, `--list` or `--stop` it prints syncd.exports/1. docs/storage.md says how a store is read without
    syncd.
    """
    target = None if to is None else os.path.abspath(os.path.expanduser(to))
    if list_ or stop or every:
        if every and target is None:
            raise usage("where to?", fix="--to DIRECTORY")
        jobs = session.call(
            "exports",
            **here(folder),
            to=target or "",
            every_s=None if every is None else seconds(every, "--every"),
            encrypted=encrypted,
            tar=tar,
            keep=keep,
            stop=stop,
        )
        session.show(jobs, lambda: _job_lines(jobs["exports"]))
        return
    if target is None:
        raise usage("where to?", fix="--to DIRECTORY, or --to FILE.tar")
    moment = moment_of(session, at, before, snapshot)
    request = {**here(folder), **moment, "to": target, "only": only, "encrypted": encrypted}
    done = session.stream("export", _silent, **request, dry_run=session.flags.dry_run)
    session.show(done, lambda: _done_lines(done))


def _silent(progress: Json) -> None:
    """An export says nothing on the way."""


def _done_lines(done: Json) -> list[str]:
    verb = "would export" if done["dry_run"] else "exported"
    lines = [f"{verb} {text.count(done['names'], 'name')}, {text.size(done['bytes'])}, to {text.escape(done['to'])}"]
    if done["missing_blocks"]:
        lines.append(f"{done['missing_blocks']:,} blocks are nowhere to be had: this cannot be exported now")
    return lines


def _job_lines(jobs: list[Json]) -> list[str]:
    rows = [
        [
            str(job["id"]),
            job["form"],
            text.escape(job["to"]),
            f"every {text.duration(job['every_s'])}",
            "never yet" if job["done"] is None else f"last {text.clock(job['done'], None)}",
            f"failed {job['failures']} times: {text.escape(job['runs'][-1]['why'])}" if job["failures"] else "",
        ]
        for job in jobs
    ]
    return text.table(rows) or ["no export on a schedule"]
