from __future__ import annotations

from dataclasses import replace

import pytest

from ca.codec import decode_untrusted, encode
from ca.errors import CodecError, TrustError
from ca.ids import DeviceId, EntryHash, FolderId
from ca.wraps import (
    HpkeSealer,
    Payload,
    Sealer,
    Share,
    WrapProof,
    WrapTree,
    check_wrap,
    payload_untrusted,
    wrap_info,
    wrap_proof_untrusted,
)
from tests.helpers.rosters import keys_of
from tests.helpers.sealer import SimulationSealer

ANN, BOB = keys_of("ann"), keys_of("bob")
FOLDER, PREVIOUS = FolderId(b"f" * 32), EntryHash(b"p" * 32)
INFO = wrap_info(FOLDER, PREVIOUS, ANN.id, b"member", b"vault")

sealers = pytest.mark.parametrize("sealer", [HpkeSealer(), SimulationSealer()], ids=["hpke", "simulation"])


@sealers
def test_recipient_opens_what_was_sealed_to_it(sealer: Sealer) -> None:
    assert sealer.open(ANN.seal_seed, sealer.seal(ANN.public.seal, b"secret", INFO), INFO) == b"secret"


@sealers
def test_other_device_cannot_open(sealer: Sealer) -> None:
    with pytest.raises(TrustError):
        sealer.open(BOB.seal_seed, sealer.seal(ANN.public.seal, b"secret", INFO), INFO)


OTHER_PLACES = {
    "folder": wrap_info(FolderId(b"o" * 32), PREVIOUS, ANN.id, b"member", b"vault"),
    "place in the roster": wrap_info(FOLDER, EntryHash(b"o" * 32), ANN.id, b"member", b"vault"),
    "recipient": wrap_info(FOLDER, PREVIOUS, BOB.id, b"member", b"vault"),
    "member certificate": wrap_info(FOLDER, PREVIOUS, ANN.id, b"Member", b"vault"),
    "vault certificate": wrap_info(FOLDER, PREVIOUS, ANN.id, b"member", b"Vault"),
    "border between the certificates": wrap_info(FOLDER, PREVIOUS, ANN.id, b"memberv", b"ault"),
}


@sealers
@pytest.mark.parametrize("info", OTHER_PLACES.values(), ids=OTHER_PLACES.keys())
def test_wrap_opens_in_its_own_place_only(sealer: Sealer, info: bytes) -> None:
    with pytest.raises(TrustError):
        sealer.open(ANN.seal_seed, sealer.seal(ANN.public.seal, b"secret", INFO), info)


@sealers
def test_changed_or_shortened_wrap_is_refused(sealer: Sealer) -> None:
    wrap = sealer.seal(ANN.public.seal, b"secret", INFO)
    for wrong in (b"", wrap[:-1], wrap + b"\x00", bytes([wrap[0] ^ 1]) + wrap[1:], wrap[:-1] + bytes([wrap[-1] ^ 1])):
        with pytest.raises(TrustError):
            sealer.open(ANN.seal_seed, wrong, INFO)


@pytest.mark.parametrize("seal_public", [b"\xff" * 1216, ANN.public.seal[:-32] + bytes(32)])
def test_unusable_key_is_refused_as_untrusted(seal_public: bytes) -> None:
    with pytest.raises(TrustError):
        HpkeSealer().seal(seal_public, b"secret", INFO)


@pytest.mark.parametrize("share", Share)
def test_payload_comes_back(share: Share) -> None:
    payload = Payload(share, b"e" * 32, b"f" * 32)
    assert payload_untrusted(payload.encode()) == payload


@pytest.mark.parametrize(
    "value", [(3, bytes(32), bytes(32)), (2, bytes(31), bytes(32)), (2, bytes(32)), (2, bytes(32), bytes(33)), 2]
)
def test_malformed_payload_is_refused(value: object) -> None:
    with pytest.raises(CodecError):
        payload_untrusted(encode(value))  # type: ignore[arg-type]


def wraps_for(count: int) -> dict[DeviceId, bytes]:
    return {DeviceId(bytes([number]) * 32): b"wrap %d" % number for number in range(count)}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 33])
def test_every_wrap_is_proved(count: int) -> None:
    wraps = wraps_for(count)
    tree = WrapTree(wraps)
    for recipient, wrap in wraps.items():
        proof = wrap_proof_untrusted(decode_untrusted(encode(tree.proof(recipient).encodable()), max_bytes=1024))
        check_wrap(tree.root, count, recipient, wrap, proof)


@pytest.mark.parametrize("count", [2, 5, 8])
def test_what_is_not_in_the_tree_is_refused(count: int) -> None:
    wraps = wraps_for(count)
    tree, first, second = WrapTree(wraps), DeviceId(bytes(32)), DeviceId(b"\x01" * 32)
    proof = tree.proof(first)
    refused: list[tuple[bytes, int, DeviceId, bytes, WrapProof]] = [
        (tree.root, count, first, b"other wrap", proof),
        (tree.root, count, second, wraps[first], proof),
        (tree.root, count, first, wraps[first], tree.proof(second)),
        (bytes(32), count, first, wraps[first], proof),
        (tree.root, count + 1, first, wraps[first], proof),
        (tree.root, count, first, wraps[first], replace(proof, steps=proof.steps[:-1])),
        (tree.root, count, first, wraps[first], replace(proof, steps=(*proof.steps, bytes(32)))),
        (tree.root, count, first, wraps[first], replace(proof, index=1)),
    ]
    for arguments in refused:
        with pytest.raises(TrustError):
            check_wrap(*arguments)


def test_proof_that_ends_early_is_named_as_such() -> None:
    tree, first = WrapTree(wraps_for(5)), DeviceId(bytes(32))
    proof = tree.proof(first)
    with pytest.raises(TrustError, match="too short"):
        check_wrap(tree.root, 5, first, b"wrap 0", replace(proof, steps=proof.steps[:-1]))


def test_inner_node_does_not_pass_for_a_leaf() -> None:
    tree = WrapTree(wraps_for(4))
    left = tree.proof(DeviceId(b"\x02" * 32)).steps[-1]
    with pytest.raises(TrustError):
        check_wrap(tree.root, 4, DeviceId(left), b"", WrapProof(0, 4, (left,)))


@pytest.mark.parametrize("value", [[1, 1, []], [0, 0, []], [0, 1, [bytes(31)]], [0, 1, [bytes(32)] * 16], [0, 1], None])
def test_malformed_proof_is_refused(value: object) -> None:
    with pytest.raises(CodecError):
        wrap_proof_untrusted(value)


def test_who_has_no_wrap_has_no_proof() -> None:
    with pytest.raises(KeyError):
        WrapTree(wraps_for(2)).proof(ANN.id)


def test_tree_of_nothing_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="recipients"):
        WrapTree({})
