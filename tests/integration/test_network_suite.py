"""Async. The real network and the simulated one pass one suite; and what only one of them can do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, check_two_way_stream

from syncd.net.interfaces import machine_addresses
from syncd.net.sockets import SocketNetwork, join_address, split_address
from syncd.seams import Announcement, Found, Unheard
from tests.helpers.simnet import WINDOW_BYTES, SimInternet, SimStream
from tests.suites.network_suite import CHECKS, Ends

each_check = pytest.mark.parametrize("check", CHECKS)
Check = Callable[[Ends], Awaitable[None]]


@each_check
async def test_real_network(check: Check) -> None:
    await check(Ends(SocketNetwork(), SocketNetwork(), "127.0.0.1"))


@each_check
async def test_simulated_network(check: Check) -> None:
    internet = SimInternet(seed=3)
    await check(Ends(internet.network("b"), internet.network("a"), "b"))


# --- the real one --------------------------------------------------------------------------------------------------


async def test_empty_host_listens_everywhere() -> None:
    listeners = await SocketNetwork().listen(":0")
    ports = {split_address(listener.address)[1] for listener in listeners}
    assert len(ports) == 1
    stream = await SocketNetwork().connect(f"127.0.0.1:{ports.pop()}")
    stream.abort()
    for listener in listeners:
        listener.close()


def test_machine_has_its_loopback_addresses() -> None:
    addresses = [str(address) for address in machine_addresses()]
    assert "127.0.0.1" in addresses
    assert not any(address.startswith(("127.", "fe80", "::1")) for address in SocketNetwork().local_addresses())


@pytest.mark.parametrize("address", ["192.0.2.1:22067", "[2001:db8::1]:1", "host.example:65535", ":0"])
def test_addresses_are_taken_apart_and_put_together(address: str) -> None:
    assert join_address(*split_address(address)) == address


@pytest.mark.parametrize("address", ["", "host", "host:", "host:x", "host:65536", "2001:db8::1:5", "host:-1", "h:٣"])
def test_other_texts_are_no_addresses(address: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|brackets"):
        split_address(address)


async def test_network_without_neighbours_is_silent() -> None:
    network = SocketNetwork()
    network.announce(Announcement(1))
    send, receive = trio.open_memory_channel[Found | Unheard](1)
    with trio.move_on_after(0.01):
        await network.browse(send)
    with pytest.raises(trio.WouldBlock):
        receive.receive_nowait()


# --- the simulated one ---------------------------------------------------------------------------------------------


async def pair(internet: SimInternet) -> tuple[SimStream, SimStream]:
    (listener,) = await internet.network("b").listen(":0")
    client = await internet.network("a").connect(listener.address)
    return client, (await listener.accept())[0]


async def test_simulated_stream_passes_the_checks(autojump_clock: MockClock) -> None:
    async def make() -> tuple[SimStream, SimStream]:
        return await pair(SimInternet(seed=1))

    async def make_clogged() -> tuple[SimStream, SimStream]:
        client, server = await make()
        await client.send_all(bytes(WINDOW_BYTES))
        await server.send_all(bytes(WINDOW_BYTES))
        return client, server

    await check_two_way_stream(make, make_clogged)


async def test_partition_holds_bytes_until_it_heals(autojump_clock: MockClock) -> None:
    internet = SimInternet(seed=1)
    client, server = await pair(internet)
    internet.partition({"a"}, {"b"})
    await client.send_all(b"late")
    with trio.move_on_after(3600) as scope:
        await server.receive_some()
    assert scope.cancelled_caught
    internet.heal()
    assert await server.receive_some() == b"late"


async def test_block_stops_one_direction(autojump_clock: MockClock) -> None:
    internet = SimInternet(seed=1)
    client, server = await pair(internet)
    internet.block("a", "b")
    await server.send_all(b"this way")
    assert await client.receive_some() == b"this way"
    await client.send_all(b"that way")
    with trio.move_on_after(3600) as scope:
        await server.receive_some()
    assert scope.cancelled_caught


async def test_cut_resets_both_ends_of_the_pair_only(autojump_clock: MockClock) -> None:
    internet = SimInternet(seed=1)
    client, server = await pair(internet)
    (listener,) = await internet.network("b").listen(":0")
    other = await internet.network("c").connect(listener.address)
    assert internet.cut("a", "b") == 1
    for end in (client, server):
        with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
            await end.receive_some()
    await other.send_all(b"untouched")


async def test_crashed_host_can_come_back_on_its_port(autojump_clock: MockClock) -> None:
    internet = SimInternet(seed=1)
    (listener,) = await internet.network("b").listen(":7000")
    internet.crash("b")
    with pytest.raises(ConnectionRefusedError):
        await internet.network("a").connect("b:7000")
    (again,) = await internet.network("b").listen(":7000")
    await internet.network("a").connect("b:7000")
    await again.accept()
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()


async def test_neighbours_hear_each_other_unless_parted(autojump_clock: MockClock) -> None:
    internet = SimInternet(seed=1)
    send, receive = trio.open_memory_channel[Found | Unheard](10)
    internet.network("b").announce(Announcement(7000, pairing=(7,)))
    internet.partition({"a"}, {"b"})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(internet.network("a").browse, send)
        await trio.sleep(1)
        with pytest.raises(trio.WouldBlock):
            receive.receive_nowait()
        internet.heal()
        found = await receive.receive()
        assert isinstance(found, Found)
        assert (found.addresses, found.pairing) == (("b:7000",), (7,))
        nursery.cancel_scope.cancel()


async def test_same_seed_gives_the_same_delays(autojump_clock: MockClock) -> None:
    async def arrival(seed: int) -> float:
        client, server = await pair(SimInternet(seed))
        began = trio.current_time()
        await client.send_all(b"x")
        await server.receive_some()
        return round(trio.current_time() - began, 9)

    assert await arrival(5) == await arrival(5)
    assert await arrival(5) != await arrival(6)
