"""Blocking. `syncd members`, `syncd member remove`, `syncd rotate`: who belongs to a folder."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import Annotated

import typer

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.session import Session, command, here

_MaybeFolder = Annotated[str | None, typer.Argument(metavar="FOLDER", help="Default: where you stand.")]


@command()
def members(session: Session, folder: _MaybeFolder = None) -> None:
    """List the members of a folder, their roles and devices. `--json` prints syncd.members/1."""
    found = session.call("members", **here(folder))
    session.show(found, lambda: member_lines(found["members"], UTC if session.flags.utc else None))


@command()
def remove(
    session: Session,
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Name, id or path.")],
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="Name or id, as `syncd members` shows it.")],
) -> None:
    """Remove a member. The folder gets a new certificate at once, and their connections are cut.

    What they have on their disk stays there. `--json` prints syncd.member.remove/1.
    """
    before = session.call("member.remove", folder=folder, member=member, dry_run=True)
    gone = before["member"]
    who = f"{text.escape(gone['name'])} ({gone['role']}, {text.count(gone['devices'], 'device')})"
    if session.flags.dry_run:
        session.show(before, lambda: f"Would remove {who} from {text.escape(before['name'])}.")
        return
    session.terminal.talk(f"Removing {who} from {text.escape(before['name'])}. What they have stays with them.")
    session.confirm("Remove?")
    done = session.call("member.remove", folder=before["folder"], member=gone["id"], dry_run=False)
    session.show(done, lambda: removed_lines(done))


@command(dry_run=False)
def rotate(
    session: Session,
    folder: _MaybeFolder = None,
    reason: Annotated[str | None, typer.Option("--reason", help="A word for the log.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until every connected member has it.")] = False,
) -> None:
    """Give a folder a new certificate and content key. `--json` prints syncd.rotate/1."""
    done = session.stream("rotate", lambda _: None, **here(folder), reason=reason, wait=wait)
    session.show(done, lambda: rotated_lines(done))


def member_lines(members: list[Json], zone: tzinfo | None) -> list[str]:
    """One line per member; a second one only for those with several devices."""
    rows = [
        [
            text.escape(member["name"]) + (" (you)" if member.get("you") else ""),
            member["role"],
            text.clock(member["since"], zone),
            ", ".join(_device(device) for device in member["devices"]),
            member["id"][:12],
        ]
        for member in members
    ]
    return text.table(rows, heading=("MEMBER", "ROLE", "SINCE", "DEVICES", "ID"))


def _device(device: Json) -> str:
    return " ".join(text.escape(part) for part in (device["name"], device.get("words")) if part)


def removed_lines(done: Json) -> list[str]:
    name = text.escape(done["name"])
    first = f"{text.escape(done['member']['name'])} was removed. {name} has a new certificate: epoch {done['epoch']}."
    if not done["pending"]:
        return [first]
    return [first, "Still to fetch it: " + ", ".join(text.escape(name) for name in done["pending"])]


def rotated_lines(done: Json) -> list[str]:
    missing = [text.escape(peer["name"]) for peer in done["peers"] if not peer["has"]]
    first = f"{text.escape(done['name'])}: epoch {done['from']} -> {done['epoch']}."
    return [first, "Still to fetch it: " + ", ".join(missing)] if missing else [first]
