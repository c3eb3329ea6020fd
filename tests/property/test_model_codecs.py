"""Everything the model sends: decoding undoes encoding, only one encoding is accepted, garbage is a protocol error."""

from __future__ import annotations

import contextlib
import unicodedata
from collections.abc import Callable
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from ca import codec
from ca.device import generate
from ca.errors import RemoteProtocolError
from syncd.model.changesets import Changeset, decode_untrusted, encode, open_changeset_untrusted, seal_changeset
from syncd.model.cipher import MAX_BLOCK_BYTES, BlockKind, Padding, padded_length
from syncd.model.cutter import CutClass, Cutter
from syncd.model.heads import Head, decode_head_untrusted, encode_head, open_announced_untrusted, sign_head, verify_head
from syncd.model.ids import NO_CID, Cid, NodeId, Pid, VersionId
from syncd.model.lists import ENTRY_BYTES, BlockList, join_parts_untrusted, pack_entry, parse_list_untrusted, split_list
from syncd.model.paths import collision_name, conflict_name, show, validate_name_untrusted
from syncd.model.records import Record, encodable, record_untrusted, record_value
from tests.helpers.model_values import changesets, cipher, hashes, id32, names, records

KEYS = generate(lambda size: bytes(range(size)))
SMALL = Cutter(CutClass.SMALL, b"property seed")


@st.composite
def damaged(draw: st.DrawFn, encoded: st.SearchStrategy[bytes]) -> bytes:
    """Valid bytes with something changed, taken out or put in."""
    data = draw(encoded)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        stop = draw(st.integers(start, min(len(data), start + 4)))
        data = data[:start] + draw(st.binary(max_size=4)) + data[stop:]
    return data


@st.composite
def heads(draw: st.DrawFn) -> Head:
    """Signed heads of changesets."""
    changeset = draw(changesets())
    one = cipher()
    previous = NO_CID if changeset.counter == 1 else Cid(b"\x01" + draw(st.binary(min_size=31, max_size=31)))
    return sign_head(KEYS, one, changeset, seal_changeset(one, changeset), previous, draw(hashes())[:16])


def accepts_one_form_only(data: bytes, decode_and_encode: Callable[[bytes], bytes]) -> None:
    """Whatever is accepted is the canonical form of what it means; everything else is a RemoteProtocolError."""
    with contextlib.suppress(RemoteProtocolError):
        assert decode_and_encode(data) == data


@given(records())
def test_records_survive(record: Record) -> None:
    assert record_untrusted(record_value(record)) == record


@given(records(), st.booleans())
def test_what_most_records_are_is_encoded_as_every_other(record: Record, is_new: bool) -> None:
    if is_new:
        record = record._replace(replaces_content=(), replaces_place=(), replaces_attributes=())
        if record.attributes is not None:
            record = record._replace(attributes=record.attributes._replace(xattrs=()))
    assert codec.encode([encodable(record)]) == codec.encode([record_value(record)])


@given(changesets())
def test_changesets_survive(changeset: Changeset) -> None:
    assert decode_untrusted(encode(changeset)) == changeset


@given(changesets(), st.sampled_from(Padding))
def test_sealed_changesets_survive(changeset: Changeset, padding: Padding) -> None:
    sealed = seal_changeset(cipher(padding=padding), changeset)
    opener = cipher(padding=padding)
    assert open_changeset_untrusted(opener, sealed.block.pid, sealed.length, sealed.block.ciphertext) == (
        sealed.hash,
        changeset,
    )


@given(heads())
def test_heads_survive(head: Head) -> None:
    arrived = decode_head_untrusted(encode_head(head))
    assert arrived == head
    verify_head(arrived, KEYS.public.sign)


@given(damaged(changesets().map(encode)) | st.binary(max_size=300))
def test_changesets_have_one_form(data: bytes) -> None:
    accepts_one_form_only(data, lambda each: encode(decode_untrusted(each)))


