"""Async. Every rule of the handshake: each refusal stands beside a partner that differs in one thing and works.

The attackers here are OpenSSL contexts made by hand: they do what our own dialling side would never do.
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import OpenSSL.version
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto

from ca.values import dataclass
from syncd.errors import ConfigError, PeerUnavailable, RemoteProtocolError, TrustError
from syncd.http import Client
from syncd.net.dial import dial
from syncd.net.sockets import SocketNetwork
from syncd.net.stream import TlsStream, _shake_hands, accept_tls, connect_tls
from syncd.protocol import tls
from tests.helpers.folders import NOW, Folder, Identity, make_device_identity, make_folder, make_identity
from tests.helpers.listener import CIPHERTEXT, StillClock, listening
from tests.helpers.pipes import pipe_pair, shake_hands

FOLDER = make_folder(1)
OTHER = make_folder(2)
BLOCK = "/v1/blocks/" + "00" * 32


def attacker(
    identity: Identity | None,
    label: str | None = FOLDER.label,
    *,
    version: int = SSL.TLS1_3_VERSION,
    alpn: list[bytes] | None = None,
) -> SSL.Connection:
    """A client that believes any server."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    if identity is not None:
        context.use_certificate(x509.load_der_x509_certificate(identity.certificate))
        context.use_privatekey(identity.key)
    context.set_alpn_protos([tls.ALPN] if alpn is None else alpn) if alpn != [] else None
    connection = SSL.Connection(context, None)
    if label is not None:
        connection.set_tlsext_host_name(label.encode())
    connection.set_connect_state()
    return connection


@dataclass(frozen=True, slots=True)
class Handmade(tls.Outgoing):
    """Dials with a connection made by hand."""

    connection: SSL.Connection | None = None

    def new_connection(self) -> SSL.Connection:
        assert self.connection is not None
        return self.connection


def folder_table(*folders: Folder) -> tls.LabelTable:
    table = tls.LabelTable()
    for folder in folders or (FOLDER, OTHER):
        folder.serve(table)
    return table


async def knock(client: SSL.Connection, table: tls.LabelTable, now: float = NOW) -> Exception | None:
    """Shake hands with `client`; what the server raised, or None. A refused client has not received a byte."""
    left, right = pipe_pair()
    refusal: Exception | None = None
    received: list[bytes] = []

    async def attack() -> None:
        endpoint = tls.Endpoint(tls.Kind.PAIRING, FOLDER.label)
        try:
            stream = await connect_tls(left, Handmade(endpoint, client.get_context(), connection=client), now)
            received.append(await stream.receive_some())
        except (TrustError, PeerUnavailable, trio.BrokenResourceError, trio.ClosedResourceError):
            left.abort()  # refused during the handshake, or right behind it

    async with trio.open_nursery() as nursery:
        nursery.start_soon(attack)
        try:
            stream = await accept_tls(right, table, now)
            await stream.send_all(b"welcome")
            await stream.aclose()
        except TrustError as error:
            refusal = error
    assert bool(received) is (refusal is None)
    return refusal


async def test_folder_certificate_is_accepted() -> None:
    """The partner of all refusals below."""
    assert await knock(attacker(FOLDER.identity), folder_table()) is None


async def test_no_client_certificate_is_refused() -> None:
    assert "did not return a certificate" in str(await knock(attacker(None), folder_table()))


async def test_certificate_of_another_folder_is_refused() -> None:
    assert isinstance(await knock(attacker(OTHER.identity), folder_table()), TrustError)


async def test_certificate_of_another_folder_is_accepted_there() -> None:
    assert await knock(attacker(OTHER.identity, OTHER.label), folder_table()) is None


async def test_child_of_the_folder_certificate_is_refused() -> None:
    child = make_identity(issuer=FOLDER.identity, name="mallory")
    assert isinstance(await knock(attacker(child), folder_table()), TrustError)


