"""Blocking. A hundred thousand announcements a minute: discovery stays small, takes a tenth of a core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.helpers.computers import Disappointment
from tests.helpers.namespaces import two_machines

CLAIM = "Under 100,000 mDNS announcements a minute discovery grows by at most 20 MiB and takes at most 10 % of a core"

SECONDS = 30.0
SETTLE_S = 4.0
MAX_GROWTH_BYTES, MAX_SHARE = 20 << 20, 0.10
MIB = 1 << 20


def prove(place: Path) -> str:
    with two_machines() as (attacker, victim):
        process = subprocess.Popen(
            victim.command(sys.executable, "-m", "tests.helpers.neighbour"),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        try:
            assert process.stdin is not None
            line = json.dumps({"port": 1, "keys": ["00" * 32], "pairing": []}).encode()
            process.stdin.write(line + b"\n")
            process.stdin.flush()
            time.sleep(SETTLE_S)
            pid = inner_pid(process.pid)
            before, began = usage(pid), time.monotonic()
            flood = attacker.command(sys.executable, "-m", "tests.helpers.announcers", str(SECONDS))
            sent = int(subprocess.run(flood, capture_output=True, check=True, text=True).stdout)
            after, took = usage(pid), time.monotonic() - began
        finally:
            process.kill()
            process.wait()
    share, growth = (after[0] - before[0]) / took, after[1] - before[1]
    measured = (
        f"{sent / took * 60:.0f} packets a minute for {took:.0f} s: +{growth / MIB:.1f} MiB, {share:.1%} of a core"
    )
    if share > MAX_SHARE or growth > MAX_GROWTH_BYTES:
        raise Disappointment(measured)
    return measured


def inner_pid(pid: int) -> int:
    """The Python process behind the command that entered the namespace."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return inner_pid(int(children[0])) if children else pid


def usage(pid: int) -> tuple[float, int]:
    """Seconds of processor that a process has used, and bytes that it has resident."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE")
