"""Answers of a daemon, as a test wants them: every key there, and some replaced."""

from __future__ import annotations

from typing import Any

FOLDER_ID = "ab" * 32
EPOCH_ID = "cd" * 32


def peer(name: str = "anna-laptop", **changed: Any) -> dict[str, Any]:
    return {
        "id": "K4-ANNA",
        "name": name,
        "role": "editor",
        "connected": True,
        "through": [],
        "last_seen": "2026-11-20T11:00:00Z",
        "have_ratio": 1.0,
    } | changed


def folder(name: str = "Photos", **changed: Any) -> dict[str, Any]:
    return {
        "id": FOLDER_ID,
        "name": name,
        "path": f"/home/ben/{name}",
        "role": "owner",
        "state": "synced",
        "epoch": 2,
        "epoch_id": EPOCH_ID,
        "files": 12_408,
        "bytes": 51_650_000_000,
        "need": {"files": 0, "bytes": 0},
        "held": 0,
        "conflicts": 0,
        "requests": 0,
        "old_bytes": 4096,
        "history": {"plain_bytes": 4096, "packed_bytes": 8192},
        "problems": [],
        "peers": [peer()],
    } | changed


def status(*folders: dict[str, Any], **changed: Any) -> dict[str, Any]:
    transfer = {"received_bytes": 1, "sent_bytes": 2, "duplicate_bytes": 0, "blocks_fetched": 3}
    return {
        "schema": "syncd.status/1",
        "version": "0.4.0",
        "device": {"id": "K4-BEN", "words": "tulip-orbit", "name": "ben-desktop"},
        "in_sync": True,
        "folders": list(folders),
        "problems": [],
        "refused": {"count": 0, "hosts": 0, "most": None},
        "transfer": {**transfer, "receive_rate": 0.0, "send_rate": 0.0},
    } | changed


def problem(**changed: Any) -> dict[str, Any]:
    return {
        "id": "SY-FILE-03",
        "path": "plan.xlsx",
        "why": "not sent. It is open and changing.",
        "try": "syncd explain Work/plan.xlsx",
    } | changed
