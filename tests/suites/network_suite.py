"""Async. What every network must do: run on the real one and on the simulated one.

A test module calls `check_network` with a way to make two ends; see tests/integration/test_network_suite.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import trio

from syncd.seams import Listener, Network, RawStream


@dataclass(frozen=True, slots=True)
class Ends:
    """Two networks that reach each other, and a host name by which the first may listen."""

    listening: Network
    dialling: Network
    host: str


async def listen(ends: Ends) -> Listener:
    listener, *_ = await ends.listening.listen(f"{ends.host}:0")
    return listener


async def connected(ends: Ends, listener: Listener) -> tuple[RawStream, RawStream]:
    client = await ends.dialling.connect(listener.address)
    server, _ = await listener.accept()
    return client, server


async def check_listener_tells_its_address_and_its_callers(ends: Ends) -> None:
    listener = await listen(ends)
    host, _, port = listener.address.rpartition(":")
    assert host == ends.host
    assert int(port) > 0
    client = await ends.dialling.connect(listener.address)
    server, caller = await listener.accept()
    assert int(caller.rpartition(":")[2]) > 0
    assert isinstance(client, RawStream)
    assert isinstance(server, RawStream)
    client.abort()
    server.abort()
    listener.close()


async def check_bytes_arrive_in_order_and_then_the_end(ends: Ends) -> None:
    listener = await listen(ends)
    client, server = await connected(ends, listener)
    data = bytes(range(256)) * 4000
    received = bytearray()
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            await client.send_all(memoryview(data))
            await client.aclose()

        nursery.start_soon(send)
        while part := await server.receive_some(100_000):
            received += part
    assert bytes(received) == data
    await server.aclose()
    listener.close()


async def check_some_bytes_are_sent_as_far_as_there_is_room(ends: Ends) -> None:
    listener = await listen(ends)
    client, server = await connected(ends, listener)
    data, sent = memoryview(bytes(range(256)) * 40_000), 0
    while True:
        with trio.move_on_after(0.5) as patience:
            sent += await client.send_some(data[sent:])
        if patience.cancelled_caught:
            break
    received = b""
    while len(received) < sent:
        received += await server.receive_some(1 << 20)
    assert 0 < sent < len(data) and received == data[:sent]
    server.abort()
    await trio.testing.wait_all_tasks_blocked(0.01)
    with pytest.raises(trio.BrokenResourceError):
        for _ in range(3):
            await client.send_some(data[:10])
            await trio.sleep(0.01)
    client.abort()
    with pytest.raises(trio.ClosedResourceError):
        await client.send_some(data[:10])
    listener.close()


async def check_bytes_arrive_in_memory_of_the_receiver(ends: Ends) -> None:
    listener = await listen(ends)
    client, server = await connected(ends, listener)
    data, received, buffer = bytes(range(256)) * 4000, bytearray(), memoryview(bytearray(70_000))
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            await client.send_all(data)
            await client.aclose()

        nursery.start_soon(send)
        while count := await server.receive_into(buffer):
            received += buffer[:count]
    assert bytes(received) == data
    await server.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await server.receive_into(buffer)
    client, server = await connected(ends, listener)
    client.abort()
    with pytest.raises(trio.BrokenResourceError):
        await server.receive_into(buffer)
    server.abort()
    listener.close()


async def check_taken_port_is_an_error(ends: Ends) -> None:
    listener = await listen(ends)
    with pytest.raises(OSError, match=r"."):
        await ends.listening.listen(listener.address)
    listener.close()


async def check_nobody_there_is_an_error(ends: Ends) -> None:
    listener = await listen(ends)
    address = listener.address
    listener.close()
    with pytest.raises(OSError, match=r"."):
        await ends.dialling.connect(address)


async def check_closed_listener_wakes_who_accepts_and_keeps_connections(ends: Ends) -> None:
    listener = await listen(ends)
    client, server = await connected(ends, listener)
    async with trio.open_nursery() as nursery:

        async def accept() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await listener.accept()

        nursery.start_soon(accept)
        await trio.testing.wait_all_tasks_blocked(0.01)
        listener.close()
        listener.close()
    await client.send_all(b"still here")
    assert await server.receive_some() == b"still here"
    client.abort()
    server.abort()


async def check_abort_is_a_reset_and_wakes_both_ends(ends: Ends) -> None:
    listener = await listen(ends)
    client, server = await connected(ends, listener)
    async with trio.open_nursery() as nursery:

        async def receive(stream: RawStream, error: type[Exception]) -> None:
            with pytest.raises(error):
                await stream.receive_some()

        nursery.start_soon(receive, client, trio.ClosedResourceError)
        nursery.start_soon(receive, server, trio.BrokenResourceError)
        await trio.testing.wait_all_tasks_blocked(0.01)
        client.abort()
        client.abort()
    with pytest.raises(trio.ClosedResourceError):
        await client.send_all(b"x")
    await server.aclose()
    listener.close()


CHECKS = (
    check_listener_tells_its_address_and_its_callers,
    check_bytes_arrive_in_order_and_then_the_end,
    check_some_bytes_are_sent_as_far_as_there_is_room,
    check_bytes_arrive_in_memory_of_the_receiver,
    check_taken_port_is_an_error,
    check_nobody_there_is_an_error,
    check_closed_listener_wakes_who_accepts_and_keeps_connections,
    check_abort_is_a_reset_and_wakes_both_ends,
)
