"""Blocking. `syncd rescue`: on a new machine, by the recovery key, every folder back from one peer."""

from __future__ import annotations

from typing import Annotated

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.emergency import words
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command


@command()
def rescue(
    session: Session,
    address: Annotated[str, Argument(metavar="ADDRESS", help="HOST:PORT of a member who is there.")],
    device: Annotated[
        str | None, Option("--device", metavar="NAME", help="Whose settings; default: the newest.")
    ] = None,
    into: Annotated[
        str | None, Option("--into", metavar="DIR", help="Folders go in here, not where they were.")
    ] = None,
) -> None:
    """A new machine: by the recovery key, get every folder back from one peer. `--json` prints syncd.rescue/1.

    The key is asked for, or read from standard input. This device becomes an owner of every folder whose recovery key
    it is, and takes the settings that the old one left with that peer.
    """
    asked = {"address": address, "words": words(session), "device": device, "into": into}
    found = session.stream("rescue", _silent, **asked, dry_run=True)
    if session.flags.dry_run:
        session.show(found, lambda: found_lines(found))
        return
    session.terminal.talk("\n".join(found_lines(found)))
    session.confirm("Get them back?")
    done = session.stream("rescue", _silent, **asked, dry_run=False)
    session.show(done, lambda: _done_lines(done))


def _silent(progress: Json) -> None:
    """What comes is shown by `syncd status`."""


def found_lines(found: Json) -> list[str]:
    """What the peer has, and how old that is."""
    source = text.escape(found["address"])
    lines = [f"{source} alone says so: it can be old, and what happened since elsewhere does not count any more."]
    for one in found["folders"]:
        kept = one["settings_of"]
        settings = "no settings" if kept is None else f"settings of {text.escape(kept)} as of {one['settings_date']}"
        lines.append(
            f"{text.escape(one['name'])}: as of {one['state']['date']} (entry {one['state']['entry']}), "
            f"to {text.escape(one['path'])}, {settings}"
        )
    return lines if found["folders"] else ["There is nothing that is not here already."]


def _done_lines(done: Json) -> list[str]:
    lines = [f"{text.escape(one['name'])} comes to {text.escape(one['path'])}" for one in done["folders"]]
    if done["config"] is not None:
        lines.append(f"the settings are in {text.escape(done['config'])}")
        lines.append("look at them before you use them: they can name programs to run")
    return [*lines, "syncd wait  ends when all is here"]