async def test_child_of_a_folder_certificate_that_is_an_authority_is_refused() -> None:
    """Chain validation lets it pass, so the exact comparison behind the handshake must not."""
    authority = make_folder(3, identity=make_identity(is_authority=True))
    child = make_identity(issuer=authority.identity, name="mallory")
    refusal = await knock(attacker(child, authority.label), folder_table(authority))
    assert "another certificate" in str(refusal)
    assert await knock(attacker(authority.identity, authority.label), folder_table(authority)) is None


async def test_same_name_with_another_key_is_refused() -> None:
    assert isinstance(await knock(attacker(make_identity()), folder_table()), TrustError)


async def test_same_key_in_another_certificate_is_refused() -> None:
    assert isinstance(await knock(attacker(make_identity(FOLDER.identity.key)), folder_table()), TrustError)


async def test_device_certificate_on_a_folder_label_is_refused() -> None:
    assert isinstance(await knock(attacker(make_device_identity()), folder_table()), TrustError)


@pytest.mark.parametrize("version", [0x22, 0x00, 0x7F])
async def test_certificate_that_only_openssl_can_read_ends_its_connection_and_no_other(version: int) -> None:
    """On labels where unknown certificates belong, anybody can show one whose version does not exist."""
    device = make_device_identity()
    strange = device.certificate.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01" + bytes([version]), 1)
    assert strange != device.certificate
    table = folder_table()
    table.add_control("control1", FOLDER.folder_id, device.certificate, device.key)
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_privatekey(device.key)
    with pytest.warns(DeprecationWarning):  # the newer way in would refuse to read it
        context.use_certificate(crypto.load_certificate(crypto.FILETYPE_ASN1, strange))
    async with listening(table) as server:
        client = SSL.Connection(context, None)
        client.set_tlsext_host_name(b"control1")
        client.set_connect_state()
        endpoint = tls.Endpoint(tls.Kind.PAIRING, "control1")
        raw = await SocketNetwork().connect(server.address)
        with contextlib.suppress(TrustError, PeerUnavailable, RemoteProtocolError):
            stream = await connect_tls(raw, Handmade(endpoint, client.get_context(), connection=client), NOW)
            stream.abort()
        member = await dial(SocketNetwork(), StillClock(), server.address, FOLDER.dial())
        reply = await Client(member, host=FOLDER.label).request("GET", BLOCK)
        assert await reply.body.read(1 << 20) == CIPHERTEXT
        member.abort()


async def test_tls_1_2_is_refused() -> None:
    client = attacker(FOLDER.identity, version=SSL.TLS1_2_VERSION)
    assert isinstance(await knock(client, folder_table()), TrustError)


@pytest.mark.parametrize("label", [None, "f09e09", FOLDER.label.upper(), FOLDER.label + ".", "127.0.0.1", "x" * 255])
async def test_unknown_or_missing_name_is_refused(label: str | None) -> None:
    assert isinstance(await knock(attacker(FOLDER.identity, label), folder_table()), tls.UnknownLabel)


