"""Blocking. `syncd link`: give people outside a folder one file or directory of it, through a browser."""

from __future__ import annotations

import getpass
import os
import sys
from datetime import UTC, datetime, tzinfo
from typing import Annotated

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.history import absolute
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command, here, seconds, usage
from syncd.errors import SyncdError

PASSWORD_VARIABLE = "SYNCD_PASSWORD"

_Link = Annotated[str, Argument(metavar="ID", help="As `syncd link list` shows it.")]


@command()
def create(
    session: Session,
    path: Annotated[str, Argument(metavar="PATH", help="A file or directory in a folder.")],
    expires: Annotated[str | None, Option("--expires", help="How long it works: 1h, 2d; default 7d.")] = None,
    password: Annotated[bool, Option("--password", help="Ask for a password that opens it.")] = False,
    password_file: Annotated[
        str | None, Option("--password-file", metavar="FILE", help="Read the password from there; - is stdin.")
    ] = None,
    max_downloads: Annotated[
        int | None, Option("--max-downloads", min=1, max=1_000_000, help="How often it can be downloaded.")
    ] = None,
    qr: Annotated[bool, Option("--qr", help="Draw the link as a QR code.")] = False,
) -> None:
    """Make a link by which people without syncd download a file or directory.

    It works while this daemon runs and can be reached. The password is asked for, or taken from SYNCD_PASSWORD or
    --password-file, never from the command line. `--json` prints syncd.link/1.
    """
    secret = _password(session, password_file) if password or password_file is not None else None
    made = session.call(
        "link.create",
        path=absolute(session, path),
        expires_s=None if expires is None else seconds(expires, "--expires"),
        password=secret,
        most=max_downloads,
        dry_run=session.flags.dry_run,
    )
    zone = UTC if session.flags.utc else None
    session.show(made, lambda: made_lines(made, datetime.now(UTC), zone))
    if qr and made["url"] and not session.json:
        from syncd.cli.qr import render

        session.terminal.result(render(made["url"], exact=True).splitlines())


@command()
def listed(
    session: Session,
    folder: Annotated[str | None, Argument(metavar="FOLDER", help="Default: all.")] = None,
) -> None:
    """List share links, and for a month those that have ended. `--json` prints syncd.links/1."""
    found = session.call("links", folder=folder, cwd=None)
    zone = UTC if session.flags.utc else None
    session.show(found, lambda: link_lines(found, datetime.now(UTC), zone))


@command()
def show(session: Session, link: _Link) -> None:
    """Show one share link; but not its address, which is known only where it was made. `--json` prints syncd.link/1."""
    found = session.call("link.show", id=link)
    zone = UTC if session.flags.utc else None
    session.show(found, lambda: [_about(found, datetime.now(UTC), zone), *_reached(found)])


@command()
def revoke(session: Session, link: _Link) -> None:
    """End a share link, and every download by it that runs. `--json` prints syncd.link.revoke/1."""
    done = session.call("link.revoke", id=link, dry_run=session.flags.dry_run)
    verb = "would work" if session.flags.dry_run else "works"
    session.show(done, lambda: f"The link to {text.escape(done['path'])} {verb} no more.")


@command()
def policy(
    session: Session,
    folder: Annotated[str | None, Argument(metavar="FOLDER", help="Default: the one we stand in.")] = None,
    who: Annotated[
        str | None,
        Option("--who", metavar="members|all|off", help="Members with the right links; all who read; nobody."),
    ] = None,
    longest: Annotated[str | None, Option("--longest", metavar="TIME", help="How long a link may live.")] = None,
) -> None:
    """Show or change who may make share links of a folder. It is signed, and holds on every device.

    What is not allowed any more ends at once. `--json` prints syncd.link.policy/1.
    """
    if who is not None and who not in ("members", "all", "off"):
        raise usage(f"--who {text.escape(who)} is not known", fix="--who members, all or off")
    found = session.call(
        "link.policy",
        **here(folder),
        who=who,
        longest_s=None if longest is None else seconds(longest, "--longest"),
        dry_run=session.flags.dry_run,
    )
    session.show(found, lambda: policy_lines(found))


