"""Blocking. `syncd device archive`, `lockdown`, `folder decide`, `recover`: when something went wrong."""

from __future__ import annotations

import sys
from typing import Annotated

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command, here, usage
from syncd.cli.terminal import read_hidden

_Folder = Annotated[str, Argument(metavar="FOLDER", help="Name, id or path.")]
_Device = Annotated[str, Argument(metavar="DEVICE", help="Name or id, as `syncd members` shows it.")]


@command()
def archive(session: Session, folder: _Folder, device: _Device) -> None:
    """Take out one device for good, for instance an old laptop. What it wrote stays, and so do its member's others.

    `--json` prints syncd.device.archive/1.
    """
    before = session.call("device.archive", folder=folder, device=device, dry_run=True)
    who, name = text.escape(before["device"]["name"]), text.escape(before["name"])
    if session.flags.dry_run:
        session.show(before, lambda: f"Would take {who} out of {name}.")
        return
    session.terminal.talk(f"Taking {who} out of {name}. Its keys are never admitted again.")
    session.confirm("Archive?")
    done = session.call("device.archive", folder=before["folder"], device=before["device"]["id"], dry_run=False)
    session.show(done, lambda: [f"{who} is out of {name}: epoch {done['epoch']}.", *_pending(done)])


@command()
def lockdown(session: Session, device: _Device) -> int:
    """Take out a lost or stolen device of every folder at once. Exit code 3 if a folder did not let you.

    `--json` prints syncd.lockdown/1.
    """
    before = session.call("lockdown", device=device, dry_run=True)
    who = text.escape(before["device"]["name"])
    folders = ", ".join(text.escape(one["name"]) for one in before["folders"])
    if session.flags.dry_run:
        session.show(before, lambda: f"Would take {who} out of {folders}.")
        return 0
    session.terminal.talk(f"Taking {who} out of {folders}. Its keys are never admitted again.")
    session.confirm("Lock down?")
    done = session.call("lockdown", device=before["device"]["id"], dry_run=False)
    session.show(done, lambda: lockdown_lines(done))
    return 0 if all(one["out"] for one in done["folders"]) else 3


@command()
def decide(
    session: Session,
    folder: _Folder,
    keep: Annotated[str, Option("--keep", metavar="MEMBER", help="The owner who is right.")],
) -> None:
    """Two owners have taken out each other: as another owner, say whose history counts. The other one stays out.

    `--json` prints syncd.folder.decide/1.
    """
    before = session.call("folder.decide", folder=folder, keep=keep, dry_run=True)
    gone = ", ".join(text.escape(name) for name in before["gone"])
    sentence = f"{text.escape(before['kept'])} stays in {text.escape(before['name'])}, {gone} stays out"
    if session.flags.dry_run:
        session.show(before, lambda: f"Would decide: {sentence}.")
        return
    session.confirm(f"{sentence}. For good?")
    done = session.call("folder.decide", folder=before["folder"], keep=keep, dry_run=False)
    session.show(done, lambda: [f"Decided: {sentence}.", *_pending(done)])


@command()
def recover(
    session: Session,
    folder: Annotated[str | None, Argument(metavar="FOLDER", help="Default: where you stand.")] = None,
    keep: Annotated[list[str] | None, Option("--keep", metavar="MEMBER", help="Who stays besides this device.")] = None,
) -> None:
    """Every owner is gone: by the printed recovery key, make this device's member an owner and start anew.

    The key's words are asked for, or read from standard input. All devices that are not kept are out.
    `--json` prints syncd.recover/1.
    """
    typed = words(session)
    asked = {**here(folder), "words": typed, "keep": keep or []}
    before = session.call("recover", **asked, dry_run=True)
    if session.flags.dry_run:
        session.show(before, lambda: plan_lines(before))
        return
    session.terminal.talk("\n".join(plan_lines(before)))
    session.confirm("Recover?")
    done = session.call("recover", **{**asked, "folder": before["folder"], "cwd": None}, dry_run=False)
    first = (
        f"{text.escape(done['name'])} is recovered: {text.escape(done['owner'])} is an owner, epoch {done['epoch']}."
    )
    session.show(done, lambda: [first, *_pending(done)])


def words(session: Session) -> str:
    """From a person, unseen, or from standard input; never from the command line, where others could see them."""
    if sys.stdin.isatty():
        return read_hidden("Recovery key")
    given = sys.stdin.readline().strip()
    if not given:
        raise usage("the words of the recovery key are missing", fix="syncd-ca recovery shows where the key is")
    return given


def plan_lines(found: Json) -> list[str]:
    """What a recovery would do, and how old the state is that it begins from."""
    state = found["state"]
    return [
        f"The newest state of {text.escape(found['name'])} known here is of {state['date']} (entry {state['entry']}).",
        "It comes from this device alone, so it can be old: whatever happened since elsewhere does not count any more.",
        f"Owner:  {text.escape(found['owner'])}",
        "Stays:  " + ", ".join(map(_named, found["stays"])),
        "Goes:   " + (", ".join(map(_named, found["goes"])) or "nobody"),
    ]


def _named(device: Json) -> str:
    return f"{text.escape(device['member'])} ({text.escape(device['name'])})"


def lockdown_lines(done: Json) -> list[str]:
    """One line for each folder, and who has yet to hear of it."""
    rows = [
        [text.escape(one["name"]), "out" if one["out"] else "STILL IN", text.escape(one["why"] or "")]
        for one in done["folders"]
    ]
    return [*text.table(rows, heading=("FOLDER", "", "WHY")), *_pending(done)]


def _pending(done: Json) -> list[str]:
    waiting = ", ".join(text.escape(name) for name in done["pending"])
    return [f"Still to hear of it: {waiting}"] if waiting else []
