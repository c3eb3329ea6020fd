"""Async. The hello on real channels: whoever relays, reflects or replays it is refused; the honest partner is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from trio.testing import MockClock

from ca.device import DeviceKeys, PublicDevice, generate
from ca.ids import EntryHash
from syncd.errors import TrustError
from syncd.http import Body, Client, Response, serve
from syncd.net.connections import Connection
from syncd.net.dial import dial
from syncd.net.stream import TlsStream
from syncd.protocol import tls
from syncd.protocol.hello import Reflection, check_hello, prove
from syncd.protocol.messages import Hello
from syncd.protocol.requests import Request, Route, request_untrusted, target_of
from tests.helpers.folders import Identity, make_folder, make_identity
from tests.helpers.listener import StillClock, listening
from tests.helpers.pipes import shake_hands, tls_pair
from tests.helpers.simnet import SimInternet

FOLDER = make_folder()
HEAD = EntryHash(b"r" * 32)


def keys(number: int) -> DeviceKeys:
    return generate(lambda length: bytes([number]) * length)


ALICE, BOB, MALLORY = keys(1), keys(2), keys(3)


def hello(device: DeviceKeys, stream: TlsStream, *, swap: bool = False) -> Hello:
    proof = prove(stream.channel(), device, HEAD)
    return Hello(device.public, proof, HEAD, 0, b"l" * 16, b"d" * 32, None, (), swap=swap)


def check(stream: TlsStream, said: Hello, own: DeviceKeys) -> PublicDevice:
    """As it is on the wire: encoded and decoded."""
    return check_hello(stream.channel(), Hello.decode_untrusted(said.encode()), own.id)


async def test_both_ends_prove_their_devices() -> None:
    client, server = await tls_pair(FOLDER)
    assert check(server, hello(ALICE, client), BOB) == ALICE.public
    assert check(client, hello(BOB, server), ALICE) == BOB.public


async def test_member_in_the_middle_cannot_pass_on_the_hello_of_another() -> None:
    """Mallory has the folder's certificate, so both her channels stand; but they are two."""
    alice, mallory_as_server = await tls_pair(FOLDER)
    mallory_as_client, bob = await tls_pair(FOLDER)
    relayed = hello(ALICE, alice)
    with pytest.raises(TrustError):
        check(bob, relayed, BOB)
    assert check(bob, hello(MALLORY, mallory_as_client), BOB) == MALLORY.public
    assert check(mallory_as_server, relayed, MALLORY) == ALICE.public


async def test_hello_of_an_earlier_connection_is_refused() -> None:
    earlier, _ = await tls_pair(FOLDER)
    _, server = await tls_pair(FOLDER)
    with pytest.raises(TrustError):
        check(server, hello(ALICE, earlier), BOB)


async def test_own_listener_is_recognised() -> None:
    """Both ends have the folder's certificate, so TLS alone lets us talk to ourselves."""
    client, server = await tls_pair(FOLDER)
    with pytest.raises(Reflection):
        check(server, hello(ALICE, client), ALICE)
    with pytest.raises(Reflection):
        check(client, hello(ALICE, client), ALICE)  # our own words sent back
    with pytest.raises(TrustError):
        check(client, replace(hello(ALICE, client), device=BOB.public), ALICE)


# --- control connections -------------------------------------------------------------------------------------------


def device_identity(device: DeviceKeys) -> Identity:
    return make_identity(Ed25519PrivateKey.from_private_bytes(device.tls_seed))


async def control_pair(client: Identity, server: Identity) -> tuple[TlsStream, TlsStream]:
    table = tls.LabelTable()
    table.add_control("c", FOLDER.folder_id, server.certificate, server.key)
    return await shake_hands(tls.connect_control("c", FOLDER.folder_id, client.certificate, client.key), table)


async def test_control_hello_belongs_to_the_certificate() -> None:
    client, server = await control_pair(device_identity(ALICE), device_identity(BOB))
    assert check(server, hello(ALICE, client), BOB) == ALICE.public
    assert check(client, hello(BOB, server), ALICE) == BOB.public
    for stream, said, own in ((server, hello(MALLORY, client), BOB), (client, hello(MALLORY, server), ALICE)):
        with pytest.raises(TrustError, match="certificate"):
            check(stream, said, own)


# --- a node that cannot listen -------------------------------------------------------------------------------------


async def test_node_that_cannot_listen_is_asked_on_the_connection_it_dialled(autojump_clock: MockClock) -> None:
    internet = SimInternet(seed=11)
    table = tls.LabelTable()
    FOLDER.serve(table)
    asked: list[str] = []

    async def as_bob(connection: Connection) -> None:
        stream = connection.stream

        async def answer(request: Request, body: Body) -> Response:
            said = Hello.decode_untrusted(await body.read(request.content_length))
            assert check_hello(stream.channel(), said, BOB.id) == ALICE.public
            return Response(200, hello(BOB, stream, swap=said.swap).encode(), swap=said.swap)

        assert await serve(stream, answer, admit=lambda head: request_untrusted(head, FOLDER.label))
        client = Client(stream, host=FOLDER.label)
        for number in range(3):
            reply = await client.request("GET", target_of(Route.HEADS, number=number))
            asked.append((await reply.body.read(100)).decode())

    async def answer_as_alice(request: Request, _body: Body) -> Response:
        return Response(200, f"alice after {request.number}".encode())

    async with listening(table, as_bob, network=internet.network("bob")) as server:
        stream = await dial(internet.network("alice"), StillClock(), server.address, FOLDER.dial())
        client = Client(stream, host=FOLDER.label)
        reply = await client.request("POST", "/v1/hello", body=hello(ALICE, stream, swap=True).encode())
        answered = Hello.decode_untrusted(await reply.body.read(1 << 15))
        assert check_hello(stream.channel(), answered, ALICE.id) == BOB.public
        assert answered.swap
        swapped = await serve(
            stream,
            answer_as_alice,
            admit=lambda head: request_untrusted(head, FOLDER.label),
            rest=client.hand_over(),
        )
        assert swapped is False
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
    assert asked == ["alice after 0", "alice after 1", "alice after 2"]
