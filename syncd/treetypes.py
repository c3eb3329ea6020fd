"""Pure. What a user's folder looks like to the rest of syncd: paths, stats, states of the root, events, and errors.

These are the values that cross the tree seam (`syncd/seams.py`). `store/tree.py` makes them from a real file system,
the simulated tree makes the same ones in memory, and the engine and the scanner know nothing else of a disk.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import field
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from ca.errors import SyncdError
from ca.values import dataclass

Path: TypeAlias = tuple[bytes, ...]  # names from the folder's root downwards; () is the root itself

ROOT: Path = ()
PRIVATE = b".syncd"  # syncd's own directory at the root of every folder; never listed, never synced


def show_path(path: Path) -> str:
    """The path for a message to a person: undecodable bytes and control characters are escaped."""
    text = b"/".join(path).decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text or "."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# --- stats ---------------------------------------------------------------------------------------------------------


class Kind(IntEnum):
    """What stands at a name. OTHER and BROKEN are never synced, and never read as an absence."""

    FILE = 1
    DIR = 2
    SYMLINK = 3
    OTHER = 4  # device, socket, pipe, or a file that another user hard-linked into the folder
    BROKEN = 5  # the name is there, but the disk would not say what it is


class Stat(NamedTuple):
    """One examination of one inode. Times in nanoseconds since 1970; `mode` holds the nine permission bits only."""

    kind: Kind
    ino: int
    size: int  # bytes; 0 for a directory
    mtime_ns: int
    ctime_ns: int
    mode: int
    nlink: int
    dev: int

    def same(self, other: Stat) -> bool:
        """Nothing has touched this object between the two examinations (a directory: it is the same directory)."""
        if self.kind is Kind.DIR:
            return other.kind is Kind.DIR and self.ino == other.ino
        return self[:6] == other[:6]

    def same_but_moved(self, other: Stat) -> bool:
        """As `same`, but allow a new ctime: a rename by ourselves changes it on most file systems."""
        if self.kind is Kind.DIR:
            return other.kind is Kind.DIR and self.ino == other.ino
        return self[:4] == other[:4] and self.mode == other.mode


class Read(NamedTuple):
    """A small file read whole, the stat the same before and after."""

    stat: Stat
    content: bytes
    xattrs: Mapping[bytes, bytes] = MappingProxyType({})  # the `user.*` ones


class Replaced(NamedTuple):
    """The outcome of taking something out of the user's sight.

    `edited` says that what was taken is not what was expected: somebody changed it in the last moment. It is a local
    edit that now lies in `.syncd/old/<token>`, and must be published as one.
    """

    old: Stat  # as it lies in `.syncd/old/<token>`
    edited: bool
    new: Stat | None = None  # what stands at the path now; None after `retire`


class Attributes(NamedTuple):
    """Attributes to put on an object. None leaves that one alone. Special mode bits are never set nor cleared."""

    mode: int | None = None
    mtime_ns: int | None = None
    xattrs: Mapping[bytes, bytes] | None = None  # the whole set of `user.*` names


# --- the root and its file system ----------------------------------------------------------------------------------


class RootState(Enum):
    """Whether the folder may be read and written now. Anything but OK stops it: an absence is then no deletion."""

    OK = "ok"
    MISSING = "missing"  # nothing at the path, or not a directory, or a symlink
    NO_MARKER = "no marker"  # a directory, but `.syncd/folder` is not in it: perhaps an empty mount point
    WRONG_MARKER = "wrong marker"  # the marker names another folder or another device
    FOREIGN = "foreign file system"  # the marker does not lie on the root's own file system
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Marker:
    """What `.syncd/folder` says: whose directory this is. Ids of 32 bytes, `random` of 16."""

    folder: bytes
    device: bytes
    random: bytes


class Seen(NamedTuple):
    """What `.syncd/seen` says: how far this directory was known when all of it was last looked at, and by which journal
    (16 bytes). And which object that file is, 0 where its file system has no generations: a copy of the directory has
    another one, while new rights, owners or links leave it what it was."""

    number: int
    journal: bytes
    ino: int
    generation: int


@dataclass(frozen=True, slots=True)
class Personality:
    """How the root's file system behaves, found out by trying."""

    case_insensitive: bool = False
    normalising: bool = False  # two Unicode forms of a name are one name
    utf8_only: bool = False
    illegal: frozenset[int] = frozenset()  # byte values below 0x80 that no name may hold, besides NUL and '/'
    name_max: int = 255  # bytes
    exchange: bool = True  # False: the smaller guarantee of link-then-rename; `status` says so
    hard_links: bool = True
    symlinks: bool = True
    modes: bool = True
    xattrs: bool = True
    stable_inodes: bool = True
    mtime_step_ns: int = 1
    local: bool = True  # not a network file system
    name: str = ""  # ext4, apfs, ...
    trims: bool = False  # no name ends in a dot or a space: it refuses such names, or silently leaves that out


class Space(NamedTuple):
    """Bytes of the root's file system; `free` is what we may still write."""

    free: int
    total: int


# --- events --------------------------------------------------------------------------------------------------------


