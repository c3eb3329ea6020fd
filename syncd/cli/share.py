"""Blocking. `syncd share`: make a folder of a directory, or invite one more to it, and wait for who comes."""

from __future__ import annotations

import os
import shlex
from datetime import UTC, datetime, tzinfo
from typing import Annotated

from syncd.cli import progress as show
from syncd.cli import text
from syncd.cli.background import need_daemon
from syncd.cli.client import Json
from syncd.cli.options import Argument, Option
from syncd.cli.requests import join_question
from syncd.cli.session import Session, command, seconds, usage
from syncd.cli.terminal import warn_root

ROLES = ("owner", "admin", "editor", "viewer")


@command()
def share(
    session: Session,
    path: Annotated[str, Argument(metavar="PATH|FOLDER", help="A directory, or a folder that is shared.")] = ".",
    name: Annotated[str | None, Option("--name", help="What the folder is called; default: as its directory.")] = None,
    role: Annotated[
        str, Option("--role", help="What the one who joins becomes: editor, viewer, admin, owner.")
    ] = "editor",
    expires: Annotated[str | None, Option("--expires", help="How long the link holds (7d); a code: 15m.")] = None,
    uses: Annotated[int, Option("--uses", min=1, help="How many may join by this link.")] = 1,
    link: Annotated[bool, Option("--link", help="Make a link for far away, instead of a code.")] = False,
    qr: Annotated[bool, Option("--qr", help="Draw the link as a QR code (implies --link).")] = False,
    no_wait: Annotated[bool, Option("--no-wait", help="Do not wait for somebody to join.")] = False,
) -> None:
    """Share a directory: print a code for the other computer.

    Whoever joins by a code is let in only after a yes here. With --link --yes the link alone is enough.
    `--json` prints syncd.share/1; without --no-wait one object per line comes before it.
    """
    if role not in ROLES:
        raise usage(f"--role {text.escape(role)} is not known", fix=f"--role {', '.join(ROLES)}")
    by_link = link or qr
    if uses > 1 and not by_link:
        raise usage("a code works once", fix="--uses needs --link")
    expires_s = None if expires is None else seconds(expires, "--expires")
    warn_root(session.terminal)
    need_daemon(session)
    guests = _Guests(session, role, qr, waits=not no_wait)
    shared = session.stream(
        "share",
        guests.on_progress,
        target=None if path == "." else path,
        path=os.path.abspath(os.path.expanduser(path)),
        name=name,
        role=role,
        link=by_link,
        expires_s=expires_s,
        uses=uses,
        yes=session.flags.yes and by_link,
        wait=not no_wait,
        dry_run=session.flags.dry_run,
    )
    guests.finish(shared)


class _Guests:
    """Tells what happens while somebody may come: the scan, the code, who knocks, who is in."""

    def __init__(self, session: Session, role: str, qr: bool, *, waits: bool) -> None:
        self._session = session
        self._terminal = session.terminal
        self._zone: tzinfo | None = UTC if session.flags.utc else None
        self._qr = qr
        self._role = role
        self._waits = waits
        self._scan = ""
        self._invited = False

    def on_progress(self, progress: Json) -> None:
        if self._session.json and self._waits:
            self._terminal.result_json(progress)
        match progress["event"]:
            case "scan":
                self._scan = show.scan_line(progress)
                self._terminal.draw(self._scan)
            case "invite":
                self._print_invite(progress, waits=self._waits)
            case "attempt":
                self._terminal.talk(f"Somebody tried a wrong code. {text.count(progress['left'], 'guess')} left.")
            case "request":
                self._answer(progress)
            case "joined":
                self._terminal.talk(f"{text.escape(progress['name'])} joined.")
            case "transfer":
                self._terminal.talk_once(show.CAN_LEAVE)
                self._terminal.draw(show.transfer_line(progress))

    def finish(self, shared: Json) -> None:
        if self._session.json:
            self._terminal.result_json(shared)
        elif shared["code"] is None and shared["link"] is None:
            summary = text.files_and_bytes(shared["files"], shared["bytes"])
            self._terminal.result(
                f"{text.escape(shared['name'])}  {summary}  would be shared from {text.escape(shared['path'])}"
            )
        elif not self._invited:
            self._scan = text.files_and_bytes(shared["files"], shared["bytes"])
            self._print_invite(shared, waits=False)
        elif self._waits:
            self._terminal.talk(f"{text.escape(shared['name'])} is in sync.")

    def _print_invite(self, invite: Json, *, waits: bool = True) -> None:
        """The result a person came for: what to do on the other machine."""
        if self._session.json or self._invited:
            return
        self._invited = True
        now = datetime.now(UTC)
        self._terminal.result(invite_lines(invite, self._scan, now, self._zone))
        if self._qr and invite["link"]:
            from syncd.cli.qr import render

            self._terminal.result(render(invite["link"]).splitlines())
        if waits:
            what = "code" if invite["code"] else "link"
            self._terminal.talk(["", f"Waiting for someone to join.  Ctrl-C: the {what} stays valid."])

    def _answer(self, request: Json) -> None:
        """Somebody knocks. A person here decides; without one the request waits for `syncd approve`."""
        question = join_question(request)
        if not self._terminal.can_ask:
            self._terminal.talk(f"{question}  syncd approve {request['id']}  or  syncd deny {request['id']}")
            return
        yes = self._terminal.confirm(f"{question} Allow?", flag=f"the answer with syncd approve {request['id']}")
        if yes:
            self._session.call("approve", id=request["id"], role=None)
        else:
            self._session.call("deny", id=request["id"])


def invite_lines(invite: Json, scan: str, now: datetime, zone: tzinfo | None) -> list[str]:
    """What to type on the other machine, and until when."""
    name, until = invite["name"], text.until(invite["expires"], now, zone)
    if invite["link"]:
        give = [
            "  On the other machine run this, one line:",
            f"  syncd join {shlex.quote(invite['link'])}",
            f"  valid {until}",
        ]
    else:
        give = [
            "  On the other machine run:   syncd join",
            f"  and type this code:         {invite['code']}       one use, {until}",
            f"  Far away or on a phone?     syncd share --link {text.argument(name)}",
        ]
    return [f"{text.escape(name)}  {scan}  shared", "", *give]
