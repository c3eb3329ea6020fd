"""Async. The bytes that share links give out: a file, or a directory as one zip, each block compared with its hash.

What is sent is what was checked: blocks are read into a private buffer, compared there, and sent from there. A file
that is changed meanwhile goes on from history if that has it, and else ends the connection; nobody is given half of one
version and half of another.
"""

from __future__ import annotations

import zipfile
from bisect import bisect_left, bisect_right
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from itertools import accumulate

from ca.values import dataclass
from syncd.folder.folder import FolderTask
from syncd.folder.pacing import Pacers
from syncd.model.lists import BlockList
from syncd.model.paths import Path
from syncd.store import shared
from syncd.store.folder import SourceReader
from syncd.store.shared import Bytes, Shared
from syncd.web.linkhost import TooMany

BATCH_BYTES = 1 << 20
"""So much is read at a time, or one block if that is more."""
PIECE_BYTES = 64 << 10
MAX_ZIP_NAMES = 50_000
"""A zip file ends with a list of its names, which is kept in memory until then."""
PAGE = 1_000
_OLDEST, _NEWEST = 315_532_800, 4_354_819_198  # the years 1980 and 2107: a zip can write no others
_LARGE = 1 << 31


@dataclass(frozen=True, slots=True)
class _Batch:
    """Blocks in a row: the number of the first, how many, and which of their bytes are wanted."""

    first: int
    count: int
    skip: int
    length: int


@dataclass(frozen=True, slots=True)
class HandedOut:
    """A content that is given out. Implements `web.linkhost.File`."""

    task: FolderTask
    path: Path
    content: Bytes
    pacer: Pacers

    @property
    def size(self) -> int:
        return self.content.size

    @property
    def tag(self) -> str:
        return self.content.tag

    async def read(self, start: int, length: int) -> AsyncGenerator[memoryview, None]:
        """Verified bytes, at the pace that is allowed. Raises BlockMissing."""
        task, store = self.task, self.task.store
        reader = SourceReader(store.tree, store.packs, store.keyring)
        try:
            for batch in await task.blocking(_batches, self.content.packed, start, length):
                placed = await task.db(shared.db_placed, store, self.content.packed, batch.first, batch.count)
                whole = await task.blocking(shared.read_verified, self.path, placed, reader)
                wanted = memoryview(whole)[batch.skip : batch.skip + batch.length]
                for at in range(0, len(wanted), PIECE_BYTES):
                    piece = wanted[at : at + PIECE_BYTES]
                    await self.pacer.take(len(piece))
                    yield piece
        finally:
            reader.close()


def _batches(packed: bytes, start: int, length: int) -> list[_Batch]:
    """The blocks in which some bytes of a content lie, in batches."""
    ends = list(accumulate(BlockList(packed).lengths()))  # of a terabyte it is a million, and people outside ask for it
    stop, found = start + length, list[_Batch]()
    number = bisect_right(ends, start)
    last = min(bisect_left(ends, stop) + 1, len(ends)) if length else number
    while number < last:
        began = ends[number - 1] if number else 0
        after = min(max(bisect_left(ends, began + BATCH_BYTES) + 1, number + 1), last)
        found.append(_batch(number, after - number, began, ends[after - 1], start, stop))
        number = after
    return found


def _batch(first: int, count: int, began: int, ends: int, start: int, stop: int) -> _Batch:
    skip = max(0, start - began)
    return _Batch(first, count, skip, min(ends, stop) - began - skip)


# --- directories -----------------------------------------------------------------------------------------------------


async def all_below(task: FolderTask, top: Shared) -> list[tuple[Path, Shared]]:
    """Everything in a directory, each after the directory it is in. Raises TooMany."""
    found: list[tuple[Path, Shared]] = []
    waiting: list[tuple[Path, Shared]] = [((), top)]
    while waiting:
        path, directory = waiting.pop()
        after = b""
        while inside := await task.db(shared.db_inside, task.store, directory, after, PAGE):
            after = inside[-1].name
            found += [((*path, one.name), one) for one in inside]
            waiting += [((*path, one.name), one) for one in inside if one.is_directory]
            if len(found) > MAX_ZIP_NAMES:
                raise TooMany
    return sorted(found, key=lambda item: item[0])


class _Sink:
    """Where zipfile writes: taken away as soon as it is there."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> memoryview:
        parts, self._parts = self._parts, []
        return memoryview(b"".join(parts))


async def zipped(
    task: FolderTask, top: str, items: Sequence[tuple[Path, Shared]], pacer: Pacers
) -> AsyncGenerator[memoryview, None]:
    """Files and directories as one zip file, not compressed.

    Raises BlockMissing; the file then has no end, and nobody can take it for a whole one.
    """
    sink, names = _Sink(), await task.blocking(zip_names, top, [path for path, _ in items])
    with zipfile.ZipFile(sink, "w") as archive:  # type: ignore[call-overload]  # it writes, and wants nothing else
        for path, item in items:
            info = _info(names[path], item)
            if item.is_directory:
                archive.writestr(info, b"")
                continue
            content = await task.db(shared.db_bytes, task.store, item)
            if content is None:
                raise shared.not_whole(path)
            with archive.open(info, "w", force_zip64=content.size >= _LARGE) as out:
                async with aclosing(HandedOut(task, path, content, pacer).read(0, content.size)) as pieces:
                    async for piece in pieces:
                        out.write(piece)
                        if ready := sink.take():
                            yield ready
        if ready := sink.take():
            yield ready
    yield sink.take()


def _info(name: str, item: Shared) -> zipfile.ZipInfo:
    seconds = min(max((item.mtime_ns or 0) // 1_000_000_000, _OLDEST), _NEWEST)
    when = datetime.fromtimestamp(seconds, UTC)
    info = zipfile.ZipInfo(
        name + "/" * item.is_directory, (when.year, when.month, when.day, when.hour, when.minute, when.second)
    )
    info.external_attr = (0o40755 if item.is_directory else 0o100644) << 16 | (0x10 if item.is_directory else 0)
    return info


def zip_names(top: str, paths: Sequence[Path]) -> dict[Path, str]:
    """What each path is called in a zip file; parents are among them. No two have one name: whoever unpacks that would
    have one of them only. Who can keep its own name does."""
    named: dict[Path, str] = {}
    taken: set[tuple[Path, str]] = set()
    for path in sorted(paths, key=lambda path: _zip_name(path[-1]).encode() != path[-1]):
        name = plain = _zip_name(path[-1])
        number = 1
        while (path[:-1], name) in taken:
            number += 1
            name = _numbered(plain, number)
        taken.add((path[:-1], name))
        named[path] = name
    return {path: "/".join([top, *(named[path[:depth]] for depth in range(1, len(path) + 1))]) for path in paths}


def _numbered(name: str, number: int) -> str:
    """`plan (2).pdf`"""
    stem, _, ending = name.rpartition(".")
    return f"{stem} ({number}).{ending}" if stem else f"{name} ({number})"


def _zip_name(name: bytes) -> str:
    """A name that leads nowhere else on any system: a backslash is a separator on some."""
    return name.decode("utf-8", "backslashreplace").replace("\\", "_")


def zip_top(name: bytes) -> str:
    """What all of a zip file is in. It may be the name of a folder, which is any text that somebody gave it."""
    safe = _zip_name(name).replace("/", "_").replace("\0", "_")
    return safe if safe.strip(" .") else "_"
