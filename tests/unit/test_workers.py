"""Async. Threads are bounded, lanes keep their order, and nothing lent to a thread is taken back early."""

from __future__ import annotations

import threading

import pytest
import trio

from syncd.seams import Lane, Workers
from syncd.workers import Buffers, ThreadWorkers

PATIENCE_S = 60.0


async def test_result_and_exception_come_back() -> None:
    workers: Workers = ThreadWorkers()

    def divide(one: int, other: int) -> float:
        return one / other

    assert await workers.run_blocking(divide, 1, 2) == 0.5
    with pytest.raises(ZeroDivisionError):
        await workers.run_blocking(divide, 1, 0)


class Gate:
    """Blocking calls that wait until they are let go, and count how many wait at once."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        self.inside = 0
        self.most = 0
        self.order: list[int] = []
        self._lock = threading.Lock()

    def enter(self, number: int) -> None:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.order.append(number)
        self.entered.release()
        assert self.opened.wait(PATIENCE_S)
        with self._lock:
            self.inside -= 1


async def wait_inside(gate: Gate, count: int) -> None:
    for _ in range(count):
        assert await trio.to_thread.run_sync(gate.entered.acquire, True, PATIENCE_S)


async def test_threads_are_bounded() -> None:
    workers, gate = ThreadWorkers(threads=3), Gate()
    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(workers.run_blocking, gate.enter, number)
        await wait_inside(gate, 3)
        gate.opened.set()
    assert (gate.most, len(gate.order)) == (3, 8)


async def test_calls_of_one_lane_run_in_their_order_and_hold_no_other_thread() -> None:
    workers, gate, lane = ThreadWorkers(threads=2), Gate(), Lane("database")
    async with trio.open_nursery() as nursery:

        async def in_lane(number: int) -> None:
            await workers.run_blocking(gate.enter, number, lane=lane)

        for number in range(5):
            nursery.start_soon(in_lane, number)
            await trio.testing.wait_all_tasks_blocked()
        await wait_inside(gate, 1)
        with trio.fail_after(PATIENCE_S):  # the other thread is free
            assert await workers.run_blocking(len, "four") == 4
        gate.opened.set()
    assert (gate.most, gate.order) == (1, [0, 1, 2, 3, 4])


async def test_cancelled_caller_waits_for_its_thread() -> None:
    workers, gate = ThreadWorkers(), Gate()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(workers.run_blocking, gate.enter, 0)
        await wait_inside(gate, 1)
        nursery.cancel_scope.cancel()
        assert gate.inside == 1
        gate.opened.set()
    assert gate.inside == 0


def test_buffer_that_came_back_last_is_lent_first() -> None:
    buffers = Buffers(idle=1)
    with buffers.lend(100) as one, buffers.lend(200) as other:
        one[:1] = b"1"
        other[:1] = b"2"
    with buffers.lend(150) as again:
        assert (len(again), bytes(again[:1])) == (150, b"2")


def test_buffer_that_is_too_small_or_was_let_go_is_new() -> None:
    buffers = Buffers(idle=1)
    with buffers.lend(100) as one:
        one[:1] = b"1"
    with buffers.lend(101) as larger:
        assert bytes(larger[:1]) == b"\0"
        larger[:1] = b"2"
    buffers.clear()
    with buffers.lend(1) as fresh:
        assert bytes(fresh) == b"\0"
