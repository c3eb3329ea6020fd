"""Blocking. `syncd key lock|unlock|passphrase`: a passphrase that locks the keys of this device."""

from __future__ import annotations

from typing import Annotated

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.key import PasswordFile, read_passphrase
from syncd.cli.options import Option
from syncd.cli.session import Session, command, usage


@command()
def lock(session: Session, password_file: PasswordFile = None) -> None:
    """Lock the keys of this device by a passphrase, from the next start on. `--json` prints syncd.key.lock/1.

    The passphrase is asked for twice, or read from standard input. Files of folders stay as they are on the disk.
    """
    beforehand = session.call("key.lock", passphrase=None, dry_run=True)
    if session.flags.dry_run:
        session.show(beforehand, lambda: _warning_lines(beforehand))
        return
    session.terminal.talk(_warning_lines(beforehand))
    session.confirm("Lock the keys?")
    passphrase = read_passphrase(password_file, new=True)
    done = session.call("key.lock", passphrase=passphrase, dry_run=False)
    session.show(done, lambda: _locked_lines(done))


def _warning_lines(found: Json) -> list[str]:
    lines = [f"WARNING: {text.escape_line(found['warning'])}"]
    if found["recovery_key_here"]:
        lines.append(
            "The recovery key of the folders made here goes behind it, too. Write it down first:  syncd-ca recovery"
        )
    return [*lines, "From its next start on syncd does nothing before you say the passphrase:  syncd key unlock"]


def _locked_lines(done: Json) -> list[str]:
    lines = ["The keys are locked from the next start on; this daemon goes on until then."]
    lines += [f"still readable without the passphrase: {text.escape_line(what)}" for what in done["left_open"]]
    return [*lines, "Old bytes can stay on the disk for a time: on an SSD, in snapshots, in backups of this home."]


@command(dry_run=False)
def unlock(session: Session, password_file: PasswordFile = None) -> None:
    """Tell a daemon that waits for it the passphrase of its keys. `--json` prints syncd.key.unlock/1."""
    passphrase = read_passphrase(password_file, new=False)
    done = session.stream("key.unlock", _silent, passphrase=passphrase)
    session.show(done, lambda: "Unlocked." if done["unlocked"] else "The keys were not locked.")


def _silent(progress: Json) -> None:
    """There is nothing to tell meanwhile."""


@command()
def passphrase(
    session: Session,
    remove: Annotated[bool, Option("--remove", help="Leave the keys to whoever reads this disk.")] = False,
    password_file: PasswordFile = None,
    new_password_file: Annotated[
        str | None, Option("--new-password-file", metavar="FILE", help="Its first line is the new passphrase.")
    ] = None,
) -> None:
    """Change the passphrase of this device's keys, or remove it. `--json` prints syncd.key.passphrase/1.

    From standard input: the old passphrase in the first line, the new one in the second.
    """
    if not session.call("status", folder=None, cwd=None)["keys"]["passphrase"]:
        raise usage("the keys of this device have no passphrase", why="There is none to change.", fix="syncd key lock")
    old = read_passphrase(password_file, new=False)
    fresh = None if remove else read_passphrase(new_password_file, new=True, prompt="New passphrase")
    if remove and not session.flags.dry_run:
        session.confirm("From then on whoever reads this disk has the keys. Remove the passphrase?")
    done = session.call("key.passphrase", passphrase=old, new=fresh, dry_run=session.flags.dry_run)
    session.show(done, lambda: _changed_line(done))


def _changed_line(done: Json) -> list[str]:
    if done["dry_run"]:
        return ["The passphrase is right; nothing was changed."]
    if not done["passphrase"]:
        return ["The keys have no passphrase any more. Whoever reads this disk has them."]
    return [
        "Changed. The old one still opens older copies of this home.",
        f"WARNING: {text.escape_line(done['warning'])}",
    ]
