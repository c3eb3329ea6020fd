"""Blocking. `syncd folders` and `syncd folder show|rescan|leave`."""

from __future__ import annotations

from typing import Annotated

from syncd.cli import progress as show_progress
from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command, here

_Folder = Annotated[str | None, Argument(metavar="FOLDER", help="Name, id or path; default: where you stand.")]


@command()
def folders(session: Session) -> None:
    """List the folders of this device. `--json` prints syncd.folders/1."""
    found = session.call("folders")
    session.show(found, lambda: folder_lines(found["folders"]))


@command()
def show(session: Session, folder: _Folder = None) -> None:
    """Show one folder, with the files of its current certificate and key, as curl takes them.

    `--json` prints syncd.folder/1.
    """
    found = session.call("folder.show", **here(folder))
    session.show(found, lambda: detail_lines(found))


@command(dry_run=False)
def rescan(
    session: Session,
    folder: _Folder = None,
    no_wait: Annotated[bool, Option("--no-wait", help="Only start it.")] = False,
) -> None:
    """Look at every file again now, instead of waiting for the next scan."""
    done = session.stream("folder.rescan", lambda told: _draw_scan(session, told), **here(folder), wait=not no_wait)
    summary = f"{text.escape(done['name'])}  {text.files_and_bytes(done['files'], done['bytes'])}"
    session.show(done, lambda: f"{summary}  {'scan started' if no_wait else 'scanned'}")


@command()
def leave(
    session: Session,
    folder: _Folder = None,
    keep_files: Annotated[bool, Option("--keep-files", help="What happens anyway; for the careful.")] = True,
) -> None:
    """Leave a folder: this device stops syncing it and its membership ends. The files stay on this disk.

    What the home knew of it goes: names, journals, keys. Old versions stay: sealed in the home (blocks/), or, if they
    are not packed yet, in .syncd/old of the directory. Without another member nobody opens those that are sealed again.
    """
    params = here(folder)
    before = session.call("folder.leave", **params, dry_run=True)
    if session.flags.dry_run:
        session.show(before, lambda: [f"Would leave {leave_line(before)}", *lost_lines(before)])
        return
    for line in (f"Leaving {leave_line(before)}", *lost_lines(before)):
        session.terminal.talk(line)
    session.confirm("Leave it?")
    done = session.call("folder.leave", **params, dry_run=False)
    session.show(done, lambda: f"Left {leave_line(done)}")


def _draw_scan(session: Session, told: Json) -> None:
    if told.get("event") == "scan":
        session.terminal.draw(show_progress.scan_line(told))


def leave_line(left: Json) -> str:
    """What stays; of a folder that was not at work since the start nobody has counted that."""
    counted = left["files"] or left["bytes"]
    files = f"The {text.files_and_bytes(left['files'], left['bytes'])}" if counted else "All files"
    return f"{text.escape(left['name'])}. {files} in {text.escape(left['path'])} stay."


def lost_lines(left: Json) -> list[str]:
    """What goes with it that nobody else has."""
    lines = []
    if left["alone"] and left["packed_bytes"]:
        size = text.size(left["packed_bytes"])
        lines.append(f"No other computer is in this folder: {size} of old versions can never be read again.")
        lines.append("To keep some of them, first: syncd restore, or syncd export")
    if not left["alone"] and left["only_here_since"] is not None:
        lines.append(
            "Not all that was changed here is known to be on another computer yet; the rest will not get there."
        )
    return lines


def folder_lines(folders: list[Json]) -> list[str]:
    """One line per folder."""
    if not folders:
        return ["No folders yet.  syncd share PATH, or syncd join"]
    rows = [
        [
            text.escape(folder["name"]),
            folder["state"],
            folder["role"],
            text.count(folder["members"], "member"),
            *text.files_of(folder),
            folder["id"][:12],
            text.escape(folder["path"]),
        ]
        for folder in folders
    ]
    return text.table(rows, heading=("FOLDER", "STATE", "ROLE", "MEMBERS", "FILES", "SIZE", "ID", "PATH"))


def detail_lines(folder: Json) -> list[str]:
    """Everything about one folder, a label and a value per line."""
    need, tls, past = folder["need"], folder["tls"], folder["history"]
    rows = [
        ["path", text.escape(folder["path"])],
        ["id", folder["id"]],
        ["state", folder["state"]],
        ["role", folder["role"]],
        ["files", ", ".join(filter(None, text.files_of(folder))) or "not counted yet"],
        ["waiting", text.files_and_bytes(need["files"], need["bytes"]) if need["files"] else "nothing"],
        ["conflicts", f"{folder['conflicts']:,}"],
        ["old versions", text.size(past["plain_bytes"] + past["packed_bytes"])],
        ["members", f"{folder['members']:,}"],
        ["epoch", f"{folder['epoch']}  {folder['epoch_id']}"],
        ["recovery key", ", ".join(folder["recovery_keys"]) or "none"],
        ["certificate", text.escape(tls["cert"])],
        ["its key", text.escape(tls["key"] or "not written: a passphrase locks the keys of this device")],
        ["server name", tls["sni"]],
        ["listens on", ", ".join(tls["listen"])],
        ["public key pin", tls["pin"]],
        ["roster", text.escape(folder["roster"])],
    ]
    return [text.escape(folder["name"]), *text.table(rows, indent="  ")]
