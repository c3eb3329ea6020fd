"""Blocking. `syncd history`, `diff` and `search`: looking into the past without changing anything."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command, here, usage
from syncd.cli.when import EXAMPLES, parse_when, shown_zone

Path = Annotated[str, Argument(metavar="PATH", help="A file or directory, there or not; or FOLDER/inside.")]
At = Annotated[str | None, Option("--at", metavar="TIME", help=f"A moment: {EXAMPLES}.")]
Before = Annotated[str | None, Option("--before", metavar="ID", help="Just before a change (see history).")]
SnapshotName = Annotated[str | None, Option("--snapshot", metavar="NAME", help="A snapshot.")]

_KEPT = {"here": "kept here", "peer": "kept at a peer", "no": "not kept"}


@command()
def history(
    session: Session,
    path: Path,
    most: Annotated[int, Option("-n", "--most", metavar="N", help="At most so many, the newest.")] = 50,
) -> None:
    """List the versions of a file: when, by whom, and whether they can be restored. `--json` prints syncd.history/1."""
    found = session.call("history", path=absolute(session, path), most=most)
    session.show(found, lambda: _history_lines(session, found))


def _history_lines(session: Session, found: Json) -> list[str]:
    zone = shown_zone(utc=session.flags.utc)
    rows = [
        [
            f"{text.parse_time(one['time']).astimezone(zone):%Y-%m-%d %H:%M:%S}",
            one["id"],
            one["action"],
            "" if one["size"] is None else text.size(one["size"]),
            text.escape(one["by"]),
            "now" if one["current"] else "" if one["action"] == "deleted" else _KEPT[one["kept"]],
        ]
        for one in found["versions"]
    ]
    return [text.escape(f"{found['name']}/{found['path']}"), *text.table(rows, indent="  ")]


def past_lines(session: Session, found: Json) -> list[str]:
    """What stood there then, one line each: mode, size, time, path."""
    zone = shown_zone(utc=session.flags.utc)
    rows = [
        [
            "" if one["mode"] is None else f"{one['mode']:04o}",
            text.size(one["size"]) if one["kind"] == "file" else one["kind"],
            text.clock(one["mtime"], zone),
            text.escape(one["path"]) + ("/" if one["kind"] == "directory" else ""),
        ]
        for one in found["entries"]
    ]
    return text.table(rows) or ["nothing"]


@command()
def diff(
    session: Session,
    path: Path,
    until: Annotated[str | None, Argument(metavar="T2", help="The later moment; default: now.")] = None,
    at: At = None,
    before: Before = None,
    snapshot: SnapshotName = None,
) -> None:
    """Say what changed between a moment and another, or now. `--json` prints syncd.diff/1."""
    to_s = None if until is None else _seconds(session, until)
    moment = moment_of(session, at, before, snapshot)
    found = session.call("diff", path=absolute(session, path), **moment, to_s=to_s)
    session.show(found, lambda: _diff_lines(found))


_MARKS = {"added": "+", "deleted": "-", "changed": "~", "moved": ">", "attributes": "."}


def _diff_lines(found: Json) -> list[str]:
    lines = []
    for one in found["differences"]:
        origin = f"  (was {text.escape(one['from'])})" if one["from"] else ""
        lines.append(f"{_MARKS[one['change']]} {text.escape(one['path'])}{origin}")
    return lines or ["no difference"]


@command()
def search(
    session: Session,
    words: Annotated[str, Argument(metavar="TEXT", help="Part of a name.")],
    folder: Annotated[str | None, Argument(metavar="FOLDER", help="Default: the one you stand in.")] = None,
    most: Annotated[int, Option("-n", "--most", metavar="N", help="At most so many.")] = 100,
) -> None:
    """Find names, also of what was deleted or moved. `--json` prints syncd.search/1."""
    found = session.call("search", **here(folder), text=words, most=most)
    session.show(found, lambda: _search_lines(found))


def _search_lines(found: Json) -> list[str]:
    lines = [text.escape(one["path"]) + ("" if one["exists"] else "  (gone)") for one in found["found"]]
    return lines or ["nothing"]


# --- what a person named ---------------------------------------------------------------------------------------------


def absolute(session: Session, path: str) -> str:
    """The path on disk. `Work/plan.xlsx`, where no such file is here, means the folder called Work."""
    expanded = os.path.expanduser(path)
    first, _, rest = path.partition("/")
    if not os.path.isabs(expanded) and not os.path.lexists(expanded):
        for folder in session.call("folders")["folders"]:
            if folder["name"] == first:
                return os.path.normpath(os.path.join(folder["path"], rest))
    return os.path.abspath(expanded)


def moment_of(session: Session, at: str | None, before: str | None, snapshot: str | None) -> dict[str, object]:
    """The parameters that name a moment: at most one of three."""
    if sum(one is not None for one in (at, before, snapshot)) > 1:
        raise usage("only one of --at, --before and --snapshot can say which moment is meant")
    return {"at_s": None if at is None else _seconds(session, at), "before": before, "snapshot": snapshot}


def _seconds(session: Session, typed: str) -> float:
    try:
        return parse_when(typed, datetime.now(UTC), shown_zone(utc=session.flags.utc))
    except ValueError:
        raise usage(f"{text.escape(typed)} is not a moment", fix=EXAMPLES) from None
