"""Pure. What a difference between a directory and its rows means: nothing, an edit, a move, something new, something
gone.

`compare` looks at one directory. Whether a name that is gone was deleted or moved is decided by the caller only after
every dirty directory was looked at: a missing name alone is never a deletion.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ca.values import dataclass
from syncd.treetypes import Kind, Stat


class Known(NamedTuple):
    """What the rows say stands at a name. `row` is a node, or a conflict copy."""

    row: int
    is_copy: bool
    parent: int  # row of the directory
    name: bytes
    kind: int
    ino: int
    size: int
    mtime_ns: int
    ctime_ns: int
    mode: int
    seen_ns: int  # when its content was last known to be what the row says


@dataclass(frozen=True, slots=True)
class Differences:
    """One directory against its rows. Names in `skipped` cannot be synced; they are not missing either."""

    new: tuple[tuple[bytes, Stat], ...]
    changed: tuple[tuple[bytes, Stat, Known], ...]  # content has to be looked at
    touched: tuple[tuple[bytes, Stat, Known], ...]  # attributes only
    gone: tuple[tuple[bytes, Known], ...]
    directories: tuple[tuple[bytes, Known], ...]  # known, and still there
    skipped: tuple[tuple[bytes, Stat], ...]


def compare(
    listed: Iterable[tuple[bytes, Stat]], known: Mapping[bytes, Known], granularity_ns: int, *, complete: bool = True
) -> Differences:
    """Differences of one directory. `complete`: `listed` is all of it; else only names that were asked for."""
    new, changed, touched, directories, skipped = [], [], [], [], []
    seen = set()
    for name, stat in listed:
        seen.add(name)
        was = known.get(name)
        if stat.kind in (Kind.OTHER, Kind.BROKEN):
            skipped.append((name, stat))
        elif was is None or was.kind != int(stat.kind):
            new.append((name, stat))
            if was is not None:
                seen.discard(name)  # what was here before is gone, something of another kind took its name
        elif stat.kind is Kind.DIR:
            directories.append((name, was))
            if (was.ino, was.mode, was.ctime_ns) != (stat.ino, stat.mode, stat.ctime_ns):
                touched.append((name, stat, was))  # something came or went in it, or its attributes are others
        elif differs(stat, was) or is_racy(was, granularity_ns):
            changed.append((name, stat, was))
        elif stat.mode != was.mode and stat.kind is Kind.FILE:
            touched.append((name, stat, was))
    gone = [(name, was) for name, was in known.items() if name not in seen] if complete else []
    return Differences(tuple(new), tuple(changed), tuple(touched), tuple(gone), tuple(directories), tuple(skipped))


def differs(stat: Stat, was: Known) -> bool:
    """Content may have changed: another inode, size, mtime or ctime."""
    return (stat.ino, stat.size, stat.mtime_ns, stat.ctime_ns) != (was.ino, was.size, was.mtime_ns, was.ctime_ns)


def is_racy(was: Known, granularity_ns: int) -> bool:
    """It was looked at within one tick of its last change, so a later change may carry the same times."""
    return was.ctime_ns >= was.seen_ns - granularity_ns


def is_same_object(stat: Stat, was: Known) -> bool:
    """What appeared under a new name is what was known under another, by inode and by having kept its content."""
    if was.kind != int(stat.kind) or was.ino != stat.ino:
        return False
    return stat.kind is Kind.DIR or (stat.size == was.size and stat.mtime_ns == was.mtime_ns)
