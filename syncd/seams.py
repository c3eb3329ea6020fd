"""Pure. The five places where syncd touches the world: clock, randomness, network, tree, workers.

Each seam is a Protocol. `daemon` builds the real ones once and hands them down; simulation hands down others, and so
whole daemons run in one process on virtual time from a printed seed. Nothing else reads the time, draws a random byte,
opens a socket, starts a thread, or touches a path of a user's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from sqlite3 import Connection
from typing import Protocol, TypeAlias, TypeVar, TypeVarTuple, runtime_checkable

from ca.values import dataclass
from syncd.treetypes import (
    Attributes,
    Marker,
    Path,
    Personality,
    RawEvent,
    Read,
    Replaced,
    RootState,
    Seen,
    Space,
    Stat,
    TreeError,
)

Buffer: TypeAlias = bytes | bytearray | memoryview

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


# --- clock ---------------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """Two clocks: one that people and certificates know, and one that never jumps."""

    def now(self) -> float:
        """Wall clock, seconds since 1970 UTC. It may jump in either direction."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes backwards. Callable from any thread."""
        ...


# --- randomness ----------------------------------------------------------------------------------------------------


class Random(Protocol):
    """The only source of random bytes (OpenSSL and HPKE draw their own)."""

    def token(self, length: int) -> bytes:
        """`length` bytes that nobody can predict. Callable from any thread."""
        ...


# --- network -------------------------------------------------------------------------------------------------------


@runtime_checkable
class RawStream(Protocol):
    """A connected byte stream below TLS: a trio stream that can also be cut without waiting.

    Errors are trio's: ClosedResourceError (we closed it), BrokenResourceError (the outside did), BusyResourceError.
    """

    async def send_all(self, data: Buffer) -> None: ...

    async def send_some(self, data: memoryview) -> int:
        """Hand over as much as there is room for, and at least one byte; how many. If cancelled, none."""
        ...

    async def wait_send_all_might_not_block(self) -> None: ...

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """At least one byte; empty at the end of the stream."""
        ...

    async def receive_into(self, buffer: memoryview) -> int:
        """The same to the front of a buffer, which is not empty: how many bytes, 0 at the end of the stream."""
        ...

    @property
    def is_left(self) -> bool:
        """Whether the other side has ended it or fallen silent, as far as that can be told without reading."""
        ...

    async def aclose(self) -> None: ...

    def abort(self) -> None:
        """Cut at once, without waiting and without delivering what is still queued (TCP: linger 0). Idempotent."""
        ...


class Listener(Protocol):
    """An open port."""

    @property
    def address(self) -> str:
        """`host:port` as bound, with the real port number."""
        ...

    async def accept(self) -> tuple[RawStream, str]:
        """The next connection and the `host:port` it came from.

        Raises trio.ClosedResourceError after `close`. Passing faults of the machine (no descriptors left) are waited
        out.
        """
        ...

    def close(self) -> None:
        """Stop listening. Connections already accepted live on. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a daemon lets its neighbours hear: nothing that names it or links two of its appearances.

    The network turns each key into a tag, keyed hash of the random instance id under which it announces itself just now
    (`protocol/announcements.py`), because it takes a new id whenever the machine appears in another network.
    """

    port: int
    keys: tuple[bytes, ...] = ()  # announcement keys of the folders' current epochs, 32 bytes each
    pairing: tuple[int, ...] = ()  # numbers of the codes that are open here


@dataclass(frozen=True, slots=True)
class Found:
    """A hint that some daemon may be reachable. Never evidence of anything."""

    instance: bytes  # random id of that appearance of that daemon, 16 bytes
    addresses: tuple[str, ...]  # `host:port`; none when it said goodbye
    tags: tuple[bytes, ...] = ()
    pairing: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Unheard:
    """Announcements do not work on this machine now; static addresses do. Tried again by itself."""

    why: str  # empty when it works again


class FoundSink(Protocol):
    """Where hints go: a trio memory channel fits. A full channel may lose hints (trio.WouldBlock)."""

    def send_nowait(self, value: Found | Unheard) -> None: ...


