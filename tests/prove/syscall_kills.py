"""Blocking. kill -9 in the middle of system calls that change the disk, chosen one by one.

A daemon that works is watched first, and of the calls by which it changed its disk some are chosen, evenly over all
kinds: of rare ones each, of frequent ones every so many. Then `strace` kills it on entering that call, again and again:
so each of them is at some point the one that was never made, with everything before it done. The daemon starts again
without strace, and both trees must become equal, with every file whole and no conflict, since only one side ever
writes.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

from tests.helpers.computers import Computer, Disappointment, computers, join, share, wait_equal, wait_until
from tests.helpers.progress import Progress
from tests.helpers.strace import KILLED, Point, dying, kinds, points_of, spread, watching

CLAIM = "A daemon killed by strace at 150 points of all system calls with which it changes the disk loses nothing"

POINTS = int(os.environ.get("SYNCD_KILL_POINTS", "150"))
SPARE = 2
"""Times as many points are chosen as are wanted: some are not reached again, as threads share work anew each time."""
REACH_S = 6.0
SYNC_S = 120.0
WORK_S = 4.0
END_S = 60.0


def prove(place: Path) -> str:
    if shutil.which("strace") is None:
        raise Disappointment("strace is not installed")
    chance = random.Random("syscall kills")
    progress = Progress("syscall_kills")
    with computers(("anna", "ben"), place, "Notes") as (anna, ben):
        for computer in (anna, ben):
            computer.start()
        join(ben, share(anna, "Notes"))
        change_everything(anna.folder, chance)
        wait_equal([anna.folder, ben.folder], SYNC_S)
        try:
            kill_again_and_again(anna, ben, progress, chance)
        finally:
            if ben.inside:
                end(ben)
    killed = [name for name, is_killed in progress.done.items() if is_killed]
    if len(killed) < POINTS:
        raise Disappointment(f"only {len(killed)} of {POINTS} points were reached: {kinds(killed)}")
    return f"{len(killed)} kills ({kinds(killed)}): equal trees, no conflict, nothing lost"


def kill_again_and_again(anna: Computer, ben: Computer, progress: Progress, chance: random.Random) -> None:
    """Until enough points were reached. What was done in a run that was interrupted is not done again."""
    for point in choose(anna, ben, chance):
        if sum(progress.done.values()) >= POINTS:
            return
        if point.name in progress.done:
            continue
        is_killed = die_at(anna, ben, point, chance)
        ben.inside = ()
        ben.start()
        try:
            wait_equal([anna.folder, ben.folder], SYNC_S)
            demand_no_conflict(ben)
        except Disappointment as error:
            raise Disappointment(f"killed at {point.name}: {error}") from error
        progress.note(point.name, is_killed)


def choose(anna: Computer, ben: Computer, chance: random.Random) -> list[Point]:
    """Calls of a daemon that starts, takes changes in and ends, in an order of chance."""
    ben.stop()
    log = ben.place / "calls"
    ben.inside = watching(log)
    ben.start()
    change_everything(anna.folder, chance)
    wait_equal([anna.folder, ben.folder], SYNC_S)
    time.sleep(WORK_S)
    end(ben)
    ben.inside = ()
    chosen = spread(points_of(log, str(ben.place)), SPARE * POINTS)
    random.Random("order").shuffle(chosen)
    ben.start()
    return chosen


def die_at(anna: Computer, ben: Computer, point: Point, chance: random.Random) -> bool:
    """Let ben work until he comes to that call; whether he did."""
    ben.stop()
    ben.inside = dying(point)
    ben.launch()
    change_everything(anna.folder, chance)
    daemon = ben.daemon
    assert daemon is not None
    try:
        wait_until(lambda: daemon.poll() is not None, REACH_S, "")
    except Disappointment:
        end(ben)
        return False
    if daemon.returncode not in KILLED:
        raise Disappointment(f"ended by itself, with {daemon.returncode}\n{ben.last_words()}")
    return True


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
