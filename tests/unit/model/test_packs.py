"""Packs tell what is in them, and garbage is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.errors import RemoteProtocolError
from ca.ids import FolderId
from syncd.model.cipher import BlockKind
from syncd.model.lists import MAX_LIST_ENTRIES, BlockList, pack_entry
from syncd.model.packs import HEADER_BYTES, Index, Pack, PackBuilder, is_name, name_of, read_index_untrusted
from syncd.store.keyring import EpochKeyMissing
from tests.helpers.tasks import EPOCH, FOLDER_ID, keyring


def make(plains: list[bytes], kind: BlockKind = BlockKind.DATA) -> Pack:
    builder = PackBuilder(FOLDER_ID, kind)
    cipher = keyring().cipher()
    for plain in plains:
        sealed = cipher.seal(kind, plain)
        builder.add(pack_entry(sealed.pid, sealed.cid, len(plain), EPOCH), sealed.ciphertext)
    return builder.finish(cipher)


def read(content: bytes, folder: FolderId = FOLDER_ID) -> Index:
    ring = keyring()
    return read_index_untrusted(folder, len(content), lambda at, length: content[at : at + length], ring.cipher_of)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.sampled_from(BlockKind))
def test_pack_gives_back_every_block(plains: list[bytes], kind: BlockKind) -> None:
    pack = make(plains, kind)
    index = read(pack.content)
    assert index == Index(kind, pack.blocks)
    assert pack.size == len(pack.content)
    assert pack.name == name_of(pack.content) and is_name(pack.name)
    cipher = keyring().cipher()
    for plain, (offset, packed) in zip(plains, index.blocks, strict=True):
        (entry,) = BlockList(packed)
        sealed = pack.content[offset : offset + cipher.sealed_length(entry.length)]
        assert cipher.open_untrusted(kind, entry.pid, entry.length, sealed) == plain


def test_index_of_many_blocks_is_in_several_pieces() -> None:
    pack = make([bytes([number % 251]) * 3 + number.to_bytes(4, "big") for number in range(MAX_LIST_ENTRIES + 1)])
    assert len(read(pack.content).blocks) == MAX_LIST_ENTRIES + 1
    assert pack.content[-12:-8] == (2).to_bytes(4, "big")


def test_builder_begins_anew_after_a_pack() -> None:
    builder = PackBuilder(FOLDER_ID, BlockKind.DATA)
    cipher = keyring().cipher()
    sealed = cipher.seal(BlockKind.DATA, b"x")
    builder.add(pack_entry(sealed.pid, sealed.cid, 1, EPOCH), sealed.ciphertext)
    assert len(builder.finish(cipher).blocks) == 1
    assert builder.is_empty
    assert builder.finish(cipher).blocks == ()


def test_pack_of_another_folder_is_refused() -> None:
    content = make([b"one"]).content
    with pytest.raises(RemoteProtocolError):
        read(content, FolderId(b"G" * 32))


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.integers(1, 255))
def test_damage_outside_the_blocks_is_refused_whatever_it_is(start: int, cut: int, flip: int) -> None:
    content = make([b"one", b"two" * 50]).content
    cut %= len(content)
    with pytest.raises(RemoteProtocolError):
        read(content[:cut])
    blocks_end = HEADER_BYTES + 3 + 16 + 150 + 16
    used_header = 50  # magic, folder, format and kind; zeros follow
    place = [*range(used_header), *range(blocks_end, len(content))][start % (used_header + len(content) - blocks_end)]
    damaged = bytearray(content)
    damaged[place] ^= flip
    try:
        index = read(bytes(damaged))
    except (RemoteProtocolError, EpochKeyMissing):  # what was flipped may be the name of an epoch
        return
    # The kind is not proved by the index: its blocks do not open under another one.
    assert index.kind is not BlockKind.DATA and place == 49


@given(st.binary(max_size=400))
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read(garbage)
