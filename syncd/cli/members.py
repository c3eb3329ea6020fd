"""Blocking. `syncd members`, `syncd member …`, `syncd rotate`: who belongs to a folder, and what they may do there."""

from __future__ import annotations

import time
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command, here, usage

LATEST_S = datetime(2200, 1, 1, tzinfo=UTC).timestamp()


class Role(StrEnum):
    """What a member may be."""

    OWNER = "owner"
    ADMIN = "admin"
    EDITOR = "editor"
    VIEWER = "viewer"
    VAULT = "vault"


_Folder = Annotated[str, Argument(metavar="FOLDER", help="Name, id or path.")]
_Member = Annotated[str, Argument(metavar="MEMBER", help="Name or id, as `syncd members` shows it.")]
_MaybeFolder = Annotated[str | None, Argument(metavar="FOLDER", help="Default: where you stand.")]


@command()
def members(session: Session, folder: _MaybeFolder = None) -> None:
    """List the members of a folder, their roles and devices. `--json` prints syncd.members/1."""
    found = session.call("members", **here(folder))
    session.show(found, lambda: member_lines(found["members"], UTC if session.flags.utc else None))


@command()
def remove(
    session: Session,
    folder: _Folder,
    member: _Member,
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


@command()
def add(
    session: Session,
    folder: _Folder,
    file: Annotated[Path, Argument(metavar="FILE", help="CSV with the columns name, role and keys.")],
) -> None:
    """Admit all devices of a list at once, by their keys (`syncd key show --keys`). They join with any link.

    Whoever is a member already is passed over. `--json` prints syncd.member.add/1.
    """
    asked = {"folder": folder, "file": str(file.absolute())}
    before = session.call("member.add", **asked, dry_run=True)
    many = text.count(len(before["added"]), "device")
    if session.flags.dry_run:
        session.show(before, lambda: [f"Would admit {many} to {text.escape(before['name'])}."])
        return
    session.terminal.talk(f"Admitting {many} to {text.escape(before['name'])}.")
    session.confirm("Admit?")
    done = session.call("member.add", **{**asked, "folder": before["folder"]}, dry_run=False)
    session.show(done, lambda: added_lines(done))


@command()
def role(
    session: Session,
    folder: _Folder,
    member: _Member,
    role: Annotated[Role, Argument(metavar="ROLE", help="owner, admin, editor, viewer; a vault gets nothing yet.")],
    can: Annotated[list[str] | None, Option("--can", metavar="RIGHT", help="One more right.")] = None,
    cannot: Annotated[list[str] | None, Option("--cannot", metavar="RIGHT", help="One right less.")] = None,
) -> None:
    """Give a member another role. An editor with `--cannot delete` deletes nothing; every device enforces it.

    Rights: read, write, delete, admit, remove, roles, policy, restore, audit, links, vaults.
    `--json` prints syncd.member.change/1.
    """
    given = f"{role}" + "".join(f" +{name}" for name in can or []) + "".join(f" -{name}" for name in cannot or [])
    if role is Role.VAULT:
        given += ", which cuts them off, as nothing serves vaults yet,"
    rights = {"role": str(role), "can": can or [], "cannot": cannot or []}
    _change(session, folder, member, "role", f"make {{who}} {given} in {{folder}}", **rights)


@command()
def suspend(session: Session, folder: _Folder, member: _Member) -> None:
    """Take a member out until `member reactivate`: connections are cut, the certificate changes.

    `--json` prints syncd.member.change/1.
    """
    _change(session, folder, member, "suspend", "suspend {who} in {folder}")


@command()
def reactivate(session: Session, folder: _Folder, member: _Member) -> None:
    """Let a suspended member in again, with the rights it had. `--json` prints syncd.member.change/1."""
    _change(session, folder, member, "reactivate", "reactivate {who} in {folder}")


@command()
def expire(
    session: Session,
    folder: _Folder,
    member: _Member,
    when: Annotated[str, Argument(metavar="WHEN", help="30d, 2027-01-31, or never.")],
) -> None:
    """Say when a membership ends. Then the member is suspended everywhere, and the certificate changes.

    `--json` prints syncd.member.change/1.
    """
    until = end_of(when)
    words = "never end" if until is None else f"end on {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M} UTC"
    if until is not None and until <= time.time():
        words += ", which is past: at once"
    _change(session, folder, member, "expire", f"let the membership of {{who}} in {{folder}} {words}", until=until)


def _change(session: Session, folder: str, member: str, what: str, words: str, **more: Any) -> None:
    """Say what would change, ask, and change it."""
    asked = {"folder": folder, "member": member, "what": what, **more}
    before = session.call("member.change", **asked, dry_run=True)
    gone = before["member"]
    who = f"{text.escape(gone['name'])} ({gone['role']}, {text.count(gone['devices'], 'device')})"
    sentence = words.format(who=who, folder=text.escape(before["name"]))
    if session.flags.dry_run:
        session.show(before, lambda: f"Would {sentence}.")
        return
    session.terminal.talk(f"About to {sentence}.")
    session.confirm("Go on?")
    done = session.call("member.change", **{**asked, "folder": before["folder"], "member": gone["id"]}, dry_run=False)
    session.show(done, lambda: changed_lines(done))


def end_of(when: str) -> float | None:
    """Unix seconds from a duration or a date; None for never. Raises SyncdError SY-USE-01."""
    if when == "never":
        return None
    try:
        moment = datetime.fromisoformat(when)
        until = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        try:
            until = time.time() + text.parse_duration(when)
        except ValueError:
            what = f"{text.escape(when)} is neither a date nor a duration"
            raise usage(what, fix="WHEN is 30d, 12h, 2027-01-31, 2027-01-31T18:00 (UTC) or never") from None
    if not 0 <= until < LATEST_S:
        raise usage(f"{text.escape(when)} is too far away", fix="name a date before 2200, or never")
    return until


@command(dry_run=False)
def rotate(
    session: Session,
    folder: _MaybeFolder = None,
    reason: Annotated[str | None, Option("--reason", help="A word for the log.")] = None,
    wait: Annotated[bool, Option("--wait", help="Until every connected member has it.")] = False,
) -> None:
    """Give a folder a new certificate and content key. `--json` prints syncd.rotate/1."""
    done = session.stream("rotate", lambda _: None, **here(folder), reason=reason, wait=wait)
    session.show(done, lambda: rotated_lines(done))


def member_lines(members: list[Json], zone: tzinfo | None) -> list[str]:
    """One line per member; a second one only for those with several devices."""
    rows = [
        [
            text.escape(member["name"]) + (" (you)" if member.get("you") else ""),
            _standing(member, zone),
            text.clock(member["since"], zone),
            ", ".join(_device(device) for device in member["devices"]),
            member["id"][:12],
        ]
        for member in members
    ]
    return [*text.table(rows, heading=("MEMBER", "ROLE", "SINCE", "DEVICES", "ID")), *_owner_lines(members)]


def _standing(member: Json, zone: tzinfo | None) -> str:
    """As `editor, suspended` or `viewer, until 2031-05-01 10:00`."""
    parts = [member["role"]]
    if member["status"] != "active":
        parts.append(member["status"])
    elif member.get("until"):
        parts.append(f"until {text.clock(member['until'], zone)}")
    return ", ".join(parts)


def _owner_lines(members: list[Json]) -> list[str]:
    """A folder whose only owner is gone is governed by nobody, but for the recovery key."""
    owners = [member for member in members if member["role"] == "owner" and member["status"] == "active"]
    if len(owners) != 1 or len(members) == 1:
        return []
    return ["One owner only: keep the recovery key (syncd-ca recovery), or make another owner (syncd member role)."]


def _device(device: Json) -> str:
    return " ".join(text.escape(part) for part in (device["name"], device.get("words")) if part)


def removed_lines(done: Json) -> list[str]:
    name = text.escape(done["name"])
    first = f"{text.escape(done['member']['name'])} was removed. {name} has a new certificate: epoch {done['epoch']}."
    if not done["pending"]:
        return [first]
    return [first, "Still to fetch it: " + ", ".join(text.escape(name) for name in done["pending"])]


def added_lines(done: Json) -> list[str]:
    many, name = text.count(len(done["added"]), "device"), text.escape(done["name"])
    known = f", {done['known']:,} were members already" if done["known"] else ""
    return [f"{many} admitted to {name}{known}, epoch {done['epoch']}."]


def changed_lines(done: Json) -> list[str]:
    member, name = done["member"], text.escape(done["name"])
    until = "" if member["until"] is None else f", until {member['until']}"
    first = (
        f"{text.escape(member['name'])}: {member['role']}, {member['status']}{until} in {name}, epoch {done['epoch']}."
    )
    if not done["pending"]:
        return [first]
    return [first, "Still to hear of it: " + ", ".join(text.escape(name) for name in done["pending"])]


def rotated_lines(done: Json) -> list[str]:
    missing = [text.escape(peer["name"]) for peer in done["peers"] if not peer["has"]]
    first = f"{text.escape(done['name'])}: epoch {done['from']} -> {done['epoch']}."
    return [first, "Still to fetch it: " + ", ".join(missing)] if missing else [first]