class Network(Protocol):
    """Addresses are strings `host:port`; an IPv6 host stands in brackets."""

    async def listen(self, address: str) -> Sequence[Listener]:
        """Listen on `host:port`. Port 0 takes any free port; an empty host means all addresses of the machine.

        Raises OSError when the port is taken or the address is not ours.
        """
        ...

    async def connect(self, address: str) -> RawStream:
        """Connect. Raises OSError; the caller sets the deadline."""
        ...

    def local_addresses(self) -> tuple[str, ...]:
        """Hosts (without port) by which this machine may be reached, best first; no loopback."""
        ...

    def announce(self, announcement: Announcement | None) -> None:
        """Replace what is announced; None falls silent. Takes effect while `browse` runs."""
        ...

    async def browse(self, found: FoundSink) -> None:
        """Announce and listen for the announcements of others until cancelled."""
        ...


# --- tree ----------------------------------------------------------------------------------------------------------


class Reader(Protocol):
    """An open regular file. It keeps naming the same inode, whatever happens to its name."""

    def stat(self) -> Stat: ...

    def read_into(self, offset: int, buffer: bytearray | memoryview) -> int:
        """Fill the buffer from `offset`; the number of bytes read, short only at the end of the file."""
        ...

    def zeros_until(self, offset: int) -> int:
        """Where the hole ends that is at `offset`, as far as the disk knows of holes; `offset` if there is none."""
        ...

    def xattrs(self) -> dict[bytes, bytes]:
        """All `user.*` attributes; empty where the file system has none."""
        ...

    def drop_cache(self) -> None:
        """Let the next reading come from the disk, where the system can be asked for that."""
        ...

    def is_open_for_writing(self) -> bool:
        """Whether another program has it open, or mapped, for writing, as far as can be told."""
        ...

    def close(self) -> None: ...


class Writer(Protocol):
    """A staged file, invisible to the user until it is created or exchanged."""

    def stat(self) -> Stat: ...

    def read_into(self, offset: int, buffer: bytearray | memoryview) -> int: ...

    def xattrs(self) -> dict[bytes, bytes]: ...

    def write_at(self, offset: int, data: Buffer) -> None: ...

    def copy_from(self, source: Reader, source_offset: int, offset: int, length: int) -> int:
        """Copy inside the file system, sharing blocks where it can. Returns the bytes copied; the caller verifies."""
        ...

    def set_size(self, size: int) -> None: ...

    def set_attributes(self, attributes: Attributes) -> None: ...

    def finish(self) -> Stat:
        """Close. The stat that it will have, but for the ctime."""
        ...

    def close(self) -> None:
        """Close without asking for anything. Idempotent; also after `finish`."""
        ...


class Shelf(Protocol):
    """Whole files of syncd's own, written once and never changed: the packs of one folder, in syncd's home.

    Blocking; callable from several threads. Raises TreeError subclasses and nothing else from the outside.
    """

    def put(self, name: str, content: Buffer) -> None:
        """A new file, durable on return, under its name only when it is whole. No error when it is there already."""
        ...

    def read(self, name: str, offset: int, buffer: bytearray | memoryview) -> int:
        """Fill the buffer from `offset`; the number of bytes read, short only at the end of the file."""
        ...

    def list(self) -> list[tuple[str, int]]:
        """Names and sizes of the whole files, in no order."""
        ...

    def drop(self, name: str) -> None:
        """Delete. No error when it is gone already."""
        ...

    def space(self) -> Space:
        """Of the disk it is on."""
        ...


