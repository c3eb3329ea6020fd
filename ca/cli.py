"""Blocking. The command `syncd-ca`: look at a roster and at the recovery key, without a daemon.

It parses and prints; everything else is in the modules beside it. Results go to stdout, errors to stderr in three
lines. Exit codes: 0 done, 2 wrong use, 6 the roster is not right, 11 a person must mend a file.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ca import keyfiles, privatefiles
from ca.device import device_text
from ca.entries import SignedEntry, kind_of
from ca.errors import ConfigError, RemoteProtocolError, SyncdError, TrustError
from ca.homekey import HomeKey, open_lock
from ca.roles import Capability, Role
from ca.roster import MAX_ROSTER_FILE_BYTES, Member, Roster, Status

EXIT_NOT_RIGHT: Final = 6
EXIT_CONFIG: Final = 11

app = typer.Typer(
    name="syncd-ca",
    help="Look at the membership of a folder and at this computer's recovery key, without a daemon.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

RosterFile = Annotated[Path, typer.Argument(metavar="ROSTERFILE", help="A roster as the daemon exports it.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Home = Annotated[Path | None, typer.Option("--home", metavar="DIR", help="Where keys are (default: SYNCD_HOME).")]


@app.command()
def verify(roster_file: RosterFile, as_json: AsJson = False) -> None:
    """Check every signature, right and certificate from the first entry to the last."""
    roster = _read_roster(roster_file)
    _print({"schema": "syncd-ca.verify/1", **_summary(roster)}, as_json, _describe_summary)


@app.command()
def show(roster_file: RosterFile, as_json: AsJson = False) -> None:
    """Verify, then list members and entries. Names are sealed for members and do not appear."""
    roster = _read_roster(roster_file)
    content = {
        "schema": "syncd-ca.show/1",
        **_summary(roster),
        "members": [_member(member) for member in roster.members.values()],
        "entries": [_entry(entry) for entry in roster.entries],
    }
    _print(content, as_json, _describe_all)


@app.command()
def recovery(
    home: Home = None,
    as_json: AsJson = False,
    qr: Annotated[bool, typer.Option("--qr", help="Also as a QR code.")] = False,
) -> None:
    """Show the recovery key that was made with this computer's first folder: write it down, keep it away from here."""
    chosen = home or _default_home()
    key = keyfiles.load_recovery(chosen, _home_key(chosen))
    if key is None:
        raise ConfigError(f"there is no recovery key in {chosen}", fix="it is made together with the first folder")
    content = {
        "schema": "syncd-ca.recovery/1",
        "id": device_text(key.public.id),
        "words": key.words,
        "text": key.text,
    }
    _print(content, as_json, _describe_recovery)
    if qr and not as_json:
        import segno

        segno.make(key.text, error="m").terminal(compact=True)


def main() -> None:
    """The program. The one place that turns exceptions into messages and exit codes."""
    try:
        app()
    except SyncdError as error:
        lines = [f"error: {error.what}" + (f" ({error.id})" if error.id else "")]
        lines += [f"  why: {error.why}"] if error.why else []
        lines += [f"  try: {error.fix}"] if error.fix else []
        print("\n".join(lines), file=sys.stderr)
        sys.exit(EXIT_CONFIG if isinstance(error, ConfigError) else EXIT_NOT_RIGHT)


def _read_roster(path: Path) -> Roster:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_ROSTER_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    try:
        return Roster.from_file_untrusted(data)
    except RemoteProtocolError as error:
        raise TrustError(f"{path} is not a roster", why=error.what) from error


