"""Blocking. `syncd invites` and `syncd invite revoke`: codes and links that still work."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Annotated

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.options import Argument
from syncd.cli.session import Session, command


@command()
def invites(
    session: Session,
    folder: Annotated[str | None, Argument(metavar="FOLDER", help="Default: all.")] = None,
) -> None:
    """List open codes and links. `--json` prints syncd.invites/1."""
    found = session.call("invites", folder=folder, cwd=None)
    zone = UTC if session.flags.utc else None
    session.show(found, lambda: invite_lines(found["invites"], datetime.now(UTC), zone))


@command(dry_run=False)
def revoke(
    session: Session,
    invite: Annotated[str, Argument(metavar="ID|CODE", help="As `syncd invites` shows it.")],
) -> None:
    """Take an invitation back: it works no more."""
    done = session.call("invite.revoke", invite=invite)
    session.show(done, lambda: f"The invitation to {text.escape(done['name'])} works no more.")


def invite_lines(invites: list[Json], now: datetime, zone: tzinfo | None) -> list[str]:
    """One line per invitation. A link's secret is shown once, when it is made, and never again."""
    if not invites:
        return ["No open invitations."]
    rows = [
        [
            invite["id"],
            text.escape(invite["name"]),
            invite["code"] or invite["kind"],
            invite["role"],
            f"{text.count(invite['uses_left'], 'join')} left",
            text.until(invite["expires"], now, zone),
        ]
        for invite in invites
    ]
    return text.table(rows, heading=("ID", "FOLDER", "INVITATION", "ROLE", "USES", "VALID"))
