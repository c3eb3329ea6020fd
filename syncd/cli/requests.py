"""Blocking. Everything that waits for a person: who wants to join, and waves of changes that are held."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command
from syncd.wording import dropped

_WAVES = {
    "gone": "would vanish",
    "changed": "would be written over",
    "encrypted": "look as if ransomware had encrypted them, and would go",
}

_Id = Annotated[str, Argument(metavar="ID", help="As `syncd requests` shows it.")]


@command()
def requests(
    session: Session,
    folder: Annotated[str | None, Argument(metavar="FOLDER", help="Default: all.")] = None,
) -> None:
    """List what waits for your yes or no. `--json` prints syncd.requests/1."""
    found = session.call("requests", folder=folder, cwd=None)
    session.show(found, lambda: request_lines(found["requests"], datetime.now(UTC)))


@command(dry_run=False)
def approve(
    session: Session,
    request: _Id,
    role: Annotated[str | None, Option("--role", help="Admit with another role than the invitation says.")] = None,
) -> None:
    """Say yes to a request: admit, or let held or late changes count."""
    done = session.call("approve", id=request, role=role)
    admitted = f"{text.escape(done['member'] or '')} is a member of {text.escape(done['name'])} now."
    where = "" if done["everywhere"] else ", on this computer only: your role may not delete for others"
    passed = f"The held changes of {text.escape(done['name'])} pass now{where}."
    late = f"What {text.escape(done['member'] or '')} published in {text.escape(done['name'])} counts now, everywhere."
    session.show(done, lambda: {"join": admitted, "held": passed, "late": late}[done["kind"]])


@command(dry_run=False)
def deny(session: Session, request: _Id) -> None:
    """Say no to a request: turn away, or keep the files."""
    done = session.call("deny", id=request)
    turned = f"{text.escape(done['member'] or '')} was turned away."
    kept = dropped(done["name"], done["not_restored"])
    late = f"What {text.escape(done['member'] or '')} published does not count, and stays apart."
    session.show(done, lambda: {"join": turned, "held": kept, "late": late}[done["kind"]])


def join_question(request: Json) -> str:
    """`anna-laptop (macOS, 192.168.1.23, key tulip-orbit) wants to join as editor.`"""
    about = [request.get("system"), request.get("address"), f"key {request['words']}"]
    shown = ", ".join(text.escape(part) for part in about if part)
    return f"{text.escape(request['member'])} ({shown}) wants to join as {request['role']}."


def request_lines(requests: list[Json], now: datetime) -> list[str]:
    """One line per request, and the words to answer with."""
    if not requests:
        return ["Nothing waits for you."]
    rows = [
        [request["id"], text.escape(request["name"]), _what(request), text.ago(request["since"], now)]
        for request in requests
    ]
    return [*text.table(rows, heading=("ID", "FOLDER", "WHAT", "SINCE")), "", "syncd approve ID  or  syncd deny ID"]


def _what(request: Json) -> str:
    if request["kind"] == "join":
        return join_question(request).rstrip(".")
    if request["kind"] == "late":
        who = text.escape(request["author"])
        size = text.size(request["bytes"])
        denied = "; you said no" if request["denied"] else ""
        return f"{text.count(request['changes'], 'change')} ({size}) that {who} published without the right to{denied}"
    samples = ", ".join(text.escape(path) for path in request["paths"])
    place = "here" if request["direction"] == "here" else "at the other members"
    wave = f"{text.count(request['files'], 'file')} of {request['of_files']:,} {_WAVES[request['why']]} {place}"
    return f"{wave}, by {text.escape(request['author'])}" + (f" ({samples}, …)" if samples else "")
