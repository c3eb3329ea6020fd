"""Blocking. `syncd peers`: the devices we share folders with, and how they are reached."""

from __future__ import annotations

from datetime import UTC, datetime

from syncd.cli import text
from syncd.cli.client import Json
from syncd.cli.session import Session, command

_WAYS = {"lan": "same network", "wan": "internet", "relay": "relay", None: ""}


@command()
def peers(session: Session) -> None:
    """List the other devices: connected or not, which way, last seen. `--json` prints syncd.peers/1."""
    found = session.call("peers")
    session.show(found, lambda: peer_lines(found["peers"], datetime.now(UTC)))


def peer_lines(peers: list[Json], now: datetime) -> list[str]:
    """One line per device."""
    if not peers:
        return ["No peers yet.  syncd share PATH, or syncd join"]
    rows = [
        [
            text.escape(peer["name"]),
            text.seen(peer, now),
            _WAYS.get(peer["how"], ""),
            text.escape(peer["address"] or ""),
            "" if peer["rtt_ms"] is None else f"{peer['rtt_ms']:.0f} ms",
            ", ".join(text.escape(folder) for folder in peer["folders"]),
            text.escape(peer["words"]),
        ]
        for peer in peers
    ]
    return text.table(rows, heading=("PEER", "SEEN", "WAY", "ADDRESS", "RTT", "FOLDERS", "KEY WORDS"))
