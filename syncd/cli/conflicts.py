"""Blocking. `syncd conflicts`: files that were changed in two places, with both versions."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import Annotated

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.options import Argument
from syncd.cli.session import Session, command


@command()
def conflicts(
    session: Session,
    folder: Annotated[str | None, Argument(metavar="FOLDER", help="Default: all.")] = None,
) -> None:
    """List files of which two versions are kept. `compare` shows what differs, `resolve` settles it.

    `--json` prints syncd.conflicts/1.
    """
    found = session.call("conflicts", folder=folder, cwd=None)
    session.show(found, lambda: conflict_lines(found["conflicts"], UTC if session.flags.utc else None))


def conflict_lines(conflicts: list[Json], zone: tzinfo | None) -> list[str]:
    """A heading per file, a line per version."""
    if not conflicts:
        return ["No conflicts."]
    lines = []
    for conflict in conflicts:
        rows = [
            [
                text.escape(version["by"]),
                text.clock(version["time"], zone),
                text.size(version["bytes"]),
                (version["hash"] or "")[:12],
                text.escape(version["path"]),
            ]
            for version in conflict["versions"]
        ]
        lines += [text.escape(f"{conflict['name']}/{conflict['path']}"), *text.table(rows, indent="  ")]
    return lines
