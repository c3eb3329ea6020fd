"""Async. The views of whoever looks after it: where contents are kept and how safe they are, and what happened."""

from __future__ import annotations

import csv
import io
from typing import Any, Final

from syncd.web import pictures
from syncd.web.asking import Asked, Shown
from syncd.web.calling import Json
from syncd.web.jobs import Job
from syncd.web.views.home import missing
from syncd.wording import COLUMNS_OF_AUDIT, spreadsheet_cell

KINDS: Final = {
    "event": "Files",
    "audit": "People",
    "fault": "Faults",
    "admin": "Decisions",
    "operator": "Operation",
}
"""Words for the five kinds of happenings."""
SHOWN: Final = 200
EXPORTED: Final = 5000


async def storage(asked: Asked) -> Shown:
    """Each folder: how many full copies there are, what the past takes, and when it was last read."""
    found = await asked.call("storage", folder=None, cwd=None)
    job = _job(asked)
    return Shown(
        "storage.html",
        {
            "folders": [_drawn(one) for one in found["folders"]],
            "running": job is not None and not job.is_over,
            "done": None if job is None or job.result is None else job.result,
            "failed": None if job is None else job.error,
        },
    )


def _drawn(one: Json) -> Json:
    return {**one, "bars": pictures.parts(_parts(one)), "heat": pictures.heat(one["days"])}


def _job(asked: Asked) -> Job | None:
    """The scrub or pruning that this address tells of."""
    found = (asked.jobs.find(asked.query.get(name), asked.session.key) for name in ("scrub", "prune"))
    return next((job for job in found if job is not None), None)


def _parts(one: Json) -> list[tuple[str, int, str]]:
    """(class, bytes, words) of what takes room for a folder."""
    return [
        ("have", one["bytes"], "files"),
        ("changed", one["plain"]["bytes"], "old versions, plain"),
        ("moved", one["packs"]["bytes"], "old versions, packed"),
        ("held", one["database_bytes"], "database"),
    ]


async def prune(asked: Asked) -> Shown:
    """What pruning would let go of, before it does."""
    folder = asked.folder()
    if folder is None:
        return missing("There is no such folder here.")
    preview = await asked.call("prune", folder=folder["id"], cwd=None, dry_run=True)
    return Shown("prune.html", {"folder": folder, "preview": preview})


async def audit(asked: Asked) -> Shown:
    """What happened, the newest first, with filters."""
    found = await _happenings(asked, SHOWN)
    chosen = {name: asked.query.get(name, "") for name in ("kind", "folder", "actor", "days")}
    return Shown(
        "audit.html",
        {
            "records": found["audit"][::-1],
            "total": found["total"],
            "lines": found["lines"],
            "wrong": found["wrong"],
            "bars": pictures.density(found["days"]),
            "began": found["days"][0]["began"],
            "kinds": KINDS,
            "chosen": chosen,
        },
    )


async def audit_csv(asked: Asked) -> str:
    """The same as a table for a spreadsheet."""
    found = await _happenings(asked, EXPORTED)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS_OF_AUDIT)
    for one in found["audit"]:
        writer.writerow([spreadsheet_cell(one[name]) for name in COLUMNS_OF_AUDIT])
    return out.getvalue()


async def _happenings(asked: Asked, most: int) -> Json:
    """By the filters in the address; one that is not understood filters nothing."""
    query = asked.query
    kind, days, actor = query.get("kind", ""), query.get("days", ""), query.get("actor", "").strip()
    folder = asked.folder() if query.get("folder") else None
    params: dict[str, Any] = {
        "kinds": [kind] if kind in KINDS else [],
        "since_s": asked.now.timestamp() - int(days) * 86_400 if days in ("1", "7", "30") else None,
        "actor": actor or None,
        "folder": None if folder is None else folder["id"],
    }
    return await asked.call("audit", cwd=None, last=most, **params)