def _default_home() -> Path:
    """The same place as for `syncd`: SYNCD_HOME, else where the platform keeps such things."""
    if chosen := os.environ.get("SYNCD_HOME"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "syncd"
    base = os.environ.get("XDG_DATA_HOME")
    return Path(base) / "syncd" if base and os.path.isabs(base) else Path.home() / ".local" / "share" / "syncd"


# --- what is printed -------------------------------------------------------------------------------------------------


def _summary(roster: Roster) -> dict[str, Any]:
    now = int(time.time())
    return {
        "folder": roster.folder_id.hex(),
        "head": roster.head.hex(),
        "number": roster.number,
        "epoch": roster.epoch.number,
        "epoch_id": roster.epoch.id.hex(),
        "epoch_opened": _time(roster.epoch.opened_at),
        "certificate_ends": _time(roster.epoch.valid_until),
        "rotation_due": roster.rotation_due(now),
        "frozen": roster.is_frozen(now),
        "active_members": sum(member.status is Status.ACTIVE for member in roster.members.values()),
        "recovery": [device_text(key.id) for key in roster.recovery],
    }


def _member(member: Member) -> dict[str, Any]:
    return {
        "id": member.id.hex(),
        "role": member.role.name.lower(),
        "capabilities": _capability_names(member.role, member.capabilities),
        "status": member.status.value,
        "since": _time(member.since),
        "devices": [device_text(device) for device in member.devices],
    }


def _capability_names(role: Role, capabilities: Capability) -> list[str]:
    return ["all"] if role is Role.OWNER else [str(each.name).lower() for each in capabilities]


def _entry(entry: SignedEntry) -> dict[str, Any]:
    return {
        "number": entry.number,
        "hash": entry.hash.hex(),
        "time": _time(entry.time),
        "signer": device_text(entry.signer),
        "changes": [kind_of(change).name.lower().replace("_", "-") for change in entry.changes],
        "epoch": None if entry.epoch is None else entry.epoch.number,
    }


def _time(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _home_key(home: Path) -> HomeKey | None:
    """What opens the keys of a home that a passphrase locks; that is asked for, or read from standard input."""
    lock = privatefiles.read(home / keyfiles.KEYS_DIRECTORY / keyfiles.LOCK_FILE)
    if lock is None:
        return None
    asks = sys.stdin.isatty()
    return open_lock(lock, getpass.getpass("Passphrase: ") if asks else sys.stdin.readline().rstrip("\r\n"))


def _print(content: dict[str, Any], as_json: bool, describe: Callable[[dict[str, Any]], list[str]]) -> None:
    print(json.dumps(content) if as_json else "\n".join(describe(content)))


def _describe_summary(content: dict[str, Any]) -> list[str]:
    lines = [
        f"folder   {content['folder']}",
        f"entries  {content['number'] + 1}, all signed by who had the right",
        f"members  {content['active_members']} active",
        f"epoch    {content['epoch']}, opened {content['epoch_opened']}",
        f"         its certificate ends {content['certificate_ends']}",
    ]
    lines += [f"recovery {key}" for key in content["recovery"]]
    lines += ["rotation is due"] if content["rotation_due"] else []
    lines += ["no entry for 45 days: the membership may be old"] if content["frozen"] else []
    return lines


def _describe_all(content: dict[str, Any]) -> list[str]:
    lines = [*_describe_summary(content), "", "members"]
    for member in content["members"]:
        capabilities = ", ".join(member["capabilities"]) or "none added"
        lines.append(f"  {member['id']}  {member['role']} ({capabilities})  {member['status']} since {member['since']}")
        lines += [f"    {device}" for device in member["devices"]]
    lines += ["", "entries"]
    for entry in content["entries"]:
        epoch = f", opens epoch {entry['epoch']}" if entry["epoch"] else ""
        lines.append(f"  {entry['number']:>5}  {entry['time']}  {', '.join(entry['changes'])}{epoch}")
    return lines


def _describe_recovery(content: dict[str, Any]) -> list[str]:
    words = content["words"]
    rows = [words[at : at + 6] for at in range(0, len(words), 6)]
    return [
        "Whoever has these words can take over every folder that was made on this computer.",
        "Write them on paper, keep them elsewhere, and show them to nobody.",
        "",
        *[f"  {6 * at + 1:>2}  " + "  ".join(f"{word:<6}" for word in row).rstrip() for at, row in enumerate(rows)],
        "",
        content["text"],
    ]


if __name__ == "__main__":
    main()
