from __future__ import annotations

import itertools

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ca.ids import EpochId, FolderId
from syncd.model.cipher import MAX_BLOCK_BYTES, BlockCipher, BlockKind, BlockRefused, Padding, padded_length
from syncd.model.ids import Pid
from tests.helpers.model_values import cipher, id32

PLAIN = bytes(range(256)) * 20
every_kind = pytest.mark.parametrize("kind", BlockKind)
every_padding = pytest.mark.parametrize("padding", Padding)


@every_kind
@every_padding
def test_what_is_sealed_opens(kind: BlockKind, padding: Padding) -> None:
    one = cipher(padding=padding)
    sealed = one.seal(kind, PLAIN)
    target = memoryview(bytearray(len(PLAIN)))
    one.open_into_untrusted(kind, sealed.pid, len(PLAIN), sealed.ciphertext, target)
    assert target == PLAIN
    assert one.open_untrusted(kind, sealed.pid, len(PLAIN), sealed.ciphertext) == PLAIN
    assert len(sealed.ciphertext) == one.sealed_length(len(PLAIN))


def test_a_ciphertext_follows_from_the_formulas_of_the_format() -> None:
    """Written out once more without the module under test, as another implementation would."""
    folder, epoch, id_key, content_key = id32(1), id32(2), id32(3), id32(4)
    pid_key = blake3(id_key, derive_key_context="syncd/1 pid data").digest()
    pid = blake3(PLAIN, key=pid_key).digest()
    message = b"\x01" + b"\x01" + folder + epoch + pid + len(PLAIN).to_bytes(4, "big")
    key_and_nonce = blake3(message, key=content_key).digest(44)
    ciphertext = AESGCM(key_and_nonce[:32]).encrypt(key_and_nonce[32:], PLAIN, None)

    one = BlockCipher(FolderId(folder), EpochId(epoch), id_key=id_key, content_key=content_key, metadata_key=id32(5))
    assert one.seal(BlockKind.DATA, PLAIN).ciphertext == ciphertext


def test_every_member_makes_the_same_ciphertext() -> None:
    assert bytes(cipher().seal(BlockKind.DATA, PLAIN).ciphertext) == bytes(
        cipher().seal(BlockKind.DATA, bytearray(PLAIN)).ciphertext
    )


def test_a_cid_is_the_plain_hash_of_the_ciphertext() -> None:
    sealed = cipher().seal(BlockKind.DATA, PLAIN)
    assert sealed.cid == blake3(sealed.ciphertext).digest()


def test_a_pid_is_the_same_in_every_epoch_and_the_ciphertext_is_not() -> None:
    first, second = cipher(epoch=1), cipher(epoch=2)
    one, other = first.seal(BlockKind.DATA, PLAIN), second.seal(BlockKind.DATA, PLAIN)
    assert one.pid == other.pid == first.pid(BlockKind.DATA, PLAIN)
    assert one.cid != other.cid


def test_kinds_share_neither_pid_nor_ciphertext() -> None:
    one = cipher()
    sealed = [one.seal(kind, PLAIN) for kind in BlockKind]
    assert len({each.pid for each in sealed}) == len({each.cid for each in sealed}) == len(BlockKind)


def test_every_secret_and_name_enters_the_ciphertext() -> None:
    def cid(folder: int = 1, epoch: int = 2, id_key: int = 3, content_key: int = 4) -> bytes:
        one = BlockCipher(
            FolderId(id32(folder)),
            EpochId(id32(epoch)),
            id_key=id32(id_key),
            content_key=id32(content_key),
            metadata_key=id32(5),
        )
        return one.seal(BlockKind.DATA, PLAIN).cid

    assert len({cid(), cid(folder=9), cid(epoch=9), cid(id_key=9), cid(content_key=9)}) == 5


def test_changesets_are_under_the_metadata_key() -> None:
    def cid(kind: BlockKind, metadata_key: int) -> bytes:
        one = BlockCipher(
            FolderId(id32(1)), EpochId(id32(2)), id_key=id32(3), content_key=id32(4), metadata_key=id32(metadata_key)
        )
        return one.seal(kind, PLAIN).cid

    differs = {kind: cid(kind, 5) != cid(kind, 6) for kind in BlockKind}
    assert differs == {
        BlockKind.DATA: False,
        BlockKind.LIST: False,
        BlockKind.CHANGESET: True,
        BlockKind.CHECKPOINT: True,
    }


def test_blocks_that_differ_never_share_key_and_nonce() -> None:
    # With one key and nonce, two ciphertexts would differ exactly where the plaintexts do.
    one = cipher()
    first = bytes(one.seal(BlockKind.DATA, b"a" * 64).ciphertext[:64])
    second = bytes(one.seal(BlockKind.DATA, b"b" + b"a" * 63).ciphertext[:64])
    assert sum(x == y for x, y in zip(first, second, strict=True)) < 16


