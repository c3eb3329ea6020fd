"""Async. What inotify tells, shared out among the folders of a daemon.

A user may have few instances of inotify (128 by default), and a daemon any number of folders. So there are only so many
instances here, and a folder has a line into one of them: whichever folder waits first reads for all that share it. A
watch belongs to the line that set it; what the kernel lost concerns every line.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from typing import Final, NamedTuple

import trio

from syncd.store import syscalls

MOST_INSTANCES: Final = 32
"""Of one daemon; others of the same user want some, too."""
MOST_HEARD: Final = 65_536
"""Notices that a line keeps for a folder that does not ask; with more, it is told that some were lost."""
OVERFLOW: Final = 0x4000

# struct inotify_event: watch descriptor, mask, cookie that pairs moves, length of the name with its NULs (4 bytes each)
_HEADER = struct.Struct("=iIII")
_READ_BYTES = 1 << 18


class Notice(NamedTuple):
    """One event as the kernel tells it."""

    watch: int
    mask: int
    cookie: int
    name: bytes


_LOST: Final = Notice(-1, OVERFLOW, 0, b"")


class Line:
    """What one folder watches and hears. One task at a time asks for notices."""

    def __init__(self, instance: _Instance) -> None:
        self._instance = instance
        self._heard: list[Notice] = []
        self.is_closed = False
        self.stirred = trio.Event()

    def add(self, directory: int, mask: int) -> int:
        """Watch an open directory. The watch descriptor; -1 once closed. Callable from a worker."""
        if self.is_closed:
            return -1
        with self._instance.changing:
            watch = syscalls.inotify_add(self._instance.fd, directory, mask)
            self._instance.lines[watch] = self
        return watch

    def remove(self, watch: int) -> None:
        """End a watch; no error when its directory has gone already, or has moved to a folder that watches it now by
        the same number. Callable from a worker."""
        with self._instance.changing:
            if self._instance.lines.get(watch) is self:
                del self._instance.lines[watch]
                syscalls.inotify_remove(self._instance.fd, watch)

    def clear(self) -> None:
        """End all watches, and forget what was heard."""
        for watch in [watch for watch, line in self._instance.lines.copy().items() if line is self]:
            self.remove(watch)
        self._heard = []

    def hear(self, notice: Notice) -> None:
        """Keep a notice until it is asked for."""
        if notice.mask & OVERFLOW or len(self._heard) >= MOST_HEARD:
            self._heard = [_LOST]
        elif self._heard != [_LOST]:
            self._heard.append(notice)
        self.stirred.set()

    async def notices(self) -> list[Notice]:
        """What happened since the last call, at least one. Raises trio.ClosedResourceError once closed."""
        while not self._heard:
            if self.is_closed:
                raise trio.ClosedResourceError
            self.stirred = trio.Event()
            await self._instance.wait(self)
        heard, self._heard = self._heard, []
        return heard

    def close(self) -> None:
        """A waiting `notices` ends with trio.ClosedResourceError. Idempotent."""
        if not self.is_closed:
            self.is_closed = True
            self.clear()
            self.stirred.set()
            self._instance.leave(self)


class _Instance:
    """One inotify descriptor and the lines that share it."""

    def __init__(self) -> None:
        self.fd = syscalls.inotify_init()
        self.members: dict[Line, None] = {}
        self.lines: dict[int, Line] = {}
        """By watch descriptor; numbers are not used again, but a directory has one only, whoever watches it."""
        self.changing = threading.Lock()
        """Held while a watch begins or ends, so that the kernel and `lines` agree on whose it is."""
        self._reader: trio.CancelScope | None = None
        self._read_by: Line | None = None
        self._waiting: dict[Line, None] = {}

    async def wait(self, line: Line) -> None:
        """Until there may be something for this line."""
        if self._reader is not None:
            self._waiting[line] = None
            try:
                await line.stirred.wait()
            finally:
                self._waiting.pop(line, None)
                self._pass_on()  # it may have been woken to read, and go instead
            return
        with trio.CancelScope() as self._reader:
            self._read_by = line
            try:
                await trio.lowlevel.wait_readable(self.fd)
                self._hand_out()
            finally:
                self._reader = self._read_by = None
                self._pass_on()

    def _pass_on(self) -> None:
        """Somebody else reads now: one that has not been woken, as those may have something else to do."""
        if self._reader is None and (waits := next((one for one in self._waiting if not one.stirred.is_set()), None)):
            waits.stirred.set()

    def _hand_out(self) -> None:
        try:
            data = os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return
        for notice in _parse(data):
            if notice.mask & OVERFLOW:
                for line in self.members:
                    line.hear(notice)
            elif (owner := self.lines.get(notice.watch)) is not None:
                owner.hear(notice)

    def leave(self, line: Line) -> None:
        """A line was closed; the last one takes the descriptor with it."""
        self.members.pop(line, None)
        if self._read_by is line and self._reader is not None:
            self._reader.cancel()
        if not self.members:
            trio.lowlevel.notify_closing(self.fd)
            os.close(self.fd)
            self.fd = -1


class Instances:
    """All instances of a daemon."""

    def __init__(self, most: int = MOST_INSTANCES) -> None:
        self._most = most
        self._open: list[_Instance] = []

    def line(self) -> Line:
        """A line into an instance of its own, or, where there are enough of them or the system gives no more, into the
        one that the fewest share. Raises OSError when there is none at all."""
        self._open = [instance for instance in self._open if instance.members]
        if len(self._open) < self._most:
            try:
                self._open.append(_Instance())
            except OSError:
                if not self._open:
                    raise
        instance = min(self._open, key=lambda one: len(one.members))
        line = Line(instance)
        instance.members[line] = None
        return line


def _parse(data: bytes) -> Iterator[Notice]:
    at = 0
    while at < len(data):
        watch, mask, cookie, length = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        yield Notice(watch, mask, cookie, data[at : at + length].rstrip(b"\0"))
        at += length
