"""Pure. From an error of the tree to what a person is told: id, reason, and what to do."""

from __future__ import annotations

import errno
import sys

from syncd.treetypes import (
    Denied,
    IoFailed,
    IsADirectory,
    LinkInTheWay,
    LocallyChanged,
    NameRefused,
    NameTaken,
    NoSpace,
    NotADirectory,
    NotAFile,
    NotEmpty,
    NotSupported,
    NotThere,
    ReadOnly,
    RootState,
    TooLarge,
    TooLong,
    TreeError,
)

_BY_CLASS: tuple[tuple[type[TreeError], str, str], ...] = (
    (NoSpace, "SY-DISK-01", "make room; it is tried again by itself"),
    (ReadOnly, "SY-DISK-02", "mount the file system writable; it is tried again by itself"),
    (TooLong, "SY-FILE-05", "give it a shorter name on the device it comes from"),
    (TooLarge, "SY-FILE-12", "make it smaller, move it out of the folder, or leave it out by a rule"),
    (NameRefused, "SY-FILE-06", "give it another name on the device it comes from"),
    (NameTaken, "SY-FILE-07", "nothing; the change here is published and both are kept"),
    (NotEmpty, "SY-FILE-08", "move what is in it elsewhere, or remove it"),
    (NotAFile, "SY-FILE-04", "nothing, or move it out of the folder"),
    (LinkInTheWay, "SY-FILE-06", "replace the symbolic link by a directory"),
    (LocallyChanged, "SY-FILE-03", "nothing; it is tried again by itself, and both are kept"),
    (IsADirectory, "SY-FILE-03", "nothing; it is tried again by itself, and both are kept"),
    (NotADirectory, "SY-FILE-03", "nothing; it is tried again by itself, and both are kept"),
    (NotThere, "SY-FILE-03", "nothing; it is tried again by itself"),
    (NotSupported, "SY-FILE-09", "nothing, or keep the folder on another file system"),
    (IoFailed, "SY-DISK-03", "check the disk; the file is left as it is"),
)

DISK_IDS = frozenset(("SY-DISK-01", "SY-DISK-02"))
"""Of the disk as a whole: nothing can be put there."""

ROOT_IDS = {
    RootState.MISSING: "SY-ROOT-01",
    RootState.NO_MARKER: "SY-ROOT-02",
    RootState.WRONG_MARKER: "SY-ROOT-03",
    RootState.FOREIGN: "SY-ROOT-04",
    RootState.UNREADABLE: "SY-ROOT-05",
}


def _is_privacy(error: TreeError) -> bool:
    """The privacy guard of macOS refuses with EPERM what modes and owners (EACCES) would allow.

    It stays so until a person has opened the folder; nothing is "tried again by itself".
    """
    return isinstance(error, Denied) and getattr(error.__cause__, "errno", None) == errno.EPERM


def problem_of(error: TreeError, *, reading: bool, platform: str = sys.platform) -> tuple[str, str, str]:
    """(id, why, what to do)."""
    if platform == "darwin" and _is_privacy(error):
        return "SY-TCC-01", f"macOS keeps it from syncd: {error}", "syncd service allow PATH says how to open it"
    if isinstance(error, Denied):
        verb, id_ = ("read", "SY-FILE-01") if reading else ("write", "SY-FILE-02")
        return id_, str(error), f"allow syncd to {verb} it"
    for kind, id_, fix in _BY_CLASS:
        if isinstance(error, kind):
            return id_, str(error), fix
    return "SY-DISK-03", str(error), "it is tried again by itself"
