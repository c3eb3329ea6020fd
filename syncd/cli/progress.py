"""Pure. One line about a transfer: how much, how fast, how long still."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from syncd.cli import text

CAN_LEAVE = "Ctrl-C: it goes on in the background."

ALMOST = "99 %"
"""All bytes are here, and not every file has its name."""

_PHASES = {
    "looking": "Looking for the other side …",
    "pairing": "Comparing the code …",
    "approval": "Waiting for the other side to say yes …",
    "admitted": "Admitted.",
    "metadata": "Fetching the list of files …",
    "comparing": "Comparing with what is here …",
}


def transfer_line(progress: Mapping[str, Any]) -> str:
    """`anna-laptop  3 %  1.4 GiB of 46.9 GiB  372 of 12,408 files  92 MB/s  8 min left`; 100 % when every file is."""
    done, total = progress["bytes_done"], progress["bytes_total"]
    is_whole = progress["files_done"] >= progress["files_total"]
    parts = [
        text.escape(progress.get("peer") or ""),
        text.share(done, total) if is_whole or done < total else ALMOST,
        f"{text.size(done)} of {text.size(total)}",
        f"{progress['files_done']:,} of {text.count(progress['files_total'], 'file')}",
        text.rate(progress["rate"]),
        "" if progress["eta_s"] is None else f"{text.duration(progress['eta_s'])} left",
    ]
    return "  ".join(part for part in parts if part)


def phase_line(phase: str) -> str:
    """What is going on, while there is nothing to count."""
    return _PHASES.get(phase, f"{phase} …")


def scan_line(progress: Mapping[str, Any]) -> str:
    """`12,408 files, 48.1 GiB  scanned in 38 s`."""
    so_far = text.files_and_bytes(progress["files"], progress["bytes"])
    return f"{so_far}  scanned in {text.duration(progress['seconds'])}" if progress["done"] else f"{so_far}  scanning …"
