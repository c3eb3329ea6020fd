"""Blocking. `syncd join`: find who made a code or link, look before writing, become a member, fetch."""

from __future__ import annotations

import os
import sys
from typing import Annotated

from syncd.cli import progress as show
from syncd.cli import text
from syncd.cli.background import need_daemon
from syncd.cli.client import Json
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command
from syncd.cli.terminal import warn_root

LINK_PREFIX = "syncd:"


@command(dry_run=False)
def join(
    session: Session,
    invitation: Annotated[str | None, Argument(metavar="CODE|LINK", help="Asked for if missing; - reads it.")] = None,
    path: Annotated[str | None, Argument(metavar="PATH", help="Where the folder shall be; asked if missing.")] = None,
    name: Annotated[str | None, Option("--name", help="What the folder is called here.")] = None,
    as_name: Annotated[str | None, Option("--as", metavar="NAME", help="Who you are; default: this host.")] = None,
    via: Annotated[list[str] | None, Option("--via", metavar="HOST:PORT", help="Where the other side is.")] = None,
    no_wait: Annotated[bool, Option("--no-wait", help="End when admitted; fetch in the background.")] = False,
    rules: Annotated[
        list[str] | None,
        Option("--filter", metavar="RULE", help="What not to fetch here, as in `filter add --local`."),
    ] = None,
) -> None:
    """Join a folder with a code or link from elsewhere.

    A target that is not empty is compared first: nothing is deleted, and what differs is kept twice.
    A code on the command line can be seen by others here; it works once, and the other side confirms your name.
    `--json` prints syncd.join/1.
    """
    warn_root(session.terminal)
    need_daemon(session)
    secret = _invitation(session, invitation)
    is_link = secret.startswith(LINK_PREFIX)
    _refuse_unasked(session, path)
    guest = _Guest(session)
    found = session.stream(
        "join.find",
        guest.on_progress,
        code=None if is_link else secret,
        link=secret if is_link else None,
        via=via or [],
        **{"as": as_name},
    )
    try:
        session.terminal.talk(found_line(found))
        target = _target(session, path, found["path"])
        _agree(session, guest, found, target)
    except BaseException:
        session.call("join.cancel", join=found["join"])  # also after Ctrl-C: the other side need not wait
        raise
    how = {"name": name, "filter": rules or [], "wait": not no_wait}
    joined = session.stream("join", guest.on_progress, join=found["join"], path=target, **how)
    session.show(joined, lambda: joined_line(joined))


class _Guest:
    """Tells what happens while we ask to be let in and fetch."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def on_progress(self, progress: Json) -> None:
        match progress["event"]:
            case "phase":
                self._session.terminal.draw(show.phase_line(progress["phase"]))
            case "transfer":
                self._session.terminal.talk_once(show.CAN_LEAVE)
                self._session.terminal.draw(f"Joined.  {show.transfer_line({**progress, 'peer': None})}")


def _invitation(session: Session, given: str | None) -> str:
    """The code or link: as an argument, `-` for stdin, SYNCD_CODE, or asked for."""
    if given == "-":
        given = sys.stdin.readline()
    given = (given or os.environ.get("SYNCD_CODE") or "").strip()
    if not given:
        given = session.terminal.prompt(
            "Code", flag="the code or link as an argument, or SYNCD_CODE", complete=complete_code
        )
    return given


def complete_code(typed: str) -> list[str]:
    """Candidates for a code that is being typed: its last word, from the list that codes are made of."""
    from ca.words import WORDS

    head, dash, last = typed.rpartition("-")
    return [f"{head}{dash}{word}" for word in WORDS if word.startswith(last)] if dash else []


def _refuse_unasked(session: Session, path: str | None) -> None:
    """To compare a directory with the folder a device has to be let in, and that uses an invitation up. Where nobody
    can be asked afterwards, that is told before. Raises SyncdError SY-USE-02."""
    if path is not None and not session.terminal.can_ask and _holds_something(os.path.expanduser(path)):
        session.confirm(f"{text.escape(path)} is not empty. Join all the same?", default=True)


def _holds_something(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return any(entry.name != ".syncd" for entry in entries)
    except OSError:
        return False  # the daemon says what is wrong with it


def _target(session: Session, path: str | None, suggested: str) -> str:
    if path is None and not session.flags.yes:
        path = session.terminal.prompt("Where?", flag="PATH as the second argument, or --yes", default=suggested)
    return os.path.abspath(os.path.expanduser(path or suggested))


def _agree(session: Session, guest: _Guest, found: Json, target: str) -> None:
    """Show what joining would do to a target that is not empty, and go on only with a yes."""
    preview = session.stream("join.preview", guest.on_progress, join=found["join"], path=target)
    if preview["empty"] or not preview["exists"]:
        return
    session.terminal.talk(preview_lines(preview))
    session.confirm("Join?", default=True)


def found_line(found: Json) -> str:
    """`Found "Photos" on ben-desktop (192.168.1.5), 12,408 files, 48.1 GiB; you will be an editor.`"""
    inviter = found["inviter"]
    size = "" if found["files"] is None else f", {text.files_and_bytes(found['files'], found['bytes'])}"
    article = "an" if found["role"][:1] in "aeiou" else "a"
    where = ", ".join(text.escape(part) for part in (inviter["address"], f"key {inviter['words']}") if part)
    who = f"Found {text.escape(found['name'])} on {text.escape(inviter['name'])} ({where})"
    return f"{who}{size}; you will be {article} {found['role']}."


def preview_lines(preview: Json) -> list[str]:
    """What is there already, and what joining does with it."""
    same, only_here, differ = (preview[key] for key in ("same", "only_here", "differ"))
    there = f"{text.count(same, 'file')} the same, {only_here:,} only here, {differ:,} different"
    then = f"fetch {text.size(preview['fetch_bytes'])}, send {text.count(only_here, 'file')}"
    return [
        f"  {text.escape(preview['path'])} is not empty: {there}.",
        f"  Joining will {then}, keep both versions of {differ:,}. Nothing is deleted.",
        "  To compare, this device was let in. With a no it leaves again, and needs a new invitation.",
    ]


def joined_line(joined: Json) -> str:
    state = "is in sync" if joined["synced"] else "is being fetched in the background"
    return f"Joined. {text.escape(joined['name'])} in {text.escape(joined['path'])} {state}."
