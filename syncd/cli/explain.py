"""Blocking. `syncd explain PATH`: why this file is in sync, or why not."""

from __future__ import annotations

from typing import Annotated

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.history import absolute
from syncd.cli.options import Argument
from syncd.cli.session import Session, command

_STATES = {
    "synced": "in sync",
    "waiting": "waiting",
    "ignored": "ignored",
    "held": "held back until somebody approves",
    "problem": "not in sync",
    "unknown": "not known to syncd",
}


@command()
def explain(session: Session, path: Annotated[str, Argument(metavar="PATH", help="A file or directory.")]) -> None:
    """Say why a file is, or is not, in sync: rule, error, who has it. `--json` prints syncd.explain/1.

    PATH may start with the name of a folder, as `syncd status` prints it.
    """
    found = session.call("explain", path=absolute(session, path))
    session.show(found, lambda: explain_lines(found))


def explain_lines(found: Json) -> list[str]:
    """State and reason, then the peers."""
    name = text.escape(f"{found['name']}/{found['path']}".rstrip("/"))
    error = f"  [{found['id']}]" if found["id"] else ""
    rows = [["why", text.escape_line(found["why"] or "") + error]]
    if found["rule"]:
        rows.append(["rule", text.escape(found["rule"])])
    if found["stays_here"]:
        rows.append(["stays here", f"extended attributes {', '.join(map(text.escape, found['stays_here']))}"])
    if found["not_here"]:
        rows.append(["only elsewhere", f"extended attributes {', '.join(map(text.escape, found['not_here']))}"])
    if found["try"]:
        rows.append(["try", text.escape_line(found["try"])])
    rows += [["peer", f"{text.escape(peer['name'])}: {_has(peer)}"] for peer in found["peers"]]
    return [f"{name}: {_STATES.get(found['state'], found['state'])}", *text.table(rows, indent="  ")]


def _has(peer: Json) -> str:
    has = {True: "has it", False: "does not have it", None: "not known"}[peer["has"]]
    if peer["connected"]:
        return has
    return f"{has}; reached {text.through(peer['through'])}" if peer["through"] else f"{has}; not connected"