class Change(Enum):
    """What one raw watch event says about one name."""

    DONE = "done"  # closed after writing, deleted, moved, made, or given other attributes
    WRITING = "writing"  # created or written, and not closed yet
    TREE = "tree"  # a directory whose whole content is to be looked at (it came from elsewhere, or was just made)
    LOST = "lost"  # events were lost: look at everything
    LIMITED = "limited"  # the system grants no more watches: only periodic scans see everything
    COOKIE = "cookie"  # the name is a cookie that `write_cookie` wrote
    IGNORE = "ignore"  # `.syncd/ignore` has changed


class RawEvent(NamedTuple):
    """One event of a watch. `parent` and `name` say where; both are empty for LOST and LIMITED. The two events of one
    rename have the same `pair`; 0 is none."""

    change: Change
    parent: Path = ROOT
    name: bytes = b""
    pair: int = 0


@dataclass(frozen=True, slots=True)
class Dirty:
    """What has come to rest after changing, to be looked at now."""

    names: Mapping[Path, frozenset[bytes] | None] = field(default_factory=dict)  # directory -> names; None = all of it
    rescan: bool = False  # events were lost, or the watch has just started: look at everything
    limited: bool = False  # the watch does not see everything
    cookies: frozenset[bytes] = frozenset()
    ignore_changed: bool = False
    more: bool = False  # other names have changed and are not at rest yet
    halves: frozenset[Path] = frozenset()  # names of renames whose other name was not heard of yet


# --- errors --------------------------------------------------------------------------------------------------------


class TreeError(SyncdError):
    """The file system refused one operation on one path. Says nothing about any other path."""

    def __init__(self, what: str, path: Path = ROOT, *, id: str = "", why: str = "", fix: str = "") -> None:
        super().__init__(what, id=id, why=why, fix=fix)
        self.path = path


class NotThere(TreeError):
    """The name, or a directory above it, does not exist (any more)."""


class NameTaken(TreeError):
    """Something stands at the name already; nothing was replaced."""


class NotADirectory(TreeError):
    """A directory was expected at, or above, the path."""


class IsADirectory(TreeError):
    """A directory stands where something else was expected."""


class NotEmpty(TreeError):
    """The directory still has content, so it stays."""


class LinkInTheWay(TreeError):
    """A symlink stands where a real directory or file was expected; it was not followed."""


ABSENT: Final = (NotThere, NotADirectory, LinkInTheWay)
"""What says that nothing stands at a path. Every other error leaves open what does: it is no absence."""


class NotAFile(TreeError):
    """A pipe, socket or device stands there, or a file that another user hard-linked into the folder."""


class ForeignFileSystem(TreeError):
    """Another file system is mounted in the path."""


class LocallyChanged(TreeError):
    """The object is not what the caller expected; nothing was done. `actual` is what stands there, None for nothing."""

    def __init__(self, what: str, path: Path = ROOT, actual: Stat | None = None) -> None:
        super().__init__(what, path)
        self.actual = actual


class Displaced(LocallyChanged):
    """Another directory stands where the one was that something should go into: `path` is its name."""


OVERTAKEN: Final = (LocallyChanged, NotThere, NotADirectory, IsADirectory)
"""What says that somebody else was at the path in that moment. What they did is found by a look there, soon."""


class NoSpace(TreeError):
    """Disk, quota, or inodes are used up."""


class ReadOnly(TreeError):
    """The file system cannot be written."""


class Denied(TreeError):
    """Permissions forbid it."""


class TooLong(TreeError):
    """The name or path is too long for this file system."""


class NameRefused(TreeError):
    """This file system, or syncd itself, has no such names."""


class InUse(TreeError):
    """Another program holds it in a way that forbids the operation; it will work later."""


class TooLarge(TreeError):
    """The file has more bytes than are synced. Other than too little room it stays so."""


class NotSupported(TreeError):
    """This file system cannot do that at all."""


class IoFailed(TreeError):
    """The disk failed, or something happened that no other class names. Never to be read as an absence."""


_BY_ERRNO: dict[int, type[TreeError]] = {
    errno.ENOENT: NotThere,
    errno.EEXIST: NameTaken,
    errno.ENOTDIR: NotADirectory,
    errno.EISDIR: IsADirectory,
    errno.ENOTEMPTY: NotEmpty,
    errno.ELOOP: LinkInTheWay,
    errno.ENXIO: NotAFile,  # opening a socket, or a pipe without a reader
    errno.ENODEV: NotAFile,
    errno.EXDEV: ForeignFileSystem,
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
    errno.EFBIG: NoSpace,
    errno.EROFS: ReadOnly,
    errno.EACCES: Denied,
    errno.EPERM: Denied,
    errno.ENAMETOOLONG: TooLong,
    errno.EINVAL: NameRefused,
    errno.EILSEQ: NameRefused,
    errno.ETXTBSY: InUse,
    errno.EBUSY: InUse,
    errno.ENOTSUP: NotSupported,
    errno.ENOSYS: NotSupported,
}


def tree_error(number: int, reason: str, path: Path) -> TreeError:
    """The class for an errno. What has no class of its own is IoFailed."""
    return _BY_ERRNO.get(number, IoFailed)(f"{reason}: {show_path(path)}", path)