class Tree(Protocol):
    """The user's folder: the verbs by which syncd touches it, and no others. Blocking; callable from several threads.

    Paths are tuples of names from the root. No verb follows a symlink, in any component. A `token` is 1 to 64 letters
    or digits. Every verb raises TreeError subclasses (`syncd/treetypes.py`) and nothing else from the outside; the
    `_many` verbs return an error in the place of its item, so that one bad file never delays another.

    Three places of syncd's own hold inodes: the *stage* (never seen by a user; may be dropped at any time), *old* (was
    visible in the user's folder; may hold the only copy) and *parked* (is visible, but between two names just now). No
    verb ever puts bytes that a user has seen into the stage.

    `expected` is the stat on which a decision was based. A difference before the operation raises LocallyChanged and
    nothing is done; one that is found only after it is reported as `edited` (`Replaced`).
    """

    # The root.

    def check_root(self, marker: Marker | None) -> RootState:
        """Open the root by its path again, unless it still is the one that is open, and compare its marker.

        `marker` is the one expected. None asks only whether a directory that can become a root is there, and opens
        nothing. Must have returned OK before any other verb (or `write_marker` have succeeded); with any other result
        they fail with IoFailed.
        """
        ...

    def read_marker(self) -> Marker | None:
        """The marker at the root, valid or not to us; None when there is none."""
        ...

    def write_marker(self, marker: Marker) -> None:
        """Make `.syncd` (0700) with its places, and the marker, durably. Replaces a marker that is there."""
        ...

    def opened(self) -> int:
        """Another number whenever another root was opened: what was found below the one before says nothing of it."""
        ...

    def read_seen(self) -> Seen | None:
        """How far the directory was known when all of it was last looked at; None where it does not say."""
        ...

    def write_seen(self, number: int, journal: bytes) -> Seen:
        """Note that, durably, by a new file each time."""
        ...

    def personality(self) -> Personality:
        """How the file system behaves; tried once, then remembered."""
        ...

    def space(self) -> Space: ...

    def may_change(self, path: Path) -> bool:
        """Whether syncd is allowed to make, replace and remove names in a directory."""
        ...

    # Looking.

    def list_dir(self, path: Path) -> list[tuple[bytes, Stat]]:
        """All names of a directory with their stats, in no order; without `.syncd` at the root.

        A name that cannot be examined is there with Kind.BROKEN. An error means that nothing is known about the
        directory.
        """
        ...

    def stat(self, path: Path) -> Stat: ...

    def stat_many(self, parent: Path, names: Sequence[bytes]) -> list[Stat | TreeError]:
        """Stats of some names of one directory, in the order asked. Raises when the directory cannot be opened."""
        ...

    def open_read(self, path: Path) -> Reader:
        """Open a regular file for reading. Raises NotAFile, LinkInTheWay, IsADirectory for anything else."""
        ...

    def read_many(self, paths: Iterable[Path], limit: int) -> Iterator[Read | TreeError]:
        """Read small files whole, each when it is asked for. LocallyChanged for one larger than `limit` bytes or
        changed while it was read."""
        ...

    def read_link(self, path: Path) -> bytes: ...

    def xattrs(self, path: Path) -> dict[bytes, bytes]:
        """The `user.*` attributes of a file or directory."""
        ...

    def xattr_names(self, path: Path) -> list[bytes]:
        """The names of all its extended attributes, of whatever kind, as far as the system tells them."""
        ...

    # The stage.

    def stage_file(self, token: bytes, *, resume: bool = False) -> Writer:
        """A new empty staged file of mode 0600; an older one of that token is dropped, or, with `resume`, continued."""
        ...

    def stage_small(self, token: bytes, content: Buffer, mode: int, mtime_ns: int | None) -> Stat:
        """Stage a whole small file in one go."""
        ...

    def stage_link(self, token: bytes, target: bytes) -> Stat: ...

    def dress_staged(self, token: bytes, xattrs: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """Give a staged file extended attributes, the whole set of `user.*` names; those that it has then, as the disk
        may have no room for all."""
        ...

    def open_staged(self, token: bytes) -> Reader: ...

    def list_staged(self) -> list[tuple[bytes, Stat]]: ...

    def drop_staged(self, token: bytes) -> None:
        """No error when it is gone already."""
        ...

    # Changing what the user sees.

    def create(self, token: bytes, path: Path) -> Stat:
        """Give a staged object its name. Raises NameTaken rather than replace anything."""
        ...

    def create_many(self, items: Sequence[tuple[bytes, Path]]) -> list[Stat | TreeError]:
        """The same for many, of which a watch need not tell: whoever calls this notes what came of it."""
        ...

    def exchange(self, token: bytes, path: Path, expected: Stat) -> Replaced:
        """Put a staged object in the place of what is at `path`, which now lies in `.syncd/old/<token>`."""
        ...

    def exchange_many(self, items: Sequence[tuple[bytes, Path, Stat]]) -> list[Replaced | TreeError]: ...

    def retire(self, path: Path, token: bytes, expected: Stat) -> Replaced:
        """Delete: what is at `path` (not a directory) now lies in `.syncd/old/<token>`."""
        ...

    def retire_many(self, items: Sequence[tuple[Path, bytes, Stat]]) -> list[Replaced | TreeError]: ...

    def put_back(self, token: bytes, path: Path) -> Stat:
        """Give an old object a name again. Raises NameTaken rather than replace anything."""
        ...

    def move(self, source: Path, target: Path, expected: Stat) -> Stat:
        """Rename anything; the same *inode* is expected, edits do not matter. Raises NameTaken rather than replace."""
        ...

    def make_dir(self, path: Path, mode: int) -> Stat: ...

    def remove_dir(self, path: Path) -> None:
        """Raises NotEmpty when anything at all is still in it."""
        ...

    def park(self, path: Path, token: bytes, expected: Stat) -> Stat:
        """Take anything from its name for a moment, when names are being swapped. Same inode expected."""
        ...

    def unpark(self, token: bytes, path: Path) -> Stat: ...

    def list_parked(self) -> list[tuple[bytes, Stat]]: ...

    def set_attributes(self, path: Path, attributes: Attributes, expected: Stat) -> Stat:
        """Change attributes by descriptor. What the file system has no room for (modes on FAT) is left out silently."""
        ...

    # What was replaced or deleted.

    def list_old(self) -> list[tuple[bytes, Stat]]: ...

    def stat_old(self, token: bytes) -> Stat: ...

    def open_old(self, token: bytes) -> Reader: ...

    def read_old_link(self, token: bytes) -> bytes: ...

    def drop_old(self, token: bytes) -> None:
        """Gone for good, if nobody has it open. No error when it is gone already."""
        ...

    # Durability.

    def flush(self, tokens: Sequence[bytes] = (), names_in: Sequence[Path] = ()) -> None:
        """Return when the staged files of `tokens` would survive a power cut, and the names in these directories.

        Raises when the disk reported any failure since the last flush: the whole batch is then in doubt.
        """
        ...

    def flush_dirs(self, paths: Sequence[Path]) -> None:
        """Return when the names in these directories, and in the stage and old, would survive a power cut."""
        ...

    # syncd's own files.

    def write_cookie(self, name: bytes) -> None:
        """Write a file that the watch reports as Change.COOKIE, after all that happened before. Removes itself."""
        ...

    def read_ignore(self) -> bytes | None:
        """The content of `.syncd/ignore`, at most 1 MiB; None when there is none."""
        ...

    def write_ignore(self, content: bytes) -> None:
        """Replace that file as a whole; durable on return."""
        ...

    def open_database(self, name: str) -> Connection:
        """The folder's database in syncd's home, in autocommit mode. Usable from any thread, one at a time."""
        ...

    def set_database_aside(self, name: str) -> str:
        """Rename a closed, broken database, never replacing an earlier one. Its new name."""
        ...

    def has_database(self, name: str) -> bool:
        """Whether there is a database of this name."""
        ...

    def drop_database(self, name: str) -> None:
        """Remove a closed database, its copies, and all that was set aside of it; nothing if there is none."""
        ...

    def open_shelf(self, name: str) -> Shelf:
        """A shelf in syncd's home. Touches nothing yet."""
        ...

    def close(self) -> None: ...


class TreeEvents(Protocol):
    """A watch on one tree. Its events are hints: a periodic scan stands behind it."""

    async def receive(self) -> Sequence[RawEvent]:
        """Wait for the next events, at least one. The first call returns LOST once the whole tree is being watched."""
        ...

    def close(self) -> None: ...


class Trees(Protocol):
    """Where trees come from."""

    def open(self, root: bytes, home: str) -> Tree:
        """The tree at an absolute path, not checked yet. Its database lies in the directory `home`."""
        ...

    def count(self, root: bytes) -> tuple[int, int, int]:
        """(names, files and links, bytes) in a directory that need not be a folder yet. Raises TreeError."""
        ...

    def make_root(self, root: bytes) -> None:
        """Make the directory of a folder to be, with those above it. No error when it is there."""
        ...

    def move_root(self, source: bytes, target: bytes) -> None:
        """Move the directory of a folder, on its file system. Raises TreeError; nothing is ever replaced."""
        ...

    def watch(self, tree: Tree) -> TreeEvents:
        """Watch a tree whose root is open. A root that was away and came back must be watched anew."""
        ...


# --- workers -------------------------------------------------------------------------------------------------------


class Lane:
    """Calls given the same lane run one after the other, in the order they were made (one SQLite connection, say)."""

    __slots__ = ("__weakref__", "name")

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Lane({self.name!r})"


class Workers(Protocol):
    """Where blocking code runs: threads in life, inline in simulation."""

    async def run_blocking(
        self,
        function: Callable[[*Arguments], Result],
        *arguments: *Arguments,
        lane: Lane | None = None,
    ) -> Result:
        """Run `function` off the event loop and return, or raise, what it does.

        Once started it is never abandoned: a cancelled caller still waits for it, so a buffer lent to a thread is free
        again when this returns.
        """
        ...
