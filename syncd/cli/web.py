"""Blocking. `syncd web`: open the status page in a browser, or print the link to it; and the page's PIN."""

from __future__ import annotations

import getpass
import webbrowser
from typing import Annotated

from syncd.cli import text
from syncd.cli.options import Option
from syncd.cli.session import Session, command, usage


@command(dry_run=False)
def web(
    session: Session,
    show: Annotated[bool, Option("--print", help="Only print the link, which works once.")] = False,
    read_only: Annotated[bool, Option("--read-only", help="A page that shows and changes nothing.")] = False,
    pin: Annotated[bool, Option("--pin", help="Set a PIN that has to be typed before a change.")] = False,
    no_pin: Annotated[bool, Option("--no-pin", help="Take the PIN away.")] = False,
) -> None:
    """Open the status page. Its link works once, within five minutes, and only on this computer.

    `--json` prints syncd.web/1.
    """
    if pin or no_pin:
        done = session.call("web.pin", pin=_ask_pin(session) if pin else None)
        session.show(
            done,
            lambda: (
                "Page and commands ask for the PIN before they change anything now."
                if done["has_pin"]
                else "There is no PIN."
            ),
        )
        return
    opened = session.call("web", read_only=read_only)
    minutes = text.duration(opened["expires_s"])
    if show or session.json:
        session.show(opened, lambda: opened["url"])
    elif webbrowser.open(opened["url"]):
        session.terminal.talk("The page is open in your browser.")
    else:
        session.terminal.talk(f"No browser could be started. Open this link within {minutes}; it works once:")
        session.terminal.result(opened["url"])


def _ask_pin(session: Session) -> str:
    """A new PIN: typed twice, or one line of standard input. Never an argument, which others could read."""
    if not session.terminal.stdin.isatty():
        return session.terminal.stdin.readline().rstrip("\n")
    if session.flags.no_input:
        raise usage("a PIN is needed", why="--no-input was given.", fix="syncd web --pin < file")
    typed = getpass.getpass("New PIN: ")
    if getpass.getpass("Again: ") != typed:
        raise usage("the two PINs differ")
    return typed
