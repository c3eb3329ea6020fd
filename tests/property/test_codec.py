"""Decode and encode are inverse in both directions, and garbage raises only CodecError."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.codec import decode_untrusted, encode
from ca.errors import CodecError

LIMIT = 1 << 20

scalars = st.one_of(
    st.integers(-(1 << 64), (1 << 64) - 1),
    st.sampled_from(
        [0, 23, 24, 255, 256, 65535, 65536, (1 << 32) - 1, 1 << 32, (1 << 64) - 1, -1, -24, -25, -(1 << 64)]
    ),
    st.binary(max_size=300),
    st.text(max_size=80),
    st.booleans(),
    st.none(),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.integers(0, 255), inner, max_size=30),
    max_leaves=60,
)


def decode(data: bytes) -> Any:
    return decode_untrusted(data, max_bytes=LIMIT, max_depth=64)


def same(one: Any, other: Any) -> bool:
    """Equal including the difference of 1 and true, which == does not see."""
    return type(one) is type(other) and one == other and repr(one) == repr(other)


@given(values)
def test_what_was_encoded_decodes_to_the_same(value: Any) -> None:
    decoded = decode(encode(value))
    assert decoded == value
    assert encode(decoded) == encode(value)


@given(scalars)
def test_scalars_keep_their_type(value: Any) -> None:
    assert same(decode(encode(value)), value)


@given(st.binary(max_size=200))
def test_whatever_decodes_is_the_only_spelling_of_its_value(data: bytes) -> None:
    try:
        value = decode(data)
    except CodecError:
        return
    assert encode(value) == data


@given(values, st.data())
def test_one_changed_byte_is_refused_or_is_canonical_again(value: Any, data: st.DataObject) -> None:
    raw = bytearray(encode(value))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode(bytes(raw))
    except CodecError:
        return
    assert encode(decoded) == bytes(raw)


@given(values)
def test_no_beginning_of_a_message_is_a_message(value: Any) -> None:
    raw = encode(value)
    for end in range(len(raw)):
        with pytest.raises(CodecError):
            decode(raw[:end])


@given(values, st.binary(min_size=1, max_size=8))
def test_nothing_may_follow_a_message(value: Any, tail: bytes) -> None:
    with pytest.raises(CodecError):
        decode(encode(value) + tail)
