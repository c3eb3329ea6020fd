"""Blocking. What a daemon uses while there is very much for it to do: processor, memory, disk, and how soon it
answers."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.computers import Computer
from tests.helpers.unixhttp import call

MIB = 1 << 20
LOOKED_S = 3600.0
"""A first look at a million files may take so long on a machine that does other things too."""
STATUS_S = 0.2
"""Nobody waits longer for an answer of `status`."""
ASKED = 10
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Use:
    """What was used so far."""

    cpu_s: float
    memory_bytes: int
    peak_bytes: int
    state_bytes: int


def use_of(computer: Computer) -> Use:
    """Processor and memory of the daemon, and the size of its home."""
    assert computer.daemon is not None
    place = Path(f"/proc/{computer.daemon.pid}")
    fields = (place / "stat").read_text().rpartition(")")[2].split()
    lines = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
    memory, peak = (int(lines[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    state = sum(_bytes_on_disk(path) for path in computer.home.rglob("*"))
    return Use(sum(map(int, fields[11:13])) / _TICKS, memory, peak, state)


def _bytes_on_disk(path: Path) -> int:
    with suppress(FileNotFoundError):  # the log of a database that has just come to rest
        return path.lstat().st_blocks * 512
    return 0


def status_s(computer: Computer) -> float:
    """The longest that one of several answers of `status` took."""
    took = []
    for _ in range(ASKED):
        began = time.monotonic()
        call(computer.home, "status", {"folder": None, "cwd": None})
        took.append(time.monotonic() - began)
    return max(took)


def wait_scanned(computer: Computer) -> None:
    """Until everything that is on the disk now has been looked at."""
    call(computer.home, "wait", {"folders": [], "cwd": None, "for": "scanned", "timeout_s": None}, LOOKED_S)
