"""Async. The doorkeeper: strangers are bounded and quiet, members get in, a bad connection is alone in its trouble."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
import trio
from OpenSSL import SSL
from trio.testing import MockClock

from ca.addresses import AddressRule, parse_network
from ca.certs import throwaway_certificate
from syncd.doorway import GUEST_S
from syncd.errors import PeerUnavailable, TrustError
from syncd.http import Client
from syncd.net import stream as stream_module
from syncd.net.connections import Connection
from syncd.net.dial import dial
from syncd.net.listen import Crowd, ListenLimits
from syncd.net.sockets import SocketNetwork
from syncd.net.stream import TlsStream
from syncd.protocol.door import DoorLimits, Share
from syncd.protocol.refusals import Event
from syncd.protocol.tls import LabelTable, UnknownLabel, connect_pairing
from tests.helpers.folders import NOW, make_folder
from tests.helpers.listener import CIPHERTEXT, Listening, StillClock, listening
from tests.helpers.rosters import seeded
from tests.helpers.simnet import SimInternet

FOLDER = make_folder(1)
BLOCK = "/v1/blocks/" + "00" * 32


def table() -> LabelTable:
    table = LabelTable()
    FOLDER.serve(table)
    return table


@pytest.fixture
def internet() -> SimInternet:
    return SimInternet(seed=7)


async def dial_from(internet: SimInternet, server: Listening, host: str = "a") -> TlsStream:
    return await dial(internet.network(host), StillClock(), server.address, FOLDER.dial())


async def fetch(stream: TlsStream) -> bytes:
    reply = await Client(stream, host=FOLDER.label).request("GET", BLOCK)
    return await reply.body.read(1 << 20)


async def test_member_is_served(autojump_clock: MockClock, internet: SimInternet) -> None:
    async with listening(table(), network=internet.network("b")) as server:
        stream = await dial_from(internet, server)
        assert await fetch(stream) == CIPHERTEXT
        await stream.aclose()


async def test_silent_strangers_are_cut_at_the_deadline(autojump_clock: MockClock, internet: SimInternet) -> None:
    async with listening(table(), network=internet.network("b")) as server:
        raw = await internet.network("a").connect(server.address)
        began = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            await raw.receive_some()
        assert GUEST_S <= trio.current_time() - began < GUEST_S + 1
        assert [burst.why for burst in server.refusals.recent()] == ["too slow a handshake"]


async def test_a_handshake_without_an_end_is_cut(autojump_clock: MockClock, internet: SimInternet) -> None:
    """A ClientHello that claims to be longer than any, in records that never complete it."""
    async with listening(table(), network=internet.network("b")) as server:
        raw = await internet.network("a").connect(server.address)
        record = bytes.fromhex("160301") + (1 << 14).to_bytes(2, "big")
        with pytest.raises(trio.BrokenResourceError):
            await raw.send_all(record + b"\x01\x01\xff\xff" + bytes((1 << 14) - 4))
            while True:
                await raw.send_all(record + bytes(1 << 14))
        assert server.refusals.counts[Event.HANDSHAKE] == 1
        assert await fetch(await dial_from(internet, server)) == CIPHERTEXT


async def test_silent_strangers_of_one_address_give_way_to_each_other(
    autojump_clock: MockClock, internet: SimInternet
) -> None:
    limits = ListenLimits(DoorLimits(strangers=Share(128, 2, 20.0, 60.0)))
    async with listening(table(), network=internet.network("b"), limits=limits) as server:
        idle = [await internet.network("mallory").connect(server.address) for _ in range(5)]
        await trio.sleep(1)
        assert server.refusals.counts[Event.CROWD] == 3
        assert server.doorkeeper.busy == 2
        assert await fetch(await dial_from(internet, server)) == CIPHERTEXT
        assert await fetch(await dial_from(internet, server, "mallory")) == CIPHERTEXT
        for raw in idle:
            raw.abort()


async def test_member_gets_in_while_every_place_of_strangers_is_taken(
    autojump_clock: MockClock, internet: SimInternet
) -> None:
    limits = ListenLimits(DoorLimits(strangers=Share(1, 1, 0.0, 60.0), per_s=0.0, burst=2.0))
    async with listening(table(), network=internet.network("b"), limits=limits) as server:
        await fetch(await dial_from(internet, server, "a"))  # from now on "a" is where a member lives
        await internet.network("mallory").connect(server.address)
        await trio.sleep(1)
        with pytest.raises(PeerUnavailable):
            await dial_from(internet, server, "mabel")
        assert await fetch(await dial_from(internet, server, "a")) == CIPHERTEXT


@pytest.mark.parametrize("known", [False, True])
async def test_arithmetic_of_strangers_is_done_one_in_a_round(
    autojump_clock: MockClock, internet: SimInternet, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """Else whoever is being served waits for all who send in one moment."""
    internet.delay_s = (0.5, 0.5)  # what all send at the same time arrives at the same time
    step, rounds, done = stream_module._step, Rounds(), list[int]()

    def noted(connection: SSL.Connection) -> bool:
        try:
            return step(connection)
        finally:
            if connection.get_servername():
                done.append(rounds.count)

    async with listening(table(), network=internet.network("b")) as server:
        if known:
            server.connections.known.note("mallory")
        raws = [await internet.network("mallory").connect(server.address) for _ in range(12)]
        hellos = []
        for _ in raws:
            stranger = FOLDER.dial().new_connection()
            with pytest.raises(SSL.WantReadError):
                stranger.do_handshake()
            hellos.append(stranger.bio_read(1 << 16))
        monkeypatch.setattr(stream_module, "_step", noted)
        trio.lowlevel.add_instrument(rounds)
        for raw, hello in zip(raws, hellos, strict=True):
            await raw.send_all(hello)
        await trio.sleep(2)
        trio.lowlevel.remove_instrument(rounds)
        assert len(done) == len(raws)
        most = Counter(done).most_common(1)[0][1]
        assert most > 1 if known else most == 1
        for raw in raws:
            raw.abort()


class Rounds(trio.abc.Instrument):
    """Counts the rounds of the event loop."""

    def __init__(self) -> None:
        self.count = 0

    def before_io_wait(self, timeout: float) -> None:
        self.count += 1


async def test_places_of_strangers_are_free_again(autojump_clock: MockClock, internet: SimInternet) -> None:
    limits = ListenLimits(DoorLimits(strangers=Share(1, 1, 20.0, 60.0)))
    async with listening(table(), network=internet.network("b"), limits=limits) as server:
        for members in range(3):
            await internet.network("mallory").connect(server.address)
            await trio.sleep(GUEST_S + 1)
            assert server.doorkeeper.busy == members
            assert await fetch(await dial_from(internet, server)) == CIPHERTEXT


async def test_this_devices_own_rules_cut_before_a_byte() -> None:
    rules = [AddressRule(False, parse_network("127.0.0.2"))]
    async with listening(table(), rules=rules) as server:
        denied = trio.socket.socket()
        await denied.bind(("127.0.0.2", 0))
        await denied.connect(("127.0.0.1", server.port))
        async with trio.SocketStream(denied) as stream:
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
        assert server.refusals.counts[Event.ADDRESS] == 1
        allowed = await dial(SocketNetwork(), StillClock(), server.address, FOLDER.dial())
        assert await fetch(allowed) == CIPHERTEXT
        allowed.abort()


async def test_who_only_knows_of_an_invitation_does_not_crowd_out_members(
    autojump_clock: MockClock, internet: SimInternet
) -> None:
    open_to_all = table()
    open_to_all.add_pairing("pair-7", partial(throwaway_certificate, seeded("listener")))
    limits = ListenLimits(pairings=Crowd(3, 2))

    async def knock(host: str) -> TlsStream:
        outgoing = connect_pairing("pair-7", *throwaway_certificate(seeded(host)))
        return await dial(internet.network(host), StillClock(), server.address, outgoing)

    async with listening(open_to_all, network=internet.network("b"), limits=limits) as server:
        kept = [await knock(host) for host in ("mallory", "mallory", "mallory", "mabel", "mabel")]
        await trio.sleep(1)
        assert server.refusals.counts[Event.CROWD] == 2
        assert await fetch(await dial_from(internet, server)) == CIPHERTEXT
        for stream in kept:
            stream.abort()


async def test_connections_are_bounded(autojump_clock: MockClock, internet: SimInternet) -> None:
    limits = ListenLimits(members=Crowd(512, 2))
    async with listening(table(), network=internet.network("b"), limits=limits) as server:
        streams = [await dial_from(internet, server) for _ in range(2)]
        assert await fetch(streams[0]) == CIPHERTEXT
        with pytest.raises(PeerUnavailable):
            await fetch(await dial_from(internet, server))
        assert await fetch(await dial_from(internet, server, "c")) == CIPHERTEXT


async def test_failing_handler_is_logged_and_others_go_on(
    autojump_clock: MockClock, internet: SimInternet, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail_first(connection: Connection) -> None:
        if not caplog.records:
            raise ZeroDivisionError("a bug in the handler")
        await connection.stream.send_all(b"fine")

    async with listening(table(), fail_first, network=internet.network("b")) as server:
        first = await dial_from(internet, server)
        with pytest.raises(trio.BrokenResourceError):
            await first.receive_some()
        assert "ZeroDivisionError" in caplog.text
        assert await (await dial_from(internet, server)).receive_some() == b"fine"


async def test_wrong_clock_stops_that_connection_only(autojump_clock: MockClock, internet: SimInternet) -> None:
    async with listening(table(), network=internet.network("b")) as server:
        server.clock.wall = NOW + 500 * 86400
        stream = await dial_from(internet, server)
        with pytest.raises((trio.BrokenResourceError, PeerUnavailable)):
            await fetch(stream)
        server.clock.wall = NOW
        assert await fetch(await dial_from(internet, server)) == CIPHERTEXT
        assert server.refusals.counts[Event.CLOCK] == 1


async def test_dialling_an_unknown_label(autojump_clock: MockClock, internet: SimInternet) -> None:
    async with listening(LabelTable(), network=internet.network("b")) as server:
        with pytest.raises(UnknownLabel):
            await dial_from(internet, server)


@pytest.mark.parametrize("address", ["b:1", "nowhere:5", "b", "b:x", "", ":::"])
async def test_dialling_what_is_not_there(autojump_clock: MockClock, internet: SimInternet, address: str) -> None:
    with pytest.raises(PeerUnavailable):
        await dial(internet.network("a"), StillClock(), address, FOLDER.dial())


async def test_dialling_behind_a_partition_gives_up(autojump_clock: MockClock, internet: SimInternet) -> None:
    async with listening(table(), network=internet.network("b")) as server:
        internet.partition({"a"}, {"b"})
        with pytest.raises(PeerUnavailable):
            await dial_from(internet, server)
        internet.heal()
        assert await fetch(await dial_from(internet, server)) == CIPHERTEXT


async def test_closing_the_epoch_reaches_a_client_in_the_middle_of_a_body(
    autojump_clock: MockClock, internet: SimInternet
) -> None:
    async def stream_for_ever(connection: Connection) -> None:
        while True:
            await connection.stream.send_all(bytes(1000))

    async with listening(table(), stream_for_ever, network=internet.network("b")) as server:
        client = await dial_from(internet, server)
        assert await client.receive_some()
        server.connections.close_epoch(FOLDER.folder_id, FOLDER.epoch_id)
        with pytest.raises(trio.BrokenResourceError):
            while True:
                await client.receive_some()
        with pytest.raises((TrustError, PeerUnavailable, trio.BrokenResourceError)):
            await fetch(await dial_from(internet, server))
