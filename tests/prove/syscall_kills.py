"""Blocking. kill -9 in the middle of system calls that change the disk, chosen one by one.

`strace` kills the daemon at the n-th call of one kind, on entering it: so each of these calls is at some point the one
that was never made, with everything before it done. The daemon starts again without strace, and both trees must become
equal, with every file whole and no conflict, since only one side ever writes.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

from tests.helpers.computers import Computer, Disappointment, computers, join, share, wait_equal

CLAIM = "A daemon killed by strace at 150 points of all system calls with which it changes the disk loses nothing"

POINTS = int(os.environ.get("SYNCD_KILL_POINTS", "150"))
CALLS = (
    "renameat2", "renameat", "unlinkat", "mkdirat", "linkat", "symlinkat", "openat", "pwrite64", "write", "ftruncate",
    "fchmod", "utimensat", "fsync", "fdatasync", "syncfs",
)  # fmt: skip
REACH_S = 10.0
SYNC_S = 120.0
WORK_S = 3.0
END_S = 60.0


def prove(place: Path) -> str:
    if shutil.which("strace") is None:
        raise Disappointment("strace is not installed")
    chance = random.Random("syscall kills")
    killed: dict[str, int] = {}
    with computers(("anna", "ben"), place, "Notes") as (anna, ben):
        for computer in (anna, ben):
            computer.start()
        join(ben, share(anna, "Notes"))
        change_everything(anna.folder, chance)
        wait_equal([anna.folder, ben.folder], SYNC_S)
        try:
            kill_again_and_again(anna, ben, killed, chance)
        finally:
            if ben.inside:
                end(ben)
    points = ", ".join(f"{call} {count}" for call, count in sorted(killed.items()))
    return f"{sum(killed.values())} kills ({points}): equal trees, no conflict, nothing lost"


def kill_again_and_again(anna: Computer, ben: Computer, killed: dict[str, int], chance: random.Random) -> None:
    """Until enough points were reached; `killed` counts them by call."""
    calls_of_start = count_calls(ben)
    rounds = 0
    while sum(killed.values()) < POINTS:
        call = CALLS[rounds % len(CALLS)]
        nth = calls_of_start.get(call, 0) + 1 + chance.randrange(30)
        rounds += 1
        if rounds > 10 * POINTS:
            raise Disappointment(f"only {sum(killed.values())} of {POINTS} points were reached: {killed}")
        if die_at(anna, ben, call, nth, chance):
            killed[call] = killed.get(call, 0) + 1
        ben.inside = ()
        ben.start()
        wait_equal([anna.folder, ben.folder], SYNC_S)
        demand_no_conflict(ben)


def count_calls(computer: Computer) -> dict[str, int]:
    """How often a daemon that starts and ends without work makes each call: those say little."""
    computer.stop()
    table = computer.place / "calls"
    computer.inside = ("strace", "-f", "-c", "-o", str(table), "-e", f"trace={','.join(CALLS)}")
    computer.start()
    time.sleep(WORK_S)
    end(computer)
    computer.inside = ()
    counted = (line.split() for line in table.read_text().splitlines())
    return {words[-1]: int(words[3]) for words in counted if words and words[-1] in CALLS}


def die_at(anna: Computer, ben: Computer, call: str, nth: int, chance: random.Random) -> bool:
    """Let ben work until his n-th call of that kind; whether he came to it."""
    if ben.daemon is not None and ben.daemon.poll() is None:
        ben.stop()
    inject = f"inject={call}:signal=SIGKILL:when={nth}"
    ben.inside = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject)
    ben.launch()
    change_everything(anna.folder, chance)
    assert ben.daemon is not None
    deadline = time.monotonic() + REACH_S
    while time.monotonic() < deadline:
        if ben.daemon.poll() is not None:
            return True
        time.sleep(0.05)
    end(ben)
    return False


def end(computer: Computer) -> None:
    """As `syncd stop`, which may have to wait until there is somebody to listen: a daemon must not be left alone by the
    strace around it."""
    assert computer.daemon is not None
    deadline = time.monotonic() + END_S
    while computer.daemon.poll() is None:
        if time.monotonic() > deadline:
            raise Disappointment(f"{computer.name} does not end\n{computer.last_words()}")
        computer.run("stop")
        time.sleep(0.2)


def change_everything(folder: Path, chance: random.Random) -> None:
    """Files, directories and links made, replaced, renamed, chmodded and removed."""
    for number in range(6):
        (folder / f"file{chance.randrange(12)}").write_bytes(chance.randbytes(chance.choice((0, 100, 50_000, 600_000))))
        directory = folder / f"directory{number % 3}"
        directory.mkdir(exist_ok=True)
        (directory / f"in{chance.randrange(5)}").write_bytes(chance.randbytes(1000))
    names = sorted(path for path in folder.glob("file*") if path.is_file())
    names[0].rename(folder / f"file{chance.randrange(12, 20)}")
    names[-1].chmod(chance.choice((0o600, 0o640, 0o755)))
    names[len(names) // 2].unlink(missing_ok=True)
    link = folder / "link"
    link.unlink(missing_ok=True)
    link.symlink_to(f"target{chance.randrange(100)}")
    shutil.rmtree(folder / f"directory{chance.randrange(3)}", ignore_errors=True)


def demand_no_conflict(computer: Computer) -> None:
    found = [str(path) for path in computer.folder.rglob("*(conflict *")]
    if found:
        raise Disappointment(f"conflicts though only one side writes: {found[:3]}")
