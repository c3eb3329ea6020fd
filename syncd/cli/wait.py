"""Blocking. `syncd wait`: block until folders are in sync, scanned, or in place at a peer. For scripts."""

from __future__ import annotations

from typing import Annotated

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command, usage, working_directory
from syncd.errors import SyncdError


@command()
def wait(
    session: Session,
    folders: Annotated[list[str] | None, Argument(metavar="FOLDER...", help="Default: all.")] = None,
    goal: Annotated[str, Option("--for", metavar="GOAL", help="synced, scanned, or peer=NAME.")] = "synced",
) -> None:
    """Wait until all is in sync. Exit 0 then, 4 when --timeout passed first; prints nothing.

    synced: all that was on disk here when this was called, and all that connected peers had, is in place here.
    scanned: all that was on disk here is known. peer=NAME: that peer has everything.
    """
    if goal not in ("synced", "scanned") and not (goal.startswith("peer=") and len(goal) > len("peer=")):
        raise usage(f"--for {text.escape(goal)} is not known", fix="--for synced, --for scanned or --for peer=NAME")
    params = {"folders": folders or [], "cwd": working_directory(), "for": goal, "timeout_s": session.timeout_s}
    found = session.stream("wait", lambda progress: session.terminal.draw(_line(progress)), **params)
    if not found["done"]:
        raise SyncdError(f"not {'in sync' if goal == 'synced' else goal} in time", id="SY-WAIT-01", why=_why(found))
    session.terminal.clear()
    if session.json:
        session.terminal.result_json(found)


def _why(found: Json) -> str:
    """What is still missing, per folder."""
    missing = [folder for folder in found["folders"] if not folder["done"]]
    return "; ".join(f"{text.escape(folder['name'])}: {_reason(folder)}" for folder in missing)


def _reason(folder: Json) -> str:
    need = folder["need"]
    waiting = f"{text.count(need['files'], 'file')} waiting, {text.size(need['bytes'])}" if need["files"] else ""
    return folder["why"] or waiting or folder["state"]


def _line(progress: Json) -> str:
    return str(progress.get("event", ""))
