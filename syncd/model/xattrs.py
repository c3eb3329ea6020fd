"""Pure. Extended attributes that travel: which names, how much of them, and what becomes of two sets with one origin.

Only names that begin with `user.` travel, and of these none by which some program is told who owns a file, what it may
do or what it stands for: whoever writes such a name on another computer would have powers there that no role gives. A
set that is too large stays where it is, whole: part of it would look as if the rest had been taken away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final, TypeAlias

from ca import codec

MAX_XATTRS: Final = 64
MAX_NAME_BYTES: Final = 255
MAX_BYTES: Final = 64 * 1024
"""Most bytes in all extended attributes of one node, names and values together."""

Xattrs: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""Names and values, names ascending."""

_SPACE: Final = b"user."
_NOT_PORTABLE: Final = (
    b"user.containers.",  # owner and mode, to container stores
    b"user.dosattrib",  # access rights, to a Samba server
    b"user.fuseoverlayfs.",
    b"user.ntacl",  # access rights, to a Samba server that is told to keep them there
    b"user.overlay.",  # what a directory hides or stands for, to overlayfs
    b"user.pax.",  # what memory a program may execute
    b"user.rootlesscontainers",
    b"user.rsync.",  # owner, mode and device numbers, to rsync --fake-super
    b"user.samba_pai",
    b"user.syncd",
    b"user.virtfs.",  # owner and mode, setuid too, to a virtual machine that shares the directory
    b"user.virtiofsd.",
)


def travels(name: bytes) -> bool:
    """Whether an attribute of that name is part of a file for others too."""
    if not name.startswith(_SPACE) or not len(_SPACE) < len(name) <= MAX_NAME_BYTES or b"\0" in name:
        return False
    return not name.lower().startswith(_NOT_PORTABLE)


def portable(found: Mapping[bytes, bytes]) -> Xattrs | None:
    """Of everything that a disk has, what travels; None if that is too much."""
    if not found:
        return ()
    chosen = tuple(sorted((name, value) for name, value in found.items() if travels(name)))
    return chosen if is_bounded(chosen) else None


def is_bounded(xattrs: Xattrs) -> bool:
    return len(xattrs) <= MAX_XATTRS and sum(len(name) + len(value) for name, value in xattrs) <= MAX_BYTES


def is_valid(xattrs: Xattrs) -> bool:
    """Whether a record may say this."""
    if not is_bounded(xattrs) or not all(travels(name) for name, _ in xattrs):
        return False
    return all(earlier < later for (earlier, _), (later, _) in pairwise(xattrs))


def merge(before: Xattrs, now: Xattrs, into: Xattrs) -> Xattrs:
    """What was changed from `before` to `now`, done to `into`. What neither has stays as it is there: a disk that can
    not hold an attribute takes it from nobody."""
    was, will, merged = dict(before), dict(now), dict(into)
    for name in was.keys() | will.keys():
        if was.get(name) == will.get(name):
            continue
        if name in will:
            merged[name] = will[name]
        else:
            merged.pop(name, None)
    return tuple(sorted(merged.items()))


# --- as a column ------------------------------------------------------------------------------------------------------

_COLUMN = codec.list_of(codec.bytes_up_to(MAX_BYTES), 2 * MAX_XATTRS)


def pack(xattrs: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The bytes of a column; None for none."""
    flat = [item for pair in xattrs for item in pair]
    return codec.encode(flat) if flat else None


def unpack(column: bytes | None) -> Xattrs:
    if column is None:
        return ()
    flat = _COLUMN(codec.decode_untrusted(column, max_bytes=2 * MAX_BYTES))
    return tuple(zip(flat[::2], flat[1::2], strict=True))
