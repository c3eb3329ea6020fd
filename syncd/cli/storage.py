"""Blocking. `syncd storage list`: where contents are kept, who has all of them, and when they were last read again."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import Annotated

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.options import Argument
from syncd.cli.session import Session, command

_LEVELS = {"good": "●", "warn": "◐", "bad": "✗"}


@command(dry_run=False)
def show(
    session: Session, folder: Annotated[str | None, Argument(metavar="FOLDER", help="Default: all.")] = None
) -> None:
    """Say how each folder is protected: full copies, old versions, when these were last read, what is promised.

    `--json` prints syncd.storage/1.
    """
    found = session.call("storage", folder=folder, cwd=None)
    session.show(found, lambda: storage_lines(found["folders"], UTC if session.flags.utc else None))


def storage_lines(folders: list[Json], zone: tzinfo | None) -> list[str]:
    """A paragraph per folder."""
    lines: list[str] = []
    for one in folders:
        lines += [f"{_LEVELS[one['level']]} {text.escape(one['name'])}: {text.escape(one['why'])}", *_rows(one, zone)]
    return lines or ["No folder is at work."]


def _rows(one: Json, zone: tzinfo | None) -> list[str]:
    packs, plain = one["packs"], one["plain"]
    read = "" if packs["read_since"] is None else f", all read since {text.clock(packs['read_since'], zone)}"
    rows = [
        ["files", text.files_and_bytes(one["files"], one["bytes"])],
        ["old versions", f"{text.size(plain['bytes'])} plain, {text.size(packs['bytes'])} packed{read}"],
        ["promise", f"{one['keep']}; always {one['always']}"],
        ["snapshot", text.clock(one["newest_snapshot"], zone)],
        ["newest change", text.clock(one["newest_change"], zone)],
        ["database", text.size(one["database_bytes"])],
    ]
    if one["free_bytes"] is not None:
        rows.append(["disk", f"{text.size(one['free_bytes'])} of {text.size(one['disk_bytes'])} free"])
    for copy in one["copies"]:
        whole = "never known to be whole" if copy["whole_at"] is None else f"whole {text.clock(copy['whole_at'], zone)}"
        stale = "" if copy["fresh"] or copy["whole_at"] is None else ", too long ago"
        rows.append(["copy", f"{text.escape(copy['name'])}: {whole}{stale}"])
    return text.table(rows, indent="  ")
