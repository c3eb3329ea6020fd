"""Blocking. `syncd audit`: what happened, who did it, and whether somebody has changed the log of it."""

from __future__ import annotations

import csv
import io
import json
import time
from datetime import UTC, tzinfo
from typing import Annotated

from syncd.catalogue import Exit
from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command, seconds, usage
from syncd.wording import COLUMNS_OF_AUDIT, spreadsheet_cell

EXPORTS = ("ndjson", "csv")
MOST_EXPORTED = 100_000


@command(dry_run=False)
def audit(
    session: Session,
    folder: Annotated[str | None, Argument(metavar="FOLDER", help="Default: all, and this device.")] = None,
    kind: Annotated[
        list[str] | None, Option("--kind", metavar="KIND", help="event, audit, fault, admin, operator.")
    ] = None,
    since: Annotated[str | None, Option("--since", metavar="TIME", help="As 7d: not older than that.")] = None,
    actor: Annotated[str | None, Option("--actor", metavar="NAME", help="Only what this one did.")] = None,
    last: Annotated[int, Option("--last", min=1, max=100_000, help="How many, the newest.")] = 50,
    export: Annotated[str | None, Option("--export", metavar="FORM", help="ndjson or csv, on stdout.")] = None,
) -> int:
    """List what happened: to files, members and settings, and what went wrong. Exit 13 if the log was changed.

    Every line of this device's log is signed and names the one before it, and every change of a membership is signed
    by who made it, so nothing can be changed or taken out unnoticed. `--json` prints syncd.audit/1.
    """
    if export not in (None, *EXPORTS):
        raise usage(f"--export is one of {', '.join(EXPORTS)}")
    since_s = None if since is None else max(0.0, time.time() - seconds(since, "--since"))
    wanted = MOST_EXPORTED if export else last
    found = session.call("audit", folder=folder, cwd=None, kinds=kind or [], since_s=since_s, actor=actor, last=wanted)
    if export is not None and not session.flags.json:
        session.terminal.result(exported(found["audit"], export))
    else:
        session.show(found, lambda: audit_lines(found, UTC if session.flags.utc else None))
    return Exit.DONE if found["wrong"] is None else Exit.INTEGRITY


def audit_lines(found: Json, zone: tzinfo | None) -> list[str]:
    """One line for each, the oldest first, and what is wrong with the chain."""
    lines = record_lines(found["audit"], zone)
    return lines if found["wrong"] is None else [*lines, f"the log is not whole: {text.escape(found['wrong'])}"]


def record_lines(records: list[Json], zone: tzinfo | None) -> list[str]:
    """One line per happening."""
    rows = [
        [
            text.clock(one["time"], zone),
            one["kind"],
            text.escape(one["actor"]),
            text.escape(one["action"]) + ("" if one["ok"] else " ✗"),
            text.escape(one["folder"] or ""),
            text.escape(one["what"]),
        ]
        for one in records
    ]
    heading = ("WHEN", "KIND", "WHO", "WHAT", "FOLDER", "ABOUT")
    return text.table(rows, heading=heading) if rows else ["Nothing of that."]


def exported(records: list[Json], form: str) -> list[str]:
    """Lines of JSON, or of a table for a spreadsheet."""
    if form == "ndjson":
        return [json.dumps(one) for one in records]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS_OF_AUDIT)
    for one in records:
        writer.writerow([spreadsheet_cell(one[name]) for name in COLUMNS_OF_AUDIT])
    return out.getvalue().splitlines()
