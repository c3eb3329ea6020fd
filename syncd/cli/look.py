"""Blocking. `syncd ls`, `transfers`, `traffic`, `changes`: who has what, what is on its way, what went over the wire,
and what changed."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import Annotated

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.history import At, Before, SnapshotName, absolute, moment_of, past_lines
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command, here

_HAS = {True: "●", False: "○", None: "?"}


@command()
def ls(
    session: Session,
    folder: Annotated[
        str | None, Argument(metavar="FOLDER", help="Default: where you stand; or FOLDER/inside.")
    ] = None,
    path: Annotated[str | None, Argument(metavar="PATH", help="A directory in it; default: its root.")] = None,
    after: Annotated[str | None, Option("--after", help="Go on where a page ended.")] = None,
    at: At = None,
    before: Before = None,
    snapshot: SnapshotName = None,
) -> None:
    """List a directory of a folder, a hundred entries at a time, and which peer has what. `--json` prints syncd.ls/1.

    Peers that are connected are asked now; of others nothing is known. With a moment: everything that stood in it then
    (syncd.past/1).
    """
    moment = moment_of(session, at, before, snapshot)
    if any(value is not None for value in moment.values()):
        past = session.call("past", path=absolute(session, "/".join([folder or ".", path or ""])), **moment)
        session.show(past, lambda: past_lines(session, past))
        return
    if folder is not None and path is None and "/" in folder:
        folder, path = _parted(session, folder)
    found = session.call("ls", **here(folder), path=path, after=after)
    session.show(found, lambda: ls_lines(found))


def _parted(session: Session, typed: str) -> tuple[str, str | None]:
    """Folder and directory of what is one path, as `history` and `restore` take it: on the disk, or FOLDER/inside."""
    path = absolute(session, typed)
    for folder in session.call("folders")["folders"]:
        if (path + "/").startswith(folder["path"] + "/"):
            return folder["name"], path[len(folder["path"]) :].strip("/") or None
    return typed, None


def ls_lines(found: Json) -> list[str]:
    """One line per entry: ● has it, ○ has not, ? unknown."""
    peers = found["peers"]
    rows = [
        [
            text.escape(entry["name"]) + ("/" if entry["kind"] == "directory" else ""),
            "" if entry["kind"] == "directory" else text.size(entry["bytes"]),
            "●" if entry["state"] == "here" else "◐",
            *("" if entry["kind"] == "directory" else _HAS[entry["peers"].get(peer["id"])] for peer in peers),
        ]
        for entry in found["entries"]
    ]
    heading = ("NAME", "SIZE", "HERE", *(text.escape(peer["name"]) for peer in peers))
    lines = text.table(rows, heading=heading) if rows else ["Nothing is in here."]
    return [*lines, f"More:  --after {found['after']}"] if found["after"] else lines


@command()
def transfers(session: Session) -> None:
    """List files that are on their way here, and from whom. `--json` prints syncd.transfers/1."""
    found = session.call("transfers")
    session.show(found, lambda: transfer_lines(found))


def transfer_lines(found: Json) -> list[str]:
    """One line per file."""
    if not found["files"]:
        return ["Nothing is on its way."]
    rows = [
        [
            text.escape(f"{one['name']}/{one['path']}"),
            text.share(one["done_bytes"], one["bytes"]),
            text.size(one["bytes"]),
            ", ".join(text.escape(name) for name in one["peers"]),
        ]
        for one in found["files"]
    ]
    more = found["total"] - len(found["files"])
    table = text.table(rows, heading=("FILE", "HERE", "SIZE", "FROM"))
    left = "" if found["eta_s"] is None else f", about {text.duration(found['eta_s'])} left"
    return [*table, *([f"and {more:,} more"] if more else []), f"{text.rate(found['receive_rate'])}{left}"]


@command()
def traffic(
    session: Session,
    span: Annotated[str, Option("--span", help="15m, 24h or 30d.")] = "15m",
) -> None:
    """Show how much came from and went to each peer, since this start at most. `--json` prints syncd.traffic/1."""
    found = session.call("traffic", span=span)
    session.show(found, lambda: traffic_lines(found))


def traffic_lines(found: Json) -> list[str]:
    """One line per peer."""
    rows = [
        [text.escape(peer["name"]), text.size(sum(peer["received"])), text.size(sum(peer["sent"]))]
        for peer in found["peers"]
    ]
    return text.table(rows, heading=("PEER", "RECEIVED", "SENT")) if rows else ["No traffic."]


@command()
def changes(
    session: Session,
    folder: Annotated[str | None, Argument(metavar="FOLDER", help="Default: where you stand.")] = None,
    most: Annotated[int, Option("-n", "--most", metavar="N", help="At most so many, the newest.")] = 50,
) -> None:
    """List the latest changes of a folder: when, by whom, how many files. `--json` prints syncd.changes/1."""
    found = session.call("changes", **here(folder), most=most)
    session.show(found, lambda: change_lines(found["changes"], UTC if session.flags.utc else None))


def change_lines(found: list[Json], zone: tzinfo | None) -> list[str]:
    """One line per change, the newest first."""
    rows = [
        [
            text.clock(change["time"], zone),
            change["id"],
            text.escape(change["by"]),
            ", ".join(_done(change)),
        ]
        for change in found
    ]
    return text.table(rows, heading=("WHEN", "ID", "BY", "WHAT")) if rows else ["Nothing has changed yet."]


def _done(change: Json) -> list[str]:
    """What a change did to files, and to changes of others that waited for a person."""
    done = [f"{change[kind]:,} {kind}" for kind in ("added", "changed", "deleted", "moved") if change[kind]]
    return [*done, "approved what waited"] if change.get("approves") else done
