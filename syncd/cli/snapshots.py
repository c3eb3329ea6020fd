"""Blocking. `syncd snapshot list|add|remove`: moments with a name, which no rule of time or space takes away."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command, here, usage
from syncd.cli.when import EXAMPLES, parse_when, shown_zone

Name = Annotated[str, Argument(metavar="NAME", help="A name of your own.")]
Folder = Annotated[str | None, Argument(metavar="FOLDER", help="Default: the one you stand in.")]


@command()
def show(session: Session, folder: Folder = None) -> None:
    """List the snapshots of a folder. `--json` prints syncd.snapshots/1."""
    found = session.call("snapshots", **here(folder))
    session.show(found, lambda: _lines(session, found))


@command(dry_run=False)
def add(
    session: Session,
    name: Name,
    folder: Folder = None,
    at: Annotated[str | None, Option("--at", metavar="TIME", help="Default: now.")] = None,
) -> None:
    """Give a moment a name: what was there then is kept until the name is removed.

    Each computer keeps what the others change or delete. What you change or delete on this one yourself is kept by
    those others that had it, so a computer alone keeps nothing of that.
    """
    try:
        zone = shown_zone(utc=session.flags.utc)
        at_s = None if at is None else parse_when(at, datetime.now(UTC), zone)
    except ValueError:
        raise usage(f"{text.escape(at or '')} is not a moment", fix=EXAMPLES) from None
    found = session.call("snapshot.add", **here(folder), name=name, at_s=at_s)
    if not found["others"]:
        session.terminal.talk("No other computer is in this folder: what you change or delete here, nobody keeps.")
    session.show(found, lambda: _lines(session, found))


@command(dry_run=False)
def remove(session: Session, name: Name, folder: Folder = None) -> None:
    """Forget a snapshot's name. What it kept is kept no longer than other versions."""
    found = session.call("snapshot.remove", **here(folder), name=name)
    session.show(found, lambda: _lines(session, found))


def _lines(session: Session, found: Json) -> list[str]:
    zone = shown_zone(utc=session.flags.utc)
    rows = [
        [text.clock(one["time"], zone), text.escape(one["name"]), "by the schedule" if one["scheduled"] else ""]
        for one in found["snapshots"]
    ]
    return text.table(rows) or ["no snapshots"]
