"""Async. TLS as a trio stream: trio's own checks first, then what they do not ask."""

from __future__ import annotations

import contextlib

import pytest
import trio
from trio.testing import check_two_way_stream

from syncd.errors import PeerUnavailable, TrustError
from syncd.net import stream as stream_module
from syncd.net.stream import STALL_S, WRITE_BYTES, TlsStream, accept_tls, connect_tls
from syncd.protocol import tls
from tests.helpers.folders import NOW, make_folder
from tests.helpers.pipes import MemoryPipe, pipe_pair, tls_pair
from tests.helpers.simnet import WINDOW_BYTES, SimInternet

FOLDER = make_folder()


async def test_passes_the_checks_for_two_way_streams() -> None:
    async def make() -> tuple[TlsStream, TlsStream]:
        return await tls_pair(FOLDER)

    await check_two_way_stream(make, None)


async def test_passes_the_checks_when_the_network_is_clogged(autojump_clock: trio.testing.MockClock) -> None:
    async def make() -> tuple[TlsStream, TlsStream]:
        internet = SimInternet(seed=1)
        (listener,) = await internet.network("b").listen(":0")
        client = await internet.network("a").connect(listener.address)
        server, _ = await listener.accept()
        return await tls_pair(FOLDER, (client, server))

    async def make_clogged() -> tuple[TlsStream, TlsStream]:
        client, server = await make()
        for stream in (client, server):
            await stream.send_all(bytes(WINDOW_BYTES - 1000))  # with the records' overhead just below the window
            await stream.send_all(bytes(2000))
        return client, server

    await check_two_way_stream(make, make_clogged)


async def clogged() -> tuple[TlsStream, TlsStream]:
    """A pair of which nobody has read what was sent."""
    internet = SimInternet(seed=1)
    (listener,) = await internet.network("b").listen(":0")
    client = await internet.network("a").connect(listener.address)
    return await tls_pair(FOLDER, (client, (await listener.accept())[0]))


async def test_peer_that_takes_nothing_for_minutes_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    client, server = await clogged()
    with trio.fail_after(STALL_S + 60), pytest.raises(trio.BrokenResourceError, match="minutes"):
        await server.send_all(bytes(8 * WINDOW_BYTES))
    with pytest.raises(trio.BrokenResourceError, match="an earlier send"):
        await server.send_all(b"more")
    client.abort()


async def test_peer_that_takes_a_little_now_and_then_is_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    client, server = await clogged()
    sent = bytes(2 * WINDOW_BYTES)
    got, began = 0, trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.send_all, sent)
        while got < len(sent):
            await trio.sleep(STALL_S / 2 - 10)  # every other time only what TLS holds already
            got += len(await client.receive_some(256 * 1024))
    assert got == len(sent) and trio.current_time() - began > 2 * STALL_S
    client.abort()
    server.abort()


async def test_peer_that_sends_much_without_content_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "MAX_BARREN_BYTES", 1000)
    client, server = await tls_pair(FOLDER)
    await client.send_all(bytes(500))
    assert await server.receive_some() == bytes(500)
    await client.send_all(bytes(2000))  # one record, which holds nothing that can be read before its end
    with pytest.raises(trio.BrokenResourceError, match="without content"):
        await server.receive_some()


async def test_who_dials_looks_at_the_dates_as_well() -> None:
    left, right = pipe_pair()
    table = tls.LabelTable()
    FOLDER.serve(table)

    async def accept() -> None:
        with contextlib.suppress(PeerUnavailable):  # whether it noticed in time that the other one left
            await accept_tls(right, table, NOW)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        with pytest.raises(tls.WrongDates):
            await connect_tls(left, FOLDER.dial(), NOW + 400 * 24 * 3600)


async def test_both_ends_agree_on_what_they_are() -> None:
    client, server = await tls_pair(FOLDER)
    assert client.export() == server.export()
    assert client.export(b"EXPORTER-other") != server.export()
    assert (client.endpoint, client.speaks_syncd) == (server.endpoint, server.speaks_syncd)
    assert (client.side, server.side) == (tls.Side.CLIENT, tls.Side.SERVER)


