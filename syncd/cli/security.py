"""Blocking. `syncd security`, `audit` and `folder addresses`: what was refused, what was done at another's word, and
from where a folder may be reached."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import Annotated

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.options import Argument, Option
from syncd.cli.session import Session, command, here

_MEANINGS = {
    "crowd": "too many at once",
    "address": "address rule",
    "handshake": "TLS refused",
    "label": "unknown name",
    "clock": "certificate's dates",
    "request": "malformed request",
    "right": "not allowed",
    "hello": "false proof",
    "entry": "false entry",
    "pairing": "pairing failed",
    "link": "share link failed",
    "content": "false content",
}


@command()
def security(
    session: Session,
    last: Annotated[int, Option("--last", min=1, max=1000, help="How many entries.")] = 50,
) -> None:
    """List what this device refused: who tried, what, how often. `--json` prints syncd.security/1."""
    found = session.call("security", last=last)
    session.show(found, lambda: refusal_lines(found["refusals"], UTC if session.flags.utc else None))


@command(dry_run=True)
def addresses(
    session: Session,
    folder: Annotated[str | None, Argument(metavar="FOLDER", help="Default: where you stand.")] = None,
    allow: Annotated[list[str] | None, Option("--allow", metavar="NETWORK", help="Only from here.")] = None,
    deny: Annotated[list[str] | None, Option("--deny", metavar="NETWORK", help="Not from here.")] = None,
    device: Annotated[str | None, Option("--device", help="The rules added are for this device alone.")] = None,
    clear: Annotated[bool, Option("--clear", help="Forget all rules first.")] = False,
) -> None:
    """Show or add the networks from which a folder may be reached. Every peer enforces them.

    NETWORK is 192.168.1.0/24, 2001:db8::/32 or one address. `--json` prints syncd.folder.addresses/1.
    """
    params = {**here(folder), "allow": allow or [], "deny": deny or [], "device": device, "clear": clear}
    done = session.call("folder.addresses", **params, dry_run=session.flags.dry_run)
    session.show(done, lambda: rule_lines(done))


def rule_lines(done: Json) -> list[str]:
    """One line for each rule, and who has yet to hear of them."""
    if not done["rules"]:
        return [f"{text.escape(done['name'])} may be reached from everywhere."]
    rows: list[list[str]] = [
        [rule["action"], rule["network"], text.escape(rule["device_name"] or "all devices")] for rule in done["rules"]
    ]
    lines = text.table(rows, heading=("RULE", "NETWORK", "FOR"))
    waiting = ", ".join(text.escape(name) for name in done["pending"])
    return [*lines, f"Still to hear of it: {waiting}"] if waiting else lines


def refusal_lines(refusals: list[Json], zone: tzinfo | None) -> list[str]:
    """One line for each burst, oldest first."""
    if not refusals:
        return ["Nothing was refused."]
    rows = [
        [
            text.clock(one["began"], zone),
            text.escape(one["host"]),
            text.escape(_MEANINGS.get(one["event"], str(one["event"]))),
            str(one["count"]),
            text.escape(one["why"]),
        ]
        for one in refusals
    ]
    return text.table(rows, heading=("SINCE", "FROM", "WHAT", "TIMES", "WHY"))
