"""Async. Where blocking code runs, and the buffers it fills.

One helper starts every thread of the daemon. It bounds how many run at once, keeps calls of one lane in order (one
SQLite connection is one lane), and never abandons a thread: whoever lent it a buffer gets that buffer back only when
the thread is done with it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
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
        async with self._lanes.setdefault(lane, trio.Lock()):
            return await trio.to_thread.run_sync(function, *arguments, limiter=self._limiter)


class BufferPool:
    """Reused buffers of one size, at most `limit` of them: the memory bound of whatever borrows them.

    On a virtual machine the first touch of a page can cost more than encrypting it, so the buffer returned last is
    lent first.
    """

    def __init__(self, size_bytes: int, limit: int) -> None:
        self.size_bytes = size_bytes
        self._idle: list[bytearray] = []
        self._permits = trio.Semaphore(limit, max_value=limit)

    @property
    def free(self) -> int:
        """How many more could be borrowed now without waiting."""
        return self._permits.value

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[bytearray]:
        """Lend a buffer of `size_bytes` (with old content in it), waiting while all are lent."""
        async with self._permits:
            buffer = self._idle.pop() if self._idle else bytearray(self.size_bytes)
            try:
                yield buffer
            finally:
                self._idle.append(buffer)
