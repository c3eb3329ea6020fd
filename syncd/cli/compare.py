"""Blocking. `syncd compare`: the versions of a file in conflict beside each other, line by line where they are text."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import Annotated

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.history import absolute
from syncd.cli.options import Argument
from syncd.cli.session import Session, command

_SIGNS = {"same": ("  ",), "left": ("- ",), "right": ("+ ",), "changed": ("- ", "+ ")}


@command(dry_run=False)
def compare(
    session: Session, path: Annotated[str, Argument(metavar="PATH", help="The file, or one of its copies.")]
) -> None:
    """Show the versions of a file in conflict: who wrote which, and what differs. `--json` prints syncd.compare/1.

    End it with `syncd resolve PATH --keep ...`.
    """
    found = session.call("compare", path=absolute(session, path))
    session.show(found, lambda: compared_lines(found["versions"], UTC if session.flags.utc else None))


def compared_lines(versions: list[Json], zone: tzinfo | None) -> list[str]:
    """A line per version; then, as far as they are text, what differs from the first."""
    rows = [
        [
            text.escape(one["by"]),
            text.clock(one["time"], zone),
            text.size(one["bytes"]),
            one["media"],
            text.escape(one["path"]),
        ]
        for one in versions
    ]
    lines = text.table(rows, heading=("BY", "WHEN", "SIZE", "WHAT", "FILE"))
    for one in versions[1:]:
        if one["rows"]:
            lines += ["", f"--- {text.escape(versions[0]['path'])}", f"+++ {text.escape(one['path'])}"]
            lines += [line for row in one["rows"] for line in _row_lines(row)]
    return lines


def _row_lines(row: Json) -> list[str]:
    if row["change"] == "skipped":
        return [f"  … {text.count(row['lines'], 'line')} the same"]
    sides = [row["left"], row["right"]] if row["change"] == "changed" else [row["left"] or row["right"] or ""]
    return [sign + text.escape(side) for sign, side in zip(_SIGNS[row["change"]], sides, strict=True)]