async def test_two_channels_export_different_bytes() -> None:
    one, _ = await tls_pair(FOLDER)
    other, _ = await tls_pair(FOLDER)
    assert one.export() != other.export()


@pytest.mark.parametrize("size", [1, 16_384, 16_385, WRITE_BYTES, WRITE_BYTES + 1, 3 * WRITE_BYTES + 7])
async def test_every_size_arrives_whole_by_both_ways_of_receiving(size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    data = data[:size]
    client, server = await tls_pair(FOLDER)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, data)
        received = b""
        while len(received) < size:
            received += await server.receive_some()
        assert received == data
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.send_all, data)
        buffer = bytearray(size + 1)
        filled = 0
        while filled < size:
            filled += await client.receive_into(memoryview(buffer)[filled:])
        assert bytes(buffer[:size]) == data


async def test_pieces_arrive_in_order_as_one() -> None:
    client, server = await tls_pair(FOLDER)
    pieces = (b"a", bytearray(b"b" * WRITE_BYTES), memoryview(b"c" * 5), b"")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_pieces, pieces)
        received = b""
        while len(received) < WRITE_BYTES + 6:
            received += await server.receive_some()
    assert received == b"".join(pieces)


async def test_end_without_a_goodbye_is_an_error() -> None:
    """What came before may have been cut short by anybody on the way."""
    left, right = pipe_pair()
    client, server = await tls_pair(FOLDER, (left, right))
    await client.send_all(b"half of it")
    await left.aclose()
    assert await server.receive_some() == b"half of it"
    with pytest.raises(trio.BrokenResourceError, match="goodbye"):
        await server.receive_some()


async def test_end_with_a_goodbye_is_an_end() -> None:
    client, server = await tls_pair(FOLDER)
    await client.send_all(b"all of it")
    await client.aclose()
    assert await server.receive_some() == b"all of it"
    assert await server.receive_some() == b""
    assert await server.receive_into(memoryview(bytearray(5))) == 0


async def test_changed_byte_is_an_error() -> None:
    left, right = pipe_pair()
    client, server = await tls_pair(FOLDER, (left, right))
    before = len(left.sent)
    await client.send_all(b"x" * 100)
    record = bytearray(left.sent[before:])
    await right.receive_some()  # the true one is lost on the way
    record[50] ^= 1
    await left.send_all(record)
    with pytest.raises(trio.BrokenResourceError):
        await server.receive_some()


async def test_good_records_before_a_bad_one_are_delivered_first() -> None:
    left, right = pipe_pair()
    client, server = await tls_pair(FOLDER, (left, right))
    await client.send_all(b"good")
    await left.send_all(b"garbage that is no record at all")
    assert await server.receive_some() == b"good"
    with pytest.raises(trio.BrokenResourceError):
        await server.receive_some()


async def test_abort_wakes_both_directions_and_says_no_goodbye() -> None:
    left, right = pipe_pair()
    client, server = await tls_pair(FOLDER, (left, right))
    sent_before = len(left.sent)
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await client.receive_some()

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        client.abort()
    assert len(left.sent) == sent_before
    with pytest.raises(trio.ClosedResourceError):
        await client.send_all(b"x")
    with pytest.raises(trio.BrokenResourceError):
        await server.receive_some()


async def test_cancelled_send_ends_the_sending_side(autojump_clock: trio.testing.MockClock) -> None:
    internet = SimInternet(seed=1)
    (listener,) = await internet.network("b").listen(":0")
    raw = await internet.network("a").connect(listener.address)
    client, _server = await tls_pair(FOLDER, (raw, (await listener.accept())[0]))
    with trio.move_on_after(1):
        await client.send_all(bytes(4 * WINDOW_BYTES))
    with pytest.raises(trio.BrokenResourceError):
        await client.send_all(b"x")


