"""Blocking. kill -9 at chosen system calls: which calls change a disk, and a program that dies on entering one of them.

`strace` counts the calls of each thread for itself, so a point is the n-th call of a kind in one thread.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

CALLS = (
    "renameat2", "renameat", "rename", "unlinkat", "unlink", "mkdirat", "mkdir", "linkat", "symlinkat", "openat",
    "pwrite64", "write", "ftruncate", "fchmod", "chmod", "utimensat", "fsync", "fdatasync", "syncfs", "copy_file_range",
)  # fmt: skip
"""With which a program may change a disk; `openat` when it makes a file, `write` when it is to one."""
KILLED = (137, -9)
"""Exit codes of a program, or of the strace around it, that was killed."""
_FAILED = re.compile(r"= -1 E[A-Z]+ \([^)]*\)$")
_FILE = re.compile(r"\d+<[^>]*>")
_LINE = re.compile(r"(?:(\d+) +)?(\w+)\((.*)")


@dataclass(frozen=True, slots=True)
class Point:
    """One system call: the n-th of its kind in a thread."""

    call: str
    nth: int

    @property
    def name(self) -> str:
        return f"{self.call} {self.nth}"


ALL_THREADS = ("-f",)
"""Not with --seccomp-bpf: then only the first call of each thread is counted, and hardly anything is ever killed."""


def watching(log: Path, whom: Sequence[str] = ALL_THREADS) -> tuple[str, ...]:
    """The command that writes down the calls of another one, or of a thread (`whom`: -p and its number)."""
    return ("strace", *whom, "-y", "-o", str(log), "-e", f"trace={','.join(CALLS)}")


def dying(point: Point, whom: Sequence[str] = ALL_THREADS) -> tuple[str, ...]:
    """The command that runs another one until one of its threads, or that thread, enters that call."""
    inject = f"inject={point.call}:signal=SIGKILL:when={point.nth}"
    return ("strace", *whom, "-o", "/dev/null", "-e", f"trace={point.call}", "-e", inject)


def points_of(log: Path, place: str) -> list[Point]:
    """The calls in a log that change the disk below `place`, in their order, each kind and number once.

    Of many writes to one file, one right after the other, these are the first, one in the middle and the last: such a
    row is what a database adds to its log at one commit, and without its end it is as if none of it were there.
    """
    calls = _calls(log.read_text(errors="replace").splitlines())
    changing = [
        (Point(call, nth), (call, _FILE.match(arguments)))
        for nth, call, arguments in calls
        if place in arguments and (call != "openat" or "O_CREAT" in arguments)
    ]
    points: list[Point] = []
    for (call, file), group in groupby(changing, key=lambda one: (one[1][0], one[1][1] and one[1][1][0])):
        row = [point for point, _ in group]
        is_row = call == "pwrite64" and file is not None and len(row) > 3
        points += [row[0], row[len(row) // 2], row[-1]] if is_row else row
    return list(dict.fromkeys(points))


def _calls(lines: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """(the how-manieth of its kind in its thread, kind, arguments and result) of each call that did not fail."""
    counts: Counter[tuple[str | None, str]] = Counter()
    for line in lines:
        found = _LINE.match(line)
        if found is not None:
            thread, call, arguments = found.groups()
            counts[thread, call] += 1
            if _FAILED.search(arguments) is None:
                yield counts[thread, call], call, arguments


def spread(points: Sequence[Point], most: int) -> list[Point]:
    """At most so many of them, evenly over all kinds: of rare kinds all, of frequent ones every so many."""
    by_call: dict[str, list[Point]] = {}
    for point in points:
        by_call.setdefault(point.call, []).append(point)
    chosen: list[Point] = []
    rest = most
    for number, some in enumerate(sorted(by_call.values(), key=len)):
        share = -(-rest // (len(by_call) - number))
        taken = [some[at * len(some) // share] for at in range(share)] if len(some) > share else some
        chosen += taken
        rest -= len(taken)
    return chosen


def kinds(killed: Iterable[str]) -> str:
    """`fsync 3, openat 12`, of names of points."""
    counted = Counter(name.split()[0] for name in killed)
    return ", ".join(f"{call} {count}" for call, count in sorted(counted.items()))
