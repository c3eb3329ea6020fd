"""Blocking. `syncd key show|list|backup|restore`: how others recognise this device, who has which keys, and keys and
state in one file."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from typing import Annotated

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.emergency import words
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command, here, read_first_line, seconds, usage
from syncd.cli.terminal import read_hidden
from syncd.errors import SyncdError
from syncd.home import lock_home, prepare_home

MAX_FILE_BYTES = 1 << 30
_File = Annotated[str, Argument(metavar="FILE", help="Written or read with mode 0600.")]
PasswordFile = Annotated[
    str | None, Option("--password-file", metavar="FILE", help="Its first line is the passphrase.")
]


@command()
def show(
    session: Session,
    keys: Annotated[bool, Option("--keys", help="Only the public keys, as `member add` takes them.")] = False,
) -> None:
    """Show the id of this device and the two words that others see. `--json` prints syncd.key/1."""
    found = session.call("key.show")
    rows = [["name", text.escape(found["name"])], ["key words", found["words"]], ["id", found["id"]]]
    session.show(found, lambda: [found["keys"]] if keys else text.table(rows))


@command()
def listed(
    session: Session,
    folder: Annotated[str | None, Argument(metavar="FOLDER", help="Name, id or path; default: all.")] = None,
    unused: Annotated[
        str | None, Option("--unused", metavar="TIME", help="Call unused who was away so long; default: 90d.")
    ] = None,
) -> None:
    """List the keys of folders: how old, until when, who has them, and who does not use them. `--json` prints
    syncd.key.list/1."""
    named = {"folder": None, "cwd": None} if folder is None else here(folder)
    found = session.call("key.list", **named, unused_s=None if unused is None else seconds(unused, "--unused"))
    session.show(found, lambda: _list_lines(found))


def _list_lines(found: Json) -> list[str]:
    now, lines = datetime.now(UTC), []
    for one in found["folders"]:
        days = text.count(one["age_days"], "day")
        until = one["valid_until"][:10]
        lines.append(f"{text.escape(one['name'])}: epoch {one['epoch']}, {days} old, certificate until {until}")
        rows = [["", text.escape(who["member"]), who["role"], *_use(who, now)] for who in one["holders"]]
        lines += text.table([["", "this device", "", ""], *rows])
        if one["recovery_keys"]:
            lines.append(f"  whoever has its recovery key can open it, too: {', '.join(one['recovery_keys'])}")
        lines += [
            f"  not used any more?  syncd device archive {text.escape(one['name'])} {text.escape(who['device'])}"
            for who in one["holders"]
            if who["unused"]
        ]
    return lines or ["No folders yet."]


def _use(who: Json, now: datetime) -> list[str]:
    if who["connected"]:
        return ["in use"]
    seen = "never seen from here" if who["last_seen"] is None else f"last seen {text.ago(who['last_seen'], now)}"
    return [f"{seen}, UNUSED" if who["unused"] else seen]


@command()
def backup(
    session: Session,
    file: _File,
    recovery: Annotated[bool, Option("--recovery", help="Open it by the recovery key, not a passphrase.")] = False,
    password_file: PasswordFile = None,
) -> None:
    """Write the keys, state and settings of this device to a file, sealed. `--json` prints syncd.key.backup/1.

    The passphrase is asked for, or read from standard input. The files of folders and their past are not in it: these
    come back from the other members, or are still there. An older backup of this device is replaced, nothing else is;
    of one that opens by something else --yes says that it is this device's.
    """
    passphrase = None if recovery else read_passphrase(password_file, new=True)
    found = session.stream(
        "key.backup",
        _silent,
        path=os.path.abspath(os.path.expanduser(file)),
        passphrase=passphrase,
        recovery=recovery,
        replace=session.flags.yes,
        dry_run=session.flags.dry_run,
    )
    session.show(found, lambda: _backup_line(found))


def _silent(progress: Json) -> None:
    """It takes a second at most."""


def _backup_line(found: Json) -> str:
    would = "Would be" if found["dry_run"] else "Is"
    return (
        f"{would} in {text.escape(found['path'])}: keys, settings and {text.count(len(found['folders']), 'folder')} of "
        f"{text.escape(found['name'])}, {text.size(found['bytes'])}. Opens by the {found['opens_with']}."
    )


@command()
def restore(
    session: Session,
    file: _File,
    into: Annotated[
        str | None, Option("--into", metavar="DIR", help="Folders go in here, not where they were.")
    ] = None,
    password_file: PasswordFile = None,
) -> None:
    """Be the device of a backup from now on, on a new machine. `--json` prints syncd.key.restore/1.

    Only into a home without a device. The old machine must not run again with these keys: two with one identity are
    found out (SY-TWIN-01). Folders begin new journals and are filled by the other members.
    """
    from ca.backup import open_by_passphrase, open_by_recovery, wants_recovery_key
    from ca.device import device_text
    from ca.recovery import parse
    from ca.wraps import HpkeSealer
    from syncd.store import state

    home = session.place.home
    sealed = _read(file)
    directory = None if into is None else os.fsencode(os.path.abspath(os.path.expanduser(into)))
    may_be_forged = wants_recovery_key(sealed)
    if may_be_forged:
        found = open_by_recovery(sealed, parse(words(session)), HpkeSealer())
    else:
        found = open_by_passphrase(sealed, read_passphrase(password_file, new=False))
    made = datetime.fromtimestamp(found.made_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    result: Json = {
        "schema": "syncd.key.restore/1",
        "id": device_text(found.device),
        "home": str(home),
        "made": made,
        "config": None,
        "folders": [_folder(*one) for one in state.folders_in(found, directory)],
        "dry_run": session.flags.dry_run,
    }
    state.refuse_taken(home)
    if not session.flags.dry_run:
        session.terminal.talk("\n".join(_found_lines(result)))
        session.confirm("Be this device?")
        prepare_home(home)
        with lock_home(home):
            try:
                config = state.lay_out(home, found, os.urandom, directory, may_be_forged=may_be_forged).config
            except OSError as error:
                why = error.strerror or str(error)
                raise SyncdError(f"{home} cannot be written", id="SY-KEY-03", why=why) from error
        result["config"] = None if config is None else str(config)
    session.show(result, lambda: _found_lines(result) if session.flags.dry_run else _done_lines(result))


def _folder(name: str, path: bytes) -> Json:
    return {"name": name, "path": os.fsdecode(path)}


def _found_lines(found: Json) -> list[str]:
    lines = [f"Device {found['id']}, as of {found['made']}, into {text.escape(found['home'])}."]
    return [*lines, *(f"{text.escape(one['name'])}: {text.escape(one['path'])}" for one in found["folders"])]


def _done_lines(found: Json) -> list[str]:
    lines = ["This home is that device now. The old machine must not run again with the same keys."]
    lines.append("its keys lie here in the open, whatever they did there; syncd key lock sets a passphrase")
    if found["config"] is not None:
        lines.append(f"its settings are in {text.escape(found['config'])}")
        if found["config"].endswith(".recovered"):
            lines.append("look at them before you use them: they can name programs to run")
    return [*lines, "syncd run, or syncd service install, starts it; syncd wait ends when all is here"]


def _read(file: str) -> bytes:
    try:
        with open(os.path.expanduser(file), "rb") as stream:
            return stream.read(MAX_FILE_BYTES)
    except OSError as error:
        raise usage(f"{text.escape(file)} cannot be read", why=error.strerror or str(error)) from None


def read_passphrase(file: str | None, *, new: bool, prompt: str = "Passphrase") -> str:
    """From a file, a person (unseen, a new one twice) or standard input; never from the command line, where others
    could see it."""
    if file is not None:
        return read_first_line(file)
    if sys.stdin.isatty():
        return read_hidden(prompt, twice=new)
    given = sys.stdin.readline().rstrip("\n")
    if not given:
        raise usage("the passphrase is missing", fix="type it, or name a file with --password-file")
    return given