async def test_refused_names_do_not_reach_the_excepthook(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyOpenSSL prints every exception of the SNI callback; a scan of the port must not fill a log."""
    printed: list[Any] = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: printed.append(error))
    for label in (None, "nobody", "x" * 200):
        await knock(attacker(FOLDER.identity, label), folder_table())
    assert printed == []


async def test_failing_name_callback_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[Any] = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: printed.append(error))
    table = folder_table()
    monkeypatch.setattr(table, "_entries", None)
    assert isinstance(await knock(attacker(FOLDER.identity), table), TrustError)
    assert len(printed) == 1


async def test_failing_protocol_callback_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> bytes:
        raise RuntimeError("a bug in the callback")

    monkeypatch.setattr(tls, "_select_alpn", fail)
    table = folder_table()
    with pytest.raises((ExceptionGroup, RuntimeError)):
        await knock(attacker(FOLDER.identity), table)


async def test_removed_label_is_refused_and_a_new_one_works() -> None:
    table = folder_table()
    rotated = make_folder(1, epoch=2)
    table.remove(FOLDER.label)
    rotated.serve(table)
    assert isinstance(await knock(attacker(FOLDER.identity), table), tls.UnknownLabel)
    assert await knock(attacker(rotated.identity, rotated.label), table) is None


async def test_old_certificate_on_the_new_label_is_refused() -> None:
    table = folder_table()
    rotated = make_folder(1, epoch=2)
    rotated.serve(table)
    assert isinstance(await knock(attacker(FOLDER.identity, rotated.label), table), TrustError)


@pytest.mark.parametrize("days", [-3, 398])
async def test_certificate_outside_its_dates_is_refused_with_advice(days: int) -> None:
    refusal = await knock(attacker(FOLDER.identity), folder_table(), NOW + days * 86400)
    assert isinstance(refusal, tls.WrongDates)
    assert (refusal.id, bool(refusal.fix)) == ("SY-CLOCK-01", True)


@pytest.mark.parametrize("days", [-1, 396])
async def test_certificate_inside_its_dates_works(days: int) -> None:
    assert await knock(attacker(FOLDER.identity), folder_table(), NOW + days * 86400) is None


# --- control and pairing labels ------------------------------------------------------------------------------------


def control_table(device: Identity) -> tls.LabelTable:
    table = folder_table()
    table.add_control("c-label", FOLDER.folder_id, device.certificate, device.key)
    table.add_pairing("pair-7", lambda: _parts(make_identity(ec.generate_private_key(ec.SECP256R1()))))
    return table


def _parts(identity: Identity) -> tuple[bytes, tls.PrivateKey]:
    return identity.certificate, identity.key


@pytest.mark.parametrize("label", ["c-label", "pair-7"])
async def test_unknown_certificate_is_let_through_to_its_hello(label: str) -> None:
    table = control_table(make_device_identity())
    assert await knock(attacker(make_device_identity(), label), table) is None
    assert await knock(attacker(None, label), table) is not None


async def test_control_label_in_the_table_does_not_open_folders() -> None:
    """On the dispatcher the permissive callback would let strangers into folders."""
    table = control_table(make_device_identity())
    assert await knock(attacker(make_device_identity(), "c-label"), table) is None
    assert await knock(attacker(make_device_identity(), FOLDER.label), table) is not None


async def test_control_labels_of_all_folders_share_a_context_and_each_leads_to_its_own_folder() -> None:
    """A thousand folders have a thousand of them; what they present is the same, what they stand for is not."""
    device, other = make_device_identity(), OTHER
    table = control_table(device)
    assert isinstance(device.key, ed25519.Ed25519PrivateKey)
    again = ed25519.Ed25519PrivateKey.from_private_bytes(device.key.private_bytes_raw())  # as each who asks for it gets
    table.add_control("d-label", other.folder_id, device.certificate, again)
    (_, one), (_, two) = table._entries["c-label"], table._entries["d-label"]
    assert one() is two()
    for label, folder in (("c-label", FOLDER), ("d-label", other), ("c-label", FOLDER)):
        outgoing = tls.connect_control(label, folder.folder_id, device.certificate, device.key)
        _, server = await shake_hands(outgoing, table)
        assert (server.endpoint.kind, server.endpoint.folder_id) == (tls.Kind.CONTROL, folder.folder_id)
    table.remove("c-label")
    assert await knock(attacker(make_device_identity(), "c-label"), table) is not None
    assert await knock(attacker(make_device_identity(), "d-label"), table) is None
    replaced = make_device_identity()
    table.add_control("e-label", other.folder_id, replaced.certificate, replaced.key)
    assert table._entries["e-label"][1]() is not two()


async def test_a_context_is_made_by_the_first_call_and_serves_all_that_follow() -> None:
    """A thousand folders would have a thousand of them, of which few are called."""
    made: list[bytes] = []
    real = tls._pinned_context

    def noted(certificate: bytes, key: tls.PrivateKey) -> SSL.Context:
        made.append(certificate)
        return real(certificate, key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tls, "_pinned_context", noted)
        table = folder_table()
        assert made == []
        for _ in range(2):
            assert await knock(attacker(FOLDER.identity), table) is None
    assert made == [FOLDER.identity.certificate]


async def test_the_certificate_of_an_invitation_is_made_by_the_first_call_and_stays() -> None:
    made: list[Identity] = []

    def make() -> tuple[bytes, tls.PrivateKey]:
        made.append(make_device_identity())
        return _parts(made[-1])

    table = folder_table()
    table.add_pairing("pair-8", make)
    assert made == []
    for _ in range(2):
        assert await knock(attacker(make_device_identity(), "pair-8"), table) is None
    assert len(made) == 1


async def test_a_context_that_cannot_be_made_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of another certificate: nobody gets in, and nothing is served in its stead."""
    printed: list[Any] = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: printed.append(error))
    table = folder_table()
    table.add_member(FOLDER.label, FOLDER.folder_id, FOLDER.epoch_id, FOLDER.identity.certificate, OTHER.identity.key)
    for _ in range(2):
        assert await knock(attacker(FOLDER.identity), table) is not None
    assert len(printed) == 2


