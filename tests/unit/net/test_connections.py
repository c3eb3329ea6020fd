"""Async. The registry: an epoch's connections are cut in one stroke, and none slips in behind it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from ca.ids import DeviceId
from syncd.errors import TrustError
from syncd.net.connections import Connection, Connections
from tests.helpers.folders import Folder, make_folder
from tests.helpers.pipes import MemoryPipe, pipe_pair, tls_pair

ONE, TWO = make_folder(1), make_folder(2)


class Held:
    """A connection in the registry with a task that waits in it."""

    def __init__(self, pipe: MemoryPipe) -> None:
        self.pipe = pipe
        self.was_cancelled = False
        self.connection: Connection | None = None


async def hold(nursery: trio.Nursery, connections: Connections, folder: Folder) -> Held:
    left, right = pipe_pair()
    _, server = await tls_pair(folder, (left, right))
    held = Held(right)

    async def wait(*, task_status: trio.TaskStatus[None]) -> None:
        with connections.hold(server, "10.0.0.1:5", accepted=True) as connection:
            held.connection = connection
            task_status.started()
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                held.was_cancelled = True
                raise

    await nursery.start(wait)
    return held


async def test_closing_an_epoch_cuts_its_sockets_at_once_and_then_its_tasks() -> None:
    connections = Connections()
    async with trio.open_nursery() as nursery:
        mine = [await hold(nursery, connections, ONE) for _ in range(3)]
        other = await hold(nursery, connections, TWO)
        sent = [len(held.pipe.sent) for held in mine]
        assert connections.close_epoch(ONE.folder_id, ONE.epoch_id) == 3
        assert all(held.pipe.is_closed for held in mine)  # no checkpoint has passed
        assert not any(held.was_cancelled for held in mine)
        await trio.testing.wait_all_tasks_blocked()
        assert all(held.was_cancelled for held in mine)
        assert [len(held.pipe.sent) for held in mine] == sent
        assert not other.pipe.is_closed
        assert len(connections) == 1
        nursery.cancel_scope.cancel()


async def test_handshake_that_ends_after_its_epoch_is_refused() -> None:
    connections = Connections()
    left, right = pipe_pair()
    _, late = await tls_pair(ONE, (left, right))
    _, other = await tls_pair(TWO)
    connections.close_epoch(ONE.folder_id, ONE.epoch_id)
    with pytest.raises(TrustError), connections.hold(late, "a:1", accepted=True):
        raise AssertionError("the block must not run")
    assert right.is_closed
    with connections.hold(other, "a:1", accepted=True):
        assert len(connections) == 1


async def test_epoch_that_is_the_folders_again_lets_connections_in() -> None:
    connections = Connections()
    connections.close_epoch(ONE.folder_id, ONE.epoch_id)
    connections.close_epoch(TWO.folder_id, TWO.epoch_id)
    connections.reopen_epoch(ONE.folder_id, ONE.epoch_id)
    _, again = await tls_pair(ONE)
    _, closed = await tls_pair(TWO)
    with connections.hold(again, "a:1", accepted=True):
        assert len(connections) == 1
    with pytest.raises(TrustError), connections.hold(closed, "a:1", accepted=True):
        raise AssertionError("the block must not run")


@pytest.mark.parametrize(
    ("close", "left_over"),
    [
        (lambda c: c.close_folder(ONE.folder_id), 1),
        (lambda c: c.close_device(ONE.folder_id, DeviceId(b"d" * 32)), 2),
        (lambda c: c.close_device(ONE.folder_id, DeviceId(b"x" * 32)), 3),
        (lambda c: c.close_label(TWO.label), 2),
    ],
)
async def test_narrower_cuts(close: Callable[[Connections], int], left_over: int) -> None:
    connections = Connections()
    async with trio.open_nursery() as nursery:
        proved = await hold(nursery, connections, ONE)
        assert proved.connection is not None
        proved.connection.device = DeviceId(b"d" * 32)
        await hold(nursery, connections, ONE)
        await hold(nursery, connections, TWO)
        assert close(connections) == 3 - left_over
        await trio.testing.wait_all_tasks_blocked()
        assert len(connections) == left_over
        nursery.cancel_scope.cancel()


async def test_draining_gives_time_and_then_cuts(autojump_clock: trio.testing.MockClock) -> None:
    connections = Connections()
    async with trio.open_nursery() as nursery:
        held = await hold(nursery, connections, ONE)
        connections.drain_epoch(ONE.folder_id, ONE.epoch_id, 120)
        await trio.sleep(119)
        closed = [held.pipe.is_closed]
        await trio.sleep(2)
        closed.append(held.pipe.is_closed)
        assert closed == [False, True]


async def test_connection_is_cut_when_its_block_is_left() -> None:
    connections = Connections()
    left, right = pipe_pair()
    _, server = await tls_pair(ONE, (left, right))
    with connections.hold(server, "a:1", accepted=True):
        closed = [right.is_closed]
    closed.append(right.is_closed)
    assert (closed, len(connections)) == ([False, True], 0)