# --- the password ----------------------------------------------------------------------------------------------------


def _password(session: Session, file: str | None) -> str:
    """From a file, the environment, or a person at a terminal; never from the arguments, which others can read."""
    if file is not None:
        return _first_line(file)
    if PASSWORD_VARIABLE in os.environ:
        return os.environ[PASSWORD_VARIABLE]
    if session.flags.no_input or not session.terminal.stdin.isatty():
        raise SyncdError(
            "the password has to be given", id="SY-USE-02", fix=f"--password-file FILE, or {PASSWORD_VARIABLE}"
        )
    first = getpass.getpass("Password for the link: ")
    if getpass.getpass("Once more: ") != first:
        raise usage("these are two passwords", fix="run the command again")
    return first


def _first_line(file: str) -> str:
    try:
        if file == "-":
            return sys.stdin.readline().rstrip("\r\n")
        with open(file, encoding="utf-8") as stream:
            return stream.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise usage(f"{file} cannot be read", why=str(error)) from None


# --- words -----------------------------------------------------------------------------------------------------------


def made_lines(made: Json, now: datetime, zone: tzinfo | None) -> list[str]:
    """What a person needs to give away, and what this opens on their computer."""
    if made["url"] is None:
        return [f"would share  {_about(made, now, zone)}"]
    return [_about(made, now, zone), "", f"  {made['url']}", "", *_reached(made)]


def _about(link: Json, now: datetime, zone: tzinfo | None) -> str:
    guard = "with a password" if link["password"] else "for whoever has the link"
    number = f", {text.count(_left(link), 'download')} left" if link["most"] else ""
    if link["state"] == "ended":
        return f"{text.escape(link['path'])}  ended: {link['why']}"
    rests = f"; rests: {link['why']}" if link["state"] == "rests" else ""
    return f"{text.escape(link['path'])}  {guard}, {text.until(link['expires'], now, zone)}{number}{rests}"


def _left(link: Json) -> int:
    return max(0, int(link["most"]) - int(link["used"]))


def _reached(found: Json) -> list[str]:
    """Which port is open, and what browsers will say about it."""
    if not found["listen"]:
        return ["No port is open for share links."]
    lines = [f"syncd listens for browsers at {', '.join(found['listen'])} as long as a link lives."]
    if len(found["addresses"]) > 1:
        lines.append(f"This computer is also {', '.join(found['addresses'][1:])}")
    if found["own_certificate"]:
        lines.append("Browsers warn about its certificate, which no authority has signed. Its SHA-256 fingerprint is")
        lines.append(f"  {found['fingerprint']}")
    return lines


def link_lines(found: Json, now: datetime, zone: tzinfo | None) -> list[str]:
    """One line per link."""
    if not found["links"]:
        return ["No share links."]
    rows = [
        [
            link["id"][:8],
            text.escape(link["path"]),
            "yes" if link["password"] else "no",
            f"{link['used']} of {link['most']}" if link["most"] else str(link["used"]),
            f"{link['state']}: {link['why']}" if link["why"] else link["state"],
            "" if link["state"] == "ended" else text.until(link["expires"], now, zone),
        ]
        for link in found["links"]
    ]
    return text.table(rows, heading=("ID", "WHAT", "PASSWORD", "DOWNLOADS", "STATE", "WORKS"))


def policy_lines(found: Json) -> list[str]:
    """Who may, for how long, and whether that is you."""
    who = {"members": "members with the right links", "all": "every member who may read", "off": "nobody"}[found["who"]]
    name = text.escape(found["name"])
    lines = [f"{name}: links may be made by {who}, for {text.duration(found['longest_s'])} at most."]
    lines.append("You may." if found["you_may"] else "You may not.")
    if found["pending"]:
        lines.append(f"Still to be told: {', '.join(map(text.escape, found['pending']))}")
    return lines