async def test_peer_that_leaves_during_the_handshake_is_unavailable() -> None:
    left, right = pipe_pair()
    await left.send_all(b"\x16\x03\x01")
    await left.aclose()
    table = tls.LabelTable()
    with pytest.raises(PeerUnavailable):
        await accept_tls(right, table, NOW)


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"\0" * 300, b"\x16\x03\x01\xff\xff"])
async def test_garbage_instead_of_a_handshake_is_refused(
    garbage: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    left, right = pipe_pair()
    await left.send_all(garbage)
    with pytest.raises(TrustError):
        await accept_tls(right, tls.LabelTable(), NOW)
    assert right.is_closed


async def test_client_hello_byte_by_byte_works() -> None:
    class Dripping(MemoryPipe):
        async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
            return await super().receive_some(1)

    left, right = pipe_pair(Dripping)
    client, server = await tls_pair(FOLDER, (left, right))
    await client.send_all(b"hello")
    assert await server.receive_some() == b"hello"


async def test_refusal_of_our_certificate_is_told_with_the_first_answer() -> None:
    """In TLS 1.3 our handshake succeeds before the listener has judged our certificate."""
    left, right = pipe_pair()
    stranger = make_folder(1)
    table = tls.LabelTable()
    table.add_control(FOLDER.label, FOLDER.folder_id, stranger.identity.certificate, stranger.identity.key)
    pinned = tls.LabelTable()
    FOLDER.serve(pinned)
    outgoing = tls.connect_control(FOLDER.label, FOLDER.folder_id, stranger.identity.certificate, stranger.identity.key)
    async with trio.open_nursery() as nursery:

        async def listen() -> None:
            with pytest.raises(TrustError):
                await accept_tls(right, pinned, NOW)

        nursery.start_soon(listen)
        client = await connect_tls(left, outgoing, NOW)
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
        assert client.refusal is not None
        client.abort()


async def test_connection_ends_after_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "MAX_CONNECTION_BYTES", 100_000)
    monkeypatch.setattr(stream_module, "WORN_BYTES", 50_000)
    client, _server = await tls_pair(FOLDER)
    await client.send_all(bytes(40_000))
    worn = [client.is_worn]
    await client.send_all(bytes(20_000))
    worn.append(client.is_worn)
    assert worn == [False, True]
    with pytest.raises(trio.BrokenResourceError, match="end of life"):
        await client.send_all(bytes(60_000))


async def test_connection_ends_after_a_day(autojump_clock: trio.testing.MockClock) -> None:
    client, _server = await tls_pair(FOLDER)
    await trio.sleep(23 * 3600)
    await client.send_all(b"x")
    worn = [client.is_worn]
    await trio.sleep(3601)
    worn.append(client.is_worn)
    assert worn == [False, True]
    with pytest.raises(trio.BrokenResourceError, match="end of life"):
        await client.send_all(b"x")


async def test_memory_for_bulk_goes_back_when_nothing_moves_and_comes_again() -> None:
    client, server = await tls_pair(FOLDER)
    bulk = bytes(range(256)) * (3 * WRITE_BYTES // 256)

    def kept() -> int:
        return sum(len(memory) for end in (client, server) for memory in (end._leaving, end._arriving))

    async def receive() -> None:
        arrived = bytearray()
        while len(arrived) < len(bulk):
            arrived += await client.receive_some(WRITE_BYTES)
            client.give_back()
        assert arrived == bulk

    for _ in range(2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await server.send_all(bulk)
        assert kept() > WRITE_BYTES
        for end in (client, server):
            end.give_back()
        assert kept() == 0


async def test_memory_that_is_given_back_in_the_middle_of_a_sending_is_sent_whole(
    autojump_clock: trio.testing.MockClock,
) -> None:
    client, server = await clogged()
    bulk = bytes(range(256)) * (8 * WINDOW_BYTES // 256)
    arrived = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.send_all, bulk)
        while len(arrived) < len(bulk):
            await trio.sleep(1)
            server.give_back()
            arrived += await client.receive_some(WRITE_BYTES)
    assert arrived == bulk