@every_padding
def test_every_flipped_bit_is_refused(padding: Padding) -> None:
    one = cipher(padding=padding)
    sealed = one.seal(BlockKind.DATA, b"some bytes of a file")
    ciphertext = bytes(sealed.ciphertext)
    for at, bit in itertools.product(range(len(ciphertext)), range(8)):
        forged = bytearray(ciphertext)
        forged[at] ^= 1 << bit
        with pytest.raises(BlockRefused):
            one.open_untrusted(BlockKind.DATA, sealed.pid, 20, forged)
    assert one.open_untrusted(BlockKind.DATA, sealed.pid, 20, ciphertext) == b"some bytes of a file"


def test_a_block_is_refused_under_another_name() -> None:
    one = cipher()
    sealed = one.seal(BlockKind.DATA, PLAIN)
    ciphertext = bytes(sealed.ciphertext)
    other_pid = one.pid(BlockKind.DATA, b"other")
    with pytest.raises(BlockRefused):
        one.open_untrusted(BlockKind.DATA, other_pid, len(PLAIN), ciphertext)
    with pytest.raises(BlockRefused):
        one.open_untrusted(BlockKind.LIST, sealed.pid, len(PLAIN), ciphertext)
    with pytest.raises(BlockRefused):
        cipher(epoch=2).open_untrusted(BlockKind.DATA, sealed.pid, len(PLAIN), ciphertext)


@pytest.mark.parametrize("length", [-1, 0, 19, 21, MAX_BLOCK_BYTES + 1, 1 << 64])
def test_a_wrong_length_is_refused(length: int) -> None:
    one = cipher()
    sealed = one.seal(BlockKind.DATA, b"some bytes of a file")
    with pytest.raises(BlockRefused):
        one.open_untrusted(BlockKind.DATA, sealed.pid, length, sealed.ciphertext)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 35, 37])
def test_a_torn_ciphertext_is_refused(size: int) -> None:
    one = cipher()
    sealed = one.seal(BlockKind.DATA, b"some bytes of a file")
    with pytest.raises(BlockRefused):
        one.open_untrusted(BlockKind.DATA, sealed.pid, 20, (bytes(sealed.ciphertext) + b"x")[:size])


def test_plaintext_that_is_not_what_the_pid_names_is_refused() -> None:
    """A member who knows the keys can encrypt other bytes under a block's key: the pid tells."""
    one = cipher()
    pid = one.pid(BlockKind.DATA, PLAIN)
    aead, nonce = one._key(BlockKind.DATA, pid, len(PLAIN))
    forged = aead.encrypt(nonce, bytes(len(PLAIN)), None)
    with pytest.raises(BlockRefused, match="another content"):
        one.open_untrusted(BlockKind.DATA, pid, len(PLAIN), forged)


def test_padding_other_than_zeros_is_refused() -> None:
    one = cipher(padding=Padding.PADME)
    plain = b"x" * 4097
    pid = one.pid(BlockKind.DATA, plain)
    aead, nonce = one._key(BlockKind.DATA, pid, len(plain))
    padding = padded_length(len(plain), Padding.PADME) - len(plain)
    forged = aead.encrypt(nonce, plain + b"\0" * (padding - 1) + b"\1", None)
    with pytest.raises(BlockRefused, match="padded"):
        one.open_untrusted(BlockKind.DATA, pid, len(plain), forged)


def test_padding_leaves_no_trace_of_the_block_before() -> None:
    one, fresh = cipher(padding=Padding.PADME), cipher(padding=Padding.PADME)
    one.seal(BlockKind.DATA, b"\xff" * 4096)
    assert one.seal(BlockKind.DATA, b"y" * 3333) == fresh.seal(BlockKind.DATA, b"y" * 3333)


@pytest.mark.parametrize("size", [0, MAX_BLOCK_BYTES + 1])
def test_what_is_no_block_is_not_sealed(size: int) -> None:
    with pytest.raises(ValueError, match="a block of"):
        cipher().seal(BlockKind.DATA, bytes(size))


def test_the_largest_block_is_sealed() -> None:
    one = cipher(padding=Padding.PADME)
    plain = bytes(MAX_BLOCK_BYTES)
    sealed = one.seal(BlockKind.DATA, plain)
    assert one.open_untrusted(BlockKind.DATA, sealed.pid, len(plain), sealed.ciphertext) == plain


def test_a_target_of_another_size_is_our_bug() -> None:
    one = cipher()
    sealed = one.seal(BlockKind.DATA, PLAIN)
    with pytest.raises(ValueError, match="target"):
        one.open_into_untrusted(
            BlockKind.DATA, Pid(sealed.pid), len(PLAIN), sealed.ciphertext, memoryview(bytearray(5))
        )


@pytest.mark.parametrize(
    ("length", "padded"),
    [(1, 1), (2, 2), (9, 10), (100, 104), (4096, 4096), (4097, 4352), (MAX_BLOCK_BYTES, MAX_BLOCK_BYTES)],
)
def test_padme_lengths(length: int, padded: int) -> None:
    assert padded_length(length, Padding.PADME) == padded
    assert padded_length(length, Padding.NONE) == length


def test_padme_costs_at_most_an_eighth_and_never_shrinks() -> None:
    for length in range(1, 70_000, 7):
        assert length <= padded_length(length, Padding.PADME) <= max(length * 1.12, length + 1)