@given(damaged(heads().map(encode_head)) | st.binary(max_size=300))
def test_heads_have_one_form(data: bytes) -> None:
    accepts_one_form_only(data, lambda each: encode_head(decode_head_untrusted(each)))


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 64), (1 << 64) - 1) | st.binary(max_size=80) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.integers(0, 255), inner, max_size=4),
    max_leaves=20,
)


@given(values | st.tuples(hashes(), values, values, values).map(list))
def test_any_value_is_a_record_or_refused(value: object) -> None:
    with contextlib.suppress(RemoteProtocolError):
        assert record_value(record_untrusted(value)) == value


@given(heads(), st.binary(max_size=200))
def test_a_body_of_garbage_is_refused(head: Head, body: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        open_announced_untrusted(cipher(), head, body)
        raise AssertionError("garbage was opened")


@given(st.binary(max_size=400))
def test_any_bytes_are_a_list_or_refused(data: bytes) -> None:
    accepts_one_form_only(data, lambda each: parse_list_untrusted(each).packed)


@given(st.integers(1025, 4000), st.integers(0, 1 << 32), st.sampled_from([1, 2, 256, 1000]))
def test_lists_of_lists_survive(count: int, seed: int, distinct: int) -> None:
    blocks = Random(seed)
    epoch = cipher().epoch
    whole = BlockList(
        b"".join(
            pack_entry(Pid(id32(blocks.randrange(distinct))), Cid(id32(1)), blocks.randint(1, MAX_BLOCK_BYTES), epoch)
            for _ in range(count)
        )
    )
    parts = split_list(whole.packed)
    assert all(64 <= len(part) // ENTRY_BYTES <= 1024 for part in parts[:-1])
    assert join_parts_untrusted(parts, whole.size, whole.digest()) == whole


@given(st.binary(min_size=1, max_size=5000), st.sampled_from(BlockKind), st.sampled_from(Padding))
def test_blocks_survive(plaintext: bytes, kind: BlockKind, padding: Padding) -> None:
    one, other = cipher(padding=padding), cipher(padding=padding)
    sealed = one.seal(kind, plaintext)
    assert sealed == other.seal(kind, plaintext)
    assert other.open_untrusted(kind, sealed.pid, len(plaintext), sealed.ciphertext) == plaintext


@given(st.integers(1, MAX_BLOCK_BYTES))
def test_padding_grows_with_length_and_stays_within_a_block(length: int) -> None:
    padded = padded_length(length, Padding.PADME)
    assert length <= padded <= MAX_BLOCK_BYTES
    assert padded >= padded_length(length - 1, Padding.PADME)
    assert padded_length(padded, Padding.PADME) == padded


@given(st.binary(max_size=40), st.integers(1, 40_000), st.lists(st.integers(0, 1_500_000), max_size=4))
def test_cuts_depend_on_bytes_alone(pattern: bytes, repeats: int, ends: list[int]) -> None:
    """However the buffer was filled, the cuts that are decided are those of the whole."""
    data = (pattern + b"\x9e\x37") * repeats
    whole = SMALL.cut(data, final=True)
    assert sum(whole) == len(data)
    for end in ends:
        decided = SMALL.cut(data[:end], final=False)
        assert decided == whole[: len(decided)]


@given(st.binary(max_size=300))
def test_any_bytes_are_a_name_or_refused(name: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        assert validate_name_untrusted(name) == name


@given(st.binary(max_size=300))
def test_shown_names_are_one_line_of_visible_text(name: bytes) -> None:
    assert all(unicodedata.category(char)[0] not in "C" and (char == " " or not char.isspace()) for char in show(name))


@given(names(), st.text(max_size=80), hashes(), st.sampled_from([8, 16, 32, 64]))
def test_names_made_up_are_names(name: bytes, author: str, some_id: bytes, digits: int) -> None:
    validate_name_untrusted(conflict_name(name, author, VersionId(some_id), digits))
    validate_name_untrusted(collision_name(name, NodeId(some_id), digits))
