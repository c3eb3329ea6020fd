"""Async. Where blocking code runs, and the buffers it fills.

One helper starts every thread of the daemon. It bounds how many run at once, keeps calls of one lane in order (one
SQLite connection is one lane), and never abandons a thread: whoever lent it a buffer gets that buffer back only when
the thread is done with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

import trio

from syncd.seams import Lane

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

DEFAULT_THREADS = 16  # as many fsyncs as one batch may have in flight


class ThreadWorkers:
    """The real workers: trio's threads behind one limiter. Implements `seams.Workers`."""

    def __init__(self, threads: int = DEFAULT_THREADS) -> None:
        self._limiter = trio.CapacityLimiter(threads)
        self._lanes: WeakKeyDictionary[Lane, trio.Lock] = WeakKeyDictionary()

    async def run_blocking(
        self,
        function: Callable[[*Arguments], Result],
        *arguments: *Arguments,
        lane: Lane | None = None,
    ) -> Result:
        """Run `function` in a thread; see `seams.Workers`."""
        if lane is None:
            return await trio.to_thread.run_sync(function, *arguments, limiter=self._limiter)
        # The lane comes first: a queue behind a busy database must not hold the threads that others could use.
        lock = self._lanes.setdefault(lane, trio.Lock())
        try:
            lock.acquire_nowait()  # a free lane costs no turn of the event loop
        except trio.WouldBlock:
            await lock.acquire()
        try:
            return await trio.to_thread.run_sync(function, *arguments, limiter=self._limiter)
        finally:
            lock.release()


class Buffers:
    """Memory that is used again, at most `idle` pieces of it while nobody needs any.

    On a virtual machine the first touch of a page can cost more than encrypting it, so what was returned last is lent
    first. How much may be lent at a time is not bounded here: whoever borrows counts bytes in flight already.
    """

    def __init__(self, idle: int) -> None:
        self._most = idle
        self._idle: list[memoryview] = []

    @contextmanager
    def lend(self, size_bytes: int) -> Iterator[memoryview]:
        """Lend exactly `size_bytes`, with old content in them."""
        buffer = self._idle.pop() if self._idle else memoryview(b"")
        if len(buffer) < size_bytes:
            buffer = memoryview(bytearray(size_bytes))
        try:
            yield buffer[:size_bytes]
        finally:
            if len(self._idle) < self._most:
                self._idle.append(buffer)

    def clear(self) -> None:
        """Give back to the system what nobody needs now."""
        self._idle.clear()