# --- the dialling side ---------------------------------------------------------------------------------------------


async def meet(outgoing: tls.Outgoing, table: tls.LabelTable) -> TlsStream:
    client, _ = await shake_hands(outgoing, table)
    return client


async def refused(outgoing: tls.Outgoing, table: tls.LabelTable) -> tuple[BaseException, bytes]:
    """What our dialling side raised, and what it had sent beyond its first message."""
    left, right = pipe_pair()
    raised: list[BaseException] = []

    async def listen() -> None:
        try:
            await accept_tls(right, table, NOW)
        except (TrustError, PeerUnavailable):
            return  # the client went away

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        try:
            await connect_tls(left, outgoing, NOW)
        except (TrustError, PeerUnavailable) as error:
            raised.append(error)
    return raised[0], bytes(left.sent)


async def test_listener_with_another_certificate_is_refused() -> None:
    impostor = replace(FOLDER, identity=make_identity())
    error, sent = await refused(FOLDER.dial(), folder_table(impostor))
    assert isinstance(error, TrustError)
    assert FOLDER.identity.certificate not in sent


async def test_listener_with_a_child_certificate_is_refused() -> None:
    authority = make_folder(3, identity=make_identity(is_authority=True))
    impostor = replace(authority, identity=make_identity(issuer=authority.identity))
    error, _ = await refused(authority.dial(), folder_table(impostor))
    assert isinstance(error, TrustError)


