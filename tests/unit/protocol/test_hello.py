"""Pure. The proof of a device: it holds on its own channel and on no other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ca.device import DeviceKeys, generate
from ca.ids import EntryHash, EpochId, FolderId
from syncd.errors import TrustError
from syncd.protocol.hello import Channel, Reflection, check_hello, prove
from syncd.protocol.messages import Hello
from syncd.protocol.tls import Endpoint, Kind, Side
from tests.helpers.folders import make_folder, make_identity

FOLDER = make_folder()
HEAD = EntryHash(b"r" * 32)


def keys(number: int) -> DeviceKeys:
    return generate(lambda length: bytes([number]) * length)


ALICE, BOB = keys(1), keys(2)


def hello(device: DeviceKeys, channel: Channel, head: EntryHash = HEAD) -> Hello:
    return Hello(device.public, prove(channel, device, head), head, 3, b"l" * 16, b"d" * 32, None, (), swap=False)


def other_end(channel: Channel) -> Channel:
    return replace(
        channel,
        side=channel.side.other,
        own_certificate=channel.peer_certificate,
        peer_certificate=channel.own_certificate,
    )


CERTIFICATE = FOLDER.identity.certificate
MEMBER = Channel(
    Endpoint(Kind.MEMBER, FOLDER.label, FOLDER.folder_id, FOLDER.epoch_id, CERTIFICATE),
    Side.CLIENT,
    b"x" * 32,
    CERTIFICATE,
    CERTIFICATE,
)


def test_proof_holds_on_its_channel() -> None:
    assert check_hello(other_end(MEMBER), hello(ALICE, MEMBER), BOB.id) == ALICE.public
    assert check_hello(MEMBER, hello(BOB, other_end(MEMBER)), ALICE.id) == BOB.public


@pytest.mark.parametrize(
    "channel",
    [
        replace(MEMBER, exporter=b"y" * 32),
        replace(MEMBER, side=Side.SERVER),
        replace(MEMBER, endpoint=replace(MEMBER.endpoint, kind=Kind.VAULT)),
        replace(MEMBER, endpoint=replace(MEMBER.endpoint, folder_id=FolderId(b"f" * 32))),
        replace(MEMBER, endpoint=replace(MEMBER.endpoint, epoch_id=EpochId(b"e" * 32))),
        replace(MEMBER, own_certificate=make_identity().certificate),
    ],
    ids=["channel", "side", "kind", "folder", "epoch", "certificate"],
)
def test_proof_made_for_anything_else_is_refused(channel: Channel) -> None:
    with pytest.raises(TrustError):
        check_hello(other_end(MEMBER), hello(ALICE, channel), BOB.id)


def test_proof_of_another_device_or_roster_head_is_refused() -> None:
    said = hello(ALICE, MEMBER)
    with pytest.raises(TrustError):
        check_hello(other_end(MEMBER), replace(said, device=keys(3).public), BOB.id)
    with pytest.raises(TrustError):
        check_hello(other_end(MEMBER), replace(said, roster_head=EntryHash(b"q" * 32)), BOB.id)


def test_own_device_is_refused() -> None:
    """Our client reached our own listener, by an address we did not know to be ours."""
    with pytest.raises(Reflection):
        check_hello(other_end(MEMBER), hello(ALICE, MEMBER), ALICE.id)


def test_own_proof_sent_back_under_another_name_is_refused() -> None:
    """The server echoes the client's hello: the side it was signed for is not the server's."""
    echoed = hello(ALICE, MEMBER)
    with pytest.raises(Reflection):
        check_hello(MEMBER, echoed, ALICE.id)
    with pytest.raises(TrustError):
        check_hello(MEMBER, replace(echoed, device=BOB.public), ALICE.id)


def test_on_control_the_certificate_must_carry_the_devices_key() -> None:
    def control(device: DeviceKeys) -> Channel:
        shown = make_identity(Ed25519PrivateKey.from_private_bytes(device.tls_seed)).certificate
        endpoint = Endpoint(Kind.CONTROL, "c", FOLDER.folder_id)
        return Channel(endpoint, Side.CLIENT, b"x" * 32, shown, CERTIFICATE)

    honest = control(ALICE)
    assert check_hello(other_end(honest), hello(ALICE, honest), BOB.id) == ALICE.public
    stolen = control(keys(3))  # the signing key of one device under the certificate of another
    with pytest.raises(TrustError, match="certificate"):
        check_hello(other_end(stolen), hello(ALICE, stolen), BOB.id)