async def test_certificate_of_an_authority_that_the_system_trusts_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a folder's certificate is stands in its roster alone; the list of the operating system is never asked."""
    authority = make_identity(is_authority=True)
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(x509.load_der_x509_certificate(authority.certificate).public_bytes(Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    impostor = replace(FOLDER, identity=make_identity(issuer=authority))
    error, sent = await refused(FOLDER.dial(), folder_table(impostor))
    assert isinstance(error, TrustError)
    assert FOLDER.identity.certificate not in sent
    assert (await meet(FOLDER.dial(), folder_table(FOLDER))).endpoint.kind is tls.Kind.MEMBER  # the partner


async def test_unknown_label_is_told_apart() -> None:
    error, _ = await refused(OTHER.dial(), folder_table(FOLDER))
    assert isinstance(error, tls.UnknownLabel)


async def test_control_listener_with_another_key_is_refused() -> None:
    device, stranger, ours = make_device_identity(), make_device_identity(), make_device_identity()
    right_key = tls.certificate_key_untrusted(device.certificate)
    outgoing = tls.connect_control("c-label", FOLDER.folder_id, *_parts(ours), peer_key=right_key)
    assert (await meet(outgoing, control_table(device))).endpoint.kind is tls.Kind.CONTROL
    error, _ = await refused(outgoing, control_table(stranger))
    assert isinstance(error, TrustError)


async def test_listener_without_our_protocol_is_refused() -> None:
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate(x509.load_der_x509_certificate(FOLDER.identity.certificate))
    context.use_privatekey(FOLDER.identity.key)
    left, right = pipe_pair()
    server = SSL.Connection(context, None)
    server.set_accept_state()

    async def listen() -> None:
        with pytest.raises(SSL.WantReadError):
            server.do_handshake()
        server.bio_write(await right.receive_some())
        with pytest.raises(SSL.WantReadError):
            server.do_handshake()
        await right.send_all(server.bio_read(1 << 16))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        with pytest.raises(TrustError, match="syncd/1"):
            await connect_tls(left, FOLDER.dial(), NOW)


# --- without our protocol: curl -----------------------------------------------------------------------------------


async def ask(client: SSL.Connection, requests: list[tuple[str, str]]) -> list[int]:
    async with listening(control_table(make_device_identity())) as server:
        endpoint = tls.Endpoint(tls.Kind.PAIRING, FOLDER.label)
        raw = await SocketNetwork().connect(server.address)
        statuses = []
        stream = await _connect_without_protocol_check(raw, client, endpoint)
        for method, target in requests:
            reply = await Client(stream, host=FOLDER.label).request(method, target)
            statuses.append(reply.status)
            await reply.body.read(1 << 20)
        await stream.aclose()
        return statuses


async def _connect_without_protocol_check(raw: Any, client: SSL.Connection, endpoint: tls.Endpoint) -> TlsStream:
    await _shake_hands(raw, client)
    return TlsStream(raw, client, endpoint, tls.Side.CLIENT)


@pytest.mark.parametrize("alpn", [[], [b"http/1.1"], [b"h2", b"http/1.1"]])
async def test_client_without_our_protocol_gets_single_blocks_only(alpn: list[bytes]) -> None:
    statuses = await ask(
        attacker(FOLDER.identity, alpn=alpn),
        [("GET", BLOCK), ("GET", "/v1/heads/0"), ("POST", "/v1/hello"), ("POST", "/v1/blocks")],
    )
    assert statuses == [200, 403, 403, 403]


async def test_client_with_our_protocol_may_say_hello() -> None:
    assert await ask(attacker(FOLDER.identity), [("GET", BLOCK), ("POST", "/v1/hello")]) == [200, 200]


async def test_member_gets_a_block_over_a_socket() -> None:
    async with listening(folder_table()) as server:
        stream = await dial(SocketNetwork(), server.clock, server.address, FOLDER.dial())
        reply = await Client(stream, host=FOLDER.label).request("GET", BLOCK)
        assert await reply.body.read(1 << 20) == CIPHERTEXT
        await stream.aclose()


def test_too_old_library_is_a_matter_of_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenSSL.version, "__version__", "25.3.0")
    with pytest.raises(ConfigError):
        tls.LabelTable()


async def test_reset_at_any_moment_of_the_handshake_leaves_nothing_behind() -> None:
    client = FOLDER.dial().new_connection()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    first_flight = client.bio_read(1 << 16)
    async with listening(folder_table()) as server:
        for length in range(0, len(first_flight) + 1, 97):
            raw = await SocketNetwork().connect(server.address)
            await raw.send_all(first_flight[:length])
            raw.abort()
        raw = await SocketNetwork().connect(server.address)
        await raw.send_all(first_flight)
        assert await raw.receive_some(100)  # the server's flight has begun
        raw.abort()
        stream = await dial(SocketNetwork(), server.clock, server.address, FOLDER.dial())
        reply = await Client(stream, host=FOLDER.label).request("GET", BLOCK)
        assert await reply.body.read(1 << 20) == CIPHERTEXT
        await stream.aclose()
        with trio.fail_after(10):
            while server.doorkeeper.busy:  # noqa: ASYNC110 - the kernel decides when a reset is noticed
                await trio.sleep(0.005)
